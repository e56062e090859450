//! The promises that the documentation makes, each with its interleavings and failures forced:
//! by gates that hold a backend call, by failures injected at every call, never by sleeping.
#![allow(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "these are tests"
)]

mod app;
mod bounded;
mod data;
mod emptied;
mod explicit_save;
mod foreign;
mod grace;
mod hostile_ends;
mod p11;
mod p11_costs;
mod p11_index;
mod p11_limit;
mod p11_python;
mod p11_races;
mod p11_real;
mod p12;
mod p2;
mod p3;
mod p3_cookies;
mod p4;
mod p5;
mod p6;
mod p8;
mod p9;
mod queue;
mod real_stores;
mod responses;
mod review;
mod slow_login;
mod values;

use session_tests::adapter::Adapter;

/// The modules of `promises_axum.rs` run in that program through axum.
const ADAPTER: Adapter = Adapter::Hyper;
