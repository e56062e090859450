//! Making sessions: new ones, and those of stored records.

use std::sync::Arc;

use bytes::Bytes;

use crate::config::{Content, SessionConfig};
use crate::metrics::Counter;
use crate::record::{Record, Unreadable};
use crate::session::Session;
use crate::session::lifetime;
use crate::session::state::{Origin, Place, State};

impl SessionConfig {
    /// Makes a new, empty session. `sent_cookie` tells whether the client sent a cookie, which
    /// [`invalidate`](Session::invalidate) then removes.
    pub fn new_session(&self, sent_cookie: bool) -> Session {
        self.empty_session(
            Place::Unsaved,
            Origin {
                sent_cookie,
                ..Origin::default()
            },
        )
    }

    /// Makes a session from its stored bytes, for a storage without compare-and-swap.
    ///
    /// Returns `None` if the bytes are not a record, or if the session has ended or expired. Use a
    /// [new session](Self::new_session) then.
    pub fn open(&self, stored: impl Into<Bytes>) -> Option<Session> {
        let now = self.unix_now();
        let record = match self.read(stored.into(), now) {
            Content::Record(record) => record,
            Content::Empty(_) => return None,
            Content::Foreign(why) => {
                self.log_unreadable(&why);
                return None;
            }
        };
        if lifetime::is_expired(self, &record, now) {
            self.log_expired();
            return None;
        }
        let origin = Origin {
            sent_cookie: true,
            ..Origin::default()
        };
        Some(self.loaded_session(record, Place::InCookie, origin, now))
    }

    /// Makes the session of a login. Saving it ends the sessions of the client's cookies.
    pub(crate) fn login_session(&self, sent_cookie: bool) -> Session {
        self.empty_session(
            Place::Unsaved,
            Origin {
                sent_cookie,
                is_login: true,
                ..Origin::default()
            },
        )
    }

    /// Makes a session without keys.
    pub(crate) fn empty_session(&self, place: Place, origin: Origin) -> Session {
        let record = Arc::new(Record::new(self.unix_now()));
        State::new(self, record, place, origin).into()
    }

    /// Makes a session of a record that has not expired.
    pub(crate) fn loaded_session(
        &self,
        record: Arc<Record>,
        place: Place,
        origin: Origin,
        now: u64,
    ) -> Session {
        let refresh = lifetime::is_refresh_due(self, &record, now);
        let mut state = State::new(self, record, place, origin);
        state.refresh = refresh;
        state.into()
    }

    pub(crate) fn log_unreadable(&self, why: &Unreadable) {
        self.metrics().count(Counter::Unreadable);
        let cookie = self.cookie().name();
        tracing::warn!(
            target: "session::load",
            cookie,
            op = "load",
            "session record is unreadable: {why}"
        );
    }

    pub(crate) fn log_expired(&self) {
        let cookie = self.cookie().name();
        tracing::debug!(target: "session::load", cookie, op = "load", "session has expired");
    }
}
