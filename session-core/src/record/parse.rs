//! Reads the text of a record, with the tolerance of aiohttp_session.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::value::RawValue;

use crate::cookie::settings::whole_seconds;
use crate::record::created::Created;
use crate::record::entries::{Entries, Name, Text, str_of};
use crate::record::json::{scan, strings};
use crate::record::{Lifetime, Record, Until};

/// What a text contains.
pub(crate) enum Parsed {
    /// The record of a session, which may have no entries.
    Record(Arc<Record>),
    /// An object without members, such as `{}`.
    Empty,
}

/// Why a text is not a record. It shows nothing of the text.
#[derive(Debug)]
pub(crate) struct Unreadable(pub(crate) &'static str);

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl Record {
    /// Reads `text`. A record without `created` gets `now`, in Unix seconds.
    pub(crate) fn parse(text: Bytes, now: u64) -> Result<Parsed, Unreadable> {
        let mut members = Members::default();
        if members.read(&text).is_none() {
            return Err(unreadable(&text));
        }
        if members.is_empty {
            return Ok(Parsed::Empty);
        }
        if members.created.is_none() && !members.has_session {
            // Python reads it as an empty session and overwrites it. More likely it is another
            // program's data.
            return Err(Unreadable("neither created nor session"));
        }
        let created = match members.created {
            Some(at) => {
                Created::read(&text[at], now).ok_or(Unreadable("a created that is no number"))?
            }
            None => Created::Missing { now },
        };
        let json = |at| str_of(&text, at);
        Ok(Parsed::Record(Arc::new(Self {
            created,
            lifetime: members
                .max_age
                .map_or(Lifetime::Default, |at| lifetime(json(at))),
            // A start in the future counts from now, so that it does not switch off the absolute
            // lifetime.
            started: members
                .started
                .and_then(|at| json(at).parse().ok())
                .map(|started: u64| started.min(now)),
            handle: members.handle.and_then(|at| handle(json(at))),
            listed: members.listed.and_then(|at| until(json(at))),
            entries: members.entries,
            text,
        })))
    }
}

#[cold]
fn unreadable(text: &[u8]) -> Unreadable {
    Unreadable(match std::str::from_utf8(text) {
        Ok(_) => "not the JSON of a record",
        Err(_) => "not UTF-8",
    })
}

/// Where the members of the outer object are.
#[derive(Default)]
struct Members {
    is_empty: bool,
    has_session: bool,
    created: Option<Range<usize>>,
    entries: Entries,
    max_age: Option<Range<usize>>,
    started: Option<Range<usize>>,
    handle: Option<Range<usize>>,
    listed: Option<Range<usize>>,
}

impl Members {
    /// Reads the whole text.
    fn read(&mut self, text: &[u8]) -> Option<()> {
        self.is_empty = true;
        let end = scan::object(text, 0, |name, at| {
            self.is_empty = false;
            let name = if name.escaped {
                Cow::Owned(strings::unescape(str_of(text, name.inside)))
            } else {
                Cow::Borrowed(&text[name.inside])
            };
            // If a name comes more than once, the last member counts, as in Python.
            if *name == *b"session" {
                self.has_session = true;
                return self.read_session(text, at);
            }
            let end = scan::value(text, at)?;
            match &*name {
                b"created" => self.created = Some(at..end),
                b"max_age" => self.max_age = Some(at..end),
                b"started" => self.started = Some(at..end),
                b"handle" => self.handle = Some(at..end),
                b"listed" => self.listed = Some(at..end),
                _ => {}
            }
            Some(end)
        })?;
        (scan::white_space(text, end) == text.len()).then_some(())
    }

    /// Reads the member `session`. It is one of
    ///
    /// - an object,
    /// - null, `""` or `[]`, which stand for an empty session,
    /// - a list of pairs or of strings of two characters, since Python calls `dict.update` with it.
    fn read_session(&mut self, text: &[u8], at: usize) -> Option<usize> {
        self.entries = Entries::default();
        if text.get(at) == Some(&b'{') {
            return scan::object(text, at, |name, at| {
                let end = scan::value(text, at)?;
                self.entries.load(text, name, at..end);
                Some(end)
            });
        }
        let end = scan::value(text, at)?;
        match str_of(text, at..end) {
            "null" | "\"\"" => {}
            list => {
                for pair in serde_json::from_str::<Vec<&RawValue>>(list).ok()? {
                    let (name, value) = pair_of(pair.get())?;
                    self.entries.set(text, Name::new(&name), Text::Own(value));
                }
            }
        }
        Some(end)
    }
}

/// Reads a name and a value: a list of the two, or a string of two characters.
fn pair_of(text: &str) -> Option<(String, String)> {
    if let Ok(two) = serde_json::from_str::<String>(text) {
        let mut chars = two.chars();
        let value = |char| serde_json::to_string(&char).ok();
        let pair = (chars.next()?.into(), value(chars.next()?)?);
        return chars.next().is_none().then_some(pair);
    }
    let (name, value): (String, &RawValue) = serde_json::from_str(text).ok()?;
    Some((name, value.get().into()))
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
    let is_digit = |byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    (handle.len() == 32 && handle.bytes().all(is_digit)).then(|| handle.into())
}

/// Reads `listed`: a time in Unix seconds, or null, which is for ever. Anything else is ignored.
fn until(written: &str) -> Option<Until> {
    match written {
        "null" => Some(Until::Forever),
        seconds => seconds.parse().ok().map(Until::At),
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    const NOW: u64 = 1_700_000_000;

    fn parse(text: impl Into<Vec<u8>>) -> Result<Parsed, Unreadable> {
        Record::parse(Bytes::from(text.into()), NOW)
    }

    #[track_caller]
    fn record(text: impl Into<Vec<u8>>) -> Record {
        match parse(text).unwrap() {
            Parsed::Record(record) => Arc::unwrap_or_clone(record),
            Parsed::Empty => panic!("it is not empty"),
        }
    }

    #[track_caller]
    fn unreadable(text: impl Into<Vec<u8>>) -> &'static str {
        match parse(text) {
            Err(Unreadable(reason)) => reason,
            Ok(_) => panic!("it is readable"),
        }
    }

    fn entries(record: &Record) -> Vec<(String, String)> {
        let entries = record.entries.iter();
        entries
            .map(|(name, value)| {
                let name = name.to_str(&record.text).into_owned();
                (name, value.str(&record.text).to_owned())
            })
            .collect()
    }

    #[track_caller]
    fn has_entries(text: &str, expected: &[(&str, &str)]) {
        let record = record(text);
        let found = entries(&record);
        let expected: Vec<(String, String)> = expected
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        assert_eq!(found, expected, "{text}");
        assert_eq!(record.len(), expected.len());
    }

    #[test]
    fn what_python_writes() {
        let record = record(concat!(
            r#"{"created": 1700000000, "session": {"user_id": 184467, "name": "Ada Lovelace", "#,
            r#""roles": ["admin", "editor", "author"], "last_seen": "2026-11-26T15:00:00Z", "#,
            r#""counter": 41}}"#,
        ));
        assert_eq!(record.get("user_id"), Some("184467"));
        assert_eq!(record.get("name"), Some("\"Ada Lovelace\""));
        assert_eq!(
            record.get("roles"),
            Some(r#"["admin", "editor", "author"]"#)
        );
        assert_eq!(record.get("last_seen"), Some("\"2026-11-26T15:00:00Z\""));
        assert_eq!(record.get("counter"), Some("41"));
        assert_eq!(record.get("counte"), None);
        assert_eq!(record.get("created"), None);
        assert_eq!(record.len(), 5);
        assert_eq!(record.created(), UNIX_EPOCH + Duration::from_secs(NOW));
        assert_eq!(record.lifetime, Lifetime::Default);
        assert_eq!(record.started, None);
        assert_eq!(record.handle, None);
    }

    #[test]
    fn an_object_without_members_is_empty() {
        for text in ["{}", " {}", "{ }", "{\t} \n"] {
            assert!(matches!(parse(text), Ok(Parsed::Empty)), "{text:?}");
        }
        for text in [
            r#"{"created": 1, "session": {}}"#,
            r#"{"created": 1}"#,
            r#"{"session": {}}"#,
            r#"{"session": {"a": 1}, "session": {}}"#,
        ] {
            assert!(record(text).is_empty(), "{text:?}");
        }
        for text in [r#"{"": null}"#, r#"{"unknown": 1}"#] {
            let refused = parse(text).err().map(|why| why.0);
            assert_eq!(refused, Some("neither created nor session"), "{text:?}");
        }
    }

    #[test]
    fn an_unreadable_text_gets_a_reason_that_shows_nothing_of_it() {
        for text in [
            "",
            " ",
            "null",
            "true",
            "0",
            "\"\"",
            "[]",
            "[[\"created\", 1], [\"session\", {}]]",
            "NaN",
            "{",
            "{\"created\"",
            "{\"created\": 1, \"session\": {\"a\": 1}",
            "{\"created\": 1, \"session\": {\"a\": 1}} x",
            "{\"created\": 1, \"session\": {\"a\": NaN}}",
            "{\"created\": 1, \"session\": {\"a\": 1,}}",
            "{\"created\": 1, \"session\": 5}",
            "{\"created\": 1, \"session\": true}",
            "{\"created\": 1, \"session\": \"ab\"}",
            "{\"created\": 1, \"session\": [1]}",
            "{\"created\": 1, \"session\": 5, \"session\": {}}",
            "{\"created\": \"x\", \"session\": 5}",
            "\u{feff}{\"created\": 1, \"session\": {}}",
        ] {
            assert_eq!(unreadable(text), "not the JSON of a record", "{text:?}");
        }
        for text in [
            r#"{"created": "x", "session": {}}"#,
            r#"{"created": [], "session": {}}"#,
            r#"{"created": 1, "created": {}}"#,
        ] {
            assert_eq!(unreadable(text), "a created that is no number", "{text:?}");
        }
        for text in [
            &b"\xff\xfe"[..],
            b"{\"created\": 1, \"session\": {\"a\": \"\xff\"}}",
            b"{\"created\": 1, \"session\": {\"\xc3\": 1}}",
            b"{\"created\": \xff}",
        ] {
            assert_eq!(unreadable(text), "not UTF-8");
        }
        let deep = "[".repeat(100_000);
        for text in [
            deep.clone(),
            format!("{{\"created\": 1, \"session\": {deep}"),
            format!("{{\"created\": 1, \"session\": {{\"a\": {deep}"),
        ] {
            assert_eq!(unreadable(text), "not the JSON of a record");
        }
    }

    #[test]
    fn the_session_is_whatever_python_can_update_a_dict_with() {
        for text in ["null", "\"\"", "[]", "{}", " { } ", "[ ]"] {
            has_entries(&format!("{{\"session\": {text}}}"), &[]);
        }
        has_entries(
            concat!(
                r#"{"session": [["a", 1], ["b", [2]], "cd", ["\u00e9", "\u00e9"], "#,
                r#"["a", {"x":1}], "é日"]}"#,
            ),
            &[
                ("a", r#"{"x":1}"#),
                ("b", "[2]"),
                ("c", "\"d\""),
                ("é", "\"日\""),
            ],
        );
        for text in [
            "[1]",
            "[[]]",
            "[[\"a\"]]",
            "[[\"a\", 1, 2]]",
            "[[1, 2]]",
            "[\"a\"]",
            "[\"abc\"]",
            "[\"\"]",
            "[{}]",
            "[null]",
        ] {
            unreadable(format!("{{\"session\": {text}}}"));
        }
    }

    #[test]
    fn of_a_name_that_comes_twice_the_last_value_counts_in_the_first_place() {
        has_entries(
            r#"{"session": {"a": 1, "b": 2, "\u0061": 1e400, "\ud800": 1, "\uD800": 2}}"#,
            &[("a", "1e400"), ("b", "2"), ("\u{fffd}", "2")],
        );
        has_entries(
            r#"{"session": {"a": 1}, "session": {"b": 2}}"#,
            &[("b", "2")],
        );
        let record = record(
            r#"{"created": "x", "cre\u0061ted": 7, "max_age": 1, "max_age": null, "session": {}}"#,
        );
        assert_eq!(record.created(), UNIX_EPOCH + Duration::from_secs(7));
        assert_eq!(record.lifetime, Lifetime::Unlimited);
    }

    #[test]
    fn many_entries_are_read_as_few_are() {
        for count in [7, 8, 9, 15, 16, 17, 18, 33, 1000] {
            let members: Vec<String> = (0..count)
                .map(|number| format!("\"n{number}\": {number}"))
                .collect();
            let more = r#""n1": true, "\ud800": 1, "\u00e9": 2, "é": 3, "\ud800": 4"#;
            let members = members.join(", ");
            let record = record(format!(r#"{{"session": {{{members}, {more}}}}}"#));
            assert_eq!(record.len(), count + 2, "{count}");
            assert_eq!(record.get("n0"), Some("0"));
            assert_eq!(record.get("n1"), Some("true"));
            assert_eq!(
                record.get(&format!("n{}", count - 1)),
                Some(&*(count - 1).to_string())
            );
            assert_eq!(record.get(&format!("n{count}")), None);
            assert_eq!(record.get("é"), Some("3"));
            assert_eq!(record.get("\u{fffd}"), None);
            assert_eq!(record.names().nth(1).unwrap(), "n1");
            assert_eq!(record.names().nth(count).unwrap(), "\u{fffd}");
        }
    }

    #[test]
    fn names_are_found_by_what_they_stand_for() {
        let record = record(concat!(
            r#"{"session": {"": 1, "\u00e9\/\ud83d\ude00": 2, "日": 3, "a\"": 4, "#,
            r#""\ud83d": 5, "A": 6}}"#,
        ));
        assert_eq!(record.get(""), Some("1"));
        assert_eq!(record.get("é/😀"), Some("2"));
        assert_eq!(record.get("日"), Some("3"));
        assert_eq!(record.get("a\""), Some("4"));
        assert_eq!(record.get("\\ud83d"), None);
        assert_eq!(record.get("\u{fffd}"), None);
        assert_eq!(record.get("a"), None);
        let names: Vec<_> = record.names().collect();
        assert_eq!(names, ["", "é/😀", "日", "a\"", "\u{fffd}", "A"]);
    }

    #[test]
    fn a_lifetime_is_null_or_positive_whole_seconds() {
        let longest = whole_seconds(Duration::MAX);
        for (written, lifetime) in [
            ("null", Lifetime::Unlimited),
            ("1", Lifetime::For(Duration::from_secs(1))),
            ("3600", Lifetime::For(Duration::from_secs(3600))),
            ("18446744073709551615", Lifetime::For(longest)),
            ("18446744073709551616", Lifetime::Default),
            ("0", Lifetime::Default),
            ("-1", Lifetime::Default),
            ("1.5", Lifetime::Default),
            ("1e3", Lifetime::Default),
            ("true", Lifetime::Default),
            ("\"60\"", Lifetime::Default),
            ("[]", Lifetime::Default),
        ] {
            let record = record(format!("{{\"created\": 1, \"max_age\": {written}}}"));
            assert_eq!(record.lifetime, lifetime, "{written}");
        }
    }

    #[test]
    fn a_start_is_whole_seconds() {
        for (written, started) in [
            ("0", Some(0)),
            ("1700000000", Some(NOW)),
            ("1700000001", Some(NOW)),
            ("18446744073709551615", Some(NOW)),
            ("18446744073709551616", None),
            ("-1", None),
            ("1.0", None),
            ("null", None),
            ("\"1\"", None),
        ] {
            let record = record(format!("{{\"created\": 1, \"started\": {written}}}"));
            assert_eq!(record.started, started, "{written}");
        }
    }

    #[test]
    fn a_handle_is_32_lowercase_hexadecimal_digits() {
        let handle = "0123456789abcdef".repeat(2);
        let written = format!("{{\"created\": 1, \"handle\": \"{handle}\"}}");
        assert_eq!(record(written).handle, Some(handle.as_str().into()));
        for other in [
            "null",
            "1",
            "\"\"",
            "\"",
            &format!("\"{}\"", &handle[1..]),
            &format!("\"{handle}0\""),
            &format!("\"{}\"", handle.to_uppercase()),
            &format!("\"{}g\"", &handle[1..]),
            &format!("\"{}\\u0030\"", &handle[1..]),
            &format!("[\"{handle}\"]"),
        ] {
            let written = format!("{{\"created\": 1, \"handle\": {other}}}");
            if let Ok(Parsed::Record(record)) = parse(written) {
                assert_eq!(record.handle, None, "{other}");
            }
        }
    }
}
