use std::fmt;
use std::io;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use deadpool::managed::{Pool, PoolConfig, PoolError, QueueMode};
use session_core::{Backend, Connect, Create, Error, ErrorKind, Replace, Result, Versioned};
use tokio::time::{Instant, timeout_at};

use crate::address::Address;
use crate::command::{Answer, Command};
use crate::expiry::{OVER, exptime};
use crate::pool::Connector;

/// The bound on a call unless the application sets another.
const TIMEOUT: Duration = Duration::from_secs(1);

/// A year is as good as no bound, and does not overflow a clock.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

/// More connections than any memcached takes.
const MOST: usize = 65_536;

/// How many connections there are at most unless the application sets another number.
const CONNECTIONS: usize = 32;

/// How often a delete is repeated that somebody wrote after.
const ROUNDS: usize = 16;

/// A [`Backend`] in memcached, on a bounded pool of connections.
///
/// A connection carries one command at a time, and goes back to the pool when the whole of an answer
/// that fits the command was read; otherwise (a timeout, a request that was cancelled, an error) it is
/// closed. Versions are memcached's cas uniques.
pub struct MemcachedBackend {
    pool: Pool<Connector>,
    timeout: Duration,
}

impl MemcachedBackend {
    /// Keeps sessions in the memcached at `address`: `host`, `host:port`, `[IPv6]:port` or
    /// `unix:/path`; the port is 11211 unless it is said. Connects when it is first used.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Settings`] if it is no address.
    pub fn open(address: &str) -> Result<Self> {
        Ok(Self {
            pool: pool(Address::parse(address)?, CONNECTIONS),
            timeout: TIMEOUT,
        })
    }

    /// Bounds each call: waiting for a free connection, connecting and the answer together.
    /// Default: one second.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout.min(LONGEST);
        self
    }

    /// Opens at most so many connections, at least one; calls beyond wait their turn. Default: 32.
    #[must_use]
    pub fn with_max_connections(mut self, connections: usize) -> Self {
        // Another pool: deadpool's `resize` takes away only connections that are open.
        self.pool = pool(self.pool.manager().0.clone(), connections.clamp(1, MOST));
        self
    }

    async fn ask(&self, key: &str, command: Command<'_>, deadline: Instant) -> Result<Answer> {
        if !fits(key) {
            return Err(said("the key is none that memcached takes"));
        }
        let mut connection = match timeout_at(deadline, self.pool.get()).await {
            Ok(Ok(connection)) => connection,
            Ok(Err(PoolError::Backend(error))) => return Err(failed(&error)),
            Ok(Err(error)) => return Err(Error::new(ErrorKind::Unavailable, error)),
            Err(_) => return Err(self.late("no connection")),
        };
        match timeout_at(deadline, connection.ask(key, command)).await {
            Ok(answer) => answer.map_err(|error| failed(&error)),
            Err(_) => Err(self.late("no answer")),
        }
    }

    fn deadline(&self) -> Instant {
        Instant::now() + self.timeout
    }

    async fn get(&self, key: &str, deadline: Instant) -> Result<Option<Versioned>> {
        match self.ask(key, Command::Get, deadline).await? {
            Answer::Missing => Ok(None),
            Answer::Value { value, unique } => Ok(Some(versioned(value, unique))),
            Answer::Stored | Answer::Exists => Err(unexpected()),
        }
    }

    fn late(&self, what: &str) -> Error {
        said(&format!("{what} within {:?}", self.timeout))
    }

    /// Returns the record that is there after a write that failed to find what it was to replace.
    async fn conflict(&self, key: &str, deadline: Instant) -> Result<Replace> {
        let now = self.get(key, deadline).await?;
        Ok(now.map_or(Replace::Gone, Replace::Conflict))
    }
}

impl Backend for MemcachedBackend {
    async fn read(&self, key: &str) -> Result<Option<Versioned>> {
        self.get(key, self.deadline()).await
    }

    async fn create(&self, key: &str, value: Bytes, ttl: Option<Duration>) -> Result<Create> {
        let add = Command::Add {
            value: &value,
            exptime: exptime(ttl, SystemTime::now()),
        };
        match self.ask(key, add, self.deadline()).await? {
            Answer::Stored => Ok(Create::Done),
            Answer::Exists => Ok(Create::Exists),
            Answer::Missing | Answer::Value { .. } => Err(unexpected()),
        }
    }

    async fn replace(
        &self,
        key: &str,
        value: Bytes,
        ttl: Option<Duration>,
        was: &Versioned,
    ) -> Result<Replace> {
        let deadline = self.deadline();
        if was.version == 0 {
            return self.conflict(key, deadline).await;
        }
        let swap = Command::CompareAndSwap {
            value: &value,
            exptime: exptime(ttl, SystemTime::now()),
            unique: was.version,
        };
        match self.ask(key, swap, deadline).await? {
            Answer::Stored => Ok(Replace::Done),
            Answer::Missing => Ok(Replace::Gone),
            Answer::Exists => self.conflict(key, deadline).await,
            Answer::Value { .. } => Err(unexpected()),
        }
    }

    /// A compare-and-delete is a compare-and-swap for nothing whose time is over.
    async fn delete(&self, key: &str, was: Option<&Versioned>) -> Result<Replace> {
        let deadline = self.deadline();
        if let Some(was) = was {
            if was.version == 0 {
                return self.conflict(key, deadline).await;
            }
            let swap = Command::CompareAndSwap {
                value: b"",
                exptime: OVER,
                unique: was.version,
            };
            return match self.ask(key, swap, deadline).await? {
                Answer::Stored => Ok(Replace::Done),
                Answer::Missing => Ok(Replace::Gone),
                Answer::Exists => self.conflict(key, deadline).await,
                Answer::Value { .. } => Err(unexpected()),
            };
        }
        if self.get(key, deadline).await?.is_none() {
            return Ok(Replace::Gone);
        }
        for _ in 0..ROUNDS {
            match self.ask(key, Command::Delete, deadline).await? {
                Answer::Missing => return Ok(Replace::Done),
                Answer::Value { .. } => {} // written again between the two commands
                Answer::Stored | Answer::Exists => return Err(unexpected()),
            }
        }
        Err(said("the record was written again after each delete"))
    }
}

impl Connect for MemcachedBackend {
    /// See [`MemcachedBackend::open`] for the address. One command is sent, to see that somebody
    /// answers.
    async fn connect(address: &str) -> Result<Self> {
        let backend = Self::open(address)?;
        backend.read("session-memcached-connect").await?;
        Ok(backend)
    }
}

fn pool(address: Address, connections: usize) -> Pool<Connector> {
    let config = PoolConfig {
        // The one that was used last is the least likely to have been closed for idleness.
        queue_mode: QueueMode::Lifo,
        ..PoolConfig::new(connections)
    };
    let pool = Pool::builder(Connector(address)).config(config);
    pool.build()
        .expect("only a pool with timeouts of its own needs a runtime")
}

fn versioned(value: Vec<u8>, version: u64) -> Versioned {
    Versioned {
        value: value.into(),
        version,
    }
}

/// Returns whether memcached takes this key (`doc/protocol.txt`, "Keys"): memcache-async sends
/// whatever it is given, line breaks too.
fn fits(key: &str) -> bool {
    key.len() <= 250 && key.bytes().all(|b| b.is_ascii_graphic())
}

/// What memcached 1.6 answers, as a `SERVER_ERROR`, to an item over the size of its `-I`.
const TOO_LARGE: &str = "SERVER_ERROR object too large";

fn failed(error: &io::Error) -> Error {
    let text = match error.kind() {
        io::ErrorKind::Other => plain(&error.to_string()),
        io::ErrorKind::UnexpectedEof => "the connection was closed".to_owned(),
        _ => error.to_string(),
    };
    let is_too_large = text.starts_with(TOO_LARGE);
    Error::new(
        if is_too_large {
            ErrorKind::TooLarge
        } else {
            ErrorKind::Unavailable
        },
        format!("memcached: {text}"),
    )
}

/// Returns what a server said up to the first word that may be no word, should it repeat the command.
/// Keys and identities have 16 characters at least, records a brace.
fn plain(said: &str) -> String {
    let is_plain = |word: &&str| {
        word.len() < 16
            && word
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"'.,:;-_/()".contains(&b))
    };
    let words: Vec<&str> = said.split_whitespace().take_while(is_plain).collect();
    words.join(" ")
}

fn unexpected() -> Error {
    said("an answer that does not fit the command")
}

/// `text` holds no key and no value.
fn said(text: &str) -> Error {
    Error::new(ErrorKind::Unavailable, format!("memcached: {text}"))
}

impl fmt::Debug for MemcachedBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let status = self.pool.status();
        f.debug_struct("MemcachedBackend")
            .field("address", &self.pool.manager().0)
            .field("timeout", &self.timeout)
            .field("connections", &status.size)
            .field("max_connections", &status.max_size)
            .finish()
    }
}
