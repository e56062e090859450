//! Reads and writes that are dropped anywhere: the next call gets its own response.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use session_core::keyed::{Backend, Found, OnlyIf, Outcome, Stored, Write};
use session_memcached::MemcachedBackend;
use session_redis::RedisBackend;
use session_tests::memcached::MemcachedServer;
use session_tests::proxy::{Dice, Proxy};
use session_tests::redis::RedisServer;
use tokio::task::JoinSet;

use crate::cancel::Limit;

pub(crate) const PATIENT: Duration = Duration::from_secs(20);

/// How many tasks there are, each with records of its own.
const TASKS: usize = 16;

const TURNS: usize = 120;

/// Drops calls at every point, from many tasks. Each record holds its own key: no call that is not
/// dropped fails, or returns what belongs to another record.
async fn calls_dropped_anywhere(backend: impl Backend, proxy: &Proxy) {
    proxy.split(40, Duration::from_millis(2));
    let backend = Arc::new(backend);
    let dropped = Arc::new(AtomicUsize::new(0));
    let mut tasks = JoinSet::new();
    for task in 0..TASKS {
        let (backend, dropped) = (backend.clone(), dropped.clone());
        tasks.spawn(async move {
            let mut dice = Dice::new(task as u64);
            for turn in 0..TURNS {
                let key = format!("p5_record_{task:03}_{turn:05}");
                if one_record(&*backend, &key, &mut dice).await {
                    dropped.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    let dropped = dropped.load(Ordering::Relaxed);
    println!("{dropped} of {} calls were dropped", TASKS * TURNS);
    assert!(dropped > TASKS * TURNS / 4);
}

/// Creates a record, drops one call on it, and reads it. Returns whether the call was dropped.
async fn one_record(backend: &impl Backend, key: &str, dice: &mut Dice) -> bool {
    let text = |what: &str| Bytes::from(format!("{what} of {key}"));
    let (old, new) = (text("old"), text("new"));
    let limit = Limit::any(dice);
    let what = dice.below(5);
    let create = backend.write(key, Write::record(old.clone(), None), OnlyIf::Missing);
    if what == 0 {
        let created = limit.run(create).await;
        if let Some(created) = &created {
            assert_written(created.as_ref().unwrap(), &old, key);
        }
        match backend.read(key).await.unwrap() {
            Found::Missing => assert!(created.is_none(), "{key}"),
            found => assert_eq!(record(found).value(), &old, "{key}"),
        }
        return created.is_none();
    }
    assert_written(&create.await.unwrap(), &old, key);
    let was = record(backend.read(key).await.unwrap());
    assert_eq!(was.value(), &old, "{key}");
    if what < 3 {
        let read = limit.run(backend.read(key)).await;
        if let Some(read) = &read {
            assert_eq!(record(read.as_ref().unwrap().clone()).value(), &old);
        }
        let found = record(backend.read(key).await.unwrap());
        assert_eq!(found.value(), &old, "{key}");
        return read.is_none();
    }
    let write = match what {
        3 => Write::record(new.clone(), None),
        _ => Write::tombstone(new.clone(), Duration::from_secs(60)),
    };
    let write = backend.write(key, write, OnlyIf::Unchanged(&was));
    let changed = limit.run(write).await;
    if let Some(changed) = &changed {
        assert_written(changed.as_ref().unwrap(), &new, key);
    }
    let found = record(backend.read(key).await.unwrap());
    if changed.is_some() || found.value() != &old {
        assert_eq!(found.value(), &new, "{key}");
    }
    changed.is_none()
}

#[track_caller]
fn record(found: Found) -> Stored {
    match found {
        Found::Value(stored) => stored,
        other => panic!("no record: {other:?}"),
    }
}

#[track_caller]
fn assert_written(outcome: &Outcome, value: &Bytes, key: &str) {
    match outcome {
        Outcome::Written(stored) => assert_eq!(stored.value(), value, "{key}"),
        other @ Outcome::Found(_) => panic!("{key}: {other:?}"),
    }
}

#[tokio::test]
async fn p5_calls_to_redis_dropped_anywhere_leave_no_reply_for_others() {
    let server = RedisServer::start();
    let proxy = Proxy::start(server.port()).await;
    let url = format!("redis://127.0.0.1:{}/", proxy.port());
    let managed = RedisBackend::connect(&url).await.unwrap();
    calls_dropped_anywhere(managed.with_timeout(PATIENT), &proxy).await;
    assert_eq!(proxy.accepted(), 1, "connected once");
}

#[tokio::test]
async fn p5_calls_on_a_multiplexed_connection_dropped_anywhere_leave_no_reply_for_others() {
    let server = RedisServer::start();
    let proxy = Proxy::start(server.port()).await;
    let backend = RedisBackend::new(crate::http::multiplexed(proxy.port()).await);
    calls_dropped_anywhere(backend.with_timeout(PATIENT), &proxy).await;
    assert_eq!(proxy.accepted(), 1);
}

#[tokio::test]
async fn p5_calls_to_memcached_dropped_anywhere_leave_no_reply_for_others() {
    let server = MemcachedServer::start();
    let proxy = Proxy::start(server.port()).await;
    let backend = MemcachedBackend::open(&format!("127.0.0.1:{}", proxy.port())).unwrap();
    let backend = backend.with_timeout(PATIENT).with_max_connections(6);
    calls_dropped_anywhere(backend, &proxy).await;
}

/// After any number of dropped calls and timeouts the pool can still open all its connections.
#[tokio::test]
async fn p5_the_pool_neither_leaks_nor_shrinks() {
    let server = MemcachedServer::start();
    let own = server.own_connections();
    let proxy = Proxy::start(server.port()).await;
    let backend = MemcachedBackend::open(&format!("127.0.0.1:{}", proxy.port())).unwrap();
    let backend = Arc::new(backend.with_timeout(PATIENT).with_max_connections(6));
    for round in 0..30 {
        proxy.hold_replies();
        let mut dropped = JoinSet::new();
        for at in 0..20 {
            let backend = backend.clone();
            dropped.spawn(async move { backend.read(&format!("p5_dropped_{at:012}")).await });
        }
        // Dropped while they connect, send or wait for a connection. Every third time all
        // connections wait for a response.
        if round % 3 == 0 {
            until(|| proxy.held(), 6).await;
        } else {
            tokio::time::sleep(Duration::from_micros(round * 50)).await;
        }
        dropped.shutdown().await;
        proxy.pass();
    }
    for _ in 0..2 {
        proxy.hold_replies();
        let mut asked = JoinSet::new();
        for at in 0..6 {
            let backend = backend.clone();
            asked.spawn(async move { backend.read(&format!("p5_asked_{at:014}")).await });
        }
        until(|| proxy.held(), 6).await;
        assert!(format!("{backend:?}").contains("connections: 6, max_connections: 6"));
        until(|| server.stats()["curr_connections"], own + 6).await;
        proxy.pass();
        while let Some(reply) = asked.join_next().await {
            assert_eq!(reply.unwrap().unwrap(), Found::Missing);
        }
    }
    until(|| proxy.open(), 6).await;
}

/// Polls until `found` returns `sought`.
pub(crate) async fn until<T: PartialEq + std::fmt::Debug>(mut found: impl FnMut() -> T, sought: T) {
    let begun = std::time::Instant::now();
    loop {
        let found = found();
        if found == sought {
            return;
        }
        assert!(begun.elapsed() < PATIENT, "{found:?} is not {sought:?}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
