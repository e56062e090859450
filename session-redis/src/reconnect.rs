use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::{Cmd, Pipeline, RedisError, RedisFuture, RedisResult, Value};

/// A connection that is made anew when it is of no use any more: closed, without answers, or to a
/// server that has become a replica. It is told how to connect, and does so when it is first used.
///
/// - While the server refuses, calls fail at once, with the reason; while it is silent they wait for
///   the attempt to connect, at most for their own timeout. There is one attempt at a time, and about
///   twenty a second, as long as somebody calls.
/// - When calls are given up and nothing was answered for a fifth of a second, another connection is
///   made, at most one a second; the old one serves until it is there. TCP may find nothing wrong with
///   a proxy that has lost the server behind it.
/// - So too when the answer is `READONLY`, to wherever the name or the sentinels then say that the
///   master is.
///
/// [`RedisStorage::connect`](session_core::KeyedStorage::connect) makes one of an address. With Sentinel
/// (redis's feature `sentinel`):
///
/// ```no_run
/// # use redis::sentinel::{SentinelClientBuilder, SentinelServerType};
/// # use redis::{ConnectionAddr, io::tcp::TcpSettings};
/// # use session_redis::{RedisBackend, RedisStorage, Reconnecting, redis};
/// # use std::sync::Arc;
/// # fn main() -> Result<(), redis::RedisError> {
/// let sentinels = ["10.0.0.1", "10.0.0.2"].map(|host| ConnectionAddr::Tcp(host.into(), 26379));
/// let sentinels = SentinelClientBuilder::new(sentinels, "mymaster".to_owned(), SentinelServerType::Master)?
///     .set_client_to_redis_tcp_settings(TcpSettings::default().set_nodelay(true))
///     .set_client_to_redis_password("password")
///     .build()?;
/// let sentinels = Arc::new(tokio::sync::Mutex::new(sentinels));
/// let connection = Reconnecting::new(move || {
///     let sentinels = sentinels.clone();
///     async move { sentinels.lock().await.get_async_connection().await }
/// });
/// let storage = RedisStorage::new(RedisBackend::new(connection));
/// # Ok(())
/// # }
/// ```
pub struct Reconnecting<C = MultiplexedConnection>(Arc<Inner<C>>);

struct Inner<C> {
    connect: Box<dyn Fn() -> BoxFuture<'static, RedisResult<C>> + Send + Sync>,
    line: Mutex<Line<C>>,
}

/// One attempt to connect, and what came of it, for whoever waits.
type Attempt<C> = Shared<BoxFuture<'static, RedisResult<Numbered<C>>>>;

/// A connection, and which one it is.
#[derive(Clone)]
struct Numbered<C> {
    connection: C,
    number: u64,
}

struct Line<C> {
    current: Option<Numbered<C>>,
    /// The last attempt. What it made may be `current`, or have been given up.
    attempt: Option<Attempt<C>>,
    began: Option<Instant>,
    /// When the first of the calls was asked that were given up since the last answer.
    silent: Option<Instant>,
    /// Which connection answered last.
    good: u64,
    /// How many attempts there were.
    count: u64,
    /// The last attempt and the one before it failed.
    is_down: bool,
}

/// How long the second of two failed attempts stands for the next.
const PAUSE: Duration = Duration::from_millis(50);

/// How long an attempt may take.
const ATTEMPT: Duration = Duration::from_secs(5);

/// An attempt that is older is not carried on by anybody: its runtime stands still.
const ABANDONED: Duration = Duration::from_secs(6);

/// A call that is given up later than this has not met a client that left but a connection that is
/// silent.
const SILENCE: Duration = Duration::from_millis(200);

/// How often a connection is replaced that is not closed.
const RENEWAL: Duration = Duration::from_secs(1);

impl<C: ConnectionLike + Clone + Send + Sync + 'static> Reconnecting<C> {
    /// Connects with `connect` when it is first used, and again whenever that is needed. An attempt
    /// that takes longer than five seconds is given up.
    pub fn new<F, Connecting>(connect: F) -> Self
    where
        F: Fn() -> Connecting + Send + Sync + 'static,
        Connecting: Future<Output = RedisResult<C>> + Send + 'static,
    {
        Self(Arc::new(Inner {
            connect: Box::new(move || connect().boxed()),
            line: Mutex::new(Line {
                current: None,
                attempt: None,
                began: None,
                silent: None,
                good: 0,
                count: 0,
                is_down: false,
            }),
        }))
    }

    /// Waits until there is a connection, or the reason why there is none.
    pub(crate) async fn connected(&self) -> RedisResult<()> {
        self.connection().await.map(drop)
    }

    async fn connection(&self) -> RedisResult<Numbered<C>> {
        let attempt = {
            let mut line = self.0.line();
            if let Some(current) = &line.current {
                return Ok(current.clone());
            }
            let last = line.attempt.as_ref();
            let stands = last.filter(|attempt| match attempt.peek() {
                None => !line.is_due(ABANDONED), // its runtime may not run any more
                Some(Ok(_)) => false,            // given up
                Some(Err(_)) => line.is_down && !line.is_due(PAUSE),
            });
            match stands {
                Some(attempt) => attempt.clone(),
                None => self.attempt(&mut line),
            }
        };
        attempt.await
    }

    fn attempt(&self, line: &mut Line<C>) -> Attempt<C> {
        let last = line.attempt.as_ref().and_then(Shared::peek);
        line.is_down = last.is_some_and(Result::is_err);
        line.count += 1;
        line.began = Some(Instant::now());
        let number = line.count;
        let inner = self.0.clone();
        let attempt = async move {
            // Called here, where nothing is locked; and a panic must not stay for ever.
            let connecting = AssertUnwindSafe(async { (inner.connect)().await }).catch_unwind();
            let made = match tokio::time::timeout(ATTEMPT, connecting).await {
                Ok(made) => made.unwrap_or_else(|_| Err(panicked())),
                Err(_) => Err(late()),
            };
            let made = made.map(|connection| Numbered { connection, number });
            if let Ok(made) = &made {
                let mut line = inner.line();
                if line.current.as_ref().is_none_or(|it| it.number < number) {
                    line.current = Some(made.clone());
                }
                if number > 1 {
                    tracing::info!("connected to Redis again");
                }
            }
            made
        };
        let attempt = attempt.boxed().shared();
        // It goes on when the caller that began it is gone.
        tokio::spawn(attempt.clone().map(drop));
        line.attempt = Some(attempt.clone());
        attempt
    }

    /// Makes another connection than number `number`, and keeps that one until then.
    fn renew(&self, number: u64) {
        let mut line = self.0.line();
        let is_current = line.current.as_ref().is_some_and(|it| it.number == number);
        let is_trying = line.attempt.as_ref().is_some_and(|it| it.peek().is_none());
        let is_trying = is_trying && !line.is_due(ABANDONED);
        let is_here = tokio::runtime::Handle::try_current().is_ok(); // not when dropped outside
        if is_here && is_current && !is_trying && line.is_due(RENEWAL) {
            drop(self.attempt(&mut line));
        }
    }

    /// Sends what `ask` sends, and looks at what comes back.
    async fn ask<T, Asked>(
        &self,
        ask: impl FnOnce(C) -> Asked,
        is_read_only: fn(&T) -> bool,
    ) -> RedisResult<T>
    where
        Asked: Future<Output = RedisResult<T>>,
    {
        let Numbered { connection, number } = self.connection().await?;
        let call = Call {
            of: self,
            number,
            asked: Instant::now(),
            is_answered: false,
        };
        let answer = ask(connection).await;
        call.answered(&answer, is_read_only);
        answer
    }
}

impl<C> Inner<C> {
    fn line(&self) -> MutexGuard<'_, Line<C>> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<C> Line<C> {
    /// Returns whether the last attempt began so long ago.
    fn is_due(&self, pause: Duration) -> bool {
        self.began.is_none_or(|began| began.elapsed() > pause)
    }
}

/// A command whose answer is out.
struct Call<'a, C: ConnectionLike + Clone + Send + Sync + 'static> {
    of: &'a Reconnecting<C>,
    number: u64,
    asked: Instant,
    is_answered: bool,
}

impl<C: ConnectionLike + Clone + Send + Sync + 'static> Call<'_, C> {
    fn answered<T>(mut self, answer: &RedisResult<T>, is_read_only: fn(&T) -> bool) {
        self.is_answered = true;
        if answer.is_ok() {
            let mut line = self.of.0.line();
            line.silent = None;
            line.good = self.number;
        }
        match answer {
            Ok(answer) if is_read_only(answer) => self.of.renew(self.number),
            Err(error) if error.is_timeout() => self.of.renew(self.number),
            Err(error) if error.is_unrecoverable_error() => {
                let mut line = self.of.0.line();
                let lost = line.current.take_if(|it| it.number == self.number);
                if lost.is_some() && line.count == self.number && line.good != self.number {
                    // It never answered: an attempt that failed.
                    let failed = std::future::ready(Err(error.clone())).boxed().shared();
                    let _ = failed.clone().now_or_never();
                    line.attempt = Some(failed);
                }
            }
            Ok(_) | Err(_) => {}
        }
    }
}

impl<C: ConnectionLike + Clone + Send + Sync + 'static> Drop for Call<'_, C> {
    fn drop(&mut self) {
        if self.is_answered {
            return;
        }
        // Since when nothing was answered: a call may be given up sooner than that says anything.
        let silent = *self.of.0.line().silent.get_or_insert(self.asked);
        if silent.elapsed() > SILENCE {
            self.of.renew(self.number);
        }
    }
}

fn panicked() -> RedisError {
    std::io::Error::other("connecting panicked").into()
}

fn late() -> RedisError {
    std::io::Error::new(std::io::ErrorKind::TimedOut, "no connection").into()
}

fn is_read_only(answer: &Value) -> bool {
    matches!(answer, Value::ServerError(error) if error.code() == "READONLY")
}

impl<C: ConnectionLike + Clone + Send + Sync + 'static> ConnectionLike for Reconnecting<C> {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        let ask = async |mut connection: C| connection.req_packed_command(command).await;
        self.ask(ask, is_read_only).boxed()
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        commands: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        let ask = async move |mut connection: C| {
            let answers = connection.req_packed_commands(commands, offset, count);
            answers.await
        };
        self.ask(ask, |answers| answers.iter().any(is_read_only))
            .boxed()
    }

    /// That of the connection, which is 0 before there is one.
    fn get_db(&self) -> i64 {
        let line = self.0.line();
        let current = line.current.as_ref();
        current.map_or(0, |it| it.connection.get_db())
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
