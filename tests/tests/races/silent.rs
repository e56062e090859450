//! P6 for savers that wait for each other: a store that is silent, a saver that is cancelled and a
//! saver that is not polled hold none of the others beyond its limit.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use session_core::{CookieChange, ErrorKind, Result, Session, Storage};
use session_memcached::{MemcachedBackend, MemcachedStorage};
use session_redis::{RedisBackend, RedisStorage};
use session_tests::memcached::MemcachedServer;
use session_tests::proxy::Proxy;
use session_tests::redis::RedisServer;
use tokio::task::JoinSet;

/// The limit for each call, where calls are to reach it.
const SHORT: Duration = Duration::from_millis(200);

/// A busy machine is no failure. Far beyond five times `SHORT`, the limit for a whole save.
const PATIENCE: Duration = Duration::from_secs(20);

const SAVERS: usize = 30;

/// A store behind a proxy.
struct Behind<S> {
    proxy: Proxy,
    _server: S,
}

impl Behind<RedisServer> {
    async fn redis() -> Self {
        let server = RedisServer::start();
        let proxy = Proxy::start(server.port()).await;
        Self {
            proxy,
            _server: server,
        }
    }

    async fn storage(&self, timeout: Duration) -> Arc<dyn Storage> {
        let url = format!("redis://127.0.0.1:{}/", self.proxy.port());
        let backend = RedisBackend::connect(&url).await.unwrap();
        Arc::new(RedisStorage::new(backend.with_timeout(timeout)))
    }
}

impl Behind<MemcachedServer> {
    async fn memcached() -> Self {
        let server = MemcachedServer::start();
        let proxy = Proxy::start(server.port()).await;
        Self {
            proxy,
            _server: server,
        }
    }

    fn storage(&self, timeout: Duration) -> Arc<dyn Storage> {
        let address = format!("127.0.0.1:{}", self.proxy.port());
        let backend = MemcachedBackend::open(&address).unwrap();
        Arc::new(MemcachedStorage::new(backend.with_timeout(timeout)))
    }
}

/// Sessions that loaded the same record, each with a key of its own.
async fn changed(storage: &Arc<dyn Storage>) -> (String, Vec<Session>) {
    let first = storage.load(&[]).await.unwrap();
    first.insert("first", true).unwrap();
    let CookieChange::Set { value: cookie, .. } = storage.save(&first).await.unwrap() else {
        panic!("no cookie")
    };
    let mut sessions = Vec::new();
    for number in 0..SAVERS {
        let session = storage.load(&[&cookie]).await.unwrap();
        session.insert(&format!("k{number}"), number).unwrap();
        sessions.push(session);
    }
    (cookie, sessions)
}

/// Saves all of them at the same time. Each save must end.
async fn save_all(storage: &Arc<dyn Storage>, sessions: &[Session]) -> Vec<Result<CookieChange>> {
    let mut saves = JoinSet::new();
    for session in sessions {
        let (storage, session) = (storage.clone(), session.clone());
        saves.spawn(async move {
            let save = tokio::time::timeout(PATIENCE, storage.save(&session)).await;
            save.expect("a save without an end")
        });
    }
    saves.join_all().await
}

#[track_caller]
fn assert_unavailable(results: &[Result<CookieChange>]) {
    for result in results {
        let kind = result.as_ref().map_err(session_core::Error::kind);
        assert_eq!(kind.err(), Some(ErrorKind::Unavailable));
    }
}

/// Saves until the store responds again.
async fn recovers(storage: &Arc<dyn Storage>, cookie: &str, sessions: &[Session]) {
    let begun = Instant::now();
    while save_all(storage, sessions).await.iter().any(Result::is_err) {
        assert!(begun.elapsed() < PATIENCE, "it does not recover");
    }
    let session = storage.load(&[cookie]).await.unwrap();
    assert_eq!(session.len(), SAVERS + 1, "{:?}", session.keys());
}

/// The store does not respond, or does not even get the commands.
async fn silent(storage: Arc<dyn Storage>, proxy: &Proxy) {
    let (cookie, sessions) = changed(&storage).await;
    for (round, hold) in [Proxy::hold_replies, Proxy::black_hole].iter().enumerate() {
        for (number, session) in sessions.iter().enumerate() {
            session.insert(&format!("k{number}"), round).unwrap();
        }
        hold(proxy);
        assert_unavailable(&save_all(&storage, &sessions).await);
        proxy.pass();
        recovers(&storage, &cookie, &sessions).await;
    }
}

/// A saver whose turn it is stops being polled: the others give up. Other sessions do not notice.
async fn not_polled(storage: Arc<dyn Storage>) {
    let (cookie, sessions) = changed(&storage).await;
    let mut holder = storage.save(&sessions[0]);
    assert!(is_pending(&mut holder));
    assert_unavailable(&save_all(&storage, &sessions[1..]).await);
    changed(&storage).await;
    drop(holder);
    recovers(&storage, &cookie, &sessions).await;
}

/// Savers are dropped: the one whose turn it is, one that waits, and one that has just got the
/// turn. Each passes the turn on.
async fn cancelled(storage: Arc<dyn Storage>) {
    let (cookie, sessions) = changed(&storage).await;
    let mut saves: Vec<Saving<'_>> = sessions.iter().map(|one| storage.save(one)).collect();
    for save in &mut saves {
        assert!(is_pending(save));
    }
    drop(saves.remove(4));
    drop(saves.remove(0));
    drop(saves.remove(0));
    for save in saves {
        let saved = tokio::time::timeout(PATIENCE, save).await;
        saved.expect("the turn is lost").unwrap();
    }
    let session = storage.load(&[&cookie]).await.unwrap();
    for number in [2, 3, 5, SAVERS - 1] {
        assert!(session.contains_key(&format!("k{number}")));
    }
    recovers(&storage, &cookie, &sessions).await;
}

type Saving<'a> = Pin<Box<dyn Future<Output = Result<CookieChange>> + Send + 'a>>;

/// Polls once.
fn is_pending(save: &mut Saving<'_>) -> bool {
    let mut context = Context::from_waker(Waker::noop());
    save.as_mut().poll(&mut context).is_pending()
}

#[tokio::test]
async fn p6_redis_that_is_silent_holds_no_saver() {
    let behind = Behind::redis().await;
    silent(behind.storage(SHORT).await, &behind.proxy).await;
}

#[tokio::test]
async fn p6_memcached_that_is_silent_holds_no_saver() {
    let behind = Behind::memcached().await;
    silent(behind.storage(SHORT), &behind.proxy).await;
}

#[tokio::test]
async fn p6_a_saver_that_is_not_polled_holds_no_other() {
    let behind = Behind::redis().await;
    not_polled(behind.storage(SHORT).await).await;
    let behind = Behind::memcached().await;
    not_polled(behind.storage(SHORT)).await;
}

#[tokio::test]
async fn p5_a_saver_that_is_cancelled_passes_the_turn_on() {
    let behind = Behind::redis().await;
    cancelled(behind.storage(PATIENCE).await).await;
    let behind = Behind::memcached().await;
    cancelled(behind.storage(PATIENCE)).await;
}
