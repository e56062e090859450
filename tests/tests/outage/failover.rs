//! The master becomes a replica, and another server the master.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use redis::Client;
use session_core::{CookieChange, Storage as _};
use session_redis::{Reconnecting, RedisBackend, RedisStorage};
use session_tests::redis::RedisServer;

use crate::app::{BOUND, PATIENCE};

/// The address of the master changes, in the sentinels or behind a name. The connection to the old
/// master stays open, and that replies READONLY from then on.
#[tokio::test]
async fn p6_a_save_finds_the_new_master_after_a_failover() {
    let (first, second) = (RedisServer::start(), RedisServer::start());
    let failed_over = Arc::new(AtomicBool::new(false));
    let clients = [first.url(), second.url()].map(|url| Client::open(url).unwrap());
    let connection = Reconnecting::new({
        let failed_over = failed_over.clone();
        move || {
            let client = clients[usize::from(failed_over.load(Ordering::SeqCst))].clone();
            async move { client.get_multiplexed_async_connection().await }
        }
    });
    let storage = RedisStorage::new(RedisBackend::new(connection).with_timeout(BOUND));
    let session = storage.load(&[]).await.unwrap();
    session.insert("k", "first").unwrap();
    let CookieChange::Set { value: cookie, .. } = storage.save(&session).await.unwrap() else {
        panic!("a new session sets its cookie")
    };

    let host_of = |server: &RedisServer| format!("127.0.0.1 {}", server.port());
    let _: String = second.ask(&format!("REPLICAOF {}", host_of(&first))).await;
    let replicated = Instant::now();
    while second.ask::<usize>("DBSIZE").await == 0 {
        assert!(replicated.elapsed() < PATIENCE, "it does not replicate");
    }
    let _: String = second.ask("REPLICAOF NO ONE").await;
    let _: String = first.ask(&format!("REPLICAOF {}", host_of(&second))).await;
    failed_over.store(true, Ordering::SeqCst);

    let begun = Instant::now();
    loop {
        let session = storage.load(&[&cookie]).await.unwrap();
        assert_eq!(session.get::<String>("k").unwrap().unwrap(), "first");
        session.insert("after", 1).unwrap();
        match storage.save(&session).await {
            Ok(_) => break,
            Err(error) => assert_eq!(error.kind(), session_core::ErrorKind::Unavailable),
        }
        assert!(begun.elapsed() < PATIENCE, "it stays with the replica");
    }
    println!("after the failover: a save in {:?}", begun.elapsed());
    let key = format!("{}_{cookie}", session_core::DEFAULT_NAME);
    let there: String = second.ask(&format!("GET {key}")).await;
    assert!(there.contains("after"), "in the new master");
}
