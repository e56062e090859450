//! The state that all clones of a session share.

use std::mem;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use bytes::Bytes;

use crate::config::SessionConfig;
use crate::cookie::change::CookieChange;
use crate::metrics::SaveKind;
use crate::record::stored::Stored;
use crate::record::{Lifetime, Record};
use crate::session::Session;
use crate::session::delta::{Delta, EntrySet, IdentityChange};
use crate::session::hook::Save;
use crate::session::identity::Identity;

/// A session of one request: its record, what the request did to it, where it lives, and what the
/// client sent.
pub(crate) struct State {
    pub(crate) config: SessionConfig,
    /// The data as the handler sees it: what was loaded, with the delta applied.
    pub(crate) record: Arc<Record>,
    pub(crate) delta: Delta,
    pub(crate) place: Place,
    pub(crate) origin: Origin,
    /// The response is on its way: changes are refused.
    pub(crate) is_committed: bool,
    /// Another request ended the session. Its changes can never be saved.
    pub(crate) is_lost: bool,
    /// A tenth of a rolling session's lifetime was over when it was loaded, so a read restarts it.
    pub(crate) refresh: bool,
    /// How the next record of this session is created, and which creation an earlier save left
    /// unfinished.
    pub(crate) creation: Creation,
    /// The change of the cookie by an explicit `save()`. The response carries it.
    pub(crate) unsent: CookieChange,
    /// The save that works on this session.
    pub(crate) saving: Option<Saving>,
    /// The session that this login replaces, if a save of it was in progress at that time. A save
    /// of the login waits for that one, because the login ends what it stores.
    pub(crate) earlier: Option<Session>,
    /// How `Session::save` reaches the storage.
    pub(crate) hook: Option<Arc<dyn Save>>,
}

/// Where a session lives.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    /// It is new and not stored yet.
    Unsaved,
    /// In its cookie.
    InCookie,
    /// In a store, under `identity`.
    InStore {
        identity: Identity,
        /// What the store held when the session was loaded or last saved.
        seen: Stored,
        /// The record had no key left when it was loaded or last saved. The session is new, and
        /// moves to a fresh identity when a key is set.
        emptied: bool,
    },
}

/// What the client sent.
#[derive(Clone, Debug, Default)]
pub(crate) struct Origin {
    /// The client sent a cookie of the storage's name.
    pub(crate) sent_cookie: bool,
    /// `new_session()` made this session. Saving it ends the sessions of the client's cookies.
    pub(crate) is_login: bool,
    /// Identities from the client's cookies. Ending this session ends theirs too.
    pub(crate) cookies: Vec<Identity>,
    /// Why the session of a client's cookie ended.
    pub(crate) ended_by: Option<EndedBy>,
}

/// Why a session ended, according to its tombstone.
///
/// The order is that of strength. If the sessions of several cookies of a client ended, the
/// greatest reason counts. A replacement is greater than a logout, because the client has a newer
/// cookie, which a response must not remove. A revocation is the least, because it refuses nothing.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum EndedBy {
    /// It was ended from elsewhere: "log out everywhere" or a limit.
    Revoked,
    /// A logout ended it.
    Logout,
    /// A login replaced it.
    Login,
    /// A renewal moved it to another identity.
    Renewal,
}

impl EndedBy {
    /// Returns whether a request that loaded afterwards may not start another session.
    pub(crate) fn refuses_changes(self) -> bool {
        match self {
            Self::Revoked => false,
            Self::Logout | Self::Login | Self::Renewal => true,
        }
    }

    /// Returns whether the client got, or is about to get, a newer cookie.
    pub(crate) fn is_replacement(self) -> bool {
        matches!(self, Self::Login | Self::Renewal)
    }
}

/// A save in progress.
#[derive(Default)]
pub(crate) struct Saving {
    /// The tasks that wait for it to finish.
    pub(super) waiting: Vec<Waker>,
    /// If it fails, its changes are dropped.
    pub(crate) is_unwanted: bool,
}

impl Saving {
    /// Notes a task that waits for it.
    pub(crate) fn wait(&mut self, waker: &Waker) {
        if !self.waiting.iter().any(|it| it.will_wake(waker)) {
            self.waiting.push(waker.clone());
        }
    }

    /// Wakes the tasks that wait for it. The session must not be locked.
    pub(crate) fn wake(self) {
        self.waiting.into_iter().for_each(Waker::wake);
    }
}

/// What a save needs to create a record, and what an earlier save left unfinished.
#[derive(Default)]
pub(crate) struct Creation {
    /// The identity that the application chose.
    pub(crate) chosen: Option<Identity>,
    /// A creation whose outcome is unknown. A second save continues with it.
    pub(crate) pending: Option<PendingCreate>,
    /// Records that are no longer needed because the session ended, and that still have to be ended
    /// in the store. They stay here if a save fails or is cancelled, so that a second save ends
    /// them.
    pub(crate) stale: Vec<PendingCreate>,
    /// A save tried to end the session, with an unknown outcome. A tombstone at its key may be this
    /// session's own.
    pub(crate) is_ending: bool,
    /// A save has ended the session where it lived. The origin says what had ended it before.
    pub(crate) is_ended_here: bool,
}

/// A record that a save tried to create. It has no `Debug`, which would show the values.
#[derive(Clone)]
pub(crate) struct PendingCreate {
    pub(crate) identity: Identity,
    /// The values that may have been stored. Only this session writes them, because only it knows
    /// the identity.
    pub(crate) written: Vec<Bytes>,
    /// What the store has acknowledged last.
    pub(crate) stored: Option<Stored>,
    /// A renewal creates it, so the tombstone at the old key may name it.
    pub(crate) is_move: bool,
}

impl State {
    pub(crate) fn new(
        config: &SessionConfig,
        record: Arc<Record>,
        place: Place,
        origin: Origin,
    ) -> Self {
        Self {
            config: config.clone(),
            record,
            delta: Delta::default(),
            place,
            origin,
            is_committed: false,
            is_lost: false,
            refresh: false,
            creation: Creation::default(),
            unsent: CookieChange::Keep,
            saving: None,
            earlier: None,
            hook: None,
        }
    }

    /// Returns whether the client had no session.
    pub(crate) fn is_new(&self) -> bool {
        match self.place {
            Place::Unsaved => true,
            Place::InCookie => false,
            Place::InStore { emptied, .. } => emptied,
        }
    }

    /// Returns whether a save has anything to do.
    pub(crate) fn is_due(&self) -> bool {
        self.delta.is_change() || self.is_refresh_due() || self.origin.is_login
    }

    /// Returns whether a save restarts the lifetime of a session that was only read.
    ///
    /// A read restarts it when the request is over, because only then it is known whether the read
    /// counts as activity.
    pub(crate) fn is_refresh_due(&self) -> bool {
        self.refresh && (self.is_committed || self.hook.is_none())
    }

    /// Returns whether a save has anything to do, to wait for or to take over.
    pub(crate) fn needs_save(&self) -> bool {
        self.is_due() || self.saving.is_some() || self.earlier.is_some()
    }

    /// Returns whether a save of this session, or of the one that it replaces, is in progress.
    pub(crate) fn is_saving(&self) -> bool {
        let earlier = self.earlier.as_ref();
        self.saving.is_some() || earlier.is_some_and(|earlier| earlier.state().is_saving())
    }

    /// Returns whether a save is in progress, and lets it wake this task when it is over.
    pub(crate) fn wait_for_save(&mut self, cx: &mut Context<'_>) -> bool {
        match (&mut self.saving, &self.earlier) {
            (Some(saving), _) => {
                saving.wait(cx.waker());
                true
            }
            (None, Some(earlier)) => earlier.state().wait_for_save(cx),
            (None, None) => false,
        }
    }

    /// Takes over what a login needs of the session that it replaces: the identities to end, and
    /// the cookie of an explicit save, which is still sent if the login fails or is dropped.
    pub(crate) fn take_over(&mut self, earlier: &Session) {
        let mut earlier = earlier.state();
        if let Some(before) = earlier.earlier.take() {
            earlier.take_over(&before);
        }
        for identity in earlier.identities() {
            if !self.origin.cookies.contains(identity) {
                self.origin.cookies.push(identity.clone());
            }
        }
        let unsent = mem::replace(&mut earlier.unsent, CookieChange::Keep);
        // The handler has logged that session out since, and no client has its cookie.
        let is_dead = earlier.delta.identity == IdentityChange::End
            && matches!(unsent, CookieChange::Set { .. });
        if self.unsent == CookieChange::Keep && !is_dead {
            // If nothing is set in the login, this cookie has to be removed.
            self.origin.sent_cookie |= unsent != CookieChange::Keep;
            self.unsent = unsent;
        }
    }

    /// Returns the identities under which the session and those of the client's other cookies are
    /// stored, and those under which a save that failed may have stored the session.
    fn identities(&self) -> impl Iterator<Item = &Identity> {
        let stored = match &self.place {
            Place::InStore { identity, .. } => Some(identity),
            Place::Unsaved | Place::InCookie => None,
        };
        // If the application chose an identity, another session may have it by now.
        let is_random = |identity: &&Identity| {
            !self.config.has_key_factory() && self.creation.chosen.as_ref() != Some(*identity)
        };
        let creations = self.creation.pending.iter().chain(&self.creation.stale);
        let tried = creations.map(|it| &it.identity).filter(is_random);
        stored.into_iter().chain(&self.origin.cookies).chain(tried)
    }

    /// Returns the kind under which the next save is counted; `None` if there is nothing to save.
    pub(crate) fn save_kind(&self) -> Option<SaveKind> {
        let is_empty = self.record.is_empty();
        let ends = self.delta.identity == IdentityChange::End
            || is_empty && (self.delta.cleared || self.origin.is_login);
        self.is_due().then_some(if ends {
            SaveKind::End
        } else {
            SaveKind::Change
        })
    }

    /// Returns the lifetime of this session: its own, else the storage's.
    pub(crate) fn max_age(&self) -> Option<Duration> {
        max_age(&self.config, &self.record)
    }

    /// Cancels the restart of the lifetime for a session that was only read.
    pub(crate) fn forget_refresh(&mut self) {
        self.refresh = false;
    }

    pub(crate) fn set(&mut self, key: &str, text: String) {
        let now = self.config.unix_now();
        let record = Arc::make_mut(&mut self.record);
        let id = record.set(key, text);
        record.set_created(now);
        self.delta.set.insert(id);
    }

    /// Removes `key`; false if it is not there.
    pub(crate) fn remove(&mut self, key: &str) -> bool {
        if self.record.get(key).is_none() {
            return false;
        }
        let now = self.config.unix_now();
        let record = Arc::make_mut(&mut self.record);
        if let Some(id) = record.remove(key) {
            self.delta.set.remove(id);
            self.delta.removed.insert(id);
            record.set_created(now);
        }
        true
    }

    pub(crate) fn clear(&mut self) {
        let now = self.config.unix_now();
        let record = Arc::make_mut(&mut self.record);
        record.clear();
        record.set_created(now);
        self.delta.set = EntrySet::default();
        self.delta.removed = EntrySet::default();
        self.delta.cleared = true;
    }

    /// Empties the session and marks it to be ended. As in aiohttp_session, `created` stays until
    /// something is set.
    pub(crate) fn invalidate(&mut self) {
        let record = Arc::make_mut(&mut self.record);
        record.clear();
        record.lifetime = Lifetime::Default;
        record.started = None;
        record.handle = None;
        record.listed = None;
        self.refresh = false;
        self.delta = Delta {
            identity: IdentityChange::End,
            ..Delta::default()
        };
    }

    /// Drops all changes except an end, which is carried out whatever the response is.
    ///
    /// If a save is in progress and fails, its changes are dropped too.
    pub(crate) fn drop_changes(&mut self) {
        if let Some(saving) = &mut self.saving {
            saving.is_unwanted = true;
        }
        let ends = self.delta.identity == IdentityChange::End;
        self.record = Arc::new(Record::new(self.config.unix_now()));
        self.refresh = false;
        self.origin.is_login &= ends;
        self.delta = Delta::default();
        if ends {
            self.delta.identity = IdentityChange::End;
        }
    }
}

/// Returns the lifetime of a session: the record's own, else the storage's. `None` is no limit.
pub(crate) fn max_age(config: &SessionConfig, record: &Record) -> Option<Duration> {
    match record.lifetime {
        Lifetime::Default => config.cookie().max_age(),
        Lifetime::Unlimited => None,
        Lifetime::For(max_age) => Some(max_age),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stronger_of_two_reasons_refuses_and_keeps_at_least_as_much() {
        let reasons = [
            EndedBy::Revoked,
            EndedBy::Logout,
            EndedBy::Login,
            EndedBy::Renewal,
        ];
        assert!(reasons.is_sorted());
        assert!(reasons.is_sorted_by_key(|reason| reason.refuses_changes()));
        assert!(reasons.is_sorted_by_key(|reason| reason.is_replacement()));
    }
}
