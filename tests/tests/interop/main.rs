//! P1, live: clients wander between the real aiohttp_session and our parity program, on hyper.
//!
//! `SESSION_TEST_SEED=N` walks other ways than the usual ones.

#![allow(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    missing_docs,
    reason = "tests"
)]

mod adapters;
mod client;
mod keyed;
mod model;
mod parity;
mod random;
mod suite;
mod users;
mod walk;

use session_tests::adapter::Adapter;

/// The same tests run in `interop_axum.rs` through axum.
const ADAPTER: Adapter = Adapter::Hyper;
