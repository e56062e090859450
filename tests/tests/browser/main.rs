//! What a real browser makes of our cookies: Chromium, driven by WebDriver.
//!
//! Where it is shown that a browser does *not* do something, a plain cookie that the test sets
//! beside the session's shows that it could have.
#![allow(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "these are tests"
)]

mod app;
mod https;
mod lifetime;
mod login;
mod mixed;
mod namesakes;
mod partitioned;
mod removal;
mod script;
mod sites;
mod size;
mod smuggled;
mod tabs;
