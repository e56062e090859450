//! What sessions put into a response's headers.

use http::header::{CACHE_CONTROL, Entry, SET_COOKIE, VARY};
use http::{HeaderMap, HeaderValue};

/// Puts our cookie into the headers, in the place of one of the same name that the handler set. The
/// response is then not to be stored, unless the handler said something else about caching.
pub(super) fn set_cookie(headers: &mut HeaderMap, name: &str, header: HeaderValue) {
    replace_cookie(headers, name, header);
    forbid_storing(headers);
}

/// Adds `Cache-Control: no-store`, unless the header is there.
pub(super) fn forbid_storing(headers: &mut HeaderMap) {
    headers
        .entry(CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
}

fn replace_cookie(headers: &mut HeaderMap, name: &str, header: HeaderValue) {
    let is_ours = |value: &HeaderValue| {
        let pair = value
            .as_bytes()
            .split(|b| *b == b';' || *b == b'=')
            .next()
            .unwrap_or_default();
        pair.trim_ascii() == name.as_bytes()
    };
    let mut entry = match headers.entry(SET_COOKIE) {
        Entry::Vacant(entry) => {
            entry.insert(header);
            return;
        }
        Entry::Occupied(entry) => entry,
    };
    if !entry.iter().any(is_ours) {
        entry.append(header);
        return;
    }
    let others: Vec<HeaderValue> = entry
        .iter()
        .filter(|value| !is_ours(value))
        .cloned()
        .collect();
    entry.remove();
    for value in others.into_iter().chain([header]) {
        headers.append(SET_COOKIE, value);
    }
}

/// Says that the response depends on the cookie (RFC 9110, section 12.5.5), unless it does already.
pub(super) fn vary(headers: &mut HeaderMap) {
    let cookie = HeaderValue::from_static("Cookie");
    let says_so = |value: &HeaderValue| {
        value.as_bytes().split(|b| *b == b',').any(|field| {
            let field = field.trim_ascii();
            field == b"*" || field.eq_ignore_ascii_case(b"cookie")
        })
    };
    match headers.entry(VARY) {
        Entry::Vacant(entry) => {
            entry.insert(cookie);
        }
        Entry::Occupied(mut entry) => {
            if !entry.iter().any(says_so) {
                entry.append(cookie);
            }
        }
    }
}
