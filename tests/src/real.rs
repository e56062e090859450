//! A real Redis or memcached, whichever, for tests of both: what is in it and what it was asked, by raw
//! commands, past the libraries under test.

mod line;

use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use bytes::Bytes;
use redis::FromRedisValue;
use session_core::{
    Backend, Clock, CookieSettings, KeyedStorage, ManualClock, Replace, Storage, SystemClock,
    Versioned,
};
use session_memcached::{MemcachedBackend, MemcachedStorage};
use session_redis::{RedisBackend, RedisStorage};

use self::line::{Counts, Line, stat};
use crate::memcached::MemcachedServer;
use crate::redis::{Monitor, RedisServer};
use crate::stores::Calls;

/// The two kinds of store.
pub const KINDS: [&str; 2] = ["redis", "memcached"];

/// A server that nobody else uses meanwhile, empty at the beginning. Later tests of the program get
/// the same process again.
#[derive(Debug)]
pub struct Lease(Option<RealStore>);

/// A server and the test's own connection to it.
#[derive(Debug)]
pub struct RealStore {
    server: Server,
    seen: Mutex<Seen>,
}

enum Server {
    Redis {
        server: RedisServer,
        line: Mutex<redis::Connection>,
        monitor: OnceLock<Monitor>,
    },
    Memcached {
        server: MemcachedServer,
        line: Mutex<Line>,
    },
}

/// What was counted when the test looked last.
#[derive(Debug, Default)]
struct Seen {
    writes: u64,
    counts: Counts,
}

/// How long a record has to live.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(clippy::exhaustive_enums, reason = "there is no fourth")]
pub enum Left {
    /// There is no record.
    Nothing,
    /// Until it is deleted.
    Forever,
    /// So many seconds.
    Seconds(u64),
}

impl Left {
    /// Returns whether that is `max_age`, within two seconds.
    pub fn is_about(self, max_age: Option<u64>) -> bool {
        match (self, max_age) {
            (Self::Forever, None) => true,
            (Self::Seconds(left), Some(max_age)) => left.abs_diff(max_age) <= 2,
            _ => false,
        }
    }
}

impl Lease {
    /// Takes a server of `kind`, `redis` or `memcached`, that is free, or starts one.
    pub fn of(kind: &str) -> Self {
        let free = {
            let mut idle = lock(&IDLE);
            let found = idle.iter().position(|store| store.kind() == kind);
            found.map(|at| idle.swap_remove(at))
        };
        let store = free.unwrap_or_else(|| RealStore::start(kind));
        store.clear();
        Self(Some(store))
    }
}

static IDLE: Mutex<Vec<RealStore>> = Mutex::new(Vec::new());

impl Deref for Lease {
    type Target = RealStore;

    fn deref(&self) -> &RealStore {
        self.0.as_ref().expect("it is there until the drop")
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        lock(&IDLE).extend(self.0.take());
    }
}

impl RealStore {
    fn start(kind: &str) -> Self {
        let server = match kind {
            "redis" => {
                let server = RedisServer::start();
                let client = redis::Client::open(server.url()).unwrap();
                Server::Redis {
                    line: Mutex::new(client.get_connection().unwrap()),
                    server,
                    monitor: OnceLock::new(),
                }
            }
            "memcached" => {
                let server = MemcachedServer::start();
                Server::Memcached {
                    line: Mutex::new(Line::to(server.port())),
                    server,
                }
            }
            other => panic!("no store is called {other}"),
        };
        let seen = Mutex::default();
        Self { server, seen }
    }

    /// `redis` or `memcached`.
    pub fn kind(&self) -> &'static str {
        match self.server {
            Server::Redis { .. } => "redis",
            Server::Memcached { .. } => "memcached",
        }
    }

    /// Where it is, as the flags of the parity program and of the oracle say it.
    pub fn flags(&self) -> [String; 2] {
        match &self.server {
            Server::Redis { server, .. } => ["--redis-url".into(), server.url()],
            Server::Memcached { server, .. } => ["--memcached".into(), server.address()],
        }
    }

    /// Our storage in this store.
    pub async fn storage(
        &self,
        cookie: CookieSettings,
        clock: Option<ManualClock>,
        hash_identities: bool,
    ) -> Arc<dyn Storage> {
        match &self.server {
            Server::Redis { server, .. } => {
                let backend = RedisBackend::new(server.connection().await);
                // Tells a new server the script, so that from then on each call is one command.
                let nothing = Versioned {
                    value: Bytes::new(),
                    version: 0,
                };
                let told = backend.delete("session-tests", Some(&nothing)).await;
                assert!(matches!(told, Ok(Replace::Gone)));
                self.mark();
                dressed(RedisStorage::new(backend), cookie, clock, hash_identities)
            }
            Server::Memcached { server, .. } => {
                let backend = MemcachedBackend::open(&server.address()).unwrap();
                let storage = MemcachedStorage::new(backend);
                dressed(storage, cookie, clock, hash_identities)
            }
        }
    }

    /// Stores a record, without a time to live.
    pub fn put(&self, key: &str, value: &[u8]) {
        match &self.server {
            Server::Redis { .. } => self.redis(redis::cmd("SET").arg(key).arg(value)),
            Server::Memcached { .. } => self.put_with_flags(key, 0, value),
        }
        self.mark();
    }

    /// Stores what no session is, in memcached: an item with flags.
    pub fn put_with_flags(&self, key: &str, flags: u32, value: &[u8]) {
        let mut question = format!("set {key} {flags} 0 {}\r\n", value.len()).into_bytes();
        question.extend_from_slice(value);
        question.extend_from_slice(b"\r\n");
        assert_eq!(self.memcached(|line| line.ask(&question)), "STORED");
        self.mark();
    }

    /// Stores what no session is, in Redis: a list.
    pub fn put_list(&self, key: &str, items: &[&str]) {
        let pushed: usize = self.redis(redis::cmd("RPUSH").arg(key).arg(items));
        assert_eq!(pushed, items.len());
        self.mark();
    }

    /// Returns a list of Redis.
    pub fn list(&self, key: &str) -> Vec<String> {
        self.redis(redis::cmd("LRANGE").arg(key).arg(0).arg(-1))
    }

    /// Returns the stored bytes.
    pub fn get(&self, key: &str) -> Option<Vec<u8>> {
        match &self.server {
            Server::Redis { .. } => self.redis(redis::cmd("GET").arg(key)),
            Server::Memcached { .. } => self.memcached(|line| line.meta_get(key, "v")).1,
        }
    }

    /// Returns the flags of an item of memcached.
    pub fn flags_of(&self, key: &str) -> String {
        self.memcached(|line| line.meta_get(key, "f v")).0
    }

    /// Returns how long the record has to live: `TTL`, or `mg KEY t`.
    pub fn left(&self, key: &str) -> Left {
        let seconds: i64 = match &self.server {
            Server::Redis { .. } => self.redis(redis::cmd("TTL").arg(key)),
            Server::Memcached { .. } => match self.memcached(|line| line.meta_get(key, "t v")) {
                (_, None) => -2,
                (flags, Some(_)) => flags.strip_prefix('t').unwrap().parse().unwrap(),
            },
        };
        match seconds {
            -2 => Left::Nothing,
            -1 => Left::Forever,
            seconds => Left::Seconds(u64::try_from(seconds).unwrap()),
        }
    }

    /// Returns the keys of all records, sorted: `SCAN`, or `lru_crawler metadump`.
    pub fn keys(&self) -> Vec<String> {
        let mut keys: Vec<String> = match &self.server {
            Server::Redis { line, .. } => {
                let mut line = lock(line);
                let found = redis::cmd("SCAN").cursor_arg(0).clone();
                let found = found.iter::<String>(&mut line).unwrap();
                found.map(Result::unwrap).collect()
            }
            Server::Memcached { .. } => self.memcached(Line::keys),
        };
        keys.sort();
        keys.dedup(); // SCAN may tell one twice
        keys
    }

    /// Returns how many writes and deletions the server has carried out since the last
    /// [`put`](Self::put); those that found another version, or nothing, are none.
    pub fn writes(&self) -> u64 {
        self.writes_ever() - lock(&self.seen).writes
    }

    /// Returns the commands since this was asked last, the test's own included. The compare-and-set
    /// and the compare-and-delete are one to the server: both count as `replace`.
    ///
    /// # Panics
    ///
    /// If a command came that is none of these, whatever it did.
    pub fn take_calls(&self) -> Calls {
        match &self.server {
            Server::Redis {
                server, monitor, ..
            } => {
                let mut calls = Calls::default();
                for command in monitor.get_or_init(|| server.monitor()).take() {
                    match command.split('"').nth(1).unwrap_or_default() {
                        "GET" => calls.read += 1,
                        "SET" => calls.create += 1,
                        "EVALSHA" => calls.replace += 1,
                        "DEL" => calls.delete += 1,
                        // A connection that begins, and the test itself.
                        "CLIENT" | "INFO" | "SCAN" | "TTL" => {}
                        _ => panic!("Redis was asked {command}"),
                    }
                }
                calls
            }
            Server::Memcached { .. } => {
                let now = self.memcached(Line::counts);
                let before = std::mem::replace(&mut lock(&self.seen).counts, now);
                assert_eq!(
                    now.others, before.others,
                    "memcached was asked other things"
                );
                let since = |now: u64, before: u64| usize::try_from(now - before).unwrap();
                let replace = since(now.swaps, before.swaps);
                let calls = Calls {
                    read: since(now.gets, before.gets),
                    create: since(now.sets, before.sets) - replace,
                    replace,
                    delete: 0, // among the others
                };
                let silent = now.bytes == before.bytes;
                assert_eq!(calls == Calls::default(), silent, "bytes without a command");
                calls
            }
        }
    }

    fn clear(&self) {
        match &self.server {
            Server::Redis { .. } => {
                self.redis::<()>(&redis::cmd("FLUSHALL"));
            }
            Server::Memcached { .. } => {
                assert_eq!(self.memcached(|line| line.ask(b"flush_all\r\n")), "OK");
            }
        }
        self.mark();
    }

    /// What the test itself did is not to be counted.
    fn mark(&self) {
        let writes = self.writes_ever();
        let mut seen = lock(&self.seen);
        seen.writes = writes;
        match &self.server {
            Server::Redis { monitor, .. } => drop(monitor.get().map(Monitor::take)),
            Server::Memcached { .. } => seen.counts = self.memcached(Line::counts),
        }
    }

    fn writes_ever(&self) -> u64 {
        match &self.server {
            Server::Redis { .. } => {
                let info: String = self.redis(redis::cmd("INFO").arg("persistence"));
                let line = info
                    .lines()
                    .find_map(|line| line.strip_prefix("rdb_changes_since_last_save:"));
                line.unwrap().parse().unwrap()
            }
            Server::Memcached { .. } => {
                let stats = self.memcached(Line::stats);
                stat(&stats, "total_items") + stat(&stats, "delete_hits")
            }
        }
    }

    fn redis<T: FromRedisValue>(&self, command: &redis::Cmd) -> T {
        let Server::Redis { line, .. } = &self.server else {
            panic!("this is no Redis")
        };
        command.query(&mut lock(line)).unwrap()
    }

    fn memcached<T>(&self, ask: impl FnOnce(&mut Line) -> T) -> T {
        let Server::Memcached { line, .. } = &self.server else {
            panic!("this is no memcached")
        };
        ask(&mut lock(line))
    }
}

fn dressed<B: Backend>(
    storage: KeyedStorage<B>,
    cookie: CookieSettings,
    clock: Option<ManualClock>,
    hash_identities: bool,
) -> Arc<dyn Storage> {
    fn timed<B: Backend>(storage: KeyedStorage<B>, clock: impl Clock) -> Arc<dyn Storage> {
        Arc::new(storage.with_clock(clock))
    }
    let storage = storage.with_cookie(cookie).hash_identities(hash_identities);
    match clock {
        Some(clock) => timed(storage, clock),
        None => timed(storage, SystemClock),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Redis { server, .. } => server.fmt(f),
            Self::Memcached { server, .. } => server.fmt(f),
        }
    }
}
