//! The record that lists the sessions of one user.
//!
//! ```json
//! {"sessions": [["KEY", 1700000000, "HANDLE"]], "checked": 1}
//! ```
//!
//! An entry has the key of the session without the cookie's name, until when the index covers it
//! (null: for ever), and the public handle. The oldest session comes first.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use serde_json::value::RawValue;

use crate::record::Until;
use crate::session::identity::Identity;

/// A list shorter than this is not checked for sessions that are gone.
const MIN_CHECKED: usize = 16;

/// The sessions of one user.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Index {
    pub(super) entries: Vec<Entry>,
    /// How many entries there were when those that are gone were last taken out.
    pub(super) checked: usize,
}

/// A session in the index. A renewal adds a second entry with the same handle.
#[derive(Clone, Eq, PartialEq)]
pub(super) struct Entry {
    /// The session's key without the cookie's name.
    pub(super) suffix: Arc<str>,
    pub(super) until: Until,
    pub(super) handle: Box<str>,
}

impl Index {
    /// Reads the JSON text; `None` if it is no index.
    pub(super) fn parse(text: &[u8]) -> Option<Self> {
        let members: BTreeMap<String, Box<RawValue>> = serde_json::from_slice(text).ok()?;
        let sessions = members.get("sessions")?.get();
        let sessions: Vec<(String, Option<u64>, String)> = serde_json::from_str(sessions).ok()?;
        let checked = serde_json::from_str(members.get("checked")?.get()).ok()?;
        let entries: Option<Vec<Entry>> = sessions.into_iter().map(entry).collect();
        Some(Self {
            entries: entries?,
            checked,
        })
    }

    /// Writes the JSON text.
    pub(super) fn to_text(&self) -> Vec<u8> {
        let mut text = String::from("{\"sessions\": [");
        for (at, entry) in self.entries.iter().enumerate() {
            let until = match entry.until {
                Until::At(seconds) => seconds.to_string(),
                Until::Forever => "null".into(),
            };
            // Keys and handles need no escapes.
            let more = [
                if at == 0 { "[\"" } else { ", [\"" },
                &entry.suffix,
                "\", ",
                &until,
                ", \"",
                &entry.handle,
                "\"]",
            ];
            text.extend(more);
        }
        text.push_str("], \"checked\": ");
        text.push_str(&self.checked.to_string());
        text.push('}');
        text.into_bytes()
    }

    /// Returns until when the index is needed; `None` if it has no entry.
    pub(super) fn until(&self) -> Option<Until> {
        self.entries.iter().map(|entry| entry.until).max()
    }

    /// Returns whether this session is covered at least as long as `entry` says.
    pub(super) fn covers(&self, entry: &Entry) -> bool {
        let mut entries = self.entries.iter();
        entries.any(|it| it.suffix == entry.suffix && it.until >= entry.until)
    }

    /// Returns whether the session of `entry` is listed, be it under another key.
    pub(super) fn has(&self, entry: &Entry) -> bool {
        let mut entries = self.entries.iter();
        entries.any(|it| it.suffix == entry.suffix || it.handle == entry.handle)
    }

    /// Puts an entry into the list. A session that is listed already keeps its place, and a renewed
    /// one gets the place behind its old record.
    pub(super) fn put(&mut self, entry: Entry) {
        let same = |it: &Entry| it.suffix == entry.suffix;
        if let Some(at) = self.entries.iter().position(same) {
            self.entries[at] = entry;
            return;
        }
        let kin = |it: &Entry| it.handle == entry.handle;
        match self.entries.iter().rposition(kin) {
            Some(at) => self.entries.insert(at + 1, entry),
            None => self.entries.push(entry),
        }
    }

    /// Takes out the entries whose time is over, except that of `kept`.
    pub(super) fn drop_expired(&mut self, now: u64, kept: &str) {
        self.entries
            .retain(|entry| entry.until >= Until::At(now) || *entry.suffix == *kept);
    }

    /// Takes out these entries. Returns whether there were any.
    pub(super) fn drop_gone(&mut self, gone: &HashSet<Arc<str>>) -> bool {
        let before = self.entries.len();
        self.entries.retain(|entry| !gone.contains(&entry.suffix));
        self.entries.len() < before
    }

    /// Returns whether the list has doubled since it was last checked.
    pub(super) fn has_doubled(&self) -> bool {
        self.entries.len() >= self.checked.saturating_mul(2).max(MIN_CHECKED)
    }

    /// Returns the handles without repetition, the oldest first.
    pub(super) fn handles(&self) -> Vec<&str> {
        let mut seen = HashSet::new();
        let handles = self.entries.iter().map(|entry| &*entry.handle);
        handles.filter(|handle| seen.insert(*handle)).collect()
    }
}

/// Checks an entry. What a key cannot hold is refused.
fn entry((suffix, until, handle): (String, Option<u64>, String)) -> Option<Entry> {
    let is_digit = |byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    let is_handle = handle.len() == 32 && handle.bytes().all(is_digit);
    is_handle.then_some(Entry {
        suffix: Identity::parse(&suffix)?.text(),
        until: until.map_or(Until::Forever, Until::At),
        handle: handle.into(),
    })
}

/// Shows no key.
impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Entry")
            .field("until", &self.until)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(key: char, until: Until, handle: char) -> Entry {
        Entry {
            suffix: key.to_string().repeat(32).into(),
            until,
            handle: handle.to_string().repeat(32).into(),
        }
    }

    fn keys(index: &Index) -> String {
        let keys = index.entries.iter().map(|entry| &entry.suffix[..1]);
        keys.collect()
    }

    #[test]
    fn an_index_is_written_and_read() {
        let mut index = Index::default();
        assert_eq!(index.to_text(), b"{\"sessions\": [], \"checked\": 0}");
        assert_eq!(index.until(), None);
        index.put(entry('x', Until::At(7), 'a'));
        index.put(entry('y', Until::Forever, 'b'));
        index.checked = 2;
        let text = index.to_text();
        let (x, y) = ("x".repeat(32), "y".repeat(32));
        let (a, b) = ("a".repeat(32), "b".repeat(32));
        assert_eq!(
            String::from_utf8(text.clone()).unwrap(),
            format!(r#"{{"sessions": [["{x}", 7, "{a}"], ["{y}", null, "{b}"]], "checked": 2}}"#)
        );
        assert_eq!(Index::parse(&text), Some(index.clone()));
        assert_eq!(index.until(), Some(Until::Forever));
        assert!(!format!("{index:?}").contains("xx"));
    }

    #[test]
    fn other_texts_are_no_index() {
        let a = "a".repeat(32);
        for text in [
            "",
            "{}",
            "[]",
            "null",
            "{ }",
            r#"{"sessions": []}"#,
            r#"{"checked": 0}"#,
            r#"{"sessions": {}, "checked": 0}"#,
            r#"{"sessions": [], "checked": -1}"#,
            r#"{"created": 1, "session": {}}"#,
            &format!("{{\"sessions\": [[\"{a}\", 1]], \"checked\": 0}}"),
            &format!("{{\"sessions\": [[\"{a}\", 1, \"a\"]], \"checked\": 0}}"),
            &format!("{{\"sessions\": [[\"a b\", 1, \"{a}\"]], \"checked\": 0}}"),
            &format!("{{\"sessions\": [[\"a\", 1, \"{a}\"]], \"checked\": 0}}"),
        ] {
            assert_eq!(Index::parse(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn a_session_keeps_its_place() {
        let mut index = Index::default();
        for (key, handle) in [('x', 'a'), ('y', 'b'), ('z', 'c')] {
            index.put(entry(key, Until::At(7), handle));
        }
        assert!(index.covers(&entry('x', Until::At(7), 'a')));
        assert!(!index.covers(&entry('x', Until::At(8), 'a')));
        index.put(entry('x', Until::At(9), 'a'));
        assert!(index.covers(&entry('x', Until::At(8), 'a')));
        index.put(entry('v', Until::At(7), 'b'));
        index.put(entry('w', Until::At(7), 'b'));
        assert_eq!(keys(&index), "xyvwz");
        assert_eq!(index.handles().len(), 3);
        index.drop_expired(8, &"z".repeat(32));
        assert_eq!(keys(&index), "xz");
        let gone = HashSet::from(["x".repeat(32).into()]);
        assert!(index.drop_gone(&gone));
        assert!(!index.drop_gone(&gone));
        assert_eq!(keys(&index), "z");
    }

    #[test]
    fn a_list_is_checked_when_it_has_doubled() {
        let mut index = Index::default();
        let mut checks = Vec::new();
        for number in 1..200 {
            let key = format!("{number:032}");
            index.put(Entry {
                suffix: key.as_str().into(),
                until: Until::At(7),
                handle: key.into(),
            });
            if index.has_doubled() {
                index.checked = number;
                checks.push(number);
            }
        }
        assert_eq!(checks, [16, 32, 64, 128]);
    }
}
