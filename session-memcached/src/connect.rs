use std::time::Duration;

use session_core::keyed::{Backend as _, Found, OnlyIf, Write};
use session_core::{Identity, Result};

use crate::address::Address;
use crate::backend::MemcachedBackend;
use crate::storage::MemcachedStorage;

/// The prefix of the key on which [`MemcachedBackend::connect`] tries what sessions need. No key of
/// a session begins with it.
const CONNECT_KEY: &str = "session-memcached-connect-";

/// The time to live of the value that a try writes.
const TRIED: Duration = Duration::from_secs(1);

impl MemcachedBackend {
    /// Makes a backend for the memcached at `address`, and connects at the first call.
    ///
    /// `address` is `host`, `host:port`, `[IPv6]:port` or `unix:/path`. The default port is 11211.
    ///
    /// # Errors
    /// [`ErrorKind::Settings`](session_core::ErrorKind::Settings) if `address` has none of these
    /// forms.
    pub fn open(address: &str) -> Result<Self> {
        Ok(Self::new(Address::parse(address)?))
    }

    /// Makes a backend as [`open`](Self::open) does, connects, and tries the commands that sessions
    /// need.
    ///
    /// It uses its own key for that. A server that cannot end sessions is then an error at the
    /// start, not at the first logout.
    ///
    /// # Errors
    /// [`ErrorKind::Settings`](session_core::ErrorKind::Settings) if `address` is not valid,
    /// [`ErrorKind::Unavailable`](session_core::ErrorKind::Unavailable) if the server does not
    /// respond within a second, or runs with `-C`.
    pub async fn connect(address: &str) -> Result<Self> {
        let backend = Self::open(address)?;
        backend.try_commands().await?;
        Ok(backend)
    }

    /// Creates a value, reads it and removes it.
    ///
    /// The key is random. With a fixed key, instances that start at the same time would remove each
    /// other's values, and `add` gives up after two values that vanish. The value is a tombstone,
    /// so that a server without free memory passes.
    async fn try_commands(&self) -> Result<()> {
        let key = [CONNECT_KEY, Identity::random()?.as_str()].concat();
        let write = Write::tombstone("{ }", TRIED);
        self.write(&key, write, OnlyIf::Missing).await?;
        if let Found::Value(stored) = self.read(&key).await?
            && let Some(version) = stored.version()
        {
            self.remove(&key, version).await?;
        }
        Ok(())
    }
}

impl MemcachedStorage {
    /// Connects to the memcached at `address` and tries the commands that sessions need.
    ///
    /// `address` is `host`, `host:port`, `[IPv6]:port` or `unix:/path`. The default port is 11211.
    ///
    /// To set a timeout or the number of connections, or to start without the server, pass a
    /// [`MemcachedBackend`] to [`new`](Self::new).
    ///
    /// # Errors
    /// [`ErrorKind::Settings`](session_core::ErrorKind::Settings) if `address` is not valid,
    /// [`ErrorKind::Unavailable`](session_core::ErrorKind::Unavailable) if the server does not
    /// respond within a second.
    pub async fn connect(address: &str) -> Result<Self> {
        MemcachedBackend::connect(address).await.map(Self::new)
    }
}
