use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::{Cmd, Pipeline, RedisFuture, RedisResult, Value};

/// A connection that is made anew when it is gone: closed, silent, or to a server that has become a
/// replica. It knows how to connect, and is all that [`RedisBackend`](crate::RedisBackend) needs.
///
/// - While nobody can be reached calls fail at once, with the reason. There is one attempt to connect
///   at a time, at most twenty a second, and only when somebody calls.
/// - A connection on which nothing was answered for two seconds is given up, also where TCP finds
///   nothing wrong with it: a proxy may have lost the server behind it.
/// - `READONLY` as an answer makes it connect anew, to wherever the name or the sentinels then say
///   that the master is.
///
/// [`RedisStorage::connect`](session_core::KeyedStorage::connect) makes one of an address. With Sentinel
/// (redis's feature `sentinel`):
///
/// ```no_run
/// # use redis::sentinel::{SentinelClient, SentinelServerType};
/// # use session_redis::{RedisBackend, RedisStorage, Reconnecting, redis};
/// # use std::sync::Arc;
/// # fn main() -> Result<(), redis::RedisError> {
/// let addresses = vec!["redis://10.0.0.1:26379/", "redis://10.0.0.2:26379/"];
/// let sentinels = SentinelClient::build(addresses, "mymaster".into(), None, SentinelServerType::Master)?;
/// let sentinels = Arc::new(tokio::sync::Mutex::new(sentinels));
/// let connection = Reconnecting::new(move || {
///     let sentinels = sentinels.clone();
///     async move { sentinels.lock().await.get_async_connection().await }
/// });
/// let storage = RedisStorage::new(RedisBackend::new(connection));
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Reconnecting(Arc<Inner>);

struct Inner {
    connect: Box<dyn Fn() -> BoxFuture<'static, RedisResult<MultiplexedConnection>> + Send + Sync>,
    line: Mutex<Line>,
}

/// One attempt to connect, and what came of it, for whoever waits.
type Attempt = Shared<BoxFuture<'static, RedisResult<MultiplexedConnection>>>;

#[derive(Default)]
struct Line {
    attempt: Option<Attempt>,
    /// The one before it failed, too.
    again: bool,
    /// When it began.
    began: Option<Instant>,
    /// When the first command was sent after which nothing was answered.
    waiting: Option<Instant>,
}

/// How long the second of two failed attempts stands for a third.
const PAUSE: Duration = Duration::from_millis(50);

/// How long an attempt may take.
const ATTEMPT: Duration = Duration::from_secs(5);

/// How long a connection may be asked and say nothing.
const SILENCE: Duration = Duration::from_secs(2);

/// How young a connection is not given up for an answer of `READONLY`.
const YOUNG: Duration = Duration::from_secs(1);

impl Reconnecting {
    /// Connects with `connect` when it is first used, and again whenever that is needed.
    pub fn new<F, Attempt>(connect: F) -> Self
    where
        F: Fn() -> Attempt + Send + Sync + 'static,
        Attempt: Future<Output = RedisResult<MultiplexedConnection>> + Send + 'static,
    {
        Self(Arc::new(Inner {
            connect: Box::new(move || connect().boxed()),
            line: Mutex::default(),
        }))
    }

    /// Waits until there is a connection, or the reason why there is none.
    pub(crate) async fn connected(&self) -> RedisResult<()> {
        self.begin().await.map(drop)
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        self.0.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns what to send a command on: what there is, if that is still good, or a new attempt.
    fn begin(&self) -> Attempt {
        let now = Instant::now();
        let mut line = self.line();
        let old = |time: Option<Instant>, limit| time.is_some_and(|time| now - time > limit);
        if let Some(attempt) = line.attempt.clone() {
            let is_good = match attempt.peek() {
                None => true,
                Some(Ok(_)) => !old(line.waiting, SILENCE),
                Some(Err(_)) => line.again && !old(line.began, PAUSE),
            };
            if is_good {
                line.waiting.get_or_insert(now);
                return attempt;
            }
        }
        let last = line.attempt.as_ref().and_then(Shared::peek);
        let again = last.is_some_and(Result::is_err);
        let attempt = self.attempt();
        *line = Line {
            attempt: Some(attempt.clone()),
            again,
            began: Some(now),
            waiting: None,
        };
        attempt
    }

    fn attempt(&self) -> Attempt {
        let attempt = tokio::time::timeout(ATTEMPT, (self.0.connect)());
        let attempt = attempt.map(|outcome| outcome.unwrap_or_else(|_| Err(late())));
        let attempt = attempt.boxed().shared();
        // It goes on when the caller that began it is gone.
        tokio::spawn(attempt.clone().map(drop));
        attempt
    }

    /// Notes what came back, and gives the connection up if that is what it means.
    fn end<T>(&self, attempt: &Attempt, answer: &RedisResult<T>, is_read_only: bool) {
        let gone = answer
            .as_ref()
            .is_err_and(redis::RedisError::is_unrecoverable_error);
        let mut line = self.line();
        let is_current = |current: &Attempt| current.ptr_eq(attempt);
        if !line.attempt.as_ref().is_some_and(is_current) {
            return; // given up meanwhile
        }
        line.waiting = None;
        let is_old = line.began.is_some_and(|began| began.elapsed() > YOUNG);
        if gone || (is_read_only && is_old) {
            line.attempt = None;
        }
    }
}

fn late() -> redis::RedisError {
    std::io::Error::new(std::io::ErrorKind::TimedOut, "no connection").into()
}

fn is_read_only(answer: &Value) -> bool {
    matches!(answer, Value::ServerError(error) if error.code() == "READONLY")
}

impl ConnectionLike for Reconnecting {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        async move {
            let attempt = self.begin();
            let mut connection = attempt.clone().await?;
            let answer = connection.send_packed_command(command).await;
            let read_only = answer.as_ref().is_ok_and(is_read_only);
            self.end(&attempt, &answer, read_only);
            answer
        }
        .boxed()
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        commands: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        async move {
            let attempt = self.begin();
            let mut connection = attempt.clone().await?;
            let answer = connection
                .send_packed_commands(commands, offset, count)
                .await;
            let read_only = answer
                .as_ref()
                .is_ok_and(|answers| answers.iter().any(is_read_only));
            self.end(&attempt, &answer, read_only);
            answer
        }
        .boxed()
    }

    /// That of the connection, which is 0 before there is one.
    fn get_db(&self) -> i64 {
        let line = self.line();
        let connection = line.attempt.as_ref().and_then(Shared::peek);
        connection.map_or(0, |made| made.as_ref().map_or(0, ConnectionLike::get_db))
    }
}

impl fmt::Debug for Reconnecting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reconnecting").finish_non_exhaustive()
    }
}
