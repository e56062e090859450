//! Web sessions kept in memcached, wire compatible with aiohttp_session's `MemcachedStorage`.
//!
//! ```no_run
//! use session_core::CookieSettings;
//! use session_memcached::MemcachedStorage;
//! use std::time::Duration;
//!
//! # async fn program() -> Result<(), session_core::Error> {
//! let cookie = CookieSettings::builder("sid").max_age(Duration::from_secs(3600)).build()?;
//! let storage = MemcachedStorage::connect("127.0.0.1:11211").await?.with_cookie(cookie);
//! # Ok(())
//! # }
//! ```
//!
//! With your own timeout and pool size, and without a connection at the start:
//!
//! ```
//! use session_memcached::{MemcachedBackend, MemcachedStorage};
//! use std::time::Duration;
//!
//! # fn program() -> Result<(), session_core::Error> {
//! let backend = MemcachedBackend::open("unix:/run/memcached.sock")?
//!     .with_timeout(Duration::from_millis(250))
//!     .with_max_connections(64);
//! let storage = MemcachedStorage::new(backend);
//! # Ok(())
//! # }
//! ```
//!
//! # What each request costs
//!
//! | the request | commands |
//! | --- | --- |
//! | loads a session | `gets` |
//! | saves a new session | `add` |
//! | saves a change | `cas` |
//! | logs out | `cas`, which stores a tombstone for 60 seconds |
//! | logs in over an earlier session | `add`; then `gets` and `cas` for a tombstone at its key |
//!
//! A conflict with a save in another process costs one more `gets` and `cas`. Savers of one session
//! in the same process wait in a queue. Each waiter costs `gets` and `cas`, because memcached does
//! not report the version that a `cas` has stored. memcached acknowledges every command.
//!
//! If a connection was dropped, the backend sends the command once more on a new one, within the
//! same timeout. The first try may have succeeded. The backend then finds its own bytes and reports
//! success. A connection that was idle for more than 30 seconds is not used again, because a
//! firewall or a load balancer may have forgotten it.
//!
//! The store keeps a record five minutes longer than its session lives, so that a request that
//! loaded the session just before it expired can still save it. memcached's time to live is
//! therefore the session's lifetime plus 300 seconds.
//!
//! # Several servers
//!
//! Put a proxy that speaks the ASCII protocol in front of them, such as nutcracker (twemproxy). The
//! proxy decides which server holds a key, for Python and for Rust services alike. Keep its
//! `auto_eject_hosts` off: a server that was ejected and comes back brings back old sessions, also
//! those of users who have logged out.
//!
//! ```yaml
//! sessions:
//!   listen: 127.0.0.1:22121
//!   hash: fnv1a_64
//!   distribution: ketama
//!   auto_eject_hosts: false
//!   timeout: 500                # milliseconds; less than the backend's own timeout
//!   servers:
//!    - 10.0.0.1:11211:1 memcached0
//!    - 10.0.0.2:11211:1 memcached1
//! ```
//!
//! nutcracker 0.5 forwards every command that this crate sends. While a server is down, its
//! sessions are [`Unavailable`](session_core::ErrorKind::Unavailable), and the sessions on the
//! other servers work.
//!
//! # What memcached forgets
//!
//! - A restart loses everything. Under memory pressure memcached evicts the sessions that were
//!   unused for longest (watch `evictions` in its `stats`). A user whose session is lost is logged
//!   out.
//! - An evicted tombstone is a missing key, which still stops a slower request from saving the
//!   ended session. Python's `set` compares nothing and can bring it back.
//! - An item, with its key, fits into 1 MiB unless memcached's `-I` sets another limit. Saving a
//!   larger session is an error of kind [`TooLarge`](session_core::ErrorKind::TooLarge), and the
//!   stored record stays as it was.
//! - Versions start again after a restart. A save that began before the restart can overwrite what
//!   Python has written under the same key since.
//! - A record that would live beyond January 2038 stays until it is evicted, because memcached 1.6
//!   takes such a time for a past one. Its session expires in time nevertheless.
//!
//! # Out of memory
//!
//! By default memcached makes room by eviction. With `-M` it refuses to store instead. New sessions
//! and changes are then [`Unavailable`](session_core::ErrorKind::Unavailable), and nothing is lost.
//! Logging out still works: if memcached has no memory for the tombstone, the backend deletes the
//! key under the same condition. To do so, it overwrites the item with a value that has already
//! expired, by `cas`. That value has an unusual size, because memcached reserves memory by item
//! size, and nearly always has some for such a size. If sessions of up to 256 KiB fill the memory,
//! it may have none. Logging out is then `Unavailable`, too.
//!
//! # What this crate does not do
//!
//! - It encrypts nothing and does not support SASL. Anyone who can reach memcached can read the
//!   sessions, and also the identities unless
//!   [`hash_identities`](MemcachedStorage::hash_identities) is on.
//! - It does not work with memcached's `-C`, which turns compare-and-swap off. Every load of a
//!   stored session is then an error.
//! - It needs a tokio runtime with I/O and time.
//!
//! If your application uses memcache-async itself, set `default-features = false` for it: the
//! features `with-futures` and `with-tokio` of memcache-async exclude each other.

mod address;
mod backend;
mod command;
mod connect;
mod expiry;
mod failure;
mod pool;
mod round_trip;
mod storage;

pub use backend::MemcachedBackend;
pub use storage::MemcachedStorage;

/// The README's program, compiled.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;
