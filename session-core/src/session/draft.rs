//! A save in progress. It owns the changes that it saves.

use std::fmt;
use std::mem;
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;

use crate::config::SessionConfig;
use crate::cookie::change::CookieChange;
use crate::error::{Error, ErrorKind, Result};
use crate::record::Record;
use crate::record::stored::Stored;
use crate::session::Session;
use crate::session::delta::{Delta, IdentityChange};
use crate::session::lifetime;
use crate::session::state::{Creation, EndedBy, Origin, PendingCreate, Place, Saving, State};

/// The changes that a save took out of its session. Meanwhile the session collects new ones.
///
/// Dropping a draft that was not committed puts the changes back underneath the new ones. So a save
/// that fails or is cancelled loses nothing.
pub(crate) struct Draft {
    session: Session,
    pub(crate) config: SessionConfig,
    /// The record to store.
    pub(crate) record: Arc<Record>,
    /// The record that the delta's entries belong to.
    source: Arc<Record>,
    pub(crate) delta: Delta,
    pub(crate) place: Place,
    pub(crate) origin: Origin,
    /// The read of a rolling session restarts its lifetime.
    pub(crate) refresh: bool,
    /// The handler still runs and saves explicitly, so its response has to carry the cookie.
    is_explicit: bool,
    progress: Progress,
}

/// How far a save is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Progress {
    /// Its changes are not stored yet.
    Begun,
    /// Its changes are stored, and the session has its new state. The save still counts as in
    /// progress, because what it means for the cookie is not noted yet.
    Committed,
    Finished,
}

impl Session {
    /// Begins a save in the storage that has this configuration; `None` if there is nothing to
    /// save. It is [`Poll::Pending`] while another save of this session is in progress.
    pub(crate) fn begin_save(&self, config: &SessionConfig) -> Result<Poll<Option<Draft>>> {
        let mut state = self.state();
        if !config.is_same(&state.config) {
            return Err(Error::with_message(
                ErrorKind::Settings,
                "the session belongs to another storage: save it with the one that loaded it",
            ));
        }
        if state.is_saving() {
            return Ok(Poll::Pending);
        }
        Ok(Poll::Ready(state.begin_save(self)))
    }

    /// Begins a save after the one in progress; `None` if nothing is left to save.
    pub(crate) async fn begin_next_save(&self) -> Option<Draft> {
        std::future::poll_fn(|cx| {
            let mut state = self.state();
            if state.wait_for_save(cx) {
                return Poll::Pending;
            }
            Poll::Ready(state.begin_save(self))
        })
        .await
    }
}

impl State {
    /// Begins a save; `None` if there is nothing to save.
    fn begin_save(&mut self, session: &Session) -> Option<Draft> {
        if let Some(earlier) = self.earlier.take() {
            self.take_over(&earlier);
        }
        if !self.is_due() {
            return None;
        }
        let refresh = self.is_refresh_due() || (self.refresh && self.delta.is_written());
        self.refresh &= !refresh;
        self.saving = Some(Saving::default());
        self.bring_dates_up_to_date(refresh);
        Some(Draft {
            session: session.clone(),
            config: self.config.clone(),
            record: self.record.clone(),
            source: self.record.clone(),
            delta: mem::take(&mut self.delta),
            place: self.place.clone(),
            origin: self.origin.clone(),
            refresh,
            is_explicit: !self.is_committed,
            progress: Progress::Begun,
        })
    }

    fn bring_dates_up_to_date(&mut self, refresh: bool) {
        let now = self.config.unix_now();
        if refresh {
            Arc::make_mut(&mut self.record).set_created(now);
        }
        if self.config.cookie().absolute_max_age().is_some() && self.record.started.is_none() {
            // A session that is set after its end starts again.
            let is_new =
                matches!(self.place, Place::Unsaved) || self.delta.identity == IdentityChange::End;
            let started = if is_new {
                now
            } else {
                lifetime::started(&self.record)
            };
            Arc::make_mut(&mut self.record).started = Some(started);
        }
    }
}

impl Draft {
    /// Returns the session that this save works on.
    pub(crate) fn session(&self) -> &Session {
        &self.session
    }

    /// Returns whether this save sets the value of `key`.
    pub(crate) fn sets(&self, key: &str) -> bool {
        self.delta.sets(&self.source, key)
    }

    /// Applies the changes to `found`, which another request has stored meanwhile. The result is
    /// the record to store.
    pub(crate) fn merge(&mut self, found: Arc<Record>) {
        let mut shared = found;
        let merged = Arc::make_mut(&mut shared);
        self.delta.apply(&self.source, merged);
        let was_emptied = matches!(self.place, Place::InStore { emptied: true, .. });
        if self.delta.lifetime || was_emptied {
            merged.lifetime = self.source.lifetime;
        }
        if was_emptied || merged.started.is_none() {
            merged.started = self.source.started;
        }
        if self.delta.is_written() || self.refresh {
            merged.set_created(self.config.unix_now());
        }
        self.record = shared;
    }

    /// Returns whether an earlier save found that another request ended the session.
    pub(crate) fn is_lost(&self) -> bool {
        self.session.state().is_lost
    }

    /// Moves a pending creation that the end made useless to `stale`: always that of a renewal, and
    /// any other if the session does not restart.
    pub(crate) fn set_stale_creation_aside(&self, restarts: bool) {
        let creation = &mut self.session.state().creation;
        let pending = &mut creation.pending;
        let stale = pending.take_if(|pending| pending.is_move || !restarts);
        creation.stale.extend(stale);
    }

    /// Returns the useless creations whose records are not ended yet.
    pub(crate) fn stale_creations(&self) -> Vec<PendingCreate> {
        self.session.state().creation.stale.clone()
    }

    /// Forgets a useless creation whose record has ended.
    pub(crate) fn forget_stale(&self, ended: &PendingCreate) {
        let stale = &mut self.session.state().creation.stale;
        stale.retain(|it| it.identity != ended.identity);
    }

    /// Notes that the session is about to be ended where it lives. Returns whether an earlier save
    /// began that already.
    pub(crate) fn begin_end(&self) -> bool {
        mem::replace(&mut self.session.state().creation.is_ending, true)
    }

    /// Notes that the session was ended at its own key. The client's other cookies are still to be
    /// ended. `ended_by` says what had ended it before; `None` if it was live.
    pub(crate) fn note_ended_here(&mut self, ended_by: Option<EndedBy>) {
        self.place = Place::Unsaved;
        self.origin.ended_by = ended_by;
        let mut state = self.session.state();
        state.place = Place::Unsaved;
        state.origin.sent_cookie = true;
        state.origin.ended_by = ended_by;
        state.creation.is_ended_here = true;
    }

    /// Returns whether this save or an earlier one ended the session where it lived.
    pub(crate) fn was_ended_here(&self) -> bool {
        self.session.state().creation.is_ended_here
    }

    /// Notes that the end of the session was carried out, so that a save which fails afterwards
    /// does not repeat it. What was set after the end is still to be saved.
    pub(crate) fn note_ended(&mut self) {
        self.delta.identity = IdentityChange::Keep;
        self.place = Place::Unsaved;
        self.origin = Origin::default();
        let mut state = self.session.state();
        state.place = Place::Unsaved;
        state.origin = Origin::default();
        state.creation.is_ending = false;
        state.creation.is_ended_here = false;
        state.is_lost = false;
    }

    /// Notes that the response must not set a cookie, because a newer one is on its way to the
    /// client.
    pub(crate) fn forget_cookie(&self) {
        self.session.state().unsent = CookieChange::Keep;
    }

    /// Notes that the response removes the client's cookie although the save fails.
    pub(crate) fn note_removal(&self) {
        self.session.state().unsent = CookieChange::Remove;
    }

    /// Ends a committed save, and notes what it means for the cookie. The response carries the
    /// cookie of an explicit save; a save of the adapter returns it.
    ///
    /// Both happen under one lock. A response on another thread that sees no save in progress also
    /// sees the cookie.
    pub(crate) fn finish(&mut self, change: &CookieChange) {
        if self.progress != Progress::Committed {
            return;
        }
        self.progress = Progress::Finished;
        let saving = {
            let mut state = self.session.state();
            if self.is_explicit && *change != CookieChange::Keep {
                state.unsent = change.clone();
            }
            state.end_save()
        };
        saving.wake();
    }

    /// Notes that the record is stored at `place`. The save is in progress until it is
    /// [finished](Self::finish) or dropped.
    pub(crate) fn commit(&mut self, place: Place) {
        self.progress = Progress::Committed;
        if let Place::InStore { emptied: true, .. } = place {
            // Values that are set next belong to a new session, with its own dates and lifetime.
            self.record = Arc::new(Record::new(self.config.unix_now()));
        }
        let mut guard = self.session.state();
        let state = &mut *guard;
        if !state.delta.is_change() && Arc::ptr_eq(&state.record, &self.source) {
            state.record = self.record.clone();
        } else {
            state.rebase((*self.record).clone());
        }
        state.place = place;
        state.origin = Origin {
            sent_cookie: true,
            // A login has ended the sessions of these cookies.
            cookies: if self.origin.is_login {
                Vec::new()
            } else {
                mem::take(&mut self.origin.cookies)
            },
            ..Origin::default()
        };
        state.creation = Creation::default();
        state.is_lost = false;
    }

    /// Notes that the record and the cookie are removed. The session becomes a new one, with only
    /// the values that were set during the save. The save is in progress until it is
    /// [finished](Self::finish) or dropped.
    pub(crate) fn commit_removal(&mut self) {
        self.progress = Progress::Committed;
        let mut guard = self.session.state();
        let state = &mut *guard;
        state.rebase(Record::new(self.config.unix_now()));
        state.place = Place::Unsaved;
        state.origin = Origin::default();
        state.creation.pending = None;
        state.creation.is_ending = false;
        state.creation.is_ended_here = false;
        state.is_lost = false;
    }

    /// Notes that the record that this save creates may be stored with this value.
    pub(crate) fn note_written(&self, value: Bytes) {
        if let Some(pending) = &mut self.session.state().creation.pending {
            pending.written.push(value);
        }
    }

    /// Notes what the store holds of the record that this save creates.
    pub(crate) fn note_stored(&self, stored: Stored) {
        if let Some(pending) = &mut self.session.state().creation.pending {
            pending.stored = Some(stored);
        }
    }

    /// Notes that another request ended the session. No later save can succeed.
    pub(crate) fn note_lost(&self) {
        let mut state = self.session.state();
        state.is_lost = true;
        // The client may have, or be about to get, another session's cookie.
        state.unsent = CookieChange::Keep;
    }
}

impl State {
    fn end_save(&mut self) -> Saving {
        self.saving.take().unwrap_or_default()
    }

    /// Applies the changes made during a save to `base`, the record after the save.
    fn rebase(&mut self, base: Record) {
        if self.delta.identity == IdentityChange::End {
            return; // it was emptied and ended during the save, so nothing of `base` is wanted
        }
        let mut record = base;
        (self.delta.set, self.delta.removed) = self.delta.apply(&self.record, &mut record);
        if self.delta.lifetime {
            record.lifetime = self.record.lifetime;
        }
        if self.delta.is_written() {
            record.set_created(self.config.unix_now());
        }
        self.record = Arc::new(record);
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if self.progress == Progress::Finished {
            return;
        }
        let saving = {
            let mut state = self.session.state();
            let saving = state.end_save();
            if self.progress == Progress::Begun && !saving.is_unwanted {
                state.delta.put_below(&self.delta);
                state.refresh |= self.refresh;
            }
            saving
        };
        saving.wake();
    }
}

impl fmt::Debug for Draft {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Draft").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Wake, Waker};

    use super::*;

    struct Task;

    impl Wake for Task {
        fn wake(self: Arc<Self>) {}
    }

    /// A wait inside a `select!` or `join!` is polled whenever one of the others makes progress.
    #[test]
    fn a_task_that_waits_for_a_save_is_noted_once() {
        let config = SessionConfig::default();
        let session = config.new_session(false);
        session.insert("k", 1).unwrap();
        let Poll::Ready(Some(draft)) = session.begin_save(&config).unwrap() else {
            panic!("there is a change")
        };
        let mut waiting = pin!(session.begin_next_save());
        // Clones of `Waker::noop()` do not all count as the same task.
        let waker = Waker::from(Arc::new(Task));
        let mut cx = Context::from_waker(&waker);
        for _ in 0..3 {
            assert!(waiting.as_mut().poll(&mut cx).is_pending());
        }
        assert_eq!(session.state().saving.as_ref().unwrap().waiting.len(), 1);
        drop(draft);
        assert!(waiting.as_mut().poll(&mut cx).is_ready());
    }
}
