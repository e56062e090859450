//! What only axum has: sessions as arguments of handlers and middleware, session errors as
//! responses, the layer among other layers, websockets.
//!
//! What both adapters must do is in `promises_axum`, `headers_axum` and `hostile_axum`.
#![allow(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "these are tests"
)]

mod app;
mod arguments;
mod errors;
mod forgotten;
mod hostile;
mod layers;
mod websocket;
