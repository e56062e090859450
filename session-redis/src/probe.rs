//! Tries at connect what sessions need, so that a missing right is found before the first logout.

use std::time::Duration;

use redis::aio::ConnectionLike;
use redis::{RedisError, RedisResult};
use session_core::keyed::Write;
use session_core::{Identity, Result};

use crate::backend::RedisBackend;
use crate::classify;
use crate::command::{Unchanged, get};
use crate::failure;

/// The prefix of the trial keys. The documented rights include it. The suffix is random, so that no
/// client's cookie can name a trial key.
const KEY: &str = "AIOHTTP_SESSION_connect-trial-";

/// The time to live of a trial's values.
const TRIED: Duration = Duration::from_secs(1);

impl<C: ConnectionLike + Clone + Send + Sync + 'static> RedisBackend<C> {
    /// Creates, reads, replaces and deletes a key of its own. Each of the four steps has the time
    /// of a call.
    ///
    /// The values are tombstones, so a server without free memory is no error. A missing right to
    /// the key is no error, because the user may have rights to other keys.
    pub(crate) async fn probe(&self) -> Result<()> {
        let key = [KEY, Identity::random()?.as_str()].concat();
        let probed = self.probe_key(&key).await;
        probed.map_err(|error| failure::from_redis(&error))
    }

    async fn probe_key(&self, key: &str) -> RedisResult<()> {
        let [first, second] = ["{ }", "{  }"].map(|value| Write::tombstone(value, TRIED));
        has_key_rights(self.create(key, &first, self.deadline()).await)?;
        has_key_rights(self.send(&get(key), self.deadline()).await)?;
        let holds = |value| Unchanged { key, value };
        let replaced = self.replace(holds(first.value()), &second, self.deadline());
        let is_tried = has_key_rights(replaced.await)?;
        let deleted = self.compare_and_delete(holds(second.value()), self.deadline());
        let deleted = deleted.await;
        match has_key_rights(deleted) {
            Err(error) if classify::cannot_run(&error) && is_tried => warn_of_memory(&error),
            Err(error) if classify::cannot_run(&error) => warn_of_rights(&error),
            Err(error) => return Err(error),
            Ok(_) => {}
        }
        Ok(())
    }
}

/// Returns whether the user has the right to the key.
fn has_key_rights<T>(response: RedisResult<T>) -> RedisResult<bool> {
    match response {
        Ok(_) => Ok(true),
        Err(error) if classify::is_key_denied(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

fn warn_of_memory(error: &RedisError) {
    tracing::warn!(
        target: "session::store",
        op = "connect",
        error = %failure::describe(error),
        "sessions cannot be ended while Redis is out of memory"
    );
}

/// Redis checks the right to the key before the options of the command. So this trial does not show
/// whether the server knows `IFEQ`.
fn warn_of_rights(error: &RedisError) {
    tracing::warn!(
        target: "session::store",
        op = "connect",
        error = %failure::describe(error),
        "the rights were not tried on the storage's keys: call check()"
    );
}
