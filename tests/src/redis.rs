//! A redis-server of a test's own, or a compatible server: the program that the variable
//! `SESSION_TEST_REDIS_SERVER` names.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, Cmd, FromRedisValue};

use crate::processes::{Process, ask_raw, free_port, new_folder, server_program, wait_for};

/// A busy machine is no failure.
const PATIENCE: Duration = Duration::from_secs(20);

/// Returns the program of the server. With `--sentinel` it is a Sentinel.
pub fn program() -> String {
    server_program("SESSION_TEST_REDIS_SERVER", "redis-server")
}

/// A redis-server on a port of its own, without persistence.
#[derive(Debug)]
pub struct RedisServer {
    process: Option<Process>,
    port: u16,
    arguments: Vec<String>,
    folder: PathBuf,
}

impl RedisServer {
    /// Starts one.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// Starts one with more arguments, such as `["--maxmemory", "4mb"]`.
    pub fn start_with(arguments: &[&str]) -> Self {
        for _ in 0..5 {
            let mut server = Self {
                process: None,
                port: free_port(),
                arguments: arguments.iter().map(|text| (*text).to_owned()).collect(),
                folder: new_folder(),
            };
            if server.run() {
                return server;
            }
        }
        panic!("redis-server does not start");
    }

    fn run(&mut self) -> bool {
        let folder = self.folder.display().to_string();
        let port = self.port.to_string();
        let settings = [
            "--port",
            &port,
            "--bind",
            "127.0.0.1",
            "--dir",
            &folder,
            "--save",
            "",
            "--appendonly",
            "no",
        ];
        let settings = settings.iter().map(|text| (*text).to_owned());
        let arguments: Vec<String> = settings.chain(self.arguments.clone()).collect();
        let process = Process::start(&program(), &arguments, &self.folder);
        // Any response: one that still loads its data listens, too.
        let ready = wait_for(&process, || ask_raw(self.port, "PING\r\n", "\r\n"));
        self.process = ready.map(|_| process);
        self.process.is_some()
    }

    /// `redis://127.0.0.1:PORT/`
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }

    /// The port it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The running process.
    pub fn process(&self) -> &Process {
        self.process.as_ref().expect("it was killed")
    }

    /// Kills it with -9.
    pub fn kill(&mut self) {
        self.process.take().expect("it was killed").kill();
    }

    /// Starts it again, empty, on the same port, after a [`kill`](Self::kill).
    pub fn restart(&mut self) {
        assert!(self.run(), "redis-server does not start again");
    }

    /// A connection of the test's own.
    pub async fn connection(&self) -> MultiplexedConnection {
        let client = Client::open(self.url()).unwrap();
        let patient = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(PATIENCE))
            .set_response_timeout(Some(PATIENCE));
        let connection = client.get_multiplexed_async_connection_with_config(&patient);
        connection.await.unwrap()
    }

    /// Asks the server on a connection of the test's own: `server.ask("DBSIZE")`.
    pub async fn ask<T: FromRedisValue>(&self, command: &str) -> T {
        let mut words = command.split(' ');
        let mut asked = Cmd::new();
        asked.arg(words.by_ref().collect::<Vec<_>>());
        asked
            .query_async(&mut self.connection().await)
            .await
            .unwrap()
    }

    /// Watches all commands from now on.
    pub fn monitor(&self) -> Monitor {
        Monitor::start(self.port)
    }
}

/// Returns the command of a compare-and-set: a script, or `SET` where the server can compare.
pub async fn compares_by(server: &RedisServer) -> &'static str {
    let mut command = redis::cmd("SET");
    command
        .arg("no key")
        .arg("new")
        .arg("IFEQ")
        .arg("old")
        .arg("GET");
    let response: redis::RedisResult<Option<String>> =
        command.query_async(&mut server.connection().await).await;
    if response.is_ok() { "SET" } else { "EVALSHA" }
}

/// Returns whether a line of [`Monitor`] is `SET .. IFEQ ..`, which stores if the values are equal.
pub fn compares(line: &str) -> bool {
    line.starts_with("\"SET\" ") && line.contains("\" \"IFEQ\" \"")
}

/// All commands that a server executes, as `MONITOR` tells them.
#[derive(Debug)]
pub struct Monitor {
    port: u16,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Monitor {
    fn start(port: u16) -> Self {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        stream.write_all(b"MONITOR\r\n").unwrap();
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        assert_eq!(line, "+OK\r\n");
        let lines = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&lines);
        std::thread::spawn(move || {
            for line in reader.lines() {
                match line {
                    Ok(line) => heard.lock().unwrap().push(line),
                    Err(_) => return,
                }
            }
        });
        Self { port, lines }
    }

    /// Returns the commands since this was asked last, each as `"GET" "key"`, without the times and
    /// addresses, and without what scripts did.
    pub fn take(&self) -> Vec<String> {
        let mut commands = self.take_with_scripts();
        commands.retain(|command| !command.starts_with(IN_A_SCRIPT));
        commands
    }

    /// As [`take`](Self::take), with what scripts did, each as `lua "GET" "key"`.
    pub fn take_with_scripts(&self) -> Vec<String> {
        let commands = self.lines().into_iter().filter_map(|line| {
            let (source, command) = line.split_once("] ")?;
            let script = if source.ends_with(" lua") {
                IN_A_SCRIPT
            } else {
                ""
            };
            Some([script, command].concat())
        });
        commands.collect()
    }

    fn lines(&self) -> Vec<String> {
        // A word of our own: when it is heard, all before it was.
        let mark = format!("mark-{:?}", Instant::now()).replace([' ', '"'], "");
        ask_raw(self.port, &format!("ECHO {mark}\r\n"), "\r\n").unwrap();
        let begun = Instant::now();
        loop {
            let mut lines = self.lines.lock().unwrap();
            // Another client's command may have come after it.
            if let Some(at) = lines.iter().position(|line| line.contains(&mark)) {
                let heard = lines.drain(..=at);
                return heard.take(at).collect();
            }
            drop(lines);
            assert!(
                begun.elapsed() < Duration::from_secs(10),
                "MONITOR fell silent"
            );
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

const IN_A_SCRIPT: &str = "lua ";
