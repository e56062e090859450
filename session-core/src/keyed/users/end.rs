//! Ending a user's sessions: one, the others, or all.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use crate::error::{ErrorChain, Result};
use crate::keyed::KeyedStorage;
use crate::keyed::backend::{Backend, Found};
use crate::keyed::swap::{Change, Next};
use crate::keyed::users::index::Entry;
use crate::keyed::users::own::CallerSession;
use crate::metrics::Counter;
use crate::session::Session;
use crate::users::{User, Which};

/// How long an end may take. It must follow the tombstones of renewals that ran when it began, and
/// they stay for a minute.
const TIME_LIMIT: Duration = Duration::from_secs(30);

impl<B: Backend> KeyedStorage<B> {
    /// Ends sessions of a user and returns how many.
    pub(super) async fn end_sessions(
        &self,
        user: &User,
        current: Option<&Session>,
        which: Which<'_>,
    ) -> Result<usize> {
        let began = (self.config.now(), Instant::now());
        let mut own = current.and_then(|session| self.own(session));
        let Some(index) = self.read_index(user, own.as_ref()).await? else {
            return Ok(0);
        };
        if let (Which::Others, Some(own)) = (which, &mut own) {
            self.follow_own(own).await?;
        }
        let own = own.as_ref();
        let mut entries: Vec<Entry> = index.entries;
        entries.retain(|entry| match which {
            Which::One(handle) => *entry.handle == *handle,
            Which::Others => !own.is_some_and(|own| own.is_entry(entry)),
            Which::All => true,
        });
        // The caller's own session comes last: if this fails before, the caller can repeat it.
        entries.sort_by_key(|entry| own.is_some_and(|own| own.is_entry(entry)));
        let kept = own.filter(|_| matches!(which, Which::Others));
        let mut ended = HashSet::new();
        let mut gone = HashSet::new();
        let mut visited = HashSet::new();
        for entry in entries {
            self.check_time(began)?;
            let revoked = self.revoke(&entry.suffix, user, kept, &mut visited).await?;
            if revoked.is_gone {
                gone.insert(entry.suffix);
            }
            if let Some(it) = revoked.ended {
                let is_own = |own: &CallerSession| own.is(&it.suffix, &it.handle);
                if let Some(session) = current.filter(|_| own.is_some_and(is_own)) {
                    session.state().invalidate();
                }
                if ended.insert(it.handle) {
                    self.config.metrics().count(Counter::RevokedByApplication);
                }
            }
        }
        self.check_time(began)?;
        self.remove_entries(user, gone).await;
        if !ended.is_empty() {
            tracing::info!(
                target: "session::users",
                cookie = self.config.cookie().name(),
                op = "end",
                ended = ended.len(),
                "sessions of a user ended"
            );
        }
        Ok(ended.len())
    }

    /// Gives up before a tombstone that was there at the beginning can expire. The operating
    /// system's clock can be set back meanwhile, so a clock that only goes forward counts too.
    fn check_time(&self, began: (SystemTime, Instant)) -> Result<()> {
        let elapsed = self.config.now().duration_since(began.0);
        if elapsed.unwrap_or_default().max(began.1.elapsed()) < TIME_LIMIT {
            return Ok(());
        }
        Err(Self::unavailable(
            "ending the sessions took longer than 30 seconds",
        ))
    }

    /// Takes sessions that are gone out of the index. If this fails, a later login does it.
    pub(super) async fn remove_entries(&self, user: &User, gone: HashSet<Arc<str>>) {
        if gone.is_empty() {
            return;
        }
        let mut change = RemoveEntries {
            storage: self,
            gone,
        };
        let address = self.index_address(user);
        if let Err(error) = self.swap(&address, None, &mut change).await {
            tracing::warn!(
                target: "session::users",
                cookie = self.config.cookie().name(),
                op = "end",
                kind = ?error.kind(),
                error = %ErrorChain(&error),
                "the index of a user still lists sessions that are gone"
            );
        }
    }
}

struct RemoveEntries<'a, B> {
    storage: &'a KeyedStorage<B>,
    gone: HashSet<Arc<str>>,
}

impl<B: Backend> Change for RemoveEntries<'_, B> {
    type Stop = ();

    async fn next(&mut self, found: &Found) -> Result<Next<()>> {
        let Some(mut index) = self.storage.open_index(found)? else {
            return Ok(Next::Stop(()));
        };
        if !index.drop_gone(&self.gone) {
            return Ok(Next::Stop(()));
        }
        index.checked = index.checked.min(index.entries.len());
        self.storage.index_write(&index).map(Next::Write)
    }
}
