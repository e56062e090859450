//! The example of a backend, SQLite: the conformance suites, and what only SQLite does.
#![allow(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "these are tests"
)]

use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use rusqlite::Connection;
use session_core::keyed::{Backend as _, Found, OnlyIf, Outcome, Stored, Write};
use session_core::{CookieSettings, KeyedStorage, ManualClock, Result};
use session_core::{backend_conformance, keyed_conformance, users_conformance};
use session_examples::sqlite::SqliteBackend;
use session_tests::processes::Folder;

mod file;
mod program;
mod sharing;
mod trouble;

/// A busy machine is no failure.
const PATIENCE: Duration = Duration::from_secs(60);

async fn sqlite(cookie: CookieSettings, clock: ManualClock) -> KeyedStorage<SqliteBackend> {
    KeyedStorage::new(sqlite_backend().await)
        .with_cookie(cookie)
        .with_clock(clock)
}

async fn sqlite_hashed(cookie: CookieSettings, clock: ManualClock) -> KeyedStorage<SqliteBackend> {
    sqlite(cookie, clock).await.hash_identities(true)
}

async fn sqlite_of_users(
    cookie: CookieSettings,
    clock: ManualClock,
) -> KeyedStorage<SqliteBackend> {
    sqlite(cookie, clock).await.with_user_index("user")
}

async fn sqlite_backend() -> SqliteBackend {
    open(&new_file()).await
}

keyed_conformance!(sqlite);
keyed_conformance!(sqlite_hashed);
users_conformance!(sqlite_of_users);
backend_conformance!(sqlite_backend);

/// A path that no other test has.
fn new_file() -> PathBuf {
    static FOLDER: LazyLock<Folder> = LazyLock::new(Folder::new);
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    FOLDER.path().join(format!("{count}.db"))
}

async fn open(path: &Path) -> SqliteBackend {
    SqliteBackend::open(path)
        .await
        .unwrap()
        .with_timeout(PATIENCE)
}

/// Another program that looks at the file.
fn look(path: &Path) -> Connection {
    let connection = Connection::open(path).unwrap();
    connection.busy_timeout(PATIENCE).unwrap();
    connection
}

fn count(connection: &Connection, what: &str) -> i64 {
    let count = format!("SELECT count(*) FROM sessions WHERE {what}");
    connection.query_row(&count, (), |row| row.get(0)).unwrap()
}

/// The text of a tombstone.
const TOMBSTONE: &str = "{ }";

/// Creates a record without a time to live.
async fn create(backend: &SqliteBackend, key: &str, value: &'static str) -> Result<Outcome> {
    let write = Write::record(value, None);
    backend.write(key, write, OnlyIf::Missing).await
}

/// Replaces `was` by a record without a time to live.
async fn replace(
    backend: &SqliteBackend,
    key: &str,
    was: impl Into<Bytes>,
    value: impl Into<Bytes>,
) -> Result<Outcome> {
    let was = Stored::new(was);
    let write = Write::record(value, None);
    backend.write(key, write, OnlyIf::Unchanged(&was)).await
}

/// Replaces `was` by a tombstone.
async fn end(backend: &SqliteBackend, key: &str, was: impl Into<Bytes>) -> Result<Outcome> {
    let was = Stored::new(was);
    let write = Write::tombstone(TOMBSTONE, Duration::from_secs(60));
    backend.write(key, write, OnlyIf::Unchanged(&was)).await
}

fn written(value: &'static str) -> Outcome {
    Outcome::Written(Stored::new(value))
}

fn record(value: &'static str) -> Found {
    Found::Value(Stored::new(value))
}
