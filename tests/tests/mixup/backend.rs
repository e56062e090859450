//! The four primitives, dropped anywhere: what is asked next gets its own answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use session_core::{Backend, Connect as _, Create, Replace};
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

/// Drops calls at every point, from many tasks. Each record holds its own key: no call that is let
/// finish fails, or says what is another record's.
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

/// Creates, drops one call on it, and reads; returns whether the call was dropped.
async fn one_record(backend: &impl Backend, key: &str, dice: &mut Dice) -> bool {
    let text = |what: &str| bytes::Bytes::from(format!("{what} of {key}"));
    let (old, new) = (text("old"), text("new"));
    let limit = Limit::any(dice);
    let what = dice.below(5);
    if what == 0 {
        let created = limit.run(backend.create(key, old.clone(), None)).await;
        if let Some(created) = &created {
            assert_eq!(created.as_ref().unwrap(), &Create::Done, "{key}");
        }
        let found = backend.read(key).await.unwrap();
        if created.is_some() || found.is_some() {
            assert_eq!(found.unwrap().value, old, "{key}");
        }
        return created.is_none();
    }
    let created = backend.create(key, old.clone(), None).await;
    assert_eq!(created.unwrap(), Create::Done, "{key}");
    let was = backend.read(key).await.unwrap().unwrap();
    assert_eq!(was.value, old, "{key}");
    if what < 3 {
        let read = limit.run(backend.read(key)).await;
        if let Some(read) = &read {
            assert_eq!(read.as_ref().unwrap().as_ref().unwrap().value, old);
        }
        let found = backend.read(key).await.unwrap().unwrap();
        assert_eq!(found.value, old, "{key}");
        return read.is_none();
    }
    let changed = if what == 3 {
        limit
            .run(backend.replace(key, new.clone(), None, &was))
            .await
    } else {
        limit.run(backend.delete(key, Some(&was))).await
    };
    if let Some(changed) = &changed {
        assert!(matches!(changed, Ok(Replace::Done)), "{key}: {changed:?}");
    }
    let found = backend.read(key).await.unwrap();
    match found {
        Some(found) if changed.is_none() && found.value == old => {}
        Some(found) => assert!(what == 3 && found.value == new, "{key}: {found:?}"),
        None => assert_eq!(what, 4, "{key}"),
    }
    changed.is_none()
}

#[tokio::test]
async fn p5_calls_to_redis_dropped_anywhere_leave_no_answer_for_others() {
    let server = RedisServer::start();
    let proxy = Proxy::start(server.port()).await;
    let url = format!("redis://127.0.0.1:{}/", proxy.port());
    let managed = RedisBackend::connect(&url).await.unwrap();
    calls_dropped_anywhere(managed.with_timeout(PATIENT), &proxy).await;
    assert_eq!(proxy.accepted(), 1, "connected once");
}

#[tokio::test]
async fn p5_calls_on_a_multiplexed_connection_dropped_anywhere_leave_no_answer_for_others() {
    let server = RedisServer::start();
    let proxy = Proxy::start(server.port()).await;
    let backend = RedisBackend::new(crate::http::multiplexed(proxy.port()).await);
    calls_dropped_anywhere(backend.with_timeout(PATIENT), &proxy).await;
    assert_eq!(proxy.accepted(), 1);
}

#[tokio::test]
async fn p5_calls_to_memcached_dropped_anywhere_leave_no_answer_for_others() {
    let server = MemcachedServer::start();
    let proxy = Proxy::start(server.port()).await;
    let backend = MemcachedBackend::open(&format!("127.0.0.1:{}", proxy.port())).unwrap();
    let backend = backend.with_timeout(PATIENT).with_max_connections(6);
    calls_dropped_anywhere(backend, &proxy).await;
}

/// However many calls were dropped, or timed out, all places in the pool can still be used.
#[tokio::test]
async fn p5_the_pool_neither_leaks_nor_shrinks() {
    let server = MemcachedServer::start();
    let own = server.own_connections();
    let proxy = Proxy::start(server.port()).await;
    let backend = MemcachedBackend::open(&format!("127.0.0.1:{}", proxy.port())).unwrap();
    let backend = Arc::new(backend.with_timeout(PATIENT).with_max_connections(6));
    for round in 0..30 {
        proxy.hold_answers();
        let mut dropped = JoinSet::new();
        for at in 0..20 {
            let backend = backend.clone();
            dropped.spawn(async move { backend.read(&format!("p5_dropped_{at:012}")).await });
        }
        // Dropped while they connect, ask or wait for their turn; every third time when all places
        // are taken by somebody who waits for an answer.
        if round % 3 == 0 {
            until(|| proxy.held(), 6).await;
        } else {
            tokio::time::sleep(Duration::from_micros(round * 50)).await;
        }
        dropped.shutdown().await;
        proxy.pass();
    }
    for _ in 0..2 {
        proxy.hold_answers();
        let mut asked = JoinSet::new();
        for at in 0..6 {
            let backend = backend.clone();
            asked.spawn(async move { backend.read(&format!("p5_asked_{at:014}")).await });
        }
        until(|| proxy.held(), 6).await;
        assert!(format!("{backend:?}").contains("connections: 6, max_connections: 6"));
        until(|| server.stats()["curr_connections"], own + 6).await;
        proxy.pass();
        while let Some(answer) = asked.join_next().await {
            assert!(answer.unwrap().unwrap().is_none());
        }
    }
    until(|| proxy.open(), 6).await;
}

/// Polls until it is so.
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
