//! Writes a record as aiohttp_session does.

use std::ops::Range;

use crate::record::created::Created;
use crate::record::entries::{Name, Text};
use crate::record::{Lifetime, Record, Until};

impl Record {
    /// Writes the JSON text of the record. The capacity of the result is its length.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut buffers = [itoa::Buffer::new(); 4];
        let [created, max_age, started, listed] = &mut buffers;
        let created = match &self.created {
            Created::At(seconds) | Created::Missing { now: seconds } => created.format(*seconds),
            Created::Other { written, .. } => written,
        };
        let max_age = match self.lifetime {
            Lifetime::Default => None,
            Lifetime::Unlimited => Some("null"),
            Lifetime::For(age) => Some(max_age.format(age.as_secs())),
        };
        let started = self.started.map(|seconds| started.format(seconds));
        let listed = self.listed.map(|until| match until {
            Until::At(seconds) => listed.format(seconds),
            Until::Forever => "null",
        });
        // Members that aiohttp_session does not have. It ignores them.
        let more = [
            (", \"max_age\": ", max_age, ""),
            (", \"started\": ", started, ""),
            (", \"handle\": \"", self.handle.as_deref(), "\""),
            (", \"listed\": ", listed, ""),
        ];
        let more_len: usize = more
            .iter()
            .filter_map(|(before, value, after)| Some(before.len() + (*value)?.len() + after.len()))
            .sum();
        let len = CREATED.len() + created.len() + SESSION.len() + self.entries_len() + more_len + 2;

        let mut out = Vec::with_capacity(len);
        out.extend_from_slice(CREATED);
        out.extend_from_slice(created.as_bytes());
        out.extend_from_slice(SESSION);
        self.write_entries(&mut out);
        out.push(b'}');
        for (before, value, after) in more {
            if let Some(value) = value {
                out.extend_from_slice(before.as_bytes());
                out.extend_from_slice(value.as_bytes());
                out.extend_from_slice(after.as_bytes());
            }
        }
        out.push(b'}');
        out
    }

    /// Returns the length of what [`write_entries`](Self::write_entries) writes.
    fn entries_len(&self) -> usize {
        let len: usize = self
            .entries
            .iter()
            .map(|(name, value)| name.written.len() + value.len() + "\"\": , ".len())
            .sum();
        len.saturating_sub(", ".len())
    }

    /// Writes the entries and what separates them.
    ///
    /// Most entries follow each other in the loaded text exactly as they are written here. Such
    /// entries are copied together.
    fn write_entries(&self, out: &mut Vec<u8>) {
        let loaded = &*self.text;
        let mut together = 0..0;
        for (name, value) in self.entries.iter() {
            match as_loaded(loaded, name, value) {
                Some(entry) if loaded.get(together.end..entry.start) == Some(b", ") => {
                    together.end = entry.end;
                }
                Some(entry) => {
                    copy(out, &loaded[together]);
                    together = entry;
                }
                None => {
                    copy(out, &loaded[std::mem::take(&mut together)]);
                    separate(out);
                    out.push(b'"');
                    out.extend_from_slice(name.written.bytes(loaded));
                    out.extend_from_slice(b"\": ");
                    out.extend_from_slice(value.bytes(loaded));
                }
            }
        }
        copy(out, &loaded[together]);
    }
}

const CREATED: &[u8] = b"{\"created\": ";
const SESSION: &[u8] = b", \"session\": {";

/// Returns the range of an entry in the loaded text, if it is written there as Python writes it.
fn as_loaded(loaded: &[u8], name: &Name, value: &Text) -> Option<Range<usize>> {
    match (&name.written, value) {
        (Text::Loaded(start, end), Text::Loaded(value_start, value_end))
            if loaded.get(*end..*value_start) == Some(b"\": ") =>
        {
            Some(start - 1..*value_end)
        }
        _ => None,
    }
}

/// Writes entries that are separated already.
fn copy(out: &mut Vec<u8>, entries: &[u8]) {
    if !entries.is_empty() {
        separate(out);
        out.extend_from_slice(entries);
    }
}

/// Writes a comma unless this is the first entry. No entry ends with an opening bracket.
fn separate(out: &mut Vec<u8>) {
    if out.last() != Some(&b'{') {
        out.extend_from_slice(b", ");
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;

    use std::sync::Arc;

    use super::*;
    use crate::record::parse::Parsed;

    fn parse(text: &str) -> Record {
        match Record::parse(Bytes::from(text.to_owned()), 5) {
            Ok(Parsed::Record(record)) => Arc::unwrap_or_clone(record),
            _ => panic!("{text} is a record"),
        }
    }

    #[track_caller]
    fn encode(record: &Record) -> String {
        let text = record.encode();
        assert_eq!(text.capacity(), text.len(), "one allocation");
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn an_empty_record_keeps_its_date() {
        let text = r#"{"created": 7, "session": {}}"#;
        assert_eq!(encode(&Record::new(7)), text);
        assert_eq!(encode(&parse(text)), text);
        let mut record = parse(r#"{"created": 7, "session": {"a": 1}}"#);
        record.remove("a");
        assert_eq!(encode(&record), text);
    }

    #[test]
    fn what_python_writes_goes_back_byte_for_byte() {
        for text in [
            r#"{"created": 1700000000, "session": {"a": 1}}"#,
            r#"{"created": 1700000000.5, "session": {"a": [1, {"b": "}, \"c\": {"}], "d": null}}"#,
            r#"{"created": true, "session": {"\u00e9\/": "\ud83d", "\ud800": "\u00E9"}}"#,
            r#"{"created": 0, "session": {"": "", "n": -0.000e+00, "big": 123456789012345678901}}"#,
            r#"{"created": 1, "session": {"a": 1}, "max_age": 60}"#,
            r#"{"created": 1, "session": {"a": 1}, "max_age": null, "started": 0}"#,
            r#"{"created": 1, "session": {}, "handle": "00112233445566778899aabbccddeeff"}"#,
            r#"{"created": 1, "session": {"a": 1}, "listed": 1700000000}"#,
            r#"{"created": 1, "session": {"a": 1}, "listed": null}"#,
        ] {
            assert_eq!(encode(&parse(text)), text);
        }
    }

    #[test]
    fn only_names_and_values_stay_as_they_are_in_other_formats() {
        for (text, encoded) in [
            (
                r#"{"created":1,"session":{"a":1,"b":[1,2]}}"#,
                r#"{"created": 1, "session": {"a": 1, "b": [1,2]}}"#,
            ),
            (
                "{ \"session\" : {\"a\" : 1 ,\n \"b\": 2, \"c\": 3 , \"d\":4},\"created\":1 }",
                r#"{"created": 1, "session": {"a": 1, "b": 2, "c": 3, "d": 4}}"#,
            ),
            (
                "{\"created\": 1, \"session\": {\"a\": 1 ,\"b\": 2,\n\"c\": 3}}",
                r#"{"created": 1, "session": {"a": 1, "b": 2, "c": 3}}"#,
            ),
            (
                r#"{"created": 1, "session": {"a" :1, "b": 2}}"#,
                r#"{"created": 1, "session": {"a": 1, "b": 2}}"#,
            ),
            (
                r#"{"session": {"a": 1, "b": 2, "a": 3, "c": 4}}"#,
                r#"{"created": 5, "session": {"a": 3, "b": 2, "c": 4}}"#,
            ),
            (
                r#"{"created": null, "other": 1, "session": [["a", 1], "bc"]}"#,
                r#"{"created": 5, "session": {"a": 1, "b": "c"}}"#,
            ),
        ] {
            assert_eq!(encode(&parse(text)), encoded);
        }
    }

    #[test]
    fn changes_are_written_between_what_stays() {
        let text = r#"{"created": 1, "session": {"a": 1, "b": 2, "c": 3, "d": 4, "e": 5}}"#;
        let mut record = parse(text);
        record.set("c", "30".into());
        assert_eq!(
            encode(&record),
            r#"{"created": 1, "session": {"a": 1, "b": 2, "c": 30, "d": 4, "e": 5}}"#
        );
        record.remove("b");
        record.remove("e");
        record.set("é\"", "\"{\"".into());
        record.set("b", "20".into());
        assert_eq!(
            encode(&record),
            r#"{"created": 1, "session": {"a": 1, "c": 30, "d": 4, "\u00e9\"": "{", "b": 20}}"#
        );
        record.set("a", "10".into());
        record.remove("b");
        assert_eq!(
            encode(&record),
            r#"{"created": 1, "session": {"a": 10, "c": 30, "d": 4, "\u00e9\"": "{"}}"#
        );
    }

    #[test]
    fn members_of_our_own_come_last() {
        let mut record = Record::new(u64::MAX);
        record.lifetime = Lifetime::For(Duration::from_secs(u64::MAX));
        record.started = Some(u64::MAX);
        record.handle = Some("0f".repeat(16).into());
        record.listed = Some(Until::At(u64::MAX));
        record.set("a", "1".into());
        let expected = concat!(
            r#"{"created": 18446744073709551615, "session": {"a": 1}, "#,
            r#""max_age": 18446744073709551615, "started": 18446744073709551615, "#,
            r#""handle": "0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f", "#,
            r#""listed": 18446744073709551615}"#,
        );
        assert_eq!(encode(&record), expected);
    }
}
