//! A connection that is replaced when it is of no use.
//!
//! The redis crate's own `ConnectionManager` reconnects as well, but only when a command fails with
//! an error of the connection. Three things are missing there that sessions need:
//!
//! - a new connection when a server or a proxy is silent and TCP reports no error,
//! - a new connection when the server has become a replica and responds `READONLY`,
//! - an immediate error with the reason when there is no connection. During an outage a request
//!   must not wait for several attempts, and an operator must be able to read the cause.

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::{Cmd, Pipeline, RedisError, RedisFuture, RedisResult, Value};

use crate::classify::is_read_only;
use crate::link::{Attempt, Connected, Link, Step};

/// A connection that connects at its first use. It reconnects when it was closed, when the server
/// is silent, or when the server has become a replica.
///
/// All clones share one connection.
///
/// - While the server refuses connections, calls fail at once, with the reason. While it is silent,
///   calls wait for the attempt to connect, at most for their own timeout. There is one attempt at
///   a time, and about twenty per second as long as there are calls.
/// - If calls are given up and no command got a response for a fifth of a second, it makes a new
///   connection, at most one per second. The old one stays in use until then. TCP may report no
///   error if a proxy has lost the server behind it.
/// - The same happens when a server responds `READONLY`. The new connection goes to the master that
///   the host name or the sentinels name by then.
///
/// [`RedisStorage::connect`](crate::RedisStorage::connect) makes one from an address. With Sentinel
/// (redis's feature `sentinel`):
///
/// ```no_run
/// # use redis::sentinel::{SentinelClientBuilder, SentinelServerType};
/// # use redis::{ConnectionAddr, io::tcp::TcpSettings};
/// # use session_redis::{RedisBackend, RedisStorage, Reconnecting, redis};
/// # use std::sync::Arc;
/// # fn main() -> Result<(), redis::RedisError> {
/// let sentinels = ["10.0.0.1", "10.0.0.2"].map(|host| ConnectionAddr::Tcp(host.into(), 26379));
/// let master = SentinelServerType::Master;
/// let sentinels = SentinelClientBuilder::new(sentinels, "mymaster".to_owned(), master)?
///     .set_client_to_redis_tcp_settings(TcpSettings::default().set_nodelay(true))
///     .set_client_to_redis_password("password")
///     .build()?;
/// let sentinels = Arc::new(tokio::sync::Mutex::new(sentinels));
/// // Each call has a limit of its own. The connection's would be half a second.
/// let settings = redis::AsyncConnectionConfig::new().set_response_timeout(None);
/// let connection = Reconnecting::new(move || {
///     let (sentinels, settings) = (sentinels.clone(), settings.clone());
///     async move {
///         let mut sentinels = sentinels.lock().await;
///         sentinels.get_async_connection_with_config(&settings).await
///     }
/// });
/// let storage = RedisStorage::new(RedisBackend::new(connection));
/// # Ok(())
/// # }
/// ```
pub struct Reconnecting<C = MultiplexedConnection>(Arc<Inner<C>>);

struct Inner<C> {
    connect: Box<dyn Fn() -> BoxFuture<'static, RedisResult<C>> + Send + Sync>,
    link: Mutex<Link<C>>,
}

/// An attempt to connect may take this long.
const MAX_ATTEMPT: Duration = Duration::from_secs(5);

impl<C: ConnectionLike + Clone + Send + Sync + 'static> Reconnecting<C> {
    /// Connects with `connect` when it is first used, and again whenever that is necessary. An
    /// attempt that takes longer than five seconds has failed.
    pub fn new<F, Connecting>(connect: F) -> Self
    where
        F: Fn() -> Connecting + Send + Sync + 'static,
        Connecting: Future<Output = RedisResult<C>> + Send + 'static,
    {
        Self(Arc::new(Inner {
            connect: Box::new(move || connect().boxed()),
            link: Mutex::default(),
        }))
    }

    /// Waits until there is a connection. The error is the reason why there is none.
    pub(crate) async fn connected(&self) -> RedisResult<()> {
        self.connection().await.map(drop)
    }

    /// Returns whether there is a connection now. It may be silent.
    pub(crate) fn is_connected(&self) -> bool {
        self.0.link().in_use().is_some()
    }

    async fn connection(&self) -> RedisResult<Connected<C>> {
        let attempt = {
            let mut link = self.0.link();
            match link.next_step(Instant::now()) {
                Step::Send(connected) => return Ok(connected),
                Step::Wait(attempt) => attempt,
                Step::Connect => self.begin(&mut link),
            }
        };
        attempt.await
    }

    /// Begins an attempt to connect. It goes on if the caller is dropped.
    fn begin(&self, link: &mut Link<C>) -> Attempt<C> {
        let (generation, began) = (link.next_generation(), Instant::now());
        let attempt = connect(self.0.clone(), generation, began).boxed().shared();
        tokio::spawn(attempt.clone().map(drop));
        link.begin(attempt.clone(), began);
        attempt
    }

    /// Begins to replace a connection that is open and of no use. It stays in use until then.
    fn replace(&self, generation: u64) {
        // A call may be dropped outside of a runtime.
        let has_runtime = tokio::runtime::Handle::try_current().is_ok();
        let mut link = self.0.link();
        if has_runtime && link.may_replace(generation, Instant::now()) {
            drop(self.begin(&mut link));
        }
    }

    /// Sends a command with `send`, and draws the conclusions from its response.
    async fn call<T, Sent>(
        &self,
        send: impl FnOnce(C) -> Sent,
        is_read_only: fn(&T) -> bool,
    ) -> RedisResult<T>
    where
        Sent: Future<Output = RedisResult<T>>,
    {
        let connected = self.connection().await?;
        let call = Call {
            on: self,
            generation: connected.generation,
            sent: Instant::now(),
            has_response: false,
        };
        let response = send(connected.connection).await;
        call.responded(&response, is_read_only);
        response
    }
}

/// Connects and puts the new connection into use.
async fn connect<C: ConnectionLike + Clone + Send + Sync + 'static>(
    inner: Arc<Inner<C>>,
    generation: u64,
    began: Instant,
) -> RedisResult<Connected<C>> {
    // The application's function runs here, where nothing is locked. A panic in it counts as one
    // failed attempt.
    let connecting = AssertUnwindSafe(async { (inner.connect)().await }).catch_unwind();
    let connection = match tokio::time::timeout(MAX_ATTEMPT, connecting).await {
        Ok(Ok(connection)) => connection?,
        Ok(Err(_)) => return Err(panicked()),
        Err(_) => return Err(timed_out(MAX_ATTEMPT)),
    };
    let connected = Connected {
        connection,
        generation,
    };
    inner.link().connected(&connected);
    if generation > 1 {
        tracing::info!(
            target: "session::store",
            op = "connect",
            elapsed_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
            "connected to Redis again"
        );
    }
    Ok(connected)
}

impl<C> Inner<C> {
    fn link(&self) -> MutexGuard<'_, Link<C>> {
        self.link.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A command that was sent and has no response yet.
struct Call<'a, C: ConnectionLike + Clone + Send + Sync + 'static> {
    on: &'a Reconnecting<C>,
    generation: u64,
    sent: Instant,
    has_response: bool,
}

impl<C: ConnectionLike + Clone + Send + Sync + 'static> Call<'_, C> {
    fn responded<T>(mut self, response: &RedisResult<T>, is_read_only: fn(&T) -> bool) {
        self.has_response = true;
        if response.is_ok() {
            self.on.0.link().responded(self.generation);
        }
        match response {
            Ok(response) if is_read_only(response) => self.on.replace(self.generation),
            Err(error) if error.is_timeout() => self.on.replace(self.generation),
            Err(error) if error.is_unrecoverable_error() => {
                self.on.0.link().lost(self.generation, error);
            }
            Ok(_) | Err(_) => {}
        }
    }
}

impl<C: ConnectionLike + Clone + Send + Sync + 'static> Drop for Call<'_, C> {
    /// Notices that the call was given up.
    fn drop(&mut self) {
        if self.has_response {
            return;
        }
        let is_silent = self.on.0.link().given_up(self.sent, Instant::now());
        if is_silent {
            self.on.replace(self.generation);
        }
    }
}

fn panicked() -> RedisError {
    std::io::Error::other("connecting panicked").into()
}

pub(crate) fn timed_out(limit: Duration) -> RedisError {
    let text = format!("no connection within {limit:?}");
    std::io::Error::new(std::io::ErrorKind::TimedOut, text).into()
}

impl<C: ConnectionLike + Clone + Send + Sync + 'static> ConnectionLike for Reconnecting<C> {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        let send = async |mut connection: C| connection.req_packed_command(command).await;
        self.call(send, is_read_only).boxed()
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        commands: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        let send = async move |mut connection: C| {
            let responses = connection.req_packed_commands(commands, offset, count);
            responses.await
        };
        self.call(send, |responses| responses.iter().any(is_read_only))
            .boxed()
    }

    /// Returns the number of the connection's database, or 0 before there is a connection.
    fn get_db(&self) -> i64 {
        let link = self.0.link();
        let in_use = link.in_use();
        in_use.map_or(0, |connected| connected.connection.get_db())
    }
}

impl<C> Clone for Reconnecting<C> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<C> fmt::Debug for Reconnecting<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reconnecting").finish_non_exhaustive()
    }
}
