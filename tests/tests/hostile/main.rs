//! Whatever a client sends is data (P7): over TCP through hyper, for every storage, with what was
//! logged read afterwards for secrets (P10).

#![allow(
    clippy::unwrap_used,
    clippy::format_push_string,
    reason = "these are tests"
)]

mod cookies;
mod planted;
mod records;
mod secrets;
mod store;
mod subject;
mod suite;
mod tokens;

use session_tests::adapter::Adapter;

/// The same tests run in `hostile_axum.rs` through axum.
const ADAPTER: Adapter = Adapter::Hyper;
