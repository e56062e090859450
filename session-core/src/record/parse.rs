//! Taking a record's text apart, as tolerantly as aiohttp_session does.

use std::collections::HashMap;
use std::fmt;
use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use serde_json::value::RawValue;

use super::{Created, Entry, Record, Text, float};
use crate::record::json::scan::{Name, Scanner};
use crate::record::json::unescape;

/// What a text turned out to be.
pub(crate) enum Parsed {
    Record(Record),
    /// `{}`: the session is empty or was ended.
    Ended,
}

/// Why a text is no record. It says nothing of what the text holds.
#[derive(Debug)]
pub(crate) struct Unreadable(pub(crate) &'static str);

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl Record {
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
}

/// Reads `created`, of which Python takes any number, `true`, and whatever counts as false there:
/// `None` is "no date", as null and a missing member are.
fn created_of(raw: &str) -> Result<Option<f64>, ()> {
    match raw {
        "null" => Ok(None),
        "true" => Ok(Some(1.0)),
        "false" | "\"\"" => Ok(Some(0.0)),
        // Seconds without a fraction, as aiohttp_session writes them, need not the whole of what reads
        // floats.
        _ if raw.len() < 16 && raw.bytes().all(|b| b.is_ascii_digit()) => {
            Ok(raw.parse().ok().map(float))
        }
        _ => match raw.parse::<f64>() {
            Ok(seconds) => Ok(Some(seconds)),
            Err(_) => Err(()),
        },
    }
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
                dirty: 0,
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
