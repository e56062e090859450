//! What sessions put into a response's headers.

use http::header::{CACHE_CONTROL, Entry, SET_COOKIE, VARY};
use http::{HeaderMap, HeaderName, HeaderValue};
use memchr::memchr;

/// Adds the session cookie to the headers, and the headers that remove cookies of former places.
///
/// The cookie replaces one of the same name, domain and path that the handler set. Shared caches
/// must not store the response then. Other caches store it only if the handler set Cache-Control.
/// Returns whether the handler had allowed shared caches.
pub(super) fn set_cookie(
    headers: &mut HeaderMap,
    header: HeaderValue,
    former_removals: &[HeaderValue],
) -> bool {
    // The removals come first. A browser may treat a former domain and path as the present ones,
    // and the later header wins.
    replace_cookie(headers, header, former_removals);
    let is_for_all = is_for_all_caches(headers);
    if is_for_all || may_be_shared(headers, &CACHE_CONTROL) {
        make_private(headers);
    }
    let targeted: Vec<HeaderName> = targeted(headers).cloned().collect();
    for name in &targeted {
        headers.insert(name, NO_STORE);
    }
    forbid_storing(headers);
    is_for_all || !targeted.is_empty()
}

const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

/// Adds `Cache-Control: no-store`, unless the header is there.
pub(super) fn forbid_storing(headers: &mut HeaderMap) {
    headers.entry(CACHE_CONTROL).or_insert(NO_STORE);
}

/// Returns whether a shared cache may store the response although it depends on the client.
pub(super) fn is_public(headers: &HeaderMap) -> bool {
    is_for_all_caches(headers) || targeted(headers).next().is_some()
}

/// Returns whether Cache-Control allows shared caches to store the response (RFC 9111, sections
/// 5.2.2.9 and 5.2.2.10).
fn is_for_all_caches(headers: &HeaderMap) -> bool {
    let mut lines = headers.get_all(CACHE_CONTROL).iter();
    lines.any(|line| directives(line).any(is_for_shared_caches))
}

/// Yields the headers that let one kind of shared cache store the response, whatever Cache-Control
/// says: `CDN-Cache-Control` and its like (RFC 9213), and the older `Surrogate-Control`.
fn targeted(headers: &HeaderMap) -> impl Iterator<Item = &HeaderName> {
    headers.keys().filter(|name| {
        let text = name.as_str();
        let is_targeted = text.ends_with("-cache-control") || text == "surrogate-control";
        is_targeted && may_be_shared(headers, name)
    })
}

/// Returns whether the caches that obey the header `name` may share the response (RFC 9111, section
/// 3).
fn may_be_shared(headers: &HeaderMap, name: &HeaderName) -> bool {
    let lines = headers.get_all(name);
    let has = |name: &str| {
        let is = |directive: &[u8]| directive.eq_ignore_ascii_case(name.as_bytes());
        lines.iter().any(|line| unquoted_directives(line).any(is))
    };
    // A cache that knows `must-understand` ignores `no-store` (RFC 9111, section 5.2.2.3).
    let is_forbidden = has("private") || (has("no-store") && !has("must-understand"));
    headers.contains_key(name) && !is_forbidden
}

/// Yields the directives. A comma inside quotes separates nothing.
fn unquoted_directives(line: &HeaderValue) -> impl Iterator<Item = &[u8]> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    let is_end = move |byte: &u8| {
        let escapes = is_quoted && !is_escaped && *byte == b'\\';
        is_quoted ^= *byte == b'"' && !is_escaped;
        is_escaped = escapes;
        *byte == b',' && !is_quoted
    };
    line.as_bytes().split(is_end).map(<[u8]>::trim_ascii)
}

fn directives(line: &HeaderValue) -> impl Iterator<Item = &[u8]> {
    line.as_bytes()
        .split(|b| *b == b',')
        .map(<[u8]>::trim_ascii)
        .filter(|directive| !directive.is_empty())
}

fn is_for_shared_caches(directive: &[u8]) -> bool {
    let name = directive.split(|b| *b == b'=').next().unwrap_or_default();
    let name = name.trim_ascii();
    name.eq_ignore_ascii_case(b"public") || name.eq_ignore_ascii_case(b"s-maxage")
}

/// Replaces the directives that allow shared caches with `private`. The other directives stay.
fn make_private(headers: &mut HeaderMap) {
    let lines: Vec<HeaderValue> = headers.get_all(CACHE_CONTROL).iter().cloned().collect();
    let kept = lines.iter().flat_map(directives);
    let kept = kept.filter(|directive| {
        !is_for_shared_caches(directive) && !directive.eq_ignore_ascii_case(b"private")
    });
    let all: Vec<&[u8]> = std::iter::once(&b"private"[..]).chain(kept).collect();
    // Pieces of header values, which have no control characters.
    if let Ok(value) = HeaderValue::from_bytes(&all.join(&b", "[..])) {
        headers.insert(CACHE_CONTROL, value);
    }
}

/// Returns what distinguishes cookies in a browser: name, domain and path (RFC 6265, section 5.3,
/// step 11).
fn place(header: &HeaderValue) -> (&[u8], Vec<u8>, &[u8]) {
    let mut parts = header.as_bytes().split(|b| *b == b';');
    let pair = parts.next().unwrap_or_default();
    let name = pair.split(|b| *b == b'=').next().unwrap_or_default();
    let (mut domain, mut path) = (Vec::new(), &b""[..]);
    for attribute in parts {
        let end = memchr(b'=', attribute).unwrap_or(attribute.len());
        let (name, value) = attribute.split_at(end);
        let value = value.get(1..).unwrap_or_default().trim_ascii();
        let name = name.trim_ascii();
        if name.eq_ignore_ascii_case(b"domain") {
            domain = value
                .strip_prefix(b".")
                .unwrap_or(value)
                .to_ascii_lowercase();
        } else if name.eq_ignore_ascii_case(b"path") {
            path = value;
        }
    }
    (name.trim_ascii(), domain, path)
}

fn replace_cookie(headers: &mut HeaderMap, header: HeaderValue, before: &[HeaderValue]) {
    let mut entry = match headers.entry(SET_COOKIE) {
        Entry::Vacant(entry) => {
            let mut all = before.iter().cloned().chain([header]);
            if let Some(first) = all.next() {
                entry.insert(first);
            }
            for value in all {
                headers.append(SET_COOKIE, value);
            }
            return;
        }
        Entry::Occupied(entry) => entry,
    };
    let (name, domain, path) = place(&header);
    let is_ours = |value: &HeaderValue| {
        let theirs = place(value);
        // Without a Path the browser derives one, which may be ours.
        theirs.0 == name && theirs.1 == domain && (theirs.2 == path || theirs.2.is_empty())
    };
    if before.is_empty() && !entry.iter().any(is_ours) {
        entry.append(header);
        return;
    }
    let others: Vec<HeaderValue> = entry
        .iter()
        .filter(|value| !is_ours(value))
        .cloned()
        .collect();
    entry.remove();
    for value in others
        .into_iter()
        .chain(before.iter().cloned())
        .chain([header])
    {
        headers.append(SET_COOKIE, value);
    }
}

/// Adds `Vary: Cookie` (RFC 9110, section 12.5.5), unless the header names the cookie already.
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

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(all: &[(http::HeaderName, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in all {
            headers.append(name, HeaderValue::from_static(value));
        }
        headers
    }

    fn values(headers: &HeaderMap, name: http::HeaderName) -> Vec<&str> {
        let values = headers.get_all(name).iter();
        values.map(|value| value.to_str().unwrap()).collect()
    }

    #[test]
    fn what_is_for_shared_caches_becomes_private() {
        for (before, after, was_public) in [
            (&[][..], &["no-store"][..], false),
            (&["no-store"], &["no-store"], false),
            (&["no-cache"], &["private, no-cache"], false),
            (
                &["max-age=60", "immutable"],
                &["private, max-age=60, immutable"],
                false,
            ),
            (&["private, max-age=5"], &["private, max-age=5"], false),
            (&["publication=1"], &["private, publication=1"], false),
            (&["public"], &["private"], true),
            (&["Public, max-age=60"], &["private, max-age=60"], true),
            (
                &["s-maxage=60 ,max-age=5", "immutable"],
                &["private, max-age=5, immutable"],
                true,
            ),
            (&["private, s-maxage = 9"], &["private"], true),
            (
                &["must-understand, no-store, max-age=60"],
                &["private, must-understand, no-store, max-age=60"],
                false,
            ),
            (
                &["no-cache=\"a, no-store, b\", max-age=60"],
                &["private, no-cache=\"a, no-store, b\", max-age=60"],
                false,
            ),
        ] {
            let lines: Vec<_> = before.iter().map(|line| (CACHE_CONTROL, *line)).collect();
            let mut headers = headers(&lines);
            assert_eq!(is_public(&headers), was_public, "{before:?}");
            let changed = set_cookie(&mut headers, HeaderValue::from_static("sid=1"), &[]);
            assert_eq!(changed, was_public, "{before:?}");
            assert_eq!(values(&headers, CACHE_CONTROL), after, "{before:?}");
        }
    }

    #[test]
    fn what_is_for_one_kind_of_cache_is_not_stored_there() {
        let cdn = http::HeaderName::from_static("cdn-cache-control");
        let surrogate = http::HeaderName::from_static("surrogate-control");
        for (name, before, after, was_public) in [
            (&cdn, "max-age=60", "no-store", true),
            (&cdn, "", "no-store", true),
            (&cdn, "no-store", "no-store", false),
            (&cdn, "private, max-age=60", "private, max-age=60", false),
            (&surrogate, "max-age=60", "no-store", true),
        ] {
            let mut headers = headers(&[(name.clone(), before)]);
            assert_eq!(is_public(&headers), was_public, "{before:?}");
            let changed = set_cookie(&mut headers, HeaderValue::from_static("sid=1"), &[]);
            assert_eq!(changed, was_public, "{before:?}");
            assert_eq!(values(&headers, name.clone()), [after], "{before:?}");
            // Other caches obey this one.
            assert_eq!(values(&headers, CACHE_CONTROL), ["no-store"], "{before:?}");
        }
    }

    #[test]
    fn only_a_cookie_of_the_same_place_is_replaced() {
        let ours = "sid=new; Domain=example.com; Path=/a; Secure";
        for (theirs, stays) in [
            ("sid=old; Domain=example.com; Path=/a", false),
            ("sid=old; path=/a; domain=.Example.COM; Max-Age=0", false),
            ("sid=old; Domain=example.com", false),
            (" sid = old ; Domain=example.com ; Path = /a", false),
            ("sid=; Domain=old.example.com; Path=/a; Max-Age=0", true),
            ("sid=; Domain=example.com; Path=/; Max-Age=0", true),
            ("sid=; Path=/a; Max-Age=0", true),
            ("sid2=1; Domain=example.com; Path=/a", true),
        ] {
            let mut headers = headers(&[(SET_COOKIE, theirs)]);
            set_cookie(&mut headers, HeaderValue::from_static(ours), &[]);
            let expected = if stays {
                vec![theirs, ours]
            } else {
                vec![ours]
            };
            assert_eq!(values(&headers, SET_COOKIE), expected);
        }
    }
}
