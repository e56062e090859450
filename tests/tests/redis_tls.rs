//! Redis behind TLS.
#![allow(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "these are tests"
)]

use std::error::Error as _;
use std::time::{Duration, Instant};

use redis::{Client, TlsCertificates};
use session_core::{CookieChange, ErrorKind, Storage};
use session_redis::{Reconnecting, RedisBackend, RedisStorage};
use session_tests::redis::RedisServer;
use session_tests::tls::TlsProxy;

const PATIENCE: Duration = Duration::from_secs(20);

/// As an application connects whose Redis has a certificate of the application's own authority.
fn storage(proxy: &TlsProxy) -> RedisStorage {
    let certificates = TlsCertificates {
        client_tls: None,
        root_cert: Some(proxy.certificate().into()),
    };
    let client = Client::build_with_tls(url(proxy), certificates).unwrap();
    RedisStorage::new(RedisBackend::new(Reconnecting::new(move || {
        let client = client.clone();
        async move { client.get_multiplexed_async_connection().await }
    })))
}

fn url(proxy: &TlsProxy) -> String {
    format!("rediss://:hunter2@localhost:{}/", proxy.port())
}

#[tokio::test]
async fn p6_sessions_live_behind_tls_and_a_restart_ends_with_a_new_connection() {
    let password = ["--requirepass", "hunter2"];
    let mut server = RedisServer::start_with(&password);
    let proxy = TlsProxy::start(server.port(), "localhost").await;
    let storage = storage(&proxy);

    let session = storage.load(&[]).await.unwrap();
    session.insert("user", "ada").unwrap();
    storage.save(&session).await.unwrap();
    let identity = session.identity().unwrap();
    let again = storage.load(&[identity.as_str()]).await.unwrap();
    assert_eq!(again.get::<String>("user").unwrap().unwrap(), "ada");
    again.invalidate().unwrap();
    assert_eq!(storage.save(&again).await.unwrap(), CookieChange::Remove);
    session.insert("late", true).unwrap();
    let late = storage.save(&session).await.map_err(|error| error.kind());
    assert_eq!(late, Err(ErrorKind::Ended));

    server.kill();
    let error = storage.load(&[identity.as_str()]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    server.restart();
    let begun = Instant::now();
    while let Err(error) = storage.load(&[identity.as_str()]).await {
        assert!(
            begun.elapsed() < PATIENCE,
            "it does not come back: {error:?}"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Nothing is said to a server that may be another one, and the operator reads why.
#[tokio::test]
async fn p6_a_certificate_of_unknown_origin_is_an_error_that_says_so() {
    let server = RedisServer::start();
    let proxy = TlsProxy::start(server.port(), "localhost").await;
    let before = connections(&server).await;
    let error = RedisStorage::connect(&url(&proxy)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    let text = format!("{error} {error:?} {}", error.source().unwrap());
    assert!(text.contains("certificate"), "{text}");
    assert!(!text.contains("hunter2"), "{text}");
    assert_eq!(
        connections(&server).await,
        before + 1,
        "only this question's own"
    );
}

/// How many connections the server has taken, that of the question included.
async fn connections(server: &RedisServer) -> u64 {
    let stats: String = server.ask("INFO stats").await;
    let mut lines = stats.lines();
    let count = lines.find_map(|line| line.strip_prefix("total_connections_received:"));
    count.unwrap().parse().unwrap()
}
