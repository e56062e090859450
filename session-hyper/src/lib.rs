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
//! let service = SessionService::new(MemoryStorage::default(), hyper::service::service_fn(handler));
//! # let mut context = std::task::Context::from_waker(std::task::Waker::noop());
//! # let call = hyper::service::Service::call(&service, Request::new(String::new()));
//! # let std::task::Poll::Ready(Ok(response)) = std::pin::pin!(call).poll(&mut context) else { panic!() };
//! # assert_eq!(response.body(), "visit 1");
//! # assert!(response.headers().contains_key("set-cookie"));
//! ```
//!
//! The server loop belongs to the application: `serve_connection(io, service.clone())`, HTTP/1 or
//! HTTP/2. The programs in `examples` show it. The [`guide`] has pages on choosing a storage, moving
//! from aiohttp_session, deploying, operating and threats.
//!
//! # What happens to a request
//!
//! - If its handler does not ask for a session, nothing: no backend call, no look at the cookies, no
//!   header.
//! - A changed session is saved after the handler has responded and before the headers leave. A
//!   streaming body, an event stream or an upgrade goes on after that. A change that it makes to the
//!   session is [`ErrorKind::Committed`](session_core::ErrorKind::Committed). It can load and save a
//!   session through the storage itself, with the identity of a server-side session.
//! - [`Session::save`](session_core::Session::save) saves earlier, when the handler needs to know
//!   that the store has acknowledged.
//! - If the handler responds with a server error (5xx), its changes are dropped and a warning is
//!   logged. [`save_server_errors`](SessionService::save_server_errors) saves them. A logout,
//!   [`invalidate`](session_core::Session::invalidate), is carried out whatever the response is.
//! - A response whose handler asked for a session carries `Vary: Cookie`. One that sets the cookie
//!   carries `Cache-Control: no-store`, unless the handler set another.
//!
//! # Errors
//!
//! Return session errors with `?`. The service turns them into a response, and saves nothing except
//! a logout:
//!
//! | what failed | response |
//! | --- | --- |
//! | the store, in a load or a save; too many conflicts | 503 |
//! | another request ended the session while this one changed it | 409 |
//! | the session is too large; a value has another type; anything else | 500 |
//!
//! The body is empty, and `Cache-Control: no-store` is set. [`on_error`](SessionService::on_error)
//! writes another response. A session error is an `Err` that is an [`Error`](session_core::Error) or
//! a `Box<dyn std::error::Error + Send + Sync>` of one. It is also a response that has the `Error` in
//! its extensions. Any other `Err` goes to hyper, which closes the connection without a response:
//! turn your own errors into responses.
//!
//! # What it logs
//!
//! Failures, with their cause and without secrets, through
//! [`tracing`](https://docs.rs/tracing): install a subscriber. [`guide::operating`] lists every event.
//!
//! # Several sessions
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
//! let login = MemoryStorage::default().with_cookie(CookieSettings::builder("login").build()?);
//! let cart = EncryptedCookieStorage::new(Key::generate()?).with_cookie(CookieSettings::builder("cart").build()?);
//! let handler = async |request: Request<String>| -> Result<Response<String>, session_core::Error> {
//!     request.session_named("cart").await?.insert("apples", 3)?;
//!     let user: Option<String> = request.session().await?.get("user")?; // of the first storage
//!     Ok(Response::new(user.unwrap_or_default()))
//! };
//! let service = SessionService::new(login, hyper::service::service_fn(handler)).and(cart)?;
//! # Ok(())
//! # }
//! ```
//!
//! # What this crate does not do
//!
//! It opens no connection and spawns no task.

pub mod guide;
mod service;

pub use service::SessionService;
pub use session_core::RequestSession;
pub use session_core::adapter::{DefaultErrorResponse, ErrorResponse, SessionFuture, status};
