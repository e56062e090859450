//! The core of web sessions, wire compatible with Python's aiohttp_session.
//!
//! An application uses a storage (`session-cookie`, `session-redis` or `session-memcached`) and an
//! adapter for its server (`session-tower` or `session-hyper`). This crate contains what they
//! share, and a storage in memory:
//!
//! ```
//! use session_core::{CookieChange, MemoryStorage, Storage};
//!
//! # async fn program() -> Result<(), session_core::Error> {
//! let storage = MemoryStorage::default();
//! let session = storage.load(&[]).await?;
//! session.insert("user_id", 42)?;
//! let CookieChange::Set { value, .. } = storage.save(&session).await? else { unreachable!() };
//!
//! // ... and at the client's next request:
//! let session = storage.load(&[&value]).await?;
//! assert_eq!(session.get::<u64>("user_id")?, Some(42));
//! # Ok(())
//! # }
//! # let mut context = std::task::Context::from_waker(std::task::Waker::noop());
//! # let done = std::pin::pin!(program()).poll(&mut context);
//! # assert!(matches!(done, std::task::Poll::Ready(Ok(()))));
//! ```
//!
//! # Where things are
//!
//! - [`Session`]: one request's session, a map with a few flags and methods. A handler gets it
//!   through [`RequestSession`].
//! - [`Storage`]: loads a session from the client's cookies and saves it.
//! - [`UserSessions`]: the sessions of a user, to list and to end.
//! - [`CookieSettings`]: the cookie's name, attributes and lifetimes.
//! - [`keyed`]: for authors of server-side stores. [`KeyedStorage`] makes a storage of a
//!   [`keyed::Backend`], a key-value store with compare-and-swap. [`MemoryBackend`] is one.
//! - [`adapter`]: for authors of server adapters.
//!
//! # Features
//!
//! - `axum`: axum extractors of a session, and session errors as responses. `session-tower` turns
//!   it on.
//! - `metrics`: counters and durations for operators, through the `metrics` facade.
//! - `conformance`: the test suites for a storage of your own. They run in tokio, so turn it on in
//!   `[dev-dependencies]` only.
//!
//! # What this crate does not do
//!
//! - It does no I/O and needs no async runtime.
//! - It knows no server: an adapter crate connects it to one.

// Relative: the documentation of the other crates is beside that of this one. Cargo documents the
// crates of a workspace in any order, and rustdoc links to a crate only if it knows this, or if
// that crate's pages are there already.
#![doc(html_root_url = "../")]
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod adapter;
mod clock;
mod config;
#[cfg(feature = "conformance")]
pub mod conformance;
mod cookie;
mod error;
pub mod keyed;
mod metrics;
mod record;
mod session;
mod storage;
mod users;

/// The bytes of a stored record.
pub use bytes::Bytes;

#[cfg(feature = "metrics")]
pub use self::metrics::describe_metrics;
pub use adapter::{RequestSession, Sessions};
pub use clock::{Clock, ManualClock, SystemClock};
pub use config::SessionConfig;
pub use cookie::builder::CookieBuilder;
pub use cookie::change::CookieChange;
pub use cookie::request::MAX_TRIED_COOKIES;
pub use cookie::same_site::SameSite;
pub use cookie::settings::{CookieSettings, DEFAULT_NAME, MAX_COOKIE_BYTES};
pub use error::{Error, ErrorKind, Result};
pub use keyed::{KeyedStorage, MemoryBackend, MemoryStorage, UserIndex};
pub use record::codec::Codec;
pub use session::Session;
pub use session::identity::Identity;
pub use session::stage::Staged;
pub use storage::Storage;
pub use users::{UserSession, UserSessions, Users};

/// The README's program, compiled.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;
