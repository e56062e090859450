//! Keeps sessions in SQLite: a complete [`Backend`] to copy from. The page 'Writing a backend' of
//! `session-hyper`'s guide explains each clause.
//!
//! ```
//! use session_core::{KeyedStorage, Storage};
//! use session_examples::sqlite::SqliteBackend;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), session_core::Error> {
//! # let folder = std::env::temp_dir().join(format!("session-doc-{}", std::process::id()));
//! # std::fs::create_dir_all(&folder).unwrap();
//! # let path = folder.join("sessions.db");
//! let storage = KeyedStorage::new(SqliteBackend::open(path).await?).hash_identities(true);
//! let session = storage.load(&[]).await?;
//! session.insert("user", "ada")?;
//! storage.save(&session).await?; // on the disk
//! # std::fs::remove_dir_all(&folder).unwrap();
//! # Ok(())
//! # }
//! ```
//!
//! Anyone who can read the file can read the sessions. They can also log in with the identities
//! that are its keys, unless [`hash_identities`](session_core::KeyedStorage::hash_identities) is
//! on. So a file that other users of the machine can read or write is refused. Keep the file on a
//! local disk, not on a network disk. Any number of processes of one machine may share it.

use std::fmt;
use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rusqlite::{Connection, ErrorCode, OptionalExtension as _, ToSql, TransactionBehavior};
use session_core::keyed::{Backend, Found, OnlyIf, Outcome, Stored, Write};
use session_core::{Error, ErrorKind, Result};
use tokio::sync::Mutex;
use tokio::task::{JoinError, spawn_blocking};
use tokio::time::{Instant, timeout, timeout_at};

/// The limit for one call unless the application sets another. It is longer than the one second of
/// other backends, because writers take turns here, and each one waits for the disk.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5);

/// A day. SQLite counts the wait for a lock in an `int` of milliseconds.
const MAX_TIMEOUT: Duration = Duration::from_secs(24 * 3600);

/// The version of the schema below. A file with another version is refused.
const VERSION: i64 = 1;

/// WITHOUT ROWID keeps the record beside its key, in one tree. A rowid table would keep the keys in
/// a second one. `expires` is in Unix milliseconds.
const SCHEMA: &str = "
CREATE TABLE sessions (
    key TEXT NOT NULL PRIMARY KEY,
    value BLOB NOT NULL,
    expires INTEGER -- NULL: never
) STRICT, WITHOUT ROWID;
CREATE INDEX sessions_by_expiry ON sessions (expires) WHERE expires IS NOT NULL;
";

// Each statement that writes holds its own condition, so that it is atomic in any database. None
// relies on a value that was read before. An expired record counts as missing, swept or not.

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
WHERE key = ?1 AND value = ?3 AND (expires IS NULL OR expires > ?2)";

/// Sweeps at most 16 expired records with each new one. So a backlog shrinks, and no request waits
/// until all of it is deleted.
const SWEEP: &str = "\
DELETE FROM sessions WHERE key IN (SELECT key FROM sessions WHERE expires <= ?1 LIMIT 16)";

/// A [`Backend`] in a SQLite file.
///
/// SQLite blocks the thread that calls it, for the disk or for another process's lock. So every
/// call runs on tokio's blocking threads, never on a thread that serves requests. A call starts
/// when it has the connection, and then runs to its end. A future that is dropped before that did
/// nothing. A future that is dropped later leaves a transaction that is committed or rolled back as
/// a whole. No other call can read its result.
///
/// There are two connections, because in WAL mode a reader does not wait for a writer: loads go on
/// while a save waits for the disk. Calls wait for a connection in an async mutex. So an outage
/// blocks at most two of tokio's threads, however many requests arrive.
pub struct SqliteBackend {
    reader: Arc<Mutex<Connection>>,
    writer: Arc<Mutex<Connection>>,
    path: PathBuf,
    timeout: Duration,
}

impl Backend for SqliteBackend {
    async fn read(&self, key: &str) -> Result<Found> {
        let key = key.to_owned();
        self.run(&self.reader, move |connection, _| {
            find(connection, &key, now())
        })
        .await
    }

    async fn write(&self, key: &str, write: Write, only_if: OnlyIf<'_>) -> Result<Outcome> {
        let key = key.to_owned();
        let old = match only_if {
            OnlyIf::Missing => None,
            OnlyIf::Unchanged(stored) => Some(stored.value().clone()),
        };
        self.run(&self.writer, move |connection, deadline| {
            let mut attempt =
                |is_full| transact(connection, deadline, &key, &write, old.as_deref(), is_full);
            match attempt(false) {
                Err(error) if write.is_tombstone() && is_disk_full(&error) => attempt(true),
                outcome => outcome,
            }
        })
        .await
    }

    async fn bound<F: Future + Send>(&self, waiting: F, times: u32) -> Result<F::Output> {
        let limit = self.timeout.saturating_mul(times);
        timeout(limit, waiting).await.map_err(|_| late(limit))
    }
}

/// Stores `write` if the key still holds `old`. When this returns, the change is on the disk.
///
/// If `is_full`, a tombstone found no space. Then this deletes the key under the same condition. A
/// delete needs no new page, so it works where a quota (`max_page_count`) is reached. On a full
/// disk it may fail, too, because the write-ahead log grows with every change.
fn transact(
    connection: &mut Connection,
    deadline: Instant,
    key: &str,
    write: &Write,
    old: Option<&[u8]>,
    is_full: bool,
) -> rusqlite::Result<Outcome> {
    // IMMEDIATE takes the write lock at once. A transaction that takes it later, after a read,
    // fails if another process wrote in between, and `busy_timeout` does not help.
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    if Instant::now() >= deadline {
        // The caller was told that the call failed, and may be trying again. Change nothing now.
        let busy = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_BUSY);
        return Err(rusqlite::Error::SqliteFailure(busy, None));
    }
    // The clock is read once for all statements, after the wait for the lock. If your database runs
    // on another machine, use its clock: those of several servers differ.
    let now = now();
    let (value, ttl) = (&write.value()[..], write.time_to_live());
    let expires = ttl.map(|ttl| now.saturating_add(millis(ttl)));
    let run = |sql, values: &[&dyn ToSql]| transaction.prepare_cached(sql)?.execute(values);
    let is_written = match (old, is_full) {
        (None, false) => {
            run(SWEEP, &[&now])?;
            run(CREATE, &[&key, &now, &value, &expires])? > 0
        }
        (Some(old), false) => run(REPLACE, &[&key, &now, &value, &expires, &old])? > 0,
        (None, true) => find(&transaction, key, now)? == Found::Missing,
        (Some(old), true) => run(DELETE, &[&key, &now, &old])? > 0,
    };
    let outcome = if is_written {
        Outcome::Written(Stored::new(write.value().clone()))
    } else {
        // In the same transaction, because a later read could find another record.
        Outcome::Found(find(&transaction, key, now)?)
    };
    transaction.commit()?;
    Ok(outcome)
}

/// Reads what the key holds. The table is STRICT, so that a value is always bytes.
fn find(connection: &Connection, key: &str, now: i64) -> rusqlite::Result<Found> {
    let mut read = connection.prepare_cached(READ)?;
    let value: Option<Vec<u8>> = read.query_row((key, now), |row| row.get(0)).optional()?;
    Ok(value.map_or(Found::Missing, |value| Found::Value(Stored::new(value))))
}

/// Returns the time in Unix milliseconds.
fn now() -> i64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH);
    millis(since_1970.unwrap_or_default())
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

impl SqliteBackend {
    /// Keeps sessions in the file at `path`. Creates the file if it is missing. Needs a tokio
    /// runtime.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] if the file cannot be opened, is not a database, or stays locked
    /// for five seconds; [`ErrorKind::Settings`] if its tables have another version, or if users
    /// other than its owner may read or write it.
    pub async fn open(path: impl AsRef<Path>) -> Result<Self> {
        // For SQLite `:memory:` and an empty path are not files: each connection would have its own
        // database.
        let path = Path::new(".").join(path);
        let file = path.clone();
        let opening = spawn_blocking(move || -> Result<_> {
            create_private(&file)?;
            let mut writer = connect(&file).map_err(|error| failed(&error))?;
            migrate(&mut writer)?;
            Ok((connect(&file).map_err(|error| failed(&error))?, writer))
        });
        let opened = timeout(DEFAULT_TIMEOUT, opening).await;
        let opened = opened.map_err(|_| late(DEFAULT_TIMEOUT))?;
        let (reader, writer) = opened.map_err(stopped)??;
        Ok(Self {
            reader: Arc::new(Mutex::new(reader)),
            writer: Arc::new(Mutex::new(writer)),
            path,
            timeout: DEFAULT_TIMEOUT,
        })
    }

    /// Limits each call: waiting for a connection, for other processes' locks and for the disk
    /// together. Default: five seconds.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout.min(MAX_TIMEOUT);
        self
    }

    /// Runs `work` with a connection, on a thread that may block.
    async fn run<T: Send + 'static>(
        &self,
        connection: &Arc<Mutex<Connection>>,
        work: impl FnOnce(&mut Connection, Instant) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T> {
        let deadline = Instant::now() + self.timeout;
        let connection = connection.clone();
        // One deadline covers everything. A limit on SQLite's lock alone does not limit the calls
        // that wait behind the one that waits for the lock. And SQLite has no limit for a disk that
        // hangs.
        let result = timeout_at(deadline, async {
            let mut connection = connection.lock_owned().await;
            spawn_blocking(move || {
                connection.busy_timeout(deadline.saturating_duration_since(Instant::now()))?;
                work(&mut connection, deadline)
            })
            .await
        });
        match result.await {
            Ok(Ok(done)) => done.map_err(|error| failed(&error)),
            Ok(Err(error)) => Err(stopped(error)),
            Err(_) => Err(late(self.timeout)),
        }
    }
}

/// Creates the file unless it exists. SQLite would let all users of the machine read it. The files
/// that SQLite puts beside it get its mode. A file that exists may come from a backup that was
/// restored with another mode.
fn create_private(path: &Path) -> Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(path);
    let metadata = file.and_then(|file| file.metadata());
    let metadata = metadata.map_err(|error| Error::new(ErrorKind::Unavailable, error))?;
    #[cfg(unix)]
    if std::os::unix::fs::MetadataExt::mode(&metadata) & 0o077 != 0 {
        let text = "other users may read or write the file of sessions: chmod 600";
        return Err(Error::with_message(ErrorKind::Settings, text));
    }
    Ok(())
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(DEFAULT_TIMEOUT)?;
    // FULL: an acknowledged write is on the disk. With NORMAL a power cut loses the last saves, and
    // brings back the sessions that the last logouts ended.
    connection.execute_batch("PRAGMA synchronous = FULL")?;
    // The change to WAL mode holds a read lock and needs an exclusive one. Two connections that do
    // so at once would wait for each other forever, so that SQLite does not wait at all.
    let begun = Instant::now();
    loop {
        match connection.execute_batch("PRAGMA journal_mode = WAL") {
            Err(error)
                if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy)
                    && begun.elapsed() < DEFAULT_TIMEOUT =>
            {
                std::thread::sleep(Duration::from_millis(5));
            }
            done => return done.map(|()| connection),
        }
    }
}

/// Makes the tables of a new file. If several processes start at once, one of them does it.
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
    match make().map_err(|error| failed(&error))? {
        0 | VERSION => Ok(()),
        other => {
            let text = format!("the file's tables are of version {other}, not {VERSION}");
            Err(Error::with_message(ErrorKind::Settings, text))
        }
    }
}

fn is_disk_full(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::DiskFull)
}

/// Translates an error of SQLite. Keeps only the code and its standard text. The message beside it
/// names tables and columns, and a trigger can put a row's values into it.
fn failed(error: &rusqlite::Error) -> Error {
    match error {
        rusqlite::Error::SqliteFailure(cause, _) if cause.code == ErrorCode::TooBig => {
            Error::new(ErrorKind::TooLarge, *cause)
        }
        rusqlite::Error::SqliteFailure(cause, _) => Error::new(ErrorKind::Unavailable, *cause),
        _ => unavailable("a response that does not fit"),
    }
}

fn late(limit: Duration) -> Error {
    unavailable(format_args!("no response within {limit:?}"))
}

/// The runtime shuts down, or the call panicked and its transaction was rolled back.
fn stopped(_: JoinError) -> Error {
    unavailable("the call was not carried out")
}

/// Makes an error of a text that holds no key and no value.
fn unavailable(text: impl fmt::Display) -> Error {
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
