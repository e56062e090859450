//! The record of a session: the JSON text that aiohttp_session keeps.
//!
//! ```json
//! {"created": 1700000000, "session": {"user_id": 42, "name": "alice"}}
//! ```
//!
//! `{}` stands for an empty, or ended, session. Loading takes the text apart without building
//! values: an entry is two ranges of it, so that what nobody touches goes back byte for byte.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::io::Write as _;
use std::ops::Range;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use serde_json::value::RawValue;

use crate::json;
use crate::scan::{Name, Scanner};

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

/// What a text turned out to be.
pub(crate) enum Parsed {
    Record(Record),
    /// `{}`: the session is empty or was ended.
    Ended,
}

#[derive(Clone)]
struct Entry {
    /// The JSON string's text without its quotes.
    name: Text,
    /// Whether there is an escape in the name's text: what it spells is something else then.
    escaped: bool,
    value: Text,
    /// Set by this request: part of the delta.
    dirty: bool,
}

/// A piece of the loaded text, or text of its own.
#[derive(Clone)]
enum Text {
    Loaded(usize, usize),
    Own(Box<str>),
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

    /// Takes `text` apart; `now` stands in for a `created` that is missing.
    ///
    /// The error says where the text is no record, and nothing of what it holds.
    pub(crate) fn parse(text: Bytes, now: u64) -> Result<Parsed, Unreadable> {
        let json = std::str::from_utf8(&text).map_err(|_| Unreadable("not UTF-8"))?;
        let envelope = Envelope::read(json).ok_or(Unreadable("not the JSON of a record"))?;
        if envelope.members == 0 {
            return Ok(Parsed::Ended);
        }
        let created = match envelope
            .created
            .map(|at| (created_of(&json[at.clone()]), at))
        {
            None | Some((Ok(None), _)) => Created::Missing { now },
            Some((Ok(Some(seconds)), at)) => Created::Found {
                seconds,
                text: at.into(),
            },
            Some((Err(()), _)) => return Err(Unreadable("a created that is no number")),
        };
        Ok(Parsed::Record(Self {
            created,
            own_max_age: envelope.max_age.and_then(|at| own_max_age(&json[at])),
            started: envelope.started.and_then(|at| json[at].parse().ok()),
            entries: envelope.entries,
            text,
        }))
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
    pub(crate) fn set(&mut self, name: &str, value: Box<str>) {
        let value = Text::Own(value);
        match self.position(name) {
            Some(at) => {
                self.entries[at].value = value;
                self.entries[at].dirty = true;
            }
            None => self.entries.push(Entry {
                dirty: true,
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
    pub(crate) fn rebase(&mut self, base: Record, removed: &[Box<str>], cleared: bool) {
        let mine = std::mem::replace(self, base);
        if cleared {
            self.clear();
        }
        for name in removed {
            self.remove(name);
        }
        for entry in mine.entries.iter().filter(|entry| entry.dirty) {
            if let Some(name) = entry.spelled(&mine.text) {
                self.set(&name, entry.value.str(&mine.text).into());
            }
        }
    }

    /// Returns whether this request set an entry.
    pub(crate) fn is_dirty(&self) -> bool {
        self.entries.iter().any(|entry| entry.dirty)
    }

    /// Forgets the delta: all entries are as the store has them.
    pub(crate) fn settle(&mut self) {
        for entry in &mut self.entries {
            entry.dirty = false;
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
            dirty: false,
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

/// Why a text is no record. It says nothing of what the text holds.
#[derive(Debug)]
pub(crate) struct Unreadable(pub(crate) &'static str);

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// Reads `created`, of which Python takes any number, `true`, and whatever counts as false there:
/// `None` is "no date", as null and a missing member are.
fn created_of(raw: &str) -> Result<Option<f64>, ()> {
    match raw {
        "null" => Ok(None),
        "true" => Ok(Some(1.0)),
        "false" | "\"\"" => Ok(Some(0.0)),
        _ => match raw.parse::<f64>() {
            Ok(seconds) => Ok(Some(seconds)),
            Err(_) => Err(()),
        },
    }
}

fn write_number(out: &mut Vec<u8>, number: u64) {
    // Writing to a Vec cannot fail.
    let _ = write!(out, "{number}");
}

/// Below 2^53 there is nothing to lose, and the year 9999 is far below it.
#[expect(clippy::cast_precision_loss)]
fn float(seconds: u64) -> f64 {
    seconds as f64
}

fn own_max_age(raw: &str) -> Option<Option<Duration>> {
    match raw {
        "null" => Some(None),
        seconds => {
            let seconds = seconds.parse().ok().filter(|seconds| *seconds > 0)?;
            Some(Some(crate::cookie::whole_seconds(Duration::from_secs(
                seconds,
            ))))
        }
    }
}

/// Returns the text that the inside of a JSON string spells; `None` if that is no Unicode: Python
/// writes lone surrogates, which no Rust string can hold.
fn unescape(inside: &str) -> Option<String> {
    serde_json::from_str(&format!("\"{inside}\"")).ok()
}

/// Shows a string with lone surrogates in it, each as U+FFFD.
fn unescape_lossy(inside: &str) -> String {
    let mut text = String::new();
    let mut rest = inside;
    while let Some(at) = rest.find('\\') {
        text.push_str(&rest[..at]);
        rest = &rest[at..];
        // An escape is 2 or 6 characters; a pair of surrogates 12.
        let piece = |len: usize| {
            rest.get(..len).and_then(|text| {
                serde_json::from_str::<String>(&format!("\"{text}\""))
                    .ok()
                    .map(|text| (text, len))
            })
        };
        let found = piece(2).or_else(|| piece(6)).or_else(|| piece(12));
        let (piece, len) = found.unwrap_or_else(|| ("\u{fffd}".to_owned(), 6));
        text.push_str(&piece);
        rest = rest.get(len..).unwrap_or_default();
    }
    text.push_str(rest);
    text
}

/// Where the members of the outer object are.
#[derive(Default)]
struct Envelope {
    members: usize,
    created: Option<Range<usize>>,
    max_age: Option<Range<usize>>,
    started: Option<Range<usize>>,
    entries: Vec<Entry>,
}

impl Envelope {
    fn read(json: &str) -> Option<Self> {
        let mut envelope = Self::default();
        let mut scanner = Scanner::new(json.as_bytes());
        scanner.members(|scanner, name| {
            envelope.members += 1;
            // As in Python the last of several members of a name counts.
            let inside = &json[name.inside];
            let spelled = if name.escaped { unescape(inside) } else { None };
            match spelled.as_deref().unwrap_or(inside) {
                "created" => envelope.created = Some(scanner.value()?),
                "session" => envelope.entries = entries(scanner, json)?,
                "max_age" => envelope.max_age = Some(scanner.value()?),
                "started" => envelope.started = Some(scanner.value()?),
                _ => scanner.value().map(drop)?,
            }
            Some(())
        })?;
        scanner.end()?;
        Some(envelope)
    }
}

/// Reads the `session` member: an object; null, `""` and `[]` for none; and, as Python's
/// `dict.update` takes them, a list of pairs or of strings of two characters.
fn entries(scanner: &mut Scanner<'_>, json: &str) -> Option<Vec<Entry>> {
    let mut entries = Vec::new();
    if scanner.peek()? == b'{' {
        entries.reserve(8);
        scanner.members(|scanner, name| {
            let value = scanner.value()?.into();
            let Name { inside, escaped } = name;
            entries.push(Entry {
                name: inside.into(),
                escaped,
                value,
                dirty: false,
            });
            Some(())
        })?;
    } else {
        match &json[scanner.value()?] {
            "null" | "\"\"" => {}
            list => {
                for pair in serde_json::from_str::<Vec<&RawValue>>(list).ok()? {
                    let (name, value) = pair_of(pair.get())?;
                    entries.push(Entry::own(&name, Text::Own(value.get().into())));
                }
            }
        }
    }
    Some(last_of_each(entries, json.as_bytes()))
}

/// Reads a name and a value: a list of the two, or a string of two characters.
fn pair_of(text: &str) -> Option<(String, Box<RawValue>)> {
    let Ok(two) = serde_json::from_str::<String>(text) else {
        return serde_json::from_str(text).ok();
    };
    let mut chars = two.chars();
    let pair = (
        chars.next()?.to_string(),
        serde_json::value::to_raw_value(&chars.next()?).ok()?,
    );
    chars.next().is_none().then_some(pair)
}

/// Of several entries of a name keeps the first one's place and the last one's value, as Python's
/// dict does. In linear time where there are many: this text may come from a client.
fn last_of_each(entries: Vec<Entry>, whole: &[u8]) -> Vec<Entry> {
    const FEW: usize = 16;
    let alone = |(at, entry): (usize, &Entry)| {
        let same = |other: &Entry| {
            other.name.len() == entry.name.len()
                && other.name.bytes(whole) == entry.name.bytes(whole)
        };
        !entry.escaped && !entries[..at].iter().any(same)
    };
    if entries.len() <= FEW && entries.iter().enumerate().all(alone) {
        return entries;
    }
    // What cannot be unescaped is compared as it is written.
    let name = |entry: &Entry| match entry.spelled(whole) {
        Some(name) => (true, name.into_owned()),
        None => (false, entry.name.str(whole).to_owned()),
    };
    let mut kept: Vec<Entry> = Vec::with_capacity(entries.len());
    let mut places: HashMap<(bool, String), usize> = HashMap::with_capacity(entries.len());
    for entry in entries {
        let place = *places.entry(name(&entry)).or_insert(kept.len());
        match kept.get_mut(place) {
            Some(first) => first.value = entry.value,
            None => kept.push(entry),
        }
    }
    kept
}
