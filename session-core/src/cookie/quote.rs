//! The quoting of Python's `http.cookies`, in both directions.
//!
//! A value stands in double quotes unless it consists of token characters and `:`. Inside the
//! quotes, `"` and `\` have a `\` before them. Control characters, `,`, `;` and the characters from
//! U+0080 to U+00FF are written as `\` and three octal digits.

use std::borrow::Cow;

/// A value as it is written in a cookie: in quotes if it needs them.
pub(super) struct Quoted<'a> {
    value: &'a str,
    /// By how many bytes escapes make the value longer. `None`: it needs no quotes.
    escapes: Option<usize>,
}

impl<'a> Quoted<'a> {
    /// Checks whether `value` needs quotes and escapes. The empty value needs quotes.
    #[inline]
    pub(super) fn new(value: &'a str) -> Self {
        let escapes = needs_quotes(value).then(|| escapes_len(value));
        Self { value, escapes }
    }

    /// Returns the length in bytes, with quotes and escapes.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.value.len() + self.escapes.map_or(0, |escapes| 2 + escapes)
    }

    /// Appends the value to `out`, with quotes and escapes.
    #[inline]
    pub(super) fn append_to(&self, out: &mut Vec<u8>) {
        match self.escapes {
            None => out.extend_from_slice(self.value.as_bytes()),
            Some(escapes) => quote(self.value, escapes > 0, out),
        }
    }
}

/// Appends `value` to `out` in quotes.
fn quote(value: &str, has_escapes: bool, out: &mut Vec<u8>) {
    out.push(b'"');
    if has_escapes {
        escape(value, out);
    } else {
        out.extend_from_slice(value.as_bytes());
    }
    out.push(b'"');
}

/// Appends `value` to `out` with escapes.
fn escape(value: &str, out: &mut Vec<u8>) {
    let mut rest = value;
    while let Some(at) = rest.bytes().position(is_escaped) {
        let (plain, other) = rest.split_at(at);
        out.extend_from_slice(plain.as_bytes());
        let mut chars = other.chars();
        // What is escaped is at most U+00FF.
        match chars.next().map(u8::try_from) {
            Some(Ok(c @ (b'"' | b'\\'))) => out.extend_from_slice(&[b'\\', c]),
            Some(Ok(c)) => {
                let [a, b, c] = [c >> 6, c >> 3, c].map(|digit| b'0' + (digit & 7));
                out.extend_from_slice(&[b'\\', a, b, c]);
            }
            _ => {}
        }
        rest = chars.as_str();
    }
    out.extend_from_slice(rest.as_bytes());
}

/// Returns the value that `coded`, a value in a Cookie header, stands for.
///
/// A value without quotes around it stands for itself. Inside the quotes, `\` and three octal
/// digits up to 377 are the character with that number. `\` and any other character are that
/// character.
pub(super) fn unquote(coded: &str) -> Cow<'_, str> {
    let Some(inside) = coded
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'))
    else {
        return Cow::Borrowed(coded);
    };
    let Some(first) = inside.find('\\') else {
        return Cow::Borrowed(inside);
    };
    let mut value = String::with_capacity(inside.len());
    value.push_str(&inside[..first]);
    let mut chars = inside[first..].chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            value.push(c);
            continue;
        }
        let octal = chars.as_str().as_bytes().first_chunk().and_then(octal);
        if let Some(c) = octal {
            value.push(c);
            chars.nth(2);
        } else {
            // A `\` at the very end escapes nothing and stays.
            value.push(chars.next().unwrap_or('\\'));
        }
    }
    Cow::Owned(value)
}

fn octal(digits: &[u8; 3]) -> Option<char> {
    let [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7'] = digits else {
        return None;
    };
    Some(char::from((a - b'0') * 64 + (b - b'0') * 8 + (c - b'0')))
}

/// Returns whether `value` must stand in quotes.
fn needs_quotes(value: &str) -> bool {
    let bytes = value.as_bytes();
    // Base64 often ends with `=`, which needs quotes.
    if !bytes.last().is_some_and(|b| LEGAL[usize::from(*b)]) {
        return true;
    }
    // Identities and most other values consist of these. The loop has no early end, so that the
    // compiler uses wide instructions.
    let is_usual = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    !bytes.iter().fold(true, |usual, b| usual & is_usual(b))
        && !bytes.iter().all(|b| LEGAL[usize::from(*b)])
}

/// Returns by how many bytes escapes make `value` longer.
fn escapes_len(value: &str) -> usize {
    // Most values have nothing to escape. No early end here either.
    if !value.bytes().fold(false, |found, b| found | is_escaped(b)) {
        return 0;
    }
    value
        .bytes()
        .map(|b| usize::from(ESCAPE[usize::from(b)]))
        .sum()
}

/// Returns whether a character whose UTF-8 begins with `byte` is escaped inside quotes. The
/// characters from U+0080 to U+00FF begin with 0xc2 or 0xc3.
const fn is_escaped(byte: u8) -> bool {
    byte < 0x20 || matches!(byte, b'"' | b'\\' | b',' | b';' | 0x7f | 0xc2 | 0xc3)
}

/// By how many bytes the escape of a character is longer than its UTF-8, by the first byte of that.
const ESCAPE: [u8; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    // No byte above is escaped.
    while byte <= 0xc3_u8 {
        table[byte as usize] = match byte {
            b'"' | b'\\' => 1,
            0xc2 | 0xc3 => 2,
            _ if is_escaped(byte) => 3,
            _ => 0,
        };
        byte += 1;
    }
    table
};

/// The bytes that need no quotes.
const LEGAL: [bool; 256] = {
    let marks = b"!#$%&'*+-.^_`|~:";
    let mut table = [false; 256];
    let mut at = 0;
    while at < marks.len() {
        table[marks[at] as usize] = true;
        at += 1;
    }
    let mut byte = 0;
    while byte < 128_u8 {
        table[byte as usize] |= byte.is_ascii_alphanumeric();
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns `value` as it stands in a cookie.
    #[track_caller]
    fn coded(value: &str) -> String {
        let quoted = Quoted::new(value);
        let mut text = Vec::new();
        quoted.append_to(&mut text);
        assert_eq!(quoted.len(), text.len(), "{value:?}");
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn unquote_takes_back_what_quote_wrote() {
        for value in [
            "",
            "abc",
            "a b",
            "\"",
            "\\",
            "\\054",
            "é日😀",
            "a,b;c",
            "\u{7f}\u{80}\u{ff}\u{100}",
        ] {
            assert_eq!(unquote(&coded(value)), value);
        }
        assert_eq!(unquote("\"\\"), "\"\\");
        assert_eq!(unquote("\"\\\""), "\\");
    }

    #[test]
    fn each_character_is_quoted_as_python_does_it() {
        for c in (0..=0x17f).filter_map(char::from_u32) {
            let is_legal = c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~:".contains(c);
            let quotes = if is_legal { "" } else { "\"" };
            let inside = match c {
                '"' | '\\' => format!("\\{c}"),
                '\0'..='\x1f' | ',' | ';' | '\x7f'..='\u{ff}' => format!("\\{:03o}", u32::from(c)),
                _ => c.to_string(),
            };
            // Long values, too: they are looked at many bytes at a time.
            let long = "ab".repeat(30);
            for (before, after) in [("", ""), ("ab", ""), ("", "ab"), (&long, "ab"), ("", &long)] {
                let value = format!("{before}{c}{after}");
                let expected = format!("{quotes}{before}{inside}{after}{quotes}");
                assert_eq!(coded(&value), expected);
                assert_eq!(unquote(&expected), value);
            }
        }
    }
}
