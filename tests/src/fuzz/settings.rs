//! The cookie's settings: whatever builds is read by a browser as it was meant.

use std::time::{Duration, UNIX_EPOCH};

use cookie::Cookie;
use http::HeaderValue;
use session_core::{CookieSettings, ErrorKind, SameSite};

use super::header::model;
use super::input::Input;
use crate::vectors::NOW;

/// The input is a byte of flags, three of the lifetimes, and the pieces name, domain, path and
/// value.
pub fn settings(data: &[u8]) {
    let mut input = Input::new(data);
    let flags = input.byte();
    let max_age = lifetime(input.byte());
    let absolute = lifetime(input.byte());
    let lasts = lifetime(input.byte());
    let [name, domain, path, value] = std::array::from_fn(|_| input.text());
    let same_site = match flags & 3 {
        0 => None,
        1 => Some(SameSite::Lax),
        2 => Some(SameSite::Strict),
        _ => Some(SameSite::None),
    };
    let [secure, http_only, partitioned, rolling] = [4, 8, 16, 32].map(|bit| flags & bit != 0);
    let built = CookieSettings::builder(name.clone())
        .domain(domain.clone())
        .path(path.clone())
        .secure(secure)
        .http_only(http_only)
        .same_site(same_site)
        .partitioned(partitioned)
        .max_age(max_age)
        .absolute_max_age(absolute)
        .rolling(rolling)
        .build();
    let settings = match built {
        Ok(settings) => settings,
        Err(error) => return assert_eq!(error.kind(), ErrorKind::Settings),
    };
    for life in [settings.max_age(), settings.absolute_max_age()] {
        assert!(life.is_none_or(|life| life.as_secs() > 0 && life.subsec_nanos() == 0));
    }
    assert!(!rolling || settings.max_age().is_some());

    let now = UNIX_EPOCH + Duration::from_secs(NOW);
    let removal = settings.removal();
    let set = match settings.set_cookie(&value, lasts, now) {
        Ok(set) => set,
        Err(error) => return assert_eq!(error.kind(), ErrorKind::TooLarge),
    };
    for (header, value, lasts) in [
        (&set, value.as_str(), lasts),
        (&removal, "", Some(Duration::ZERO)),
    ] {
        let read = Read::of(header);
        assert_eq!(read.name, name);
        assert_eq!(model::unquote(&read.value), value);
        assert_eq!((read.secure, read.http_only), (secure, http_only));
        assert_eq!((read.same_site, read.partitioned), (same_site, partitioned));
        let host = domain.strip_prefix('.').unwrap_or(&domain);
        assert_eq!(read.domain.unwrap_or_default(), host.to_ascii_lowercase());
        assert_eq!(read.path.unwrap_or_default(), path);
        assert_eq!(read.max_age.is_some(), lasts.is_some());
        if let (Some(age), Some(lasts)) = (read.max_age, lasts) {
            assert!(age <= lasts.as_secs() && (age > 0) == (lasts.as_secs() > 0));
        }
        let lower = name.to_ascii_lowercase();
        assert!(!lower.starts_with("__secure-") || secure);
        assert!(!lower.starts_with("__host-") || secure && path == "/" && domain.is_empty());
        assert!(same_site != Some(SameSite::None) || secure);
        assert!(!partitioned || secure);
        by_the_crate(header, &name, secure);
    }
    assert_eq!(attributes(&set), attributes(&removal), "but for the dates");
    // A domain that no host can be of would make browsers drop the cookie.
    let host = domain.strip_prefix('.').unwrap_or(&domain);
    let is_label = |label: &str| {
        (1..=63).contains(&label.len()) && !label.starts_with('-') && !label.ends_with('-')
    };
    assert!(
        domain.is_empty() || host.split('.').all(is_label),
        "{domain:?}"
    );
}

fn lifetime(byte: u8) -> Option<Duration> {
    match byte {
        0 => None,
        1 => Some(Duration::ZERO),
        2 => Some(Duration::MAX),
        3 => Some(Duration::from_nanos(1)),
        4 => Some(Duration::from_millis(1500)),
        exponent => Some(Duration::from_secs(1 << (exponent & 63))),
    }
}

/// What a browser makes of a Set-Cookie header (RFC 6265bis, section 5.6).
#[derive(Debug, Default)]
struct Read {
    name: String,
    value: String,
    domain: Option<String>,
    path: Option<String>,
    max_age: Option<u64>,
    secure: bool,
    http_only: bool,
    partitioned: bool,
    same_site: Option<SameSite>,
}

impl Read {
    fn of(header: &HeaderValue) -> Self {
        let text = str::from_utf8(header.as_bytes()).unwrap();
        assert!(
            !text.chars().any(char::is_control),
            "step 1 drops a cookie with control characters"
        );
        let mut pieces = text.split(';');
        let (name, value) = pieces.next().unwrap().split_once('=').unwrap();
        let (name, value) = (
            name.trim_matches([' ', '\t']),
            value.trim_matches([' ', '\t']),
        );
        assert!(name.len() + value.len() <= 4096);
        let mut read = Self {
            name: name.into(),
            value: value.into(),
            ..Self::default()
        };
        let mut seen = Vec::new();
        for piece in pieces {
            let (key, value) = piece.split_once('=').unwrap_or((piece, ""));
            let (key, value) = (key.trim().to_ascii_lowercase(), value.trim());
            assert!(value.len() <= 1024, "a longer attribute is ignored");
            assert!(!seen.contains(&key), "twice: {key}");
            match key.as_str() {
                "domain" => {
                    let host = value.strip_prefix('.').unwrap_or(value);
                    read.domain = Some(host.to_ascii_lowercase());
                }
                "path" => {
                    assert!(value.starts_with('/'), "the default path would be taken");
                    read.path = Some(value.into());
                }
                "max-age" => read.max_age = Some(value.parse().unwrap()),
                "expires" => drop(httpdate(value)),
                "secure" => read.secure = true,
                "httponly" => read.http_only = true,
                "partitioned" => read.partitioned = true,
                "samesite" => {
                    read.same_site = Some(match value {
                        "Lax" => SameSite::Lax,
                        "Strict" => SameSite::Strict,
                        "None" => SameSite::None,
                        other => panic!("SameSite={other}"),
                    });
                }
                other => panic!("an attribute that was not set: {other}"),
            }
            seen.push(key);
        }
        assert_eq!(seen.contains(&"expires".into()), read.max_age.is_some());
        read
    }
}

/// `Tue, 14 Nov 2023 22:13:20 GMT`
fn httpdate(text: &str) -> &str {
    let shape: String = text
        .chars()
        .map(|c| match c {
            '0'..='9' => '9',
            c if c.is_ascii_lowercase() => 'a',
            c if c.is_ascii_uppercase() => 'A',
            c => c,
        })
        .collect();
    assert_eq!(shape, "Aaa, 99 Aaa 9999 99:99:99 AAA");
    text
}

/// The `cookie` crate reads the same name and the same Secure.
fn by_the_crate(header: &HeaderValue, name: &str, secure: bool) {
    let text = str::from_utf8(header.as_bytes()).unwrap();
    let cookie = Cookie::parse(text).unwrap();
    assert_eq!(cookie.name(), name);
    assert_eq!(cookie.secure().unwrap_or_default(), secure);
}

/// All but the value and the dates.
fn attributes(header: &HeaderValue) -> Vec<String> {
    let text = str::from_utf8(header.as_bytes()).unwrap();
    let pieces = text.split("; ").skip(1);
    let lasting = |piece: &&str| !piece.starts_with("Max-Age=") && !piece.starts_with("Expires=");
    pieces.filter(lasting).map(str::to_owned).collect()
}
