//! What is asked of a store, by as many tasks at once as the load has connections.

use std::time::Instant;

use memcache_async::ascii::Protocol;
use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use redis::{AsyncCommands, IntoConnectionInfo};
use tokio::io::BufWriter;
use tokio::net::TcpStream;
use tokio::task::LocalSet;

use crate::{RECORD, budget, cpu_us, report};

const TASKS: u32 = 64;
const LIFE: u32 = 3600;

/// One connection that all tasks share and that sends what they ask together, without Nagle's
/// delay.
pub(crate) async fn redis(port: u16) {
    let address = format!("redis://127.0.0.1:{port}/");
    let address = address.into_connection_info().expect("an address");
    let tcp = TcpSettings::default().set_nodelay(true);
    let client = redis::Client::open(address.set_tcp_settings(tcp)).expect("an address");
    let connection = client.get_multiplexed_async_connection().await;
    let connection = connection.expect("Redis");
    let shared = (0..TASKS).map(|task| (connection.clone(), key(task)));
    let shared = measure("Redis GET, SET", shared.collect(), async |state| {
        let (redis, key): &mut (MultiplexedConnection, String) = state;
        let _: Option<Vec<u8>> = redis.get(key.as_str()).await.expect("a reply");
        let set = redis.set_ex(key.as_str(), RECORD, LIFE.into());
        let () = set.await.expect("an acknowledged SET");
    })
    .await;
    measure("Redis GET", shared, async |(redis, key)| {
        let record: Vec<u8> = redis.get(key.as_str()).await.expect("a record");
        assert_eq!(record.len(), RECORD.len());
    })
    .await;
}

/// A connection a task, as a pool gives it, without Nagle's delay, and each command in one write.
pub(crate) async fn memcached(port: u16) {
    let mut pool = Vec::new();
    for task in 0..TASKS {
        let stream = TcpStream::connect(("127.0.0.1", port))
            .await
            .expect("memcached");
        stream.set_nodelay(true).expect("a socket");
        let mut memcached = Protocol::new(BufWriter::new(stream));
        let key = key(task);
        let record = RECORD.as_bytes();
        // Its `set` does not wait for a response, `version` does.
        memcached.set(&key, record, LIFE).await.expect("memcached");
        memcached.version().await.expect("memcached");
        pool.push((memcached, key));
    }
    let pool = measure("memcached gets, cas", pool, async |(memcached, key)| {
        let (_, unique) = memcached.gets_cas(&*key).await.expect("a record");
        let cas = memcached.cas(&*key, RECORD.as_bytes(), unique, LIFE);
        assert!(cas.await.expect("a reply"));
    })
    .await;
    measure("memcached gets", pool, async |(memcached, key)| {
        let (record, _) = memcached.gets_cas(&*key).await.expect("a record");
        assert_eq!(record.len(), RECORD.len());
    })
    .await;
}

fn key(task: u32) -> String {
    format!("id_{task:032}")
}

/// Repeats `call` in a task for each of `states`, and reports the client's CPU time of one.
async fn measure<T: 'static>(
    part: &str,
    states: Vec<T>,
    call: impl AsyncFn(&mut T) + Copy + 'static,
) -> Vec<T> {
    let local = LocalSet::new();
    let (start, before) = (Instant::now(), cpu_us());
    let tasks: Vec<_> = states
        .into_iter()
        .map(|mut state| {
            local.spawn_local(async move {
                let mut calls = 0;
                while start.elapsed() < budget() {
                    call(&mut state).await;
                    calls += 1;
                }
                (calls, state)
            })
        })
        .collect();
    let (mut calls, mut states) = (0, Vec::new());
    local
        .run_until(async {
            for task in tasks {
                let (of_task, state): (u32, T) = task.await.expect("a task that ends");
                calls += of_task;
                states.push(state);
            }
        })
        .await;
    report(part, (cpu_us() - before) / f64::from(calls));
    states
}
