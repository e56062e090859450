//! What a session counts and times, through the facade `metrics`: exactly, for a script of
//! requests, through each adapter, in memory and in a real Redis.
#![allow(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "these are tests"
)]

mod page;
mod recorder;
mod script;
mod store;
