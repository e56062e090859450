//! The network between us and the store fails.

use session_tests::memcached::MemcachedServer;
use session_tests::proxy::Proxy;
use session_tests::redis::RedisServer;

use crate::app::{ALL, Client, serve};

/// Every second connection is closed when the store responds on it.
async fn every_second_connection(through: &str, proxy: &Proxy) {
    let server = serve(through).await;
    let client = Client::new(server.address()).await;
    proxy.cut_every(2);
    let (mut done, mut refused) = (0, 0);
    for turn in 0..60 {
        if turn % 3 == 0 {
            proxy.cut();
        }
        let response = client.ask("/write/k").await;
        if response.status == 200 {
            assert_eq!(response.cookie(), Some(client.cookie.clone()));
            done += 1;
        } else {
            refused += 1;
        }
    }
    println!("every second connection dropped: {done} succeeded, {refused} refused");
    assert!(done >= 10);
    proxy.cut_every(0);
    proxy.cut();
    let response = client.resumes("every second connection dropped").await;
    assert_eq!(response.body, "first k");
}

/// Nothing gets through, and no connection is closed.
async fn black_hole(through: &str, proxy: &Proxy) {
    let server = serve(through).await;
    let client = Client::new(server.address()).await;
    proxy.black_hole();
    client.expect(503, &ALL).await;
    proxy.pass();
    assert_eq!(client.resumes("a black hole").await.body, "first");
    client.expect(200, &["/write/after", "/renew"]).await;
}

/// The question arrives, the response does not: a write that was refused may be there, and is there
/// once; a session whose logout was refused may be over.
async fn replies_lost(through: &str, proxy: &Proxy) {
    let server = serve(through).await;
    let client = Client::new(server.address()).await;
    proxy.hold_replies();
    client
        .expect(
            503,
            &["/read", "/write/lost", "/renew", "/logout", "/login"],
        )
        .await;
    proxy.pass();
    assert_eq!(client.resumes("replies held back").await.body, "first");
    client.expect(200, &["/write/after", "/renew"]).await;
}

/// The open connections are dead but not closed. New ones work.
async fn dead_connections(through: &str, proxy: &Proxy) {
    let server = serve(through).await;
    let client = Client::new(server.address()).await;
    proxy.black_hole_present();
    assert_eq!(client.resumes("dead connections").await.body, "first");
}

async fn redis() -> (RedisServer, Proxy, String) {
    let store = RedisServer::start();
    let proxy = Proxy::start(store.port()).await;
    let through = format!("redis://127.0.0.1:{}/", proxy.port());
    (store, proxy, through)
}

async fn memcached() -> (MemcachedServer, Proxy, String) {
    let store = MemcachedServer::start();
    let proxy = Proxy::start(store.port()).await;
    let through = format!("127.0.0.1:{}", proxy.port());
    (store, proxy, through)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p6_a_network_that_drops_every_second_connection_to_redis_does_no_harm() {
    let (_store, proxy, through) = redis().await;
    every_second_connection(&through, &proxy).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p6_a_network_that_drops_every_second_connection_to_memcached_does_no_harm() {
    let (_store, proxy, through) = memcached().await;
    every_second_connection(&through, &proxy).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p6_a_network_that_swallows_everything_does_no_harm() {
    let (_store, proxy, through) = redis().await;
    black_hole(&through, &proxy).await;
    let (_store, proxy, through) = memcached().await;
    black_hole(&through, &proxy).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p6_a_network_that_swallows_replies_does_no_harm() {
    let (_store, proxy, through) = redis().await;
    replies_lost(&through, &proxy).await;
    let (_store, proxy, through) = memcached().await;
    replies_lost(&through, &proxy).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p6_dead_connections_to_memcached_are_replaced() {
    let (_store, proxy, through) = memcached().await;
    dead_connections(&through, &proxy).await;
}
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p6_a_dead_connection_to_redis_is_replaced() {
    let (_store, proxy, through) = redis().await;
    dead_connections(&through, &proxy).await;
}
