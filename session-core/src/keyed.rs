//! Sessions in a server-side store: the hard parts, once for every backend.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use crate::backend::{Backend, Create, Replace, Versioned};
use crate::clock::unix_seconds;
use crate::record::ENDED;
use crate::session::State;
use crate::{
    Clock, Codec, CookieChange, CookieSettings, Error, ErrorKind, Identity, Records, Result,
    Session, Storage,
};

/// Keeps the record in a [`Backend`] and only its random identity in the cookie.
///
/// - A record is created, never written over blindly: an identity that the store does not know is
///   never adopted.
/// - A change is saved by compare-and-swap. If another request saved first, the keys that this one
///   set and removed are put onto what that one left, and it is tried again: different keys all
///   survive, and of the same key the last save wins.
/// - A session that another request ended is [`ErrorKind::Ended`], and never comes back.
///
/// The key in the store is the cookie's name, `_` and the identity, as in aiohttp_session.
///
/// ```
/// use session_core::{CookieSettings, KeyedStorage, MemoryBackend, Storage};
/// use std::time::Duration;
///
/// # fn main() -> Result<(), session_core::Error> {
/// let cookie = CookieSettings::builder("sid").max_age(Duration::from_secs(3600)).build()?;
/// let storage = KeyedStorage::new(MemoryBackend::new()).with_cookie(cookie);
/// assert_eq!(storage.records().cookie().name(), "sid");
/// # Ok(())
/// # }
/// ```
pub struct KeyedStorage<B> {
    backend: B,
    records: Records,
    key_factory: Option<Arc<dyn Fn() -> String + Send + Sync>>,
    hash_identities: bool,
}

/// How often a conflicting save is tried. In each round somebody wins, so that 64 simultaneous
/// writers of one session all get through.
const ROUNDS: usize = 128;

/// How often another identity is drawn when one is taken.
const DRAWS: usize = 8;

/// For how long the mark of an ended session stays: it is only needed to *be* written in the
/// place of the record, not to be read.
const MARK_LIFE: Duration = Duration::from_secs(10);

impl<B: Backend> KeyedStorage<B> {
    /// Keeps sessions in `backend`, with the default cookie settings.
    pub fn new(backend: B) -> Self {
        Self {
            backend,
            records: Records::default(),
            key_factory: None,
            hash_identities: false,
        }
    }

    /// Uses these settings in place of the default ones.
    #[must_use]
    pub fn with_cookie(mut self, cookie: CookieSettings) -> Self {
        self.records = self.records.with_cookie(cookie);
        self
    }

    /// Stores records through `codec` in place of plain JSON.
    #[must_use]
    pub fn with_codec(mut self, codec: impl Codec) -> Self {
        self.records = self.records.with_codec(codec);
        self
    }

    /// Takes the time from `clock` in place of the operating system.
    #[must_use]
    pub fn with_clock(mut self, clock: impl Clock) -> Self {
        self.records = self.records.with_clock(clock);
        self
    }

    /// Draws identities with `factory` in place of [`Identity::random`]. They must be impossible
    /// to guess, 128 random bits or so, and have the shape that [`Identity::parse`] takes.
    #[must_use]
    pub fn with_key_factory(
        mut self,
        factory: impl Fn() -> String + Send + Sync + 'static,
    ) -> Self {
        self.key_factory = Some(Arc::new(factory));
        self
    }

    /// Uses the SHA-256 of the identity in the store's key in place of the identity: whoever reads
    /// the store can then not log in with what is there. A Python service cannot share such a
    /// store. Default: false.
    #[must_use]
    pub fn hash_identities(mut self, hash: bool) -> Self {
        self.hash_identities = hash;
        self
    }

    /// Borrows the backend.
    pub fn backend(&self) -> &B {
        &self.backend
    }

    fn key(&self, identity: &Identity) -> String {
        let name = self.records.cookie().name();
        if self.hash_identities {
            format!("{name}_{}", identity.sha256())
        } else {
            [name, "_", identity.as_str()].concat()
        }
    }

    fn draw(&self) -> Result<Identity> {
        let Some(factory) = &self.key_factory else {
            return Identity::random();
        };
        Identity::parse(&factory()).ok_or_else(|| {
            Error::with_message(
                ErrorKind::Settings,
                "the key factory must return 16 to 128 characters of A-Z a-z 0-9 - _",
            )
        })
    }

    /// Stores the session's record under an identity that nobody had before.
    async fn create(&self, session: &Session) -> Result<Identity> {
        for _ in 0..DRAWS {
            let (wanted, write) = {
                let mut state = session.state();
                (state.wanted.clone(), Write::of(&mut state)?)
            };
            let identity = match &wanted {
                Some(identity) => identity.clone(),
                None => self.draw()?,
            };
            match self
                .backend
                .create(&self.key(&identity), write.value, write.ttl)
                .await?
            {
                Create::Done => return Ok(identity),
                Create::Exists if wanted.is_some() => {
                    return Err(Error::with_message(
                        ErrorKind::Identity,
                        "the store holds a session of the identity that was set",
                    ));
                }
                Create::Exists => {}
            }
        }
        Err(Error::with_message(
            ErrorKind::Identity,
            "every identity that was drawn is taken",
        ))
    }

    /// Deletes a record. Tried twice: what this request stored before must not make two sessions
    /// of one when a single answer is lost.
    async fn delete(&self, identity: &Identity) -> Result<()> {
        let key = self.key(identity);
        match self.backend.delete(&key).await {
            Err(_) => self.backend.delete(&key).await,
            done => done,
        }
    }

    /// Starts anew: what the client had before ends, and what the session holds, if anything,
    /// begins under a fresh identity.
    async fn start(&self, session: &Session) -> Result<CookieChange> {
        let (old, empty, removes) = {
            let state = session.state();
            let replaced = state
                .replaces
                .iter()
                .flatten()
                .filter_map(|cookie| Identity::parse(cookie));
            let old: Vec<Identity> = replaced.chain(state.identity.clone()).collect();
            let removes = state.identity.is_some() || state.drops_client_cookie();
            (old, state.record.is_empty(), removes)
        };
        let edits = session.state().edits;
        let identity = if empty {
            None
        } else {
            Some(self.create(session).await?)
        };
        // Not before: a failure up to here leaves the client with the session that it had.
        for old in &old {
            self.delete(old).await?;
        }
        let mut state = session.state();
        match identity {
            Some(identity) => {
                state.base = None;
                state.settle(edits);
                Ok(set(&mut state, identity))
            }
            None if removes => {
                state.reset();
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
                (Write::of(&mut state)?, state.base())
            };
            let stored = write.value.clone();
            match self
                .backend
                .replace(&key, write.value, write.ttl, &was)
                .await?
            {
                Replace::Done => {
                    let mut state = session.state();
                    if write.ends {
                        state.reset();
                        return Ok(CookieChange::Remove);
                    }
                    state.base = Some(Versioned {
                        value: stored,
                        version: 0,
                    });
                    state.settle(write.edits);
                    return Ok(set(&mut state, identity));
                }
                // Somebody else wrote or ended it: a read has nothing to add to that.
                _ if session.state().only_rolls() => return Ok(CookieChange::Keep),
                Replace::Gone => return Err(ended(session, &identity)),
                Replace::Conflict(now) => {
                    tracing::debug!(
                        session = identity.fingerprint(),
                        round,
                        "session save conflicts"
                    );
                    if !merge(session, &now) {
                        return Err(ended(session, &identity));
                    }
                }
            }
        }
        Err(ErrorKind::Contended.into())
    }

    /// Moves the session to a fresh identity: the new record is stored before the old one ends,
    /// and the old one ends by compare-and-swap, so that a change which another request saved in
    /// between comes along.
    async fn renew(&self, session: &Session, old: Identity) -> Result<CookieChange> {
        let edits = session.state().edits;
        let new = self.create(session).await?;
        let mark = Bytes::from(self.records.encode(mark(&new))?);
        let old_key = self.key(&old);
        let mut failed = false;
        for _ in 0..ROUNDS {
            let was = session.state().base();
            match self
                .backend
                .replace(&old_key, mark.clone(), Some(MARK_LIFE), &was)
                .await
            {
                Ok(Replace::Done) => return Ok(renewed(session, new, edits)),
                // The mark is this request's own: the answer of the first attempt was lost.
                Ok(Replace::Conflict(now)) if failed && now.value == mark => {
                    return Ok(renewed(session, new, edits));
                }
                Ok(Replace::Conflict(now)) if merge(session, &now) => {
                    self.overwrite(&new, session).await?;
                }
                Ok(Replace::Conflict(_) | Replace::Gone) => {
                    // Nobody knows the new identity: should this fail, the record only expires.
                    let _ = self.backend.delete(&self.key(&new)).await;
                    return Err(ended(session, &old));
                }
                Err(error) if failed => return Err(error),
                Err(_) => failed = true,
            }
        }
        let _ = self.backend.delete(&self.key(&new)).await;
        Err(ErrorKind::Contended.into())
    }

    /// Writes a record that only this request knows of.
    async fn overwrite(&self, identity: &Identity, session: &Session) -> Result<()> {
        let key = self.key(identity);
        let mut was = Versioned {
            value: Bytes::new(),
            version: 0,
        };
        for _ in 0..DRAWS {
            let write = Write::of(&mut session.state())?;
            match self
                .backend
                .replace(&key, write.value, write.ttl, &was)
                .await?
            {
                Replace::Done => return Ok(()),
                Replace::Conflict(now) => was = now,
                Replace::Gone => break,
            }
        }
        Err(ErrorKind::Contended.into())
    }
}

/// A record about to be written to the store.
struct Write {
    value: Bytes,
    ttl: Option<Duration>,
    /// Nothing is left in the session: the mark of an ended one goes in its place.
    ends: bool,
    edits: u64,
}

impl Write {
    fn of(state: &mut State) -> Result<Self> {
        let (ends, edits) = (state.record.is_empty(), state.edits);
        if ends {
            let value = state.records.encode(ENDED.to_vec())?.into();
            return Ok(Self {
                value,
                ttl: Some(MARK_LIFE),
                ends,
                edits,
            });
        }
        state.prepare();
        let value = state.records.encode(state.record.encode())?.into();
        Ok(Self {
            value,
            ttl: state.time_to_live(),
            ends,
            edits,
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
}

/// Puts the session's delta onto what another request stored; false if that is an ended session
/// or no record.
fn merge(session: &Session, now: &Versioned) -> bool {
    let mut state = session.state();
    let seconds = unix_seconds(state.records.now());
    let Some(base) = state.records.parse(now.value.clone(), seconds) else {
        return false;
    };
    let state = &mut *state;
    let (mine, started) = (state.record.own_max_age, state.record.started);
    let written = state.cleared || !state.removed.is_empty() || state.record.is_dirty();
    state.record.rebase(base, &state.removed, state.cleared);
    if state.max_age_set {
        state.record.own_max_age = mine;
    }
    state.record.started = state.record.started.or(started);
    if written {
        state.record.set_created(seconds);
    }
    state.base = Some(now.clone());
    true
}

fn renewed(session: &Session, new: Identity, edits: u64) -> CookieChange {
    tracing::debug!(session = new.fingerprint(), "session renewed");
    let mut state = session.state();
    state.base = None;
    state.settle(edits);
    set(&mut state, new)
}

fn ended(session: &Session, identity: &Identity) -> Error {
    tracing::info!(
        session = identity.fingerprint(),
        "session change dropped: it was ended meanwhile"
    );
    session.state().ended = true;
    ErrorKind::Ended.into()
}

/// Notes the identity and returns what the cookie becomes.
fn set(state: &mut State, identity: Identity) -> CookieChange {
    let value = identity.as_str().to_owned();
    state.identity = Some(identity);
    state.wanted = None;
    CookieChange::Set {
        value,
        max_age: state.cookie_max_age(),
    }
}

/// Returns an empty JSON object, which is an ended session to Python too, with the digest of
/// `identity` written in its white space: so the request that wrote it knows it again.
fn mark(identity: &Identity) -> Vec<u8> {
    let digest = identity.sha256();
    let bits = digest.bytes().map(|digit| {
        if digit.is_ascii_digit() && digit % 2 == 0 {
            b' '
        } else {
            b'\t'
        }
    });
    [b'{'].into_iter().chain(bits).chain([b'}']).collect()
}

#[async_trait]
impl<B: Backend> Storage for KeyedStorage<B> {
    fn records(&self) -> &Records {
        &self.records
    }

    async fn load(&self, cookie: Option<&str>) -> Result<Session> {
        let Some(identity) = cookie.and_then(Identity::parse) else {
            return Ok(self.records.fresh(cookie.is_some()));
        };
        let Some(found) = self.backend.read(&self.key(&identity)).await? else {
            tracing::debug!(session = identity.fingerprint(), "session is unknown");
            return Ok(self.records.fresh(true));
        };
        let Some(session) = self.records.open(found.value.clone()) else {
            return Ok(self.records.fresh(true));
        };
        {
            let mut state = session.state();
            state.identity = Some(identity);
            state.base = Some(found);
        }
        Ok(session)
    }

    async fn save(&self, session: &Session) -> Result<CookieChange> {
        let (identity, starts, renews, deletes) = {
            let state = session.state();
            if state.ended {
                return Err(ErrorKind::Ended.into());
            }
            if !state.is_due() {
                return Ok(CookieChange::Keep);
            }
            let starts = state.new || state.invalidated;
            let empty = state.record.is_empty();
            (
                state.identity.clone(),
                starts,
                state.renewed && !empty,
                state.cleared && empty,
            )
        };
        match identity {
            Some(identity) if !starts && deletes => {
                self.backend.delete(&self.key(&identity)).await?;
                session.state().reset();
                Ok(CookieChange::Remove)
            }
            Some(identity) if !starts && renews => self.renew(session, identity).await,
            Some(identity) if !starts => self.update(session, identity).await,
            _ => self.start(session).await,
        }
    }
}

impl<B: Backend + Default> Default for KeyedStorage<B> {
    fn default() -> Self {
        Self::new(B::default())
    }
}

impl<B: fmt::Debug> fmt::Debug for KeyedStorage<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedStorage")
            .field("backend", &self.backend)
            .field("records", &self.records)
            .field("hash_identities", &self.hash_identities)
            .finish_non_exhaustive()
    }
}
