//! P5 on real servers: a call that is cancelled at any point leaves no response that another call
//! could read. And on servers that respond wrongly: such a response is an error.
#![allow(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "these are tests"
)]

mod backend;
mod cancel;
mod fake;
mod http;
mod memcached;
mod redis;
