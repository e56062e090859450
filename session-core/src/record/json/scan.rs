//! Finds where JSON values begin and end, without building them (RFC 8259).
//!
//! A record keeps ranges of its text, so that values that a handler does not touch are written
//! back byte for byte. `serde_json` cannot give these ranges if a name has a lone surrogate, and
//! Python writes such names. Property tests compare this module with `serde_json`.
//!
//! A function takes a text and a place in it. It returns the place behind what it has read, or
//! `None` if the text is not JSON or not UTF-8. There is no recursion, because a client may send
//! 100,000 brackets.
//!
//! Rare cases have functions of their own, which are not inlined. That keeps the common path short.

use std::ops::Range;

use crate::record::json::plain;

/// The name of a member of an object.
pub(crate) struct Name {
    /// Where the name is, without its quotes.
    pub(crate) inside: Range<usize>,
    /// Whether the name is written with escapes.
    pub(crate) escaped: bool,
}

/// What comes next in an object.
enum Next {
    /// A name. This is the place behind its opening quote.
    Name(usize),
    /// The end of the object. This is the place behind its bracket.
    End(usize),
}

/// Reads an object. Calls `each` with each name and the place of its value.
///
/// `each` must read the value and return the place behind it.
#[inline]
pub(crate) fn object(
    text: &[u8],
    at: usize,
    mut each: impl FnMut(Name, usize) -> Option<usize>,
) -> Option<usize> {
    let mut at = match first_name(text, at)? {
        Next::Name(at) => at,
        Next::End(at) => return Some(at),
    };
    loop {
        let (name, value) = name(text, at)?;
        at = each(name, value)?;
        if next_is(text, at, *b", \"") {
            at += 3;
            continue;
        }
        at = match next_name(text, at)? {
            Next::Name(at) => at,
            Next::End(at) => return Some(at),
        };
    }
}

/// Reads a value of any kind. `at` must be the place of its first byte.
#[inline]
pub(crate) fn value(text: &[u8], at: usize) -> Option<usize> {
    match *text.get(at)? {
        b'{' | b'[' => container(text, at),
        _ => scalar(text, at),
    }
}

/// Skips white space.
#[inline]
pub(crate) fn white_space(text: &[u8], at: usize) -> usize {
    match text.get(at) {
        Some(0..=b' ') => more_white_space(text, at),
        _ => at,
    }
}

#[cold]
fn more_white_space(text: &[u8], mut at: usize) -> usize {
    while let Some(b' ' | b'\t' | b'\n' | b'\r') = text.get(at) {
        at += 1;
    }
    at
}

/// Skips white space and reads `byte`.
#[inline]
fn take(text: &[u8], at: usize, byte: u8) -> Option<usize> {
    let at = white_space(text, at);
    (text.get(at) == Some(&byte)).then_some(at + 1)
}

/// Returns whether these three bytes come next, and at least one more behind them.
///
/// Python always separates names and values with the same three bytes, so they are tried first.
#[inline]
fn next_is(text: &[u8], at: usize, [a, b, c]: [u8; 3]) -> bool {
    let next = text.get(at..).and_then(|rest| rest.first_chunk());
    next.is_some_and(|next| u32::from_le_bytes(*next) << 8 == u32::from_le_bytes([0, a, b, c]))
}

/// Reads the beginning of an object, up to its first name.
fn first_name(text: &[u8], at: usize) -> Option<Next> {
    let at = take(text, at, b'{')?;
    match take(text, at, b'}') {
        Some(end) => Some(Next::End(end)),
        None => take(text, at, b'"').map(Next::Name),
    }
}

/// Reads what is behind a value, up to the next name.
fn next_name(text: &[u8], at: usize) -> Option<Next> {
    match take(text, at, b'}') {
        Some(end) => Some(Next::End(end)),
        None => take(text, take(text, at, b',')?, b'"').map(Next::Name),
    }
}

/// Reads a name behind its opening quote, and the colon. Also returns the place of the value.
#[inline]
fn name(text: &[u8], at: usize) -> Option<(Name, usize)> {
    let mut end = at + plain::count_in_word(text.get(at..)?);
    if end == at + 8 {
        end += plain::count(text.get(end..)?);
    }
    if !next_is(text, end, *b"\": ") {
        return other_name(text, at, end);
    }
    let name = Name {
        inside: at..end,
        escaped: false,
    };
    Some((name, white_space(text, end + 3)))
}

/// Reads a name that has escapes, or that is not followed by what Python writes.
#[cold]
fn other_name(text: &[u8], start: usize, at: usize) -> Option<(Name, usize)> {
    let behind = rest_of_string(text, at)?;
    let inside = start..behind - 1;
    let name = Name {
        escaped: text.get(inside.clone())?.contains(&b'\\'),
        inside,
    };
    let value = take(text, behind, b':')?;
    Some((name, white_space(text, value)))
}

/// Reads a value that is not a list and not an object.
#[inline(never)]
fn scalar(text: &[u8], at: usize) -> Option<usize> {
    match *text.get(at)? {
        b'"' => string(text, at + 1),
        b't' => word(text, at, b"true"),
        b'f' => word(text, at, b"false"),
        b'n' => word(text, at, b"null"),
        _ => number(text, at),
    }
}

/// Reads a list or an object, and everything in it.
#[inline(never)]
fn container(text: &[u8], at: usize) -> Option<usize> {
    let mut bracket = *text.get(at)?;
    // The opening brackets of the containers around the present one, outermost first.
    let mut around = Vec::new();
    let mut at = white_space(text, at + 1);
    let mut is_empty = *text.get(at)? == closing(bracket);
    loop {
        if !is_empty {
            if bracket == b'{' {
                at = name(text, take(text, at, b'"')?)?.1;
            }
            let first = *text.get(at)?;
            if let b'{' | b'[' = first {
                around.push(bracket);
                bracket = first;
                at = white_space(text, at + 1);
                is_empty = *text.get(at)? == closing(bracket);
                continue;
            }
            at = scalar(text, at)?;
        }
        // A value ends here. A container ends with its last value.
        loop {
            at = white_space(text, at);
            let byte = *text.get(at)?;
            at += 1;
            if byte == b',' {
                break;
            }
            if byte != closing(bracket) {
                return None;
            }
            match around.pop() {
                Some(outer) => bracket = outer,
                None => return Some(at),
            }
        }
        at = white_space(text, at);
        is_empty = false;
    }
}

/// Returns the closing bracket. In ASCII it is two places behind the opening one.
fn closing(bracket: u8) -> u8 {
    bracket + 2
}

/// Reads a string behind its opening quote.
#[inline]
fn string(text: &[u8], at: usize) -> Option<usize> {
    let end = at + plain::count_in_word(text.get(at..)?);
    if text.get(end) == Some(&b'"') {
        return Some(end + 1);
    }
    long_string(text, end)
}

/// Reads the rest of a string that is longer than eight bytes or not plain.
#[inline(never)]
fn long_string(text: &[u8], at: usize) -> Option<usize> {
    let end = at + plain::count(text.get(at..)?);
    if text.get(end) == Some(&b'"') {
        return Some(end + 1);
    }
    rest_of_string(text, end)
}

/// Reads the rest of a string that has escapes, is not ASCII, or is near the end of the text.
#[cold]
fn rest_of_string(text: &[u8], mut at: usize) -> Option<usize> {
    loop {
        let rest = text.get(at..)?;
        at += match *rest.first()? {
            b'"' => return Some(at + 1),
            b'\\' => escape_len(rest)?,
            0..b' ' => return None,
            b' '..0x80 => 1,
            0x80.. => non_ascii_len(rest)?,
        };
        at += plain::count(text.get(at..)?);
    }
}

/// Returns the length of the escape at the beginning of `text`.
fn escape_len(text: &[u8]) -> Option<usize> {
    match text.get(1)? {
        b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Some(2),
        b'u' => {
            let digits = text.get(2..6)?;
            digits.iter().all(u8::is_ascii_hexdigit).then_some(6)
        }
        _ => None,
    }
}

/// Returns the length of the characters up to the next ASCII character, if they are UTF-8.
fn non_ascii_len(text: &[u8]) -> Option<usize> {
    let len = text.iter().take_while(|byte| !byte.is_ascii()).count();
    std::str::from_utf8(&text[..len]).ok().map(str::len)
}

/// Reads a number.
#[inline]
fn number(text: &[u8], at: usize) -> Option<usize> {
    let start = at + usize::from(text.get(at) == Some(&b'-'));
    let mut at = digits(text, start)?;
    if at > start + 1 && text.get(start) == Some(&b'0') {
        return None;
    }
    if let Some(b'.') = text.get(at) {
        at = digits(text, at + 1)?;
    }
    if let Some(b'e' | b'E') = text.get(at) {
        let signed = matches!(text.get(at + 1), Some(b'+' | b'-'));
        at = digits(text, at + 1 + usize::from(signed))?;
    }
    Some(at)
}

/// Reads at least one digit.
#[inline]
fn digits(text: &[u8], start: usize) -> Option<usize> {
    let mut at = start;
    while text.get(at).is_some_and(u8::is_ascii_digit) {
        at += 1;
    }
    (at > start).then_some(at)
}

/// Reads `true`, `false` or `null`.
fn word(text: &[u8], at: usize, word: &[u8]) -> Option<usize> {
    let found = text.get(at..)?.starts_with(word);
    found.then_some(at + word.len())
}

#[cfg(test)]
mod tests {
    use std::fmt;

    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::select;
    use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
    use serde_json::value::RawValue;

    use super::*;

    fn scan(text: &[u8]) -> Option<Range<usize>> {
        let start = white_space(text, 0);
        let end = value(text, start)?;
        (white_space(text, end) == text.len()).then_some(start..end)
    }

    /// Compares with `serde_json`: what is JSON, and where it is.
    #[track_caller]
    fn agrees(text: impl AsRef<[u8]>) {
        let text = text.as_ref();
        let raw = serde_json::from_slice::<&RawValue>(text).ok();
        let raw = raw.map(|raw| raw.get().as_bytes());
        let shown = String::from_utf8_lossy(text);
        assert_eq!(scan(text).map(|range| &text[range]), raw, "{shown:?}");
        object_agrees(text);
    }

    /// The members of an object, read by `serde_json`.
    struct Members(Vec<(String, Box<RawValue>)>);

    impl<'de> Deserialize<'de> for Members {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            deserializer.deserialize_map(ReadMembers)
        }
    }

    struct ReadMembers;

    impl<'de> Visitor<'de> for ReadMembers {
        type Value = Members;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
            let mut members = Vec::new();
            while let Some(member) = map.next_entry()? {
                members.push(member);
            }
            Ok(Members(members))
        }
    }

    /// Compares names and values. `serde_json` does not read names with lone surrogates.
    #[track_caller]
    fn object_agrees(text: &[u8]) {
        let mut members = Vec::new();
        let end = object(text, 0, |name, at| {
            let end = value(text, at)?;
            members.push((name, at..end));
            Some(end)
        });
        let whole = end.is_some_and(|end| white_space(text, end) == text.len());
        let is_object = scan(text).is_some_and(|range| text[range.start] == b'{');
        let shown = String::from_utf8_lossy(text);
        assert_eq!(whole, is_object, "{shown:?}");
        let Ok(Members(expected)) = serde_json::from_slice(text) else {
            return;
        };
        assert_eq!(members.len(), expected.len(), "{shown:?}");
        for ((name, value), (expected_name, expected_value)) in members.into_iter().zip(expected) {
            let inside = &text[name.inside.clone()];
            assert_eq!(name.escaped, inside.contains(&b'\\'), "{shown:?}");
            let quoted = &text[name.inside.start - 1..=name.inside.end];
            let unescaped: String = serde_json::from_slice(quoted).unwrap();
            assert_eq!(unescaped, expected_name, "{shown:?}");
            assert_eq!(&text[value], expected_value.get().as_bytes(), "{shown:?}");
        }
    }

    #[test]
    fn what_is_json_and_what_is_not() {
        for text in [
            "",
            " ",
            "{",
            "}",
            "[",
            "]",
            "{}",
            "[]",
            "[[]]",
            "[{}]",
            "{]",
            "[}",
            "[,]",
            "[1,]",
            "[1 2]",
            "[1,2]",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1",
            "{\"a\":1,}",
            "{\"a\":1,\"b\"}",
            "{\"a\" : 1 , \"b\" : [ 1 , 2 ] }",
            "{a:1}",
            "\"",
            "\"\"",
            "\"\\\"",
            "\"\\\"\"",
            "\"\\x\"",
            "\"\\u12\"",
            "\"\\u12G4\"",
            "\"\\ud800\"",
            "\"\n\"",
            "\"\u{7f}é日😀\"",
            "0",
            "-0",
            "-",
            "+1",
            "01",
            "1.",
            ".5",
            "1.5",
            "1e",
            "1e5",
            "1E+5",
            "1e-05",
            "1e999",
            "1.e5",
            "0x1",
            "--1",
            "true",
            "tru",
            "truex",
            "false",
            "null",
            "nulll",
            "NaN",
            "Infinity",
            "-Infinity",
            " 1 ",
            "1 1",
            "\u{feff}1",
            "[1]x",
            "{\"\": 1}",
            "{\"\\u0061\": 1, \"\": [], \"a b\": {}}",
            "{\"a\": 1, }",
            "{\"a\": , \"b\": 1}",
            "{\"a\": 1, \"b\": 2",
            "{\"a\": 1, \"b\": ",
            "{\"a\": 1, \"b",
            "{\"a\":\t1 ,\r\"b\"\n: 2 }",
            "{\"a\": 1} {\"b\": 1}",
            "[{\"a\": [{\"b\": {}}, []]}, [[1], 2]]",
            "[{\"a\": [1}]]",
            "[1.5e+3, -0.5E-2, 0e1]",
            "-01",
            "00",
            "1.5.5",
            "1e5e5",
        ] {
            agrees(text);
        }
        agrees("1".repeat(5000));
        agrees(format!("{}{}", "[".repeat(10_000), "]".repeat(10_000)));
        agrees("[".repeat(100_000));
        agrees("{\"a\": ".repeat(100_000));
    }

    #[test]
    fn strings_of_all_lengths() {
        for len in 0..40 {
            let long = "x".repeat(len);
            for end in [
                "",
                "\"",
                "\\n\"",
                "\n\"",
                "\\x\"",
                "\\",
                "é\"",
                "日本語\"",
                "y\u{1}y\"",
                "\"y",
                "\"   ",
                "\"         y",
            ] {
                agrees(format!("\"{long}{end}"));
                agrees(format!("\"{long}{end}{long}"));
                agrees(format!("\"{long}é\\\"{long}{end}"));
                agrees(format!("{{\"{long}{end}: 1}}"));
                agrees(format!(
                    "{{\"{long}{end}: \"{long}{end}, \"{long}\": \"{long}\"}}"
                ));
                agrees(format!("{{\"{long}{end}:[\"{long}{end},\"{long}\"]}}"));
            }
        }
    }

    #[test]
    fn strings_must_be_utf8() {
        for bytes in [
            &b"\x80"[..],
            b"\xff",
            b"\xc3",
            b"\xc3\xa9\xc3",
            b"\xc0\x80",
            b"\xed\xa0\x80",
            b"\xf4\x90\x80\x80",
            b"\xf0\x9f\x98",
            b"\xc3\"\xa9",
        ] {
            for len in 0..10 {
                let text = [b"\"", &b"x".repeat(len)[..], bytes, b"\""].concat();
                assert_eq!(scan(&text), None);
                agrees(text);
            }
        }
    }

    proptest! {
        #[test]
        fn any_bytes(bytes: Vec<u8>) {
            agrees(&bytes);
            agrees([b"\"", &bytes[..], b"\""].concat());
        }

        #[test]
        fn any_text(text in ".*") {
            agrees(&text);
            agrees(format!("\"{text}\""));
        }

        #[test]
        fn text_that_is_nearly_json(
            text in r#"([\[\]{},: "\\]|"a"|\\u00e9|-?[0-9]{1,2}|[.eE+-]|true|null){0,12}"#
        ) {
            agrees(&text);
        }

        #[test]
        fn objects(
            members in vec(
                (
                    r#"([a-z_]{0,12}|\\"|\\u00e9|é){0,3}"#,
                    select(&[": ", ":", " : "][..]),
                    prop_oneof![
                        "-?[0-9]{1,12}",
                        "\"[ -!#-\\[\\]-~é]{0,40}\"",
                        r#"\[("[a-z]{0,12}"(, "é\\n")?)?\]|\{\}"#,
                    ],
                    select(&[", ", ",", " , ", ""][..]),
                ),
                0..6,
            )
        ) {
            let mut text = "{".to_owned();
            for (name, colon, value, comma) in members {
                text.extend(["\"", &name, "\"", colon, &value, comma]);
            }
            agrees(format!("{text}}}"));
            agrees(format!("{}}}", text.trim_end_matches([',', ' '])));
        }
    }
}
