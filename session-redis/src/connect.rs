use std::time::Duration;

use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::io::tcp::{TcpSettings, socket2::TcpKeepalive};
use redis::{AsyncConnectionConfig, Client, IntoConnectionInfo};
use session_core::{Connect, Result};

use crate::backend::{RedisBackend, TIMEOUT};
use crate::failure;

/// After this long without a word from the other side TCP gives a connection up.
const SILENCE: Duration = Duration::from_secs(5);

impl Connect for RedisBackend<ConnectionManager> {
    /// Connects to `redis://[user:password@]host[:port][/database]`, or to
    /// `redis+unix:///path/to/socket`, and reconnects for as long as the backend lives.
    ///
    /// While the server is away each call waits for it, for at most its timeout; once the server is
    /// back so is the connection, within half a second.
    async fn connect(address: &str) -> Result<Self> {
        let info = address
            .into_connection_info()
            .map_err(|error| failure::settings(&error))?;
        let client = Client::open(info.set_tcp_settings(tcp()))
            .map_err(|error| failure::settings(&error))?;

        // The manager tries for ever, and says nothing meanwhile: what is wrong from the beginning
        // (the host, the password) is to be heard.
        let first = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(TIMEOUT))
            .set_response_timeout(Some(TIMEOUT));
        let first = client.get_multiplexed_async_connection_with_config(&first);
        drop(first.await.map_err(|error| failure::unavailable(&error))?);

        let config = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(TIMEOUT))
            .set_response_timeout(None) // each call has its own
            .set_number_of_retries(usize::MAX)
            .set_min_delay(Duration::from_millis(50))
            .set_max_delay(Duration::from_millis(200));
        let manager = ConnectionManager::new_lazy_with_config(client, config)
            .map_err(|error| failure::settings(&error))?;
        Ok(Self::new(manager))
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
