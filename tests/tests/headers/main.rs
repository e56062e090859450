//! What a session does to the headers of a response, through hyper.

#![allow(clippy::unwrap_used, reason = "these are tests")]

mod app;
mod caching;
mod committed;
mod cookie;
mod failures;
mod status;
mod storages;

use session_tests::adapter::Adapter;

/// The same tests run in `headers_axum.rs` through axum.
const ADAPTER: Adapter = Adapter::Hyper;
