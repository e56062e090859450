//! The record of a session: the JSON text that aiohttp_session keeps.
//!
//! ```json
//! {"created": 1700000000, "session": {"user_id": 42, "name": "alice"}}
//! ```
//!
//! `{}` stands for an empty, or ended, session. Loading takes the text apart without building
//! values: an entry is two ranges of it, so that what nobody touches goes back byte for byte.

pub(crate) mod codec;
pub(crate) mod json;
mod parse;

use std::borrow::Cow;
use std::ops::Range;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
pub(crate) use parse::Parsed;

use crate::record::json::{unescape, unescape_lossy};

/// The latest time that a `created` is taken for, the end of the year 9999: what calendars and
/// HTTP dates can say.
const LATEST: f64 = 253_402_300_799.0;

/// A session's data and dates.
#[derive(Clone)]
pub(crate) struct Record {
    text: Bytes,
    entries: Vec<Entry>,
    created: Created,
    /// The session's own lifetime where it differs from the storage's: `Some(None)` is "no limit".
    pub(crate) own_max_age: Option<Option<Duration>>,
    /// Unix seconds when the session began, kept where an absolute lifetime is set.
    pub(crate) started: Option<u64>,
}

#[derive(Clone)]
struct Entry {
    /// The JSON string's text without its quotes.
    name: Text,
    /// Whether there is an escape in the name's text: what it spells is something else then.
    escaped: bool,
    value: Text,
    /// The edit that set it, part of the delta; 0: as the store has it.
    dirty: u64,
}

/// A piece of the loaded text, or text of its own.
#[derive(Clone)]
enum Text {
    Loaded(usize, usize),
    Own(String),
}

/// When the session was written last.
#[derive(Clone)]
enum Created {
    /// Unix seconds.
    At(u64),
    /// As it was loaded: Python may have written a float, and a record that is only touched goes
    /// back as it was.
    Found { seconds: f64, text: Text },
    /// The record did not say. Python says "now" when asked, but counts the age from 1970.
    Missing { now: u64 },
}

impl Record {
    /// Returns an empty record written at `now`, in Unix seconds.
    pub(crate) fn new(now: u64) -> Self {
        Self {
            text: Bytes::new(),
            entries: Vec::new(),
            created: Created::At(now),
            own_max_age: None,
            started: None,
        }
    }

    /// Returns the record's text.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let entries: usize = self
            .entries
            .iter()
            .map(|entry| entry.name.len() + entry.value.len() + 6)
            .sum();
        let mut out = Vec::with_capacity(entries + 48);
        out.extend_from_slice(b"{\"created\": ");
        match &self.created {
            Created::At(seconds) | Created::Missing { now: seconds } => {
                write_number(&mut out, *seconds);
            }
            Created::Found { text, .. } => out.extend_from_slice(text.bytes(&self.text)),
        }
        out.extend_from_slice(b", \"session\": {");
        for (index, entry) in self.entries.iter().enumerate() {
            out.extend_from_slice(if index == 0 { b"\"" } else { b", \"" });
            out.extend_from_slice(entry.name.bytes(&self.text));
            out.extend_from_slice(b"\": ");
            out.extend_from_slice(entry.value.bytes(&self.text));
        }
        out.push(b'}');
        match self.own_max_age {
            Some(Some(age)) => {
                out.extend_from_slice(b", \"max_age\": ");
                write_number(&mut out, age.as_secs());
            }
            Some(None) => out.extend_from_slice(b", \"max_age\": null"),
            None => {}
        }
        if let Some(started) = self.started {
            out.extend_from_slice(b", \"started\": ");
            write_number(&mut out, started);
        }
        out.push(b'}');
        out
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Returns the names of the entries in their order. What is no Unicode (a lone surrogate from
    /// Python) shows as U+FFFD.
    pub(crate) fn names(&self) -> impl Iterator<Item = Cow<'_, str>> {
        self.entries.iter().map(|entry| {
            let spelled = entry.spelled(&self.text);
            spelled.unwrap_or_else(|| Cow::Owned(unescape_lossy(entry.name.str(&self.text))))
        })
    }

    /// Returns the JSON text of the value under `name`.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.position(name)
            .map(|at| self.entries[at].value.str(&self.text))
    }

    /// Puts `value`, a JSON text, under `name`: in its place if there is one, else at the end.
    pub(crate) fn set(&mut self, name: &str, value: String, edit: u64) {
        let value = Text::Own(value);
        match self.position(name) {
            Some(at) => {
                self.entries[at].value = value;
                self.entries[at].dirty = edit;
            }
            None => self.entries.push(Entry {
                dirty: edit,
                ..Entry::own(name, value)
            }),
        }
    }

    /// Takes out the entry of `name`; false if there is none.
    pub(crate) fn remove(&mut self, name: &str) -> bool {
        let at = self.position(name);
        at.map(|at| self.entries.remove(at)).is_some()
    }

    pub(crate) fn clear(&mut self) {
        self.entries.clear();
    }

    /// Puts this record's delta onto `base`, what another request stored meanwhile, and becomes
    /// the result. Removed are the names in `removed`, and if `cleared` all that `base` holds.
    pub(crate) fn rebase(&mut self, base: Record, removed: &[(Box<str>, u64)], cleared: bool) {
        let mine = std::mem::replace(self, base);
        if cleared {
            self.clear();
        }
        for (name, _) in removed {
            self.remove(name);
        }
        for entry in mine.entries.iter().filter(|entry| entry.dirty > 0) {
            if let Some(name) = entry.spelled(&mine.text) {
                self.set(&name, entry.value.str(&mine.text).into(), entry.dirty);
            }
        }
    }

    /// Returns whether this request set an entry.
    pub(crate) fn is_dirty(&self) -> bool {
        self.entries.iter().any(|entry| entry.dirty > 0)
    }

    /// Forgets the delta: all entries are as the store has them.
    pub(crate) fn settle(&mut self, edits: u64) {
        for entry in self.entries.iter_mut().filter(|entry| entry.dirty <= edits) {
            entry.dirty = 0;
        }
    }

    pub(crate) fn set_created(&mut self, now: u64) {
        self.created = Created::At(now);
    }

    /// Returns how many seconds before `now` the session was written last; negative in the future.
    pub(crate) fn age(&self, now: u64) -> f64 {
        float(now)
            - match &self.created {
                Created::At(seconds) => float(*seconds),
                Created::Found { seconds, .. } => *seconds,
                Created::Missing { .. } => 0.0,
            }
    }

    /// Returns when the session was written last, at most the year 9999 away from 1970.
    pub(crate) fn created(&self) -> SystemTime {
        let seconds = match &self.created {
            Created::At(seconds) | Created::Missing { now: seconds } => float(*seconds),
            Created::Found { seconds, .. } => *seconds,
        };
        let distance = Duration::from_secs_f64(seconds.abs().min(LATEST));
        if seconds < 0.0 {
            UNIX_EPOCH - distance
        } else {
            UNIX_EPOCH + distance
        }
    }

    fn position(&self, name: &str) -> Option<usize> {
        // Linear on purpose: sessions have few entries, and the compare is mostly of lengths.
        self.entries.iter().position(|entry| {
            if entry.escaped {
                return entry
                    .spelled(&self.text)
                    .is_some_and(|spelled| spelled == name);
            }
            entry.name.bytes(&self.text) == name.as_bytes()
        })
    }
}

impl Entry {
    /// An entry that was not there before.
    fn own(name: &str, value: Text) -> Self {
        let inside = json::escape(name);
        Self {
            escaped: inside.contains('\\'),
            name: Text::Own(inside),
            value,
            dirty: 0,
        }
    }

    /// What the name spells; `None` if that is no Unicode.
    fn spelled<'a>(&'a self, loaded: &'a [u8]) -> Option<Cow<'a, str>> {
        let inside = self.name.str(loaded);
        if self.escaped {
            unescape(inside).map(Cow::Owned)
        } else {
            Some(Cow::Borrowed(inside))
        }
    }
}

impl Text {
    fn len(&self) -> usize {
        match self {
            Self::Loaded(start, end) => end - start,
            Self::Own(text) => text.len(),
        }
    }

    fn bytes<'a>(&'a self, loaded: &'a [u8]) -> &'a [u8] {
        match self {
            Self::Loaded(start, end) => &loaded[*start..*end],
            Self::Own(text) => text.as_bytes(),
        }
    }

    fn str<'a>(&'a self, loaded: &'a [u8]) -> &'a str {
        match self {
            // The whole was checked when it was loaded, and a range covers whole characters.
            Self::Loaded(start, end) => {
                std::str::from_utf8(&loaded[*start..*end]).unwrap_or_default()
            }
            Self::Own(text) => text,
        }
    }
}

impl From<Range<usize>> for Text {
    fn from(range: Range<usize>) -> Self {
        Self::Loaded(range.start, range.end)
    }
}

fn write_number(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// Below 2^53 there is nothing to lose, and the year 9999 is far below it.
#[expect(clippy::cast_precision_loss)]
fn float(seconds: u64) -> f64 {
    seconds as f64
}
