//! The promises whose tests go through a handler, kept by an axum router too: the modules of
//! `promises` once more.
#![allow(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "these are tests"
)]

#[path = "promises/app.rs"]
mod app;
#[path = "promises/emptied.rs"]
mod emptied;
#[path = "promises/explicit_save.rs"]
mod explicit_save;
#[path = "promises/grace.rs"]
mod grace;
#[path = "promises/p11.rs"]
mod p11;
#[path = "promises/p11_costs.rs"]
mod p11_costs;
#[path = "promises/p11_limit.rs"]
mod p11_limit;
#[path = "promises/p11_python.rs"]
mod p11_python;
#[path = "promises/p11_races.rs"]
mod p11_races;
#[path = "promises/p12.rs"]
mod p12;
#[path = "promises/p2.rs"]
mod p2;
#[path = "promises/p3.rs"]
mod p3;
#[path = "promises/p3_cookies.rs"]
mod p3_cookies;
#[path = "promises/p4.rs"]
mod p4;
#[path = "promises/p5.rs"]
mod p5;
#[path = "promises/p6.rs"]
mod p6;
#[path = "promises/p8.rs"]
mod p8;
#[path = "promises/p9.rs"]
mod p9;
#[path = "promises/responses.rs"]
mod responses;
#[path = "promises/review.rs"]
mod review;
#[path = "promises/slow_login.rs"]
mod slow_login;

use session_tests::adapter::Adapter;

const ADAPTER: Adapter = Adapter::Axum;
