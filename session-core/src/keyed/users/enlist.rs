//! Listing: a session gets an entry in the index of its user.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use crate::cookie::settings::whole_seconds;
use crate::error::Result;
use crate::keyed::backend::{Backend, Found, Write};
use crate::keyed::save::GRACE;
use crate::keyed::swap::{Change, Next, Swapped};
use crate::keyed::users::index::{Entry, Index};
use crate::keyed::users::listed::AT_ONCE;
use crate::keyed::{Address, KeyedStorage};
use crate::record::{Record, Until};
use crate::session::{Draft, lifetime};
use crate::users::User;

/// A session that a save has listed.
pub(in crate::keyed) struct Listing {
    pub(super) user: User,
    pub(super) until: Until,
    pub(super) handle: Box<str>,
    /// The session was not listed before: a login.
    pub(super) is_login: bool,
    /// The index with the new entry.
    pub(super) index: Index,
}

impl Listing {
    /// Replaces an earlier listing of the same save. If that one was a login, this one is too.
    pub(in crate::keyed) fn put(mut self: Box<Self>, place: &mut Option<Box<Self>>) {
        let earlier = place.take();
        self.is_login |= earlier.is_some_and(|it| it.is_login && it.user == self.user);
        *place = Some(self);
    }

    /// Marks this as a login although the index already lists the session, from an earlier time
    /// when it had the same user.
    pub(in crate::keyed) fn note_login(&mut self) {
        self.is_login = true;
    }
}

/// What is to be listed: the user of a record, and until when.
pub(in crate::keyed) struct ListingRequest {
    user: User,
    until: Until,
    /// The save gives the session another user. Then it is a login, although the index of that user
    /// may list the session already, from an earlier time.
    is_login: bool,
}

impl<B: Backend> KeyedStorage<B> {
    /// Notes in a record that is about to be stored under a new key until when the index will cover
    /// it. Returns what is to be listed.
    pub(in crate::keyed) fn listing_request(&self, draft: &mut Draft) -> Option<ListingRequest> {
        let request = self.user_of(&draft.record).map(|user| ListingRequest {
            user,
            until: self.covered_until(&draft.record),
            is_login: self.is_login(draft),
        });
        set_listed(draft, request.as_ref().map(|request| request.until));
        request
    }

    /// Lists the session that the draft's record holds under `address`.
    pub(in crate::keyed) async fn enlist(
        &self,
        request: ListingRequest,
        record: &Record,
        address: &Address,
    ) -> Result<Box<Listing>> {
        let handle = self.handle_at(record, address);
        let mut change = Enlist {
            storage: self,
            entry: Entry {
                suffix: address.suffix.clone(),
                until: request.until,
                handle: handle.clone(),
            },
            gone: None,
            is_login: false,
            index: Index::default(),
        };
        let index = self.index_address(&request.user);
        match self.swap(&index, None, &mut change).await? {
            Swapped::Written(_) | Swapped::Stopped(Covered) => Ok(Box::new(Listing {
                user: request.user,
                until: request.until,
                handle,
                is_login: change.is_login || request.is_login,
                index: change.index,
            })),
        }
    }

    /// Lists a session whose record at `address` is about to be written, unless the index covers it
    /// long enough. Almost always it does, and this costs nothing.
    pub(in crate::keyed) async fn cover(
        &self,
        draft: &mut Draft,
        address: &Address,
    ) -> Result<Option<Box<Listing>>> {
        if self.is_covered(&draft.record) {
            return Ok(None);
        }
        match self.listing_request(draft) {
            None => Ok(None),
            Some(request) => Box::pin(self.enlist(request, &draft.record, address))
                .await
                .map(Some),
        }
    }

    /// As [`cover`](Self::cover), for a record that this save has listed and now writes again, with
    /// what another request stored meanwhile.
    pub(in crate::keyed) async fn cover_again(
        &self,
        draft: &mut Draft,
        address: &Address,
        listing: &mut Option<Box<Listing>>,
    ) -> Result<()> {
        let user = self.user_of(&draft.record);
        let needed = self.kept_until(&draft.record);
        match (user, &*listing) {
            (Some(user), Some(listed)) if listed.user == user && listed.until >= needed => {
                set_listed(draft, Some(listed.until));
            }
            _ => {
                if let Some(request) = self.listing_request(draft) {
                    let again = Box::pin(self.enlist(request, &draft.record, address)).await?;
                    again.put(listing);
                }
            }
        }
        Ok(())
    }

    /// Returns whether an update may have to write the index of a user.
    pub(in crate::keyed) fn may_list(&self, draft: &Draft) -> bool {
        self.users.is_some()
            && (self.sets_user(draft)
                || (self.has_user(&draft.record) && !self.is_covered(&draft.record)))
    }

    /// Returns whether the index lists the session of a record for long enough.
    fn is_covered(&self, record: &Record) -> bool {
        self.has_user(record) && record.listed >= Some(self.kept_until(record))
    }

    /// Returns whether a record belongs to a user, without finding out to which.
    fn has_user(&self, record: &Record) -> bool {
        let Some(index) = &self.users else {
            return false;
        };
        record.get(&index.key).is_some_and(|text| text != "null")
    }

    /// Returns until when the store keeps a record that is written now.
    fn kept_until(&self, record: &Record) -> Until {
        self.after(lifetime::remaining(&self.config, record))
    }

    /// Returns until when a session is listed: long enough for writes during one more lifetime, so
    /// that a session that lives on is listed anew at most once per lifetime.
    fn covered_until(&self, record: &Record) -> Until {
        let remaining = lifetime::remaining(&self.config, record);
        self.after(remaining.map(|remaining| remaining.saturating_mul(2)))
    }

    fn after(&self, lifetime: Option<Duration>) -> Until {
        lifetime.map_or(Until::Forever, |lifetime| {
            let kept = lifetime.saturating_add(GRACE).as_secs();
            Until::At(self.config.unix_now().saturating_add(kept))
        })
    }

    /// Reads an index; `None` if there is none.
    pub(super) fn open_index(&self, found: &Found) -> Result<Option<Index>> {
        let stored = match found {
            Found::Missing => return Ok(None),
            Found::Foreign => return Err(Self::unreadable_index()),
            Found::Value(stored) => stored,
        };
        let text = self.config.decode(stored.value().clone());
        let index = text.and_then(|text| Index::parse(&text));
        index.map(Some).ok_or_else(Self::unreadable_index)
    }

    fn unreadable_index() -> crate::error::Error {
        Self::unavailable("the index of the user's sessions is unreadable")
    }

    /// Makes the write of an index. The store keeps it as long as the session that is covered
    /// longest.
    pub(super) fn index_write(&self, index: &Index) -> Result<Write> {
        let now = self.config.unix_now();
        let time_to_live = match index.until() {
            Some(Until::Forever) => None,
            Some(Until::At(until)) => Some(until.saturating_sub(now)),
            None => Some(0),
        };
        let time_to_live = time_to_live.map(|seconds| whole_seconds(Duration::from_secs(seconds)));
        Ok(Write::record(
            self.config.encode(index.to_text())?,
            time_to_live,
        ))
    }

    /// Finds out which of the listed sessions are missing from the store. A session whose key holds
    /// a tombstone is not: a slow Python service may write it again.
    ///
    /// This is housekeeping, so a store that fails or is slow only ends it.
    async fn find_gone(&self, index: &Index, except: &str) -> HashSet<Arc<str>> {
        let mut gone = HashSet::new();
        let found = self.backend.bound(
            async {
                for entries in index.entries.chunks(AT_ONCE) {
                    let Ok(found) = self.read_entries(entries).await else {
                        return;
                    };
                    let found = entries.iter().zip(found);
                    let missing = found.filter(|(entry, found)| {
                        matches!(found, Found::Missing) && *entry.suffix != *except
                    });
                    gone.extend(missing.map(|(entry, _)| entry.suffix.clone()));
                }
            },
            1,
        );
        // What was found until then counts.
        let _ = found.await;
        gone
    }
}

/// Sets until when the index covers the draft's session.
fn set_listed(draft: &mut Draft, until: Option<Until>) {
    if draft.record.listed != until {
        Arc::make_mut(&mut draft.record).listed = until;
    }
}

struct Enlist<'a, B> {
    storage: &'a KeyedStorage<B>,
    entry: Entry,
    /// The sessions that are gone, once that is known. They never come back.
    gone: Option<HashSet<Arc<str>>>,
    is_login: bool,
    index: Index,
}

/// The session is listed already.
struct Covered;

impl<B: Backend> Change for Enlist<'_, B> {
    type Stop = Covered;

    async fn next(&mut self, found: &Found) -> Result<Next<Covered>> {
        let storage = self.storage;
        self.index = storage.open_index(found)?.unwrap_or_default();
        self.is_login = !self.index.has(&self.entry);
        if self.index.covers(&self.entry) {
            return Ok(Next::Stop(Covered));
        }
        self.index
            .drop_expired(storage.config.unix_now(), &self.entry.suffix);
        if self.gone.is_none() && self.index.has_doubled() {
            let gone = storage.find_gone(&self.index, &self.entry.suffix);
            self.gone = Some(Box::pin(gone).await);
        }
        self.index.put(self.entry.clone());
        if let Some(gone) = &self.gone {
            self.index.drop_gone(gone);
            self.index.checked = self.index.entries.len();
        }
        storage.index_write(&self.index).map(Next::Write)
    }
}
