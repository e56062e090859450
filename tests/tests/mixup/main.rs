//! P5 on real servers: whoever is cancelled, at whatever point, nobody reads another one's answer.
//! And on servers that answer wrongly, whose answers nobody believes.
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
