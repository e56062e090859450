//! Versions, foreign values, and the cost of each operation in commands.

use std::num::NonZeroU64;
use std::time::Duration;

use session_core::ErrorKind;
use session_core::keyed::{Backend as _, Found, OnlyIf, Outcome, Stored};
use session_memcached::MemcachedBackend;
use session_tests::memcached::MemcachedServer;

use crate::{
    TCP, TOMBSTONE, assert_found, backend, create, new_key, read, record, tombstone, written,
};

/// memcached does not report the version of an own write, so the next write compares the value.
#[tokio::test]
async fn a_write_after_an_own_write_compares_the_value() {
    let backend = backend(&TCP);
    let key = new_key();
    create(&backend, &key, "1").await;
    let own = Stored::new("1");
    let outcome = backend.write(&key, record("2"), OnlyIf::Unchanged(&own));
    assert_eq!(outcome.await.unwrap(), written("2"));
    let outcome = backend.write(&key, record("3"), OnlyIf::Unchanged(&own));
    assert_found(&outcome.await.unwrap(), "2");
    let missing = new_key();
    let outcome = backend.write(&missing, record("3"), OnlyIf::Unchanged(&own));
    assert_eq!(outcome.await.unwrap(), Outcome::Found(Found::Missing));
    assert_eq!(read(&backend, &key).await.value(), "2");
}

/// A version that was read goes stale with the next write, even of the same value.
#[tokio::test]
async fn a_write_after_a_read_compares_the_version() {
    let backend = backend(&TCP);
    let key = new_key();
    create(&backend, &key, "1").await;
    let first = read(&backend, &key).await;
    let outcome = backend.write(&key, record("1"), OnlyIf::Unchanged(&first));
    assert_eq!(outcome.await.unwrap(), written("1"));
    let outcome = backend.write(&key, record("2"), OnlyIf::Unchanged(&first));
    let outcome = outcome.await.unwrap();
    assert_found(&outcome, "1");
    let Outcome::Found(Found::Value(now)) = outcome else {
        unreachable!()
    };
    let outcome = backend.write(&key, record("2"), OnlyIf::Unchanged(&now));
    assert_eq!(outcome.await.unwrap(), written("2"));
}

/// The costs that the documentation of the crate names.
#[tokio::test]
async fn each_operation_costs_the_commands_that_the_documentation_names() {
    let server = MemcachedServer::start();
    let backend = backend(&server);
    let key = new_key();
    let commands = || {
        let stats = server.stats();
        (stats["cmd_get"], stats["cmd_set"])
    };
    let mut before = commands();
    let mut cost = || {
        let now = commands();
        let cost = (now.0 - before.0, now.1 - before.1);
        before = now;
        cost
    };
    backend.read(&key).await.unwrap();
    assert_eq!(cost(), (1, 0), "a load of nothing");
    create(&backend, &key, "1").await;
    assert_eq!(cost(), (0, 1), "a first save");
    let loaded = read(&backend, &key).await;
    assert_eq!(cost(), (1, 0), "a load");
    let update = backend.write(&key, record("2"), OnlyIf::Unchanged(&loaded));
    let Outcome::Written(own) = update.await.unwrap() else {
        panic!("it was not written")
    };
    assert_eq!(cost(), (0, 1), "an update");
    let waiter = backend.write(&key, record("3"), OnlyIf::Unchanged(&own));
    assert_eq!(waiter.await.unwrap(), written("3"));
    assert_eq!(cost(), (1, 1), "a saver that waited in the queue");
    let conflict = backend.write(&key, record("4"), OnlyIf::Unchanged(&loaded));
    let Outcome::Found(Found::Value(now)) = conflict.await.unwrap() else {
        panic!("no conflict")
    };
    assert_eq!(cost(), (1, 1), "a conflict");
    let logout = backend.write(&key, tombstone(), OnlyIf::Unchanged(&now));
    assert_eq!(logout.await.unwrap(), written(TOMBSTONE));
    assert_eq!(cost(), (0, 1), "a logout");
    let existing = backend.write(&key, record("5"), OnlyIf::Missing);
    assert_found(&existing.await.unwrap(), TOMBSTONE);
    assert_eq!(cost(), (1, 1), "a creation where something is");
}

#[tokio::test]
async fn a_value_with_flags_is_foreign_and_is_never_overwritten() {
    let backend = backend(&TCP);
    let key = new_key();
    let set = format!("set {key} 16 0 2\r\n{{}}");
    assert_eq!(TCP.ask(&set, "\r\n"), "STORED\r\n");
    assert_eq!(backend.read(&key).await.unwrap(), Found::Foreign);
    let version = NonZeroU64::MAX; // of another value
    for only_if in [
        OnlyIf::Missing,
        OnlyIf::Unchanged(&Stored::new("{}")),
        OnlyIf::Unchanged(&Stored::with_version("{}", version)),
    ] {
        for write in [record("2"), tombstone()] {
            let outcome = backend.write(&key, write, only_if).await.unwrap();
            assert_eq!(outcome, Outcome::Found(Found::Foreign), "{only_if:?}");
        }
    }
    let reply = TCP.ask(&format!("get {key}"), "END\r\n");
    assert_eq!(reply, format!("VALUE {key} 16 2\r\n{{}}\r\nEND\r\n"));
}

#[tokio::test]
async fn another_programs_empty_value_is_a_record() {
    let backend = backend(&TCP);
    let key = new_key();
    TCP.ask(&format!("set {key} 0 0 0\r\n"), "\r\n");
    assert_eq!(read(&backend, &key).await.value(), "");
    let outcome = backend.write(&key, record("2"), OnlyIf::Missing);
    assert_found(&outcome.await.unwrap(), "");
}

#[tokio::test]
async fn bound_waits_a_multiple_of_the_timeout() {
    let backend = backend(&TCP);
    assert_eq!(backend.bound(async { 7 }, 5).await.unwrap(), 7);
    let most = backend.bound(async { 7 }, u32::MAX).await;
    assert_eq!(most.unwrap(), 7);
    let backend = backend.with_timeout(Duration::from_millis(1));
    let error = backend.bound(std::future::pending::<()>(), 5).await;
    let error = error.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    let error = std::error::Error::source(&error).unwrap().to_string();
    assert_eq!(error, "memcached: waited longer than 5ms");
}

#[tokio::test]
async fn connect_sends_a_command() {
    let connected = MemcachedBackend::connect(&TCP.address()).await;
    assert!(connected.is_ok());
    let mut server = MemcachedServer::start();
    let address = server.address();
    server.kill();
    let error = MemcachedBackend::connect(&address).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    let error = MemcachedBackend::connect("memcached://localhost").await;
    assert_eq!(error.unwrap_err().kind(), ErrorKind::Settings);
}

/// Without versions no user could log out. The error comes when the program starts.
#[tokio::test]
async fn connect_refuses_a_server_without_versions() {
    let server = MemcachedServer::start_with(&["-C"]);
    for _ in 0..2 {
        let error = MemcachedBackend::connect(&server.address()).await;
        assert_eq!(error.unwrap_err().kind(), ErrorKind::Unavailable);
    }
}

/// Many instances start at the same time, also on a server that has no memory left.
#[tokio::test]
async fn instances_connect_at_the_same_time() {
    let server = MemcachedServer::start();
    for _ in 0..20 {
        let connects = (0..8).map(|_| {
            let address = server.address();
            tokio::spawn(async move { MemcachedBackend::connect(&address).await })
        });
        for connect in connects.collect::<Vec<_>>() {
            connect.await.unwrap().unwrap();
        }
    }
}
