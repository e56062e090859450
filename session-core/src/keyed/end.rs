//! Ending: a tombstone takes the record's place, wherever a renewal moved it.

use std::sync::Arc;

use bytes::Bytes;

use crate::error::{ErrorChain, Result};
use crate::keyed::backend::{Backend, Found, OnlyIf, Write};
use crate::keyed::load::Opened;
use crate::keyed::swap::{Change, Next, Swapped};
use crate::keyed::tombstone::{self, Tombstone};
use crate::keyed::{Address, KeyedStorage, Stored};
use crate::metrics::Counter;
use crate::session::identity::Identity;
use crate::session::state::EndedBy;

/// The maximum number of renewals that an end follows. Their tombstones live for one minute, so no
/// real client reaches it. It also stops cycles, which only another program can write.
pub(super) const MAX_HOPS: usize = 4096;

/// What ends a session.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum EndCause {
    /// A logout: `invalidate()`.
    Logout,
    /// `clear()` with nothing set after it. It ends the session only where it was loaded.
    Clear,
    /// A login. It leaves its tombstone also at a key without a session, because requests with the
    /// same cookie may still be on their way.
    Login,
}

impl EndCause {
    /// Returns the tombstone that takes the record's place.
    fn tombstone(self) -> Tombstone {
        match self {
            Self::Logout | Self::Clear => Tombstone::Ended,
            Self::Login => Tombstone::Replaced,
        }
    }
}

/// The state of a session's key before it was ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum PriorState {
    /// A session's record. It is ended now.
    Live,
    /// A tombstone.
    Ended(EndedBy),
    /// Nothing, Python's `{}`, or another program's data.
    Absent,
}

/// How far ends have come.
#[derive(Default)]
pub(super) struct EndProgress {
    /// A live session has ended.
    pub(super) has_ended_one: bool,
    /// The key that an end is writing. After a failure, or if the time was over, its tombstone may
    /// be there or not.
    pub(super) in_doubt: Option<Address>,
}

impl<B: Backend> KeyedStorage<B> {
    /// Ends the session of `identity`. Follows renewals, and retries when other requests write at
    /// the same time. `seen` is what this request loaded from the key.
    ///
    /// A failed call is retried once, because its response may have been lost after the session
    /// ended. `is_repeated` means that an earlier save already tried this end. An end that finds
    /// its own tombstone in such a case is done.
    ///
    /// `progress` is current also if this future fails or is dropped.
    pub(super) async fn end(
        &self,
        identity: &Identity,
        seen: Option<&Stored>,
        cause: EndCause,
        is_repeated: bool,
        progress: &mut EndProgress,
    ) -> Result<PriorState> {
        let tombstone = Bytes::from(self.config.encode(cause.tombstone().to_text())?);
        let mut address = self.address(identity);
        let mut change = End {
            storage: self,
            tombstone: tombstone.clone(),
            cause,
            is_loaded: seen.is_some() && cause == EndCause::Logout,
            prior: PriorState::Absent,
            own: is_repeated.then_some(PriorState::Live),
            tried: None,
        };
        let mut seen = seen.cloned();
        let mut has_failed = false;
        let mut followed: Vec<(Address, Stored)> = Vec::new();
        for _ in 0..MAX_HOPS {
            progress.in_doubt = Some(address.clone());
            let swapped = self.swap(&address, seen.take(), &mut change).await;
            if swapped.is_ok() {
                progress.in_doubt = None;
            }
            let prior = match swapped {
                Ok(Swapped::Written(_)) => change.prior,
                Ok(Swapped::Stopped(Stop::Done(prior))) => prior,
                Ok(Swapped::Stopped(Stop::Nothing(prior))) => return Ok(prior),
                Ok(Swapped::Stopped(Stop::Follow { suffix, tombstone })) => {
                    let next = self.address_of(suffix);
                    followed.push((std::mem::replace(&mut address, next), tombstone));
                    change.is_loaded = false;
                    change.own = None;
                    change.tried = None;
                    continue;
                }
                Err(error) if has_failed => return Err(error),
                Err(_) => {
                    has_failed = true;
                    self.config.metrics().count(Counter::Retry);
                    change.own = change.own.or(change.tried);
                    continue;
                }
            };
            progress.has_ended_one |= prior == PriorState::Live;
            self.replace_followed(followed, &tombstone, cause).await;
            return Ok(prior);
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
        cause: EndCause,
    ) {
        if cause != EndCause::Login {
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
    cause: EndCause,
    /// A logout that loaded a session here also ends an unreadable record found there now.
    is_loaded: bool,
    prior: PriorState,
    /// What an earlier try found and may have ended.
    own: Option<PriorState>,
    /// What this try found before it wrote.
    tried: Option<PriorState>,
}

enum Stop {
    /// There is nothing to end.
    Nothing(PriorState),
    /// An earlier try has ended what it found, which was this.
    Done(PriorState),
    /// A renewal moved the session to the key with this suffix.
    Follow { suffix: Arc<str>, tombstone: Stored },
}

impl<B: Backend> Change for End<'_, B> {
    type Stop = Stop;

    async fn next(&mut self, found: &Found) -> Result<Next<Stop>> {
        let prior = match self.storage.open(found, self.storage.config.unix_now()) {
            Opened::Record(_) => PriorState::Live,
            Opened::Foreign(_) if self.is_loaded && matches!(found, Found::Value(_)) => {
                PriorState::Live
            }
            Opened::Foreign(_) => return Ok(Next::Stop(Stop::Nothing(PriorState::Absent))),
            Opened::Missing | Opened::EndedByPython => PriorState::Absent,
            Opened::Tombstone(Tombstone::Moved(suffix)) if self.cause != EndCause::Clear => {
                match found {
                    Found::Value(tombstone) => {
                        return Ok(Next::Stop(Stop::Follow {
                            suffix,
                            tombstone: tombstone.clone(),
                        }));
                    }
                    Found::Missing | Found::Foreign => PriorState::Absent,
                }
            }
            Opened::Tombstone(tombstone) => match self.own {
                Some(own) if tombstone == self.cause.tombstone() => {
                    return Ok(Next::Stop(Stop::Done(own)));
                }
                _ => PriorState::Ended(tombstone.ended_by()),
            },
        };
        if prior != PriorState::Live && self.cause != EndCause::Login {
            return Ok(Next::Stop(Stop::Nothing(prior)));
        }
        self.prior = prior;
        self.tried = Some(prior);
        Ok(Next::Write(Write::tombstone(
            self.tombstone.clone(),
            tombstone::TIME_TO_LIVE,
        )))
    }
}
