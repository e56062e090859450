//! What must hold for any input whatsoever: a function for each decoder, called by the fuzzers in
//! `tests/fuzz` with inputs that coverage led to, and by `tests/tests/fuzz.rs` with the corpus and
//! what a few seconds of mutation make of it.
//!
//! Each takes any bytes and panics where a promise is broken. What an input means is said in the
//! function's own documentation, in the simplest form that lets a seed be written by hand.

mod cookies;
mod header;
mod input;
mod keys;
mod memcached;
mod memory;
mod mutate;
mod quoting;
mod record;
mod redis;
mod request;
mod settings;
mod stored;

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

pub use cookies::{fernet, nacl, plain};
pub use header::{candidates, header};
pub use keys::keys;
pub use memcached::memcached;
pub use memory::memory;
pub use mutate::{Mutator, words};
pub use quoting::quoting;
pub use record::{json, record};
pub use redis::redis;
pub use request::request;
pub use settings::settings;
pub use stored::stored;

/// A function and its name, which is that of its corpus too.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::exhaustive_structs, reason = "this is a library of tests")]
pub struct Target {
    /// Its name.
    pub name: &'static str,
    /// Panics if a promise is broken on these bytes.
    pub run: fn(&[u8]),
    /// How many mutated inputs are an ordinary test: what takes about a second.
    pub cases: u32,
}

/// Every target.
pub const TARGETS: &[Target] = &[
    target("header", header, 3000),
    target("quoting", quoting, 2000),
    target("json", json, 10_000),
    target("record", record, 3000),
    target("fernet", fernet, 1500),
    target("nacl", nacl, 1500),
    target("plain", plain, 1500),
    target("keys", keys, 3000),
    target("settings", settings, 3000),
    target("memory", memory, 3000),
    target("stored", stored, 1500),
    target("request", request, 1000),
    target("memcached", memcached, 600),
    target("redis", redis, 1000),
];

const fn target(name: &'static str, run: fn(&[u8]), cases: u32) -> Target {
    Target { name, run, cases }
}

/// Runs a future that never waits: memory and cookies do not.
pub fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("nothing here waits"),
    }
}
