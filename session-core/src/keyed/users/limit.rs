//! The limit of sessions per user: a login beyond it ends the oldest.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::error::{ErrorChain, Result};
use crate::keyed::KeyedStorage;
use crate::keyed::backend::Backend;
use crate::keyed::end::MAX_HOPS;
use crate::keyed::load::Opened;
use crate::keyed::save::LAST_TIMEOUTS;
use crate::keyed::tombstone::Tombstone;
use crate::keyed::users::enlist::Listing;
use crate::keyed::users::own::Own;
use crate::metrics::Count;
use crate::record::Record;
use crate::session::identity::Identity;

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
    /// counts as one of them.
    async fn end_oldest(&self, listing: &Listing, mut surplus: usize) -> Result<()> {
        let mut gone = HashSet::new();
        let mut live = Vec::new();
        let mut known = HashMap::new();
        let handles = listing.index.handles();
        for handle in &handles {
            if surplus == 0 {
                break;
            }
            let handle = *handle;
            if *handle == *listing.handle {
                continue;
            }
            let mut is_live = false;
            for entry in &listing.index.entries {
                if *entry.handle != *handle {
                    continue;
                }
                match self.find_session(&entry.suffix, &mut known).await? {
                    // A session that was emptied goes on as another one, which counts itself.
                    At::Moved(_, other) if *other != *handle && handles.contains(&&*other) => {}
                    At::Record(record) | At::Moved(record, _) => {
                        is_live |= self.is_live(&record, &listing.user);
                    }
                    At::Gone => drop(gone.insert(entry.suffix.clone())),
                    At::Ended => {}
                }
            }
            if is_live {
                live.push(handle);
            } else {
                surplus -= 1;
            }
        }
        let own = Own::of_handle(listing.handle.clone());
        let mut visited = HashSet::new();
        for handle in live.into_iter().take(surplus) {
            let mut has_ended = false;
            for entry in &listing.index.entries {
                if *entry.handle == *handle {
                    let revoke =
                        self.revoke(&entry.suffix, &listing.user, Some(&own), &mut visited);
                    has_ended |= revoke.await?.ended.is_some();
                }
            }
            if has_ended {
                self.config.metrics().count(Count::RevokedByLimit);
            }
        }
        self.take_out(&listing.user, gone).await;
        Ok(())
    }

    /// Finds a listed session. A renewal may have moved it since the index was read.
    ///
    /// `known` tells where the tombstones of earlier calls lead, and learns where those of this one
    /// do. Each renewal lists a key. Without `known` the tombstones of a session would be followed
    /// once for each renewal.
    async fn find_session(
        &self,
        listed: &Arc<str>,
        known: &mut HashMap<Arc<str>, Last>,
    ) -> Result<At> {
        let mut suffix = listed.clone();
        let mut followed = Vec::new();
        let last = loop {
            if let Some(last) = known.get(&suffix) {
                break last.clone();
            }
            followed.push(suffix.clone());
            let address = self.address_of(suffix.clone());
            let found = self.backend.read(&address.key).await?;
            let what = match self.open(&found, self.config.unix_now()) {
                Opened::Record(record) => {
                    let handle = self.handle_at(&record, &address);
                    What::Record(record, handle)
                }
                Opened::Missing => What::Missing,
                Opened::Tombstone(Tombstone::Moved(to)) if followed.len() < MAX_HOPS => {
                    match Identity::parse(&to) {
                        Some(to) => {
                            suffix = to.text();
                            continue;
                        }
                        None => What::Other,
                    }
                }
                _ => What::Other,
            };
            break Last { suffix, what };
        };
        for suffix in followed {
            known.insert(suffix, last.clone());
        }
        let is_listed = last.suffix == *listed;
        Ok(match last.what {
            What::Record(record, _) if is_listed => At::Record(record),
            What::Record(record, handle) => At::Moved(record, handle),
            What::Missing if is_listed => At::Gone,
            What::Missing | What::Other => At::Ended,
        })
    }
}

/// Where the tombstones of renewals lead.
#[derive(Clone)]
struct Last {
    suffix: Arc<str>,
    what: What,
}

/// What the last key holds.
#[derive(Clone)]
enum What {
    /// A record, with the handle there.
    Record(Arc<Record>, Box<str>),
    Missing,
    Other,
}

/// Where a listed session is.
enum At {
    Record(Arc<Record>),
    /// Where a renewal moved it, with the handle there.
    Moved(Arc<Record>, Box<str>),
    /// It has ended, and its key holds something else.
    Ended,
    /// The key that the index lists is missing.
    Gone,
}
