//! P6 on real servers: whatever becomes of the store, each request ends in time, nobody's session is
//! harmed, what was not acknowledged is an error, and service resumes by itself.
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
