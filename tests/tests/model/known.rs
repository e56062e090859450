//! Every identity that there ever was, and what the store holds for it.

use std::time::{Duration, UNIX_EPOCH};

use session_core::Session;
use session_core::keyed::Found;
use sha2::{Digest, Sha256};

use crate::handle::Dict;
use crate::steps::Setup;

/// How much longer than its session a record is kept.
const GRACE: u64 = 300;

/// How long a tombstone is kept.
const TOMBSTONE: u64 = 60;

/// A session, as a record or a handler has it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct View {
    pub(crate) dict: Dict,
    /// When it was written last, in Unix seconds.
    pub(crate) created: u64,
}

impl View {
    /// `None` if it is a new session's.
    pub(crate) fn of(session: &Session) -> Option<Self> {
        let created = session.created().duration_since(UNIX_EPOCH).unwrap();
        (!session.is_new()).then(|| Self {
            dict: Dict::of(session),
            created: created.as_secs(),
        })
    }
}

/// A record in the store.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Record {
    pub(crate) view: View,
    /// When the session began, if its lifetime is absolute.
    pub(crate) started: Option<u64>,
    /// Tells which session it is, once that was renewed.
    pub(crate) handle: Option<String>,
    /// Until when the index of its user covers it; `u64::MAX`: for ever.
    pub(crate) listed: Option<u64>,
}

impl Record {
    pub(crate) fn is_empty(&self) -> bool {
        self.view.dict.is_empty()
    }

    pub(crate) fn is_expired(&self, setup: &Setup, now: u64) -> bool {
        let max_age = self.view.dict.max_age.as_ref().map(Duration::as_secs);
        let is_over = |from: u64, age: Option<u64>| age.is_some_and(|age| now > from + age);
        let absolute = self
            .started
            .is_some_and(|started| is_over(started, setup.absolute));
        is_over(self.view.created, max_age) || absolute
    }

    /// Until when requests can load it; `None`: for ever.
    pub(crate) fn ends(&self, setup: &Setup) -> Option<u64> {
        let max_age = self.view.dict.max_age.as_ref().map(Duration::as_secs);
        let idle = max_age.map(|age| self.view.created + age);
        let absolute = self.started.zip(setup.absolute);
        let absolute = absolute.map(|(started, age)| started + age);
        idle.into_iter().chain(absolute).min()
    }

    /// How long it lives if it is written now.
    fn remaining(&self, setup: &Setup, now: u64) -> Option<u64> {
        let left = self.left(setup, now);
        let max_age = self.view.dict.max_age.as_ref().map(Duration::as_secs);
        max_age.into_iter().chain(left).min()
    }

    /// How long a browser keeps its cookie.
    pub(crate) fn cookie_max_age(&self, setup: &Setup, now: u64) -> Option<u64> {
        let max_age = self.view.dict.max_age.as_ref().map(Duration::as_secs)?;
        Some(
            self.left(setup, now)
                .map_or(max_age, |left| left.min(max_age)),
        )
    }

    fn left(&self, setup: &Setup, now: u64) -> Option<u64> {
        let end = self.started? + setup.absolute?;
        Some(end.saturating_sub(now).max(1))
    }
}

/// What a key holds.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Entry {
    Missing,
    Record(Record),
    /// A renewal moved the session to the key with this suffix.
    Moved(String),
    Replaced,
    Ended,
    Revoked,
    /// `{}`
    Python,
    Foreign,
}

impl Entry {
    pub(crate) fn of(found: &Found, setup: &Setup) -> Self {
        let text = match found {
            Found::Missing => return Self::Missing,
            Found::Foreign => return Self::Foreign,
            Found::Value(stored) => stored.value(),
        };
        match &text[..] {
            b"{}" => return Self::Python,
            b"{ }" => return Self::Ended,
            b"{\t}" => return Self::Replaced,
            b"{\n}" => return Self::Revoked,
            [b'{', b'\r', digits @ .., b'}'] => {
                let digit = |space: &u8| b" \t\n\r".iter().position(|digit| digit == space);
                let byte = |four: &[u8]| {
                    let digits = four.iter().map(|space| digit(space).unwrap());
                    digits.fold(0, |byte, digit| byte << 2 | u8::try_from(digit).unwrap())
                };
                let suffix = digits.chunks(4).map(byte).collect();
                return Self::Moved(String::from_utf8(suffix).unwrap());
            }
            _ => {}
        }
        let json: serde_json::Value = serde_json::from_slice(text).unwrap();
        let Some(session) = json["session"].as_object() else {
            return Self::Foreign;
        };
        let values = session
            .iter()
            .map(|(key, value)| (key.clone(), value.as_u64().unwrap()));
        let max_age = match json.get("max_age") {
            None => setup.max_age,
            Some(max_age) => max_age.as_u64(),
        };
        let dict = Dict {
            data: values.collect(),
            max_age: max_age.map(Duration::from_secs),
        };
        Self::Record(Record {
            view: View {
                dict,
                created: json["created"].as_u64().unwrap(),
            },
            started: json.get("started").map(|started| started.as_u64().unwrap()),
            handle: json
                .get("handle")
                .map(|handle| handle.as_str().unwrap().to_owned()),
            listed: json
                .get("listed")
                .map(|until| until.as_u64().unwrap_or(u64::MAX)),
        })
    }

    pub(crate) fn record(&self) -> Option<&Record> {
        match self {
            Self::Record(record) => Some(record),
            _ => None,
        }
    }

    /// What a client's request yields that comes now.
    pub(crate) fn yields(&self, setup: &Setup, now: u64) -> Option<&View> {
        let record = self.record()?;
        let is_there = !record.is_empty() && !record.is_expired(setup, now);
        is_there.then_some(&record.view)
    }

    /// Whether a request that finds it when it loads must not write.
    pub(crate) fn forbids(&self) -> bool {
        matches!(self, Self::Moved(_) | Self::Replaced | Self::Ended)
    }

    /// Whether the client has a newer cookie, or is about to get it.
    pub(crate) fn is_replaced(&self) -> bool {
        matches!(self, Self::Moved(_) | Self::Replaced)
    }

    /// How long the store must keep it that is written now.
    pub(crate) fn time_to_live(&self, setup: &Setup, now: u64) -> Option<u64> {
        match self {
            Self::Record(record) => record.remaining(setup, now).map(|age| age + GRACE),
            _ => Some(TOMBSTONE),
        }
    }
}

/// An identity that was drawn, or that a client made up.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) identity: String,
    /// What its key ends with.
    pub(crate) suffix: String,
    /// The request that drew it.
    pub(crate) owner: usize,
    /// A save that was acknowledged gave it to a client.
    pub(crate) is_issued: bool,
    pub(crate) entry: Entry,
    /// When the store forgets it.
    pub(crate) until: Option<u64>,
    /// What it held, from which tick on.
    history: Vec<(usize, Entry)>,
    /// Where a renewal moved it once.
    pub(crate) moved_to: Option<usize>,
}

impl Known {
    pub(crate) fn new(identity: String, setup: &Setup, owner: usize) -> Self {
        let suffix = if setup.hash_identities {
            sha256(&identity)
        } else {
            identity.clone()
        };
        Self {
            identity,
            suffix,
            owner,
            is_issued: false,
            entry: Entry::Missing,
            until: None,
            history: vec![(0, Entry::Missing)],
            moved_to: None,
        }
    }

    /// The handle of a session that began under this identity.
    pub(crate) fn handle(&self) -> String {
        let mut handle = sha256(&self.identity);
        handle.truncate(32);
        handle
    }

    pub(crate) fn set(&mut self, entry: Entry, until: Option<u64>, tick: usize) {
        self.history.push((tick, entry.clone()));
        (self.entry, self.until) = (entry, until);
    }

    /// What it held at some time since this tick.
    pub(crate) fn since(&self, tick: usize) -> impl Iterator<Item = &Entry> {
        let first = self.history.iter().rposition(|(at, _)| *at <= tick);
        let since = &self.history[first.unwrap_or(0)..];
        since.iter().map(|(_, entry)| entry)
    }
}

pub(crate) fn sha256(text: &str) -> String {
    format!("{:x}", Sha256::digest(text.as_bytes()))
}
