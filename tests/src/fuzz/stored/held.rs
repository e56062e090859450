//! Which kind of data a text in a store is, and what a request loads from it.

use std::collections::BTreeMap;
use std::time::UNIX_EPOCH;

use bytes::Bytes;
use serde_json::value::RawValue;
use session_core::{Identity, ManualClock, SessionConfig};

/// What a key holds.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Held {
    /// A session, live or expired, with these keys in alphabetical order.
    Session(Vec<String>),
    Tombstone(Tombstone),
    /// An empty object that is no tombstone: Python ended a session.
    Python,
    /// Another program's data.
    Foreign,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Tombstone {
    Moved(String),
    Replaced,
    Ended,
    Revoked,
}

/// What both requests loaded.
#[derive(Debug)]
pub(super) enum Loaded {
    Live,
    /// A session without keys.
    Emptied,
    /// Nothing: an expired session, or none.
    Nothing,
    Ended(Tombstone),
}

/// Returns what a text is, and what a request loads from it. `None`: it is not said here.
pub(super) fn held(text: &Bytes, config: &SessionConfig) -> Option<(Held, Loaded)> {
    if let Some(tombstone) = Tombstone::read(text) {
        return Some((Held::Tombstone(tombstone.clone()), Loaded::Ended(tombstone)));
    }
    let is_space = |b: &u8| SPACE.contains(char::from(*b));
    let dense: Vec<u8> = text.iter().filter(|b| !is_space(b)).copied().collect();
    if dense == b"{}" {
        return Some((Held::Python, Loaded::Nothing));
    }
    if let Some(session) = config.open(text.clone()) {
        let loaded = if session.is_empty() {
            Loaded::Emptied
        } else {
            Loaded::Live
        };
        return Some((Held::Session(sorted(session.keys())), loaded));
    }
    let held = if was_session(text)? {
        Held::Session(Vec::new())
    } else {
        Held::Foreign
    };
    Some((held, Loaded::Nothing))
}

/// Returns whether a text was a session once: it is one in 1970. `None`: it is not said here.
fn was_session(text: &Bytes) -> Option<bool> {
    let then = SessionConfig::default().with_clock(ManualClock::at(UNIX_EPOCH));
    if then.open(text.clone()).is_some() {
        return Some(true);
    }
    // A session from before 1970 may have been over even then.
    let Ok(mut members) = serde_json::from_slice::<BTreeMap<String, &RawValue>>(text) else {
        // Names that are not Unicode.
        let is_object =
            serde_json::from_slice::<&RawValue>(text).is_ok_and(|json| json.get().starts_with('{'));
        return (!is_object).then_some(false);
    };
    let Some(created) = members.get_mut("created") else {
        return Some(false);
    };
    if !created.get().starts_with('-') {
        return Some(false);
    }
    *created = serde_json::from_str("0").unwrap();
    let later = serde_json::to_string(&members).unwrap();
    Some(then.open(later).is_some())
}

/// JSON's white space, as digits to the base of four.
const SPACE: &str = " \t\n\r";

impl Tombstone {
    fn read(text: &[u8]) -> Option<Self> {
        match text {
            b"{ }" => return Some(Self::Ended),
            b"{\t}" => return Some(Self::Replaced),
            b"{\n}" => return Some(Self::Revoked),
            _ => {}
        }
        let inside = text.strip_prefix(b"{\r")?.strip_suffix(b"}")?;
        let digits = inside.iter().map(|b| SPACE.find(char::from(*b)));
        let digits: Vec<usize> = digits.collect::<Option<_>>()?;
        if digits.is_empty() || !digits.len().is_multiple_of(4) {
            return None;
        }
        let byte = |four: &[usize]| four.iter().fold(0, |byte, digit| byte * 4 + digit);
        let bytes = digits
            .chunks(4)
            .map(|four| u8::try_from(byte(four)).unwrap());
        let suffix = String::from_utf8(bytes.collect()).ok()?;
        // What no identity looks like was written by another program.
        Identity::parse(&suffix)
            .is_some()
            .then_some(Self::Moved(suffix))
    }

    pub(super) fn text(&self) -> String {
        match self {
            Self::Ended => "{ }".into(),
            Self::Replaced => "{\t}".into(),
            Self::Revoked => "{\n}".into(),
            Self::Moved(suffix) => {
                let digits = suffix.bytes().flat_map(|b| [b / 64, b / 16, b / 4, b]);
                let spaces =
                    digits.map(|digit| char::from(SPACE.as_bytes()[usize::from(digit % 4)]));
                format!("{{\r{}}}", spaces.collect::<String>())
            }
        }
    }
}

pub(super) fn sorted(mut keys: Vec<String>) -> Vec<String> {
    keys.sort();
    keys
}
