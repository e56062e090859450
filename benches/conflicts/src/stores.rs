//! The number of commands that a store has carried out, as it counts them itself.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::str::FromStr;

/// A store and its address.
#[derive(Clone, Copy)]
pub(crate) enum Store<'a> {
    Redis(&'a str),
    Memcached(&'a str),
}

impl Store<'_> {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Redis(_) => "redis",
            Self::Memcached(_) => "memcached",
        }
    }

    /// Returns how many commands for keys the store has carried out. What a script calls does not
    /// count again.
    pub(crate) fn commands(self) -> u64 {
        match self {
            Self::Redis(url) => {
                let address = url.trim_start_matches("redis://").trim_end_matches('/');
                let text = ask(address, "INFO commandstats\r\nQUIT\r\n");
                let calls = |command: &str| {
                    number::<u64>(&text, &format!("cmdstat_{command}:calls=")).unwrap_or(0)
                };
                let scripts = calls("eval") + calls("evalsha");
                // Each call of the library's script reads the key once. A script that wrote has
                // also called SET or DEL, so those count only for a server without scripts.
                let reads = calls("get") - scripts;
                if scripts > 0 {
                    scripts + reads
                } else {
                    reads + calls("set") + calls("del")
                }
            }
            Self::Memcached(address) => {
                let text = ask(address, "stats\r\nquit\r\n");
                let stat =
                    |name: &str| number::<u64>(&text, &format!("STAT {name} ")).expect("a number");
                let deletes = stat("delete_hits") + stat("delete_misses");
                stat("cmd_get") + stat("cmd_set") + stat("cmd_touch") + deletes
            }
        }
    }
}

fn ask(address: &str, question: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("the store listens");
    stream
        .write_all(question.as_bytes())
        .expect("an open connection");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("text");
    text
}

/// Returns the number that follows `name`.
fn number<T: FromStr>(text: &str, name: &str) -> Option<T> {
    let rest = &text[text.find(name)? + name.len()..];
    let end = rest
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(rest.len());
    rest[..end].parse().ok()
}
