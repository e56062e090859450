//! Writes the Set-Cookie header. This is the only place that does.
//!
//! The header that removes a cookie must have the same attributes as the one that set it, or the
//! browser keeps the cookie. One function writes both.

use std::time::{Duration, SystemTime};

use ::cookie::{Cookie, SameSite as CookieSameSite};
use http::HeaderValue;

use crate::clock::unix_seconds;
use crate::cookie::http_date::http_date;
use crate::cookie::quote::Quoted;
use crate::cookie::same_site::SameSite;

const MAX_AGE: &str = "; Max-Age=";
const EXPIRES: &str = "; Expires=";

/// The attributes that are the same in every Set-Cookie header of a cookie.
#[derive(Clone, Debug)]
pub(super) struct Attributes {
    pub(super) domain: Option<String>,
    pub(super) path: Option<String>,
    pub(super) secure: bool,
    pub(super) http_only: bool,
    pub(super) same_site: Option<SameSite>,
    pub(super) partitioned: bool,
}

impl Attributes {
    /// Returns whether a browser takes cookies with these attributes for the same one.
    pub(super) fn is_same_place(&self, other: &Self) -> bool {
        let domain = |it: &Self| {
            let domain = it.domain.as_deref().unwrap_or_default();
            domain.trim_start_matches('.').to_ascii_lowercase()
        };
        domain(self) == domain(other) && self.path == other.path
    }

    /// Returns the text after the value: `; HttpOnly; SameSite=Lax; Secure; Path=/`.
    fn text(&self) -> String {
        let mut cookie = Cookie::new("", "");
        cookie.set_http_only(self.http_only);
        cookie.set_same_site(self.same_site.map(|same_site| match same_site {
            SameSite::Strict => CookieSameSite::Strict,
            SameSite::Lax => CookieSameSite::Lax,
            SameSite::None => CookieSameSite::None,
        }));
        cookie.set_secure(self.secure);
        cookie.set_partitioned(self.partitioned);
        if let Some(path) = &self.path {
            cookie.set_path(path.as_str());
        }
        if let Some(domain) = &self.domain {
            cookie.set_domain(domain.as_str());
        }
        cookie.to_string().trim_start_matches('=').to_owned()
    }
}

/// The parts of a cookie's Set-Cookie header that are written once, when its settings are built.
#[derive(Clone, Debug)]
pub(super) struct SetCookie {
    /// `sid=`
    prefix: String,
    /// `; HttpOnly; SameSite=Lax; Secure; Path=/`
    attributes: String,
    /// The `max_age` of the settings in seconds, and `attributes` followed by
    /// `; Max-Age=3600; Expires=` for it. Most headers have this `max_age`.
    usual: Option<(u64, String)>,
}

impl SetCookie {
    /// Writes the parts. The caller has checked `name` and `attributes`.
    pub(super) fn new(name: &str, attributes: &Attributes, max_age: Option<Duration>) -> Self {
        let attributes = attributes.text();
        let usual = max_age.map(|max_age| {
            let seconds = max_age.as_secs();
            (seconds, format!("{attributes}{MAX_AGE}{seconds}{EXPIRES}"))
        });
        Self {
            prefix: format!("{name}="),
            attributes,
            usual,
        }
    }

    /// Writes the header that stores `value` for `max_age` from `now`. `None`: until the browser
    /// closes.
    pub(super) fn write(
        &self,
        value: &str,
        max_age: Option<Duration>,
        now: SystemTime,
    ) -> HeaderValue {
        let Some(max_age) = max_age else {
            return self.header(value, [self.attributes.as_bytes()]);
        };
        let seconds = max_age.as_secs();
        let expires = http_date(unix_seconds(now).saturating_add(seconds));
        if let Some((usual, attributes)) = &self.usual
            && *usual == seconds
        {
            return self.header(value, [attributes.as_bytes(), &expires]);
        }
        let mut digits = itoa::Buffer::new();
        let max_age = digits.format(seconds);
        let [attributes, before, max_age, after] =
            [&self.attributes, MAX_AGE, max_age, EXPIRES].map(str::as_bytes);
        self.header(value, [attributes, before, max_age, after, &expires])
    }

    /// Puts the header together.
    fn header<const N: usize>(&self, value: &str, attributes: [&[u8]; N]) -> HeaderValue {
        let value = Quoted::new(value);
        // The exact length. A vector with room left over costs another allocation when it becomes
        // the header.
        let attributes_len: usize = attributes.iter().map(|text| text.len()).sum();
        let len = self.prefix.len() + value.len() + attributes_len;
        let mut text = Vec::with_capacity(len);
        text.extend_from_slice(self.prefix.as_bytes());
        value.append_to(&mut text);
        for attribute in attributes {
            text.extend_from_slice(attribute);
        }
        // This cannot fail. The settings checked the name and the attributes, and quoting leaves no
        // control character in the value.
        let mut header =
            HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static(""));
        // `Debug` hides a sensitive header, and HTTP/2 keeps it out of its compression table.
        header.set_sensitive(true);
        header
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attributes(same_site: Option<SameSite>) -> Attributes {
        Attributes {
            domain: None,
            path: None,
            secure: false,
            http_only: false,
            same_site,
            partitioned: false,
        }
    }

    #[test]
    fn each_same_site_is_written_as_the_rfc_has_it() {
        for (same_site, text) in [
            (None, ""),
            (Some(SameSite::Strict), "; SameSite=Strict"),
            (Some(SameSite::Lax), "; SameSite=Lax"),
            (Some(SameSite::None), "; SameSite=None"),
        ] {
            assert_eq!(attributes(same_site).text(), text);
        }
    }

    #[test]
    fn an_unusual_lifetime_is_written_like_the_usual_one() {
        let hour = Duration::from_secs(3600);
        let now = SystemTime::UNIX_EPOCH + Duration::new(1_700_000_000, 999_999_999);
        let of = |usual| SetCookie::new("sid", &attributes(Some(SameSite::Lax)), usual);
        let [usual, unusual, none] =
            [Some(hour), Some(2 * hour), None].map(|usual| of(usual).write("v", Some(hour), now));
        assert_eq!(
            usual,
            "sid=v; SameSite=Lax; Max-Age=3600; Expires=Tue, 14 Nov 2023 23:13:20 GMT"
        );
        assert_eq!([&unusual, &none], [&usual, &usual]);
        assert_eq!(of(Some(hour)).write("v", None, now), "sid=v; SameSite=Lax");
    }

    #[test]
    fn debug_hides_the_value() {
        let header = SetCookie::new("sid", &attributes(None), None);
        let header = header.write("secret", None, SystemTime::UNIX_EPOCH);
        assert_eq!(format!("{header:?}"), "Sensitive");
    }
}
