//! Web sessions for [hyper]: a service that loads and saves a session around a handler.
//!
//! ```
//! use http::{Request, Response};
//! use session_core::{MemoryStorage, RequestSession};
//! use session_hyper::SessionService;
//!
//! async fn handler(request: Request<String>) -> Result<Response<String>, session_core::Error> {
//!     let session = request.session().await?;
//!     let visits = session.update("visits", |visits: Option<u64>| visits.unwrap_or(0) + 1)?;
//!     Ok(Response::new(format!("visit {visits}")))
//! }
//!
//! let storage = MemoryStorage::default();
//! let service = SessionService::new(storage, hyper::service::service_fn(handler));
//! # let mut context = std::task::Context::from_waker(std::task::Waker::noop());
//! # let call = hyper::service::Service::call(&service, Request::new(String::new()));
//! # let done = std::pin::pin!(call).poll(&mut context);
//! # let std::task::Poll::Ready(Ok(response)) = done else { panic!() };
//! # assert_eq!(response.body(), "visit 1");
//! # assert!(response.headers().contains_key("set-cookie"));
//! ```
//!
//! Read next: [`guide::hyper`], from the first handler to production. The [`guide`] lists all
//! pages.
//!
//! # What this crate does not do
//!
//! - It has no server loop. The application calls `serve_connection(io, service.clone())`, with
//!   HTTP/1 or HTTP/2.
//! - It opens no connection and spawns no task.
//! - It checks no password and knows users only as values in their sessions. **A login calls
//!   [`new_session()`](RequestSession::new_session) or [`renew()`](session_core::Session::renew).**
//! - It does not log a user out when the user is removed from the session. **A logout calls
//!   [`invalidate()`](session_core::Session::invalidate).**
//! - It does not make a token single-use. Two concurrent requests can both take a token out of a
//!   session, so a one-time token belongs in a database.
//! - It has no CSRF tokens. The cookie is `SameSite=Lax` by default.
//!
//! # A session in a handler
//!
//! | call of [`RequestSession`] | what it does |
//! | --- | --- |
//! | `request.session().await?` | Loads the session. If the store fails, the response is 503 |
//! | `request.passive_session().await?` | The same, for a page that polls: it extends no session |
//! | `request.new_session()?` | Loads nothing. Starts a new session at a login |
//!
//! All parts of one request get the same session. The calls also work on `http::request::Parts`.
//!
//! # What happens to a request
//!
//! - A request that does not use its session costs nothing: no call to the store, no look at the
//!   cookies, no header.
//! - A changed session is saved after the handler has responded and before the headers leave.
//!   [`Session::save`](session_core::Session::save) saves earlier. A change by a streaming body or
//!   an upgraded connection comes later. It is an error of kind
//!   [`Committed`](session_core::ErrorKind::Committed). Such code can load and save the session
//!   through the storage, with the session's identity.
//! - If the handler responds with a server error (5xx), its changes are dropped and a warning is
//!   logged. [`save_server_errors`](SessionService::save_server_errors) saves them. A logout,
//!   [`invalidate`](session_core::Session::invalidate), is carried out before every response.
//! - If the handler used a session, the response has `Vary: Cookie`. If it sets the cookie, it also
//!   has `Cache-Control: no-store`. If the handler set that header, it stays, but `public` becomes
//!   `private`.
//!
//! # Errors
//!
//! Return session errors with `?`. The service turns them into a response. Nothing is saved except
//! a logout. The error is logged once, and [`on_error`](SessionService::on_error) writes the page:
//!
//! | what failed | status |
//! | --- | --- |
//! | the store, in a load or a save; too many conflicts | 503 |
//! | another request ended the session while this one changed it | 409 |
//! | the session is too large; a value has another type; anything else | 500 |
//!
//! By default the body is empty, and `Cache-Control: no-store` is set. A session error is an `Err`
//! that is an [`Error`](session_core::Error), or a `Box<dyn std::error::Error + Send + Sync>` that
//! has one among its sources. A response with an `Error` in its extensions also counts as a session
//! error.
//!
//! **Turn your own errors into responses.** Any other `Err` goes to hyper, which closes the
//! connection without a response. Only after a failed load, an `Err` of your own type that is not
//! in a box counts as that failure.
//!
//! # What it logs
//!
//! Failures are logged through [`tracing`](https://docs.rs/tracing), with their cause and without
//! secrets. Install a subscriber, such as `tracing_subscriber::fmt().init()`.
//! [`guide::operating`] lists every event.
//!
//! # Several storages
//!
//! A service can have several storages, each with a cookie of its own name:
//!
//! ```
//! use session_cookie::{EncryptedCookieStorage, Key};
//! use session_core::{CookieSettings, MemoryStorage, RequestSession};
//! use session_hyper::SessionService;
//! # use http::{Request, Response};
//!
//! # fn main() -> Result<(), session_core::Error> {
//! let cookie = |name: &'static str| CookieSettings::builder(name).build();
//! let login = MemoryStorage::default().with_cookie(cookie("login")?);
//! let cart = EncryptedCookieStorage::new(Key::generate()?).with_cookie(cookie("cart")?);
//! type HandlerResult = Result<Response<String>, session_core::Error>;
//! let handler = async |request: Request<String>| -> HandlerResult {
//!     request.session_named("cart").await?.insert("apples", 3)?;
//!     let user: Option<String> = request.session().await?.get("user")?; // of the first storage
//!     Ok(Response::new(user.unwrap_or_default()))
//! };
//! let service = SessionService::new(login, hyper::service::service_fn(handler)).and(cart)?;
//! # Ok(())
//! # }
//! ```

pub mod guide;
mod service;

pub use service::SessionService;
pub use session_core::RequestSession;
pub use session_core::adapter::{DefaultErrorResponse, ErrorResponse, SessionFuture, status};

/// The README's program, compiled.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;
