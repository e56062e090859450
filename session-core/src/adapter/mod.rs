//! What every server adapter shares, for authors of adapters. Applications do not need it.
//!
//! An adapter makes a [`Storages`] once, and calls [`serve`](Storages::serve) for each request. The
//! returned [`SessionFuture`] runs the handler, saves the changed sessions before the headers
//! leave, and writes the response if a session failed. It uses only types of the `http` crate. The
//! guide of `session-hyper` has a page on writing an adapter.
//!
//! ```
//! use http::{Request, Response};
//! use session_core::adapter::{DefaultErrorResponse, Storages};
//! use session_core::{Error, MemoryStorage, RequestSession};
//!
//! async fn handler(request: Request<String>) -> Result<Response<String>, Error> {
//!     let session = request.session().await?;
//!     let visits = session.update("visits", |visits: Option<u64>| visits.unwrap_or(0) + 1)?;
//!     Ok(Response::new(format!("visit {visits}")))
//! }
//!
//! let storages = Storages::new(MemoryStorage::default());
//! let request = Request::new(String::new());
//! let response = storages.serve(request, DefaultErrorResponse, handler);
//! # let mut context = std::task::Context::from_waker(std::task::Waker::noop());
//! # let done = std::pin::pin!(response).poll(&mut context);
//! # let std::task::Poll::Ready(Ok(response)) = done else { panic!() };
//! # assert_eq!(response.body(), "visit 1");
//! # assert!(response.headers().contains_key("set-cookie"));
//! ```

#[cfg(feature = "axum")]
mod axum;
mod context;
mod error_response;
mod finish;
mod future;
mod headers;
mod load_once;
mod request;
mod sessions;
mod storages;

pub use error_response::{DefaultErrorResponse, ErrorResponse, status};
pub use future::SessionFuture;
pub use request::RequestSession;
pub use sessions::Sessions;
pub use storages::Storages;
