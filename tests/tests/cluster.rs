//! The conformance suites on a Redis Cluster, and sessions on all of its slots.
#![allow(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "these are tests"
)]

use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use redis::cluster_async::ClusterConnection;
use session_core::keyed::{Backend as _, Found};
use session_core::{CookieSettings, ErrorKind, Identity, ManualClock, Storage};
use session_core::{backend_conformance, keyed_conformance, users_conformance};
use session_redis::{Reconnecting, RedisBackend, RedisStorage};
use session_tests::cluster::{RedisCluster, SLOTS, slot_of};
use tokio::task::JoinSet;
use tokio::time::timeout;

static CLUSTER: LazyLock<RedisCluster> = LazyLock::new(RedisCluster::start);

/// A busy machine is no failure.
const PATIENCE: Duration = Duration::from_secs(20);

async fn cluster(cookie: CookieSettings, clock: ManualClock) -> RedisStorage<ClusterConnection> {
    RedisStorage::new(cluster_backend().await)
        .with_cookie(cookie)
        .with_clock(clock)
}

async fn cluster_of_users(
    cookie: CookieSettings,
    clock: ManualClock,
) -> RedisStorage<ClusterConnection> {
    cluster(cookie, clock).await.with_user_index("user")
}

async fn cluster_backend() -> RedisBackend<ClusterConnection> {
    RedisBackend::new(patient_connection().await).with_timeout(PATIENCE)
}

/// A connection that waits for a busy node as long as the backend does.
///
/// With the documented limit of 250 ms, the redis crate gives up the try and plans another one. It
/// begins that one when the next command comes, and a rule that makes one call after the other
/// sends none.
async fn patient_connection() -> ClusterConnection {
    let client = CLUSTER.client();
    let client = client
        .connection_timeout(PATIENCE)
        .response_timeout(PATIENCE);
    let client = client.build().unwrap();
    client.get_async_connection().await.unwrap()
}

keyed_conformance!(cluster);
users_conformance!(cluster_of_users);

/// The tests connect with the settings that the documentation of session-redis shows.
#[test]
fn the_settings_are_the_documented_ones() {
    let settings = |source: &'static str| -> Vec<&str> {
        let lines = source
            .lines()
            .map(|line| line.trim_start_matches("//!").trim());
        let lines = lines.skip_while(|line| !line.contains("ClusterClient::builder("));
        let lines = lines.skip(1).take_while(|line| line.starts_with('.'));
        let lines = lines.filter(|line| !line.starts_with(".build()"));
        lines
            .map(|line| line.split("//").next().unwrap().trim_end())
            .collect()
    };
    let documented = settings(include_str!("../../session-redis/src/lib.rs"));
    let used = settings(include_str!("../src/cluster.rs"));
    assert_eq!(documented, used);
    assert!(used.len() > 5, "they are found");
}
backend_conformance!(cluster_backend);

/// Longer than a try may take in the documented settings, and shorter than a call.
const PAUSE: Duration = Duration::from_millis(500);

/// Nodes that are slow for a moment cost the rules time, and no failure.
#[tokio::test(flavor = "multi_thread")]
async fn the_rules_wait_for_slow_nodes() {
    let backend = cluster_backend().await;
    pause(&CLUSTER).await;
    assert_eq!(backend.read("slow").await.unwrap(), Found::Missing);
}

/// With the documented settings, nodes that are slow for a moment cost one request of a quiet
/// server at most: it is an error in time, and the next one succeeds.
#[tokio::test(flavor = "multi_thread")]
async fn slow_nodes_cost_one_call_at_most() {
    // One of its own, as other tests must not send commands on the connection or wait for it.
    let cluster = RedisCluster::start();
    let client = cluster.client().build().unwrap();
    let connection = Reconnecting::new(move || {
        let client = client.clone();
        async move { client.get_async_connection().await }
    });
    let backend = RedisBackend::new(connection);
    assert_eq!(backend.read("slow").await.unwrap(), Found::Missing);
    pause(&cluster).await;
    let call = timeout(PATIENCE, backend.read("slow"));
    if let Err(error) = call.await.expect("a call has a limit") {
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(
            format!("{error:?}").contains("no response within 1s"),
            "{error:?}"
        );
    }
    assert_eq!(backend.read("slow").await.unwrap(), Found::Missing);
}

async fn pause(cluster: &RedisCluster) {
    for node in cluster.alive() {
        let pause = format!("CLIENT PAUSE {} ALL", PAUSE.as_millis());
        node.ask::<()>(&pause).await;
    }
}

#[tokio::test]
async fn every_slot_holds_sessions() {
    let cookie = CookieSettings::builder("slots").build().unwrap();
    let mut identities = vec![None; usize::from(SLOTS)];
    let mut missing = identities.len();
    while missing > 0 {
        let identity = Identity::random().unwrap().as_str().to_owned();
        let slot = slot_of(&format!("slots_{identity}"));
        let place = &mut identities[usize::from(slot)];
        missing -= usize::from(place.replace(identity).is_none());
    }
    let drawn = Mutex::new(identities.clone().into_iter().flatten());
    let storage = RedisStorage::new(cluster_backend().await)
        .with_cookie(cookie)
        .with_key_factory(move || {
            let next = drawn.lock().unwrap().next().unwrap();
            Ok(Identity::parse(&next).unwrap())
        });
    let storage = Arc::new(storage);
    let todo = Arc::new(Mutex::new(identities.into_iter().flatten()));
    let mut tasks = JoinSet::new();
    for _ in 0..64 {
        let (storage, todo) = (storage.clone(), todo.clone());
        tasks.spawn(async move {
            loop {
                let next = todo.lock().unwrap().next();
                if next.is_none() {
                    return;
                }
                let session = storage.load(&[]).await.unwrap();
                session.insert("k", 1).unwrap();
                storage.save(&session).await.unwrap();
                let identity = session.identity().unwrap();
                let session = storage.load(&[identity.as_str()]).await.unwrap();
                assert_eq!(session.get("k").unwrap(), Some(1));
            }
        });
    }
    tasks.join_all().await;
    for slot in [0, 1, SLOTS / 2, SLOTS - 1] {
        let master = CLUSTER.master_of(slot).await;
        let count = format!("CLUSTER COUNTKEYSINSLOT {slot}");
        assert!(CLUSTER.ask::<u32>(master, &count).await > 0);
    }
    for master in 0..3 {
        let keys: usize = CLUSTER.ask(master, "DBSIZE").await;
        let slots = CLUSTER.masters(master).await.len();
        assert!(keys >= slots, "{keys} keys in {slots} slots");
    }
}
