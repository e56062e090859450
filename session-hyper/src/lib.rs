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
//! The server loop is the application's: `serve_connection(io, service.clone())`, HTTP/1 or HTTP/2.
//! The programs in `examples` show it whole. The [`guide`] has pages on choosing a storage, moving from
//! aiohttp_session, deploying, operating and threats.
//!
//! # What happens to a request
//!
//! - Nothing, unless its handler asks: no backend call, no look at the cookies, no header.
//! - After the handler answered, whatever the status, and before the headers leave, a changed
//!   session is saved. A streaming body, an event stream or an upgrade goes on after that; what it
//!   changes then is [`ErrorKind::Committed`](session_core::ErrorKind::Committed). It can load and
//!   save through the storage itself, given the identity of a server-side session.
//! - A handler that returns an error saves nothing, of nested services in none. A session's error, as it is or in a
//!   `Box<dyn Error + Send + Sync>`, is answered as below, so that `?` is enough. Any other goes to
//!   hyper, which closes the connection without an answer: turn your own errors into responses.
//! - A response whose session was looked at carries `Vary: Cookie`, one that sets the cookie
//!   `Cache-Control: no-store` unless the handler set another.
//!
//! # Errors
//!
//! | what failed | answer |
//! | --- | --- |
//! | the backend, in load or save; too many conflicts | 503 |
//! | another request ended the session while this one changed it | 409 |
//! | the session is too large for its cookie or its store; a value is of another type; anything else | 500 |
//!
//! With an empty body, no Set-Cookie and `Cache-Control: no-store`;
//! [`on_error`](SessionService::on_error) writes another one. A handler that makes a response of the
//! error itself has answered: what it changed is saved, and the error is logged only if it is a failed
//! load's.
//!
//! # What it logs
//!
//! Failures, with their cause and never a secret, through [`tracing`](https://docs.rs/tracing): install a
//! subscriber. [`guide::operating`] lists every event.
//!
//! # Several sessions
//!
//! Services nest, each with a storage of another cookie name:
//!
//! ```
//! use session_cookie::{EncryptedCookieStorage, Key};
//! use session_core::{CookieSettings, MemoryStorage, RequestSession};
//! use session_hyper::SessionService;
//! # use http::{Request, Response};
//!
//! # fn main() -> Result<(), session_core::Error> {
//! let cart = EncryptedCookieStorage::new(Key::generate()?).with_cookie(CookieSettings::builder("cart").build()?);
//! let login = MemoryStorage::default().with_cookie(CookieSettings::builder("login").build()?);
//! let handler = async |request: Request<String>| -> Result<Response<String>, session_core::Error> {
//!     request.session_named("cart").await?.insert("apples", 3)?;
//!     let user: Option<String> = request.session().await?.get("user")?; // the innermost
//!     Ok(Response::new(user.unwrap_or_default()))
//! };
//! let service = SessionService::new(cart, SessionService::new(login, hyper::service::service_fn(handler)));
//! # Ok(())
//! # }
//! ```
//!
//! # Frameworks on tower
//!
//! A tower service, axum's `Router` say, becomes a handler by `hyper_util::service::TowerToHyperService`
//! (feature `service`). What it extracts has a session too: [`RequestSession`] is there for
//! [`http::request::Parts`]. Where the framework wants a response in place of an error, [`status`] says
//! which.
//!
//! # What this crate does not do
//!
//! It opens no connection and spawns no task.

pub mod guide;
mod service;

pub use service::{DefaultAnswer, ErrorAnswer, SessionFuture, SessionService, status};
pub use session_core::RequestSession;
