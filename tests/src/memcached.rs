//! A memcached of a test's own: the program that the variable `SESSION_TEST_MEMCACHED` names.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::processes::{Process, ask_raw, free_port, new_folder, server_program, wait_for};

/// A memcached on a port, or on a unix socket, of its own.
#[derive(Debug)]
pub struct MemcachedServer {
    process: Option<Process>,
    port: Option<u16>,
    arguments: Vec<String>,
    folder: PathBuf,
}

impl MemcachedServer {
    /// Starts one on a TCP port.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// Starts one on a TCP port with more arguments, such as `["-m", "8"]`.
    pub fn start_with(arguments: &[&str]) -> Self {
        for _ in 0..5 {
            let mut server = Self::new(Some(free_port()), arguments);
            if server.run() {
                return server;
            }
        }
        panic!("memcached does not start");
    }

    /// Starts one on a unix socket.
    pub fn start_on_socket() -> Self {
        let mut server = Self::new(None, &[]);
        assert!(server.run(), "memcached does not start");
        server
    }

    fn new(port: Option<u16>, arguments: &[&str]) -> Self {
        Self {
            process: None,
            port,
            arguments: arguments.iter().map(|text| (*text).to_owned()).collect(),
            folder: new_folder(),
        }
    }

    fn run(&mut self) -> bool {
        let mut arguments: Vec<String> = match self.port {
            Some(port) => vec![
                "-l".into(),
                "127.0.0.1".into(),
                "-p".into(),
                port.to_string(),
            ],
            None => vec!["-s".into(), self.socket()],
        };
        arguments.extend(["-U", "0", "-u", "root"].map(str::to_owned)); // -u counts for root only
        arguments.extend(self.arguments.clone());
        let program = server_program("SESSION_TEST_MEMCACHED", "memcached");
        let process = Process::start(&program, &arguments, &self.folder);
        let socket = self.socket();
        let ready = wait_for(&process, || match self.port {
            Some(port) => ask_raw(port, "version\r\n", "\r\n").map(drop),
            None => std::os::unix::net::UnixStream::connect(&socket)
                .ok()
                .map(drop),
        });
        self.process = ready.map(|()| process);
        self.process.is_some()
    }

    fn socket(&self) -> String {
        self.folder.join("socket").display().to_string()
    }

    /// `127.0.0.1:PORT` or `unix:/PATH`.
    pub fn address(&self) -> String {
        match self.port {
            Some(port) => format!("127.0.0.1:{port}"),
            None => format!("unix:{}", self.socket()),
        }
    }

    /// The TCP port it listens on.
    pub fn port(&self) -> u16 {
        self.port.expect("it listens on a socket")
    }

    /// The running process.
    pub fn process(&self) -> &Process {
        self.process.as_ref().expect("it was killed")
    }

    /// Kills it with -9.
    pub fn kill(&mut self) {
        self.process.take().expect("it was killed").kill();
    }

    /// Starts it again, empty, at the same address, after a [`kill`](Self::kill).
    pub fn restart(&mut self) {
        assert!(self.run(), "memcached does not start again");
    }

    /// Sends one line, and returns the response up to its `end`, such as `"END\r\n"`.
    pub fn ask(&self, line: &str, end: &str) -> String {
        ask_raw(self.port(), &format!("{line}\r\n"), end).unwrap()
    }

    /// What its `stats` say: `cmd_get`, `cmd_set`, `cas_misses`, `curr_items`..
    pub fn stats(&self) -> BTreeMap<String, u64> {
        let text = self.ask("stats", "END\r\n");
        let words = text
            .lines()
            .filter_map(|line| line.strip_prefix("STAT ")?.split_once(' '));
        words
            .filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?)))
            .collect()
    }

    /// Returns `curr_connections` while only the test is connected.
    pub fn own_connections(&self) -> u64 {
        // The least of some: those on which it was asked whether it runs may not be closed yet.
        let asked = (0..50).map(|_| {
            std::thread::sleep(std::time::Duration::from_millis(2));
            self.stats()["curr_connections"]
        });
        asked.min().unwrap_or_default()
    }

    /// The keys of all items.
    pub fn keys(&self) -> Vec<String> {
        // By the hash table: a walk through the LRU lists skips an item that a thread holds.
        let ask = || ask_raw(self.port(), "lru_crawler metadump hash\r\n", "END\r\n");
        // While memcached's own crawler is at work, the response is another one.
        let text = (0..3).find_map(|_| ask()).unwrap();
        let keys = text
            .lines()
            .filter_map(|line| line.strip_prefix("key=")?.split(' ').next());
        // They are written as in a URL.
        keys.map(|key| key.replace("%40", "@").replace("%3A", ":"))
            .collect()
    }
}
