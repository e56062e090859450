//! Sessions against a simple model, under random sequences of what clients, handlers and stores do.
#![allow(clippy::unwrap_used, reason = "these are tests")]

mod checks;
mod cookie;
mod handle;
mod keyed;
mod known;
mod request;
mod run;
mod steps;
mod turns;
mod world;
