use std::time::Duration;

use redis::io::tcp::{TcpSettings, socket2::TcpKeepalive};
use redis::{AsyncConnectionConfig, Client, Cmd, IntoConnectionInfo};
use session_core::{Connect, Result};

use crate::backend::{RedisBackend, TIMEOUT};
use crate::failure;
use crate::reconnect::Reconnecting;

/// After this long without a word from the other side TCP gives a connection up.
const SILENCE: Duration = Duration::from_secs(5);

impl RedisBackend<Reconnecting> {
    /// Keeps sessions in the Redis at `address`: `redis://[user:password@]host[:port][/database]`,
    /// `rediss://..` with TLS (a feature of redis), or `redis+unix:///path/to/socket`. Connects when it is
    /// first used, and again whenever that is needed.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Settings`](session_core::ErrorKind::Settings) if it is no address.
    pub fn open(address: &str) -> Result<Self> {
        let info = address
            .into_connection_info()
            .map_err(|error| failure::settings(&error))?;
        let client = Client::open(info.set_tcp_settings(tcp()))
            .map_err(|error| failure::settings(&error))?;
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
}

impl Connect for RedisBackend<Reconnecting> {
    /// See [`RedisBackend::open`] for the address. What is wrong from the beginning, the host or the
    /// password, is an error here.
    async fn connect(address: &str) -> Result<Self> {
        let backend = Self::open(address)?;
        let connected = backend.connection().connected().await;
        connected.map_err(|error| failure::unavailable(&error))?;
        match backend.ask(&Cmd::ping(), backend.deadline()).await {
            // One that wants a password and got none takes the connection, and nothing else.
            Err(error) if error.code() == Some("NOAUTH") => Err(failure::unavailable(&error)),
            _ => Ok(backend), // it may allow no PING
        }
    }
}

fn tcp() -> TcpSettings {
    let keepalive = TcpKeepalive::new()
        .with_time(SILENCE)
        .with_interval(SILENCE / 5);
    let settings = TcpSettings::default()
        .set_nodelay(true)
        .set_keepalive(keepalive);
    #[cfg(target_os = "linux")]
    let settings = settings.set_user_timeout(SILENCE);
    settings
}
