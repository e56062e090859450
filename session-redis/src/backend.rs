use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use redis::aio::ConnectionLike;
use redis::{Cmd, ErrorKind, RedisResult, Script, ServerErrorKind, Value};
use session_core::{Backend, Create, Replace, Result, Versioned};
use tokio::time::{Instant, timeout_at};

use crate::failure;
use crate::reconnect::Reconnecting;

/// Compare-and-set and compare-and-delete: `KEYS[1]`, what it must hold, and for a set the new value
/// and its seconds to live, if it has any. Answers 1; or nil if nothing is stored; or what is stored.
const REPLACE: &str = "\
local now = redis.call('GET', KEYS[1])
if now ~= ARGV[1] then
  return now
end
if not ARGV[2] then
  redis.call('DEL', KEYS[1])
elseif not ARGV[3] then
  redis.call('SET', KEYS[1], ARGV[2])
else
  redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[3])
end
return 1
";

/// The bound on a call unless the application sets another.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(1);

/// A hundred years: Redis refuses what overflows its clock.
const LONGEST: Duration = Duration::from_secs(100 * 366 * 24 * 3600);

/// A [`Backend`] in Redis, over [`Reconnecting`] or a connection that the application has already: a
/// `redis::aio::ConnectionManager`, a [`MultiplexedConnection`](redis::aio::MultiplexedConnection), a
/// cluster's `redis::cluster_async::ClusterConnection`, or whatever else is [`ConnectionLike`] and
/// `Clone`.
///
/// Each call uses a clone of its own, and all clones share what is behind, so that commands of many
/// requests travel together. A call that is dropped leaves its answer to the connection, which throws
/// it away. Values are compared byte by byte; versions are not numbered.
#[derive(Clone)]
pub struct RedisBackend<C = Reconnecting> {
    connection: C,
    timeout: Duration,
    replace: Script,
}

impl<C> RedisBackend<C> {
    /// Keeps sessions behind `connection`.
    pub fn new(connection: C) -> Self {
        Self {
            connection,
            timeout: TIMEOUT,
            replace: Script::new(REPLACE),
        }
    }

    pub(crate) fn connection(&self) -> &C {
        &self.connection
    }

    /// Bounds each call, waiting for a connection included, whatever limits and retries the
    /// connection has of its own. Default: one second.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout.min(LONGEST);
        self
    }
}

impl<C: ConnectionLike + Clone + Send + Sync + 'static> RedisBackend<C> {
    /// When a call that begins now must end.
    pub(crate) fn deadline(&self) -> Instant {
        Instant::now() + self.timeout
    }

    /// Sends a command and waits for its answer; an error of the server is an `Err`.
    pub(crate) async fn ask(&self, command: &Cmd, deadline: Instant) -> RedisResult<Value> {
        let mut connection = self.connection.clone();
        let answer = connection.req_packed_command(command);
        match timeout_at(deadline, answer).await {
            Ok(answer) => answer?.extract_error(),
            Err(_) => Err(failure::no_answer(self.timeout)),
        }
    }

    /// Runs the script on one key, which is also what routes it in a cluster.
    async fn compare_and(&self, key: &str, was: &[u8], then: Then<'_>) -> Result<Replace> {
        let command = |name: &str, script: &str| {
            let words = 32; // more than the name and the numbers have
            let size = words + script.len() + key.len() + was.len() + then.value().len();
            let mut command = Cmd::with_capacity(7, size);
            command.arg(name).arg(script).arg(1).arg(key).arg(was);
            if let Then::Set { value, ttl } = then {
                command.arg(value);
                if let Some(ttl) = ttl {
                    command.arg(seconds(ttl));
                }
            }
            command
        };
        let deadline = self.deadline();
        let by_hash = command("EVALSHA", self.replace.get_hash());
        let mut answer = self.ask(&by_hash, deadline).await;
        if answer.as_ref().is_err_and(is_no_script) {
            // A server that has just started: EVAL also tells it the script for the next time.
            answer = self.ask(&command("EVAL", REPLACE), deadline).await;
        }
        match answer {
            Ok(Value::Int(1)) => Ok(Replace::Done),
            Ok(Value::Nil) => Ok(Replace::Gone),
            Ok(Value::BulkString(now)) => Ok(Replace::Conflict(versioned(now))),
            Err(error) if failure::is_wrong_type(&error) => Ok(Replace::Conflict(unreadable())),
            Ok(_) => Err(failure::unexpected()),
            Err(error) => Err(failure::unavailable(&error)),
        }
    }
}

impl<C: ConnectionLike + Clone + Send + Sync + 'static> Backend for RedisBackend<C> {
    async fn read(&self, key: &str) -> Result<Option<Versioned>> {
        let mut get = Cmd::with_capacity(2, 3 + key.len());
        get.arg("GET").arg(key);
        let deadline = self.deadline();
        let mut answer = self.ask(&get, deadline).await;
        if let Err(closed) = &answer
            && closed.is_connection_dropped()
        {
            // That the server was restarted while nobody asked is noticed by whoever asks next, and
            // a connection that reconnects does so then. A read can be repeated.
            answer = match self.ask(&get, deadline).await {
                Err(error) if error.is_timeout() => answer,
                again => again,
            };
        }
        match answer {
            Ok(Value::BulkString(value)) => Ok(Some(versioned(value))),
            Ok(Value::Nil) => Ok(None),
            Err(error) if failure::is_wrong_type(&error) => Ok(Some(unreadable())),
            Ok(_) => Err(failure::unexpected()),
            Err(error) => Err(failure::unavailable(&error)),
        }
    }

    async fn create(&self, key: &str, value: Bytes, ttl: Option<Duration>) -> Result<Create> {
        let mut set = Cmd::with_capacity(6, 32 + key.len() + value.len());
        set.arg("SET").arg(key).arg(&value[..]).arg("NX");
        if let Some(ttl) = ttl {
            set.arg("EX").arg(seconds(ttl));
        }
        match self.ask(&set, self.deadline()).await {
            Ok(Value::Okay) => Ok(Create::Done),
            Ok(Value::Nil) => Ok(Create::Exists),
            Ok(_) => Err(failure::unexpected()),
            Err(error) => Err(failure::unavailable(&error)),
        }
    }

    async fn replace(
        &self,
        key: &str,
        value: Bytes,
        ttl: Option<Duration>,
        was: &Versioned,
    ) -> Result<Replace> {
        let value = &value[..];
        self.compare_and(key, &was.value, Then::Set { value, ttl })
            .await
    }

    async fn delete(&self, key: &str, was: Option<&Versioned>) -> Result<Replace> {
        if let Some(was) = was {
            return self.compare_and(key, &was.value, Then::Delete).await;
        }
        let mut delete = Cmd::with_capacity(2, 3 + key.len());
        delete.arg("DEL").arg(key);
        match self.ask(&delete, self.deadline()).await {
            Ok(Value::Int(1)) => Ok(Replace::Done),
            Ok(Value::Int(0)) => Ok(Replace::Gone),
            Ok(_) => Err(failure::unexpected()),
            Err(error) => Err(failure::unavailable(&error)),
        }
    }
}

/// What the script does with a record that is still what it was.
#[derive(Clone, Copy)]
enum Then<'a> {
    Set {
        value: &'a [u8],
        ttl: Option<Duration>,
    },
    Delete,
}

impl Then<'_> {
    fn value(&self) -> &[u8] {
        match self {
            Self::Set { value, .. } => value,
            Self::Delete => b"",
        }
    }
}

fn versioned(value: Vec<u8>) -> Versioned {
    Versioned {
        value: value.into(),
        version: 0,
    }
}

/// What stands for a key of another type, a list say: it is no session, and is left alone.
fn unreadable() -> Versioned {
    versioned(Vec::new())
}

fn seconds(ttl: Duration) -> u64 {
    ttl.min(LONGEST).as_secs()
}

fn is_no_script(error: &redis::RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::NoScript)
}

impl<C> fmt::Debug for RedisBackend<C> {
    /// Leaves out the connection, which may print the password that it was made with.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisBackend")
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}
