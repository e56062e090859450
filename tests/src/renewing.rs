//! A connection that is made anew when it fails: what session-redis could offer where the redis
//! crate's own connections do not come back by themselves.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use redis::aio::ConnectionLike;
use redis::{Cmd, ErrorKind, Pipeline, RedisFuture, RedisResult, ServerErrorKind, Value};

/// A connection, and how to make another.
///
/// A call that got no answer (its caller gave up, or the connection broke) or met a server that is no
/// master any more begins, in a task of its own, a new connection; calls use the old one until it is
/// there. At most one is begun in each [`PAUSE`].
pub struct Renewing<C> {
    shared: Arc<Shared<C>>,
}

struct Shared<C> {
    connect: Box<dyn Fn() -> RedisFuture<'static, C> + Send + Sync>,
    state: Mutex<State<C>>,
}

struct State<C> {
    connection: C,
    begun: Instant,
}

const PAUSE: Duration = Duration::from_secs(1);

impl<C: ConnectionLike + Clone + Send + Sync + 'static> Renewing<C> {
    /// Connects for the first time.
    ///
    /// # Errors
    ///
    /// What `connect` says.
    pub async fn new(
        connect: impl Fn() -> RedisFuture<'static, C> + Send + Sync + 'static,
    ) -> RedisResult<Self> {
        let state = Mutex::new(State {
            connection: connect().await?,
            begun: Instant::now(),
        });
        let connect = Box::new(connect);
        Ok(Self {
            shared: Arc::new(Shared { connect, state }),
        })
    }

    fn watched(&self) -> (C, Watch<C>) {
        let connection = self.shared.state().connection.clone();
        (connection, Watch(Some(self.shared.clone())))
    }
}

impl<C> Shared<C> {
    fn state(&self) -> MutexGuard<'_, State<C>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A call whose answer is out; when it is dropped before that came, the connection is renewed.
struct Watch<C: ConnectionLike + Clone + Send + Sync + 'static>(Option<Arc<Shared<C>>>);

impl<C: ConnectionLike + Clone + Send + Sync + 'static> Watch<C> {
    fn answered<T>(mut self, answer: &RedisResult<T>) {
        if !answer.as_ref().is_err_and(is_lost) {
            self.0 = None;
        }
    }
}

impl<C: ConnectionLike + Clone + Send + Sync + 'static> Drop for Watch<C> {
    fn drop(&mut self) {
        let Some(shared) = self.0.take() else { return };
        {
            let mut state = shared.state();
            if state.begun.elapsed() < PAUSE {
                return;
            }
            state.begun = Instant::now();
        }
        tokio::spawn(async move {
            if let Ok(Ok(connection)) = tokio::time::timeout(PAUSE, (shared.connect)()).await {
                shared.state().connection = connection;
            }
        });
    }
}

fn is_lost(error: &redis::RedisError) -> bool {
    error.is_io_error() || error.kind() == ErrorKind::Server(ServerErrorKind::ReadOnly)
}

impl<C: ConnectionLike + Clone + Send + Sync + 'static> ConnectionLike for Renewing<C> {
    fn req_packed_command<'a>(&'a mut self, cmd: &'a Cmd) -> RedisFuture<'a, Value> {
        let (mut connection, watch) = self.watched();
        Box::pin(async move {
            let answer = connection.req_packed_command(cmd).await;
            let answer = answer.and_then(Value::extract_error);
            watch.answered(&answer);
            answer
        })
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        let (mut connection, watch) = self.watched();
        Box::pin(async move {
            let commands = connection.req_packed_commands(pipeline, offset, count);
            let answer = commands.await;
            watch.answered(&answer);
            answer
        })
    }

    fn get_db(&self) -> i64 {
        self.shared.state().connection.get_db()
    }
}

impl<C> Clone for Renewing<C> {
    fn clone(&self) -> Self {
        Self {
            shared: self.shared.clone(),
        }
    }
}

impl<C> fmt::Debug for Renewing<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Renewing").finish_non_exhaustive()
    }
}
