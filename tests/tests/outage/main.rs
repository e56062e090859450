//! P6 on real servers. Whatever happens to the store, each request ends in time, no session is
//! harmed, an unacknowledged write is an error, and service resumes by itself.
#![allow(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "these are tests"
)]

mod acknowledged;
mod app;
mod down;
mod failover;
mod proxied;
mod refusing;
mod serving;
mod texts;
