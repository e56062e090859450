//! The record of a session: the JSON text that aiohttp_session stores.
//!
//! ```json
//! {"created": 1700000000, "session": {"user_id": 42, "name": "alice"}}
//! ```
//!
//! An object without members, such as `{}`, stands for an ended session.
//!
//! Parsing a record builds no values. It finds where the names and values are in the text, so that
//! values that a handler does not touch are written back byte for byte.

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

/// The data and dates of a session.
#[derive(Clone)]
pub(crate) struct Record {
    /// The text that was loaded; empty for a new record.
    text: Bytes,
    entries: Entries,
    created: Created,
    pub(crate) lifetime: Lifetime,
    /// When the session began, in Unix seconds. It is kept if there is an absolute lifetime.
    pub(crate) started: Option<u64>,
    /// The public handle of the session: 32 lowercase hexadecimal digits.
    pub(crate) handle: Option<Box<str>>,
    /// Until when the index of its user covers the session; `None` if it is not listed.
    pub(crate) listed: Option<Until>,
}

/// Until when something holds. The later one is the greater one.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Until {
    /// Until this time, in Unix seconds.
    At(u64),
    Forever,
}

/// How long the session lives after its last write.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Default)]
pub(crate) enum Lifetime {
    /// As long as the settings of the storage say.
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
            listed: None,
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

    /// Returns the names of the entries in their order.
    ///
    /// In a name that is not Unicode each lone surrogate becomes U+FFFD.
    pub(crate) fn names(&self) -> impl Iterator<Item = Cow<'_, str>> {
        let entries = self.entries.iter();
        entries.map(|(name, _)| name.to_str(&self.text))
    }

    /// Returns the JSON text of the value of `name`.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let id = self.entries.find(&self.text, name.as_bytes())?;
        let value = self.entries.get(id).value.as_ref()?;
        Some(value.str(&self.text))
    }

    /// Sets the value of `name` to `value`, a JSON text.
    ///
    /// An entry keeps its place, a new one goes to the end. A name that was removed before is new
    /// and gets another id.
    pub(crate) fn set(&mut self, name: &str, value: String) -> EntryId {
        let value = Text::Own(value);
        if let Some(id) = self.entries.find(&self.text, name.as_bytes()) {
            self.entries.replace(id, value);
            return id;
        }
        self.entries.add(&self.text, Name::new(name), value)
    }

    /// Removes the entry of `name`. Returns its id, which stays valid.
    pub(crate) fn remove(&mut self, name: &str) -> Option<EntryId> {
        let id = self.entries.find(&self.text, name.as_bytes())?;
        self.entries.remove(&self.text, id);
        Some(id)
    }

    /// Removes all entries. Their ids are no longer valid.
    pub(crate) fn clear(&mut self) {
        self.entries = Entries::default();
    }

    /// Returns the name of an entry, and its value unless it was removed.
    pub(crate) fn entry(&self, id: EntryId) -> (Cow<'_, str>, Option<&str>) {
        let entry = self.entries.get(id);
        let value = entry.value.as_ref();
        let name = entry.name.to_str(&self.text);
        (name, value.map(|value| value.str(&self.text)))
    }

    /// Returns when the session was written last, at most the year 9999 away from 1970.
    pub(crate) fn created(&self) -> SystemTime {
        self.created.time()
    }

    /// Sets when the session was written last, in Unix seconds.
    pub(crate) fn set_created(&mut self, now: u64) {
        self.created = Created::At(now);
    }

    /// Returns how many seconds before `now` the session was written last.
    ///
    /// The number is negative if that is in the future.
    pub(crate) fn age(&self, now: u64) -> f64 {
        self.created.age(now)
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use std::sync::Arc;

    use super::*;

    fn names(record: &Record) -> Vec<Cow<'_, str>> {
        record.names().collect()
    }

    #[test]
    fn a_new_record_is_empty_and_was_written_now() {
        let record = Record::new(7);
        assert!(record.is_empty());
        assert_eq!(record.len(), 0);
        assert_eq!(record.get("a"), None);
        assert_eq!(record.created(), UNIX_EPOCH + Duration::from_secs(7));
        assert_eq!(record.age(10).to_string(), "3");
        assert_eq!(record.age(5).to_string(), "-2");
    }

    #[test]
    fn entries_are_set_replaced_and_removed() {
        let text = Bytes::from_static(br#"{"created": 1, "session": {"a": 1, "b": 2}}"#);
        let Ok(Parsed::Record(parsed)) = Record::parse(text, 1) else {
            panic!("it is a record");
        };
        let mut record = Arc::unwrap_or_clone(parsed);
        let c = record.set("c", "3".into());
        let a = record.set("a", "10".into());
        assert_eq!(names(&record), ["a", "b", "c"]);
        assert_eq!(record.get("a"), Some("10"));
        assert_eq!(record.get("b"), Some("2"));
        assert_eq!(record.entry(a), ("a".into(), Some("10")));

        assert_eq!(record.remove("a"), Some(a));
        assert_eq!(record.remove("a"), None);
        assert_eq!(record.get("a"), None);
        assert_eq!(record.len(), 2);
        assert_eq!(record.entry(a), ("a".into(), None));
        assert_eq!(record.entry(c), ("c".into(), Some("3")));

        let again = record.set("a", "11".into());
        assert_ne!(again, a);
        assert_eq!(names(&record), ["b", "c", "a"]);

        record.clear();
        assert!(record.is_empty());
        assert_eq!(record.get("b"), None);
        record.set("b", "20".into());
        assert_eq!(names(&record), ["b"]);
    }

    #[test]
    fn a_removed_last_entry_leaves_an_empty_record() {
        let mut record = Record::new(1);
        record.set("a", "1".into());
        record.remove("a");
        assert!(record.is_empty());
        assert_eq!(record.names().count(), 0);
    }

    #[test]
    fn writing_sets_the_date() {
        let mut record = Record::new(1);
        record.set_created(5);
        assert_eq!(record.created(), UNIX_EPOCH + Duration::from_secs(5));
        assert_eq!(record.age(5).to_string(), "0");
    }
}
