//! Saving in a storage that keeps the whole record in one place and does not compare.

use std::fmt;
use std::task::Poll;
use std::time::Duration;

use crate::config::SessionConfig;
use crate::cookie::change::CookieChange;
use crate::error::Result;
use crate::session::delta::IdentityChange;
use crate::session::state::Place;
use crate::session::{Draft, Session, lifetime};

/// A change that is not stored yet. Dropping it gives the change back to its session.
pub struct Staged {
    draft: Draft,
    payload: Option<Vec<u8>>,
}

impl SessionConfig {
    /// Takes the changes out of `session`, for the storage to store; `None` if nothing changes.
    ///
    /// # Errors
    /// - Those of the codec.
    /// - [`ErrorKind::Settings`](crate::ErrorKind::Settings) if another storage loaded the session.
    pub async fn stage(&self, session: &Session) -> Result<Option<Staged>> {
        let draft = match session.begin_save(self)? {
            Poll::Ready(draft) => draft,
            Poll::Pending => session.begin_next_save().await,
        };
        let Some(draft) = draft else {
            return Ok(None);
        };
        let payload = if draft.record.is_empty() {
            let ends = draft.delta.identity == IdentityChange::End || draft.origin.is_login;
            let removes_cookie = draft.origin.sent_cookie && ends;
            if matches!(draft.place, Place::Unsaved) && !removes_cookie {
                return Ok(None);
            }
            None
        } else {
            Some(self.encode(draft.record.encode())?)
        };
        Ok(Some(Staged { draft, payload }))
    }
}

impl Staged {
    /// Borrows the bytes to store. `None`: the record and the client's cookie are removed.
    pub fn payload(&self) -> Option<&[u8]> {
        self.payload.as_deref()
    }

    /// Returns how long the browser keeps the cookie; `None`: until it closes.
    pub fn max_age(&self) -> Option<Duration> {
        lifetime::cookie_max_age(&self.draft.config, &self.draft.record)
    }

    /// Marks the change as stored. `change` is what the storage does with the cookie.
    pub fn commit(mut self, change: &CookieChange) {
        if self.payload.is_some() {
            self.draft.commit(Place::InCookie);
        } else {
            self.draft.commit_removal();
        }
        self.draft.finish(change);
    }
}

impl fmt::Debug for Staged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Staged")
            .field("len", &self.payload.as_ref().map(Vec::len))
            .finish_non_exhaustive()
    }
}
