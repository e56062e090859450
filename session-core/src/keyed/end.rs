//! Ending: a tombstone takes the record's place, wherever a renewal moved it.

use std::sync::Arc;

use bytes::Bytes;

use crate::error::{ErrorChain, Result};
use crate::keyed::backend::{Backend, Found, OnlyIf, Write};
use crate::keyed::load::Opened;
use crate::keyed::swap::{Change, Next, Swapped};
use crate::keyed::tombstone::{self, Tombstone};
use crate::keyed::{Address, KeyedStorage, Stored};
use crate::metrics::Count;
use crate::session::identity::Identity;
use crate::session::state::EndedBy;

/// How many renewals an end follows. Each of them left its tombstone less than a minute ago, so no
/// client makes more. Tombstones in a circle, which only another program can write, end here.
pub(super) const MAX_HOPS: usize = 4096;

/// What ends a session.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Ender {
    /// A logout: `invalidate()`.
    Logout,
    /// `clear()` with nothing set after it. It ends the session only where it was loaded.
    Clear,
    /// A login. It leaves its tombstone also at a key without a session, because requests with the
    /// same cookie may still be on their way.
    Login,
}

/// What the key of a session to end contained.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Was {
    /// A session's record. It is ended now.
    Alive,
    /// A tombstone.
    Ended(EndedBy),
    /// Nothing, Python's `{}`, or another program's data.
    Nothing,
}

impl<B: Backend> KeyedStorage<B> {
    /// Ends the session of `identity` and follows renewals, also if other requests write meanwhile.
    /// `seen` is what this request loaded from its key.
    ///
    /// `is_repeated` means that an earlier save tried this end, with an unknown outcome. A failed
    /// call is retried once. Otherwise one lost response could end the old session while the client
    /// never gets the new one. A repeated end that finds its own tombstone is done.
    ///
    /// `has_ended_one` is set as soon as a session has ended here, also if this future is dropped
    /// while it replaces the tombstones of renewals.
    pub(super) async fn end(
        &self,
        identity: &Identity,
        seen: Option<&Stored>,
        ender: Ender,
        is_repeated: bool,
        has_ended_one: &mut bool,
    ) -> Result<Was> {
        let tombstone = match ender {
            Ender::Logout | Ender::Clear => Tombstone::Ended,
            Ender::Login => Tombstone::Replaced,
        };
        let mut address = self.address(identity);
        let mut change = End {
            storage: self,
            tombstone: self.config.encode(tombstone.to_text())?.into(),
            ender,
            is_loaded: seen.is_some() && ender == Ender::Logout,
            was: Was::Nothing,
            own: is_repeated.then_some(Was::Alive),
            tried: None,
        };
        let mut seen = seen.cloned();
        let mut has_failed = false;
        let mut followed: Vec<(Address, Stored)> = Vec::new();
        for _ in 0..MAX_HOPS {
            match self.swap(&address, seen.take(), &mut change).await {
                Ok(Swapped::Written(_)) => {
                    let (was, tombstone) = (change.was, change.tombstone);
                    *has_ended_one |= was == Was::Alive;
                    self.replace_followed(followed, &tombstone, ender).await;
                    return Ok(was);
                }
                Ok(Swapped::Stopped(Stop::At(was))) => return Ok(was),
                Ok(Swapped::Stopped(Stop::Follow { suffix, tombstone })) => {
                    let next = self.address_of(suffix);
                    followed.push((std::mem::replace(&mut address, next), tombstone));
                    change.is_loaded = false;
                    change.own = None;
                    change.tried = None;
                }
                Err(error) if has_failed => return Err(error),
                Err(_) => {
                    has_failed = true;
                    self.config.metrics().count(Count::Retry);
                    change.own = change.own.or(change.tried);
                }
            }
        }
        Err(Self::unavailable("the session was renewed again and again"))
    }

    /// Replaces the tombstones that a login has followed with the login's own.
    ///
    /// They are older than the login and would expire first. A late request with their cookie would
    /// then find nothing and replace the login's cookie. A conflict means that another request
    /// ended the session there, which is as good. A failure costs at most this protection.
    async fn replace_followed(
        &self,
        followed: Vec<(Address, Stored)>,
        tombstone: &Bytes,
        ender: Ender,
    ) {
        if ender != Ender::Login {
            return;
        }
        for (address, moved) in followed {
            let write = Write::tombstone(tombstone.clone(), tombstone::TIME_TO_LIVE);
            let only_if = OnlyIf::Unchanged(&moved);
            if let Err(error) = self.backend.write(&address.key, write, only_if).await {
                tracing::warn!(
                    target: "session::save",
                    cookie = self.config.cookie().name(),
                    op = "login",
                    kind = ?error.kind(),
                    error = %ErrorChain(&error),
                    "the tombstone of a renewal was not replaced"
                );
            }
        }
    }
}

struct End<'a, B> {
    storage: &'a KeyedStorage<B>,
    tombstone: Bytes,
    ender: Ender,
    /// A logout that loaded a session here also ends an unreadable record found there now.
    is_loaded: bool,
    was: Was,
    /// What an earlier try found and may have ended.
    own: Option<Was>,
    /// What this try found before it wrote.
    tried: Option<Was>,
}

enum Stop {
    /// There is nothing to end.
    At(Was),
    /// A renewal moved the session to the key with this suffix.
    Follow { suffix: Arc<str>, tombstone: Stored },
}

impl<B: Backend> Change for End<'_, B> {
    type Stop = Stop;

    async fn next(&mut self, found: &Found) -> Result<Next<Stop>> {
        let was = match self.storage.open(found, self.storage.config.unix_now()) {
            Opened::Record(_) => Was::Alive,
            Opened::Foreign(_) if self.is_loaded && matches!(found, Found::Record(_)) => Was::Alive,
            Opened::Foreign(_) => return Ok(Next::Stop(Stop::At(Was::Nothing))),
            Opened::Missing | Opened::EndedByPython => Was::Nothing,
            Opened::Tombstone(Tombstone::Moved(suffix)) if self.ender != Ender::Clear => {
                match (Identity::parse(&suffix), found) {
                    (Some(suffix), Found::Record(tombstone)) => {
                        return Ok(Next::Stop(Stop::Follow {
                            suffix: suffix.text(),
                            tombstone: tombstone.clone(),
                        }));
                    }
                    _ => Was::Nothing,
                }
            }
            Opened::Tombstone(tombstone) => Was::Ended(tombstone.ended_by()),
        };
        if let (Some(own), Was::Ended(_)) = (self.own, was)
            && self.is_own_tombstone(found)
        {
            return Ok(Next::Stop(Stop::At(own)));
        }
        if was != Was::Alive && self.ender != Ender::Login {
            return Ok(Next::Stop(Stop::At(was)));
        }
        self.was = was;
        self.tried = Some(was);
        Ok(Next::Write(Write::tombstone(
            self.tombstone.clone(),
            tombstone::TIME_TO_LIVE,
        )))
    }
}

impl<B: Backend> End<'_, B> {
    /// Returns whether `found` is a tombstone of the kind that this end leaves.
    fn is_own_tombstone(&self, found: &Found) -> bool {
        let kind = match self.ender {
            Ender::Logout | Ender::Clear => Tombstone::Ended,
            Ender::Login => Tombstone::Replaced,
        };
        let opened = self.storage.open(found, self.storage.config.unix_now());
        matches!(opened, Opened::Tombstone(tombstone) if tombstone == kind)
    }
}
