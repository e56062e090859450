//! Listing a user's sessions for the application.

use std::sync::Arc;

use crate::error::Result;
use crate::keyed::KeyedStorage;
use crate::keyed::backend::Backend;
use crate::keyed::load::Opened;
use crate::keyed::tombstone::Tombstone;
use crate::record::Record;
use crate::session::{Session, lifetime};
use crate::users::{User, UserSession};

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
        let mut sessions: Vec<UserSession> = Vec::new();
        for entry in index.entries {
            let address = self.address_of(entry.suffix.clone());
            let found = self.backend.read(&address.key).await?;
            let record = match self.open(&found, self.config.unix_now()) {
                Opened::Record(record) if self.is_live(&record, user) => record,
                Opened::Tombstone(Tombstone::Moved(to)) => {
                    if let Some(own) = &mut own {
                        own.note_move(&entry.suffix, &Arc::from(to));
                    }
                    continue;
                }
                _ => continue,
            };
            let is_current = own.as_ref().is_some_and(|own| own.is_entry(&entry));
            let session = UserSession {
                handle: entry.handle,
                is_current,
                record,
            };
            // While a session is renewed it has two records.
            match sessions.last_mut() {
                Some(last) if last.handle == session.handle => *last = session,
                _ => sessions.push(session),
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
