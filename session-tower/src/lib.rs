//! Web sessions for [axum](https://docs.rs/axum) and [tower](https://docs.rs/tower): a layer, and
//! sessions as arguments of handlers.
//!
//! ```
//! use axum::{Router, routing::get};
//! use session_tower::{Error, MemoryStorage, Session, SessionLayer};
//!
//! async fn visits(session: Session) -> Result<String, Error> {
//!     let visits = session.update("visits", |visits: Option<u64>| visits.unwrap_or(0) + 1)?;
//!     Ok(format!("visit {visits}"))
//! }
//!
//! # async fn program() -> std::io::Result<()> {
//! let app = Router::new()
//!     .route("/", get(visits))
//!     .layer(SessionLayer::new(MemoryStorage::default())); // after the routes
//!
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
//! axum::serve(listener, app).await
//! # }
//! ```
//!
//! Read next: [`guide::axum`], from the first handler to production. The [`guide`] lists all pages.
//!
//! # What this crate does not do
//!
//! - It opens no connection and spawns no task.
//! - It checks no password and knows users only as values in their sessions. **A login calls
//!   [`new_session()`](Sessions::new_session) or [`renew()`](Session::renew).**
//! - It does not log a user out when the user is removed from the session. **A logout calls
//!   [`invalidate()`](Session::invalidate).**
//! - It does not make a token single-use. Two concurrent requests can both take a token out of a
//!   session, so a one-time token belongs in a database.
//! - It has no CSRF tokens. The cookie is `SameSite=Lax` by default.
//!
//! # A session in a handler
//!
//! | argument | what it does |
//! | --- | --- |
//! | [`Session`] | Loads the request's session. If the store fails, the response is 503 |
//! | `Option<Session>` | Does the same. It is `None` if no layer is around the route |
//! | [`Sessions`] | Loads nothing. Its methods load a session, or start a new one at a login |
//!
//! All three work in handlers, in `middleware::from_fn`, with state and in nested routers. All
//! parts of one request get the same session. In a plain tower service, [`RequestSession`] gives
//! the sessions of an `http::Request`.
//!
//! # What happens to a request
//!
//! - A request that does not use its session costs nothing: no call to the store, no look at the
//!   cookies, no header.
//! - A changed session is saved after the handler has responded and before the headers leave.
//!   [`Session::save`] saves earlier. A change by a streaming body or a websocket comes later. It
//!   is an error of kind [`Committed`](ErrorKind::Committed): see [`guide::websockets`].
//! - If the handler responds with a server error (5xx), its changes are dropped and a warning is
//!   logged. [`save_server_errors`](SessionLayer::save_server_errors) saves them. A logout,
//!   [`Session::invalidate`], is carried out whatever the response is.
//! - If the handler used a session, the response has `Vary: Cookie`. If it sets the cookie, it also
//!   has `Cache-Control: no-store`. If the handler set that header, it stays, but `public` becomes
//!   `private`.
//!
//! # Errors
//!
//! Return session errors with `?`. A session [`Error`] is a response. An error type of the
//! application can wrap it, if its `into_response` calls that of the session error. Nothing is
//! saved except a logout. The error is logged once, and [`SessionLayer::on_error`] writes the page:
//!
//! | what failed | status |
//! | --- | --- |
//! | the store, in a load or a save; too many conflicts | 503 |
//! | another request ended the session while this one changed it | 409 |
//! | the session is too large; a value has another type; the layer is missing; others | 500 |
//!
//! # What it logs
//!
//! Failures are logged through [`tracing`](https://docs.rs/tracing), with their cause and without
//! secrets. Install a subscriber, such as `tracing_subscriber::fmt().init()`. Without one, a 503 or
//! a forgotten layer leaves no trace. The guide's page on operating lists every event.
//!
//! # Features
//!
//! `axum` (on by default): the extractors, and `Error` as a response. It depends on `axum-core`
//! only.

pub mod guide;
mod service;

pub use service::{SessionLayer, SessionService};
pub use session_core::adapter::{DefaultErrorResponse, ErrorResponse, SessionFuture, status};
pub use session_core::{
    CookieBuilder, CookieChange, CookieSettings, Error, ErrorKind, Identity, KeyedStorage,
    ManualClock, MemoryBackend, MemoryStorage, RequestSession, Result, SameSite, Session, Sessions,
    Storage, UserIndex, UserSession, UserSessions,
};

/// The README's program, compiled.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;
