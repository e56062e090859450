//! Limits of calls, and what errors and `Debug` show.

use std::future::{pending, ready};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use session_core::ErrorKind;
use session_core::keyed::{Backend as _, Found, OnlyIf, Outcome, Stored, Write};
use session_redis::{RedisBackend, RedisStorage};
use session_tests::logs::all_texts;
use session_tests::proxy::Proxy;
use session_tests::redis::RedisServer;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::{KEY, MINUTE, PATIENCE, SERVER, TOMBSTONE, backend, found, record, tombstone, written};

/// Closes all connections but its own.
async fn close_connections(server: &RedisServer) {
    let mut killer = server.connection().await;
    let mut kill = redis::cmd("CLIENT");
    kill.arg("KILL").arg("TYPE").arg("normal");
    kill.arg("SKIPME").arg("yes");
    kill.exec_async(&mut killer).await.unwrap();
}

/// The server closes idle connections. The next call reconnects and succeeds, whichever it is.
#[tokio::test]
async fn p6_a_call_on_a_connection_that_was_closed_is_repeated() {
    let server = RedisServer::start();
    let backend = RedisBackend::connect(&server.url()).await.unwrap();
    let backend = backend.with_timeout(PATIENCE);
    for round in 0..10 {
        let key = format!("{KEY}{round}");
        let (a, b) = (Stored::new("a"), Stored::new("b"));
        close_connections(&server).await;
        assert_eq!(backend.read(&key).await.unwrap(), Found::Missing);
        close_connections(&server).await;
        let outcome = backend.write(&key, record("a"), OnlyIf::Missing).await;
        assert_eq!(outcome.unwrap(), written("a"));
        close_connections(&server).await;
        let outcome = backend.write(&key, record("b"), OnlyIf::Unchanged(&a));
        assert_eq!(outcome.await.unwrap(), written("b"));
        close_connections(&server).await;
        let outcome = backend.write(&key, tombstone(), OnlyIf::Unchanged(&b));
        assert_eq!(outcome.await.unwrap(), written(TOMBSTONE));
    }
}

/// The connection is closed after the server has carried out a write, and before its response
/// arrives. The repeated write finds the bytes of the first one, and is done.
#[tokio::test]
async fn p6_a_repeated_write_knows_its_own_bytes() {
    let server = RedisServer::start();
    let proxy = Proxy::start(server.port()).await;
    let url = format!("redis://127.0.0.1:{}/", proxy.port());
    let backend = RedisBackend::connect(&url).await.unwrap();
    let backend = backend.with_timeout(PATIENCE);
    let (a, b) = (Stored::new("a"), Stored::new("b"));
    for (write, only_if, other) in [
        (record("a"), OnlyIf::Missing, None),
        (record("b"), OnlyIf::Unchanged(&a), None),
        // Meanwhile somebody else was there.
        (record("c"), OnlyIf::Unchanged(&b), Some("other")),
    ] {
        // The script is known to the server, so that a write is one command.
        let warm = backend.write("warm", record("x"), OnlyIf::Unchanged(&a));
        warm.await.unwrap();
        proxy.hold_present_replies();
        let value = write.value().clone();
        let lost = async {
            while proxy.held() == 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            if let Some(other) = other {
                server.ask::<String>(&format!("SET {KEY} {other}")).await;
            }
            proxy.cut();
        };
        let (outcome, ()) = tokio::join!(backend.write(KEY, write, only_if), lost);
        let expected = match other {
            None => Outcome::Written(Stored::new(value)),
            Some(other) => found(other),
        };
        assert_eq!(outcome.unwrap(), expected);
    }
    // A first try does not take equal bytes for its own.
    let outcome = backend.write(KEY, record("other"), OnlyIf::Unchanged(&a));
    assert_eq!(outcome.await.unwrap(), found("other"));
}

/// Under load, with connections closed again and again, no call fails. No call meets two closed
/// connections, because it is repeated only once.
#[tokio::test]
async fn p6_closed_connections_under_load_cost_no_error() {
    let server = RedisServer::start();
    let backend = RedisBackend::connect(&server.url()).await.unwrap();
    let backend = backend.with_timeout(PATIENCE);
    let enough = Arc::new(AtomicBool::new(false));
    let rounds: Vec<Arc<AtomicUsize>> = (0..20).map(|_| Arc::default()).collect();
    let writers = rounds.iter().cloned().enumerate().map(|(writer, done)| {
        let (backend, enough) = (backend.clone(), Arc::clone(&enough));
        tokio::spawn(async move {
            let key = format!("{KEY}{writer}");
            let mut seen: Option<Stored> = None;
            while !enough.load(Ordering::Relaxed) {
                let round = done.load(Ordering::Relaxed);
                let write = Write::record(format!("{writer}-{round}"), Some(MINUTE));
                let only_if = seen.as_ref().map_or(OnlyIf::Missing, OnlyIf::Unchanged);
                match backend.write(&key, write, only_if).await.unwrap() {
                    Outcome::Written(stored) => seen = Some(stored),
                    Outcome::Found(found) => panic!("no other client writes: {found:?}"),
                }
                let found = backend.read(&key).await.unwrap();
                assert_eq!(found, Found::Value(seen.clone().unwrap()));
                done.fetch_add(1, Ordering::Relaxed);
            }
        })
    });
    let writers: Vec<_> = writers.collect();
    for _ in 0..100 {
        close_connections(&server).await;
        // Two rounds later each call that met the closed connection is over.
        let goals = rounds.iter().map(|done| done.load(Ordering::Relaxed) + 2);
        for (writer, goal) in goals.collect::<Vec<_>>().into_iter().enumerate() {
            while rounds[writer].load(Ordering::Relaxed) < goal && !writers[writer].is_finished() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
    }
    enough.store(true, Ordering::Relaxed);
    for writer in writers {
        writer.await.unwrap();
    }
}

/// A write of several commands has one limit, although each response comes in time.
#[tokio::test]
async fn p6_a_write_of_several_commands_has_one_limit() {
    for reply in [
        "-NOSCRIPT No matching script. Please use EVAL.\r\n",
        "-OOM command not allowed when used memory > 'maxmemory'.\r\n",
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("redis://{}/", listener.local_addr().unwrap());
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut bytes = vec![0; 4096];
            let mut replies = vec![":1\r\n", reply];
            while let Ok(len @ 1..) = stream.read(&mut bytes).await {
                let command = String::from_utf8_lossy(&bytes[..len]).into_owned();
                if command.contains("IFEQ") {
                    let refused = b"-ERR syntax error\r\n";
                    stream.write_all(refused).await.unwrap();
                } else if command.contains("EVAL") {
                    tokio::time::sleep(Duration::from_millis(400)).await;
                    let reply = replies.pop().unwrap();
                    let _ = stream.write_all(reply.as_bytes()).await;
                } else {
                    let commands = command.matches('*').count();
                    let replies = "+OK\r\n".repeat(commands);
                    stream.write_all(replies.as_bytes()).await.unwrap();
                }
            }
        });
        let backend = RedisBackend::open(&url).unwrap();
        let backend = backend.with_timeout(Duration::from_millis(600));
        let seen = Stored::new("v");
        let outcome = backend
            .write(KEY, tombstone(), OnlyIf::Unchanged(&seen))
            .await;
        let text = all_texts(&outcome.unwrap_err());
        assert!(text.contains("redis: no response within 600ms"), "{text}");
    }
}

/// The cause of a timeout is in the error: the server was not reached, or it was silent.
#[tokio::test]
async fn a_missing_connection_is_told_from_a_missing_response() {
    // The kernel accepts connections, and nothing reads from them.
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent = server.local_addr().unwrap();
    for (address, missing) in [
        // Without a password the connection is made, and the first command is the call's.
        (format!("redis://{silent}/"), "response"),
        (format!("redis://:hunter2@{silent}/"), "connection"),
    ] {
        let backend = RedisBackend::open(&address).unwrap();
        let backend = backend.with_timeout(Duration::from_millis(500));
        let text = all_texts(&backend.read(KEY).await.unwrap_err());
        let expected = format!("redis: no {missing} within 500ms");
        assert!(text.contains(&expected), "{text}");
        assert!(!text.contains("hunter2"), "{text}");
    }
}

/// A wait ends with its result, or after so many times the limit of one call.
#[tokio::test]
async fn p6_a_wait_is_bounded() {
    let backend = backend(&SERVER)
        .await
        .with_timeout(Duration::from_millis(5));
    assert_eq!(backend.bound(ready(7), 4).await.unwrap(), 7);
    let error = backend.bound(pending::<()>(), 4).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    let text = all_texts(&error);
    assert!(text.contains("redis: not done within 20ms"), "{text}");
    let endless = backend.with_timeout(Duration::MAX);
    assert_eq!(endless.bound(ready(7), u32::MAX).await.unwrap(), 7);
}

/// `Debug` shows no password, key or value.
#[tokio::test]
async fn p10_debug_shows_no_password() {
    let backend = RedisBackend::open("redis://hunter2:hunter2@127.0.0.1:1/").unwrap();
    let storage = RedisStorage::new(backend.clone());
    let error = backend.read(KEY).await.unwrap_err();
    let text = format!("{backend:?} {storage:?} {}", all_texts(&error));
    assert!(!text.contains("hunter2"), "{text}");
    assert!(!text.contains(KEY), "{text}");
}
