//! P1, live: the tests of `interop` once more, with our parity program on axum.
//!
//! `SESSION_TEST_SEED=N` walks other ways than the usual ones.

#![allow(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    missing_docs,
    reason = "tests"
)]

#[path = "interop/client.rs"]
mod client;
#[path = "interop/keyed.rs"]
mod keyed;
#[path = "interop/model.rs"]
mod model;
#[path = "interop/parity.rs"]
mod parity;
#[path = "interop/random.rs"]
mod random;
#[path = "interop/suite.rs"]
mod suite;
#[path = "interop/users.rs"]
mod users;
#[path = "interop/walk.rs"]
mod walk;

use session_tests::adapter::Adapter;

const ADAPTER: Adapter = Adapter::Axum;
