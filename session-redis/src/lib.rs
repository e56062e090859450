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
//! With a bound of its own on each call, and without waiting for the server:
//!
//! ```no_run
//! use session_redis::{RedisBackend, RedisStorage};
//! use std::time::Duration;
//!
//! # fn program() -> Result<(), session_core::Error> {
//! let backend = RedisBackend::open("redis://127.0.0.1/")?.with_timeout(Duration::from_millis(250));
//! let storage = RedisStorage::new(backend);
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
//! which may be refused), with the cookie's name and `_` before its keys:
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
//! - A cluster: [`Reconnecting`] around a `redis::cluster_async::ClusterConnection`, see below.
//! - TLS: redis's feature `tokio-native-tls-comp`, or `tokio-rustls-comp` with `tls-rustls-webpki-roots`,
//!   and an address of `rediss://`. rustls wants a crypto provider: `rustls = { version = "0.23", features
//!   = ["ring"] }` in your own Cargo.toml. With a certificate of your own authority: [`Reconnecting`]
//!   around a `redis::Client` of `Client::build_with_tls`.
//! - Sentinel: redis's feature `sentinel`, and [`Reconnecting`] around a `SentinelClient`.
//! - Features of redis are turned on in your own Cargo.toml, `redis = { version = "1", default-features =
//!   false, features = ["cluster-async"] }`: it is the same redis, and features add up.
//! - Whoever makes a connection sets `TCP_NODELAY` ([`TcpSettings`](redis::io::tcp::TcpSettings)),
//!   which the redis crate leaves off.
//!
//! # A Redis Cluster
//!
//! With redis's feature `cluster-async`. Its defaults wait for ever for a silent node, pause longer
//! between two tries than a call here may take, and give up after 16; these do not:
//!
//! ```no_run
//! # use redis::{cluster::ClusterClient, io::tcp::TcpSettings};
//! # use session_redis::{RedisBackend, RedisStorage, Reconnecting, redis};
//! # use std::time::Duration;
//! # fn main() -> Result<(), redis::RedisError> {
//! let client = ClusterClient::builder(["redis://10.0.0.1/", "redis://10.0.0.2/"])
//!     .tcp_settings(TcpSettings::default().set_nodelay(true))
//!     .connection_timeout(Duration::from_millis(250))
//!     .response_timeout(Duration::from_millis(250)) // each try; below the backend's own
//!     .overall_response_timeout(None)               // the backend's own
//!     .retries(1000)
//!     .retry_wait_formula(50, 1)
//!     .min_retry_wait(20)                           // 20 to 50 ms between two tries
//!     .build()?;
//! let connection = Reconnecting::new(move || {
//!     let client = client.clone();
//!     async move { client.get_async_connection().await }
//! });
//! let storage = RedisStorage::new(RedisBackend::new(connection));
//! # Ok(())
//! # }
//! ```
//!
//! Read from masters, which is the default: a replica may still show what is gone. In the servers'
//! settings `cluster-require-full-coverage no` lets sessions on other masters work on while one fails
//! over. A master that dies then costs [`Unavailable`](session_core::ErrorKind::Unavailable) for those of
//! its sessions that are asked for until its replica has taken over. So may a slot that moves, on a busy
//! connection, for sessions of which the slot is half moved: redis 1.8.1 sends `ASKING` and the command
//! behind it apart, and a command of another request in between takes its effect away.
//!
//! With tokio 1.54.0 or 1.54.1 the cluster connection of redis 1.8.1 stands still once a slot has moved
//! or a node has died while more than some twenty commands were under way, and has to be made anew,
//! which `Reconnecting` does within seconds. With tokio 1.53 it does not (`cargo update -p tokio
//! --precise 1.53.3`).
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
//! It is tested with Redis 7.0. It encrypts nothing: whoever reads Redis reads the sessions, and with them the identities, unless
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
