//! The Cookie header of a request: which values of a cookie the client sent.

use std::borrow::Cow;
use std::fmt;
use std::slice;

use http::{HeaderMap, HeaderValue, header::COOKIE};
use memchr::memchr;

use crate::cookie::quote::unquote;

/// The maximum number of distinct cookies of one name that a storage tries.
///
/// The client decides how many it sends, so this limits the work for one request.
pub const MAX_TRIED_COOKIES: usize = 8;

/// The Cookie header lines of a request, not parsed yet. They share the request's memory.
#[derive(Clone, Default)]
pub(crate) struct CookieLines {
    first: Option<HeaderValue>,
    /// HTTP/2 may send each cookie in a line of its own (RFC 9113, section 8.2.3).
    more: Vec<HeaderValue>,
}

impl CookieLines {
    /// Takes the Cookie lines out of a request's headers.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let mut lines = headers.get_all(COOKIE).iter().cloned();
        Self {
            first: lines.next(),
            more: lines.collect(),
        }
    }

    /// Returns whether the client sent a cookie called `name`, whatever its value.
    pub(crate) fn have(&self, name: &str) -> bool {
        self.raw_values(name).next().is_some()
    }

    /// Yields the values of all cookies called `name`, in the order in which the client sent them.
    /// Values that are not UTF-8 are left out.
    ///
    /// The client chooses how many there are. The caller limits how many it tries.
    pub(crate) fn values(&self, name: &str) -> impl Iterator<Item = Cow<'_, str>> {
        self.raw_values(name)
            .filter_map(|value| std::str::from_utf8(value).ok())
            .map(unquote)
    }

    /// Yields the values as they stand in the header, still quoted.
    fn raw_values<'a, 'n>(&'a self, name: &'n str) -> RawValues<'a, 'n> {
        RawValues {
            name: name.as_bytes(),
            rest: self.first.as_ref().map(HeaderValue::as_bytes),
            lines: self.more.iter(),
        }
    }
}

/// Shows the number of lines. The values are secret.
impl fmt::Debug for CookieLines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines = usize::from(self.first.is_some()) + self.more.len();
        f.debug_struct("CookieLines")
            .field("lines", &lines)
            .finish_non_exhaustive()
    }
}

/// Iterates over the values of the cookies called `name`.
///
/// A cookie is what stands between two `;` (RFC 6265, section 4.2.1). Its name ends at the first
/// `=`. Without a `=`, all of it is the name, as in aiohttp. White space around the name and around
/// the value does not count.
///
/// This is stricter than aiohttp, where white space also ends a value and a `;` inside quotes does
/// not. With aiohttp's rules, a sibling domain could set `a=b __Host-sid=..`, which would count as
/// a `__Host-` cookie. Its cookies `a="` and `z="` would hide the cookies between them. Neither
/// Python nor this crate writes such values.
struct RawValues<'a, 'n> {
    name: &'n [u8],
    /// What is left of the present line.
    rest: Option<&'a [u8]>,
    lines: slice::Iter<'a, HeaderValue>,
}

impl<'a> Iterator for RawValues<'a, '_> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let Some(text) = self.rest else {
                self.rest = Some(self.lines.next()?.as_bytes());
                continue;
            };
            let end = memchr(b';', text);
            self.rest = end.map(|end| &text[end + 1..]);
            let pair = &text[..end.unwrap_or(text.len())];
            if let Some(value) = value_of(self.name, pair) {
                return Some(value);
            }
        }
    }
}

/// Returns the value in `pair` if its name is `name`, which holds neither `=` nor white space.
fn value_of<'a>(name: &[u8], pair: &'a [u8]) -> Option<&'a [u8]> {
    let after = pair.trim_ascii_start().strip_prefix(name)?;
    match after.trim_ascii_start() {
        [] => Some(&[]),
        [b'=', value @ ..] => Some(value.trim_ascii()),
        _ => None,
    }
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

    fn values(lines: &CookieLines) -> Vec<Cow<'_, str>> {
        lines.values("s").collect()
    }

    #[test]
    fn cookie_header_all_values_of_all_lines_are_read_in_order() {
        let lines = lines(&[b"a=1; s=one; s=two", b"s=\"three\"", b"b=2", b"s=4; s=5"]);
        assert_eq!(values(&lines), ["one", "two", "three", "4", "5"]);
    }

    #[test]
    fn cookie_header_values_are_not_limited_in_number() {
        let line = (0..500).map(|n| format!("s={n}")).collect::<Vec<_>>();
        let lines = lines(&[line.join("; ").as_bytes(), line.join(";").as_bytes()]);
        let expected = (0..500).chain(0..500).map(|n| n.to_string());
        assert!(lines.values("s").eq(expected));
    }

    #[test]
    fn cookie_header_values_are_unquoted_and_copied_only_if_escaped() {
        let lines = lines(&[b"s=plain; s=\"a b\"; s=\"a\\054b\\\"\"; s=\"; s=\"\""]);
        assert_eq!(values(&lines), ["plain", "a b", "a,b\"", "\"", ""]);
        let borrowed = lines.values("s").map(|v| matches!(v, Cow::Borrowed(_)));
        assert!(borrowed.eq([true, true, false, true, true]));
    }

    #[test]
    fn cookie_header_values_that_are_not_utf_8_do_not_hide_the_others() {
        let lines = lines(&[b"s=\xff; s=1; s=\xc3\xa9", b"s=\xc3; s=2"]);
        assert_eq!(values(&lines), ["1", "é", "2"]);
    }

    #[test]
    fn cookie_header_without_the_cookie_has_no_values() {
        for none in [
            CookieLines::default(),
            lines(&[]),
            lines(&[b""]),
            lines(&[b"a=s; ss=1; xs=2; S=3; s2=4; s x=5"]),
            lines(&[b"a=1", b"b=2"]),
        ] {
            assert!(values(&none).is_empty() && !none.have("s"));
        }
    }

    #[test]
    fn a_value_that_is_not_utf_8_is_none_but_was_sent() {
        let bad = lines(&[b"s=\xff\xfe"]);
        assert!(bad.values("s").next().is_none() && bad.have("s"));
        assert!(!lines(&[b"S=1; ss=2; xs=3"]).have("s"));
    }

    #[test]
    fn a_cookie_is_what_is_between_two_semicolons() {
        for (header, expected) in [
            ("a=b s=1", &[][..]),
            ("a=b\ts=1; s=2", &["2"]),
            ("a=\"; s=1; z=\"", &["1"]),
            ("a=\"\\\"; s=1", &["1"]),
            ("s=1 2", &["1 2"]),
            (" s = 1 ;s=\"2\"", &["1", "2"]),
            ("s=a=b;;s;=;s=", &["a=b", "", ""]),
            ("s\t; s\t=\t1\t", &["", "1"]),
        ] {
            let lines = lines(&[header.as_bytes()]);
            assert_eq!(values(&lines), expected, "{header}");
        }
    }

    #[test]
    fn debug_shows_no_cookie_value() {
        let lines = lines(&[b"s=secret", b"s=secret"]);
        assert_eq!(format!("{lines:?}"), "CookieLines { lines: 2, .. }");
    }
}
