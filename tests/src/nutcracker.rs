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

fn run(port: u16, stats: u16, servers: &[MemcachedServer], folder: &PathBuf) -> Option<Process> {
    let mut settings = format!(
        "sessions:\n  listen: 127.0.0.1:{port}\n  hash: fnv1a_64\n  distribution: ketama\n  \
         auto_eject_hosts: false\n  timeout: 500\n  servers:\n"
    );
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
