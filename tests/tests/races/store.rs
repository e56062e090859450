//! The store behind the processes, looked at directly.

use std::collections::BTreeMap;

use session_tests::memcached::MemcachedServer;
use session_tests::processes::ask_raw;
use session_tests::redis::{Monitor, RedisServer};

/// A server of the test's own.
pub(crate) enum Store {
    Redis(RedisServer),
    Memcached(MemcachedServer),
}

/// What the store did since it was asked last: by `MONITOR` or by memcached's counters.
pub(crate) enum Watch<'a> {
    Redis(&'a RedisServer, Monitor, usize),
    Memcached(&'a MemcachedServer, BTreeMap<String, u64>),
}

/// What a [`Watch`] saw.
#[derive(Debug)]
pub(crate) struct Seen {
    /// How many commands came.
    pub(crate) commands: usize,
    /// How many records were stored, touched or deleted.
    pub(crate) writes: usize,
    /// Redis's words.
    pub(crate) lines: Vec<String>,
}

impl Store {
    /// As the processes are told it.
    pub(crate) fn address(&self) -> String {
        match self {
            Self::Redis(server) => server.url(),
            Self::Memcached(server) => server.address(),
        }
    }

    /// All records, by their identities.
    pub(crate) async fn records(&self) -> BTreeMap<String, String> {
        let mut records = BTreeMap::new();
        match self {
            Self::Redis(server) => {
                for key in server.ask::<Vec<String>>("KEYS *").await {
                    let value: Option<String> = server.ask(&format!("GET {key}")).await;
                    records.extend(value.map(|value| (key, value)));
                }
            }
            Self::Memcached(server) => {
                for key in server.keys() {
                    // A tombstone can hold line breaks of its own.
                    let reply = server.ask(&format!("get {key}"), "END\r\n");
                    let value = reply.strip_suffix("\r\nEND\r\n").map(|reply| {
                        let (_, value) = reply.split_once("\r\n").unwrap();
                        value.to_owned()
                    });
                    records.extend(value.map(|value| (key, value)));
                }
            }
        }
        let identity = |key: String| key.strip_prefix("sid_").unwrap().to_owned();
        let records = records.into_iter();
        records.map(|(key, value)| (identity(key), value)).collect()
    }

    /// The identity's record as the store has it, memcached's number for this version with it.
    pub(crate) async fn raw(&self, identity: &str) -> String {
        match self {
            Self::Redis(server) => {
                let value: Option<String> = server.ask(&format!("GET sid_{identity}")).await;
                format!("{value:?}")
            }
            Self::Memcached(server) => server.ask(&format!("gets sid_{identity}"), "END\r\n"),
        }
    }

    /// Puts `value` in the place of the identity's record, or deletes it.
    pub(crate) async fn put(&self, identity: &str, value: Option<&str>) {
        let key = format!("sid_{identity}");
        match (self, value) {
            (Self::Redis(server), Some(value)) => {
                assert_eq!(
                    server.ask::<String>(&format!("SET {key} {value}")).await,
                    "OK"
                );
            }
            (Self::Redis(server), None) => server.ask::<()>(&format!("DEL {key}")).await,
            (Self::Memcached(server), Some(value)) => {
                let set = format!("set {key} 0 60 {}\r\n{value}", value.len());
                assert_eq!(server.ask(&set, "\r\n"), "STORED\r\n");
            }
            (Self::Memcached(server), None) => {
                server.ask(&format!("delete {key}"), "\r\n");
            }
        }
    }

    /// Deletes all records.
    pub(crate) async fn clear(&self) {
        match self {
            Self::Redis(server) => server.ask::<()>("FLUSHDB").await,
            Self::Memcached(server) => {
                for key in server.keys() {
                    server.ask(&format!("delete {key}"), "\r\n");
                }
            }
        }
    }

    /// How often each command was carried out so far, a script's too: Redis's `get`, `set`,
    /// `evalsha`.., or memcached's counters. `set_failed` counts the errors of Redis's `set`.
    pub(crate) async fn counters(&self) -> BTreeMap<String, u64> {
        match self {
            Self::Redis(server) => {
                let text: String = server.ask("INFO commandstats").await;
                let count = |line: &str| {
                    let (name, rest) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
                    let (calls, rest) = rest.split_once(',')?;
                    let failed = rest.split("failed_calls=").nth(1)?;
                    let count = |count: &str| count.parse::<u64>().unwrap();
                    let failed = (format!("{name}_failed"), count(failed));
                    Some([(name.to_owned(), count(calls)), failed])
                };
                text.lines().filter_map(count).flatten().collect()
            }
            Self::Memcached(server) => server.stats(),
        }
    }

    pub(crate) fn watch(&self) -> Watch<'_> {
        match self {
            Self::Redis(server) => {
                let before = writes(server);
                Watch::Redis(server, server.monitor(), before)
            }
            Self::Memcached(server) => Watch::Memcached(server, server.stats()),
        }
    }
}

impl Watch<'_> {
    pub(crate) fn take(&mut self) -> Seen {
        match self {
            Self::Redis(server, monitor, before) => {
                let mut lines = monitor.take_with_scripts();
                lines.retain(|line| !line.starts_with("\"INFO\" ")); // our own
                let now = writes(server);
                let seen = Seen {
                    commands: lines.iter().filter(|l| !l.starts_with("lua ")).count(),
                    writes: now - *before,
                    lines,
                };
                *before = now;
                seen
            }
            Self::Memcached(server, before) => {
                let now = server.stats();
                let count = |names: &[&str]| {
                    let delta = |name: &&str| now[*name] - before[*name];
                    usize::try_from(names.iter().map(delta).sum::<u64>()).unwrap()
                };
                let deletes = ["delete_hits", "delete_misses"];
                let seen = Seen {
                    commands: count(&["cmd_get", "cmd_set", "cmd_touch"]) + count(&deletes),
                    writes: count(&["total_items", "delete_hits", "cmd_touch"]),
                    lines: Vec::new(),
                };
                *before = now;
                seen
            }
        }
    }
}

/// Returns how often a key of Redis was written so far. `MONITOR` does not tell whether a command
/// that compares has written.
fn writes(server: &RedisServer) -> usize {
    let told = ask_raw(server.port(), "INFO persistence\r\n", "\r\n\r\n").unwrap();
    let mut lines = told.lines();
    let count = lines.find_map(|line| line.strip_prefix("rdb_changes_since_last_save:"));
    count.unwrap().parse().unwrap()
}
