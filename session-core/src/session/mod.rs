//! The session that a handler sees.

pub(crate) mod identity;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::clock::unix_seconds;
use crate::config::Records;
use crate::error::{Error, ErrorKind, Result};
use crate::keyed::backend::Versioned;
use crate::record::{Record, json};
use crate::session::identity::Identity;

/// One request's session: a dict of JSON values with a few flags, held by a handle that is cheap
/// to clone. Clones are the same session.
///
/// Loading it was the one step that waits and can fail for the backend's sake; nothing here does
/// I/O. What changes is saved once, before the response's headers leave; a change after that is
/// [`ErrorKind::Committed`], never silently lost.
///
/// Values are kept as JSON text and parsed when asked for: a value that nobody touches is written
/// back byte for byte, whoever wrote it.
///
/// ```
/// use session_core::Records;
///
/// # fn main() -> Result<(), session_core::Error> {
/// let session = Records::default().fresh(false);
/// session.insert("name", "alice")?;
/// session.insert("visits", 1)?;
/// session.update("visits", |visits: Option<u32>| visits.unwrap_or(0) + 1)?;
/// assert_eq!(session.get::<u32>("visits")?, Some(2));
/// assert_eq!(session.get::<String>("email")?, None);
/// assert_eq!(session.keys(), ["name", "visits"]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Session(Arc<Mutex<State>>);

/// What the handle points at.
///
/// The flags are independent of one another: a write after a renewal does not undo it. Each is the
/// number of the edit that raised it last, 0 if it is down: a save settles those up to the edit
/// that it saw, and leaves what came meanwhile to the next.
pub(crate) struct State {
    pub(crate) records: Records,
    pub(crate) record: Record,
    /// Counts changes.
    pub(crate) edits: u64,
    pub(crate) changed: u64,
    pub(crate) renewed: u64,
    pub(crate) invalidated: u64,
    /// This request emptied the whole dict.
    pub(crate) cleared: u64,
    /// This request gave the session a lifetime of its own.
    pub(crate) max_age_set: u64,
    /// Names that this request took out; with the record's dirty entries, the delta.
    pub(crate) removed: Vec<(Box<str>, u64)>,
    pub(crate) new: bool,
    /// Loaded from a rolling storage with so much of its life gone that a read restarts it.
    pub(crate) rolls: bool,
    /// The client sent a cookie of the storage's name.
    pub(crate) client_cookie: bool,
    /// A login: the client's cookie values whose sessions end when this one is saved.
    pub(crate) replaces: Option<Vec<String>>,
    /// The identity under which the store holds it.
    pub(crate) identity: Option<Identity>,
    /// What the store held when it was loaded or last saved.
    pub(crate) base: Option<Versioned>,
    /// The identity that the application wants for a new session.
    pub(crate) wanted: Option<Identity>,
    /// A record that a save began to create, and what it may have written: if that save was cut off,
    /// the next one goes on with it.
    pub(crate) attempt: Option<(Identity, Vec<Bytes>)>,
    /// The client's cookies stood for sessions that are at these keys: moved there by a renewal, or
    /// expired, where a slower request may still save them.
    pub(crate) stood_for: Vec<String>,
    /// Further cookies of the name that the client sent.
    pub(crate) others: Vec<String>,
    /// Found ended by another request: it can never be saved again.
    pub(crate) ended: bool,
    pub(crate) closed: bool,
}

impl Session {
    /// Returns the value under `key` as a `T`; `None` if there is none.
    ///
    /// `T` owns what it holds: `get::<String>`, not `get::<&str>`. It is a copy: to change a list in
    /// place, [`update`](Self::update) it. `T`'s `Deserialize` runs while the session is locked and
    /// must not use the session itself.
    ///
    /// # Errors
    /// [`ErrorKind::Value`] if the value is not a `T`.
    pub fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>> {
        self.state().record.get(key).map(parse).transpose()
    }

    /// Puts `value` under `key`. The session is changed, and its `created` is now.
    ///
    /// Floats that are not numbers become null, as `serde_json` has it: JSON has none. What is nested
    /// deeper than 127 can be written, but [`get`](Self::get) cannot read it.
    ///
    /// # Errors
    /// [`ErrorKind::Value`] if `value` cannot be JSON (a map whose keys are not strings);
    /// [`ErrorKind::Committed`] after the response's headers have left.
    pub fn insert(&self, key: &str, value: impl Serialize) -> Result<()> {
        let text = to_text(&value)?;
        let mut state = self.open()?;
        state.set(key, text);
        Ok(())
    }

    /// Takes out the value under `key`; false, and no change, if there is none.
    ///
    /// # Errors
    /// [`ErrorKind::Committed`] after the response's headers have left.
    pub fn remove(&self, key: &str) -> Result<bool> {
        Ok(self.open()?.remove(key))
    }

    /// Takes out `key` and returns its value, `None` if there is none: for what is shown once.
    ///
    /// ```
    /// # use session_core::{ErrorKind, Records, Result};
    /// # fn main() -> Result<()> {
    /// # let session = Records::default().fresh(false);
    /// session.insert("flash", "Welcome")?;
    /// let wrong = session.take::<u64>("flash");
    /// assert_eq!(wrong.unwrap_err().kind(), ErrorKind::Value); // and it is still there
    /// assert_eq!(session.take::<String>("flash")?.as_deref(), Some("Welcome"));
    /// assert_eq!(session.take::<String>("flash")?, None);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Value`] if it does not fit `T`, and it stays; [`ErrorKind::Committed`] after the
    /// response's headers have left.
    pub fn take<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>> {
        let mut state = self.open()?;
        let value = state.record.get(key).map(parse).transpose()?;
        state.remove(key);
        Ok(value)
    }

    /// Puts `change(value)` under `key`, where `value` is what is there now, and returns it.
    ///
    /// No other clone of this handle changes the value in between: `change` is then called again, so it
    /// clones what it moves into the value.
    /// Two *requests* that update one key at the same time are not added up: the last save wins.
    ///
    /// # Errors
    /// [`ErrorKind::Value`] if the value is not a `T`, or what `change` returns cannot be JSON;
    /// [`ErrorKind::Committed`] after the response's headers have left.
    pub fn update<T: Serialize + DeserializeOwned>(
        &self,
        key: &str,
        mut change: impl FnMut(Option<T>) -> T,
    ) -> Result<T> {
        loop {
            let (text_before, before) = {
                let state = self.open()?;
                let text = state.record.get(key).map(str::to_owned);
                let value = text.as_deref().map(parse).transpose()?;
                (text, value)
            };
            // Without the lock: `change` may well look at the session.
            let after = change(before);
            let text = to_text(&after)?;
            let mut state = self.open()?;
            if state.record.get(key) == text_before.as_deref() {
                state.set(key, text);
                return Ok(after);
            }
        }
    }

    /// Returns whether there is a value under `key`.
    pub fn contains_key(&self, key: &str) -> bool {
        self.state().record.get(key).is_some()
    }

    /// Returns how many keys there are.
    pub fn len(&self) -> usize {
        self.state().record.len()
    }

    /// Returns whether there are no keys.
    pub fn is_empty(&self) -> bool {
        self.state().record.is_empty()
    }

    /// Returns the keys in the order in which they were first set.
    pub fn keys(&self) -> Vec<String> {
        self.state()
            .record
            .names()
            .map(std::borrow::Cow::into_owned)
            .collect()
    }

    /// Takes out every key, those too that another request adds until this one is saved. A
    /// session that ends up empty is deleted; no change if it is empty already.
    ///
    /// # Errors
    /// [`ErrorKind::Committed`] after the response's headers have left.
    pub fn clear(&self) -> Result<()> {
        let mut state = self.open()?;
        if !state.record.is_empty() {
            state.record.clear();
            state.removed.clear();
            state.written();
            state.cleared = state.edits;
        }
        Ok(())
    }

    /// Returns whether the client had no session: no cookie, or one that is unknown, expired or
    /// forged.
    pub fn is_new(&self) -> bool {
        self.state().new
    }

    /// Returns whether the session was changed, touched, renewed or ended since it was loaded or saved.
    /// False for a `new_session()` with nothing in it, though its save ends the old session.
    pub fn is_changed(&self) -> bool {
        let state = self.state();
        state.changed.max(state.renewed).max(state.invalidated) > 0
    }

    /// Returns when a key was last set or removed; for a new session when it was made.
    pub fn created(&self) -> SystemTime {
        self.state().record.created()
    }

    /// Returns the identity under which a store holds this session; `None` if it lives in its cookie, or
    /// is new: it gets one when it is saved, after the handler. A handler that needs it before
    /// [chooses](Self::set_new_identity) it. It is a secret.
    pub fn identity(&self) -> Option<Identity> {
        self.state().identity.clone()
    }

    /// Returns for how long after its last write the session lives; `None`: no limit, and a cookie
    /// that ends with the browser's session. An `absolute_max_age` of the storage may end it sooner.
    pub fn max_age(&self) -> Option<Duration> {
        self.state().max_age()
    }

    /// Gives the session a lifetime of its own, in place of the storage's, and marks it changed.
    /// `None`: a cookie that ends with the browser's session, and **no limit on the server**, but an
    /// `absolute_max_age` if the storage has one. Rounded up to whole
    /// seconds, at least one, at most a hundred years. It counts from [`created`](Self::created), the
    /// last write of a key, which this is not. It is kept with the session, though a Python service that
    /// writes the session drops it.
    ///
    /// # Errors
    /// [`ErrorKind::Committed`] after the response's headers have left.
    pub fn set_max_age(&self, max_age: impl Into<Option<Duration>>) -> Result<()> {
        let mut state = self.open()?;
        let max_age = max_age.into().map(crate::cookie::whole_seconds);
        state.record.own_max_age = (max_age != state.records.cookie().max_age()).then_some(max_age);
        state.touched();
        state.max_age_set = state.edits;
        Ok(())
    }

    /// Marks the session to be saved although no key was set: the cookie and the store's time to
    /// live start again. As in aiohttp_session `created`, from which the lifetime counts, stays.
    /// A session that is new and empty stays unsaved.
    ///
    /// # Errors
    /// [`ErrorKind::Committed`] after the response's headers have left.
    pub fn changed(&self) -> Result<()> {
        self.open()?.touched();
        Ok(())
    }

    /// Ends the session: empties it now, and deletes the stored record and the client's cookie
    /// when it is saved. No request that runs at the same time brings it back. What is set after
    /// this starts another session under a new identity.
    ///
    /// # Errors
    /// [`ErrorKind::Committed`] after the response's headers have left.
    pub fn invalidate(&self) -> Result<()> {
        let mut state = self.open()?;
        state.record.clear();
        state.record.own_max_age = None;
        state.record.started = None;
        state.removed.clear();
        state.edits += 1;
        state.invalidated = state.edits;
        Ok(())
    }

    /// Keeps the data and changes the identity when it is saved: the old cookie then gives nobody the
    /// data. (For a minute a logout that comes with it still ends the session: it may have
    /// been on the way.) Call it whenever the session's rights change. The lifetime goes on: it counts
    /// from [`created`](Self::created), the last write of a key, which this is not. A session that lives in its cookie has no
    /// identity; there the old cookie cannot be recalled.
    ///
    /// # Errors
    /// [`ErrorKind::Committed`] after the response's headers have left.
    pub fn renew(&self) -> Result<()> {
        let mut state = self.open()?;
        state.edits += 1;
        state.renewed = state.edits;
        Ok(())
    }

    /// Chooses the identity of a new session in place of a random one.
    ///
    /// # Errors
    /// [`ErrorKind::Identity`] if the session is not new; [`ErrorKind::Committed`] after the
    /// response's headers have left. If the store holds such a session already, or the identity has
    /// a `_` and the storage no key factory, it is the save that ends with [`ErrorKind::Identity`].
    pub fn set_new_identity(&self, identity: Identity) -> Result<()> {
        let mut state = self.open()?;
        if !state.new {
            return Err(Error::with_message(
                ErrorKind::Identity,
                "an identity can only be set while the session is new: use renew() to change it",
            ));
        }
        state.wanted = Some(identity);
        Ok(())
    }

    /// Refuses every change from now on.
    pub(crate) fn close(&self) {
        self.state().closed = true;
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        // A panic in a caller's Deserialize leaves the state whole: it is only read there.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Locks the state for a change.
    fn open(&self) -> Result<MutexGuard<'_, State>> {
        let state = self.state();
        if state.closed {
            Err(ErrorKind::Committed.into())
        } else {
            Ok(state)
        }
    }
}

impl State {
    pub(crate) fn new(records: &Records, record: Record, new: bool) -> Self {
        Self {
            records: records.clone(),
            record,
            edits: 0,
            changed: 0,
            renewed: 0,
            invalidated: 0,
            cleared: 0,
            max_age_set: 0,
            removed: Vec::new(),
            new,
            rolls: false,
            client_cookie: false,
            replaces: None,
            identity: None,
            base: None,
            wanted: None,
            attempt: None,
            stood_for: Vec::new(),
            others: Vec::new(),
            ended: false,
            closed: false,
        }
    }

    fn set(&mut self, key: &str, text: String) {
        self.written();
        self.record.set(key, text, self.edits);
        self.removed.retain(|(name, _)| **name != *key);
    }

    /// Notes that a key was set or removed.
    /// Returns whether it was there.
    fn remove(&mut self, key: &str) -> bool {
        let found = self.record.remove(key);
        if found {
            self.written();
            self.removed.push((key.into(), self.edits));
        }
        found
    }

    fn written(&mut self) {
        self.record.set_created(unix_seconds(self.records.now()));
        self.touched();
    }

    fn touched(&mut self) {
        self.edits += 1;
        self.changed = self.edits;
    }

    /// The session's own lifetime, else the storage's.
    pub(crate) fn max_age(&self) -> Option<Duration> {
        self.record
            .own_max_age
            .unwrap_or(self.records.cookie().max_age())
    }
}

impl From<State> for Session {
    fn from(state: State) -> Self {
        Self(Arc::new(Mutex::new(state)))
    }
}

/// Shows the flags and the number of keys: no key, no value, no identity.
impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state();
        f.debug_struct("Session")
            .field("new", &state.new)
            .field("changed", &(state.changed > 0))
            .field("renewed", &(state.renewed > 0))
            .field("invalidated", &(state.invalidated > 0))
            .field("len", &state.record.len())
            .finish_non_exhaustive()
    }
}

/// The cause is left out on purpose: `serde_json` quotes the value in it.
fn parse<T: DeserializeOwned>(text: &str) -> Result<T> {
    serde_json::from_str(text).map_err(|_| {
        Error::with_message(
            ErrorKind::Value,
            format!("the session value is not a {}", std::any::type_name::<T>()),
        )
    })
}

fn to_text<T: Serialize>(value: &T) -> Result<String> {
    json::to_text(value).map_err(|_| {
        Error::with_message(
            ErrorKind::Value,
            format!("a {} cannot be written as JSON", std::any::type_name::<T>()),
        )
    })
}
