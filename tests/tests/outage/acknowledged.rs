//! What was acknowledged is there: clients write down every 200, whatever is killed meanwhile, and
//! the store is searched for it.

use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use session_core::Storage;
use session_tests::memcached::MemcachedServer;
use session_tests::processes::new_folder;
use session_tests::proxy::Proxy;
use session_tests::redis::RedisServer;
use tokio::sync::watch;
use tokio::task::{JoinSet, block_in_place};

use crate::app::{PATIENCE, ask, serve, storage};
use crate::serving::WebProcess;

const SESSIONS: usize = 4;

/// Of each session, so that saves meet.
const WRITERS: usize = 2;

/// Writers that ask at the address that is said last, each key once, until there is none.
#[derive(Debug)]
struct Writers {
    web: watch::Sender<Option<SocketAddr>>,
    cookies: Vec<String>,
    acknowledged: Arc<AtomicUsize>,
    /// Which key of which session there must be.
    running: JoinSet<Vec<(usize, String)>>,
}

impl Writers {
    async fn start(web: SocketAddr) -> Self {
        let mut writers = Self {
            web: watch::Sender::new(Some(web)),
            cookies: Vec::new(),
            acknowledged: Arc::default(),
            running: JoinSet::new(),
        };
        for session in 0..SESSIONS {
            let response = ask(web, "/write/first", None).await.unwrap();
            let cookie = response.cookie().unwrap();
            for writer in 0..WRITERS {
                let (cookie, web) = (cookie.clone(), writers.web.subscribe());
                let acknowledged = writers.acknowledged.clone();
                writers.running.spawn(async move {
                    let mut keys = Vec::new();
                    for number in 0.. {
                        let Some(address) = *web.borrow() else { break };
                        let key = format!("w{writer}n{number}");
                        let response = ask(address, &format!("/write/{key}"), Some(&cookie)).await;
                        let Some(response) = response else {
                            // The server was killed, before it responded or between two of them.
                            tokio::time::sleep(Duration::from_millis(2)).await;
                            continue;
                        };
                        response.assert_harmless();
                        if response.status == 200 {
                            assert_eq!(response.cookie(), Some(cookie.clone()), "another session");
                            acknowledged.fetch_add(1, Ordering::SeqCst);
                            keys.push((session, key));
                        }
                    }
                    keys
                });
            }
            writers.cookies.push(cookie);
        }
        writers
    }

    /// Waits until `count` more writes are acknowledged.
    async fn acknowledge(&self, count: usize) {
        let (begun, before) = (Instant::now(), self.acknowledged.load(Ordering::SeqCst));
        while self.acknowledged.load(Ordering::SeqCst) < before + count {
            assert!(
                begun.elapsed() < PATIENCE,
                "nothing is acknowledged any more"
            );
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Ends them, and finds in the store all that was acknowledged.
    async fn check(mut self, storage: Arc<dyn Storage>) {
        self.web.send_replace(None);
        let mut acknowledged = Vec::new();
        while let Some(keys) = self.running.join_next().await {
            acknowledged.extend(keys.unwrap());
        }
        println!("{} writes were acknowledged", acknowledged.len());
        let mut lost = Vec::new();
        for (session, cookie) in self.cookies.iter().enumerate() {
            let found = storage.load(&[cookie]).await.unwrap();
            assert!(found.contains_key("first"), "the session is gone");
            let mine = acknowledged.iter().filter(|(whose, _)| *whose == session);
            lost.extend(mine.filter(|(_, key)| !found.contains_key(key)));
        }
        assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
    }
}

/// The web server is killed with -9 between any two of its instructions.
async fn web_server_killed(store: &str) {
    let mut web = block_in_place(|| WebProcess::start(store));
    let writers = Writers::start(web.address()).await;
    for _ in 0..4 {
        writers.acknowledge(40).await;
        web = block_in_place(|| {
            web.kill();
            WebProcess::start(store)
        });
        writers.web.send_replace(Some(web.address()));
    }
    writers.acknowledge(10).await;
    writers.check(storage(store).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p6_what_was_acknowledged_is_in_redis_though_the_web_server_was_killed() {
    let store = RedisServer::start();
    web_server_killed(&store.url()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p6_what_was_acknowledged_is_in_memcached_though_the_web_server_was_killed() {
    let store = MemcachedServer::start();
    web_server_killed(&store.address()).await;
}

/// Replies cut in the middle, and connections closed while they are used.
async fn connections_dropped(through: &str, proxy: &Proxy, store: &str) {
    let web = serve(through).await;
    let writers = Writers::start(web.address()).await;
    for round in 0..4 {
        proxy.tear(if round % 2 == 0 { 6 } else { 0 });
        proxy.cut_every(if round < 2 { 0 } else { 2 });
        for _ in 0..5 {
            writers.acknowledge(8).await;
            proxy.cut();
        }
    }
    proxy.tear(0);
    proxy.cut_every(0);
    writers.acknowledge(10).await;
    println!("{} connections", proxy.accepted());
    assert!(proxy.accepted() > 20);
    writers.check(storage(store).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p6_what_was_acknowledged_is_in_redis_though_connections_were_dropped() {
    let store = RedisServer::start();
    let proxy = Proxy::start(store.port()).await;
    let through = format!("redis://127.0.0.1:{}/", proxy.port());
    connections_dropped(&through, &proxy, &store.url()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p6_what_was_acknowledged_is_in_memcached_though_connections_were_dropped() {
    let store = MemcachedServer::start();
    let proxy = Proxy::start(store.port()).await;
    let through = format!("127.0.0.1:{}", proxy.port());
    connections_dropped(&through, &proxy, &store.address()).await;
}

/// A Redis that writes down each command before it responds keeps what it acknowledged.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p6_what_was_acknowledged_is_in_redis_though_redis_was_killed() {
    let folder = new_folder();
    fs::create_dir_all(&folder).unwrap();
    let dir = folder.to_str().unwrap();
    let always = [
        "--dir",
        dir,
        "--appendonly",
        "yes",
        "--appendfsync",
        "always",
    ];
    let mut store = RedisServer::start_with(&always);
    let web = serve(&store.url()).await;
    let writers = Writers::start(web.address()).await;
    for _ in 0..3 {
        writers.acknowledge(40).await;
        block_in_place(|| {
            store.kill();
            store.restart();
        });
    }
    writers.acknowledge(10).await;
    writers.check(storage(&store.url()).await).await;
    drop(store);
    fs::remove_dir_all(folder).unwrap();
}
