//! What a session does to the headers of a response, through axum: the tests of `headers` once
//! more.

#![allow(clippy::unwrap_used, reason = "these are tests")]

#[path = "headers/suite.rs"]
mod suite;

use session_tests::adapter::Adapter;

const ADAPTER: Adapter = Adapter::Axum;
