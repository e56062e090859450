//! Reading and writing records: settings, codec and clock in one place.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;

use crate::clock::{Clock, SystemClock, unix_seconds};
use crate::cookie::CookieSettings;
use crate::error::Result;
use crate::record::codec::Codec;
use crate::record::{Parsed, Record};
use crate::session::{Session, State};

/// What every storage is built on: it makes sessions of stored records and records of sessions,
/// with the cookie's settings, a [`Codec`] and a [`Clock`]. Clones are cheap.
///
/// An application meets it only through the storages. A storage of a new kind, that keeps the
/// whole record somewhere and cannot compare and swap, is built on [`open`](Self::open),
/// [`fresh`](Self::fresh), [`change`](Self::change) and [`saved`](Self::saved).
#[derive(Clone, Debug, Default)]
pub struct Records(Arc<Inner>);

#[derive(Clone, Debug)]
struct Inner {
    cookie: CookieSettings,
    codec: Option<Arc<dyn Codec>>,
    clock: Arc<dyn Clock>,
}

impl Default for Inner {
    fn default() -> Self {
        Self {
            cookie: CookieSettings::default(),
            codec: None,
            clock: Arc::new(SystemClock),
        }
    }
}

/// A change that waits to be stored.
pub struct Pending {
    /// What is to be stored, through the codec; `None`: nothing any more, the record goes and the
    /// client's cookie too.
    pub payload: Option<Vec<u8>>,
    /// For how long the browser keeps the cookie; `None`: until it closes.
    pub max_age: Option<Duration>,
    edits: u64,
}

impl std::fmt::Debug for Pending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pending")
            .field("len", &self.payload.as_ref().map(Vec::len))
            .finish_non_exhaustive()
    }
}

impl Records {
    /// Uses these settings in place of the default ones.
    #[must_use]
    pub fn with_cookie(mut self, cookie: CookieSettings) -> Self {
        Arc::make_mut(&mut self.0).cookie = cookie;
        self
    }

    /// Stores records through `codec` in place of plain JSON.
    #[must_use]
    pub fn with_codec(mut self, codec: impl Codec) -> Self {
        Arc::make_mut(&mut self.0).codec = Some(Arc::new(codec));
        self
    }

    /// Takes the time from `clock` in place of the operating system.
    #[must_use]
    pub fn with_clock(mut self, clock: impl Clock) -> Self {
        Arc::make_mut(&mut self.0).clock = Arc::new(clock);
        self
    }

    /// Returns the cookie's settings.
    pub fn cookie(&self) -> &CookieSettings {
        &self.0.cookie
    }

    /// Returns the present time.
    pub fn now(&self) -> SystemTime {
        self.0.clock.now()
    }

    /// Makes a new, empty session; `client_cookie` says whether the client sent a cookie, which an
    /// invalidation then removes.
    pub fn fresh(&self, client_cookie: bool) -> Session {
        let record = Record::new(unix_seconds(self.now()));
        let state = State {
            client_cookie,
            ..State::new(self, record, true)
        };
        state.into()
    }

    /// Makes a session of what was stored; `None` if that is no record, an ended session's, or an
    /// expired one's. That is then a [`fresh`](Self::fresh) session, and no error.
    pub fn open(&self, payload: impl Into<Bytes>) -> Option<Session> {
        let now = unix_seconds(self.now());
        let record = self.parse(payload.into(), now)?;
        let cookie = self.cookie();
        let age = record.age(now);
        let max_age = record.own_max_age.unwrap_or(cookie.max_age());
        if max_age.is_some_and(|max_age| age > max_age.as_secs_f64()) {
            tracing::debug!("session expired");
            return None;
        }
        if let Some(absolute) = cookie.absolute_max_age()
            && now.saturating_sub(started(&record)) > absolute.as_secs()
        {
            tracing::debug!("session reached its absolute lifetime");
            return None;
        }
        let rolls = cookie.is_rolling()
            && !record.is_empty()
            && max_age.is_some_and(|max_age| age * 10.0 >= max_age.as_secs_f64());
        let state = State {
            rolls,
            client_cookie: true,
            ..State::new(self, record, false)
        };
        Some(state.into())
    }

    /// Passes a stored payload through the codec.
    pub(crate) fn decode(&self, payload: Bytes) -> Option<Bytes> {
        match &self.0.codec {
            None => Some(payload),
            Some(codec) => codec.decode(&payload).map(Bytes::from),
        }
    }

    /// Takes a stored payload apart; `None` if it is `{}` or no record.
    pub(crate) fn parse(&self, payload: Bytes, now: u64) -> Option<Record> {
        let Some(text) = self.decode(payload) else {
            tracing::warn!("session record is unreadable: the codec refused it");
            return None;
        };
        match Record::parse(text, now) {
            Ok(Parsed::Record(record)) => Some(record),
            Ok(Parsed::Ended) => None,
            Err(unreadable) => {
                tracing::warn!("session record is unreadable: {unreadable}");
                None
            }
        }
    }

    /// Returns whether a stored payload is a session's, one that expired too.
    pub(crate) fn is_record(&self, payload: Bytes) -> bool {
        matches!(self.read(payload), Some(Parsed::Record(_)))
    }

    /// Returns whether a stored payload is a session's, or says that one was ended.
    pub(crate) fn is_ours(&self, payload: Bytes) -> bool {
        self.read(payload).is_some()
    }

    fn read(&self, payload: Bytes) -> Option<Parsed> {
        Record::parse(self.decode(payload)?, 0).ok()
    }

    /// Passes a record's JSON text through the codec.
    pub(crate) fn encode(&self, text: Vec<u8>) -> Result<Vec<u8>> {
        match &self.0.codec {
            None => Ok(text),
            Some(codec) => codec.encode(text),
        }
    }

    /// Returns what is to be stored of the changes of `session`, where its record is kept as one
    /// piece; `None` if it stays as it is, or there is still none.
    ///
    /// # Errors
    /// What the codec says.
    pub fn change(&self, session: &Session) -> Result<Option<Pending>> {
        let mut state = session.state();
        let edits = state.edits;
        if !state.is_due() {
            return Ok(None);
        }
        if state.record.is_empty() {
            let goes = !state.new || state.drops_client_cookie();
            return Ok(goes.then_some(Pending {
                payload: None,
                max_age: None,
                edits,
            }));
        }
        state.prepare();
        let payload = Some(self.encode(state.record.encode())?);
        Ok(Some(Pending {
            payload,
            max_age: state.cookie_max_age(),
            edits,
        }))
    }

    /// Notes that a change was stored.
    pub fn saved(&self, session: &Session, change: &Pending) {
        let mut state = session.state();
        if change.payload.is_some() {
            state.settle(change.edits);
        } else {
            state.reset(change.edits);
        }
    }
}

/// When the session began; for a record that does not say, when it was written last.
fn started(record: &Record) -> u64 {
    record
        .started
        .unwrap_or_else(|| unix_seconds(record.created()))
}

impl State {
    /// Returns whether a save has anything to do.
    pub(crate) fn is_due(&self) -> bool {
        self.changes() || self.rolls
    }

    /// Returns whether the save is only the read of a rolling session.
    pub(crate) fn only_rolls(&self) -> bool {
        self.rolls && !self.changes()
    }

    fn changes(&self) -> bool {
        self.changed.max(self.renewed).max(self.invalidated) > 0 || self.replaces.is_some()
    }

    /// Returns whether a session with nothing in it takes the client's cookie away.
    pub(crate) fn drops_client_cookie(&self) -> bool {
        self.client_cookie && (self.invalidated > 0 || self.replaces.is_some())
    }

    /// Brings the record's dates up to date before it is written.
    pub(crate) fn prepare(&mut self) {
        if self.rolls {
            self.record.set_created(unix_seconds(self.records.now()));
        }
        if self.records.cookie().absolute_max_age().is_some() && self.record.started.is_none() {
            let begins = self.new || self.invalidated > 0;
            self.record.started = Some(if begins {
                unix_seconds(self.records.now())
            } else {
                started(&self.record)
            });
        }
    }

    /// What is left of the absolute lifetime, at least a second.
    fn left(&self) -> Option<Duration> {
        let absolute = self.records.cookie().absolute_max_age()?.as_secs();
        let end = started(&self.record).saturating_add(absolute);
        Some(Duration::from_secs(
            end.saturating_sub(unix_seconds(self.records.now())).max(1),
        ))
    }

    /// For how long the browser keeps the cookie.
    pub(crate) fn cookie_max_age(&self) -> Option<Duration> {
        let max_age = self.max_age()?;
        Some(self.left().map_or(max_age, |left| left.min(max_age)))
    }

    /// For how long a store keeps the record.
    pub(crate) fn time_to_live(&self) -> Option<Duration> {
        match (self.max_age(), self.left()) {
            (Some(max_age), Some(left)) => Some(max_age.min(left)),
            (max_age, left) => max_age.or(left),
        }
    }

    /// Forgets what was saved, which is everything up to this edit. If there were others since,
    /// the delta stays as it is: to save a part of it again does no harm.
    pub(crate) fn settle(&mut self, edits: u64) {
        self.new = false;
        self.rolls = false;
        self.client_cookie = true;
        self.replaces = None;
        let flags = [
            &mut self.changed,
            &mut self.renewed,
            &mut self.invalidated,
            &mut self.cleared,
            &mut self.max_age_set,
        ];
        for flag in flags.into_iter().filter(|flag| **flag <= edits) {
            *flag = 0;
        }
        self.removed.retain(|(_, edit)| *edit > edits);
        self.record.settle(edits);
    }

    /// Becomes a new session after its record and cookie went: an empty one, unless something was
    /// set meanwhile.
    pub(crate) fn reset(&mut self, edits: u64) {
        self.settle(edits);
        self.new = true;
        self.client_cookie = false;
        self.identity = None;
        self.base = None;
        self.record.started = None;
        if self.edits == edits {
            self.record = Record::new(unix_seconds(self.records.now()));
        }
    }
}
