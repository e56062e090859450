//! Raw commands to a memcached.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::thread;
use std::time::Duration;

/// A connection to memcached.
#[derive(Debug)]
pub(super) struct Line {
    stream: BufReader<TcpStream>,
    sent: u64,
}

impl Line {
    pub(super) fn to(port: u16) -> Self {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        Self {
            stream: BufReader::new(stream),
            sent: 0,
        }
    }

    /// Asks, and returns the first line of the response.
    pub(super) fn ask(&mut self, question: &[u8]) -> String {
        self.stream.get_mut().write_all(question).unwrap();
        self.sent += question.len() as u64;
        self.line()
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.stream.read_line(&mut line).unwrap();
        // The lines of a dump end with a line feed alone.
        let whole = line.strip_suffix('\n').expect("memcached closed");
        whole.strip_suffix('\r').unwrap_or(whole).to_owned()
    }

    /// Returns the lines of a response that `END` ends.
    fn lines(&mut self, question: &[u8]) -> Vec<String> {
        let mut line = self.ask(question);
        let mut lines = Vec::new();
        while line != "END" {
            lines.push(line);
            line = self.line();
        }
        lines
    }

    /// Returns what `mg` says of an item, and its value.
    pub(super) fn meta_get(&mut self, key: &str, flags: &str) -> (String, Option<Vec<u8>>) {
        let head = self.ask(format!("mg {key} {flags}\r\n").as_bytes());
        if head == "EN" {
            return (String::new(), None);
        }
        let mut words = head.strip_prefix("VA ").expect(&head).splitn(2, ' ');
        let len: usize = words.next().unwrap().parse().unwrap();
        let mut value = vec![0; len + 2];
        self.stream.read_exact(&mut value).unwrap();
        value.truncate(len);
        (words.next().unwrap_or_default().to_owned(), Some(value))
    }

    /// memcached's own crawler may be at work: then it says so, and is asked again.
    pub(super) fn keys(&mut self) -> Vec<String> {
        loop {
            let mut line = self.ask(b"lru_crawler metadump hash\r\n");
            if line == "OK" {
                line = self.line(); // newer versions begin with it
            }
            let mut keys = Vec::new();
            while let Some(rest) = line.strip_prefix("key=") {
                // It is written as in a URL. Of our keys only that of an index has such a
                // character.
                keys.push(rest.split(' ').next().unwrap().replace("%40", "@"));
                line = self.line();
            }
            if line == "END" {
                return keys;
            }
            assert!(line.starts_with("BUSY"), "{line}");
            thread::sleep(Duration::from_millis(5));
        }
    }

    pub(super) fn stats(&mut self) -> Vec<String> {
        self.lines(b"stats\r\n")
    }

    pub(super) fn counts(&mut self) -> Counts {
        let stats = self.stats();
        let sum = |names: &[&str]| names.iter().map(|name| stat(&stats, name)).sum();
        Counts {
            gets: sum(&["cmd_get"]),
            sets: sum(&["cmd_set"]),
            swaps: sum(&["cas_hits", "cas_misses", "cas_badval"]),
            others: sum(&[
                "cmd_touch",
                "delete_hits",
                "delete_misses",
                "incr_hits",
                "incr_misses",
                "decr_hits",
                "decr_misses",
                "store_too_large",
                "store_no_memory",
            ]),
            bytes: stat(&stats, "bytes_read") - self.sent,
        }
    }
}

pub(super) fn stat(stats: &[String], name: &str) -> u64 {
    let line = stats.iter().find_map(|line| {
        line.strip_prefix("STAT ")?
            .strip_prefix(name)?
            .strip_prefix(' ')
    });
    line.unwrap().parse().unwrap()
}

/// memcached's counters, and the bytes that others than the test sent.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub(super) gets: u64,
    pub(super) sets: u64,
    pub(super) swaps: u64,
    pub(super) others: u64,
    pub(super) bytes: u64,
}
