//! Loading: from the values of the client's cookies to a session.

use std::sync::Arc;

use crate::config::Content;
use crate::cookie::request::MAX_TRIED_COOKIES;
use crate::error::Result;
use crate::keyed::KeyedStorage;
use crate::keyed::backend::{Backend, Found};
use crate::keyed::tombstone::Tombstone;
use crate::metrics::Counter;
use crate::record::stored::Stored;
use crate::record::{Record, Unreadable};
use crate::session::identity::Identity;
use crate::session::state::{EndedBy, Origin, Place};
use crate::session::{Session, lifetime};

/// What a key holds, in terms of sessions.
pub(super) enum Opened {
    Missing,
    /// A session's record. The session may have expired, or have no keys.
    Record(Arc<Record>),
    Tombstone(Tombstone),
    /// `{}`: Python ended a session.
    EndedByPython,
    /// Another program's data, or a damaged record.
    Foreign(Unreadable),
}

impl<B: Backend> KeyedStorage<B> {
    /// Classifies what a key holds.
    pub(super) fn open(&self, found: &Found, now: u64) -> Opened {
        let stored = match found {
            Found::Missing => return Opened::Missing,
            Found::Foreign => return Opened::Foreign(Unreadable("the key holds another type")),
            Found::Value(stored) => stored,
        };
        match self.config.read(stored.value().clone(), now) {
            Content::Record(record) => Opened::Record(record),
            Content::Empty(text) => {
                Tombstone::parse(&text).map_or(Opened::EndedByPython, Opened::Tombstone)
            }
            Content::Foreign(why) => Opened::Foreign(why),
        }
    }

    /// Returns the session of the first cookie that has one, else a new session.
    pub(super) async fn load_session(&self, cookies: &[&str]) -> Result<Session> {
        self.prefix.check(self.config.cookie().name())?;
        let mut tried: Vec<Identity> = Vec::new();
        let mut ended_by: Option<EndedBy> = None;
        let mut emptied: Option<(Identity, Stored)> = None;
        for (at, cookie) in cookies.iter().enumerate() {
            let Some(identity) = self.parse(cookie).filter(|one| !tried.contains(one)) else {
                continue;
            };
            if tried.len() == MAX_TRIED_COOKIES {
                break;
            }
            let key = self.address(&identity).key;
            let found = self.backend.read(&key).await?;
            let now = self.config.unix_now();
            match (self.open(&found, now), found) {
                (Opened::Record(record), Found::Value(seen)) => {
                    if lifetime::is_expired(&self.config, &record, now) {
                        self.config.log_expired();
                    } else if record.is_empty() {
                        emptied.get_or_insert((identity.clone(), seen));
                    } else {
                        self.add_candidates(&mut tried, &cookies[at + 1..], &identity);
                        let place = Place::InStore {
                            identity,
                            seen,
                            emptied: false,
                        };
                        let origin = Origin {
                            sent_cookie: true,
                            cookies: tried,
                            ..Origin::default()
                        };
                        return Ok(self.config.loaded_session(record, place, origin, now));
                    }
                }
                (Opened::Tombstone(tombstone), _) => {
                    self.config
                        .metrics()
                        .count(tombstone_counter(tombstone.ended_by()));
                    ended_by = ended_by.max(Some(tombstone.ended_by()));
                }
                (Opened::Foreign(why), _) => self.config.log_unreadable(&why),
                _ => self.log_unknown(&identity),
            }
            tried.push(identity);
        }
        let place = match emptied {
            None => Place::Unsaved,
            Some((identity, seen)) => {
                tried.retain(|other| *other != identity);
                Place::InStore {
                    identity,
                    seen,
                    emptied: true,
                }
            }
        };
        let origin = Origin {
            sent_cookie: !cookies.is_empty(),
            is_login: false,
            cookies: tried,
            ended_by,
        };
        Ok(self.config.empty_session(place, origin))
    }

    fn log_unknown(&self, identity: &Identity) {
        tracing::debug!(
            target: "session::load",
            cookie = self.config.cookie().name(),
            op = "load",
            // The macro computes the hash only if the event is enabled.
            session = identity.fingerprint(),
            "session is unknown"
        );
    }

    /// Adds the identities that the cookies spell, up to the limit.
    fn add_candidates(&self, tried: &mut Vec<Identity>, cookies: &[&str], except: &Identity) {
        for cookie in cookies {
            if tried.len() + 1 >= MAX_TRIED_COOKIES {
                return;
            }
            if let Some(identity) = self.parse(cookie)
                && identity != *except
                && !tried.contains(&identity)
            {
                tried.push(identity);
            }
        }
    }
}

/// Returns the counter for a tombstone that a load found.
fn tombstone_counter(ended_by: EndedBy) -> Counter {
    match ended_by {
        EndedBy::Logout => Counter::TombstoneOfLogout,
        EndedBy::Login => Counter::TombstoneOfLogin,
        EndedBy::Renewal => Counter::TombstoneOfRenewal,
        EndedBy::Revoked => Counter::TombstoneOfRevocation,
    }
}
