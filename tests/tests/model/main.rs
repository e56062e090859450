//! Every storage against a simple model of a session, under random sequences of what clients,
//! handlers, stores and time do. [`steps`] lists what can happen.
//!
//! - [`handle`]: the model of a session is a dict and a list of the changes that the request made.
//! - [`known`]: the model of a store is what each key holds.
//! - [`request`]: the model of a request is where its session lives and what its save has to do.
//!
//! In a server-side store a save goes on from one await point to the next, in any order with the
//! saves of others. After each call the test reads the key that was written. [`effects`] says what
//! a save may write there, and [`checks`] what the client must be told at the end. What a cookie
//! itself holds never changes: [`cookie`]. The sessions of users have a model of their own:
//! [`users`].
//!
//! `SESSION_TEST_RUNS=N` runs N sequences in place of the usual number. The test shortens a
//! sequence that fails, prints it, and keeps its seed in a file beside this one.
#![allow(clippy::unwrap_used, reason = "these are tests")]

mod acts;
mod checks;
mod chosen;
mod cookie;
mod draws;
mod effects;
mod finish;
mod handle;
mod keyed;
mod known;
mod protocol;
mod request;
mod run;
mod seen;
mod served;
mod steps;
mod turns;
mod users;
mod world;
