//! The index of each user, as the store holds it, and what holds whenever somebody looks.

use serde_json::Value;
use session_core::Storage as _;
use session_core::keyed::{Backend, Found};

use crate::effects::told;
use crate::handle::{Check, fail, must};
use crate::known::{Entry, Known, Record, View, sha256};
use crate::users::steps::USERS;
use crate::users::world::World;
use crate::world::NAME;

/// The index of a user.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Index {
    pub(crate) entries: Vec<Line>,
}

/// A session in it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Line {
    pub(crate) suffix: String,
    /// `u64::MAX`: for ever.
    pub(crate) until: u64,
    pub(crate) handle: String,
}

impl Index {
    fn parse(text: &[u8]) -> Self {
        let json: Value = serde_json::from_slice(text).unwrap();
        let lines = json["sessions"].as_array().unwrap().iter();
        let entries = lines.map(|line| Line {
            suffix: line[0].as_str().unwrap().to_owned(),
            until: line[1].as_u64().unwrap_or(u64::MAX),
            handle: line[2].as_str().unwrap().to_owned(),
        });
        Self {
            entries: entries.collect(),
        }
    }

    pub(crate) fn find(&self, suffix: &str) -> Option<&Line> {
        self.entries.iter().find(|line| line.suffix == suffix)
    }

    pub(crate) fn until(&self) -> u64 {
        self.entries.iter().map(|line| line.until).max().unwrap()
    }
}

/// The key of a user's index.
pub(crate) fn index_key(user: u64) -> String {
    format!("@{NAME}_{}", sha256(&user.to_string()))
}

/// Whose index a key holds.
pub(crate) fn user_of_key(key: &str) -> Option<u64> {
    USERS.into_iter().find(|user| index_key(*user) == key)
}

/// Whose session a record is.
pub(crate) fn user_of(record: &Record) -> Option<u64> {
    record.view.dict.data.get("user").copied()
}

/// Which login made it so.
pub(crate) fn login_of(record: &Record) -> Option<u64> {
    record.view.dict.data.get("login").copied()
}

/// The public handle of the session that a key holds or held.
pub(crate) fn handle_of(known: &Known, record: &Record) -> String {
    record.handle.clone().unwrap_or_else(|| known.handle())
}

impl<B: Backend> World<B> {
    pub(crate) async fn raw_index(&self, user: u64) -> Check<Option<Index>> {
        let found = self.storages[0].backend().read(&index_key(user)).await;
        match found.unwrap() {
            Found::Missing => Ok(None),
            Found::Value(stored) => Ok(Some(Index::parse(stored.value()))),
            Found::Foreign => fail!("the index of {user} is foreign"),
        }
    }

    /// The sessions of a user that requests can load now.
    pub(crate) fn live(&self, user: u64) -> impl Iterator<Item = (usize, &Record)> {
        let (base, now) = (self.setup.base, self.now());
        let known = self.known.iter().enumerate();
        known.filter_map(move |(at, known)| {
            let record = known.entry.record()?;
            (user_of(record) == Some(user) && !record.is_expired(&base, now))
                .then_some((at, record))
        })
    }

    /// P11: each live session that a client knows is listed, long enough. What was ended stays so.
    pub(crate) fn check_listed(&self) -> Check {
        for user in USERS {
            let index = self.index(user);
            for (at, record) in self.live(user) {
                let known = &self.known[at];
                if !known.is_issued {
                    continue;
                }
                let login = login_of(record).unwrap();
                must!(
                    !self.dead.contains(&login),
                    "P11: the login {login} was ended, and lives at {}",
                    told(known)
                );
                if self.lost.contains(&at) {
                    continue;
                }
                let Some(line) = index.find(&known.suffix) else {
                    fail!("P11: {} is not listed", told(known));
                };
                let ends = record.ends(&self.setup.base).unwrap_or(u64::MAX);
                must!(
                    line.until >= ends,
                    "P11: {} is listed until {}, and lives until {ends}",
                    told(known),
                    line.until
                );
            }
        }
        Ok(())
    }

    /// What a client gets that has this cookie.
    pub(crate) async fn look(&self, at: usize) -> Check {
        let known = &self.known[at];
        let session = self.storages[0].load(&[&known.identity]).await.unwrap();
        let yields = known.entry.yields(&self.setup.base, self.now());
        must!(
            View::of(&session).as_ref() == yields,
            "{} yields {:?}",
            told(known),
            View::of(&session)
        );
        Ok(())
    }

    /// Nothing changed in the store, but time may have passed.
    pub(crate) async fn look_at_all(&mut self) -> Check {
        for at in 0..self.known.len() {
            let held = self.raw(at).await;
            let known = &mut self.known[at];
            if held != known.entry {
                must!(held == Entry::Missing, "{} became {held:?}", told(known));
                known.set(held, None, self.tick);
            }
            self.look(at).await?;
        }
        for user in USERS {
            let held = self.raw_index(user).await?;
            must!(
                held.is_none() || held == self.indexes[&user],
                "the index of {user} changed by itself"
            );
            self.indexes.insert(user, held);
        }
        self.check_listed()
    }
}
