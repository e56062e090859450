//! Saving into a store: the hard parts, once for every backend.
//!
//! Three ways in which a record changes, each by compare-and-swap:
//!
//! - *update*: the same identity, the delta merged onto what others saved meanwhile;
//! - *renew*: create the new record, then end the old one;
//! - *start*: create a record, if there is anything to keep, and end what the client had before.
//!
//! A session that ends is deleted, by a compare that brings to light what others saved meanwhile.
//! One that moves leaves a mark in its place, an empty JSON object that soon expires: to Python,
//! too, that is an ended session. Whoever comes later finds the mark, or nothing, and knows.

use std::time::Duration;

use bytes::Bytes;

use super::KeyedStorage;
use crate::backend::{Backend, Create, Replace, Versioned};
use crate::clock::unix_seconds;
use crate::session::State;
use crate::{CookieChange, Error, ErrorKind, Identity, Result, Session};

/// How often a conflicting save is tried. In each round somebody wins, so that 64 simultaneous
/// writers of one session all get through.
const ROUNDS: usize = 128;

/// How often another identity is drawn when one is taken.
const DRAWS: usize = 8;

/// For how long the mark of a moved session stays: longer than a request that was cut off and is
/// tried again may take.
const MARK_LIFE: Duration = Duration::from_secs(60);

/// What a session's flags ask for.
enum Task {
    Nothing,
    Start,
    Update(Identity),
    Renew(Identity),
}

impl Task {
    fn of(state: &State) -> Self {
        if !state.is_due() {
            return Self::Nothing;
        }
        let emptied = state.record.is_empty();
        match &state.identity {
            Some(identity) if state.invalidated == 0 && !(emptied && state.cleared > 0) => {
                let moves = state.renewed > 0 && !emptied;
                if moves {
                    Self::Renew(identity.clone())
                } else {
                    Self::Update(identity.clone())
                }
            }
            _ => Self::Start,
        }
    }
}

impl<B: Backend> KeyedStorage<B> {
    pub(super) async fn save_changes(&self, session: &Session) -> Result<CookieChange> {
        let (task, edits) = {
            let state = session.state();
            if state.ended {
                return Err(ErrorKind::Ended.into());
            }
            (Task::of(&state), state.edits)
        };
        // The rare ones are boxed: their futures are many times as large as that of an update.
        match task {
            Task::Nothing => Ok(CookieChange::Keep),
            Task::Start => Box::pin(self.start(session, edits)).await,
            Task::Update(identity) => self.update(session, identity).await,
            Task::Renew(identity) => Box::pin(self.renew(session, identity, edits)).await,
        }
    }

    /// Starts anew: what the session holds, if anything, begins under a fresh identity, and what
    /// the client had before ends.
    async fn start(&self, session: &Session, edits: u64) -> Result<CookieChange> {
        let (before, replaced, empty, removes) = {
            let state = session.state();
            let replaced = state.replaces.iter().flatten();
            let replaced: Vec<_> = replaced
                .filter_map(|cookie| Identity::parse(cookie))
                .collect();
            let removes = state.identity.is_some() || state.drops_client_cookie();
            (
                state.identity.clone(),
                replaced,
                state.record.is_empty(),
                removes,
            )
        };
        let new = if empty {
            self.forget_attempt(session).await;
            None
        } else {
            Some(self.create(session).await?)
        };
        // Not before: a failure up to here leaves the client with the session that it had.
        for old in &replaced {
            self.delete(old).await?;
        }
        if let Some(old) = before
            && !self.end(session, &old).await?
        {
            self.forget_attempt(session).await;
            return lost(session, &old);
        }
        let mut state = session.state();
        match new {
            Some(new) => {
                state.settle(edits);
                Ok(state.moved(new))
            }
            None if removes => {
                state.reset(edits);
                Ok(CookieChange::Remove)
            }
            None => Ok(CookieChange::Keep),
        }
    }

    /// Saves by compare-and-swap under the identity that the session has.
    async fn update(&self, session: &Session, identity: Identity) -> Result<CookieChange> {
        let key = self.key(&identity);
        for round in 0..ROUNDS {
            let (write, was) = {
                let mut state = session.state();
                if state.invalidated > 0 {
                    break; // meanwhile
                }
                (Write::of(&mut state)?, state.base())
            };
            let Write {
                value,
                ttl,
                edits,
                empty,
            } = write;
            let replaced = if empty {
                self.backend.delete(&key, Some(&was)).await?
            } else {
                self.backend.replace(&key, value.clone(), ttl, &was).await?
            };
            match replaced {
                Replace::Done if empty => {
                    session.state().reset(edits);
                    return Ok(CookieChange::Remove);
                }
                Replace::Done => {
                    let mut state = session.state();
                    state.base = Some(Versioned { value, version: 0 });
                    state.settle(edits);
                    return Ok(state.set_cookie(&identity));
                }
                // Somebody else wrote or ended it: a read has nothing to add to that.
                _ if session.state().only_rolls() => return Ok(CookieChange::Keep),
                Replace::Conflict(now) if session.state().merge(&now) => {
                    let session = identity.fingerprint();
                    tracing::debug!(session, round, "session save conflicts");
                }
                Replace::Conflict(_) | Replace::Gone => return lost(session, &identity),
            }
        }
        Box::pin(self.restart(session)).await
    }

    /// Moves the session to a fresh identity: the new record is stored before the old one ends,
    /// and a change that another request saved in between comes along.
    async fn renew(&self, session: &Session, old: Identity, edits: u64) -> Result<CookieChange> {
        let begun = session.state().attempt.clone();
        let new = self.create(session).await?;
        let resumed = begun.is_some_and(|(identity, _)| identity == new);
        let mark = mark(&new);
        let stored = Bytes::from(self.records.encode(mark.clone())?);
        // A codec that writes the mark another way makes it like any other: then only a session
        // that tried before takes it for its own.
        let is_own = self
            .records
            .decode(stored.clone())
            .is_some_and(|text| text == mark);
        let key = self.key(&old);
        let mut failed = false;
        for _ in 0..ROUNDS {
            let was = {
                let state = session.state();
                if state.invalidated > 0 {
                    break; // meanwhile
                }
                state.base()
            };
            let ended = self
                .backend
                .replace(&key, stored.clone(), Some(MARK_LIFE), &was);
            let ended = match ended.await {
                Ok(ended) => ended,
                Err(error) if failed => return Err(error),
                Err(_) => {
                    // Once more: one lost answer is not to leave the client without a session.
                    failed = true;
                    continue;
                }
            };
            let done = match &ended {
                Replace::Done => true,
                // The mark is this session's own: an attempt went through whose answer was lost.
                Replace::Conflict(now) => (is_own || resumed || failed) && now.value == stored,
                Replace::Gone => false,
            };
            if done {
                let mut state = session.state();
                state.settle(edits);
                return Ok(state.moved(new));
            }
            match ended {
                Replace::Conflict(now) if session.state().merge(&now) => {}
                _ => {
                    self.forget_attempt(session).await;
                    return lost(session, &old);
                }
            }
            if session.state().invalidated == 0 && !self.rewrite(session).await? {
                let why = "the session store lost the record of a renewal";
                return Err(Error::with_message(ErrorKind::Unavailable, why));
            }
        }
        Box::pin(self.restart(session)).await
    }

    /// Goes on where a save stopped trying: with the logout that came meanwhile, if one did.
    async fn restart(&self, session: &Session) -> Result<CookieChange> {
        let (invalidated, edits) = {
            let state = session.state();
            (state.invalidated > 0, state.edits)
        };
        if invalidated {
            return self.start(session, edits).await;
        }
        self.forget_attempt(session).await;
        Err(ErrorKind::Contended.into())
    }

    /// Stores the session's record under an identity that nobody had before.
    async fn create(&self, session: &Session) -> Result<Identity> {
        let attempt = session.state().attempt.clone();
        if let Some((identity, _)) = attempt
            && self.rewrite(session).await?
        {
            return Ok(identity);
        }
        for _ in 0..DRAWS {
            let (wanted, write) = {
                let mut state = session.state();
                (state.wanted.clone(), Write::of(&mut state)?)
            };
            let is_wanted = wanted.is_some();
            let identity = wanted.map_or_else(|| self.draw(), Ok)?;
            session.state().attempt = Some((identity.clone(), write.value.clone()));
            let key = self.key(&identity);
            let created = self.backend.create(&key, write.value, write.ttl);
            match created.await? {
                Create::Done => return Ok(identity),
                Create::Exists => session.state().attempt = None,
            }
            if is_wanted {
                let why = "the store holds a session of the identity that was set";
                return Err(Error::with_message(ErrorKind::Identity, why));
            }
        }
        Err(Error::with_message(
            ErrorKind::Identity,
            "every identity that was drawn is taken",
        ))
    }

    /// Writes a record again that this session created and nobody else knows of; false, and
    /// nothing is written, if what is stored is not what this session wrote.
    async fn rewrite(&self, session: &Session) -> Result<bool> {
        let Some((identity, wrote)) = session.state().attempt.clone() else {
            return Ok(false);
        };
        let key = self.key(&identity);
        let found = self.backend.read(&key).await?;
        if let Some(found) = found.filter(|found| found.value == wrote) {
            let write = Write::of(&mut session.state())?;
            session.state().attempt = Some((identity, write.value.clone()));
            let replaced = self.backend.replace(&key, write.value, write.ttl, &found);
            if let Replace::Done = replaced.await? {
                return Ok(true);
            }
        }
        session.state().attempt = None;
        Ok(false)
    }

    /// Ends a session that was logged out, whatever others saved meanwhile; false if another
    /// request moved it to a new identity, where it lives on.
    async fn end(&self, session: &Session, identity: &Identity) -> Result<bool> {
        let key = self.key(identity);
        let mut failed = false;
        for _ in 0..ROUNDS {
            let was = session.state().base();
            match self.backend.delete(&key, Some(&was)).await {
                Ok(Replace::Done | Replace::Gone) => return Ok(true),
                Ok(Replace::Conflict(now)) if self.is_moved(&now) => return Ok(false),
                Ok(Replace::Conflict(now)) => session.state().base = Some(now),
                Err(error) if failed => return Err(error),
                Err(_) => failed = true,
            }
        }
        // So many writers: nobody is asked any more.
        self.delete(identity).await?;
        Ok(true)
    }

    /// Deletes a record. Tried twice: what this request stored before must not make two sessions
    /// of one when a single answer is lost.
    async fn delete(&self, identity: &Identity) -> Result<()> {
        let key = self.key(identity);
        match self.backend.delete(&key, None).await {
            Err(_) => self.backend.delete(&key, None).await.map(drop),
            Ok(_) => Ok(()),
        }
    }

    /// Deletes a record that this session created and will not use. Nobody knows its identity:
    /// should this fail, it only expires.
    async fn forget_attempt(&self, session: &Session) {
        let attempt = session.state().attempt.take();
        let Some((identity, value)) = attempt else {
            return;
        };
        // Only what this session wrote: its creation may never have arrived, and the identity, if
        // the application chose it, be somebody else's by now.
        let (key, was) = (self.key(&identity), Versioned { value, version: 0 });
        if let Ok(Replace::Conflict(now)) = self.backend.delete(&key, Some(&was)).await
            && now.value == was.value
        {
            // A store that compares numbers, and has now said which.
            let _ = self.backend.delete(&key, Some(&now)).await;
        }
    }

    /// Returns whether this is the mark of a renewal.
    fn is_moved(&self, found: &Versioned) -> bool {
        let text = self.records.decode(found.value.clone());
        text.is_some_and(|text| is_moved(&text))
    }
}

/// Gives up what another request ended.
fn lost<T>(session: &Session, identity: &Identity) -> Result<T> {
    session.state().ended = true;
    let session = identity.fingerprint();
    tracing::info!(
        session,
        "session change dropped: the session was ended meanwhile"
    );
    Err(ErrorKind::Ended.into())
}

/// A record about to be written to the store.
struct Write {
    value: Bytes,
    ttl: Option<Duration>,
    edits: u64,
    /// Nothing is in it: an existing record goes.
    empty: bool,
}

impl Write {
    fn of(state: &mut State) -> Result<Self> {
        let (empty, edits) = (state.record.is_empty(), state.edits);
        state.prepare();
        let value = state.records.encode(state.record.encode())?.into();
        Ok(Self {
            value,
            ttl: state.time_to_live(),
            edits,
            empty,
        })
    }
}

impl State {
    /// What the store held when the session was loaded. After a renewal or a start it is not
    /// known, and a compare with it is a conflict that brings it.
    fn base(&self) -> Versioned {
        self.base.clone().unwrap_or(Versioned {
            value: Bytes::new(),
            version: 0,
        })
    }

    /// Puts the delta onto what another request stored; false if that is an ended session or no
    /// record.
    fn merge(&mut self, now: &Versioned) -> bool {
        if self.invalidated > 0 {
            // Nothing of it is wanted any more.
            return true;
        }
        let seconds = unix_seconds(self.records.now());
        let Some(base) = self.records.parse(now.value.clone(), seconds) else {
            return false;
        };
        let (mine, started) = (self.record.own_max_age, self.record.started);
        let written = self.cleared > 0 || !self.removed.is_empty() || self.record.is_dirty();
        self.record.rebase(base, &self.removed, self.cleared > 0);
        if self.max_age_set > 0 {
            self.record.own_max_age = mine;
        }
        self.record.started = self.record.started.or(started);
        if written {
            self.record.set_created(seconds);
        }
        self.base = Some(now.clone());
        true
    }

    /// Notes that the session lives under a new identity.
    fn moved(&mut self, new: Identity) -> CookieChange {
        let change = self.set_cookie(&new);
        self.identity = Some(new);
        self.base = self
            .attempt
            .take()
            .map(|(_, value)| Versioned { value, version: 0 });
        self.wanted = None;
        change
    }

    fn set_cookie(&self, identity: &Identity) -> CookieChange {
        CookieChange::Set {
            value: identity.as_str().to_owned(),
            max_age: self.cookie_max_age(),
        }
    }
}

/// Returns the mark of a renewal: an empty object with the digest of the new identity written in
/// its white space, so that the session that wrote it knows it again, and others know that the
/// session lives on.
fn mark(new: &Identity) -> Vec<u8> {
    let digest = new.sha256();
    let bits = digest.bytes().map(|digit| {
        if matches!(digit, b'0'..=b'7') {
            b' '
        } else {
            b'\t'
        }
    });
    [b'{'].into_iter().chain(bits).chain([b'}']).collect()
}

/// Returns whether `text` is such a mark, and not the `{}` that Python writes.
fn is_moved(text: &[u8]) -> bool {
    let inside = text
        .strip_prefix(b"{")
        .and_then(|text| text.strip_suffix(b"}"));
    inside.is_some_and(|inside| !inside.is_empty() && inside.iter().all(u8::is_ascii_whitespace))
}
