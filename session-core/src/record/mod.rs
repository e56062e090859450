//! The record of a session: the JSON text that aiohttp_session keeps.
//!
//! ```json
//! {"created": 1700000000, "session": {"user_id": 42, "name": "alice"}}
//! ```
//!
//! `{}` stands for an ended session. Loading finds the entries in the text and does not build values: an
//! entry is two ranges of the text, so values which a handler does not touch are written back
//! byte for byte.

pub(crate) mod codec;
mod created;
mod encode;
mod entries;
pub(crate) mod json;
mod parse;
pub(crate) mod stored;

use std::borrow::Cow;
use std::time::{Duration, SystemTime};

use bytes::Bytes;

use crate::record::created::Created;
use crate::record::entries::{Entries, Name, Text};

pub(crate) use crate::record::entries::EntryId;
pub(crate) use crate::record::parse::{Parsed, Unreadable};

/// A session's data and dates.
#[derive(Clone)]
pub(crate) struct Record {
    /// The text that was loaded; empty for a new record.
    text: Bytes,
    entries: Entries,
    created: Created,
    pub(crate) lifetime: Lifetime,
    /// Unix seconds when the session began. Only storages with an absolute lifetime keep it.
    pub(crate) started: Option<u64>,
    /// The public handle of the session: 32 lowercase hexadecimal digits.
    pub(crate) handle: Option<Box<str>>,
}

/// How long after its last write the session lives.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Default)]
pub(crate) enum Lifetime {
    /// As long as the storage's settings say.
    #[default]
    Default,
    Unlimited,
    /// Whole seconds, at least one.
    For(Duration),
}

impl Record {
    /// Makes an empty record that was written at `now`, in Unix seconds.
    pub(crate) fn new(now: u64) -> Self {
        Self {
            text: Bytes::new(),
            entries: Entries::default(),
            created: Created::At(now),
            lifetime: Lifetime::Default,
            started: None,
            handle: None,
        }
    }

    /// Returns the number of entries.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Returns whether there are no entries.
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.len() == 0
    }

    /// Returns the names of the entries in their order. Each lone surrogate becomes U+FFFD.
    pub(crate) fn names(&self) -> impl Iterator<Item = Cow<'_, str>> {
        self.entries.iter().map(|(name, _)| name.show(&self.text))
    }

    /// Returns the JSON text of the value of `name`.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let id = self.entries.find(&self.text, name.as_bytes())?;
        self.entry(id).1
    }

    /// Gives `name` a value, a JSON text: in its place if there is an entry, else at the end.
    ///
    /// A name that was removed and is set again goes to the end under a new id.
    pub(crate) fn set(&mut self, name: &str, value: String) -> EntryId {
        let value = Text::Own(value);
        if let Some(id) = self.entries.find(&self.text, name.as_bytes()) {
            self.entries.replace(id, value);
            return id;
        }
        self.entries.push(&self.text, Name::own(name), value)
    }

    /// Removes the entry of `name` and returns its id, which stays valid.
    pub(crate) fn remove(&mut self, name: &str) -> Option<EntryId> {
        let id = self.entries.find(&self.text, name.as_bytes())?;
        self.entries.remove(&self.text, id);
        Some(id)
    }

    /// Removes all entries. Ids from before are no longer valid.
    pub(crate) fn clear(&mut self) {
        self.entries = Entries::default();
    }

    /// Returns the name of an entry, and its value unless it was removed.
    pub(crate) fn entry(&self, id: EntryId) -> (Cow<'_, str>, Option<&str>) {
        let (name, value) = self.entries.at(id);
        (
            name.show(&self.text),
            value.map(|value| value.str(&self.text)),
        )
    }

    /// Returns when the session was written last, at most the year 9999 away from 1970.
    pub(crate) fn created(&self) -> SystemTime {
        self.created.time()
    }

    /// Notes that the session is written at `now`, in Unix seconds.
    pub(crate) fn set_created(&mut self, now: u64) {
        self.created = Created::At(now);
    }

    /// Returns how many seconds before `now` the session was written; negative in the future.
    pub(crate) fn age(&self, now: u64) -> f64 {
        self.created.age(now)
    }
}
