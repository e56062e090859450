//! Connections that are dropped while nothing happens or under load: by a firewall that forgets
//! them, or by a proxy that closes them. The command is repeated and succeeds, a write too.

use std::sync::Arc;
use std::time::{Duration, Instant};

use session_core::keyed::{Backend as _, Found, OnlyIf, Outcome, Stored};
use session_memcached::{MemcachedBackend, MemcachedStorage};
use session_tests::busy::{BusyUsers, change, log_in, log_out};
use session_tests::memcached::MemcachedServer;
use session_tests::proxy::Proxy;
use tokio::task::JoinSet;

use crate::{PATIENCE, create, new_key, read, record, tombstone};

/// How many connections the pool holds.
const CONNECTIONS: usize = 8;

async fn proxied(server: &MemcachedServer) -> (MemcachedBackend, Proxy) {
    let proxy = Proxy::start(server.port()).await;
    let backend = MemcachedBackend::open(&format!("127.0.0.1:{}", proxy.port())).unwrap();
    let backend = backend.with_timeout(PATIENCE);
    (backend.with_max_connections(CONNECTIONS), proxy)
}

/// Makes the calls at the same time, on a connection each. All of them must succeed.
async fn at_once<F>(proxy: &Proxy, call: impl Fn(usize) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    proxy.hold_replies();
    let mut calls = JoinSet::new();
    for at in 0..CONNECTIONS {
        calls.spawn(call(at));
    }
    let begun = Instant::now();
    while proxy.held() < CONNECTIONS {
        assert!(begun.elapsed() < PATIENCE, "{} responses", proxy.held());
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    proxy.pass();
    while let Some(done) = calls.join_next().await {
        done.unwrap();
    }
}

/// All connections of the pool are forgotten on the way. A burst of requests then uses each of
/// them once.
#[tokio::test]
async fn p6_a_burst_after_the_network_forgot_all_connections_costs_no_error() {
    let server = MemcachedServer::start();
    let (backend, proxy) = proxied(&server).await;
    let backend = Arc::new(backend);
    let keys: Vec<String> = (0..CONNECTIONS).map(|_| new_key()).collect();
    let call = |at: usize| (backend.clone(), keys[at].clone());
    let begin = |at| {
        let (backend, key) = call(at);
        async move { drop(read(&backend, &key).await) }
    };
    for key in &keys {
        create(&backend, key, "a").await;
    }
    let version = async |key: &str| read(&backend, key).await;
    let mut seen = Vec::new();
    for key in &keys {
        seen.push(version(key).await);
    }

    at_once(&proxy, begin).await;
    proxy.forget_present();
    let before = proxy.accepted();
    at_once(&proxy, begin).await;
    assert_eq!(proxy.accepted(), before + CONNECTIONS as u64);

    proxy.forget_present();
    at_once(&proxy, |at| {
        let ((backend, key), seen) = (call(at), seen[at].clone());
        async move {
            let outcome = backend.write(&key, record("b"), OnlyIf::Unchanged(&seen));
            assert_eq!(outcome.await.unwrap(), Outcome::Written(Stored::new("b")));
        }
    })
    .await;

    proxy.forget_present();
    at_once(&proxy, |at| {
        let (backend, _) = call(at);
        async move { create(&backend, &new_key(), "new").await }
    })
    .await;
}

#[tokio::test]
async fn p6_a_login_after_a_quiet_time_succeeds() {
    let server = MemcachedServer::start();
    let (backend, proxy) = proxied(&server).await;
    let storage = MemcachedStorage::new(backend);
    let cookie = log_in(&storage).await;
    for forget in [Proxy::forget_present, Proxy::cut] {
        forget(&proxy);
        let other = log_in(&storage).await; // its first command is a write
        forget(&proxy);
        change(&storage, &cookie, "changed").await;
        forget(&proxy);
        log_out(&storage, &other).await;
    }
}

/// The connection is closed after memcached has carried out a write, and before its response
/// arrives. The repeated write finds the bytes of the first one, and is done.
#[tokio::test]
async fn p6_a_repeated_write_knows_its_own_bytes() {
    let server = MemcachedServer::start();
    let (backend, proxy) = proxied(&server).await;
    let direct = crate::backend(&server);
    let other = async |key: &str, value: &str| {
        let seen = read(&direct, key).await;
        let outcome = direct.write(key, record(value), OnlyIf::Unchanged(&seen));
        assert!(matches!(outcome.await.unwrap(), Outcome::Written(_)));
    };
    for is_creation in [true, false] {
        for write in [record("own"), tombstone()] {
            for is_in_time in [true, false] {
                let key = new_key();
                let mut only_if = OnlyIf::Missing;
                let seen;
                if !is_creation {
                    create(&backend, &key, "before").await;
                    seen = read(&backend, &key).await;
                    only_if = OnlyIf::Unchanged(&seen);
                }
                assert_eq!(backend.read("warm").await.unwrap(), Found::Missing);
                let value = write.value().clone();
                proxy.hold_present_replies();
                let lost = async {
                    while proxy.held() == 0 {
                        tokio::time::sleep(Duration::from_millis(1)).await;
                    }
                    if is_in_time {
                        other(&key, "other").await;
                    }
                    proxy.cut();
                };
                let call = backend.write(&key, write.clone(), only_if);
                let (outcome, ()) = tokio::join!(call, lost);
                let now = read(&direct, &key).await;
                if is_in_time {
                    assert_eq!(now.value(), "other");
                    assert_eq!(outcome.unwrap(), Outcome::Found(Found::Value(now)));
                } else {
                    assert_eq!(now.value(), &value);
                    assert_eq!(outcome.unwrap(), Outcome::Written(now));
                }
                proxy.pass();
            }
        }
    }
}

#[tokio::test]
async fn p6_connections_that_are_closed_under_load_cost_no_error() {
    let server = MemcachedServer::start();
    let (backend, proxy) = proxied(&server).await;
    let storage = Arc::new(MemcachedStorage::new(backend));
    let mut users = BusyUsers::default();
    users.start(&storage, 16);
    let mut rounds = 0;
    while !users.are_done() {
        match rounds % 2 {
            0 => proxy.cut(),
            _ => proxy.forget_present(),
        }
        rounds += 1;
        users.go_on(PATIENCE).await;
    }
    assert!(rounds > 10, "the connections were closed {rounds} times");
}
