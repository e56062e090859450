//! The commands that `RedisBackend` sends, and how it reads the responses.

use std::time::Duration;

use session_core::keyed::{Backend as _, Found, OnlyIf, Outcome, Stored, Write};
use session_tests::redis::RedisServer;

use crate::{
    KEY, TOMBSTONE, backend, compares_by, found, names, record, set_memory, tombstone, written,
};

/// Each operation is one command, and so is a conflict, which brings what is there.
#[tokio::test]
async fn p9_each_operation_is_one_command() {
    let server = RedisServer::start();
    let backend = backend(&server).await;
    let monitor = server.monitor();
    let write = async |write, only_if| backend.write(KEY, write, only_if).await.unwrap();

    assert_eq!(backend.read(KEY).await.unwrap(), Found::Missing);
    assert_eq!(monitor.take(), [format!("\"GET\" \"{KEY}\"")]);
    assert_eq!(write(record("v1"), OnlyIf::Missing).await, written("v1"));
    assert_eq!(
        monitor.take(),
        [format!(
            "\"SET\" \"{KEY}\" \"v1\" \"NX\" \"GET\" \"EX\" \"60\""
        )]
    );
    let first = Found::Value(Stored::new("v1"));
    assert_eq!(backend.read(KEY).await.unwrap(), first);
    assert_eq!(write(record("v2"), OnlyIf::Missing).await, found("v1"));
    assert_eq!(names(&monitor), ["GET", "SET"]);

    let compare = compares_by(&server).await;
    names(&monitor);
    let unchanged = Stored::new("v1");
    let unchanged = OnlyIf::Unchanged(&unchanged);
    assert_eq!(write(record("v2"), unchanged).await, written("v2"));
    assert_eq!(names(&monitor), [compare]);
    assert_eq!(write(record("v3"), unchanged).await, found("v2"));
    assert_eq!(names(&monitor), [compare]);
    let unchanged = Stored::new("v2");
    let unchanged = OnlyIf::Unchanged(&unchanged);
    assert_eq!(write(tombstone(), unchanged).await, written(TOMBSTONE));
    assert_eq!(names(&monitor), [compare]);
    assert_eq!(write(tombstone(), unchanged).await, found(TOMBSTONE));
    assert_eq!(names(&monitor), [compare]);
}

/// Every write sets the time to live, or removes it.
#[tokio::test]
async fn a_write_sets_the_time_to_live() {
    let server = RedisServer::start();
    let backend = backend(&server).await;
    let ttl = async || server.ask::<i64>(&format!("TTL {KEY}")).await;
    let forever = || Write::record("v", None);
    let value = Stored::new("v");

    let write = backend.write(KEY, forever(), OnlyIf::Missing).await;
    assert_eq!(write.unwrap(), written("v"));
    assert_eq!(ttl().await, -1);
    let write = backend.write(KEY, record("v"), OnlyIf::Unchanged(&value));
    assert_eq!(write.await.unwrap(), written("v"));
    assert!((1..=60).contains(&ttl().await));
    let write = backend.write(KEY, forever(), OnlyIf::Unchanged(&value));
    assert_eq!(write.await.unwrap(), written("v"));
    assert_eq!(ttl().await, -1);
    let write = backend.write(KEY, tombstone(), OnlyIf::Unchanged(&value));
    assert_eq!(write.await.unwrap(), written(TOMBSTONE));
    assert!((1..=60).contains(&ttl().await));
    server.ask::<()>(&format!("DEL {KEY}")).await;
    let write = backend.write(
        KEY,
        Write::record("v", Some(Duration::MAX)),
        OnlyIf::Missing,
    );
    assert_eq!(write.await.unwrap(), written("v"));
    assert!(ttl().await > 3_000_000_000, "capped at 100 years");
}

/// A key that was read and is gone is missing, and a write does not bring it back.
#[tokio::test]
async fn p3_a_write_that_expects_a_value_does_not_create() {
    let server = RedisServer::start();
    let backend = backend(&server).await;
    for write in [record("v"), tombstone()] {
        let gone = Stored::new("gone");
        let outcome = backend.write(KEY, write, OnlyIf::Unchanged(&gone)).await;
        assert_eq!(outcome.unwrap(), Outcome::Found(Found::Missing));
        assert_eq!(backend.read(KEY).await.unwrap(), Found::Missing);
    }
}

/// The empty value is a value like others, not a sign for something else.
#[tokio::test]
async fn an_empty_value_of_another_program_is_found() {
    let server = RedisServer::start();
    let backend = backend(&server).await;
    server.ask::<()>(&format!("SET {KEY} ")).await; // the last word is empty
    let empty = Found::Value(Stored::new(""));
    assert_eq!(backend.read(KEY).await.unwrap(), empty);
    let outcome = backend.write(KEY, tombstone(), OnlyIf::Missing).await;
    assert_eq!(outcome.unwrap(), Outcome::Found(empty.clone()));
    let other = Stored::new("other");
    let outcome = backend.write(KEY, tombstone(), OnlyIf::Unchanged(&other));
    assert_eq!(outcome.await.unwrap(), Outcome::Found(empty));
}

/// Another program's key of another type is reported as such, also by a Redis without memory, and
/// left alone.
#[tokio::test]
async fn a_key_of_another_type_is_foreign_and_left_alone() {
    let server = RedisServer::start();
    let backend = backend(&server).await;
    let foreign = Outcome::Found(Found::Foreign);
    for (command, kind) in [
        ("RPUSH {} x", "list"),
        ("SADD {} x", "set"),
        ("ZADD {} 1 x", "zset"),
        ("HSET {} f x", "hash"),
        ("XADD {} * f x", "stream"),
    ] {
        server.ask::<()>(&command.replace("{}", KEY)).await;
        for memory in ["0", "1"] {
            set_memory(&server, memory).await;
            let seen = Stored::new("seen");
            let conditions = [OnlyIf::Missing, OnlyIf::Unchanged(&seen)];
            assert_eq!(backend.read(KEY).await.unwrap(), Found::Foreign, "{kind}");
            for only_if in conditions {
                let outcome = backend.write(KEY, tombstone(), only_if).await;
                assert_eq!(outcome.unwrap(), foreign, "{kind}");
                // Without memory Redis refuses a SET before it looks at the key.
                let outcome = backend.write(KEY, record("v"), only_if).await;
                assert!(memory == "1" || outcome.unwrap() == foreign, "{kind}");
            }
        }
        set_memory(&server, "0").await;
        let is: String = server.ask(&format!("TYPE {KEY}")).await;
        assert_eq!(is, kind);
        server.ask::<()>(&format!("DEL {KEY}")).await;
    }
}
