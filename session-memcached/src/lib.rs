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
//! Or with settings of its own, and without waiting for the server:
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
//! # What memcached is asked
//!
//! A load is one `gets`, a first save one `add`, a save after that one `cas`, a logout one `cas` for
//! nothing whose time is over. A conflict costs a `gets` and a `cas` more. All of it is acknowledged.
//!
//! # Several servers
//!
//! Put a proxy that knows the ASCII protocol before them, such as nutcracker (twemproxy): it decides
//! which server has which key, for Python and for Rust. Leave its `auto_eject_hosts` off. A server that
//! is ejected and comes back brings old sessions with it, those of users who logged out meanwhile too.
//!
//! ```yaml
//! sessions:
//!   listen: 127.0.0.1:22121
//!   hash: fnv1a_64
//!   distribution: ketama
//!   auto_eject_hosts: false
//!   timeout: 500                # milliseconds; below the backend's own
//!   servers:
//!    - 10.0.0.1:11211:1 memcached0
//!    - 10.0.0.2:11211:1 memcached1
//! ```
//!
//! nutcracker 0.5 passes on every command that is used here. While a server is down its sessions are
//! [`Unavailable`](session_core::ErrorKind::Unavailable), and those on the others work.
//!
//! # What memcached forgets
//!
//! Everything at a restart; under memory pressure the sessions that were not used for longest
//! (watch `evictions` in its `stats`). Whoever's session is gone is logged out. An item, with its key,
//! fits into 1 MiB unless memcached's `-I` says otherwise; a larger session is an error and keeps what
//! was stored. The numbers that compare-and-swap goes by begin anew at a restart: a save that straddles
//! one may overwrite what Python, whose `set` asks nobody, wrote under the same key since. A record that lives
//! beyond January 2038 stays until it is evicted, for memcached 1.6 takes such a time for one that is over; its session ends in
//! time all the same. memcached must not run with `-C`, which turns compare-and-swap off: that is an error.
//!
//! # What this crate does not do
//!
//! It encrypts nothing and knows no SASL: whoever reaches memcached reads the sessions, and with them
//! the identities, unless [`hash_identities`](session_core::KeyedStorage::hash_identities) is on. It needs a
//! tokio runtime with I/O and time. An application that itself uses memcache-async takes it with
//! `default-features = false`: its features `with-futures` and `with-tokio` exclude each other.

mod address;
mod backend;
mod command;
mod exchange;
mod expiry;
mod pool;

pub use backend::MemcachedBackend;

/// Sessions in memcached: [`KeyedStorage`](session_core::KeyedStorage) over [`MemcachedBackend`].
pub type MemcachedStorage = session_core::KeyedStorage<MemcachedBackend>;
