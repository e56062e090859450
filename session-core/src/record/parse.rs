//! Takes a record's text apart, as tolerantly as aiohttp_session does.

use std::fmt;
use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use serde_json::value::RawValue;

use crate::cookie::settings::whole_seconds;
use crate::record::created::Created;
use crate::record::entries::{Entries, Name, Text};
use crate::record::json::scan::Scanner;
use crate::record::{Lifetime, Record};

/// What a text turned out to be.
pub(crate) enum Parsed {
    /// A session's record, perhaps one without entries.
    Record(Record),
    /// An object without members, such as `{}`.
    Empty,
}

/// Why a text is no record. It shows nothing of the text.
#[derive(Debug)]
pub(crate) struct Unreadable(pub(crate) &'static str);

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl Record {
    /// Takes `text` apart. `now`, in Unix seconds, replaces a `created` that is missing.
    pub(crate) fn parse(text: Bytes, now: u64) -> Result<Parsed, Unreadable> {
        // Python writes ASCII, and this check costs less than the other.
        let is_ascii = text.iter().fold(0, |bits, byte| bits | byte) < 0x80;
        if !is_ascii && std::str::from_utf8(&text).is_err() {
            return Err(Unreadable("not UTF-8"));
        }
        let json = |at| checked_str(&text, at);
        let members = Members::read(&text).ok_or(Unreadable("not the JSON of a record"))?;
        if members.count == 0 {
            return Ok(Parsed::Empty);
        }
        let created = match members.created {
            Some(at) => {
                Created::read(json(at), now).ok_or(Unreadable("a created that is no number"))?
            }
            None => Created::Missing { now },
        };
        Ok(Parsed::Record(Self {
            created,
            lifetime: members
                .max_age
                .map_or(Lifetime::Default, |at| lifetime(json(at))),
            started: members.started.and_then(|at| json(at).parse().ok()),
            handle: members.handle.and_then(|at| handle(json(at))),
            entries: members.session,
            text,
        }))
    }
}

/// The members of the outer object.
#[derive(Default)]
struct Members {
    count: usize,
    created: Option<Range<usize>>,
    session: Entries,
    max_age: Option<Range<usize>>,
    started: Option<Range<usize>>,
    handle: Option<Range<usize>>,
}

impl Members {
    fn read(text: &[u8]) -> Option<Self> {
        let mut members = Self::default();
        let mut scanner = Scanner::new(text);
        scanner.members(|scanner, name| {
            members.count += 1;
            let name = Name::loaded(text, name);
            let name = name.spelled(text);
            if name == b"session" {
                // As in Python the last of several members of one name counts.
                members.session = session(scanner, text)?;
                return Some(());
            }
            let value = Some(scanner.value()?);
            match name {
                b"created" => members.created = value,
                b"max_age" => members.max_age = value,
                b"started" => members.started = value,
                b"handle" => members.handle = value,
                _ => {}
            }
            Some(())
        })?;
        scanner.end()?;
        Some(members)
    }
}

/// Reads the member `session`: an object; null, `""` and `[]` for none; and, as Python's
/// `dict.update` takes them, a list of pairs or of strings of two characters.
fn session(scanner: &mut Scanner<'_>, text: &[u8]) -> Option<Entries> {
    if scanner.peek()? == b'{' {
        let mut entries = Entries::with_room();
        scanner.members(|scanner, name| {
            let name = Name::loaded(text, name);
            let value = scanner.value()?.into();
            entries.put(text, name, value);
            Some(())
        })?;
        return Some(entries);
    }
    let mut entries = Entries::default();
    match checked_str(text, scanner.value()?) {
        "null" | "\"\"" => {}
        list => {
            for pair in serde_json::from_str::<Vec<&RawValue>>(list).ok()? {
                let (name, value) = pair_of(pair.get())?;
                entries.put(text, Name::own(&name), Text::Own(value.get().into()));
            }
        }
    }
    Some(entries)
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

/// Reads `max_age`. What is neither null nor a positive whole number is ignored.
fn lifetime(written: &str) -> Lifetime {
    if written == "null" {
        return Lifetime::Unlimited;
    }
    match written.parse() {
        Ok(0) | Err(_) => Lifetime::Default,
        Ok(seconds) => Lifetime::For(whole_seconds(Duration::from_secs(seconds))),
    }
}

/// Reads `handle`. What is not a string of 32 lowercase hexadecimal digits is ignored.
fn handle(written: &str) -> Option<Box<str>> {
    let handle = written.strip_prefix('"')?.strip_suffix('"')?;
    let is_digit = |b| matches!(b, b'0'..=b'9' | b'a'..=b'f');
    (handle.len() == 32 && handle.bytes().all(is_digit)).then(|| handle.into())
}

/// Borrows a range of a text that was checked to be UTF-8. A range holds whole characters.
fn checked_str(text: &[u8], at: Range<usize>) -> &str {
    std::str::from_utf8(&text[at]).unwrap_or_default()
}
