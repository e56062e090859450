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
use crate::clock::unix_seconds;
use crate::error::{Error, ErrorKind, Result};
use crate::keyed::backend::{Backend, Create, Replace, Versioned};
use crate::session::identity::Identity;
use crate::session::{Session, State};
use crate::storage::CookieChange;

/// How often a conflicting save is tried. In each round somebody wins, so that 64 simultaneous
/// writers of one session all get through.
const ROUNDS: usize = 128;

/// How often another identity is drawn when one is taken.
const DRAWS: usize = 8;

/// For how long the mark of a moved session stays: longer than a request that was cut off and is
/// tried again may take.
const MARK_LIFE: Duration = Duration::from_secs(60);

/// A version that no record has: to compare with it brings the one that is there.
const UNKNOWN: Versioned = Versioned {
    value: Bytes::new(),
    version: 0,
};

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
        let (ends, empty, removes) = {
            let state = session.state();
            let removes = state.identity.is_some() || state.drops_client_cookie();
            (self.ends(&state), state.record.is_empty(), removes)
        };
        let new = if empty {
            self.forget_attempt(session).await;
            None
        } else {
            Some(self.create(session).await?)
        };
        // Not before: a failure up to here leaves the client with the session that it had.
        for (count, (key, was)) in ends.into_iter().enumerate() {
            match self.end(key, was).await {
                Err(error) if count == 0 || new.is_none() => return Err(error),
                // The first is gone, and a login has its new one: to fail now would leave the client
                // with nothing.
                Err(error) => tracing::error!(%error, "one of several sessions not ended"),
                Ok(()) => {}
            }
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

    /// Returns where the sessions are that end when this one starts: the one that it was; and for a
    /// logout and a login whatever else the client's cookies stand for.
    fn ends(&self, state: &State) -> Vec<(String, Versioned)> {
        let mut ends = Vec::new();
        if let Some(identity) = &state.identity {
            ends.push((self.key(identity), state.base()));
        }
        let mut also: &[String] = state.replaces.as_deref().unwrap_or_default();
        if state.invalidated > 0 {
            also = if also.is_empty() { &state.others } else { also };
            ends.extend(state.stood_for.iter().map(|key| (key.clone(), UNKNOWN)));
        }
        let also = also.iter().filter_map(|cookie| self.parse(cookie));
        ends.extend(also.map(|identity| (self.key(&identity), UNKNOWN)));
        ends
    }

    /// Saves by compare-and-swap under the identity that the session has.
    async fn update(&self, session: &Session, identity: Identity) -> Result<CookieChange> {
        let key = self.key(&identity);
        for round in 0..ROUNDS {
            let next = {
                let mut state = session.state();
                if state.invalidated > 0 {
                    break; // meanwhile
                }
                if state.renewed > 0 && !state.record.is_empty() {
                    Err(state.edits)
                } else {
                    Ok((Write::of(&mut state)?, state.base()))
                }
            };
            let (write, was) = match next {
                Ok(write) => write,
                // Asked for meanwhile, or a merge filled what was empty.
                Err(edits) => return Box::pin(self.renew(session, identity, edits)).await,
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
                    // Hashed inside the macro: not at all where nobody listens.
                    tracing::debug!(
                        session = identity.fingerprint(),
                        round,
                        "session save conflicts"
                    );
                }
                // It is gone, and a logout that came meanwhile asks for no more.
                Replace::Gone if session.state().invalidated > 0 => {}
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
        let mark = mark(&self.suffix(&new));
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
                Replace::Conflict(now) if is_own => self
                    .records
                    .decode(now.value.clone())
                    .is_some_and(|text| text == mark),
                Replace::Conflict(now) => (resumed || failed) && now.value == stored,
                Replace::Gone => false,
            };
            if done {
                let mut state = session.state();
                state.settle(edits);
                return Ok(state.moved(new));
            }
            match ended {
                Replace::Conflict(now) if session.state().merge(&now) => {}
                Replace::Gone if session.state().invalidated > 0 => {}
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
            if self.parse(identity.as_str()).is_none() {
                // It would be stored, and never found again.
                let why = "an identity with a '_' needs a storage with a key factory";
                return Err(Error::with_message(ErrorKind::Identity, why));
            }
            session.state().attempt = Some((identity.clone(), vec![write.value.clone()]));
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
        if let Some(found) = found.filter(|found| wrote.contains(&found.value)) {
            let write = Write::of(&mut session.state())?;
            let value = write.value.clone();
            // Both, until one is known to be there.
            let may_be = vec![found.value.clone(), value.clone()];
            session.state().attempt = Some((identity.clone(), may_be));
            let replaced = self.backend.replace(&key, write.value, write.ttl, &found);
            if let Replace::Done = replaced.await? {
                session.state().attempt = Some((identity, vec![value]));
                return Ok(true);
            }
        }
        session.state().attempt = None;
        Ok(false)
    }

    /// Ends the session at `key`, whatever others saved meanwhile, and if one of them moved it, where
    /// it is now. Tried twice: what this request stored before must not make two sessions of one
    /// when a single answer is lost.
    async fn end(&self, mut key: String, mut was: Versioned) -> Result<()> {
        let mut failed = false;
        for _ in 0..ROUNDS {
            match self.backend.delete(&key, Some(&was)).await {
                Ok(Replace::Done | Replace::Gone) => return Ok(()),
                Ok(Replace::Conflict(now)) => match self.moved_to(&now) {
                    Some(next) => (key, was) = (next, UNKNOWN),
                    // Another program's value, which a client may name as it likes: left alone. What
                    // took the place of a session that was loaded goes, readable here or not.
                    None if was.value.is_empty() && !self.records.is_ours(now.value.clone()) => {
                        return Ok(());
                    }
                    None => was = now,
                },
                Err(error) if failed => return Err(error),
                Err(_) => failed = true,
            }
        }
        // So many writers: nobody is asked any more.
        self.backend.delete(&key, None).await.map(drop)
    }

    /// Deletes a record that this session created and will not use. Should this fail, the record stays
    /// for its time to live, but nobody knows its identity.
    async fn forget_attempt(&self, session: &Session) {
        let attempt = session.state().attempt.take();
        let Some((identity, wrote)) = attempt else {
            return;
        };
        // Only what this session wrote: its creation may never have arrived, and the identity, if
        // the application chose it, be somebody else's by now.
        let key = self.key(&identity);
        let was = wrote.last().map_or(UNKNOWN, |value| Versioned {
            value: value.clone(),
            version: 0,
        });
        if let Ok(Replace::Conflict(now)) = self.backend.delete(&key, Some(&was)).await
            && wrote.contains(&now.value)
        {
            // A store that compares numbers, and has now said which; or what was written before.
            let _ = self.backend.delete(&key, Some(&now)).await;
        }
    }

    /// Returns the key at which a session lives on, if this is the mark of its renewal.
    pub(super) fn moved_to(&self, found: &Versioned) -> Option<String> {
        let text = self.records.decode(found.value.clone())?;
        let suffix = Identity::parse(&read_mark(&text)?)?;
        Some(self.key_of(suffix.as_str()))
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
        self.base.clone().unwrap_or(UNKNOWN)
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
        let wrote = self
            .attempt
            .take()
            .and_then(|(_, wrote)| wrote.into_iter().next_back());
        self.base = wrote.map(|value| Versioned { value, version: 0 });
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

/// The white space of JSON, as digits to the base of four.
const DIGITS: [u8; 4] = *b" \t\n\r";

/// Returns the mark of a renewal: an empty object with the end of the new record's key written in
/// its white space. To Python and to whoever loads it that is an ended session; a logout that comes
/// late follows it, and the session that wrote it knows it again.
fn mark(suffix: &str) -> Vec<u8> {
    let digits = suffix
        .bytes()
        .flat_map(|b| [b >> 6, b >> 4, b >> 2, b].map(|d| DIGITS[usize::from(d & 3)]));
    [b'{'].into_iter().chain(digits).chain([b'}']).collect()
}

/// Reads what [`mark`] wrote.
fn read_mark(text: &[u8]) -> Option<String> {
    let inside = text.strip_prefix(b"{")?.strip_suffix(b"}")?;
    let (bytes, []) = inside.as_chunks::<4>() else {
        return None;
    };
    let digit = |b: &u8| DIGITS.iter().position(|digit| digit == b);
    let byte = |four: &[u8; 4]| {
        four.iter()
            .try_fold(0, |byte, b| Some(byte << 2 | digit(b)?))
    };
    bytes
        .iter()
        .map(|four| {
            byte(four)
                .and_then(|byte| u8::try_from(byte).ok())
                .map(char::from)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_an_empty_object_that_says_where_the_session_went() {
        let suffix = "0123456789abcdef0123456789ABCDEF-_";
        let mark = mark(suffix);
        assert_eq!(read_mark(&mark).unwrap(), suffix);
        let json: serde_json::Value = serde_json::from_slice(&mark).unwrap();
        assert_eq!(json, serde_json::json!({}));
        for other in [
            &b"{}"[..],
            b"{ }",
            b"{   }",
            b"{\"a\":1}",
            b"",
            b"{",
            b"null",
        ] {
            assert!(read_mark(other).is_none_or(|text| Identity::parse(&text).is_none()));
        }
    }
}
