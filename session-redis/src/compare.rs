//! Compare-and-set and compare-and-delete, in the commands that the server knows.
//!
//! A server that knows `SET .. IFEQ` compares and stores with one command. For all others a script
//! does it. No version is read: the server's reply to the command decides. So it also works behind
//! a proxy, in a cluster of several versions, and after a failover to another version.
//!
//! A write without a time to live tries the script first, on every server. The server replicates
//! `SET .. IFEQ .. EX` as a plain `SET`. Without `EX` it replicates `IFEQ` itself, and an older
//! replica drops that write with an error that only its log shows.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use redis::aio::ConnectionLike;
use redis::{RedisResult, Value};
use session_core::keyed::Write;
use tokio::time::Instant as Deadline;

use crate::backend::RedisBackend;
use crate::classify;
use crate::command::{CompareAndSet, Unchanged, delete_if_equal, get, set_if_equal};

/// How long the script is used after a server refused `SET .. IFEQ`. After that the next write
/// tries it again: the server may have been replaced by a newer one.
const RETRY_AFTER: Duration = Duration::from_secs(60);

/// Whether the server knows `SET .. IFEQ`, as far as this backend has seen.
#[derive(Debug, Default)]
pub(crate) struct IfeqSupport {
    refused: Mutex<Option<Instant>>,
}

impl IfeqSupport {
    fn is_worth_trying(&self, now: Instant) -> bool {
        let refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        refused.is_none_or(|refused| now.saturating_duration_since(refused) > RETRY_AFTER)
    }

    fn was_refused(&self, now: Instant) {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        *refused = Some(now);
    }
}

/// How a server compares and stores.
#[derive(Clone, Copy)]
enum Way {
    /// `SET .. IFEQ`.
    Ifeq,
    Script,
}

impl<C: ConnectionLike + Clone + Send + Sync + 'static> RedisBackend<C> {
    /// Stores `write` if the key is unchanged. Returns what the key holds instead, or `None` if it
    /// stored.
    pub(crate) async fn replace(
        &self,
        old: Unchanged<'_>,
        write: &Write,
        deadline: Deadline,
    ) -> RedisResult<Option<Value>> {
        match self.compare_and_set(old, write, deadline).await {
            // The server has no memory for a tombstone. It can still delete.
            Err(error) if write.is_tombstone() && classify::is_out_of_memory(&error) => {
                self.compare_and_delete(old, deadline).await
            }
            response => response,
        }
    }

    async fn compare_and_set(
        &self,
        old: Unchanged<'_>,
        write: &Write,
        deadline: Deadline,
    ) -> RedisResult<Option<Value>> {
        let reaches_replicas = write.time_to_live().is_some(); // any replica: see above
        let ways = if reaches_replicas && self.ifeq().is_worth_trying(Instant::now()) {
            [Way::Ifeq, Way::Script]
        } else {
            // A user without the right to scripts needs `IFEQ`.
            [Way::Script, Way::Ifeq]
        };
        let mut script_error = None;
        for way in ways {
            let response = match way {
                Way::Ifeq => self.set_if_equal(old, write, deadline).await,
                Way::Script => {
                    let new = Some(write);
                    self.run(CompareAndSet { old, new }, deadline).await
                }
            };
            match (way, response) {
                (Way::Ifeq, Err(error)) if classify::is_syntax_error(&error) => {
                    self.ifeq().was_refused(Instant::now());
                }
                (Way::Script, Err(error)) if classify::cannot_run(&error) => {
                    script_error = Some(error);
                }
                (_, response) => return response,
            }
        }
        Err(script_error.expect("the script is one of the ways"))
    }

    async fn set_if_equal(
        &self,
        old: Unchanged<'_>,
        write: &Write,
        deadline: Deadline,
    ) -> RedisResult<Option<Value>> {
        let command = set_if_equal(old, write);
        match self.send(&command, deadline).await? {
            Value::BulkString(before) if before == old.value => Ok(None),
            // Some servers reply with nil if the value differs, too.
            Value::Nil => self.send(&get(old.key), deadline).await.map(Some),
            response => Ok(Some(response)),
        }
    }

    /// Deletes the key if it is unchanged. Returns what the key holds instead, or `None` if it was
    /// deleted.
    ///
    /// The script comes first because most servers know it. Without the right to run it, the
    /// commands of Valkey 9.0 and Redis 8.4 do the same.
    pub(crate) async fn compare_and_delete(
        &self,
        old: Unchanged<'_>,
        deadline: Deadline,
    ) -> RedisResult<Option<Value>> {
        let script = CompareAndSet { old, new: None };
        let refused = match self.run(script, deadline).await {
            Err(error) if classify::cannot_run(&error) => error,
            response => return response,
        };
        for command in delete_if_equal(old) {
            match self.send(&command, deadline).await {
                Ok(Value::Int(1)) => return Ok(None),
                Ok(Value::Int(0)) => return self.send(&get(old.key), deadline).await.map(Some),
                Err(error) if classify::cannot_run(&error) => {}
                response => return response.map(Some),
            }
        }
        Err(refused)
    }

    /// Runs the script. Returns what the key holds instead of the expected value, or `None` if the
    /// script wrote.
    async fn run(
        &self,
        script: CompareAndSet<'_>,
        deadline: Deadline,
    ) -> RedisResult<Option<Value>> {
        let response = match self.send(&script.by_hash(), deadline).await {
            // The server was restarted, or its scripts were flushed.
            Err(error) if classify::is_no_script(&error) => {
                self.send(&script.in_full(), deadline).await
            }
            response => response,
        };
        Ok(Some(response?).filter(|response| *response != Value::Int(1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_was_refused_is_tried_again_after_a_minute() {
        let (ifeq, now) = (IfeqSupport::default(), Instant::now());
        assert!(ifeq.is_worth_trying(now));
        ifeq.was_refused(now);
        assert!(!ifeq.is_worth_trying(now + RETRY_AFTER));
        assert!(ifeq.is_worth_trying(now + RETRY_AFTER + Duration::from_millis(1)));
    }
}
