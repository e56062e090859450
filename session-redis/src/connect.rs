//! Connecting by address.

use std::time::Duration;

use redis::io::tcp::{TcpSettings, socket2::TcpKeepalive};
use redis::{AsyncConnectionConfig, Client, IntoConnectionInfo};
use session_core::Result;

use crate::backend::RedisBackend;
use crate::failure;
use crate::reconnect::{Reconnecting, timed_out};
use crate::storage::RedisStorage;

/// TCP closes a connection whose other side was silent for this long.
const MAX_TCP_SILENCE: Duration = Duration::from_secs(5);

/// An attempt to connect may take this long: enough for TLS and the password at a round trip of
/// 300 ms, or after one lost packet. When the address leads elsewhere after a failover, the attempt
/// to the old server is over this soon.
const MAX_ATTEMPT: Duration = Duration::from_secs(2);

impl RedisBackend<Reconnecting> {
    /// Keeps sessions in the Redis at `address`. Connects when the first call needs it, and again
    /// whenever that is necessary.
    ///
    /// An address is one of:
    ///
    /// - `redis://[user:password@]host[:port][/database]`
    /// - `rediss://..`, the same with TLS, which is a feature of the redis crate
    /// - `redis+unix:///path/to/socket`
    ///
    /// An attempt to connect may take two seconds, with TLS and the password. A call does not wait
    /// longer for it than [`with_timeout`](Self::with_timeout) says.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Settings`](session_core::ErrorKind::Settings) if `address` has another shape.
    pub fn open(address: &str) -> Result<Self> {
        let info = address
            .into_connection_info()
            .map_err(|error| failure::bad_address(&error))?;
        // Proxies do not know `CLIENT SETINFO`, and some close the connection.
        let settings = info.redis_settings().clone().set_skip_set_lib_name();
        let info = info.set_tcp_settings(tcp()).set_redis_settings(settings);
        let client = Client::open(info).map_err(|error| failure::bad_address(&error))?;
        let settings = AsyncConnectionConfig::new()
            .set_connection_timeout(None) // the attempt has one, whose error says more
            .set_response_timeout(None); // each call has its own
        Ok(Self::new(Reconnecting::new(move || {
            let (client, settings) = (client.clone(), settings.clone());
            async move {
                let connecting = client.get_multiplexed_async_connection_with_config(&settings);
                let connected = tokio::time::timeout(MAX_ATTEMPT, connecting).await;
                connected.unwrap_or_else(|_| Err(timed_out(MAX_ATTEMPT)))
            }
        })))
    }

    /// Connects to the Redis at `address` and keeps sessions there. See [`open`](Self::open) for
    /// the address.
    ///
    /// It tries what sessions need on a key of its own: create, read, compare-and-set and delete.
    /// So a wrong host, password or database, a missing right and a server that is too old are
    /// errors here, not at the first login or logout. Whether the user has the right to the *keys*
    /// depends on the storage's settings: see
    /// [`KeyedStorage::check`](session_core::KeyedStorage::check).
    ///
    /// If the Redis user may run neither the script nor a conditional delete, logouts fail while
    /// the server is out of memory. A `warn` event says so.
    ///
    /// # Errors
    ///
    /// - [`ErrorKind::Settings`](session_core::ErrorKind::Settings) if `address` has another shape.
    /// - [`ErrorKind::Unavailable`](session_core::ErrorKind::Unavailable) if there is no connection
    ///   within two seconds, or no response within a second, or if the server refuses the
    ///   password, the database or a command that sessions need, cannot write, or is older than
    ///   Redis 7.0.
    pub async fn connect(address: &str) -> Result<Self> {
        let backend = Self::open(address)?;
        let connected = backend.connection().connected().await;
        connected.map_err(|error| failure::from_redis(&error))?;
        backend.probe().await?;
        Ok(backend)
    }
}

impl RedisStorage<Reconnecting> {
    /// Connects to the Redis at `address` and keeps sessions there, with default settings.
    ///
    /// [`RedisBackend::open`] documents the address. Use it to start without a server, or to set a
    /// timeout.
    ///
    /// # Errors
    ///
    /// See [`RedisBackend::connect`].
    pub async fn connect(address: &str) -> Result<Self> {
        RedisBackend::connect(address).await.map(Self::new)
    }
}

fn tcp() -> TcpSettings {
    let keepalive = TcpKeepalive::new()
        .with_time(MAX_TCP_SILENCE)
        .with_interval(MAX_TCP_SILENCE / 5);
    let settings = TcpSettings::default()
        .set_nodelay(true)
        .set_keepalive(keepalive);
    #[cfg(target_os = "linux")]
    let settings = settings.set_user_timeout(MAX_TCP_SILENCE);
    settings
}
