//! Sessions in SQLite: a whole [`Backend`], to copy from. The page 'Writing a backend' of
//! `session-hyper`'s guide goes through it clause by clause.
//!
//! ```
//! use session_core::{KeyedStorage, Storage};
//! use session_examples::sqlite::SqliteBackend;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), session_core::Error> {
//! # let folder = std::env::temp_dir().join(format!("session-doc-{}", std::process::id()));
//! # std::fs::create_dir_all(&folder).unwrap();
//! # let path = folder.join("sessions.db").to_str().unwrap().to_owned();
//! # let path = &path;
//! let storage = KeyedStorage::<SqliteBackend>::connect(path).await?.hash_identities(true);
//! let session = storage.load(None).await?;
//! session.insert("user", "ada")?;
//! storage.save(&session).await?; // on the disk
//! # std::fs::remove_dir_all(&folder).unwrap();
//! # Ok(())
//! # }
//! ```
//!
//! Whoever can read the file can read the sessions, and log in with the identities that are their keys:
//! [`hash_identities`](session_core::KeyedStorage::hash_identities) takes the second away. The file is made
//! readable for its owner alone. It lies on a local disk, not on a network's; any number of processes of
//! one machine may share it.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use std::{fmt, io};

use bytes::Bytes;
use rusqlite::{Connection, ErrorCode, OptionalExtension as _, Transaction, TransactionBehavior};
use session_core::{Backend, Connect, Create, Error, ErrorKind, Replace, Result, Versioned};
use tokio::sync::Mutex;
use tokio::task::{JoinError, spawn_blocking};
use tokio::time::{Instant, timeout, timeout_at};

/// The bound on a call unless the application sets another: longer than for a store that serves many at
/// a time, as writers take turns here, and the disk takes its time with each.
const TIMEOUT: Duration = Duration::from_secs(5);

/// SQLite counts a wait for a lock in an `int` of milliseconds. A day is as good as no bound.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// The version of the tables below; a file of another is refused, not guessed at.
const VERSION: i64 = 1;

/// One tree with the record beside its key: a rowid table would keep the keys in a second one, to be
/// searched before each read and written with each new session. `expires` is in Unix milliseconds.
const SCHEMA: &str = "
CREATE TABLE sessions (
    key TEXT NOT NULL PRIMARY KEY,
    value BLOB NOT NULL,
    expires INTEGER -- NULL: never
) STRICT, WITHOUT ROWID;
CREATE INDEX sessions_by_expiry ON sessions (expires) WHERE expires IS NOT NULL;
";

// Each decides and writes in one statement, so that it is atomic in any database: none reads first
// and then believes what it read. What has expired is nothing stored, swept or not.

const READ: &str = "\
SELECT value FROM sessions WHERE key = ?1 AND (expires IS NULL OR expires > ?2)";

const CREATE: &str = "\
INSERT INTO sessions (key, value, expires) VALUES (?1, ?3, ?4)
ON CONFLICT (key) DO UPDATE SET value = ?3, expires = ?4 WHERE expires <= ?2";

const REPLACE: &str = "\
UPDATE sessions SET value = ?3, expires = ?4
WHERE key = ?1 AND value = ?5 AND (expires IS NULL OR expires > ?2)";

const DELETE: &str = "\
DELETE FROM sessions
WHERE key = ?1 AND (?3 IS NULL OR value = ?3) AND (expires IS NULL OR expires > ?2)";

/// A bounded piece with each new session: sixteen go for one that comes, so that a backlog shrinks, and
/// no request waits for all of it, as one would for a `DELETE` of everything that has expired.
const SWEEP: &str = "\
DELETE FROM sessions WHERE key IN (SELECT key FROM sessions WHERE expires <= ?1 LIMIT 16)";

/// A [`Backend`] in a SQLite file.
///
/// SQLite blocks the thread that calls it, for a disk or for another process's lock: every call runs on
/// tokio's blocking threads, never on one that serves requests. It begins when it has the connection, and
/// then runs to its end, whether somebody still waits or not: a future that is dropped before did nothing,
/// one that is dropped later leaves a transaction that is carried out or rolled back as a whole. An answer
/// has one reader, so that no other call can get it.
///
/// Two connections, because a reader does not wait for a writer in WAL mode: loads go on while a save
/// waits for the disk. Calls wait for them in an async mutex, so that two of tokio's threads are all that
/// an outage can block, however many requests come.
pub struct SqliteBackend {
    reader: Arc<Mutex<Connection>>,
    writer: Arc<Mutex<Connection>>,
    path: PathBuf,
    timeout: Duration,
}

impl SqliteBackend {
    /// Keeps sessions in the file at `path`, which is made if it is not there. Needs a tokio runtime.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unavailable`] if it cannot be opened or is no database, or stays locked for five
    /// seconds; [`ErrorKind::Settings`] if its tables are another program's or a later version's.
    pub async fn open(path: impl AsRef<Path>) -> Result<Self> {
        // To SQLite `:memory:` and an empty path are no files, and each connection would have its own.
        let path = Path::new(".").join(path);
        let file = path.clone();
        let opening = spawn_blocking(move || -> Result<_> {
            create_private(&file).map_err(|error| Error::new(ErrorKind::Unavailable, error))?;
            let mut writer = connect(&file).map_err(|error| unavailable(&error))?;
            migrate(&mut writer)?;
            Ok((connect(&file).map_err(|error| unavailable(&error))?, writer))
        });
        let opened = timeout(TIMEOUT, opening).await.map_err(|_| late(TIMEOUT))?;
        let (reader, writer) = opened.map_err(stopped)??;
        Ok(Self {
            reader: Arc::new(Mutex::new(reader)),
            writer: Arc::new(Mutex::new(writer)),
            path,
            timeout: TIMEOUT,
        })
    }

    /// Bounds each call: waiting its turn, waiting for other processes' locks and the disk together.
    /// Default: five seconds.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout.min(LONGEST);
        self
    }

    /// Lends a connection to `work` on a thread that may block; `None` is that it came too late.
    async fn run<T: Send + 'static>(
        &self,
        connection: &Arc<Mutex<Connection>>,
        work: impl FnOnce(&mut Connection, Instant) -> rusqlite::Result<Option<T>> + Send + 'static,
    ) -> Result<T> {
        let deadline = Instant::now() + self.timeout;
        let connection = connection.clone();
        // One bound around everything: one on SQLite's lock alone does not help who waits behind a call
        // that waits for the lock, and a disk that hangs answers to no bound of SQLite's.
        let answer = timeout_at(deadline, async {
            let mut connection = connection.lock_owned().await;
            spawn_blocking(move || {
                let left = deadline.saturating_duration_since(Instant::now());
                connection.busy_timeout(left)?;
                work(&mut connection, deadline)
            })
            .await
        });
        match answer.await {
            Ok(Ok(Ok(Some(done)))) => Ok(done),
            Ok(Ok(Ok(None))) | Err(_) => Err(late(self.timeout)),
            Ok(Ok(Err(error))) => Err(unavailable(&error)),
            Ok(Err(error)) => Err(stopped(error)),
        }
    }

    /// Runs `work` in a transaction that is acknowledged when it is on the disk.
    async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T> {
        self.run(&self.writer, |connection, deadline| {
            // IMMEDIATE takes the lock at once. A transaction that reads first and then writes fails when
            // another process wrote in between, and no `busy_timeout` waits for that.
            let immediate = TransactionBehavior::Immediate;
            let transaction = connection.transaction_with_behavior(immediate)?;
            if Instant::now() >= deadline {
                // Its caller was told that it failed, and may be trying again: do not write behind their back.
                return Ok(None);
            }
            let done = work(&transaction)?;
            transaction.commit()?;
            Ok(Some(done))
        })
        .await
    }
}

impl Backend for SqliteBackend {
    async fn read(&self, key: &str) -> Result<Option<Versioned>> {
        let key = key.to_owned();
        self.run(&self.reader, move |connection, _| {
            find(connection, &key, unix_millis(SystemTime::now())).map(Some)
        })
        .await
    }

    async fn create(&self, key: &str, value: Bytes, ttl: Option<Duration>) -> Result<Create> {
        let key = key.to_owned();
        self.write(move |transaction| {
            let (now, expires) = times(ttl);
            transaction.prepare_cached(SWEEP)?.execute([now])?;
            let mut create = transaction.prepare_cached(CREATE)?;
            Ok(match create.execute((&key, now, &value[..], expires))? {
                0 => Create::Exists,
                _ => Create::Done,
            })
        })
        .await
    }

    async fn replace(
        &self,
        key: &str,
        value: Bytes,
        ttl: Option<Duration>,
        was: &Versioned,
    ) -> Result<Replace> {
        let (key, was) = (key.to_owned(), was.value.clone());
        self.write(move |transaction| {
            let (now, expires) = times(ttl);
            let mut replace = transaction.prepare_cached(REPLACE)?;
            let changed = replace.execute((&key, now, &value[..], expires, &was[..]))?;
            outcome(transaction, changed, &key, now)
        })
        .await
    }

    async fn delete(&self, key: &str, was: Option<&Versioned>) -> Result<Replace> {
        let (key, was) = (key.to_owned(), was.map(|was| was.value.clone()));
        self.write(move |transaction| {
            let now = unix_millis(SystemTime::now());
            let mut delete = transaction.prepare_cached(DELETE)?;
            let changed = delete.execute((&key, now, was.as_deref()))?;
            outcome(transaction, changed, &key, now)
        })
        .await
    }
}

impl Connect for SqliteBackend {
    /// The address is a path, see [`SqliteBackend::open`].
    async fn connect(address: &str) -> Result<Self> {
        Self::open(address).await
    }
}

fn find(connection: &Connection, key: &str, now: i64) -> rusqlite::Result<Option<Versioned>> {
    let mut read = connection.prepare_cached(READ)?;
    let value: Option<Vec<u8>> = read.query_row((key, now), |row| row.get(0)).optional()?;
    Ok(value.map(|value| Versioned {
        value: value.into(),
        version: 0, // values are compared
    }))
}

/// Tells a conflict from what is gone, in the transaction of the write that changed nothing: afterwards
/// it could be another's record, or none.
fn outcome(
    transaction: &Transaction<'_>,
    changed: usize,
    key: &str,
    now: i64,
) -> rusqlite::Result<Replace> {
    if changed > 0 {
        return Ok(Replace::Done);
    }
    Ok(find(transaction, key, now)?.map_or(Replace::Gone, Replace::Conflict))
}

/// The time, and when what is written now expires. Read once for all statements of a call, and after
/// the wait for the lock. SQLite runs in this process, so that its clock is ours; where the
/// database is another machine, let that say what time it is: those of many servers differ.
fn times(ttl: Option<Duration>) -> (i64, Option<i64>) {
    let now = SystemTime::now();
    let longest = Duration::from_secs(1_000_000 * 365 * 24 * 3600); // no clock overflows
    let expires = ttl.map(|ttl| unix_millis(now + ttl.min(longest)));
    (unix_millis(now), expires)
}

fn unix_millis(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Makes the file, unless it is there. SQLite would let the whole machine read it; the files
/// that it puts beside it get the mode of this one.
fn create_private(path: &Path) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map(drop)
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(TIMEOUT)?;
    // FULL: what was acknowledged is on the disk. With NORMAL a power cut takes back the last saves, and
    // brings back the sessions that the last logouts ended.
    connection.execute_batch("PRAGMA synchronous = FULL")?;
    // What makes a new file's mode WAL holds a read lock and wants an exclusive one: two that do so at the
    // same time would wait for each other for ever, so that SQLite does not wait at all.
    let begun = Instant::now();
    loop {
        match connection.execute_batch("PRAGMA journal_mode = WAL") {
            Err(error)
                if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy)
                    && begun.elapsed() < TIMEOUT =>
            {
                std::thread::sleep(Duration::from_millis(5));
            }
            done => return done.map(|()| connection),
        }
    }
}

/// Makes the tables of a new file; of several processes that start at the same time, one does.
fn migrate(connection: &mut Connection) -> Result<()> {
    let mut make = || {
        let immediate = TransactionBehavior::Immediate;
        let transaction = connection.transaction_with_behavior(immediate)?;
        let found = transaction.query_row("PRAGMA user_version", (), |row| row.get(0))?;
        if found == 0 {
            transaction.execute_batch(SCHEMA)?;
            transaction.pragma_update(None, "user_version", VERSION)?;
        }
        transaction.commit()?;
        Ok(found)
    };
    match make().map_err(|error| unavailable(&error))? {
        0 | VERSION => Ok(()),
        other => {
            let text = format!("the file's tables are of version {other}, not {VERSION}");
            Err(Error::with_message(ErrorKind::Settings, text))
        }
    }
}

/// Of SQLite's error only the code and the text that always goes with it. The message that comes besides
/// names tables and columns, and in a database with triggers whatever they say.
fn unavailable(error: &rusqlite::Error) -> Error {
    match error {
        rusqlite::Error::SqliteFailure(code, _) => Error::new(ErrorKind::Unavailable, *code),
        _ => said("an answer that does not fit"),
    }
}

fn late(timeout: Duration) -> Error {
    said(format_args!("no answer within {timeout:?}"))
}

/// The runtime shuts down, or the call panicked: then its transaction was rolled back.
fn stopped(_: JoinError) -> Error {
    said("the call was not carried out")
}

/// `text` holds no key and no value.
fn said(text: impl fmt::Display) -> Error {
    Error::new(ErrorKind::Unavailable, format!("SQLite: {text}"))
}

impl fmt::Debug for SqliteBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteBackend")
            .field("path", &self.path)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}
