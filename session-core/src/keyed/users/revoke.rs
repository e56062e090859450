//! Ending a listed session: a tombstone takes the record's place, wherever a renewal moved it.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;

use crate::error::Result;
use crate::keyed::backend::{Backend, Found, Write};
use crate::keyed::end::MAX_HOPS;
use crate::keyed::load::Opened;
use crate::keyed::swap::{Change, Next, Swapped};
use crate::keyed::tombstone::{self, Tombstone};
use crate::keyed::users::own::CallerSession;
use crate::keyed::{Address, KeyedStorage};
use crate::users::User;

/// What came of ending a listed session.
#[derive(Default)]
pub(super) struct Revoked {
    /// The session that ended; `None` if there was nothing to end.
    pub(super) ended: Option<Ended>,
    /// The key that the index lists is missing from the store.
    pub(super) is_gone: bool,
}

/// A session that ended.
pub(super) struct Ended {
    pub(super) suffix: Arc<str>,
    pub(super) handle: Box<str>,
}

impl<B: Backend> KeyedStorage<B> {
    /// Ends the session that the index lists under this key, if it still belongs to `user`, and
    /// follows renewals. `kept` is never ended.
    ///
    /// `visited` holds the keys that this call of the application has already handled. Without it,
    /// a chain of renewals would be followed once for each of its entries.
    pub(super) async fn revoke(
        &self,
        suffix: &Arc<str>,
        user: &User,
        kept: Option<&CallerSession>,
        visited: &mut HashSet<Arc<str>>,
    ) -> Result<Revoked> {
        let mut change = Revoke {
            storage: self,
            user,
            kept,
            address: self.address_of(suffix.clone()),
            tombstone: self.config.encode(Tombstone::Revoked.to_text())?.into(),
            handle: Box::default(),
        };
        for hop in 0..MAX_HOPS {
            let address = change.address.clone();
            if !visited.insert(address.suffix.clone()) {
                return Ok(Revoked::default());
            }
            match self.swap(&address, None, &mut change).await? {
                Swapped::Written(_) => {
                    let ended = Ended {
                        suffix: address.suffix,
                        handle: change.handle,
                    };
                    return Ok(Revoked {
                        ended: Some(ended),
                        is_gone: false,
                    });
                }
                Swapped::Stopped(Stop::Nothing { is_missing }) => {
                    return Ok(Revoked {
                        ended: None,
                        is_gone: is_missing && hop == 0,
                    });
                }
                Swapped::Stopped(Stop::Follow(suffix)) => {
                    change.address = self.address_of(suffix);
                }
            }
        }
        Err(Self::unavailable("the session was renewed again and again"))
    }
}

struct Revoke<'a, B> {
    storage: &'a KeyedStorage<B>,
    user: &'a User,
    kept: Option<&'a CallerSession>,
    /// Where the session is now.
    address: Address,
    tombstone: Bytes,
    /// The handle of the record that was found.
    handle: Box<str>,
}

enum Stop {
    /// There is nothing to end.
    Nothing { is_missing: bool },
    /// A renewal moved the session to the key with this suffix.
    Follow(Arc<str>),
}

impl<B: Backend> Change for Revoke<'_, B> {
    type Stop = Stop;

    async fn next(&mut self, found: &Found) -> Result<Next<Stop>> {
        let nothing = |is_missing| Ok(Next::Stop(Stop::Nothing { is_missing }));
        let storage = self.storage;
        let record = match storage.open(found, storage.config.unix_now()) {
            Opened::Record(record) => record,
            Opened::Missing => return nothing(true),
            Opened::Tombstone(Tombstone::Moved(to)) => {
                return Ok(Next::Stop(Stop::Follow(to)));
            }
            _ => return nothing(false),
        };
        if storage.user_of(&record).as_ref() != Some(self.user) {
            return nothing(false);
        }
        self.handle = storage.handle_at(&record, &self.address);
        let is_kept = |own: &CallerSession| own.is(&self.address.suffix, &self.handle);
        if self.kept.is_some_and(is_kept) {
            return nothing(false);
        }
        Ok(Next::Write(Write::tombstone(
            self.tombstone.clone(),
            tombstone::TIME_TO_LIVE,
        )))
    }
}
