//! The record: which bytes are one, and what happens to untouched values.

use std::fmt;
use std::time::{Duration, UNIX_EPOCH};

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use session_core::{CookieChange, ManualClock, Session, SessionConfig};

use super::input::Input;
use super::now;
use crate::vectors::NOW;

/// The input up to 0xff is a stored record, the rest says what a handler does with the session.
/// What is a record and what it holds is what `serde_json` says; what is then written holds the
/// changes, and everything else byte for byte.
pub fn record(data: &[u8]) {
    let mut input = Input::new(data);
    let text = input.piece();
    let clock = ManualClock::at(UNIX_EPOCH + Duration::from_secs(NOW));
    let config = SessionConfig::default().with_clock(clock.clone());
    let opened = config.open(text.to_vec());
    let json = serde_json::from_slice::<&RawValue>(text).is_ok();
    assert!(opened.is_none() || json, "what is no JSON is a record");
    let expected = Expected::read(text);
    let mut entries = match (&opened, expected) {
        (_, Expected::Unsure) => None,
        (None, Expected::None) => return,
        (Some(session), Expected::Entries(entries)) => {
            check(session, &entries);
            Some(entries)
        }
        (opened, expected) => panic!("{:?}: expected {expected:?}", opened.is_some()),
    };
    let Some(session) = opened else { return };
    let before = session.created();
    clock.advance(Duration::from_secs(1));
    while !input.is_empty() {
        change(&session, &mut input, entries.as_mut());
    }
    if let Some(entries) = &entries {
        check(&session, entries);
    }
    session.changed().unwrap();
    let Some(payload) = staged(&config, &session) else {
        assert!(session.is_empty());
        return;
    };
    assert!(serde_json::from_slice::<&RawValue>(&payload).is_ok());
    let again = config.open(payload.clone());
    // A lifetime that a handler sets counts from the last write, which may be long ago.
    let age = session_core::Clock::now(&clock).duration_since(session.created());
    let over = |life| age.is_ok_and(|age| age > life);
    if session.max_age().is_some_and(over) {
        return assert!(again.is_none());
    }
    let again = again.unwrap();
    assert_eq!(again.keys(), session.keys());
    assert_eq!(again.max_age(), session.max_age());
    if let Some(entries) = &entries {
        check(&again, entries);
        assert_eq!(Members::entries_of(&payload).as_ref(), Some(entries));
        assert_eq!(Members::handle_of(&payload), Members::handle_of(text));
    }
    if data.len() <= text.len() + 1 {
        assert_eq!(again.created(), before, "a touch leaves the date");
    }
    // Written once more it is the same text.
    again.changed().unwrap();
    assert_eq!(staged(&config, &again), Some(payload));
}

/// Returns what a save stores, once the save is done. A save that is given up leaves the change to
/// the next one.
fn staged(config: &SessionConfig, session: &Session) -> Option<Vec<u8>> {
    let stage = || now(config.stage(session)).unwrap();
    let given_up = stage().unwrap().payload().map(<[u8]>::to_vec);
    let staged = stage().unwrap();
    let payload = staged.payload().map(<[u8]>::to_vec);
    assert_eq!(payload, given_up);
    staged.commit(&CookieChange::Keep);
    assert!(stage().is_none(), "nothing is left to save");
    payload
}

/// The input is the value of a session's only key. It is one if `serde_json` says so, and is then
/// handed out as it was written.
pub fn json(data: &[u8]) {
    let text = [br#"{"created": 1, "session": {"a": "#, data, b"}}"].concat();
    let config = SessionConfig::default();
    let opened = config.open(text.clone());
    let whole = serde_json::from_slice::<&RawValue>(&text).is_ok();
    match serde_json::from_slice::<&RawValue>(data) {
        Ok(value) => {
            let session = opened.expect("JSON is a value");
            let found = session.get::<Box<RawValue>>("a").unwrap().unwrap();
            assert_eq!(found.get(), value.get());
        }
        // `1}, "created": {"b": 2`
        Err(_) => assert!(opened.is_none() || whole, "what is no JSON is a record"),
    }
}

type Entries = Vec<(String, String)>;

#[track_caller]
fn check(session: &Session, entries: &Entries) {
    let names: Vec<&str> = entries.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(session.keys(), names);
    assert_eq!(session.len(), entries.len());
    for (name, value) in entries {
        let found = session.get::<Box<RawValue>>(name).unwrap().unwrap();
        assert_eq!(found.get(), value, "{name:?}");
    }
}

/// Does one thing to the session, and to what it should hold.
fn change(session: &Session, input: &mut Input<'_>, mut entries: Option<&mut Entries>) {
    let what = input.byte();
    let keys = session.keys();
    // One that is there, or another.
    let name = if what & 0x80 != 0 && !keys.is_empty() {
        keys[usize::from(input.byte()) % keys.len()].clone()
    } else {
        input.text()
    };
    let set = |entries: &mut Entries, text: String| match entries
        .iter_mut()
        .find(|(known, _)| *known == name)
    {
        Some((_, value)) => *value = text,
        None => entries.push((name.clone(), text)),
    };
    match what % 6 {
        0 => {
            let number = input.byte();
            session.insert(&name, number).unwrap();
            if let Some(entries) = entries.as_mut() {
                set(entries, number.to_string());
            }
        }
        1 => {
            let value = input.text();
            session.insert(&name, &value).unwrap();
            let written = session.get::<Box<RawValue>>(&name).unwrap().unwrap();
            assert!(written.get().bytes().all(|b| (b' '..=b'~').contains(&b)));
            assert_eq!(
                serde_json::from_str::<String>(written.get()).unwrap(),
                value
            );
            if let Some(entries) = entries.as_mut() {
                set(entries, written.get().to_owned());
            }
        }
        2 => {
            let was_there = session.contains_key(&name);
            assert_eq!(session.remove(&name).unwrap(), was_there);
            if let Some(entries) = entries {
                entries.retain(|(known, _)| *known != name);
            }
        }
        3 => {
            // A value of another type stays.
            let updated = session.update(&name, |n: Option<u32>| n.unwrap_or(0).wrapping_add(1));
            if let (Some(entries), Ok(number)) = (entries.as_mut(), updated) {
                set(entries, number.to_string());
            }
        }
        4 => {
            let seconds = Duration::from_secs(u64::from(input.byte()) << (what >> 2 & 31));
            session.set_max_age(seconds).unwrap();
        }
        _ => {
            session.clear().unwrap();
            entries.into_iter().for_each(Vec::clear);
        }
    }
}

/// What a text should turn out to be.
#[derive(Debug)]
enum Expected {
    /// No record, or that of an ended session.
    None,
    Entries(Entries),
    /// What is not said here: names that are no Unicode, a lifetime of its own, pairs for a
    /// session, and the same member twice.
    Unsure,
}

impl Expected {
    fn read(text: &[u8]) -> Self {
        let Ok(Members(members)) = serde_json::from_slice(text) else {
            let json = serde_json::from_slice::<&RawValue>(text);
            let object = json.is_ok_and(|json| json.get().starts_with('{'));
            return if object { Self::Unsure } else { Self::None };
        };
        let of = |name: &str| {
            let mut found = members.iter().filter(|(known, _)| known == name);
            let first = found.next().map(|(_, value)| value.as_str());
            (first, found.next().is_some())
        };
        let ((created, two), (session, twice)) = (of("created"), of("session"));
        if two || twice || of("max_age").0.is_some() {
            return Self::Unsure;
        }
        let is_date = |text: &str| {
            ["null", "true", "false", "\"\""].contains(&text)
                || text.starts_with(|c: char| c == '-' || c.is_ascii_digit())
        };
        // A record without either of them is more likely another program's.
        let is_record = created.is_some() || session.is_some();
        if !is_record || !created.is_none_or(is_date) {
            return Self::None;
        }
        match session {
            None | Some("null" | "\"\"") => Self::Entries(Vec::new()),
            Some(pairs) if pairs.starts_with(['[', '"']) => Self::Unsure,
            Some(object) => match serde_json::from_str(object) {
                Ok(Members(entries)) => Self::Entries(last_of_each(entries)),
                Err(_) if object.starts_with('{') => Self::Unsure,
                Err(_) => Self::None,
            },
        }
    }
}

/// An object's members in their order, values as they are written.
struct Members(Entries);

impl Members {
    /// Returns what is under `session`.
    fn entries_of(payload: &[u8]) -> Option<Entries> {
        let Members(members) = serde_json::from_slice(payload).ok()?;
        let session = members.iter().find(|(name, _)| name == "session")?;
        let Members(entries) = serde_json::from_str(&session.1).ok()?;
        Some(entries)
    }

    /// Returns the last `handle`, if it has the shape of one.
    fn handle_of(text: &[u8]) -> Option<String> {
        let Members(members) = serde_json::from_slice(text).ok()?;
        let (_, handle) = members.iter().rfind(|(name, _)| name == "handle")?;
        let inside = handle.trim_matches('"');
        let is_digit = |c| matches!(c, '0'..='9' | 'a'..='f');
        let is_handle = inside.len() == 32 && handle.len() == 34 && inside.chars().all(is_digit);
        is_handle.then(|| inside.to_owned())
    }
}

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Reading)
    }
}

struct Reading;

impl<'de> Visitor<'de> for Reading {
    type Value = Members;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
        let mut members = Vec::new();
        while let Some((name, value)) = map.next_entry::<String, Box<RawValue>>()? {
            members.push((name, value.get().to_owned()));
        }
        Ok(Members(members))
    }
}

/// As Python's dict has it: the first one's place, the last one's value.
fn last_of_each(all: Entries) -> Entries {
    let mut entries = Entries::new();
    for (name, value) in all {
        match entries.iter_mut().find(|(known, _)| *known == name) {
            Some(entry) => entry.1 = value,
            None => entries.push((name, value)),
        }
    }
    entries
}

/// Two sessions hold the same.
#[track_caller]
pub(super) fn assert_same(a: &Session, b: &Session) {
    assert_eq!(a.is_new(), b.is_new());
    assert_eq!(a.keys(), b.keys());
    for key in a.keys() {
        let value = |session: &Session| session.get::<Box<RawValue>>(&key).unwrap();
        let (a, b) = (value(a), value(b));
        assert_eq!(a.map(|a| a.get().to_owned()), b.map(|b| b.get().to_owned()));
    }
    assert_eq!(a.max_age(), b.max_age());
}
