//! nutcracker (twemproxy) before several memcached, of a test's own.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use crate::memcached::MemcachedServer;
use crate::processes::{Process, ask_raw, free_port, new_folder, wait_for};

/// A nutcracker that spreads keys over some memcached, configured as the documentation of
/// session-memcached shows.
#[derive(Debug)]
pub struct Nutcracker {
    process: Process,
    port: u16,
    /// The servers behind it.
    pub servers: Vec<MemcachedServer>,
}

impl Nutcracker {
    /// Starts one before `count` new servers.
    pub fn start(count: usize) -> Self {
        let servers: Vec<_> = (0..count).map(|_| MemcachedServer::start()).collect();
        for _ in 0..5 {
            let port = free_port();
            if let Some(process) = run(port, free_port(), &servers, &new_folder()) {
                return Self {
                    process,
                    port,
                    servers,
                };
            }
        }
        panic!("nutcracker does not start");
    }

    /// `127.0.0.1:PORT`
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The port it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The running process.
    pub fn process(&self) -> &Process {
        &self.process
    }
}

/// Returns the settings that the documentation of session-memcached shows, without its servers.
fn documented() -> String {
    let docs = include_str!("../../session-memcached/src/lib.rs");
    let mut lines = docs.lines().map(|line| line.trim_start_matches("//! "));
    lines.find(|line| *line == "```yaml").unwrap();
    let settings = lines.take_while(|line| *line != "```");
    let settings = settings.filter(|line| !line.starts_with("   - "));
    settings.flat_map(|line| [line, "\n"]).collect()
}

fn run(port: u16, stats: u16, servers: &[MemcachedServer], folder: &PathBuf) -> Option<Process> {
    let mut settings = documented().replace("127.0.0.1:22121", &format!("127.0.0.1:{port}"));
    for (number, server) in servers.iter().enumerate() {
        // A name of its own: the place on the ring does not change with the address.
        writeln!(settings, "   - {}:1 memcached{number}", server.address()).unwrap();
    }
    fs::create_dir_all(folder).unwrap();
    let file = folder.join("nutcracker.yml").display().to_string();
    fs::write(&file, settings).unwrap();
    let arguments = ["-c", &file, "-a", "127.0.0.1", "-s", &stats.to_string()].map(str::to_owned);
    let process = Process::start("nutcracker", &arguments, folder);
    wait_for(&process, || ask_raw(port, "get ready\r\n", "END\r\n"))?;
    Some(process)
}
