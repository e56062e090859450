//! The backend contract, carried out by Redis.

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use redis::aio::ConnectionLike;
use redis::{Cmd, RedisError, RedisResult, Value};
use session_core::Result;
use session_core::keyed::{Backend, Found, OnlyIf, Outcome, Stored, Write};
use tokio::time::{Instant, timeout, timeout_at};

use crate::classify;
use crate::command::{Unchanged, get, set_if_missing};
use crate::compare::IfeqSupport;
use crate::failure;
use crate::reconnect::Reconnecting;

/// The limit for a call unless the application sets another.
const TIMEOUT: Duration = Duration::from_secs(1);

/// Longer timeouts are capped at a year, so that a deadline does not overflow the clock.
const MAX_TIMEOUT: Duration = Duration::from_secs(365 * 24 * 3600);

/// A [`Backend`] in Redis.
///
/// It works over [`Reconnecting`], or over a connection that the application already has: a
/// [`MultiplexedConnection`](redis::aio::MultiplexedConnection), a
/// `redis::aio::ConnectionManager`, a cluster's `redis::cluster_async::ClusterConnection`, or any
/// other type that is [`ConnectionLike`] and `Clone`.
///
/// Each call uses its own clone of the connection. The clones share one connection, so the commands
/// of many requests travel together. If a call is dropped, the connection discards its response.
///
/// Values are compared byte by byte. Versions are not numbered.
#[derive(Clone)]
pub struct RedisBackend<C = Reconnecting> {
    connection: C,
    timeout: Duration,
    ifeq: Arc<IfeqSupport>,
}

impl<C> RedisBackend<C> {
    /// Keeps sessions in the Redis behind `connection`.
    pub fn new(connection: C) -> Self {
        Self {
            connection,
            timeout: TIMEOUT,
            ifeq: Arc::default(),
        }
    }

    /// Limits the duration of each call, including the wait for a connection and a second try.
    /// Default: one second.
    ///
    /// A connection with a shorter limit fails earlier. A longer limit has no effect.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout.min(MAX_TIMEOUT);
        self
    }

    pub(crate) fn connection(&self) -> &C {
        &self.connection
    }

    pub(crate) fn ifeq(&self) -> &IfeqSupport {
        &self.ifeq
    }

    /// Returns when a call that begins now must end.
    pub(crate) fn deadline(&self) -> Instant {
        Instant::now() + self.timeout
    }
}

impl<C: ConnectionLike + Clone + Send + Sync + 'static> RedisBackend<C> {
    /// Sends a command and returns the response. An error response is an `Err`.
    pub(crate) async fn send(&self, command: &Cmd, deadline: Instant) -> RedisResult<Value> {
        let mut connection = self.connection.clone();
        let response = connection.req_packed_command(command);
        match timeout_at(deadline, response).await {
            Ok(response) => response?.extract_error(),
            Err(_) if self.has_no_connection() => Err(failure::late("connection", self.timeout)),
            Err(_) => Err(failure::late("response", self.timeout)),
        }
    }

    /// Returns whether a call that timed out has waited for a connection. Only a [`Reconnecting`]
    /// of the usual type can tell.
    fn has_no_connection(&self) -> bool {
        let connection: &dyn Any = &self.connection;
        let reconnecting = connection.downcast_ref::<Reconnecting>();
        reconnecting.is_some_and(|it| !it.is_connected())
    }

    /// Stores `write` if the condition holds. Returns what the key holds instead, or `None` if it
    /// stored.
    async fn put(
        &self,
        key: &str,
        write: &Write,
        only_if: &OnlyIf<'_>,
        deadline: Instant,
    ) -> RedisResult<Option<Value>> {
        match only_if {
            OnlyIf::Missing => self.create(key, write, deadline).await,
            OnlyIf::Unchanged(seen) => {
                let value = seen.value();
                self.replace(Unchanged { key, value }, write, deadline)
                    .await
            }
        }
    }

    pub(crate) async fn create(
        &self,
        key: &str,
        write: &Write,
        deadline: Instant,
    ) -> RedisResult<Option<Value>> {
        let before = match self.send(&set_if_missing(key, write), deadline).await {
            // Redis has no memory for a tombstone. Where nothing is stored there is nothing to end.
            Err(error) if write.is_tombstone() && classify::is_out_of_memory(&error) => {
                self.send(&get(key), deadline).await?
            }
            before => before?,
        };
        Ok(Some(before).filter(|before| *before != Value::Nil))
    }
}

impl<C: ConnectionLike + Clone + Send + Sync + 'static> Backend for RedisBackend<C> {
    async fn read(&self, key: &str) -> Result<Found> {
        let command = get(key);
        let deadline = self.deadline();
        let mut response = self.send(&command, deadline).await;
        if is_dropped(&response) {
            response = second_unless_timed_out(response, self.send(&command, deadline).await);
        }
        found(response)
    }

    async fn write(&self, key: &str, write: Write, only_if: OnlyIf<'_>) -> Result<Outcome> {
        let deadline = self.deadline();
        let mut response = self.put(key, &write, &only_if, deadline).await;
        let is_repeated = is_dropped(&response);
        if is_repeated {
            let second = self.put(key, &write, &only_if, deadline).await;
            response = second_unless_timed_out(response, second);
        }
        Ok(match conflict(response)? {
            None => Outcome::Written(Stored::new(write.into_value())),
            // The first try was carried out although its response was lost.
            Some(Found::Value(stored)) if is_repeated && stored.value() == write.value() => {
                Outcome::Written(stored)
            }
            Some(found) => Outcome::Found(found),
        })
    }

    async fn bound<F: Future + Send>(&self, waiting: F, times: u32) -> Result<F::Output> {
        let limit = self.timeout.saturating_mul(times);
        match timeout(limit, waiting).await {
            Ok(output) => Ok(output),
            Err(_) => Err(failure::not_done(limit)),
        }
    }
}

/// Returns what a key holds, from a response that is the key's value or nil.
fn found(response: RedisResult<Value>) -> Result<Found> {
    match response {
        Ok(Value::BulkString(value)) => Ok(Found::Value(Stored::new(value))),
        Ok(Value::Nil) => Ok(Found::Missing),
        Ok(_) => Err(failure::unexpected()),
        Err(error) if classify::is_wrong_type(&error) => Ok(Found::Foreign),
        Err(error) => Err(failure::from_redis(&error)),
    }
}

/// Returns what a write found instead of storing, or `None` if it stored.
fn conflict(response: RedisResult<Option<Value>>) -> Result<Option<Found>> {
    match response {
        Ok(None) => Ok(None),
        Ok(Some(value)) => found(Ok(value)).map(Some),
        Err(error) => found(Err(error)).map(Some),
    }
}

/// Returns whether the connection was dropped. The command is then sent once more.
///
/// If the server closed the connection while it was idle, the next command finds out, and a
/// connection that reconnects does so then.
fn is_dropped<T>(response: &RedisResult<T>) -> bool {
    response
        .as_ref()
        .is_err_and(RedisError::is_connection_dropped)
}

/// Returns the second response, unless there was no time left for one. The first error is then the
/// reason.
fn second_unless_timed_out<T>(first: RedisResult<T>, second: RedisResult<T>) -> RedisResult<T> {
    match second {
        Err(error) if error.is_timeout() => first,
        second => second,
    }
}

impl<C> fmt::Debug for RedisBackend<C> {
    /// Leaves out the connection, whose `Debug` may show its password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisBackend")
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}
