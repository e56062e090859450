//! The promises that the documentation makes, each with its interleavings and failures forced:
//! by gates that hold a backend call, by failures injected at every call, never by sleeping.
#![allow(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "these are tests"
)]

mod app;
mod p2;
mod p3;
mod p4;
mod p5;
mod p6;
mod p8;
mod p9;
