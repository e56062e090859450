//! Sessions in several memcached behind nutcracker: the conformance suites, and a server that dies.
#![allow(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "these are tests"
)]

use std::collections::BTreeSet;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use session_core::{CookieSettings, ErrorKind, ManualClock, Storage};
use session_core::{backend_conformance, keyed_conformance};
use session_hyper::RequestSession as _;
use session_memcached::{MemcachedBackend, MemcachedStorage};
use session_tests::memcached::MemcachedServer;
use session_tests::nutcracker::Nutcracker;
use session_tests::server::{BoxError, Server, pair, set_cookies};

static PROXY: LazyLock<Nutcracker> = LazyLock::new(|| Nutcracker::start(3));

async fn nutcracker(cookie: CookieSettings, clock: ManualClock) -> MemcachedStorage {
    let storage = MemcachedStorage::connect(&PROXY.address()).await.unwrap();
    storage.with_cookie(cookie).with_clock(clock)
}

async fn nutcracker_backend() -> MemcachedBackend {
    MemcachedBackend::open(&PROXY.address()).unwrap()
}

keyed_conformance!(nutcracker);
backend_conformance!(nutcracker_backend);

/// What a call may take, and what a busy machine adds.
const BOUND: Duration = Duration::from_secs(1);
const SLACK: Duration = Duration::from_secs(2);

#[tokio::test]
async fn p6_sessions_of_a_server_that_died_are_unavailable_and_the_others_work() {
    let mut proxy = Nutcracker::start(3);
    let backend = MemcachedBackend::open(&proxy.address()).unwrap();
    let storage: Arc<dyn Storage> = Arc::new(MemcachedStorage::new(backend.with_timeout(BOUND)));
    let server = Server::start(
        storage.clone(),
        |request: http::Request<hyper::body::Incoming>| async move {
            let session = request.session().await?;
            session.update("count", |count: Option<u64>| count.unwrap_or(0) + 1)?;
            Ok::<_, BoxError>(http::Response::new(String::new()))
        },
    )
    .await;
    let mut cookies = BTreeSet::new();
    for _ in 0..60 {
        let response = server.get("/", &[]).await;
        let set = set_cookies(&response, "AIOHTTP_SESSION");
        cookies.insert(pair(&set[0]).to_owned());
    }
    let keys: Vec<Vec<String>> = proxy.servers.iter().map(MemcachedServer::keys).collect();
    assert_eq!(keys.iter().map(Vec::len).sum::<usize>(), cookies.len());
    assert!(
        keys.iter().all(|keys| keys.len() > 5),
        "not spread: {keys:?}"
    );
    for server in &proxy.servers {
        assert!(server.stats()["cmd_set"] > 0, "{:?}", server.stats());
    }

    let dead: BTreeSet<String> = keys[1].iter().cloned().collect();
    let dies = |cookie: &str| dead.contains(&cookie.replace('=', "_"));
    proxy.servers[1].kill();
    for cookie in &cookies {
        let begun = Instant::now();
        let response = server.get("/", &[cookie.as_bytes()]).await;
        assert!(begun.elapsed() < BOUND + SLACK, "{:?}", begun.elapsed());
        let expected = if dies(cookie) { 503 } else { 200 };
        assert_eq!(response.status(), expected, "{cookie}");
        if dies(cookie) {
            let set = set_cookies(&response, "AIOHTTP_SESSION");
            assert!(set.is_empty(), "{set:?}");
        }
    }
    let gone = cookies.iter().find(|cookie| dies(cookie)).unwrap();
    let error = storage
        .load(&[gone.split('=').nth(1).unwrap()])
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);

    proxy.servers[1].restart();
    let begun = Instant::now();
    for cookie in cookies.iter().filter(|cookie| dies(cookie)) {
        // Its sessions are gone. Their clients get new ones.
        loop {
            let response = server.get("/", &[cookie.as_bytes()]).await;
            if response.status() == 200 {
                let set = set_cookies(&response, "AIOHTTP_SESSION");
                assert_ne!(pair(&set[0]), cookie);
                break;
            }
            assert!(
                begun.elapsed() < Duration::from_secs(5),
                "it does not resume"
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}
