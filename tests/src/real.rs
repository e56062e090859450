//! A real Redis or memcached, for tests that run on both.
//!
//! Raw commands read and write the store past the libraries under test, and count the commands that
//! these have sent.

mod line;

use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::SystemTime;

use redis::FromRedisValue;
use session_core::keyed::{Backend as _, Found, OnlyIf, Outcome, Stored, Write};
use session_core::{Clock, CookieSettings, ManualClock, Storage, SystemClock};
use session_memcached::{MemcachedBackend, MemcachedStorage};
use session_redis::{RedisBackend, RedisStorage};

use self::line::{Counts, Line, stat};
use crate::memcached::MemcachedServer;
use crate::redis::{Monitor, RedisServer, compares};
use crate::stores::Calls;

/// The two kinds of store.
pub const KINDS: [&str; 2] = ["redis", "memcached"];

/// A server that only the holder of the lease uses. It is empty at the beginning. Later tests of
/// the program get the same process again.
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

/// The counts at the last look of the test.
#[derive(Debug, Default)]
struct Seen {
    writes: u64,
    counts: Counts,
}

/// How long a record has to live.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(clippy::exhaustive_enums, reason = "there is no fourth case")]
pub enum Left {
    /// There is no record.
    Nothing,
    /// The record has no time to live.
    Forever,
    /// The record has this many seconds to live.
    Seconds(u64),
}

impl Left {
    /// Returns whether the time to live is `max_age`, give or take two seconds.
    pub fn is_about(self, max_age: Option<u64>) -> bool {
        match (self, max_age) {
            (Self::Forever, None) => true,
            (Self::Seconds(left), Some(max_age)) => left.abs_diff(max_age) <= 2,
            _ => false,
        }
    }
}

impl Lease {
    /// Takes a free server of `kind`, `redis` or `memcached`, or starts one.
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
        self.0.as_ref().expect("only the drop takes it")
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

    /// Returns `redis` or `memcached`.
    pub fn kind(&self) -> &'static str {
        match self.server {
            Server::Redis { .. } => "redis",
            Server::Memcached { .. } => "memcached",
        }
    }

    /// Returns the address as the flags of the parity program and of the oracle.
    pub fn flags(&self) -> [String; 2] {
        match &self.server {
            Server::Redis { server, .. } => ["--redis-url".into(), server.url()],
            Server::Memcached { server, .. } => ["--memcached".into(), server.address()],
        }
    }

    /// Makes a storage in this store. Its time comes from `clock`, or from the operating system.
    pub async fn storage(
        &self,
        cookie: CookieSettings,
        clock: Option<ManualClock>,
        hash_identities: bool,
    ) -> Arc<dyn Storage> {
        self.storage_of_users(cookie, clock, hash_identities, None)
            .await
    }

    /// Makes a storage as [`storage`](Self::storage) does. It has an index of the users that the
    /// session key `user` identifies, if there is one.
    pub async fn storage_of_users(
        &self,
        cookie: CookieSettings,
        clock: Option<ManualClock>,
        hash_identities: bool,
        user: Option<&str>,
    ) -> Arc<dyn Storage> {
        let clock = StoreClock(clock);
        match &self.server {
            Server::Redis { server, .. } => {
                let backend = RedisBackend::new(server.connection().await);
                // A new server learns the script, so that each later call is one command.
                let (write, was) = (Write::record("{}", None), Stored::new("{}"));
                let key = "session-tests-no-such-key";
                let outcome = backend.write(key, write, OnlyIf::Unchanged(&was)).await;
                assert_eq!(outcome.unwrap(), Outcome::Found(Found::Missing));
                self.mark();
                let storage = RedisStorage::new(backend)
                    .with_cookie(cookie)
                    .with_clock(clock)
                    .hash_identities(hash_identities);
                match user {
                    Some(user) => Arc::new(storage.with_user_index(user)),
                    None => Arc::new(storage),
                }
            }
            Server::Memcached { server, .. } => {
                let backend = MemcachedBackend::open(&server.address()).unwrap();
                let storage = MemcachedStorage::new(backend)
                    .with_cookie(cookie)
                    .with_clock(clock)
                    .hash_identities(hash_identities);
                match user {
                    Some(user) => Arc::new(storage.with_user_index(user)),
                    None => Arc::new(storage),
                }
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

    /// Stores an item with flags in memcached, which no session has.
    pub fn put_with_flags(&self, key: &str, flags: u32, value: &[u8]) {
        let mut question = format!("set {key} {flags} 0 {}\r\n", value.len()).into_bytes();
        question.extend_from_slice(value);
        question.extend_from_slice(b"\r\n");
        assert_eq!(self.memcached(|line| line.ask(&question)), "STORED");
        self.mark();
    }

    /// Stores a list in Redis, which no session is.
    pub fn put_list(&self, key: &str, items: &[&str]) {
        let pushed: usize = self.redis(redis::cmd("RPUSH").arg(key).arg(items));
        assert_eq!(pushed, items.len());
        self.mark();
    }

    /// Returns a list that is stored in Redis.
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

    /// Returns how long the record has to live, by `TTL` or `mg KEY t`.
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

    /// Returns the sorted keys of all records, by `SCAN` or `lru_crawler metadump`.
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
        keys.dedup(); // SCAN may return a key twice.
        keys
    }

    /// Returns how many writes the server has carried out since the last [`put`](Self::put). A
    /// write whose condition did not hold does not count.
    pub fn writes(&self) -> u64 {
        self.writes_ever() - lock(&self.seen).writes
    }

    /// Returns the commands since the last `take_calls`, those of the test itself included.
    ///
    /// A server does not know which values are tombstones. A tombstone counts as a create or as an
    /// update, and `end` is always 0.
    ///
    /// # Panics
    ///
    /// If the server received any other command.
    pub fn take_calls(&self) -> Calls {
        match &self.server {
            Server::Redis {
                server, monitor, ..
            } => {
                let mut calls = Calls::default();
                let commands = monitor.get_or_init(|| server.monitor()).take();
                // An older server refuses `SET .. IFEQ`, and a script follows.
                let is_script = |command: &String| command.starts_with("\"EVALSHA\" ");
                let has_scripts = commands.iter().any(is_script);
                for command in commands {
                    match command.split('"').nth(1).unwrap_or_default() {
                        "GET" => calls.read += 1,
                        "SET" if compares(&command) && has_scripts => {}
                        "SET" if compares(&command) => calls.update += 1,
                        "SET" => calls.create += 1,
                        "EVALSHA" => calls.update += 1,
                        // A new connection, and the test itself.
                        "CLIENT" | "INFO" | "SCAN" | "TTL" => {}
                        _ => panic!("Redis received {command}"),
                    }
                }
                calls
            }
            Server::Memcached { .. } => {
                let now = self.memcached(Line::counts);
                let before = std::mem::replace(&mut lock(&self.seen).counts, now);
                assert_eq!(
                    now.others, before.others,
                    "memcached received other commands"
                );
                let since = |now: u64, before: u64| usize::try_from(now - before).unwrap();
                let update = since(now.swaps, before.swaps);
                let calls = Calls {
                    read: since(now.gets, before.gets),
                    create: since(now.sets, before.sets) - update,
                    update,
                    end: 0,
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

    /// Leaves out of all counts what the test itself has done.
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

/// The clock of a test, or of the operating system.
#[derive(Debug)]
struct StoreClock(Option<ManualClock>);

impl Clock for StoreClock {
    fn now(&self) -> SystemTime {
        match &self.0 {
            Some(clock) => clock.now(),
            None => SystemClock.now(),
        }
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
