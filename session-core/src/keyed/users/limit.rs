//! The limit of sessions per user: a login beyond it ends the oldest.

use std::collections::HashSet;

use crate::error::{ErrorChain, Result};
use crate::keyed::KeyedStorage;
use crate::keyed::backend::Backend;
use crate::keyed::save::LAST_TIMEOUTS;
use crate::keyed::users::enlist::Listing;
use crate::keyed::users::listed::{Held, ListedKeys};
use crate::keyed::users::own::CallerSession;
use crate::metrics::Counter;

/// How many of the oldest sessions a login beyond the limit checks. Those that it does not check
/// count as live. So a login costs the same for any limit.
const MAX_CHECKED: usize = 64;

impl<B: Backend> KeyedStorage<B> {
    /// Ends the oldest sessions of a user who has more than the limit allows after a login.
    ///
    /// The login is done by now, so a failure is logged and not returned.
    pub(in crate::keyed) async fn enforce_limit(&self, listing: Box<Listing>) {
        let limit = self.users.as_ref().map_or(usize::MAX, |index| index.limit);
        let listed = listing.index.handles().len();
        if !listing.is_login || listed <= limit {
            return;
        }
        let ends = self.end_oldest(&listing, listed - limit);
        let ended = self.backend.bound(ends, LAST_TIMEOUTS).await;
        if let Err(error) = ended.and_then(|ended| ended) {
            tracing::warn!(
                target: "session::users",
                cookie = self.config.cookie().name(),
                op = "limit",
                kind = ?error.kind(),
                error = %ErrorChain(&error),
                "a user has more sessions than the limit allows"
            );
        }
    }

    /// Ends the oldest live sessions, at most `surplus`. Each listed session that has ended already
    /// counts as one of them, if it is among the oldest.
    async fn end_oldest(&self, listing: &Listing, mut surplus: usize) -> Result<()> {
        let mut gone = HashSet::new();
        let mut live = Vec::new();
        let handles = listing.index.handles();
        let others = handles.iter().copied();
        let others = others.filter(|handle| **handle != *listing.handle);
        let oldest: Vec<&str> = others.take(MAX_CHECKED).collect();
        let mut entries = listing.index.entries.clone();
        entries.retain(|entry| oldest.contains(&&*entry.handle));
        let mut keys = ListedKeys::new(self, &listing.user, &entries);
        for handle in oldest {
            if surplus == 0 {
                break;
            }
            let mut any_live = false;
            for entry in entries.iter().filter(|it| *it.handle == *handle) {
                let (last, held) = keys.find(&entry.suffix).await?;
                let is_moved = last != entry.suffix;
                match held {
                    // An emptied session continues under another handle. It is counted there.
                    Held::Session { handle: other, .. }
                        if is_moved && *other != *handle && handles.contains(&&*other) => {}
                    Held::Session { is_live, .. } => any_live |= is_live,
                    Held::Missing if !is_moved => drop(gone.insert(last)),
                    Held::Missing | Held::Moved(_) | Held::Other => {}
                }
            }
            if any_live {
                live.push(handle);
            } else {
                surplus -= 1;
            }
        }
        let own = CallerSession::of_handle(listing.handle.clone());
        let mut visited = HashSet::new();
        for handle in live.into_iter().take(surplus) {
            let mut has_ended = false;
            for entry in entries.iter().filter(|it| *it.handle == *handle) {
                let revoke = self.revoke(&entry.suffix, &listing.user, Some(&own), &mut visited);
                has_ended |= revoke.await?.ended.is_some();
            }
            if has_ended {
                self.config.metrics().count(Counter::RevokedByLimit);
            }
        }
        self.remove_entries(&listing.user, gone).await;
        Ok(())
    }
}
