//! What the wire shows: Set-Cookie headers, Python's quoting, JSON text.

use std::collections::BTreeSet;
use std::fmt::Write as _;

/// A Set-Cookie header taken apart.
#[derive(Debug, Eq, PartialEq)]
pub struct SetCookie {
    /// The cookie's name.
    pub name: String,
    /// As it is sent, quotes and escapes included.
    pub raw: String,
    /// Names in lower case; the value of `expires` in Unix seconds.
    pub attributes: BTreeSet<(String, String)>,
}

impl SetCookie {
    /// Reads a header.
    pub fn parse(header: &str) -> Self {
        let (name, rest) = header.split_once('=').unwrap();
        let end = match rest.strip_prefix('"') {
            Some(inside) => {
                let mut escaped = false;
                let close = inside.find(|c| {
                    let closes = c == '"' && !escaped;
                    escaped = c == '\\' && !escaped;
                    closes
                });
                close.unwrap() + 2
            }
            None => rest.find(';').unwrap_or(rest.len()),
        };
        let (raw, attributes) = rest.split_at(end);
        Self {
            name: name.to_owned(),
            raw: raw.to_owned(),
            attributes: Self::attributes(attributes),
        }
    }

    /// Reads what follows the value.
    pub fn attributes(text: &str) -> BTreeSet<(String, String)> {
        let pieces = text.split(';').map(str::trim).filter(|s| !s.is_empty());
        let parsed: Vec<(String, String)> = pieces
            .map(|piece| {
                let (name, value) = piece.split_once('=').unwrap_or((piece, ""));
                let name = name.to_ascii_lowercase();
                let value = if name == "expires" {
                    unix_seconds(value).to_string()
                } else {
                    value.to_owned()
                };
                (name, value)
            })
            .collect();
        let set: BTreeSet<_> = parsed.iter().cloned().collect();
        assert_eq!(set.len(), parsed.len(), "an attribute twice: {text}");
        set
    }

    /// Returns whether a browser forgets the cookie.
    pub fn is_removal(&self) -> bool {
        let has = |name: &str, value: &str| {
            self.attributes
                .contains(&(name.to_owned(), value.to_owned()))
        };
        self.raw == "\"\"" && has("max-age", "0") && has("expires", "0")
    }
}

/// `none`, `set` or `delete`, as the vectors call it.
pub fn kind_of(cookie: Option<&SetCookie>) -> &'static str {
    match cookie {
        None => "none",
        Some(cookie) if cookie.is_removal() => "delete",
        Some(_) => "set",
    }
}

/// Reads an HTTP date with dashes or with spaces.
fn unix_seconds(date: &str) -> u64 {
    let words: Vec<&str> = date.split([' ', '-']).collect();
    let [week_day, day, month, year, time, "GMT"] = words[..] else {
        panic!("no date: {date}")
    };
    let normal = format!("{week_day} {day} {month} {year} {time} GMT");
    let normal = cookie::Cookie::parse(format!("a=b; Expires={normal}")).unwrap();
    let time = normal.expires_datetime().unwrap();
    u64::try_from(time.unix_timestamp()).unwrap()
}

/// Python's `http.cookies` unquoting of what Python's or our own quoting wrote.
pub fn unquoted(raw: &str) -> String {
    let Some(inside) = raw
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'))
    else {
        return raw.to_owned();
    };
    let mut value = String::new();
    let mut rest = inside;
    while let Some(at) = rest.find('\\') {
        value.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let octal = rest
            .get(..3)
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        let (c, len) = match octal {
            Some(code) => (char::from(code), 3),
            None => (rest.chars().next().unwrap(), 1),
        };
        value.push(c);
        rest = &rest[len..];
    }
    value + rest
}

/// Spells a JSON text as Python's `json.dumps` would, numbers aside: two texts are the same
/// values if they are the same text then. Lone surrogates and digits without end pass through.
pub fn canonical(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    let mut rest = json.chars();
    while let Some(c) = rest.next() {
        match c {
            ' ' | '\t' | '\n' | '\r' => {}
            ',' | ':' => out.extend([c, ' ']),
            '"' => string(&mut rest, &mut out),
            c => out.push(c),
        }
    }
    out
}

fn string(rest: &mut std::str::Chars<'_>, out: &mut String) {
    out.push('"');
    while let Some(c) = rest.next() {
        let mut units = [0; 2];
        let units: &[u16] = match c {
            '"' => break,
            '\\' => {
                let unit = match rest.next().unwrap() {
                    'u' => {
                        let digits: String = rest.by_ref().take(4).collect();
                        u16::from_str_radix(&digits, 16).unwrap()
                    }
                    'b' => 8,
                    'f' => 12,
                    'n' => 10,
                    'r' => 13,
                    't' => 9,
                    c => u16::try_from(u32::from(c)).unwrap(),
                };
                units[0] = unit;
                &units[..1]
            }
            c => c.encode_utf16(&mut units),
        };
        for unit in units {
            match unit {
                34 => out.push_str("\\\""),
                92 => out.push_str("\\\\"),
                8 => out.push_str("\\b"),
                12 => out.push_str("\\f"),
                10 => out.push_str("\\n"),
                13 => out.push_str("\\r"),
                9 => out.push_str("\\t"),
                32..=126 => out.push(char::from(u8::try_from(*unit).unwrap())),
                unit => write!(out, "\\u{unit:04x}").unwrap(),
            }
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canonical_is_what_json_dumps_writes() {
        for (text, python) in [
            (
                "{\"a\":1,\"b\" : [ 1 , 2.5e3 ]}",
                r#"{"a": 1, "b": [1, 2.5e3]}"#,
            ),
            (
                "\"é\\u00E9 \\/😀\\ud83d\"",
                r#""\u00e9\u00e9 /\ud83d\ude00\ud83d""#,
            ),
            ("\"\\\"\\\\,: \u{7f}\\n\"", r#""\"\\,: \u007f\n""#),
        ] {
            assert_eq!(canonical(text), python);
        }
    }

    #[test]
    fn a_set_cookie_header_is_taken_apart() {
        let header = "n=\"a\\\";\\054\"; Expires=Tue, 14-Nov-2023 22:13:20 GMT; HttpOnly";
        let cookie = SetCookie::parse(header);
        assert_eq!((&*cookie.name, &*unquoted(&cookie.raw)), ("n", "a\";,"));
        let date = ("expires".to_owned(), "1700000000".to_owned());
        let flag = ("httponly".to_owned(), String::new());
        assert_eq!(cookie.attributes, BTreeSet::from([date, flag]));
        assert_eq!(kind_of(Some(&cookie)), "set");
    }
}
