//! The limit of sessions per user: a login beyond it ends the oldest.

use std::collections::HashSet;

use crate::error::{ErrorChain, Result};
use crate::keyed::KeyedStorage;
use crate::keyed::backend::{Backend, Found};
use crate::keyed::load::Opened;
use crate::keyed::users::enlist::Listing;
use crate::keyed::users::own::Own;

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
        let ended = self.backend.bound(ends, 1).await;
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
    /// counts as one of them.
    async fn end_oldest(&self, listing: &Listing, mut surplus: usize) -> Result<()> {
        let mut gone = HashSet::new();
        let mut live = Vec::new();
        for handle in listing.index.handles() {
            if surplus == 0 {
                break;
            }
            if *handle == *listing.handle {
                continue;
            }
            let mut is_live = false;
            for entry in &listing.index.entries {
                if *entry.handle != *handle {
                    continue;
                }
                let address = self.address_of(entry.suffix.clone());
                let found = self.backend.read(&address.key).await?;
                if found == Found::Missing {
                    gone.insert(entry.suffix.clone());
                } else if let Opened::Record(record) = self.open(&found, self.config.unix_now()) {
                    is_live |= self.is_live(&record, &listing.user);
                }
            }
            if is_live {
                live.push(handle);
            } else {
                surplus -= 1;
            }
        }
        let own = Own::of_handle(listing.handle.clone());
        for handle in live.into_iter().take(surplus) {
            for entry in &listing.index.entries {
                if *entry.handle == *handle {
                    self.revoke(&entry.suffix, &listing.user, Some(&own))
                        .await?;
                }
            }
        }
        self.take_out(&listing.user, gone).await;
        Ok(())
    }
}
