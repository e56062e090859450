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
//! [`guide::next_steps`] goes on: login and logout, guards, flash messages, "remember me", structs,
//! error pages, production cookies, websockets, graceful shutdown. [`guide::testing`] tests handlers,
//! and [`guide::from_tower_sessions`] is for a service that uses tower-sessions or axum-login today.
//! The pages on choosing a storage, deploying, operating and threats are in `session_hyper::guide`;
//! they hold for both adapters.
//!
//! # A session in a handler
//!
//! | argument | what it does |
//! | --- | --- |
//! | [`Session`] | loads the request's session; if the store does not answer, the response is 503 |
//! | `Option<Session>` | the same; `None` where no layer is around the route |
//! | [`Sessions`] | loads nothing; its methods load a session, or start a new one at a login |
//!
//! All three work in handlers, in `middleware::from_fn`, with state and in nested routers. All of one
//! request get the same session. In a plain tower service, [`RequestSession`] gives the sessions of
//! an `http::Request`.
//!
//! # What happens to a request
//!
//! - If nobody asks for a session, nothing: no call to the store, no look at the cookies, no header.
//! - A changed session is saved after the handler has responded and before the headers leave. A
//!   change by a streaming body or a websocket comes later, and is
//!   [`ErrorKind::Committed`](ErrorKind). [`Session::save`] saves earlier.
//! - If the handler responds with a server error (5xx), its changes are dropped and a warning is
//!   logged. [`save_server_errors`](SessionLayer::save_server_errors) saves them. A logout,
//!   [`Session::invalidate`], is carried out whatever the response is.
//! - A response whose handler asked for a session carries `Vary: Cookie`. One that sets the cookie
//!   carries `Cache-Control: no-store`, unless the handler set another.
//!
//! # Errors
//!
//! A session [`Error`] is a response, so a handler returns it with `?`, as it is or inside an error
//! type of the application whose `into_response` calls that of the session error. Nothing is saved
//! except a logout. The error is logged once, and [`SessionLayer::on_error`] writes the page:
//!
//! | what failed | status |
//! | --- | --- |
//! | the store, in a load or a save; too many conflicts | 503 |
//! | another request ended the session while this one changed it | 409 |
//! | the session is too large; a value has another type; the layer is missing; anything else | 500 |
//!
//! # What it logs
//!
//! Failures, with their cause and without secrets, through [`tracing`](https://docs.rs/tracing).
//! Without a subscriber, such as `tracing_subscriber::fmt().init()`, a 503 or a forgotten layer
//! leaves no trace.
//!
//! # Features
//!
//! `axum` (on by default): the extractors, and `Error` as a response. It needs `axum-core` alone.
//!
//! # What this crate does not do
//!
//! It opens no connection and spawns no task. It knows no users and checks no password.

pub mod guide;
mod service;

pub use service::{SessionLayer, SessionService};
pub use session_core::adapter::{DefaultErrorResponse, ErrorResponse, SessionFuture, status};
pub use session_core::{
    CookieBuilder, CookieChange, CookieSettings, Error, ErrorKind, Identity, KeyedStorage,
    ManualClock, MemoryBackend, MemoryStorage, RequestSession, Result, SameSite, Session, Sessions,
    Storage, UserSession, UserSessions,
};
