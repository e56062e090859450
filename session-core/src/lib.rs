//! What a web session is, wire compatible with Python's aiohttp_session.
//!
//! An application takes a storage and an adapter for its server from the crates beside this one
//! (`session-cookie`, `session-redis`, `session-memcached`; `session-hyper`); this crate is what they
//! agree on, and has a storage in memory:
//!
//! ```
//! use session_core::{CookieChange, MemoryStorage, Storage};
//!
//! # async fn program() -> Result<(), session_core::Error> {
//! let storage = MemoryStorage::default();
//! let session = storage.load(None).await?;
//! session.insert("user_id", 42)?;
//! let CookieChange::Set { value, .. } = storage.save(&session).await? else { unreachable!() };
//!
//! // ... and at the client's next request:
//! let session = storage.load(Some(&value)).await?;
//! assert_eq!(session.get::<u64>("user_id")?, Some(42));
//! # Ok(())
//! # }
//! # let mut context = std::task::Context::from_waker(std::task::Waker::noop());
//! # assert!(matches!(std::pin::pin!(program()).poll(&mut context), std::task::Poll::Ready(Ok(()))));
//! ```
//!
//! # What is where
//!
//! - [`Session`]: one request's session, a dict with a few flags and verbs.
//! - [`Storage`]: a cookie's value in, a session out, and back. [`KeyedStorage`] makes one of any
//!   [`Backend`], a server-side store with four primitives; [`MemoryBackend`] is one.
//! - [`CookieSettings`]: the cookie's name, attributes and lifetimes. [`Codec`], [`Clock`],
//!   [`Records`]: how records are written and when they expire.
//! - [`SessionContext`], [`RequestSession`]: what an adapter for a server is built on.
//!
//! # What this crate does not do
//!
//! No I/O, and it knows no server and no runtime.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod adapter;
mod clock;
mod config;
mod cookie;
mod error;
mod keyed;
mod record;
mod session;
mod storage;

/// The bytes of a stored record, as [`Backend`] takes and returns them.
pub use bytes::Bytes;

pub use adapter::context::{RequestSession, SessionContext};
pub use adapter::response::{Save, Saved, answer_instead};
pub use clock::{Clock, ManualClock, SystemClock};
pub use config::{Pending, Records};
pub use cookie::header::MAX_CANDIDATES;
pub use cookie::{CookieBuilder, CookieSettings, DEFAULT_NAME, MAX_COOKIE_BYTES, SameSite};
pub use error::{Error, ErrorKind, Result};
pub use keyed::backend::{Backend, Create, Replace, Versioned};
pub use keyed::memory::{MemoryBackend, MemoryStorage};
pub use keyed::{Connect, KeyedStorage};
pub use record::codec::Codec;
pub use session::Session;
pub use session::identity::Identity;
pub use storage::{CookieChange, Storage};
