//! A storage recovers from what an application's own connect function, its runtimes and its
//! settings may do to it. Each test reproduces a failure that happened.
#![allow(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "these are tests"
)]

use std::num::NonZeroU64;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use redis::aio::{ConnectionLike as _, MultiplexedConnection};
use redis::{AsyncConnectionConfig, Client, RedisResult};
use session_core::ErrorKind;
use session_core::keyed::{Backend as _, Found, OnlyIf, Stored, Write};
use session_memcached::MemcachedBackend;
use session_redis::{Reconnecting, RedisBackend};
use session_tests::memcached::MemcachedServer;
use session_tests::proxy::Proxy;
use session_tests::redis::RedisServer;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;

const KEY: &str = "AIOHTTP_SESSION_0123456789abcdef0123456789abcdef";
const PATIENCE: Duration = Duration::from_secs(20);

fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

async fn connect(url: String) -> RedisResult<MultiplexedConnection> {
    let settings = AsyncConnectionConfig::new().set_connection_timeout(Some(PATIENCE));
    let settings = settings.set_response_timeout(None);
    let client = Client::open(url)?;
    client
        .get_multiplexed_async_connection_with_config(&settings)
        .await
}

/// Reads until it works.
async fn resumes(backend: &RedisBackend) -> Duration {
    let begun = Instant::now();
    while backend.read(KEY).await.is_err() {
        assert!(begun.elapsed() < PATIENCE, "it does not come back");
        tokio::time::sleep(ms(20)).await;
    }
    begun.elapsed()
}

#[tokio::test]
async fn p6_a_panic_while_connecting_is_one_failed_attempt() {
    let server = RedisServer::start();
    let calls = Arc::new(AtomicUsize::new(0));
    let (url, count) = (server.url(), calls.clone());
    let backend = RedisBackend::new(Reconnecting::new(move || {
        let first = count.fetch_add(1, SeqCst) == 0;
        let url = url.clone();
        async move {
            assert!(!first, "as some closure may");
            connect(url).await
        }
    }));
    let backend = backend.with_timeout(PATIENCE);
    resumes(&backend).await;
    assert!(calls.load(SeqCst) > 1);
}

/// The closure is called where nothing is locked.
#[tokio::test]
async fn p6_connecting_may_look_at_the_connection() {
    let server = RedisServer::start();
    let own: Arc<OnceLock<Reconnecting>> = Arc::default();
    let (url, of) = (server.url(), own.clone());
    let connection = Reconnecting::new(move || {
        let _ = of.get().unwrap().get_db();
        connect(url.clone())
    });
    own.set(connection.clone()).unwrap();
    let backend = RedisBackend::new(connection).with_timeout(PATIENCE);
    resumes(&backend).await;
}

/// An attempt belongs to the runtime on which it began, and that one may stand still.
#[test]
fn p6_a_runtime_that_stands_still_stops_no_other() {
    let server = RedisServer::start();
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let nowhere = format!("redis://{}/", silent.local_addr().unwrap());
    let calls = Arc::new(AtomicUsize::new(0));
    let (url, count) = (server.url(), calls);
    let backend: RedisBackend = RedisBackend::new(Reconnecting::new(move || {
        let first = count.fetch_add(1, SeqCst) == 0;
        connect(if first { nowhere.clone() } else { url.clone() })
    }));
    let begins = runtime();
    let first = async { tokio::time::timeout(ms(50), backend.read(KEY)).await };
    assert!(
        begins.block_on(first).is_err(),
        "no server listens on that port"
    );
    let took = runtime().block_on(resumes(&backend));
    println!("another runtime goes on after {took:?}");
    drop(begins);
}

#[test]
fn p6_a_call_may_be_dropped_outside_of_a_runtime() {
    let server = RedisServer::start();
    let runtime = runtime();
    let backend = runtime.block_on(RedisBackend::connect(&server.url()));
    let backend = backend.unwrap().with_timeout(PATIENCE);
    runtime.block_on(async { tokio::time::sleep(ms(1100)).await }); // old enough to be replaced
    server.process().stop();
    let mut read = Box::pin(backend.read(KEY));
    let waits = async { tokio::time::timeout(ms(400), &mut read).await };
    assert!(runtime.block_on(waits).is_err());
    drop(read);
    server.process().signal("CONT");
    runtime.block_on(resumes(&backend));
}

/// The shortest of bounds still says that there was no response.
#[tokio::test]
async fn p6_a_dead_connection_is_replaced_whatever_the_timeout() {
    let server = RedisServer::start();
    let proxy = Proxy::start(server.port()).await;
    let url = format!("redis://127.0.0.1:{}/", proxy.port());
    let backend = RedisBackend::connect(&url).await.unwrap();
    let backend = backend.with_timeout(ms(100));
    resumes(&backend).await;
    proxy.black_hole_present();
    println!("replaced after {:?}", resumes(&backend).await);
}

/// One that shakes hands and hangs up at the first command, as a proxy without a server does.
#[tokio::test]
async fn p6_a_server_that_hangs_up_is_not_stormed() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("redis://{}/", listener.local_addr().unwrap());
    let accepted = Arc::new(AtomicUsize::new(0));
    let count = accepted.clone();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            count.fetch_add(1, SeqCst);
            tokio::spawn(async move {
                let mut bytes = vec![0; 4096];
                while let Ok(len @ 1..) = stream.read(&mut bytes).await {
                    let said = String::from_utf8_lossy(&bytes[..len]).into_owned();
                    if said.contains("GET") {
                        return;
                    }
                    let commands = said.matches('*').count();
                    let replies = "+OK\r\n".repeat(commands);
                    stream.write_all(replies.as_bytes()).await.unwrap();
                }
            });
        }
    });
    let backend = RedisBackend::open(&url).unwrap();
    let begun = Instant::now();
    let mut callers = JoinSet::new();
    for _ in 0..20 {
        let backend = backend.clone();
        callers.spawn(async move {
            for _ in 0..50 {
                backend.read(KEY).await.unwrap_err();
                tokio::time::sleep(ms(20)).await;
            }
        });
    }
    callers.join_all().await;
    let most = 10 + begun.elapsed().as_millis() as usize / 25;
    let accepted = accepted.load(SeqCst);
    println!(
        "{accepted} connections in {:?} of 1000 calls",
        begun.elapsed()
    );
    assert!(accepted < most, "{accepted} connections");
}

#[test]
fn p6_pooled_connections_of_a_runtime_that_is_gone_are_not_used() {
    let server = MemcachedServer::start();
    let backend = MemcachedBackend::open(&server.address()).unwrap();
    let backend = Arc::new(backend.with_timeout(PATIENCE));
    let first = runtime();
    first.block_on(async {
        let mut reads = JoinSet::new();
        for _ in 0..20 {
            let backend = backend.clone();
            reads.spawn(async move { backend.read(KEY).await.unwrap() });
        }
        reads.join_all().await;
    });
    drop(first);
    let second = runtime();
    for _ in 0..40 {
        second.block_on(backend.read(KEY)).unwrap();
    }
}

/// A write of several commands, each of which gets its response in time.
#[tokio::test]
async fn p6_a_call_of_several_commands_has_one_bound() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut bytes = vec![0; 4096];
                while let Ok(len @ 1..) = stream.read(&mut bytes).await {
                    tokio::time::sleep(ms(400)).await;
                    let reply = if bytes[..len].starts_with(b"cas") {
                        "EXISTS\r\n".to_owned()
                    } else {
                        format!("VALUE {KEY} 0 2 7\r\n{{}}\r\nEND\r\n")
                    };
                    let _ = stream.write_all(reply.as_bytes()).await;
                }
            });
        }
    });
    let backend = MemcachedBackend::open(&address).unwrap();
    let backend = backend.with_timeout(ms(600));
    backend.read(KEY).await.unwrap();
    // `cas` and `gets`, and `gets` and `cas`.
    let known = Stored::with_version("{}", NonZeroU64::new(5).unwrap());
    let own = Stored::new("{}");
    for seen in [&known, &own] {
        let write = Write::record("{ }", None);
        let late = backend.write(KEY, write, OnlyIf::Unchanged(seen)).await;
        assert_eq!(late.unwrap_err().kind(), ErrorKind::Unavailable);
    }
}

#[tokio::test]
async fn p6_the_largest_settings_are_settings() {
    let server = RedisServer::start();
    let backend = RedisBackend::connect(&server.url()).await.unwrap();
    let endless = backend.with_timeout(Duration::MAX);
    assert_eq!(endless.read(KEY).await.unwrap(), Found::Missing);
    let server = MemcachedServer::start();
    let backend = MemcachedBackend::open(&server.address()).unwrap();
    let endless = backend.with_max_connections(usize::MAX);
    let endless = endless.with_timeout(Duration::MAX);
    assert_eq!(endless.read(KEY).await.unwrap(), Found::Missing);
}
