//! What a session does to the headers of a response, through axum: the tests of `headers` once
//! more.

#![allow(clippy::unwrap_used, reason = "these are tests")]

#[path = "headers/app.rs"]
mod app;
#[path = "headers/caching.rs"]
mod caching;
#[path = "headers/committed.rs"]
mod committed;
#[path = "headers/cookie.rs"]
mod cookie;
#[path = "headers/failures.rs"]
mod failures;
#[path = "headers/status.rs"]
mod status;
#[path = "headers/storages.rs"]
mod storages;

use session_tests::adapter::Adapter;

const ADAPTER: Adapter = Adapter::Axum;
