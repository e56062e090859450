//! Limits of calls, and what errors and `Debug` show.

use std::future::{pending, ready};
use std::time::Duration;

use session_core::ErrorKind;
use session_core::keyed::{Backend as _, Found, OnlyIf, Stored};
use session_redis::{RedisBackend, RedisStorage};
use session_tests::redis::RedisServer;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::{KEY, PATIENCE, SERVER, all_of, backend, tombstone};

/// The server closes idle connections: the next read reconnects and succeeds.
#[tokio::test]
async fn p6_a_read_on_a_connection_that_was_closed_is_repeated() {
    let server = RedisServer::start();
    let backend = RedisBackend::connect(&server.url()).await.unwrap();
    let backend = backend.with_timeout(PATIENCE);
    for _ in 0..10 {
        let mut killer = server.connection().await;
        let mut kill = redis::cmd("CLIENT");
        kill.arg("KILL").arg("TYPE").arg("normal");
        kill.arg("SKIPME").arg("yes");
        kill.exec_async(&mut killer).await.unwrap();
        assert_eq!(backend.read(KEY).await.unwrap(), Found::Missing);
    }
}

/// A write of several commands has one limit, although each answer comes in time.
#[tokio::test]
async fn p6_a_write_of_several_commands_has_one_limit() {
    for answer in [
        "-NOSCRIPT No matching script. Please use EVAL.\r\n",
        "-OOM command not allowed when used memory > 'maxmemory'.\r\n",
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("redis://{}/", listener.local_addr().unwrap());
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut bytes = vec![0; 4096];
            let mut answers = vec![":1\r\n", answer];
            while let Ok(len @ 1..) = stream.read(&mut bytes).await {
                let command = String::from_utf8_lossy(&bytes[..len]).into_owned();
                if command.contains("EVAL") {
                    tokio::time::sleep(Duration::from_millis(400)).await;
                    let answer = answers.pop().unwrap();
                    let _ = stream.write_all(answer.as_bytes()).await;
                } else {
                    let commands = command.matches('*').count();
                    let answers = "+OK\r\n".repeat(commands);
                    stream.write_all(answers.as_bytes()).await.unwrap();
                }
            }
        });
        let backend = RedisBackend::connect(&url).await.unwrap();
        let backend = backend.with_timeout(Duration::from_millis(600));
        let seen = Stored::new("v");
        let outcome = backend
            .write(KEY, tombstone(), OnlyIf::Unchanged(&seen))
            .await;
        let text = all_of(&outcome.unwrap_err());
        assert!(text.contains("redis: no answer within 600ms"), "{text}");
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
    let text = all_of(&error);
    assert!(
        text.contains("redis: waited 20ms for other saves of the session"),
        "{text}"
    );
    let endless = backend.with_timeout(Duration::MAX);
    assert_eq!(endless.bound(ready(7), u32::MAX).await.unwrap(), 7);
}

/// `Debug` shows no password, key or value.
#[tokio::test]
async fn p10_debug_shows_no_password() {
    let backend = RedisBackend::open("redis://hunter2:hunter2@127.0.0.1:1/").unwrap();
    let storage = RedisStorage::new(backend.clone());
    let error = backend.read(KEY).await.unwrap_err();
    let text = format!("{backend:?} {storage:?} {}", all_of(&error));
    assert!(!text.contains("hunter2"), "{text}");
    assert!(!text.contains(KEY), "{text}");
}
