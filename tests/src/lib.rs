//! What the tests share: backends that wait or fail on command, and a server over TCP.

#![allow(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    clippy::exhaustive_structs,
    reason = "this is a library of tests, and not published"
)]

pub mod adapter;
pub mod browser;
pub mod busy;
pub mod cluster;
pub mod ends;
pub mod examples;
pub mod fuzz;
pub mod logs;
pub mod memcached;
pub mod nutcracker;
pub mod processes;
pub mod proxy;
pub mod python;
pub mod real;
pub mod redis;
pub mod redis_dialect;
pub mod server;
pub mod stores;
pub mod tls;
pub mod vectors;
pub mod wire;

/// The README's programs, compiled.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
pub struct Readme;
