//! Escapes in JSON strings.
//!
//! Python writes lone surrogates, which no `str` can hold. Such a text is handled as WTF-8, which
//! is UTF-8 with surrogates.

use crate::record::json::to_text;

/// Writes what is between the quotes of the JSON string for `text`, if there are escapes in it.
pub(crate) fn escape(text: &str) -> Option<String> {
    let is_plain = |byte| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\';
    if text.bytes().all(is_plain) {
        return None;
    }
    let mut written = to_text(text).ok()?;
    written.pop();
    written.remove(0);
    Some(written)
}

/// Writes a UTF-16 unit as `\uXXXX`.
pub(super) fn escape_unit(unit: u16) -> [u8; 6] {
    let digit = |shift: u16| b"0123456789abcdef"[usize::from(unit >> shift & 0xf)];
    [b'\\', b'u', digit(12), digit(8), digit(4), digit(0)]
}

/// Returns the text that the inside of a JSON string stands for, in WTF-8.
pub(crate) fn unescape(inside: &str) -> Vec<u8> {
    let mut text = Vec::with_capacity(inside.len());
    for char in chars(inside) {
        match char {
            Ok(char) => text.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes()),
            Err(surrogate) => text.extend_from_slice(&three_bytes(surrogate)),
        }
    }
    text
}

/// Returns the text that the inside of a JSON string stands for, each lone surrogate as U+FFFD.
pub(crate) fn unescape_lossy(inside: &str) -> String {
    chars(inside)
        .map(|char| char.unwrap_or(char::REPLACEMENT_CHARACTER))
        .collect()
}

/// Writes the inside of a JSON string with Python's escapes, however it was written.
pub(crate) fn rewrite(inside: &str, out: &mut String) {
    for char in chars(inside) {
        let mut units = [0; 2];
        let units = match char {
            Ok(char) => match short_escape(char) {
                Some(escape) => {
                    out.push_str(escape);
                    continue;
                }
                None if matches!(char, ' '..='~') => {
                    out.push(char);
                    continue;
                }
                None => char.encode_utf16(&mut units),
            },
            Err(surrogate) => {
                units[0] = surrogate;
                &mut units[..1]
            }
        };
        for unit in units {
            out.extend(escape_unit(*unit).map(char::from));
        }
    }
}

fn short_escape(char: char) -> Option<&'static str> {
    Some(match char {
        '"' => r#"\""#,
        '\\' => r"\\",
        '\u{8}' => r"\b",
        '\u{c}' => r"\f",
        '\n' => r"\n",
        '\r' => r"\r",
        '\t' => r"\t",
        _ => return None,
    })
}

/// Returns the characters and lone surrogates of a string. The scanner has checked its escapes.
fn chars(inside: &str) -> impl Iterator<Item = Result<char, u16>> {
    let mut rest = inside.encode_utf16();
    let units = std::iter::from_fn(move || {
        let unit = rest.next()?;
        if unit != u16::from(b'\\') {
            return Some(unit);
        }
        let escaped = rest.next()?;
        Some(match u8::try_from(escaped) {
            Ok(b'b') => 0x08,
            Ok(b't') => 0x09,
            Ok(b'n') => 0x0a,
            Ok(b'f') => 0x0c,
            Ok(b'r') => 0x0d,
            Ok(b'u') => {
                let digits = rest.by_ref().take(4);
                digits.fold(0, |unit, digit| unit << 4 | hex_value(digit))
            }
            _ => escaped,
        })
    });
    char::decode_utf16(units).map(|char| char.map_err(|error| error.unpaired_surrogate()))
}

fn hex_value(digit: u16) -> u16 {
    // The low four bits of a letter are 1 for A.
    let letter = if digit & 0x40 == 0 { 0 } else { 9 };
    (digit & 0xf) + letter
}

/// Encodes a surrogate as UTF-8 encodes the characters around the surrogates.
fn three_bytes(surrogate: u16) -> [u8; 3] {
    let [high, low] = surrogate.to_be_bytes();
    [
        0xe0 | high >> 4,
        0x80 | (high << 2 & 0x3f) | low >> 6,
        0x80 | low & 0x3f,
    ]
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn plain_text_needs_no_escapes() {
        for text in ["", "a", "user_id", "a b~", "{}[]:,/'"] {
            assert_eq!(escape(text), None);
        }
    }

    #[test]
    fn lone_surrogates_stay_apart_from_all_other_text() {
        for (inside, bytes, lossy) in [
            (r"\ud800", &b"\xed\xa0\x80"[..], "\u{fffd}"),
            (r"\uDFFF", b"\xed\xbf\xbf", "\u{fffd}"),
            (r"a\ud83d!", b"a\xed\xa0\xbd!", "a\u{fffd}!"),
            (r"\ud800\u0041", b"\xed\xa0\x80A", "\u{fffd}A"),
            (
                r"\udc00\ud800",
                b"\xed\xb0\x80\xed\xa0\x80",
                "\u{fffd}\u{fffd}",
            ),
            (
                r"\ud800\ud83d\ude00",
                b"\xed\xa0\x80\xf0\x9f\x98\x80",
                "\u{fffd}😀",
            ),
            ("\\ud800😀", b"\xed\xa0\x80\xf0\x9f\x98\x80", "\u{fffd}😀"),
        ] {
            assert_eq!(unescape(inside), bytes, "{inside}");
            assert_eq!(unescape_lossy(inside), lossy, "{inside}");
        }
    }

    proptest! {
        #[test]
        fn what_is_escaped_is_unescaped_again(text in any::<String>()) {
            let written = escape(&text).unwrap_or_else(|| text.clone());
            prop_assert!(written.bytes().all(|byte| matches!(byte, b' '..=b'~')));
            prop_assert_eq!(format!("\"{written}\""), to_text(&text).unwrap());
            prop_assert_eq!(unescape(&written), text.as_bytes());
            prop_assert_eq!(unescape_lossy(&written), text);
        }

        /// Compares with `serde_json`: which text a string means.
        #[test]
        fn any_escapes(
            parts in vec(
                prop_oneof![
                    r#"\\["\\/bfnrt]"#,
                    r"\\u[0-9a-fA-F]{4}",
                    r"\\ud[89ab]3d\\ud[c-f]00",
                    "[a-zé😀]",
                ],
                0..8,
            )
        ) {
            let inside = parts.concat();
            if let Ok(text) = serde_json::from_str::<String>(&format!("\"{inside}\"")) {
                prop_assert_eq!(unescape(&inside), text.as_bytes());
                prop_assert_eq!(unescape_lossy(&inside), text);
            } else {
                prop_assert!(std::str::from_utf8(&unescape(&inside)).is_err());
                let lossy = unescape_lossy(&inside);
                prop_assert!(lossy.contains(char::REPLACEMENT_CHARACTER));
            }
        }
    }
}
