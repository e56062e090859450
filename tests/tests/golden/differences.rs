//! Where we differ from aiohttp_session on purpose: named, reasoned, and held to be true.

use std::collections::BTreeSet;

pub(crate) const ALL: &[&str] = &["simple", "fernet", "nacl", "redis", "memcached"];
pub(crate) const COOKIE: &[&str] = &["simple", "fernet", "nacl"];
pub(crate) const SEALED: &[&str] = &["fernet", "nacl"];
pub(crate) const KEYED: &[&str] = &["redis", "memcached"];

// Three differences concern every vector of a store, so they are rules here and no rows of a table.

/// How many seconds longer than its session the store keeps a record. Python's time to live is the
/// lifetime itself. A request that loaded a session just before its end can so still save it.
pub(crate) const GRACE: u64 = 300;

/// What a logout leaves in place of a record for a minute: an empty object, as Python's `{}` is one
/// for the whole lifetime. The white space tells our own requests that a logout ended the session.
pub(crate) const ENDED: &str = "{ }";

/// The same for a session that a login replaced. Python leaves the whole record.
pub(crate) const REPLACED: &str = "{\t}";

/// Returns whether an update of a loaded session sends no cookie. Python sends it with every save.
/// In a store the cookie is the identity, and without a Max-Age nothing about it has changed.
pub(crate) fn is_quiet(kind: &str, max_age: Option<i64>) -> bool {
    KEYED.contains(&kind) && max_age.is_none()
}

/// Of the vectors `names` of the storages `kinds`: what we do instead, and why.
pub(crate) struct Row<I: 'static> {
    pub(crate) kinds: &'static [&'static str],
    pub(crate) names: &'static [&'static str],
    pub(crate) instead: I,
    pub(crate) why: &'static str,
}

pub(crate) struct Table<I: 'static> {
    rows: &'static [Row<I>],
    used: BTreeSet<(String, String)>,
    failures: Vec<String>,
    vectors: usize,
}

impl<I> Table<I> {
    pub(crate) fn new(rows: &'static [Row<I>]) -> Self {
        Self {
            rows,
            used: BTreeSet::new(),
            failures: Vec::new(),
            vectors: 0,
        }
    }

    /// Returns what we do instead of following the vector, if that is on purpose.
    pub(crate) fn find(&mut self, kind: &str, name: &str) -> Option<&'static I> {
        let matches = |row: &&Row<I>| row.kinds.contains(&kind) && row.names.contains(&name);
        let found: Vec<_> = self.rows.iter().filter(matches).collect();
        assert!(found.len() <= 1, "{kind}: {name} has two rows");
        if !found.is_empty() {
            self.used.insert((kind.to_owned(), name.to_owned()));
        }
        found.first().map(|row| &row.instead)
    }

    /// Takes what came of a vector: `theirs` compares what we did with what Python did, `ours`
    /// with what the row says.
    pub(crate) fn check(
        &mut self,
        kind: &str,
        name: &str,
        theirs: Result<(), String>,
        ours: Option<Result<(), String>>,
    ) {
        self.vectors += 1;
        let failure = match (theirs, ours) {
            (theirs, None) => theirs.err(),
            (Ok(()), Some(_)) => Some("we do follow this vector: drop its row".to_owned()),
            (Err(_), Some(ours)) => ours.err().map(|failure| {
                let matches =
                    |row: &&Row<I>| row.kinds.contains(&kind) && row.names.contains(&name);
                let why = self.rows.iter().find(matches).map(|row| row.why);
                format!("{failure} (we differ because: {})", why.unwrap_or_default())
            }),
        };
        if let Some(failure) = failure {
            self.failures.push(format!("{kind}: {name}: {failure}"));
        }
    }

    /// Ends the test: every vector was followed or differed as its row says, and every row was
    /// needed.
    #[track_caller]
    pub(crate) fn finish(mut self) {
        for row in self.rows {
            for kind in row.kinds {
                for name in row.names {
                    if !self
                        .used
                        .contains(&((*kind).to_owned(), (*name).to_owned()))
                    {
                        self.failures
                            .push(format!("{kind}: {name}: a row of no vector"));
                    }
                }
            }
        }
        assert!(
            self.failures.is_empty(),
            "{} of {} vectors:\n{}",
            self.failures.len(),
            self.vectors,
            self.failures.join("\n")
        );
    }
}

/// Compares, and says what differs.
#[expect(
    clippy::needless_pass_by_value,
    reason = "callers make what they compare"
)]
pub(crate) fn same<T: PartialEq + std::fmt::Debug>(
    what: &str,
    ours: T,
    wanted: T,
) -> Result<(), String> {
    if ours == wanted {
        return Ok(());
    }
    let text = format!("{what} is {ours:?}, not {wanted:?}");
    Err(text.chars().take(1500).collect())
}
