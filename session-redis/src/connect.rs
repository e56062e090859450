//! Connecting by address.

use std::time::Duration;

use redis::io::tcp::{TcpSettings, socket2::TcpKeepalive};
use redis::{AsyncConnectionConfig, Client, Cmd, IntoConnectionInfo};
use session_core::Result;

use crate::backend::{RedisBackend, TIMEOUT};
use crate::failure;
use crate::reconnect::Reconnecting;
use crate::storage::RedisStorage;

/// TCP closes a connection whose other side was silent for this long.
const MAX_TCP_SILENCE: Duration = Duration::from_secs(5);

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
    /// # Errors
    ///
    /// [`ErrorKind::Settings`](session_core::ErrorKind::Settings) if `address` has another shape.
    pub fn open(address: &str) -> Result<Self> {
        let info = address
            .into_connection_info()
            .map_err(|error| failure::bad_address(&error))?;
        let client = Client::open(info.set_tcp_settings(tcp()))
            .map_err(|error| failure::bad_address(&error))?;
        let settings = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(TIMEOUT))
            .set_response_timeout(None); // each call has its own
        Ok(Self::new(Reconnecting::new(move || {
            let (client, settings) = (client.clone(), settings.clone());
            async move {
                client
                    .get_multiplexed_async_connection_with_config(&settings)
                    .await
            }
        })))
    }

    /// Connects to the Redis at `address` and keeps sessions there. See [`open`](Self::open) for
    /// the address.
    ///
    /// A wrong host, password or database is an error here, not at the first request.
    ///
    /// # Errors
    ///
    /// - [`ErrorKind::Settings`](session_core::ErrorKind::Settings) if `address` has another shape.
    /// - [`ErrorKind::Unavailable`](session_core::ErrorKind::Unavailable) if the server cannot be
    ///   reached within a second, or refuses the password or the database.
    pub async fn connect(address: &str) -> Result<Self> {
        let backend = Self::open(address)?;
        let connected = backend.connection().connected().await;
        connected.map_err(|error| failure::from_redis(&error))?;
        match backend.send(&Cmd::ping(), backend.deadline()).await {
            // A server that requires a password accepts the connection without one. It refuses the
            // first command.
            Err(error) if error.code() == Some("NOAUTH") => Err(failure::from_redis(&error)),
            // Other errors are ignored: the user may have no right to send PING.
            _ => Ok(backend),
        }
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
