//! Servers of other versions: which commands a write becomes, and what follows a failover to
//! another version.

use std::error::Error as _;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use session_core::backend_conformance;
use session_core::keyed::{Backend as _, Found, OnlyIf, Outcome, Stored, Write};
use session_core::{ErrorKind, Storage as _};
use session_redis::{Reconnecting, RedisBackend, RedisStorage};
use session_tests::logs::{Logs, all_texts};
use session_tests::redis::RedisServer;
use session_tests::redis_dialect::{Dialect, RedisDialect};
use tokio::task::JoinSet;

use crate::{KEY, PATIENCE, TOMBSTONE, found, record, set_memory, tombstone, written};

const NO_MEMORY: &str = "sessions cannot be ended while Redis is out of memory";

fn open(server: &RedisDialect) -> RedisBackend<Reconnecting> {
    RedisBackend::open(&server.url())
        .unwrap()
        .with_timeout(PATIENCE)
}

/// Returns the commands that connecting takes.
async fn connect(server: &RedisDialect) -> Vec<String> {
    RedisBackend::connect(&server.url()).await.unwrap();
    server.take()
}

/// Connecting tries what sessions need. Without a script and without a conditional delete, a full
/// server cannot end sessions, and a warning says so.
#[tokio::test]
async fn connecting_tries_what_each_version_knows() {
    let (logs, _capture) = Logs::capture();
    let real = RedisServer::start();
    let first = ["SET", "GET", "SET"];
    for (dialect, with_scripts, without) in [
        (
            Dialect::Redis84,
            &["EVALSHA", "EVAL"][..],
            &["EVALSHA", "DELIFEQ", "DELEX"][..],
        ),
        (Dialect::Valkey9, &["EVALSHA"], &["EVALSHA", "DELIFEQ"]),
        (
            Dialect::Valkey81,
            &["EVALSHA"],
            &["EVALSHA", "DELIFEQ", "DELEX"],
        ),
    ] {
        let server = RedisDialect::start(&real, dialect).await;
        assert_eq!(connect(&server).await, [&first, with_scripts].concat());
        server.without_scripts();
        assert!(!logs.text().contains(NO_MEMORY), "{dialect:?}");
        assert_eq!(connect(&server).await, [&first, without].concat());
        let log = logs.text();
        assert_eq!(
            log.contains(NO_MEMORY),
            dialect == Dialect::Valkey81,
            "{log}"
        );
        let refused = "permissions to run the 'evalsha' command";
        assert_eq!(log.contains(refused), dialect == Dialect::Valkey81, "{log}");
        tokio::time::sleep(Duration::from_secs(2)).await; // what is not deleted expires
        assert_eq!(real.ask::<i64>("DBSIZE").await, 0, "nothing stays");
    }
    let server = RedisDialect::start(&real, Dialect::Redis7).await;
    let commands = connect(&server).await;
    assert_eq!(commands, ["SET", "GET", "SET", "EVALSHA", "EVALSHA"]);
    server.without_scripts();
    let error = RedisBackend::connect(&server.url()).await.unwrap_err();
    let text = error.source().unwrap().to_string();
    assert!(
        text.contains("permissions to run the 'evalsha' command"),
        "{text}"
    );
}

#[tokio::test]
async fn connecting_to_a_server_that_is_too_old_is_an_error_that_says_so() {
    let real = RedisServer::start();
    let server = RedisDialect::start(&real, Dialect::Redis6).await;
    let error = RedisBackend::connect(&server.url()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    let text = error.source().unwrap().to_string();
    assert!(
        text.contains("need Redis 7.0 or newer, or Valkey"),
        "{text}"
    );
}

/// Every write is one command, and so is a conflict, which brings what is there.
#[tokio::test]
async fn p9_no_script_runs_where_the_server_compares() {
    let real = RedisServer::start();
    let server = RedisDialect::start(&real, Dialect::Valkey81).await;
    let backend = open(&server);
    let (v1, v2) = (Stored::new("v1"), Stored::new("v2"));
    let write = async |write, only_if| backend.write(KEY, write, only_if).await.unwrap();
    assert_eq!(write(record("v1"), OnlyIf::Missing).await, written("v1"));
    assert_eq!(
        write(record("v2"), OnlyIf::Unchanged(&v1)).await,
        written("v2")
    );
    assert_eq!(
        write(record("v3"), OnlyIf::Unchanged(&v1)).await,
        found("v2")
    );
    assert_eq!(
        write(tombstone(), OnlyIf::Unchanged(&v2)).await,
        written(TOMBSTONE)
    );
    assert_eq!(
        write(tombstone(), OnlyIf::Unchanged(&v2)).await,
        found(TOMBSTONE)
    );
    assert_eq!(server.take(), ["SET"; 5]);
    let missing = KEY.replace('0', "1");
    let outcome = backend.write(&missing, record("v"), OnlyIf::Unchanged(&v1));
    assert_eq!(outcome.await.unwrap(), Outcome::Found(Found::Missing));
    assert_eq!(server.take(), ["SET", "GET"], "nil is settled by a read");
}

/// A server sends `IFEQ` to its replicas as it is if there is no time to live. An older replica
/// would drop the write. The script reaches it as a plain `SET`.
#[tokio::test]
async fn p6_a_write_without_a_time_to_live_reaches_older_replicas() {
    let real = RedisServer::start();
    let server = RedisDialect::start(&real, Dialect::Redis84).await;
    let backend = open(&server);
    let (v1, v2) = (Stored::new("v1"), Stored::new("v2"));
    let first = backend.write(KEY, record("v1"), OnlyIf::Missing).await;
    assert_eq!(first.unwrap(), written("v1"));
    server.take();
    let forever = |value| Write::record(value, None);
    let outcome = backend.write(KEY, forever("v2"), OnlyIf::Unchanged(&v1));
    assert_eq!(outcome.await.unwrap(), written("v2"));
    assert_eq!(server.take(), ["EVALSHA", "EVAL"]);

    // A user without the right to scripts has no choice.
    server.without_scripts();
    let outcome = backend.write(KEY, forever("v3"), OnlyIf::Unchanged(&v2));
    assert_eq!(outcome.await.unwrap(), written("v3"));
    assert_eq!(server.take(), ["EVALSHA", "SET"]);
}

/// For a minute after an old server refused the command, a user without the right to scripts still
/// writes to a new one.
#[tokio::test]
async fn p6_a_failover_back_costs_a_user_without_scripts_no_error() {
    let real = RedisServer::start();
    let server = RedisDialect::start(&real, Dialect::Redis7).await;
    server.without_scripts();
    let backend = open(&server);
    let v1 = Stored::new("v1");
    let first = backend.write(KEY, record("v1"), OnlyIf::Missing).await;
    assert_eq!(first.unwrap(), written("v1"));
    for _ in 0..2 {
        let refused = backend
            .write(KEY, record("v2"), OnlyIf::Unchanged(&v1))
            .await;
        let text = all_texts(&refused.unwrap_err());
        assert!(
            text.contains("permissions to run the 'evalsha' command"),
            "{text}"
        );
    }
    server.become_another(Dialect::Redis84);
    let outcome = backend.write(KEY, record("v2"), OnlyIf::Unchanged(&v1));
    assert_eq!(outcome.await.unwrap(), written("v2"));
}

/// Some servers respond with nil if the value differs, too.
#[tokio::test]
async fn p2_nil_is_settled_by_a_read() {
    let real = RedisServer::start();
    let server = RedisDialect::start(&real, Dialect::Valkey81).await;
    server.nil_if_unequal();
    let backend = open(&server);
    let other = Stored::new("other");
    let first = backend.write(KEY, record("v"), OnlyIf::Missing).await;
    assert_eq!(first.unwrap(), written("v"));
    let outcome = backend.write(KEY, record("lost"), OnlyIf::Unchanged(&other));
    assert_eq!(outcome.await.unwrap(), found("v"));
}

/// A server that is out of memory ends sessions, also without a script.
#[tokio::test]
async fn p3_a_conditional_delete_ends_sessions_without_memory_and_without_scripts() {
    for dialect in [Dialect::Redis84, Dialect::Valkey9] {
        let real = RedisServer::start_with(&["--maxmemory-policy", "noeviction"]);
        let server = RedisDialect::start(&real, dialect).await;
        server.without_scripts();
        let backend = open(&server);
        let (v, other) = (Stored::new("v"), Stored::new("other"));
        let first = backend.write(KEY, record("v"), OnlyIf::Missing).await;
        assert_eq!(first.unwrap(), written("v"));
        set_memory(&real, "1").await;
        let write = async |only_if| backend.write(KEY, tombstone(), only_if).await.unwrap();
        assert_eq!(write(OnlyIf::Unchanged(&other)).await, found("v"));
        assert_eq!(write(OnlyIf::Unchanged(&v)).await, written(TOMBSTONE));
        assert_eq!(backend.read(KEY).await.unwrap(), Found::Missing);
        let gone = write(OnlyIf::Unchanged(&v)).await;
        assert_eq!(gone, Outcome::Found(Found::Missing));
    }
}

/// A failover to an older version costs no error: the command that it refuses becomes a script.
#[tokio::test]
async fn p6_a_failover_to_another_version_costs_no_error() {
    let real = RedisServer::start();
    let server = RedisDialect::start(&real, Dialect::Redis84).await;
    let backend = open(&server);
    let mut seen = Stored::new("0");
    let first = backend.write(KEY, record("0"), OnlyIf::Missing).await;
    assert_eq!(first.unwrap(), Outcome::Written(seen.clone()));
    for (value, dialect, commands) in [
        ("1", Dialect::Redis84, &["SET"][..]),
        ("2", Dialect::Redis7, &["SET", "EVALSHA", "EVAL"]),
        ("3", Dialect::Redis7, &["EVALSHA"]),
        ("4", Dialect::Valkey9, &["EVALSHA"]), // for a minute
    ] {
        server.become_another(dialect);
        server.take();
        let outcome = backend.write(KEY, record(value), OnlyIf::Unchanged(&seen));
        assert_eq!(outcome.await.unwrap(), written(value));
        assert_eq!(server.take(), commands, "{dialect:?}");
        seen = Stored::new(value);
    }
}

/// In a cluster of several versions no update is lost, whichever node a key lives on.
#[tokio::test]
async fn p2_a_cluster_of_several_versions_loses_no_update() {
    let real = RedisServer::start();
    let server = RedisDialect::start(&real, Dialect::Redis7).await;
    server.by_key(|key| match key.last() {
        Some(digit) if digit % 2 == 0 => Dialect::Redis7,
        _ => Dialect::Valkey81,
    });
    let backend = open(&server);
    let storage = Arc::new(RedisStorage::new(backend));
    let mut cookies = Vec::new();
    for _ in 0..8 {
        let session = storage.load(&[]).await.unwrap();
        session.insert("k", 0).unwrap();
        storage.save(&session).await.unwrap();
        cookies.push(session.identity().unwrap().as_str().to_owned());
    }
    let mut writers = JoinSet::new();
    for writer in 0..4 {
        for cookie in &cookies {
            let (storage, cookie) = (storage.clone(), cookie.clone());
            writers.spawn(async move {
                for count in 0..10 {
                    let session = storage.load(&[&cookie]).await.unwrap();
                    session.insert(&format!("{writer}-{count}"), count).unwrap();
                    storage.save(&session).await.unwrap();
                }
            });
        }
    }
    while let Some(done) = writers.join_next().await {
        done.unwrap();
    }
    for cookie in &cookies {
        let session = storage.load(&[cookie]).await.unwrap();
        assert_eq!(session.len(), 41);
    }
}

static REAL: LazyLock<RedisServer> = LazyLock::new(RedisServer::start);

/// The whole contract, with a Redis 8.4.
async fn redis_84() -> RedisBackend<Reconnecting> {
    let server = RedisDialect::start(&REAL, Dialect::Redis84).await;
    let backend = open(&server);
    // It serves until the test's runtime ends.
    std::mem::forget(server);
    backend
}

backend_conformance!(redis_84);
