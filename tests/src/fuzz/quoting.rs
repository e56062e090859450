//! The value of a Set-Cookie header, and the way back.

use std::fmt::Write as _;
use std::time::UNIX_EPOCH;

use http::HeaderValue;
use session_core::{CookieSettings, ErrorKind, MAX_COOKIE_BYTES};

use super::header::{candidates, model};
use super::input;

/// The input is a cookie's value. What is written is a quoting of Python's, its size is known
/// before, no control character gets through, and the Cookie header reader finds the value again.
pub fn quoting(data: &[u8]) {
    let value = input::text(data);
    let cookie = CookieSettings::builder("sid").build().unwrap();
    let coded = coded(&value);
    let fits = "sid".len() + coded.len() <= MAX_COOKIE_BYTES;
    assert_eq!(cookie.check_size(&value).is_ok(), fits, "{}", coded.len());
    let header = match cookie.set_cookie(&value, None, UNIX_EPOCH) {
        Ok(header) => header,
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::TooLarge);
            assert!(!fits);
            return;
        }
    };
    let bytes = header.as_bytes();
    assert!(bytes.iter().all(|b| *b >= 0x20 && *b != 0x7f), "{header:?}");
    let end = bytes.iter().position(|b| *b == b';').unwrap();
    assert_eq!(
        &bytes[..end],
        format!("sid={coded}").as_bytes(),
        "{value:?}"
    );
    let attributes = str::from_utf8(&bytes[end..]).unwrap();
    assert_eq!(attributes, "; HttpOnly; SameSite=Lax; Secure; Path=/");
    assert_eq!(model::unquote(&coded), value);

    for (before, after) in [("", ""), ("a=1; ", "; b=2"), ("sid2=\"a;b\";", " ")] {
        let line = [before.as_bytes(), &bytes[..end], after.as_bytes()].concat();
        let line = HeaderValue::from_bytes(&line).unwrap();
        assert_eq!(candidates(&[line]), [value.as_str()]);
    }
}

/// Python's `http.cookies._quote`.
fn coded(value: &str) -> String {
    let legal = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~:".contains(c);
    if !value.is_empty() && value.chars().all(legal) {
        return value.to_owned();
    }
    let mut coded = String::from("\"");
    for c in value.chars() {
        match c {
            '"' | '\\' => coded.extend(['\\', c]),
            ',' | ';' | '\0'..='\x1f' | '\x7f'..='\u{ff}' => {
                write!(coded, "\\{:03o}", u32::from(c)).unwrap();
            }
            c => coded.push(c),
        }
    }
    coded + "\""
}
