//! A memcached that is out of memory and evicts nothing (`-M`).

use std::fmt::Write as _;
use std::num::NonZeroU64;

use session_core::ErrorKind;
use session_core::keyed::{Backend as _, Found, OnlyIf, Outcome, Stored};
use session_tests::memcached::MemcachedServer;

use crate::{
    OUT_OF_MEMORY, TOMBSTONE, assert_found, backend, create, new_key, read, record, tombstone,
    written,
};

/// A server with `-M`, and a number of sessions in it.
struct FullServer {
    server: MemcachedServer,
    sessions: Vec<String>,
}

const SESSION: &str = r#"{"created": 1700000000, "session": {"user": "ada"}}"#;

impl FullServer {
    /// Starts a server and fills its memory with values of sessions' sizes, and then of
    /// tombstones'.
    async fn start(arguments: &[&str]) -> Self {
        let server = MemcachedServer::start_with(&[&["-M", "-m", "4"], arguments].concat());
        let backend = backend(&server);
        let sessions: Vec<String> = (0..500).map(|_| new_key()).collect();
        for key in &sessions {
            create(&backend, key, SESSION).await;
        }
        let full = Self { server, sessions };
        full.fill(SESSION.len());
        full.fill(TOMBSTONE.len());
        full
    }

    /// Stores values of this size until there is no memory for another one.
    fn fill(&self, size: usize) {
        let value = "x".repeat(size);
        for _ in 0..100 {
            let mut lines = String::new();
            for _ in 0..(1 << 20) / (size + 100) {
                let key = new_key();
                write!(lines, "add {key} 0 0 {size} noreply\r\n{value}\r\n").unwrap();
            }
            lines += "version";
            self.server.ask(&lines, "\r\n");
            let add = format!("add {} 0 0 {size}\r\n{value}", new_key());
            if self.server.ask(&add, "\r\n") == format!("{OUT_OF_MEMORY}\r\n") {
                return;
            }
        }
        panic!("it does not fill up");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn out_of_memory_refuses_records_and_keeps_what_is_stored() {
    let full = FullServer::start(&[]).await;
    let backend = backend(&full.server);
    let key = &full.sessions[0];
    let loaded = read(&backend, key).await;
    for only_if in [
        OnlyIf::Missing,
        OnlyIf::Unchanged(&loaded),
        OnlyIf::Unchanged(&Stored::new(SESSION)),
    ] {
        let error = backend.write(key, record(SESSION), only_if).await;
        let error = error.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        let text = std::error::Error::source(&error).unwrap().to_string();
        assert_eq!(text, format!("memcached: {OUT_OF_MEMORY}"));
    }
    assert_eq!(read(&backend, key).await, loaded);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn out_of_memory_a_tombstone_deletes_under_the_same_condition() {
    let full = FullServer::start(&[]).await;
    let backend = backend(&full.server);
    let key = &full.sessions[0];
    let loaded = read(&backend, key).await;

    let other = NonZeroU64::MAX;
    for stale in [Stored::with_version(SESSION, other), Stored::new("{}")] {
        let outcome = backend.write(key, tombstone(), OnlyIf::Unchanged(&stale));
        assert_found(&outcome.await.unwrap(), SESSION);
    }
    let missing = new_key();
    for gone in [&loaded, &Stored::new(SESSION)] {
        let outcome = backend.write(&missing, tombstone(), OnlyIf::Unchanged(gone));
        assert_eq!(outcome.await.unwrap(), Outcome::Found(Found::Missing));
    }
    assert_eq!(read(&backend, key).await, loaded);

    // More than one page of memory holds of the values that replace them.
    for (number, key) in full.sessions.iter().enumerate() {
        let stored = match number % 2 {
            0 => read(&backend, key).await,
            _ => Stored::new(SESSION),
        };
        let outcome = backend.write(key, tombstone(), OnlyIf::Unchanged(&stored));
        assert_eq!(outcome.await.unwrap(), written(TOMBSTONE), "{number}");
    }
    for key in &full.sessions {
        assert_eq!(backend.read(key).await.unwrap(), Found::Missing);
    }
    assert_eq!(full.server.stats()["evictions"], 0);
}

/// memcached looks for memory before it looks at the key, so that `add` does not tell.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn out_of_memory_a_tombstone_for_a_missing_key_is_not_stored() {
    let full = FullServer::start(&[]).await;
    let backend = backend(&full.server);
    let missing = new_key();
    let outcome = backend.write(&missing, tombstone(), OnlyIf::Missing).await;
    assert_eq!(outcome.unwrap(), written(TOMBSTONE));
    assert_eq!(backend.read(&missing).await.unwrap(), Found::Missing);
    let key = &full.sessions[0];
    let outcome = backend.write(key, tombstone(), OnlyIf::Missing).await;
    assert_found(&outcome.unwrap(), SESSION);
}

/// What is not guaranteed: live items fill the memory for the larger values as well.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_any_memory_a_tombstone_is_refused_and_nothing_changes() {
    let full = FullServer::start(&[]).await;
    for kibibytes in [4, 64, 256] {
        full.fill(kibibytes << 10);
    }
    let backend = backend(&full.server);
    let key = &full.sessions[0];
    let loaded = read(&backend, key).await;
    let error = backend.write(key, tombstone(), OnlyIf::Unchanged(&loaded));
    assert_eq!(error.await.unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(read(&backend, key).await, loaded);
}
