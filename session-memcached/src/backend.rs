use std::fmt;
use std::num::NonZeroU64;
use std::time::{Duration, SystemTime};

use deadpool::managed::{Manager as _, Object, Pool, PoolError};
use session_core::keyed::{Backend, Found, OnlyIf, Outcome, Stored, Write};
use session_core::{Error, ErrorKind, Result};
use tokio::time::{Instant, timeout, timeout_at};

use crate::address::Address;
use crate::command::{Add, Added, Cas, Command, Gets, Swapped};
use crate::expiry::{EXPIRED, exptime};
use crate::failure;
use crate::pool::{self, Connector};

/// The limit for one call unless the application sets another.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(1);

/// A year. Longer timeouts are capped, because a deadline beyond the clock's range would overflow.
const MAX_TIMEOUT: Duration = Duration::from_secs(365 * 24 * 3600);

/// How many connections the pool opens at most unless the application sets another number.
const DEFAULT_CONNECTIONS: usize = 32;

/// How often a write sends `add`. It sends `add` again if the record in the way expired before it
/// could be read.
const MAX_ADDS: u32 = 2;

/// The sizes of the values with which [`Call::delete`] looks for a slab class that has memory.
const DELETE_SIZES: [usize; 3] = [4 << 10, 64 << 10, 256 << 10];

/// A [`Backend`] in memcached, on a bounded connection pool.
///
/// A connection carries one command at a time. It returns to the pool after the whole of a valid
/// response was read. After a timeout, an error or a cancelled request it is closed. A connection
/// that was idle for more than 30 seconds is not used again. If a connection was dropped, the
/// command is sent once more on a new one. The version of a [`Stored`] is memcached's cas unique.
pub struct MemcachedBackend {
    pool: Pool<Connector>,
    timeout: Duration,
}

impl MemcachedBackend {
    pub(crate) fn new(address: Address) -> Self {
        Self {
            pool: pool::build(address, DEFAULT_CONNECTIONS),
            timeout: DEFAULT_TIMEOUT,
        }
    }

    /// Limits the time of each call. Default: one second.
    ///
    /// The limit covers waiting for a free connection, connecting, and all commands of the call
    /// together. Longer timeouts are capped at a year.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout.min(MAX_TIMEOUT);
        self
    }

    /// Limits how many connections are open at once. Default: 32.
    ///
    /// Further calls wait for a free connection. Zero counts as one.
    #[must_use]
    pub fn with_max_connections(mut self, connections: usize) -> Self {
        // A new pool, because deadpool's `resize` only removes connections that are open already.
        self.pool = pool::build(self.pool.manager().address.clone(), connections);
        self
    }

    /// Removes a small value if it still has this version, with a `cas` of an expired value.
    pub(crate) async fn remove(&self, key: &str, version: NonZeroU64) -> Result<()> {
        let cas = Cas {
            value: b"",
            exptime: EXPIRED,
            version,
        };
        self.call(key)?.request(cas).await.map(drop)
    }

    /// Starts a call, which must end within the timeout.
    fn call<'a>(&'a self, key: &'a str) -> Result<Call<'a>> {
        if !is_valid_key(key) {
            return Err(failure::unavailable("memcached does not accept this key"));
        }
        Ok(Call {
            backend: self,
            key,
            deadline: Instant::now() + self.timeout,
            has_repeated_write: false,
        })
    }
}

impl Backend for MemcachedBackend {
    async fn read(&self, key: &str) -> Result<Found> {
        self.call(key)?.gets().await
    }

    async fn write(&self, key: &str, write: Write, only_if: OnlyIf<'_>) -> Result<Outcome> {
        let mut call = self.call(key)?;
        match only_if {
            OnlyIf::Missing => call.add(write).await,
            OnlyIf::Unchanged(stored) => call.replace(write, stored).await,
        }
    }

    async fn bound<F: Future + Send>(&self, waiting: F, times: u32) -> Result<F::Output> {
        let limit = self.timeout.saturating_mul(times);
        let waited = timeout(limit, waiting).await;
        waited.map_err(|_| failure::unavailable(format_args!("waited longer than {limit:?}")))
    }
}

/// A call of `read` or `write`. It may take several commands. One deadline covers them all.
struct Call<'a> {
    backend: &'a MemcachedBackend,
    key: &'a str,
    deadline: Instant,
    /// Whether a write was sent twice, because the response to the first try was lost.
    has_repeated_write: bool,
}

impl Call<'_> {
    async fn gets(&mut self) -> Result<Found> {
        self.request(Gets).await
    }

    async fn add(&mut self, write: Write) -> Result<Outcome> {
        let add = Add {
            value: write.value(),
            exptime: exptime(write.time_to_live(), SystemTime::now()),
        };
        for _ in 0..MAX_ADDS {
            match self.request(add).await? {
                Added::Stored => return Ok(written(write)),
                Added::Exists => match self.gets().await? {
                    Found::Missing => {} // it expired between the two commands
                    found => return Ok(self.conflict(&write, found)),
                },
                // memcached looks for memory before it looks at the key, so the key may hold
                // something.
                Added::OutOfMemory if write.is_tombstone() => {
                    return Ok(match self.gets().await? {
                        Found::Missing => written(write),
                        found => self.conflict(&write, found),
                    });
                }
                Added::OutOfMemory => return Err(failure::out_of_memory()),
            }
        }
        Err(failure::unavailable(
            "the key's records expired while they were read",
        ))
    }

    /// Replaces `stored`. It may have no version, because memcached does not report the version of
    /// a write. Then this reads the version and compares the value.
    async fn replace(&mut self, write: Write, stored: &Stored) -> Result<Outcome> {
        if let Some(version) = stored.version() {
            return self.cas(write, version).await;
        }
        let found = self.gets().await?;
        if let Found::Value(now) = &found
            && now.value() == stored.value()
            && let Some(version) = now.version()
        {
            return self.cas(write, version).await;
        }
        Ok(Outcome::Found(found))
    }

    async fn cas(&mut self, write: Write, version: NonZeroU64) -> Result<Outcome> {
        let cas = Cas {
            value: write.value(),
            exptime: exptime(write.time_to_live(), SystemTime::now()),
            version,
        };
        let mut response = self.request(cas).await?;
        if matches!(response, Swapped::OutOfMemory) && write.is_tombstone() {
            response = self.delete(version).await?;
        }
        match response {
            Swapped::Stored => Ok(written(write)),
            Swapped::Exists => {
                let found = self.gets().await?;
                Ok(self.conflict(&write, found))
            }
            Swapped::Missing => Ok(Outcome::Found(Found::Missing)),
            Swapped::OutOfMemory => Err(failure::out_of_memory()),
        }
    }

    /// Deletes the key if it still holds `version`, on a server without memory for a tombstone.
    ///
    /// This is a `cas` that stores a value which has already expired. memcached's own
    /// compare-and-delete (`md`) is no alternative: nutcracker does not know the command.
    ///
    /// memcached needs memory for the expired value, too. It keeps items of similar size together
    /// in a slab class, and memory is exhausted in each class on its own. A class that was never
    /// used gets its first megabyte even beyond the limit of `-m`, and an expired item makes room
    /// for the next one. So this tries larger values, in classes that sessions rarely use.
    ///
    /// Guaranteed: the key is deleted only if it holds `version`, in one atomic step. Not
    /// guaranteed: that there is memory. If live items fill all these classes, the result is
    /// [`Swapped::OutOfMemory`], and nothing has changed.
    async fn delete(&mut self, version: NonZeroU64) -> Result<Swapped> {
        for size in DELETE_SIZES {
            let cas = Cas {
                value: &vec![b' '; size],
                exptime: EXPIRED,
                version,
            };
            match self.request(cas).await {
                Ok(Swapped::OutOfMemory) => {}
                Err(error) if error.kind() == ErrorKind::TooLarge => break, // over a small `-I`
                response => return response,
            }
        }
        Ok(Swapped::OutOfMemory)
    }

    /// Returns the outcome of a write that found something at the key.
    ///
    /// The first try of a repeated write may have been carried out although its response was lost.
    /// The repeat then finds its own bytes. A first try never takes equal bytes for its own.
    fn conflict(&self, write: &Write, found: Found) -> Outcome {
        match found {
            Found::Value(stored) if self.has_repeated_write && stored.value() == write.value() => {
                Outcome::Written(stored)
            }
            found => Outcome::Found(found),
        }
    }

    /// Sends a command on a connection of the pool and waits for the response.
    ///
    /// If the connection was dropped, this sends the command once more, on a new connection. The
    /// other connections of the pool may have been dropped with it.
    async fn request<C: Command>(&mut self, command: C) -> Result<C::Outcome> {
        let mut connection = self.connection().await?;
        let response = timeout_at(self.deadline, connection.request(self.key, command)).await;
        let dropped = match response {
            Ok(Err(error)) if failure::is_dropped(&error) => error,
            Ok(response) => return response.map_err(|error| failure::from_io(&error)),
            Err(_) => return Err(self.no_response()),
        };
        self.has_repeated_write |= C::IS_WRITE;
        let repeat = async {
            *connection = self.backend.pool.manager().create().await?;
            connection.request(self.key, command).await
        };
        // If there is no time for a second response, the first error is the reason.
        let response = timeout_at(self.deadline, repeat).await;
        let response = response.unwrap_or(Err(dropped));
        response.map_err(|error| failure::from_io(&error))
    }

    /// Waits for a connection of the pool.
    async fn connection(&self) -> Result<Object<Connector>> {
        match timeout_at(self.deadline, self.backend.pool.get()).await {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(PoolError::Backend(error))) => Err(failure::from_io(&error)),
            Ok(Err(error)) => Err(Error::new(ErrorKind::Unavailable, error)),
            Err(_) => Err(self.no_connection()),
        }
    }

    fn no_response(&self) -> Error {
        let timeout = self.backend.timeout;
        failure::unavailable(format_args!("no response within {timeout:?}"))
    }

    /// Makes the error for a call that waited for a connection in vain. If the pool is full, a
    /// larger pool helps. If it is not, the server cannot be reached.
    fn no_connection(&self) -> Error {
        let timeout = self.backend.timeout;
        let status = self.backend.pool.status();
        if status.size < status.max_size || status.available > 0 {
            return failure::unavailable(format_args!("no connection within {timeout:?}"));
        }
        let size = status.size;
        failure::unavailable(format_args!(
            "no connection within {timeout:?}: all {size} connections are in use"
        ))
    }
}

/// Returns the outcome of a write that was stored. memcached does not report the new version.
fn written(write: Write) -> Outcome {
    Outcome::Written(Stored::new(write.into_value()))
}

/// Returns whether memcached accepts this key (`doc/protocol.txt`, "Keys"). memcache-async sends
/// any key that it is given, even one with line breaks.
fn is_valid_key(key: &str) -> bool {
    key.len() <= 250 && key.bytes().all(|b| b.is_ascii_graphic())
}

impl fmt::Debug for MemcachedBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let status = self.pool.status();
        f.debug_struct("MemcachedBackend")
            .field("address", &self.pool.manager().address)
            .field("timeout", &self.timeout)
            .field("connections", &status.size)
            .field("max_connections", &status.max_size)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use tokio::net::{TcpListener, TcpSocket, TcpStream};

    use super::*;

    const KEY: &str = "sid_0123456789abcdef";

    async fn cause(backend: &MemcachedBackend) -> String {
        let error = backend.read(KEY).await.expect_err("it has no connection");
        error.source().expect("a cause").to_string()
    }

    fn backend(port: u16) -> MemcachedBackend {
        let backend = MemcachedBackend::open(&format!("127.0.0.1:{port}")).expect("an address");
        backend.with_timeout(Duration::from_millis(20))
    }

    #[tokio::test]
    async fn a_full_pool_is_told_from_a_server_that_cannot_be_reached() {
        let server = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let port = server.local_addr().expect("it listens").port();
        let full = backend(port).with_max_connections(2);
        let first = full.pool.get().await.expect("the server accepts");
        let second = full.pool.get().await.expect("the server accepts");
        assert_eq!(
            cause(&full).await,
            "memcached: no connection within 20ms: all 2 connections are in use"
        );
        drop((first, second));

        // A queue that is full: the kernel accepts no further connection.
        let socket = TcpSocket::new_v4().expect("a socket");
        socket
            .bind(([127, 0, 0, 1], 0).into())
            .expect("a free port");
        let deaf = socket.listen(1).expect("it listens");
        let port = deaf.local_addr().expect("it listens").port();
        let mut queue = Vec::new();
        let connect = || TcpStream::connect(("127.0.0.1", port));
        while let Ok(connected) = timeout(Duration::from_millis(200), connect()).await {
            queue.push(connected.expect("it is queued"));
        }
        let cause = cause(&backend(port)).await;
        assert_eq!(cause, "memcached: no connection within 20ms");
    }
}
