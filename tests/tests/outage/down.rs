//! The store is killed, stopped, or comes back empty.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use session_tests::memcached::MemcachedServer;
use session_tests::processes::Process;
use session_tests::redis::RedisServer;
use tokio::task::{JoinSet, block_in_place};

use crate::app::{ALL, Client, PATIENCE, ask, serve};

/// A store's process, whichever it is.
#[derive(Debug)]
enum Store {
    Redis(RedisServer),
    Memcached(MemcachedServer),
}

impl Store {
    fn address(&self) -> String {
        match self {
            Self::Redis(server) => server.url(),
            Self::Memcached(server) => server.address(),
        }
    }

    fn kill(&mut self) {
        block_in_place(|| match self {
            Self::Redis(server) => server.kill(),
            Self::Memcached(server) => server.kill(),
        });
    }

    fn restart(&mut self) {
        block_in_place(|| match self {
            Self::Redis(server) => server.restart(),
            Self::Memcached(server) => server.restart(),
        });
    }

    fn process(&self) -> &Process {
        match self {
            Self::Redis(server) => server.process(),
            Self::Memcached(server) => server.process(),
        }
    }
}

/// Clients that write one after the other until it is over; each response is harmless. They give
/// back how many there were of each status.
#[derive(Debug)]
struct Load {
    over: Arc<AtomicBool>,
    responded: Arc<AtomicUsize>,
    clients: JoinSet<(usize, usize)>,
}

impl Load {
    fn start(clients: Vec<Client>) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let responded = Arc::new(AtomicUsize::new(0));
        let mut running = JoinSet::new();
        for mut client in clients {
            let (over, responded) = (over.clone(), responded.clone());
            running.spawn(async move {
                let (mut done, mut refused) = (0, 0);
                while !over.load(Ordering::SeqCst) {
                    let response = client.ask(&format!("/write/k{}", done % 20)).await;
                    if response.status == 200 {
                        // Its own cookie again; or another one, once the store had forgotten it.
                        client.cookie = response.cookie().unwrap();
                        done += 1;
                        responded.fetch_add(1, Ordering::SeqCst);
                    } else {
                        refused += 1;
                    }
                }
                (done, refused)
            });
        }
        Self {
            over,
            responded,
            clients: running,
        }
    }

    /// Waits until there were so many responses more.
    async fn response(&self, count: usize) {
        let (begun, before) = (Instant::now(), self.responded.load(Ordering::SeqCst));
        while self.responded.load(Ordering::SeqCst) < before + count {
            assert!(
                begun.elapsed() < PATIENCE,
                "the load gets no more responses"
            );
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    async fn end(mut self) -> (usize, usize) {
        self.over.store(true, Ordering::SeqCst);
        let (mut done, mut refused) = (0, 0);
        while let Some(client) = self.clients.join_next().await {
            let client = client.unwrap();
            done += client.0;
            refused += client.1;
        }
        (done, refused)
    }
}

async fn clients(web: std::net::SocketAddr) -> Vec<Client> {
    let mut clients = Vec::new();
    for _ in 0..12 {
        clients.push(Client::new(web).await);
    }
    clients
}

/// Killed with -9 under load, and restarted empty. Every client then has a new session, under a new
/// identity.
async fn killed(mut store: Store) {
    let server = serve(&store.address()).await;
    let client = Client::new(server.address()).await;
    let load = Load::start(clients(server.address()).await);
    for round in 0..2 {
        load.response(100).await;
        store.kill();
        client.expect(503, &ALL).await;
        store.restart();
        let response = client.resumes(&format!("killed, round {round}")).await;
        assert_eq!((&*response.body, response.set_cookie), ("", None));
    }
    let response = client.ask("/write/again").await;
    assert_ne!(response.cookie().unwrap(), client.cookie);
    assert_eq!(response.body, "again");
    let (done, refused) = load.end().await;
    println!("under load: {done} succeeded, {refused} refused");
    assert!(done > 0 && refused > 0);
}

/// Killed and restarted between two requests.
async fn killed_unnoticed(mut store: Store) {
    let server = serve(&store.address()).await;
    let client = Client::new(server.address()).await;
    store.kill();
    store.restart();
    let mut refused = 0;
    while client.ask("/read").await.status != 200 {
        refused += 1;
    }
    println!("refused after a restart between two requests: {refused}");
    assert_eq!(refused, 0, "the first request after a restart");
}

/// Stopped, so that connections hang: bounded 503s, and all as it was once it goes on.
async fn stopped(store: Store) {
    let server = serve(&store.address()).await;
    let client = Client::new(server.address()).await;
    let load = Load::start(clients(server.address()).await);
    load.response(100).await;
    store.process().stop();
    client.expect(503, &ALL).await;
    store.process().signal("CONT");
    load.response(100).await;
    let response = client.resumes("stopped").await;
    assert_eq!(response.body, "first");
    let response = client.ask("/write/after").await;
    assert_eq!(
        (&*response.body, response.cookie()),
        ("first after", Some(client.cookie.clone()))
    );
    let (done, refused) = load.end().await;
    println!("under load: {done} succeeded, {refused} refused");
    assert!(done > 0 && refused > 0);
}

/// A client that has no session is refused one, and gets it afterwards.
async fn no_first_session(store: Store) {
    let server = serve(&store.address()).await;
    store.process().stop();
    let response = ask(server.address(), "/write/first", None).await.unwrap();
    response.assert_harmless();
    assert_eq!(response.status, 503);
    let read = ask(server.address(), "/read", None).await.unwrap();
    assert_eq!(read.status, 200, "no cookie needs no store");
    store.process().signal("CONT");
    Client::new(server.address())
        .await
        .expect(200, &["/read", "/write/k"])
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p6_redis_killed_under_load_does_no_harm() {
    killed(Store::Redis(RedisServer::start())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p6_memcached_killed_under_load_does_no_harm() {
    killed(Store::Memcached(MemcachedServer::start())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p6_a_restart_of_redis_while_idle_costs_no_request() {
    killed_unnoticed(Store::Redis(RedisServer::start())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p6_a_restart_of_memcached_while_idle_costs_no_request() {
    killed_unnoticed(Store::Memcached(MemcachedServer::start())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p6_redis_that_hangs_does_no_harm() {
    stopped(Store::Redis(RedisServer::start())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p6_memcached_that_hangs_does_no_harm() {
    stopped(Store::Memcached(MemcachedServer::start())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p6_a_first_session_is_not_promised_by_a_store_that_hangs() {
    no_first_session(Store::Redis(RedisServer::start())).await;
    no_first_session(Store::Memcached(MemcachedServer::start())).await;
}
