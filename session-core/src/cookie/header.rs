//! The Cookie header: which values of a name a client sent; and the
//! quoting of Python's `http.cookies` for both directions.

use std::borrow::Cow;

use http::{HeaderMap, HeaderValue, header::COOKIE};
use memchr::memchr;

/// Of several cookies of one name, how many are tried: a client chooses how many it sends.
pub const MAX_CANDIDATES: usize = 4;

/// The Cookie header lines of a request. They share its memory; nothing is read yet.
#[derive(Debug, Default)]
pub(crate) struct CookieLines {
    first: Option<HeaderValue>,
    /// HTTP/2 sends each cookie in a line of its own (RFC 9113, section 8.2.3).
    more: Vec<HeaderValue>,
}

impl CookieLines {
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let mut lines = headers.get_all(COOKIE).iter().cloned();
        Self {
            first: lines.next(),
            more: lines.collect(),
        }
    }

    /// Returns whether there is a cookie of `name` at all.
    pub(crate) fn have(&self, name: &str) -> bool {
        self.pairs(name).next().is_some()
    }

    /// Returns the values of the cookies of `name` that are UTF-8, in the order of the lines; the
    /// first [`MAX_CANDIDATES`] of them.
    pub(crate) fn values(&self, name: &str) -> impl Iterator<Item = Cow<'_, str>> {
        let values = self
            .pairs(name)
            .filter_map(|value| std::str::from_utf8(value).ok());
        values.take(MAX_CANDIDATES).map(unquote)
    }

    fn pairs(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        let lines = self.first.iter().chain(&self.more);
        lines
            .flat_map(|line| Pairs(Some(line.as_bytes())))
            .filter_map(move |(key, value)| (key == name.as_bytes()).then_some(value))
    }
}

/// Iterates over the name-value pairs of a Cookie header as browsers write it (RFC 6265, section 4.2.1):
/// what is between two `;`, without the white space around, up to the first `=` and from there.
///
/// On purpose stricter than aiohttp, to which white space ends a value as well, and `;` inside quotes
/// does not: a sibling domain's `a=b __Host-sid=..` would be a cookie that it may not set, and its `a="`
/// and `z="` would hide the cookies in between. Neither Python nor this crate writes either.
struct Pairs<'a>(Option<&'a [u8]>);

impl<'a> Iterator for Pairs<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let text = self.0?;
        let end = memchr(b';', text);
        self.0 = end.map(|end| &text[end + 1..]);
        let pair = &text[..end.unwrap_or(text.len())];
        // Without a `=` it is a name, as to aiohttp.
        let (name, value) = memchr(b'=', pair).map_or((pair, &pair[..0]), |equals| {
            (&pair[..equals], &pair[equals + 1..])
        });
        Some((name.trim_ascii(), value.trim_ascii()))
    }
}

/// Writes `value`, which [`needs_quotes`], as it stands in a cookie: in quotes, with the escapes of
/// Python's `http.cookies`.
pub(crate) fn quote(value: &str, out: &mut String) {
    out.push('"');
    let mut rest = value;
    // Most values, tokens among them, have nothing to escape: a look over all bytes that the
    // compiler turns into a few wide ones.
    let escapes = value.bytes().fold(false, |found, b| found | is_escaped(b));
    while let Some(at) = escapes.then(|| rest.bytes().position(is_escaped)).flatten() {
        let (plain, other) = rest.split_at(at);
        out.push_str(plain);
        let mut chars = other.chars();
        match chars.next() {
            Some(c @ ('"' | '\\')) => out.extend(['\\', c]),
            Some(c) => {
                let code = u32::from(c);
                let digits =
                    [code >> 6, code >> 3, code].map(|digit| char::from_digit(digit & 7, 8));
                out.push('\\');
                out.extend(digits.into_iter().flatten());
            }
            None => {}
        }
        rest = chars.as_str();
    }
    out.push_str(rest);
    out.push('"');
}

/// Returns how many bytes `value` has in a cookie, in quotes if it needs them.
pub(crate) fn quoted_len(value: &str) -> usize {
    let escapes = || {
        value
            .bytes()
            .map(|b| usize::from(ESCAPED[usize::from(b)]))
            .sum::<usize>()
    };
    value.len()
        + if needs_quotes(value) {
            2 + escapes()
        } else {
            0
        }
}

/// Returns whether there is anything in `value` but token characters and `:`.
pub(crate) fn needs_quotes(value: &str) -> bool {
    // Backwards, for what most often needs them is a token that ends in '='.
    value.is_empty() || !value.bytes().rev().all(|b| LEGAL[usize::from(b)])
}

fn is_escaped(b: u8) -> bool {
    b < 0x20 || matches!(b, b'"' | b'\\' | b',' | b';' | 0x7f | 0xc2 | 0xc3)
}

/// How many bytes more than one a byte takes inside quotes. The characters from 128 to 255 are two
/// bytes of UTF-8, of which the first is 0xc2 or 0xc3, and become four.
const ESCAPED: [u8; 256] = {
    let mut table = [0; 256];
    let mut at = 0;
    while at < 0x20 {
        table[at] = 3;
        at += 1;
    }
    table[b'"' as usize] = 1;
    table[b'\\' as usize] = 1;
    table[b',' as usize] = 3;
    table[b';' as usize] = 3;
    table[0x7f] = 3;
    table[0xc2] = 2;
    table[0xc3] = 2;
    table
};

/// The characters that need no quotes.
const LEGAL: [bool; 256] = table(b"!#$%&'*+-.^_`|~:");

const fn table(marks: &[u8]) -> [bool; 256] {
    let mut table = [false; 256];
    let mut at = 0;
    while at < 128_u8 {
        table[at as usize] = at.is_ascii_alphanumeric();
        at += 1;
    }
    let mut at = 0;
    while at < marks.len() {
        table[marks[at] as usize] = true;
        at += 1;
    }
    table
}

/// Returns the value that `coded` stands for: without its quotes, `\` and three octal digits up
/// to 377 as the character of that code point, `\` and anything else as that.
pub(crate) fn unquote(coded: &str) -> Cow<'_, str> {
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
            // A backslash at the very end has nothing to escape and stays.
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

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(lines: &[&[u8]]) -> CookieLines {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(COOKIE, HeaderValue::from_bytes(line).unwrap());
        }
        CookieLines::of(&headers)
    }

    #[test]
    fn all_lines_and_all_cookies_of_the_name_are_read_up_to_four() {
        let lines = lines(&[b"a=1; s=one; s=two", b"s=\"three\"", b"s=4; s=5"]);
        assert_eq!(
            lines.values("s").collect::<Vec<_>>(),
            ["one", "two", "three", "4"]
        );
    }

    #[test]
    fn a_value_that_is_not_utf_8_is_none_but_was_sent() {
        let bad = lines(&[b"s=\xff\xfe"]);
        assert!(bad.values("s").next().is_none() && bad.have("s"));
        assert!(!lines(&[b"S=1; ss=2; xs=3"]).have("s"));
    }

    #[test]
    fn a_cookie_is_what_is_between_two_semicolons() {
        for (header, values) in [
            ("a=b s=1", &[][..]),
            ("a=b\ts=1; s=2", &["2"]),
            ("a=\"; s=1; z=\"", &["1"]),
            ("a=\"\\\"; s=1", &["1"]),
            ("s=1 2", &["1 2"]),
            (" s = 1 ;s=\"2\"", &["1", "2"]),
            ("s=a=b;;s;=;s=", &["a=b", "", ""]),
        ] {
            let lines = lines(&[header.as_bytes()]);
            assert_eq!(lines.values("s").collect::<Vec<_>>(), values, "{header}");
        }
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
            let mut coded = value.to_owned();
            if needs_quotes(value) {
                coded.clear();
                quote(value, &mut coded);
            }
            assert_eq!(unquote(&coded), value);
            assert_eq!(quoted_len(value), coded.len(), "{value:?}");
        }
        assert_eq!(unquote("\"\\"), "\"\\");
        assert_eq!(unquote("\"\\\""), "\\");
    }
}
