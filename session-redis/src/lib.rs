//! Web sessions kept in Redis, wire compatible with aiohttp_session's `RedisStorage`.
//!
//! ```no_run
//! use session_core::CookieSettings;
//! use session_redis::RedisStorage;
//! use std::time::Duration;
//!
//! # async fn program() -> Result<(), session_core::Error> {
//! let cookie = CookieSettings::builder("sid").max_age(Duration::from_secs(3600)).build()?;
//! let storage = RedisStorage::connect("redis://127.0.0.1/").await?.with_cookie(cookie);
//! # Ok(())
//! # }
//! ```
//!
//! An application that has a connection already shares it, and keeps its own settings:
//!
//! ```no_run
//! use session_redis::{RedisBackend, RedisStorage, redis};
//!
//! # async fn program(client: redis::Client) -> Result<(), redis::RedisError> {
//! let connection = client.get_multiplexed_async_connection().await?;
//! let storage = RedisStorage::new(RedisBackend::new(connection));
//! # Ok(())
//! # }
//! ```
//!
//! # What Redis is asked
//!
//! A load is one `GET`, a first save one `SET .. NX EX`, a save after that one `EVALSHA` of a script
//! that compares the record with the one that was loaded and sets it together with its time to live,
//! a logout one `EVALSHA` that compares and deletes. A conflict brings the record that is there, and
//! costs one `EVALSHA` more. A server that does not know the script is told it by `EVAL`. Every
//! command is on one key, as a cluster wants it. So a user of these rights is enough, besides what
//! the client itself asks for when it connects (`SELECT` for a database other than 0; `CLIENT SETINFO`,
//! which may be refused):
//!
//! ```text
//! ACL SETUSER sessions on >password ~AIOHTTP_SESSION_* +get +set +del +eval +evalsha +select
//! ```
//!
//! # Which connection
//!
//! - `RedisStorage::connect`, or your own way to connect: [`Reconnecting`], with timeouts.
//! - A `MultiplexedConnection` does not reconnect. A `redis::aio::ConnectionManager` (redis's feature
//!   `connection-manager`) does, but not when nothing is answered any more, and it keeps the reason to
//!   itself.
//! - A cluster: `redis::cluster_async::ClusterConnection`, with redis's feature `cluster-async`. Leave
//!   `read_from_replicas` off: a replica may still show what is gone.
//! - TLS: redis's features `tokio-rustls-comp` and `tls-rustls-webpki-roots`, or `tokio-native-tls-comp`,
//!   and an address of `rediss://`.
//! - Sentinel: redis's feature `sentinel`, and [`Reconnecting`] around a `SentinelClient`.
//! - Whoever makes a connection sets `TCP_NODELAY` ([`TcpSettings`](redis::io::tcp::TcpSettings)),
//!   which the redis crate leaves off.
//!
//! # What Redis forgets
//!
//! A session that was acknowledged is as safe as Redis keeps it: without persistence a restart logs
//! everybody out; with snapshots a crash takes everything back to the last one, with `appendfsync
//! everysec` to what was written a second or two before, with `appendfsync always` nothing is lost; a
//! failover loses what the new master had not received. A lost session is an empty new one, never
//! another one's. But a lost logout or renewal is a session that lives again until it expires. With
//! `maxmemory`, choose a `volatile-` policy or `noeviction`: under `noeviction` a full server refuses
//! new sessions and changes, which is a 503, still lets people log out, and loses no session.
//!
//! # What this crate does not do
//!
//! It encrypts nothing: whoever reads Redis reads the sessions, and with them the identities, unless
//! [`hash_identities`](session_core::KeyedStorage::hash_identities) is on. It needs a tokio runtime with I/O
//! and time.

mod backend;
mod connect;
mod failure;
mod reconnect;

pub use backend::RedisBackend;
pub use reconnect::Reconnecting;
pub use redis;

/// Sessions in Redis: [`KeyedStorage`](session_core::KeyedStorage) over [`RedisBackend`].
pub type RedisStorage<C = Reconnecting> = session_core::KeyedStorage<RedisBackend<C>>;
