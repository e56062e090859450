//! Listing a user's sessions for the application.

use crate::error::Result;
use crate::keyed::KeyedStorage;
use crate::keyed::backend::Backend;
use crate::keyed::load::Opened;
use crate::keyed::tombstone::Tombstone;
use crate::keyed::users::index::Index;
use crate::keyed::users::listed::AT_ONCE;
use crate::keyed::users::own::CallerSession;
use crate::record::Record;
use crate::session::{Session, lifetime};
use crate::users::{User, UserSession};

/// How many times the backend's limit for one call a list may take, after the index was read.
const LIST_TIMEOUTS: u32 = 4;

impl<B: Backend> KeyedStorage<B> {
    /// Returns the live sessions of a user, the oldest first.
    pub(super) async fn list_sessions(
        &self,
        user: &User,
        current: Option<&Session>,
    ) -> Result<Vec<UserSession>> {
        let mut own = current.and_then(|session| self.own(session));
        let Some(index) = self.read_index(user, own.as_ref()).await? else {
            return Ok(Vec::new());
        };
        let reading = Box::pin(self.read_sessions(&index, user, &mut own));
        self.backend.bound(reading, LIST_TIMEOUTS).await?
    }

    async fn read_sessions(
        &self,
        index: &Index,
        user: &User,
        own: &mut Option<CallerSession>,
    ) -> Result<Vec<UserSession>> {
        let mut sessions: Vec<UserSession> = Vec::new();
        for entries in index.entries.chunks(AT_ONCE) {
            let found = self.read_entries(entries).await?;
            for (entry, found) in entries.iter().zip(found) {
                let record = match self.open(&found, self.config.unix_now()) {
                    Opened::Record(record) if self.is_live(&record, user) => record,
                    Opened::Tombstone(Tombstone::Moved(to)) => {
                        if let Some(own) = own {
                            own.note_move(&entry.suffix, &to);
                        }
                        continue;
                    }
                    _ => continue,
                };
                let is_current = own.as_ref().is_some_and(|own| own.is_entry(entry));
                let session = UserSession {
                    handle: entry.handle.clone(),
                    is_current,
                    record,
                };
                // While a session is renewed it has two records.
                match sessions.last_mut() {
                    Some(last) if last.handle == session.handle => *last = session,
                    _ => sessions.push(session),
                }
            }
        }
        Ok(sessions)
    }

    /// Returns whether a record is a session of this user that requests can still load.
    pub(super) fn is_live(&self, record: &Record, user: &User) -> bool {
        self.user_of(record).as_ref() == Some(user)
            && !lifetime::is_expired(&self.config, record, self.config.unix_now())
    }
}
