//! P1: every golden vector of aiohttp_session, on our storages through a hyper service.
//!
//! A vector that we do not follow has a row, with the reason, in its test's table of differences;
//! a row that no vector needs, or whose vector we do follow, fails the test.

#![allow(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    missing_docs,
    reason = "tests"
)]

mod cookies;
mod differences;
mod foreign;
mod lifetimes;
mod load;
#[path = "../../../examples/src/bin/parity.rs"]
#[allow(dead_code, reason = "its main and its flags")]
mod parity;
mod plain;
mod program;
mod reference;
mod requests;
mod save;
mod write_back;
