//! Whatever a client sends is data (P7): the tests of `hostile` once more, through axum.

#![allow(
    clippy::unwrap_used,
    clippy::format_push_string,
    reason = "these are tests"
)]

#[path = "hostile/cookies.rs"]
mod cookies;
#[path = "hostile/planted.rs"]
mod planted;
#[path = "hostile/records.rs"]
mod records;
#[path = "hostile/secrets.rs"]
mod secrets;
#[path = "hostile/store.rs"]
mod store;
#[path = "hostile/subject.rs"]
mod subject;
#[path = "hostile/suite.rs"]
mod suite;
#[path = "hostile/tokens.rs"]
mod tokens;

use session_tests::adapter::Adapter;

const ADAPTER: Adapter = Adapter::Axum;
