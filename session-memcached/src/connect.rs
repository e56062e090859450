use session_core::Result;
use session_core::keyed::Backend as _;

use crate::address::Address;
use crate::backend::MemcachedBackend;
use crate::storage::MemcachedStorage;

/// The key that [`MemcachedBackend::connect`] reads. No session has it.
const CONNECT_KEY: &str = "session-memcached-connect";

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

    /// Keeps sessions in the memcached at `address`, as [`open`](Self::open) does, and sends one
    /// command to check that the server answers.
    ///
    /// # Errors
    /// [`ErrorKind::Settings`](session_core::ErrorKind::Settings) if `address` is not valid,
    /// [`ErrorKind::Unavailable`](session_core::ErrorKind::Unavailable) if the server did not
    /// answer within a second, or runs with `-C`.
    pub async fn connect(address: &str) -> Result<Self> {
        let backend = Self::open(address)?;
        backend.read(CONNECT_KEY).await?;
        Ok(backend)
    }
}

impl MemcachedStorage {
    /// Keeps sessions in the memcached at `address`: `host`, `host:port`, `[IPv6]:port` or
    /// `unix:/path`. The default port is 11211. Sends one command to check that the server answers.
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
