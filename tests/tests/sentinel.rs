//! Sessions in a Redis that a Sentinel watches over.
#![allow(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "these are tests"
)]

use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use redis::sentinel::{SentinelClient, SentinelServerType};
use session_core::{ErrorKind, Storage};
use session_redis::{Reconnecting, RedisBackend, RedisStorage};
use session_tests::processes::{Process, ask_raw, free_port, new_folder, wait_for};
use session_tests::redis::{RedisServer, program};
use tokio::sync::Mutex;

/// Starts a Sentinel that gives a master up after 300 ms.
fn sentinel(master: &RedisServer) -> (Process, u16) {
    let (port, folder) = (free_port(), new_folder());
    fs::create_dir_all(&folder).unwrap();
    let file = folder.join("sentinel.conf").display().to_string();
    let settings = format!(
        "port {port}\nbind 127.0.0.1\nsentinel monitor sessions 127.0.0.1 {} 1\n\
         sentinel down-after-milliseconds sessions 300\nsentinel failover-timeout sessions 2000\n",
        master.port()
    );
    fs::write(&file, settings).unwrap();
    let process = Process::start(&program(), &[file, "--sentinel".into()], &folder);
    wait_for(&process, || ask_raw(port, "PING\r\n", "\r\n")).unwrap();
    (process, port)
}

/// Waits until `port` responds to `question` with something that holds `wanted`.
fn until(port: u16, question: &str, wanted: &str) {
    let begun = Instant::now();
    loop {
        let reply = ask_raw(port, &format!("{question}\r\n"), "\r\n");
        if reply.is_some_and(|reply| reply.contains(wanted)) {
            return;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "no {wanted}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[tokio::test]
async fn p6_a_connection_that_is_made_anew_follows_a_sentinels_failover() {
    let mut master = RedisServer::start();
    let follow = format!("127.0.0.1 {}", master.port());
    let replica =
        RedisServer::start_with(&["--replicaof", &follow, "--repl-diskless-sync-delay", "0"]);
    until(replica.port(), "INFO replication", "master_link_status:up");
    let (_process, port) = sentinel(&master);
    until(port, "INFO sentinel", "slaves=1");

    let sentinels = vec![format!("redis://127.0.0.1:{port}/")];
    let kind = SentinelServerType::Master;
    let client = SentinelClient::build(sentinels, "sessions", None, kind).unwrap();
    let client = Arc::new(Mutex::new(client));
    let connection = Reconnecting::new(move || {
        let client = client.clone();
        async move { client.lock().await.get_async_connection().await }
    });
    let storage = RedisStorage::new(RedisBackend::new(connection));
    let session = storage.load(&[]).await.unwrap();
    session.insert("k", 1).unwrap();
    storage.save(&session).await.unwrap();
    let cookie = session.identity().unwrap().as_str().to_owned();
    let mut wait = redis::cmd("WAIT");
    let mut own = master.connection().await;
    redis::cmd("SET")
        .arg("marker")
        .arg(1)
        .exec_async(&mut own)
        .await
        .unwrap();
    let replicas: u32 = wait.arg(1).arg(10_000).query_async(&mut own).await.unwrap();
    assert_eq!(replicas, 1);

    master.kill();
    let begun = Instant::now();
    let mut count = 0;
    loop {
        let saved = async {
            let session = storage.load(&[&cookie]).await?;
            assert!(!session.is_new(), "the session is lost");
            session.insert("k", count)?;
            storage.save(&session).await
        };
        match saved.await {
            Ok(_) => break,
            Err(error) => assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}"),
        }
        count += 1;
        assert!(
            begun.elapsed() < Duration::from_secs(20),
            "it does not follow"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    println!("outage {:?}, {count} errors", begun.elapsed());
    assert!(count > 0, "no request failed");
    let role: Vec<redis::Value> = replica.ask("ROLE").await;
    assert_eq!(role[0], redis::Value::BulkString(b"master".to_vec()));
}
