//! Connections that are closed while nothing happens: by the server's idle timeout, by a restart,
//! or with the runtime that they belong to. The next command reconnects and succeeds, a write too.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use session_core::{CookieChange, Storage as _};
use session_redis::{RedisBackend, RedisStorage};
use session_tests::redis::RedisServer;
use tokio::runtime::Builder;
use tokio::task::JoinSet;

use crate::PATIENCE;

/// A server, and the addresses over which it is reached: RESP2, RESP3 and a unix socket.
struct Reached {
    server: RedisServer,
    addresses: [String; 3],
}

impl Reached {
    async fn start() -> Self {
        let server = RedisServer::start_with(&["--unixsocket", "socket"]);
        let folder: Vec<String> = server.ask("CONFIG GET dir").await;
        let addresses = [
            server.url(),
            format!("{}?protocol=resp3", server.url()),
            format!("redis+unix://{}/socket", folder[1]),
        ];
        Self { server, addresses }
    }

    async fn connected(&self) -> Vec<RedisStorage> {
        let mut storages = Vec::new();
        for address in &self.addresses {
            let backend = RedisBackend::connect(address).await.unwrap();
            storages.push(RedisStorage::new(backend.with_timeout(PATIENCE)));
        }
        storages
    }
}

async fn log_in(storage: &RedisStorage) -> String {
    let session = storage.load(&[]).await.unwrap();
    session.insert("user", 1).unwrap();
    storage.save(&session).await.unwrap();
    session.identity().unwrap().as_str().to_owned()
}

async fn change(storage: &RedisStorage, cookie: &str, key: &str) {
    let session = storage.load(&[cookie]).await.unwrap();
    session.insert(key, 1).unwrap();
    storage.save(&session).await.unwrap();
}

async fn log_out(storage: &RedisStorage, cookie: &str) {
    let session = storage.load(&[cookie]).await.unwrap();
    session.invalidate().unwrap();
    let change = storage.save(&session).await.unwrap();
    assert_eq!(change, CookieChange::Remove);
    assert!(storage.load(&[cookie]).await.unwrap().is_new());
}

/// Waits until the server has closed all connections but those of the test.
async fn all_closed(server: &RedisServer) {
    let begun = Instant::now();
    loop {
        let clients: String = server.ask("CLIENT LIST TYPE normal").await;
        if clients.lines().count() == 1 {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "{clients}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn p6_a_login_after_the_idle_timeout_of_the_server_succeeds() {
    let reached = Reached::start().await;
    let storages = reached.connected().await;
    let cookies = [
        log_in(&storages[0]).await,
        log_in(&storages[1]).await,
        log_in(&storages[2]).await,
    ];
    let done: String = reached.server.ask("CONFIG SET timeout 1").await;
    assert_eq!(done, "OK");
    all_closed(&reached.server).await;
    for storage in &storages {
        log_in(storage).await; // its first command is a write
    }
    all_closed(&reached.server).await;
    for (storage, cookie) in storages.iter().zip(&cookies) {
        change(storage, cookie, "changed").await;
    }
    all_closed(&reached.server).await;
    for (storage, cookie) in storages.iter().zip(&cookies) {
        log_out(storage, cookie).await;
    }
}

#[tokio::test]
async fn p6_a_login_after_a_restart_succeeds() {
    let mut reached = Reached::start().await;
    let storages = reached.connected().await;
    reached.server.kill();
    reached.server.restart();
    for storage in &storages {
        let cookie = log_in(storage).await;
        log_out(storage, &cookie).await;
    }
}

/// A test framework, or a program that starts its runtime again, makes one runtime after another.
#[test]
fn p6_a_login_in_the_next_runtime_succeeds() {
    let runtime = || Builder::new_current_thread().enable_all().build().unwrap();
    let (reached, storages) = runtime().block_on(async {
        let reached = Reached::start().await;
        let storages = reached.connected().await;
        (reached, storages)
    });
    for _ in 0..3 {
        runtime().block_on(async {
            for storage in &storages {
                let cookie = log_in(storage).await;
                change(storage, &cookie, "changed").await;
                log_out(storage, &cookie).await;
            }
        });
    }
    drop(reached);
}

#[tokio::test]
async fn p6_connections_that_are_killed_under_load_cost_no_error() {
    const FINISHED: u64 = u64::MAX;
    let reached = Reached::start().await;
    let mut users = JoinSet::new();
    let mut progress = Vec::new();
    for storage in reached.connected().await {
        let storage = Arc::new(storage);
        for _ in 0..8 {
            let (storage, done) = (storage.clone(), Arc::new(AtomicU64::new(0)));
            progress.push(done.clone());
            users.spawn(async move {
                let step = || done.fetch_add(1, Ordering::Relaxed);
                for round in 0..20 {
                    let cookie = log_in(&storage).await;
                    step();
                    for key in ["a", "b", "c"] {
                        change(&storage, &cookie, &format!("{key}{round}")).await;
                        step();
                    }
                    let session = storage.load(&[&cookie]).await.unwrap();
                    assert_eq!(session.len(), 4);
                    log_out(&storage, &cookie).await;
                    step();
                }
                done.store(FINISHED, Ordering::Relaxed);
            });
        }
    }
    let mut killed = 0;
    while !users.is_empty() {
        killed += reached
            .server
            .ask::<i64>("CLIENT KILL TYPE normal SKIPME yes")
            .await;
        // A command is repeated once. So no user's command meets two kills.
        let before: Vec<u64> = progress
            .iter()
            .map(|it| it.load(Ordering::Relaxed))
            .collect();
        let begun = Instant::now();
        loop {
            while let Some(done) = users.try_join_next() {
                done.unwrap();
            }
            let mut users = progress.iter().zip(&before);
            if users.all(|(now, before)| {
                let now = now.load(Ordering::Relaxed);
                now == FINISHED || now > *before + 1
            }) {
                break;
            }
            assert!(begun.elapsed() < PATIENCE, "a user stands still");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    assert!(killed > 10, "{killed} connections were killed");
}
