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
//! To start while Redis is down, or to set a timeout for each call:
//!
//! ```no_run
//! use session_redis::{RedisBackend, RedisStorage};
//! use std::time::Duration;
//!
//! # fn program() -> Result<(), session_core::Error> {
//! let timeout = Duration::from_millis(250);
//! let backend = RedisBackend::open("redis://127.0.0.1/")?.with_timeout(timeout);
//! let storage = RedisStorage::new(backend);
//! # Ok(())
//! # }
//! ```
//!
//! To share a connection that the application already has. A connection of the redis crate has a
//! limit of its own, half a second unless you set it. The backend has a limit of one second. The
//! shorter one applies:
//!
//! ```no_run
//! use session_redis::{RedisBackend, RedisStorage, redis};
//!
//! # async fn program(client: redis::Client) -> Result<(), redis::RedisError> {
//! let settings = redis::AsyncConnectionConfig::new().set_response_timeout(None);
//! let connection = client.get_multiplexed_async_connection_with_config(&settings).await?;
//! let storage = RedisStorage::new(RedisBackend::new(connection)); // one second for each call
//! # Ok(())
//! # }
//! ```
//!
//! # Commands
//!
//! | operation | commands |
//! | --- | --- |
//! | load a session | 1: `GET` |
//! | save a new session | 1: `SET .. NX GET` |
//! | save a change, after the load | 1: `SET .. IFEQ .. GET`, or `EVALSHA` |
//! | log out, after the load | 1: the same |
//! | log in over an old session or a stale cookie | 3: create the record, read and end the old |
//! | a conflict with another request | 1 more |
//!
//! - **Compare-and-set.** `SET .. IFEQ .. GET` stores the new record only if the key still holds
//!   the one that was loaded. Valkey knows it since 8.1, Redis since 8.4. On other servers a script
//!   does the same. It is sent once (`EVAL`) and named by its hash from then on (`EVALSHA`).
//! - **No time to live.** Without a `max_age` every change runs the script. If a command with
//!   `IFEQ` sets no time to live, the server sends it to its replicas unchanged. An older replica
//!   does not know it and ignores the write. A user without the right to scripts needs replicas of
//!   the master's version.
//! - **Versions.** The backend tries `IFEQ` first. If the server responds with a syntax error, the
//!   backend uses the script for one minute, then it tries again. So a failover to another version,
//!   or a cluster of several versions, costs one more command and no error.
//! - **Dropped connections.** If the connection was dropped, the backend sends the command once
//!   more on a new one, within the same timeout. The first try may have succeeded. The backend then
//!   finds its own bytes and reports success. If another request wrote in between, the storage
//!   merges the two changes. A value that the other request removed may come back. So a token that
//!   must work only once belongs in a database.
//! - **Lifetime.** Each write sets the record's time to live (`EX`). It is five minutes longer than
//!   the session lives, so that a request that loaded the session just before its end can save it.
//! - **Logout.** A session ends with a *tombstone*: for one minute its key holds an empty JSON
//!   object with white space in it. Slower requests find it and do not bring the session back.
//!   aiohttp_session reads it as an ended session.
//!
//! Every command names one key, as a cluster requires. A session's key begins with the cookie's
//! name and `_`. The key of an index of users has an `@` in front. These rights are enough:
//!
//! ```text
//! ACL SETUSER sessions on >password ~AIOHTTP_SESSION_* ~@AIOHTTP_SESSION_* +get +set +del +eval +evalsha +select
//! ```
//!
//! - `EVAL`, `EVALSHA` and `DEL` are for servers without `IFEQ`.
//! - Servers with `IFEQ` need them in one case: a logout while the server is out of memory. In that
//!   case `DELIFEQ` (Valkey 9.0) or `DELEX` (Redis 8.4) is enough. If the user has none of these
//!   rights, `connect` succeeds and logs a warning.
//! - `SELECT` is for a database other than 0.
//! - The client sends no `CLIENT` command. It sends `HELLO` only if the address asks for RESP3.
//!
//! `connect` tries the commands, and [`RedisStorage::check`] tries them on keys of your cookie's
//! name. Call it when your application starts.
//!
//! # Which connection
//!
//! - `RedisStorage::connect`, or [`Reconnecting`] with your own function to connect: it reconnects
//!   after every kind of failure, and each call has a timeout.
//! - A `MultiplexedConnection` does not reconnect. A `redis::aio::ConnectionManager` (redis's
//!   feature `connection-manager`) does, but not when the server is silent, and its errors do not
//!   name the reason.
//! - A cluster: [`Reconnecting`] around a `redis::cluster_async::ClusterConnection`, see below.
//! - TLS: redis's feature `tokio-native-tls-comp`, or `tokio-rustls-comp` with
//!   `tls-rustls-webpki-roots`, and an address of `rediss://`. rustls needs a crypto provider:
//!   `rustls = { version = "0.23", features = ["ring"] }` in your own Cargo.toml. For a certificate
//!   of your own authority, use [`Reconnecting`] around a `redis::Client` of
//!   `Client::build_with_tls`.
//! - Sentinel: redis's feature `sentinel`, and [`Reconnecting`] around a `SentinelClient`.
//! - Turn on features of redis in your own Cargo.toml: `redis = { version = "1", default-features =
//!   false, features = ["cluster-async"] }`. Cargo then builds one redis crate with the
//!   features of both.
//! - If you make the connection yourself, set `TCP_NODELAY`
//!   ([`TcpSettings`](redis::io::tcp::TcpSettings)). The redis crate leaves it off.
//!
//! # A Redis Cluster
//!
//! A cluster needs redis's feature `cluster-async`. Its default settings wait for a silent node
//! without a limit, pause between two tries for longer than the time limit of a call, and give up
//! after 16 tries. These settings do not:
//!
//! ```no_run
//! # use redis::{cluster::ClusterClient, io::tcp::TcpSettings};
//! # use session_redis::{RedisBackend, RedisStorage, Reconnecting, redis};
//! # use std::time::Duration;
//! # fn main() -> Result<(), redis::RedisError> {
//! let client = ClusterClient::builder(["redis://10.0.0.1/", "redis://10.0.0.2/"])
//!     .tcp_settings(TcpSettings::default().set_nodelay(true))
//!     .connection_timeout(Duration::from_millis(250))
//!     .response_timeout(Duration::from_millis(250)) // for each try; shorter than the backend's
//!     .overall_response_timeout(None)               // the backend has one
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
//! - Read from masters, which is the default. A replica may still return a session that has ended.
//! - Set `cluster-require-full-coverage no` on the servers. Then sessions on other masters keep
//!   working while one master fails over.
//! - While a master is down, requests for its sessions fail with
//!   [`Unavailable`](session_core::ErrorKind::Unavailable) until its replica has taken over.
//! - While a slot moves, requests for its sessions may fail in the same way if the connection is
//!   busy. redis 1.8.1 sends `ASKING` and the command after it separately. A command of another
//!   request between the two takes away the effect of `ASKING`.
//! - A node that does not respond within the `response_timeout` can cost a server with few requests
//!   an [`Unavailable`](session_core::ErrorKind::Unavailable), even if it responds again at once.
//!   redis 1.8.1 puts the second try into a queue. If no other command waits for a response, it
//!   reads the queue only when the next command comes. The next call succeeds. With a longer
//!   `response_timeout` a slow node costs less, and a node that hangs costs more.
//! - With tokio 1.54.0 or 1.54.1 the cluster connection of redis 1.8.1 can stop for good. It
//!   happens when a slot has moved or a node has died while more than about twenty commands were
//!   waiting for a response. `Reconnecting` replaces the connection within seconds. tokio 1.53 does
//!   not have the problem (`cargo update -p tokio --precise 1.53.3`).
//!
//! # What Redis forgets
//!
//! An acknowledged session is as safe as Redis keeps it:
//!
//! | Redis runs with | what is lost |
//! | --- | --- |
//! | no persistence | all sessions, at a restart |
//! | snapshots | all changes since the last snapshot, at a crash |
//! | `appendfsync everysec` | the changes of the last one or two seconds, at a crash |
//! | `appendfsync always` | nothing |
//! | replicas | what the new master had not received, at a failover |
//!
//! A client whose session was lost has a new, empty session, never another client's. If a logout or
//! a renewal was lost, the old session lives again until it expires.
//!
//! # A full Redis
//!
//! With `maxmemory`, choose `noeviction`. A full server then loses no session. It refuses new
//! sessions and changes, and the response is 503. A `volatile-` policy evicts sessions, and can
//! evict an index of users.
//!
//! People can still log out. If the server has no memory for a tombstone, the backend deletes the
//! record instead, under the same condition. A slower request that had loaded the session still
//! fails with [`Ended`](session_core::ErrorKind::Ended). A later request with the old cookie has a
//! new session.
//!
//! # What this crate does not do
//!
//! - It encrypts nothing. Anyone who can read Redis can read the sessions, and the identities
//!   unless [`hash_identities`](RedisStorage::hash_identities) is on.
//! - It brings no runtime. It needs tokio, with I/O and time.
//! - It does not support Redis 6. `connect` says so.

mod backend;
mod classify;
mod command;
mod compare;
mod connect;
mod failure;
mod link;
mod probe;
mod reconnect;
mod storage;

pub use backend::RedisBackend;
pub use reconnect::Reconnecting;
pub use redis;
pub use storage::RedisStorage;

/// The README's program, compiled.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;
