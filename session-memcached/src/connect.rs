use std::time::Duration;

use session_core::Result;
use session_core::keyed::{Backend as _, Found, OnlyIf, Write};

use crate::address::Address;
use crate::backend::MemcachedBackend;
use crate::storage::MemcachedStorage;

/// The key on which [`MemcachedBackend::connect`] tries what sessions need. No session has it.
const CONNECT_KEY: &str = "session-memcached-connect";

/// How long what a try has written stays.
const TRIED: Duration = Duration::from_secs(1);

impl MemcachedBackend {
    /// Keeps sessions in the memcached at `address`: `host`, `host:port`, `[IPv6]:port` or
    /// `unix:/path`. The default port is 11211. Connects at the first call.
    ///
    /// # Errors
    /// [`ErrorKind::Settings`](session_core::ErrorKind::Settings) if `address` has none of these
    /// forms.
    pub fn open(address: &str) -> Result<Self> {
        Ok(Self::new(Address::parse(address)?))
    }

    /// Keeps sessions in the memcached at `address`, as [`open`](Self::open) does, and tries the
    /// commands that sessions need, on a key of its own. A server that cannot end sessions is an
    /// error here, not at the first logout.
    ///
    /// # Errors
    /// [`ErrorKind::Settings`](session_core::ErrorKind::Settings) if `address` is not valid,
    /// [`ErrorKind::Unavailable`](session_core::ErrorKind::Unavailable) if the server did not
    /// answer within a second, or runs with `-C`.
    pub async fn connect(address: &str) -> Result<Self> {
        let backend = Self::open(address)?;
        backend.try_commands().await?;
        Ok(backend)
    }

    /// Creates a value, reads it and removes it. Another instance may do the same at the same time,
    /// so a conflict is fine. A tombstone, because a server without free memory is no obstacle.
    async fn try_commands(&self) -> Result<()> {
        let write = Write::tombstone("{ }", TRIED);
        self.write(CONNECT_KEY, write, OnlyIf::Missing).await?;
        if let Found::Record(stored) = self.read(CONNECT_KEY).await?
            && let Some(version) = stored.version()
        {
            self.remove(CONNECT_KEY, version).await?;
        }
        Ok(())
    }
}

impl MemcachedStorage {
    /// Keeps sessions in the memcached at `address`: `host`, `host:port`, `[IPv6]:port` or
    /// `unix:/path`. The default port is 11211. Tries the commands that sessions need.
    ///
    /// To set a timeout or the number of connections, or to start without the server, give a
    /// [`MemcachedBackend`] to [`new`](Self::new).
    ///
    /// # Errors
    /// [`ErrorKind::Settings`](session_core::ErrorKind::Settings) if `address` is not valid,
    /// [`ErrorKind::Unavailable`](session_core::ErrorKind::Unavailable) if the server did not
    /// answer within a second.
    pub async fn connect(address: &str) -> Result<Self> {
        MemcachedBackend::connect(address).await.map(Self::new)
    }
}
