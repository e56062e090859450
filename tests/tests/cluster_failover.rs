//! Sessions in a Redis Cluster under load, while slots move and masters die.
//!
//! Needs a tokio before 1.54 (session-redis's documentation says why): with a later one all stands
//! still after the first slot has moved.
#![allow(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "these are tests"
)]

use std::collections::BTreeMap;
use std::error::Error as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use redis::cluster_async::ClusterConnection;
use session_core::{CookieChange, CookieSettings, ErrorKind, Session, Storage};
use session_redis::{Reconnecting, RedisBackend, RedisStorage};
use session_tests::cluster::{RedisCluster, slot_of};
use session_tests::redis::{RedisServer, compares_by};
use tokio::task::JoinSet;

type Sessions = Arc<RedisStorage<Reconnecting<ClusterConnection>>>;

/// The limit for a call of the store.
const BOUND: Duration = Duration::from_secs(1);

/// The limit for a load and a save. The save may wait for another one of its session.
const MAX_CALLS: u32 = 1 + 5;

/// For a machine that has other things to do.
const SLACK: Duration = Duration::from_secs(2);

/// For what must be over some time.
const PATIENCE: Duration = Duration::from_secs(20);

const HOUR: Duration = Duration::from_secs(3600);

const SESSIONS: usize = 40;
const WRITERS: usize = 2;

fn storage(cluster: &RedisCluster) -> Sessions {
    let client = cluster.client().build().unwrap();
    let connection = Reconnecting::new(move || {
        let client = client.clone();
        async move { client.get_async_connection().await }
    });
    let backend = RedisBackend::new(connection).with_timeout(BOUND);
    // Only a write with a time to live compares without a script.
    let cookie = CookieSettings::builder("AIOHTTP_SESSION");
    let cookie = cookie.max_age(HOUR).persistent(false).build().unwrap();
    Arc::new(RedisStorage::new(backend).with_cookie(cookie))
}

async fn create(storage: &Sessions) -> String {
    let session = storage.load(&[]).await.unwrap();
    session.insert("k", 0).unwrap();
    storage.save(&session).await.unwrap();
    session.identity().unwrap().as_str().to_owned()
}

async fn load(storage: &Sessions, identity: &str) -> Session {
    storage.load(&[identity]).await.unwrap()
}

fn slot(identity: &str) -> u16 {
    slot_of(&format!("AIOHTTP_SESSION_{identity}"))
}

/// Sessions that are written all the time, each by several writers with a key and a count of its
/// own.
struct Load {
    storage: Sessions,
    sessions: Vec<Written>,
    stop: AtomicBool,
    errors: Mutex<Vec<Failed>>,
}

struct Written {
    identity: String,
    /// The last count that a writer was told to be saved.
    acknowledged: [AtomicU64; WRITERS],
}

#[derive(Debug)]
struct Failed {
    slot: u16,
    kind: ErrorKind,
    text: String,
    took: Duration,
}

impl Load {
    async fn start(storage: &Sessions) -> (Arc<Self>, JoinSet<()>) {
        let mut sessions = Vec::new();
        for _ in 0..SESSIONS {
            sessions.push(Written {
                identity: create(storage).await,
                acknowledged: Default::default(),
            });
        }
        let load = Arc::new(Self {
            storage: storage.clone(),
            sessions,
            stop: AtomicBool::new(false),
            errors: Mutex::default(),
        });
        let mut writers = JoinSet::new();
        for session in 0..SESSIONS {
            for writer in 0..WRITERS {
                writers.spawn(load.clone().write(session, writer));
            }
        }
        (load, writers)
    }

    async fn write(self: Arc<Self>, session: usize, writer: usize) {
        let written = &self.sessions[session];
        let mut count = 0;
        while !self.stop.load(SeqCst) {
            count += 1;
            let begun = Instant::now();
            match self.write_once(&written.identity, writer, count).await {
                Ok(()) => written.acknowledged[writer].store(count, SeqCst),
                Err(error) => self.errors.lock().unwrap().push(Failed {
                    slot: slot(&written.identity),
                    kind: error.kind(),
                    text: error.source().map(ToString::to_string).unwrap_or_default(),
                    took: begun.elapsed(),
                }),
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn write_once(
        &self,
        identity: &str,
        writer: usize,
        count: u64,
    ) -> Result<(), session_core::Error> {
        let session = self.storage.load(&[identity]).await?;
        assert!(!session.is_new(), "a session is lost");
        session.insert(&format!("w{writer}"), count)?;
        let change = self.storage.save(&session).await?;
        // The cookie has no Max-Age, so an update does not send it again.
        assert_eq!(change, CookieChange::Keep);
        Ok(())
    }

    fn acknowledged(&self) -> Vec<[u64; WRITERS]> {
        let counts = |session: &Written| session.acknowledged.each_ref().map(|n| n.load(SeqCst));
        self.sessions.iter().map(counts).collect()
    }

    fn errors(&self) -> Vec<Failed> {
        std::mem::take(&mut self.errors.lock().unwrap())
    }

    /// Waits until every writer was acknowledged again; returns how long the slowest had to wait.
    async fn resumes(&self) -> Duration {
        let begun = Instant::now();
        let before = self.acknowledged();
        loop {
            let now = self.acknowledged();
            let mut pairs = before.as_flattened().iter().zip(now.as_flattened());
            if pairs.all(|(before, now)| now > before) {
                return begun.elapsed();
            }
            assert!(
                begun.elapsed() < PATIENCE,
                "an outage outlives the failover: {:?}",
                summary(&self.errors())
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Checks that at least what was acknowledged is there.
    async fn assert_kept(&self, acknowledged: &[[u64; WRITERS]], what: impl Fn(u16) -> bool) {
        for (written, counts) in self.sessions.iter().zip(acknowledged) {
            if !what(slot(&written.identity)) {
                continue;
            }
            let session = load(&self.storage, &written.identity).await;
            for (writer, count) in counts.iter().enumerate() {
                let kept: u64 = session.get(&format!("w{writer}")).unwrap().unwrap();
                assert!(kept >= *count, "{kept} of {count} writes are left");
            }
        }
    }
}

fn summary(errors: &[Failed]) -> BTreeMap<String, usize> {
    let mut summary = BTreeMap::new();
    for error in errors {
        *summary.entry(error.text.clone()).or_default() += 1;
    }
    summary
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p2_p3_p6_a_cluster_keeps_its_word_when_slots_move_and_a_master_dies() {
    let mut cluster = RedisCluster::start();
    let storage = storage(&cluster);
    let (load, mut writers) = Load::start(&storage).await;
    load.resumes().await;

    let moved = slots_move(&cluster, &storage, &load).await;
    let errors = load.errors();
    println!("slots that moved: {:?}", summary(&errors));
    for error in &errors {
        // The redis crate sends ASKING and the command that it stands for apart, and whatever
        // another request sends in between takes its effect away. That is tried again, for as long
        // as a call may take.
        assert_eq!(error.kind, ErrorKind::Unavailable, "{error:?}");
        assert!(error.took < BOUND * MAX_CALLS + SLACK, "{error:?}");
        assert!(moved.contains(&error.slot), "in another slot: {error:?}");
    }
    a_slot_is_free(&cluster, &load).await;
    let (errors, acknowledged) = (load.errors(), load.acknowledged());
    assert!(errors.is_empty(), "{errors:?}");
    load.assert_kept(&acknowledged, |_| true).await;

    a_master_dies(&mut cluster, &storage, &load).await;
    finish(&load, &mut writers).await;
}

/// The redis crate does not leave a master that is silent but still connected, even when another
/// one has taken over: a connection that is made anew finds the new one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p6_a_master_that_hangs_is_left_by_a_connection_that_is_made_anew() {
    let cluster = RedisCluster::start();
    let storage = storage(&cluster);
    let (load, mut writers) = Load::start(&storage).await;
    load.resumes().await;
    let hanging = cluster.masters(1).await;
    let safe = load.acknowledged();
    cluster.replicate(hanging[0]).await;
    cluster.node(1).process().signal("STOP");
    let outage = load.resumes().await;
    let errors = load.errors();
    println!("outage {outage:?}: {:?}", summary(&errors));
    for error in &errors {
        assert_eq!(error.kind, ErrorKind::Unavailable, "{error:?}");
        assert!(error.took < BOUND * MAX_CALLS + SLACK, "{error:?}");
    }
    load.assert_kept(&safe, |slot| hanging.contains(&slot))
        .await;
    // It wakes up, takes itself for the master for a moment, and is told that it is none.
    cluster.node(1).process().signal("CONT");
    load.resumes().await;
    finish(&load, &mut writers).await;
}

async fn finish(load: &Load, writers: &mut JoinSet<()>) {
    load.stop.store(true, SeqCst);
    while let Some(writer) = writers.join_next().await {
        writer.unwrap();
    }
}

/// Returns the slots that moved.
async fn slots_move(cluster: &RedisCluster, storage: &Sessions, load: &Load) -> Vec<u16> {
    let mine = cluster.masters(0).await;
    let here = load.sessions.iter().map(|written| slot(&written.identity));
    let moving: Vec<u16> = here.filter(|slot| mine.contains(slot)).take(6).collect();
    assert!(moving.len() > 1, "no sessions on the first master");
    let (asks, moves) = (cluster.errors("ASK").await, cluster.errors("MOVED").await);
    for slot in &moving {
        // The writers meet the slot half-way: they ask the old master, and are sent to the new one.
        cluster
            .move_slot(*slot, 1, async || {
                load.resumes().await;
            })
            .await;
    }

    // A logout in the middle of the move of its session, and a request that is slower than both.
    let (identity, own_slot) = loop {
        let identity = create(storage).await;
        let slot = slot(&identity);
        if cluster.master_of(slot).await == 0 {
            break (identity, slot);
        }
    };
    let slow = load_changed(storage, &identity).await;
    let logout = async || {
        let session = patiently(async || storage.load(&[&identity]).await).await;
        let session = session.unwrap();
        session.invalidate().unwrap();
        let logout = patiently(async || storage.save(&session).await).await;
        assert_eq!(logout.unwrap(), CookieChange::Remove);
        let slower = patiently(async || storage.save(&slow).await).await;
        assert_eq!(slower, Err(ErrorKind::Ended));
    };
    cluster.move_slot(own_slot, 1, logout).await;
    assert_eq!(cluster.master_of(own_slot).await, 1);
    let slower = storage.save(&slow).await.map_err(|error| error.kind());
    assert_eq!(slower, Err(ErrorKind::Ended));
    assert!(self::load(storage, &identity).await.is_new());

    load.resumes().await;
    assert!(
        cluster.errors("ASK").await > asks,
        "no command was redirected"
    );
    assert!(
        cluster.errors("MOVED").await > moves,
        "no command was redirected"
    );
    moving
}

/// Asks again what got no response.
async fn patiently<T>(
    ask: impl AsyncFn() -> Result<T, session_core::Error>,
) -> Result<T, ErrorKind> {
    let begun = Instant::now();
    loop {
        match ask().await.map_err(|error| error.kind()) {
            Err(ErrorKind::Unavailable) if begun.elapsed() < PATIENCE => {}
            reply => return reply,
        }
    }
}

/// No master serves a slot for a moment. The writers wait and get no error. The moment is as short
/// as possible, on one open connection, because it counts against the time limit of a call.
async fn a_slot_is_free(cluster: &RedisCluster, load: &Load) {
    let slot = slot(&load.sessions[0].identity);
    let master = cluster.master_of(slot).await;
    let mut connection = cluster.node(master).connection().await;
    let errors = redis::cmd("INFO").arg("errorstats").to_owned();
    let change = |what: &str| redis::cmd("CLUSTER").arg(what).arg(slot).to_owned();
    let before: String = errors.query_async(&mut connection).await.unwrap();
    assert!(!before.contains("CLUSTERDOWN"), "{before}");
    change("DELSLOTS")
        .exec_async(&mut connection)
        .await
        .unwrap();
    loop {
        let now: String = errors.query_async(&mut connection).await.unwrap();
        if now.contains("CLUSTERDOWN") {
            break;
        }
    }
    change("ADDSLOTS")
        .exec_async(&mut connection)
        .await
        .unwrap();
    load.resumes().await;
}

async fn load_changed(storage: &Sessions, identity: &str) -> Session {
    let session = load(storage, identity).await;
    session.insert("slow", true).unwrap();
    session
}

async fn a_master_dies(cluster: &mut RedisCluster, storage: &Sessions, load: &Load) {
    let dying = cluster.masters(0).await;
    let dies = |slot: u16| dying.contains(&slot);
    // Loaded before, saved after: one that lives, and one that is logged out in between.
    let mut idle = Vec::new();
    while idle.len() < 2 {
        let identity = create(storage).await;
        if dies(slot(&identity)) {
            idle.push((load_changed(storage, &identity).await, identity));
        }
    }
    let (ended, lives) = (idle.pop().unwrap(), idle.pop().unwrap());
    let logout = self::load(storage, &ended.1).await;
    logout.invalidate().unwrap();
    storage.save(&logout).await.unwrap();

    let safe = load.acknowledged();
    cluster.replicate(dying[0]).await;
    cluster.kill(0);
    let outage = load.resumes().await;
    let acknowledged = load.acknowledged();
    let errors = load.errors();
    println!("outage {outage:?}: {:?}", summary(&errors));
    for error in &errors {
        assert_eq!(error.kind, ErrorKind::Unavailable, "{error:?}");
        assert!(error.took < BOUND * MAX_CALLS + SLACK, "{error:?}");
        assert!(dies(error.slot), "on another master: {error:?}");
    }
    assert!(!errors.is_empty(), "no request failed");
    load.assert_kept(&safe, dies).await;
    load.assert_kept(&acknowledged, |slot| !dies(slot)).await;

    let slower = storage.save(&ended.0).await.map_err(|error| error.kind());
    assert_eq!(slower, Err(ErrorKind::Ended));
    assert!(self::load(storage, &ended.1).await.is_new());
    storage.save(&lives.0).await.unwrap();
    assert_eq!(self::load(storage, &lives.1).await.keys(), ["k", "slow"]);

    assert_eq!(cluster.master_of(dying[0]).await, 3);
    // The new master did not know the script. A server that compares needs none.
    let is_script = compares_by(&RedisServer::start()).await == "EVALSHA";
    let errors: String = cluster.ask(3, "INFO errorstats").await;
    assert_eq!(errors.contains("errorstat_NOSCRIPT"), is_script, "{errors}");
}
