//! Every storage against a simple model of a session, under random sequences of what clients,
//! handlers, stores and time do: [`steps`].
//!
//! The model is a dict and a list of what a request did to it, [`handle`], and what each cookie
//! yields, [`known`]. In a store a save goes on from one await point to the next, in any order with
//! others', and after each step every cookie is looked at: [`checks`] says by what alone it may have
//! changed. What a cookie itself holds never changes: [`cookie`].
//!
//! `SESSION_TEST_RUNS=N` runs N sequences in place of the usual number. One that fails is told as
//! short as it gets, and its seed kept in a file beside this one.
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
