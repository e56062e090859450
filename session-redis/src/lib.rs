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
//! - `RedisStorage::connect` is a [`ConnectionManager`](redis::aio::ConnectionManager) with timeouts.
//! - A `MultiplexedConnection` does not reconnect.
//! - A cluster: `redis::cluster_async::ClusterConnection`, see below.
//! - TLS: redis's features `tokio-rustls-comp` and `tls-rustls-webpki-roots`, or `tokio-native-tls-comp`,
//!   and an address of `rediss://`.
//! - Sentinel: redis's feature `sentinel`. `SentinelClient::get_async_connection` asks the sentinels who
//!   is master and connects there, once: a `MultiplexedConnection`, which neither reconnects nor follows
//!   a failover. Put a [`ConnectionLike`](redis::aio::ConnectionLike) around it that calls it again when
//!   a command fails or says `READONLY`; `tests/src/renewing.rs` in the repository is one.
//! - Whoever makes a connection sets `TCP_NODELAY` ([`TcpSettings`](redis::io::tcp::TcpSettings)),
//!   which the redis crate leaves off.
//!
//! # A Redis Cluster
//!
//! With redis's feature `cluster-async`. Its defaults wait for ever for a silent node, pause longer
//! between two tries than a call here may take, and give up after 16; these do not:
//!
//! ```ignore
//! let client = ClusterClient::builder(["redis://10.0.0.1/", "redis://10.0.0.2/"])
//!     .tcp_settings(TcpSettings::default().set_nodelay(true))
//!     .connection_timeout(Duration::from_millis(250))
//!     .response_timeout(Duration::from_millis(250)) // each try; below the backend's own
//!     .overall_response_timeout(None)               // the backend's own
//!     .retries(1000)
//!     .retry_wait_formula(50, 1)
//!     .min_retry_wait(20)                           // 20 to 50 ms between two tries
//!     .build()?;
//! let storage = RedisStorage::new(RedisBackend::new(client.get_async_connection().await?));
//! ```
//!
//! Read from masters, which is the default: a replica may still show what is gone. In the servers'
//! settings `cluster-require-full-coverage no` lets sessions on other masters work on while one fails
//! over. Slots that move then cost no error, a master that dies costs one of
//! [`Unavailable`](session_core::ErrorKind::Unavailable) for those of its sessions that are asked for
//! until its replica has taken over. What redis 1.8.1 does not do:
//!
//! - With tokio 1.54.0 or 1.54.1 its connection stands still for ever once a slot has moved or a node
//!   has died while more than some twenty commands were under way. Stay at tokio 1.53 with it
//!   (`cargo update -p tokio --precise 1.53.3`).
//! - It stays with a master that hangs, and still holds its connections, when another one has taken
//!   over. What the note on Sentinel describes helps here, too.
//!
//! # What Redis forgets
//!
//! A session that was acknowledged is as safe as Redis keeps it: without persistence a restart logs
//! everybody out; with `appendfsync everysec` a crash may lose the last second; a failover loses what
//! the new master had not received. A lost session is an empty new one, never another one's. With
//! `maxmemory`, choose a `volatile-` policy or `noeviction`: under `noeviction` a full server refuses
//! new sessions, which is a 503, and loses none.
//!
//! # What this crate does not do
//!
//! It encrypts nothing: whoever reads Redis reads the sessions, and with them the identities, unless
//! [`hash_identities`](session_core::KeyedStorage::hash_identities) is on. It needs a tokio runtime with I/O
//! and time.

mod backend;
mod connect;
mod failure;

pub use backend::RedisBackend;
pub use redis;

/// Sessions in Redis: [`KeyedStorage`](session_core::KeyedStorage) over [`RedisBackend`].
pub type RedisStorage<C = redis::aio::ConnectionManager> =
    session_core::KeyedStorage<RedisBackend<C>>;
