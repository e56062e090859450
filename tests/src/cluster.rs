//! A Redis Cluster of a test's own: three masters, each with a replica.

use std::time::{Duration, Instant};

use redis::FromRedisValue;
use redis::cluster::{ClusterClient, ClusterClientBuilder};
use redis::io::tcp::TcpSettings;

use crate::processes::{ask_raw, free_port};
use crate::redis::RedisServer;

/// Nodes 0, 1 and 2 begin as masters, with a third of the slots each; 3, 4 and 5 as their replicas.
#[derive(Debug)]
pub struct RedisCluster {
    nodes: Vec<Option<RedisServer>>,
}

/// How many hash slots a cluster has.
pub const SLOTS: u16 = 16384;

const MASTERS: usize = 3;

/// Far beyond what it takes.
const PATIENCE: Duration = Duration::from_secs(30);

impl RedisCluster {
    /// Starts one, and waits until it is whole. Silent nodes are given up after one second, and
    /// what they had does not keep the others from working.
    pub fn start() -> Self {
        let node = || {
            let bus = free_port().to_string();
            RedisServer::start_with(&[
                "--cluster-enabled",
                "yes",
                "--cluster-config-file",
                "nodes.conf",
                "--cluster-port",
                &bus,
                "--cluster-node-timeout",
                "1000",
                "--cluster-require-full-coverage",
                "no",
                "--cluster-allow-replica-migration",
                "no",
                "--repl-diskless-sync-delay",
                "0",
            ])
        };
        let cluster = Self {
            nodes: (0..2 * MASTERS).map(|_| Some(node())).collect(),
        };
        cluster.form();
        cluster
    }

    fn form(&self) {
        let buses: Vec<String> = (0..self.nodes.len())
            .map(|node| self.say(node, "CONFIG GET cluster-port", "\r\n"))
            .map(|reply| reply.lines().nth(4).unwrap().to_owned())
            .collect();
        for node in 0..self.nodes.len() {
            self.say(
                node,
                &format!("CLUSTER SET-CONFIG-EPOCH {}", node + 1),
                "\r\n",
            );
            for other in node + 1..self.nodes.len() {
                self.meet(node, other, &buses);
            }
        }
        let each = usize::from(SLOTS).div_ceil(MASTERS);
        for node in 0..MASTERS {
            let last = ((node + 1) * each).min(usize::from(SLOTS)) - 1;
            let range = format!("CLUSTER ADDSLOTSRANGE {} {last}", node * each);
            assert_eq!(self.say(node, &range, "\r\n"), "+OK\r\n");
        }
        for node in 0..MASTERS {
            let id = self.say(node, "CLUSTER MYID", "\r\n");
            let id = id.lines().nth(1).unwrap();
            let replica = format!("CLUSTER REPLICATE {id}");
            until("a replica knows its master", || {
                let is_known = self.say(MASTERS + node, &replica, "\r\n") == "+OK\r\n";
                if !is_known {
                    self.meet(MASTERS + node, node, &buses);
                }
                is_known
            });
        }
        until("the cluster is whole", || {
            (0..self.nodes.len()).all(|node| {
                let cluster = self.say(node, "CLUSTER INFO", "\r\n\r\n");
                let replication = self.say(node, "INFO replication", "\r\n\r\n");
                let linked = if node < MASTERS {
                    "state=online"
                } else {
                    "master_link_status:up"
                };
                cluster.contains("cluster_state:ok")
                    && cluster.contains("cluster_slots_ok:16384")
                    && cluster.contains("cluster_size:3")
                    && cluster.contains("cluster_known_nodes:6")
                    && replication.contains(linked)
            })
        });
    }

    /// Makes two nodes known to each other. Redis gives up after the node timeout, which passes
    /// while a busy machine starts the servers, so this must be repeated.
    fn meet(&self, node: usize, other: usize, buses: &[String]) {
        let (port, bus) = (self.node(other).port(), &buses[other]);
        let meet = format!("CLUSTER MEET 127.0.0.1 {port} {bus}");
        self.say(node, &meet, "\r\n");
    }

    fn say(&self, node: usize, line: &str, end: &str) -> String {
        ask_raw(self.node(node).port(), &format!("{line}\r\n"), end).unwrap()
    }

    /// A node that was not killed.
    pub fn node(&self, node: usize) -> &RedisServer {
        self.nodes[node].as_ref().expect("it was killed")
    }

    /// The nodes that were not killed.
    pub fn alive(&self) -> impl Iterator<Item = &RedisServer> {
        self.nodes.iter().flatten()
    }

    /// Kills a node with -9.
    pub fn kill(&mut self, node: usize) {
        drop(self.nodes[node].take().expect("it was killed"));
    }

    /// The settings of the documentation of session-redis, for a connection that knows all nodes.
    pub fn client(&self) -> ClusterClientBuilder {
        ClusterClient::builder(self.alive().map(RedisServer::url))
            .tcp_settings(TcpSettings::default().set_nodelay(true))
            .connection_timeout(Duration::from_millis(250))
            .response_timeout(Duration::from_millis(250))
            .overall_response_timeout(None)
            .retries(1000)
            .retry_wait_formula(50, 1)
            .min_retry_wait(20)
    }

    /// Asks a node.
    pub async fn ask<T: FromRedisValue>(&self, node: usize, command: &str) -> T {
        self.node(node).ask(command).await
    }

    /// Returns the node that takes itself for the master of `slot`.
    pub async fn master_of(&self, slot: u16) -> usize {
        for node in 0..self.nodes.len() {
            if self.nodes[node].is_some() && self.masters(node).await.contains(&slot) {
                return node;
            }
        }
        panic!("no master serves slot {slot}");
    }

    /// The slots of which `node` takes itself for the master.
    pub async fn masters(&self, node: usize) -> Vec<u16> {
        let nodes: String = self.ask(node, "CLUSTER NODES").await;
        let line = nodes.lines().find(|line| line.contains("myself")).unwrap();
        let words: Vec<&str> = line.split(' ').collect();
        if !words[2].contains("master") {
            return Vec::new();
        }
        // Words in brackets are slots that move.
        let ranges = words[8..].iter().filter(|word| !word.starts_with('['));
        ranges
            .flat_map(|range| {
                let (first, last) = range.split_once('-').unwrap_or((range, range));
                first.parse().unwrap()..=last.parse().unwrap()
            })
            .collect()
    }

    /// Returns which errors the living nodes have responded with, and how often: `count("MOVED")`.
    pub async fn errors(&self, name: &str) -> u64 {
        let mut sum = 0;
        for node in self.alive() {
            let stats: String = node.ask("INFO errorstats").await;
            let line = format!("errorstat_{name}:count=");
            let counts = stats.lines().filter_map(|text| text.strip_prefix(&line));
            sum += counts
                .map(|n| n.trim().parse::<u64>().unwrap())
                .sum::<u64>();
        }
        sum
    }

    /// Moves a slot with all that is in it to another master. `between` runs while the slot has
    /// left in part: its first key is moved, and no node knows of the new owner yet.
    pub async fn move_slot(&self, slot: u16, to: usize, between: impl AsyncFnOnce()) {
        let from = self.master_of(slot).await;
        let (source, target): (String, String) = (
            self.ask(from, "CLUSTER MYID").await,
            self.ask(to, "CLUSTER MYID").await,
        );
        let importing = format!("CLUSTER SETSLOT {slot} IMPORTING {source}");
        let migrating = format!("CLUSTER SETSLOT {slot} MIGRATING {target}");
        self.ask::<()>(to, &importing).await;
        self.ask::<()>(from, &migrating).await;
        let mut between = Some(between);
        loop {
            let some = format!("CLUSTER GETKEYSINSLOT {slot} 1");
            let keys: Vec<String> = self.ask(from, &some).await;
            let Some(key) = keys.first() else { break };
            let port = self.node(to).port();
            let migrate = format!("MIGRATE 127.0.0.1 {port} {key} 0 5000");
            self.ask::<String>(from, &migrate).await;
            if let Some(between) = between.take() {
                between().await;
            }
        }
        // The new owner first: the old one knows whom to send to until it is told.
        for node in [to, from] {
            let done = format!("CLUSTER SETSLOT {slot} NODE {target}");
            self.ask::<()>(node, &done).await;
        }
    }

    /// Waits until the replica of the master of `slot` has all that the master has acknowledged so
    /// far: a marker of our own, written now, comes after it.
    pub async fn replicate(&self, slot: u16) {
        let master = self.master_of(slot).await;
        let slots = self.masters(master).await;
        let marker = (0..).map(|n| format!("marker-{n}"));
        let marker = marker.into_iter().find(|key| slots.contains(&slot_of(key)));
        let mut connection = self.node(master).connection().await;
        let mut set = redis::cmd("SET");
        set.arg(marker).arg(1).arg("EX").arg(60);
        set.exec_async(&mut connection).await.unwrap();
        let mut wait = redis::cmd("WAIT");
        wait.arg(1).arg(10_000);
        let replicas: u32 = wait.query_async(&mut connection).await.unwrap();
        assert_eq!(replicas, 1, "the replica does not follow");
    }
}

/// Returns the hash slot of a key without braces: CRC16 (XMODEM) modulo 16384.
pub fn slot_of(key: &str) -> u16 {
    let crc = key.bytes().fold(0_u16, |crc, byte| {
        (0..8).fold(crc ^ (u16::from(byte) << 8), |crc, _| {
            let carry = crc & 0x8000 != 0;
            (crc << 1) ^ if carry { 0x1021 } else { 0 }
        })
    });
    crc % SLOTS
}

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < PATIENCE, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
