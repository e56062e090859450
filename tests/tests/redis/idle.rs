//! Connections that are closed while nothing happens: by the server's idle timeout, by a restart,
//! or with the runtime that they belong to. The next command reconnects and succeeds, a write too.

use std::sync::Arc;
use std::time::{Duration, Instant};

use session_redis::{RedisBackend, RedisStorage};
use session_tests::busy::{BusyUsers, change, log_in, log_out};
use session_tests::redis::RedisServer;
use tokio::runtime::Builder;

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
    let reached = Reached::start().await;
    let mut users = BusyUsers::default();
    for storage in reached.connected().await {
        users.start(&Arc::new(storage), 8);
    }
    let mut killed = 0;
    while !users.are_done() {
        killed += reached
            .server
            .ask::<i64>("CLIENT KILL TYPE normal SKIPME yes")
            .await;
        users.go_on(PATIENCE).await;
    }
    assert!(killed > 10, "{killed} connections were killed");
}
