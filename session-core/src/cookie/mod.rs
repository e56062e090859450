//! The session cookie: its name, attributes and lifetime, and the Set-Cookie header.

pub(crate) mod header;

use std::borrow::Cow;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ::cookie::Cookie;
pub use ::cookie::SameSite;
use http::HeaderValue;

use crate::clock::unix_seconds;
use crate::error::{Error, ErrorKind, Result};

/// The cookie name that aiohttp_session uses by default.
pub const DEFAULT_NAME: &str = "AIOHTTP_SESSION";

/// The most bytes that the name and the value of a cookie may have together: what browsers keep
/// (RFC 6265bis, section 5.6, step 4).
pub const MAX_COOKIE_BYTES: usize = 4096;

/// A lifetime beyond this is this: browsers cut at 400 days, and dates end with the year 9999.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// How the session cookie is named, whom a browser gives it to, and how long a session lives.
///
/// A value of this type is settings that work: [`CookieBuilder::build`] refuses what a browser
/// would refuse.
///
/// ```
/// use session_core::{CookieSettings, SameSite};
/// use std::time::Duration;
///
/// # fn main() -> Result<(), session_core::Error> {
/// let cookie = CookieSettings::builder("__Host-sid")
///     .max_age(Duration::from_secs(3600))
///     .same_site(SameSite::Strict)
///     .build()?;
/// assert_eq!(cookie.name(), "__Host-sid");
///
/// let refused = CookieSettings::builder("__Host-sid").domain("example.com").build();
/// assert!(refused.is_err());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct CookieSettings {
    name: Cow<'static, str>,
    /// All attributes but those of the lifetime: `; HttpOnly; SameSite=Lax; Secure; Path=/`.
    attributes: String,
    max_age: Option<Duration>,
    rolling: bool,
    absolute_max_age: Option<Duration>,
}

/// Builds [`CookieSettings`].
#[derive(Clone, Debug)]
#[must_use]
pub struct CookieBuilder {
    name: Cow<'static, str>,
    domain: Option<String>,
    path: Option<String>,
    secure: bool,
    http_only: bool,
    same_site: Option<SameSite>,
    partitioned: bool,
    max_age: Option<Duration>,
    rolling: bool,
    absolute_max_age: Option<Duration>,
}

impl CookieSettings {
    /// Begins settings for a cookie of `name`: an RFC 6265 token of at most 100 characters.
    ///
    /// A name that starts with `__Host-` or `__Secure-` makes browsers check the attributes too.
    pub fn builder(name: impl Into<Cow<'static, str>>) -> CookieBuilder {
        CookieBuilder {
            name: name.into(),
            ..CookieBuilder::default()
        }
    }

    /// Returns the cookie's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns how long after its last write a session lives; `None`: no limit, and a cookie that ends
    /// with the browser's session.
    pub fn max_age(&self) -> Option<Duration> {
        self.max_age
    }

    /// Returns whether reads restart a session's lifetime.
    pub fn is_rolling(&self) -> bool {
        self.rolling
    }

    /// Returns how long after its start a session ends whatever happens.
    pub fn absolute_max_age(&self) -> Option<Duration> {
        self.absolute_max_age
    }

    /// Returns an error if a browser would drop the cookie with `value`, quoted where it must be.
    ///
    /// # Errors
    /// [`ErrorKind::TooLarge`] over [`MAX_COOKIE_BYTES`].
    pub fn check_size(&self, value: &str) -> Result<()> {
        // No value grows to more than this, so that most need not be measured.
        if self.name.len() + 2 + 4 * value.len() <= MAX_COOKIE_BYTES {
            return Ok(());
        }
        let size = self.name.len() + header::quoted_len(value);
        if size > MAX_COOKIE_BYTES {
            return Err(Error::with_message(
                ErrorKind::TooLarge,
                format!(
                    "the session cookie would have {size} bytes, browsers keep {MAX_COOKIE_BYTES}"
                ),
            ));
        }
        Ok(())
    }

    /// Writes the Set-Cookie header that stores `value` for `max_age` from `now`, whatever these settings
    /// say of a lifetime: for who answers with a [`CookieChange`](crate::CookieChange) by itself.
    ///
    /// # Errors
    /// [`ErrorKind::TooLarge`] over [`MAX_COOKIE_BYTES`].
    pub fn set(
        &self,
        value: &str,
        max_age: Option<Duration>,
        now: SystemTime,
    ) -> Result<HeaderValue> {
        self.check_size(value)?;
        Ok(self.write(value, max_age, now))
    }

    /// Writes the Set-Cookie header that makes the browser forget the cookie.
    pub fn removal(&self) -> HeaderValue {
        self.write("", Some(Duration::ZERO), UNIX_EPOCH)
    }

    /// The one place that writes a Set-Cookie header: an attribute that differed between a
    /// cookie and its removal would leave the cookie in the browser.
    fn write(&self, value: &str, max_age: Option<Duration>, now: SystemTime) -> HeaderValue {
        use std::fmt::Write as _;
        let mut digits = itoa::Buffer::new();
        let lifetime = max_age.map(|max_age| {
            let max_age = max_age.min(LONGEST);
            let now = Duration::from_secs(unix_seconds(now).min(LATEST));
            let expires = UNIX_EPOCH + (now + max_age).min(Duration::from_secs(LATEST));
            let seconds = digits.format(max_age.as_secs());
            (seconds, httpdate::HttpDate::from(expires))
        });
        let quoted = header::needs_quotes(value);
        // To the byte, unless something in the value is escaped: room that is left over costs
        // another allocation when the text becomes the header's.
        let value_len = value.len() + if quoted { 2 } else { 0 };
        let lifetime_len = lifetime.as_ref().map_or(0, |(seconds, _)| {
            MAX_AGE.len() + seconds.len() + EXPIRES.len() + DATE_LEN
        });
        let len = self.name.len() + 1 + value_len + self.attributes.len() + lifetime_len;
        let mut text = String::with_capacity(len);
        text.push_str(&self.name);
        text.push('=');
        if quoted {
            header::quote(value, &mut text);
        } else {
            text.push_str(value);
        }
        text.push_str(&self.attributes);
        if let Some((seconds, expires)) = lifetime {
            text.push_str(MAX_AGE);
            text.push_str(seconds);
            text.push_str(EXPIRES);
            let _ = write!(text, "{expires}");
        }
        // The name and the attributes were checked when they were built, and quoting leaves no
        // control character: nothing is left that a header could refuse.
        let header = HeaderValue::from_maybe_shared(bytes::Bytes::from(text));
        let mut header = header.unwrap_or(HeaderValue::from_static(""));
        // Not shown by Debug, and never put into an HTTP/2 compression table.
        header.set_sensitive(true);
        header
    }
}

/// [`DEFAULT_NAME`] and the defaults of [`CookieBuilder`].
impl Default for CookieSettings {
    fn default() -> Self {
        let builder = CookieBuilder::default();
        Self {
            attributes: builder.attributes(),
            ..Self::of(builder)
        }
    }
}

impl CookieSettings {
    fn of(builder: CookieBuilder) -> Self {
        Self {
            attributes: builder.attributes(),
            name: builder.name,
            max_age: builder.max_age,
            rolling: builder.rolling,
            absolute_max_age: builder.absolute_max_age,
        }
    }
}

impl CookieBuilder {
    /// Sets the domain whose hosts get the cookie. Default: none, only the host that set it.
    pub fn domain(mut self, domain: impl Into<String>) -> Self {
        self.domain = Some(domain.into()).filter(|domain| !domain.is_empty());
        self
    }

    /// Sets the path under which the browser sends the cookie. Default: `/`.
    pub fn path(mut self, path: impl Into<String>) -> Self {
        self.path = Some(path.into()).filter(|path| !path.is_empty());
        self
    }

    /// Sets whether the browser sends the cookie over https only. Default: true. False is for
    /// development over plain http: everyone on the way can then take the session.
    pub fn secure(mut self, secure: bool) -> Self {
        self.secure = secure;
        self
    }

    /// Sets whether scripts in the page are kept from the cookie. Default: true.
    pub fn http_only(mut self, http_only: bool) -> Self {
        self.http_only = http_only;
        self
    }

    /// Sets which requests from other sites carry the cookie. Default: `Lax`; `None` writes no
    /// attribute and leaves it to the browser.
    pub fn same_site(mut self, same_site: impl Into<Option<SameSite>>) -> Self {
        self.same_site = same_site.into();
        self
    }

    /// Sets whether the browser keeps one cookie for each top-level site (CHIPS). Default: false.
    pub fn partitioned(mut self, partitioned: bool) -> Self {
        self.partitioned = partitioned;
        self
    }

    /// Sets how long after its last write a session lives: the cookie's Max-Age and Expires, the
    /// store's time to live, and the age that the server enforces. Rounded up to whole seconds,
    /// at most a hundred years. Default: `None`, a cookie that lives until the browser closes,
    /// and a session that never ends by itself.
    pub fn max_age(mut self, max_age: impl Into<Option<Duration>>) -> Self {
        self.max_age = max_age.into();
        self
    }

    /// Sets whether reads restart the lifetime as writes do, at most once per tenth of it.
    /// Default: false. Needs [`max_age`](Self::max_age).
    pub fn rolling(mut self, rolling: bool) -> Self {
        self.rolling = rolling;
        self
    }

    /// Sets how long after its start a session ends, whatever is written or renewed meanwhile.
    /// Default: `None`, never. The start is kept in the record, where a Python service that
    /// writes the session drops it; it then counts from that write.
    pub fn absolute_max_age(mut self, absolute_max_age: impl Into<Option<Duration>>) -> Self {
        self.absolute_max_age = absolute_max_age.into();
        self
    }

    /// Returns the settings.
    ///
    /// # Errors
    /// [`ErrorKind::Settings`], with a text that says what to do, for what a browser would refuse
    /// (RFC 6265bis, sections 4.1 and 5.6) or what cannot work.
    pub fn build(mut self) -> Result<CookieSettings> {
        let refuse = |why: &'static str| Err(Error::with_message(ErrorKind::Settings, why));
        let prefixed = |prefix: &str| {
            self.name
                .get(..prefix.len())
                .is_some_and(|p| p.eq_ignore_ascii_case(prefix))
        };
        if !(1..=100).contains(&self.name.len()) || !self.name.bytes().all(is_token) {
            return refuse(
                "the cookie name must have 1 to 100 characters, letters, digits or !#$%&'*+-.^_`|~",
            );
        }
        if self
            .domain
            .as_ref()
            .is_some_and(|domain| !is_domain(domain))
        {
            return refuse("the cookie domain must be a host name: letters, digits, '.' and '-'");
        }
        if self.path.as_ref().is_some_and(|path| !is_path(path)) {
            return refuse(
                "the cookie path must start with '/' and hold no ';', ',', space or control character",
            );
        }
        if !self.secure {
            if prefixed("__Host-") || prefixed("__Secure-") {
                return refuse(
                    "browsers refuse a __Host- or __Secure- cookie without Secure: use secure(true)",
                );
            }
            if self.same_site == Some(SameSite::None) {
                return refuse("browsers refuse SameSite=None without Secure: use secure(true)");
            }
            if self.partitioned {
                return refuse("browsers refuse Partitioned without Secure: use secure(true)");
            }
        }
        if prefixed("__Host-") && self.domain.is_some() {
            return refuse("browsers refuse a __Host- cookie with a domain: leave the domain out");
        }
        if prefixed("__Host-") && self.path.as_deref() != Some("/") {
            return refuse("browsers refuse a __Host- cookie unless its path is '/'");
        }
        if self.max_age == Some(Duration::ZERO) || self.absolute_max_age == Some(Duration::ZERO) {
            return refuse(
                "a lifetime of zero would end every session at once: leave it out for no limit",
            );
        }
        if self.rolling && self.max_age.is_none() {
            return refuse("a rolling session needs a max_age to restart");
        }
        self.max_age = self.max_age.map(whole_seconds);
        self.absolute_max_age = self.absolute_max_age.map(whole_seconds);
        Ok(CookieSettings::of(self))
    }

    /// Writes the attributes that are the same in every header, with the `cookie` crate.
    fn attributes(&self) -> String {
        let mut cookie = Cookie::new("", "");
        cookie.set_http_only(self.http_only);
        cookie.set_same_site(self.same_site);
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

impl Default for CookieBuilder {
    fn default() -> Self {
        Self {
            name: Cow::Borrowed(DEFAULT_NAME),
            domain: None,
            path: Some("/".to_owned()),
            secure: true,
            http_only: true,
            same_site: Some(SameSite::Lax),
            partitioned: false,
            max_age: None,
            rolling: false,
            absolute_max_age: None,
        }
    }
}

/// Rounds a lifetime up to whole seconds, at least one: rounded down it could mean "at once" in
/// the browser and "never" in memcached.
pub(crate) fn whole_seconds(lifetime: Duration) -> Duration {
    let lifetime = lifetime.min(LONGEST);
    let up = u64::from(lifetime.subsec_nanos() > 0);
    Duration::from_secs((lifetime.as_secs() + up).max(1))
}

/// The end of the year 9999, in Unix seconds: the last that an HTTP date can say.
const LATEST: u64 = 253_402_300_799;

const MAX_AGE: &str = "; Max-Age=";
const EXPIRES: &str = "; Expires=";

/// How long every HTTP date is (RFC 9110, section 5.6.7): `Sun, 06 Nov 1994 08:49:37 GMT`.
const DATE_LEN: usize = 29;

/// RFC 9110, section 5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// A host name (RFC 1123, section 2.1), after a `.` that browsers ignore. In a domain that no host
/// can be of they would drop the cookie.
fn is_domain(domain: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let host = domain.strip_prefix('.').unwrap_or(domain);
    host.len() <= 253 && host.split('.').all(is_label)
}

/// RFC 6265bis, section 5.6: an attribute's value is ignored over 1024 bytes.
fn is_path(path: &str) -> bool {
    path.len() <= 1024
        && path.starts_with('/')
        && path
            .bytes()
            .all(|b| b.is_ascii_graphic() && b != b';' && b != b',')
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn text(header: &HeaderValue) -> &str {
        header.to_str().unwrap()
    }

    #[test]
    fn the_defaults_are_the_safe_ones() {
        let cookie = CookieSettings::default();
        let set = cookie.set("v", None, UNIX_EPOCH).unwrap();
        assert_eq!(
            text(&set),
            "AIOHTTP_SESSION=v; HttpOnly; SameSite=Lax; Secure; Path=/"
        );
    }

    #[test]
    fn removal_has_the_same_attributes() {
        let cookie = CookieSettings::builder("sid")
            .domain("example.com")
            .path("/app")
            .same_site(SameSite::None)
            .partitioned(true)
            .max_age(HOUR)
            .build()
            .unwrap();
        let now = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let attributes =
            "; HttpOnly; SameSite=None; Partitioned; Secure; Path=/app; Domain=example.com";
        assert_eq!(
            text(&cookie.set("v", cookie.max_age(), now).unwrap()),
            format!("sid=v{attributes}; Max-Age=3600; Expires=Tue, 14 Nov 2023 23:13:20 GMT"),
        );
        assert_eq!(
            text(&cookie.removal()),
            format!("sid=\"\"{attributes}; Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT"),
        );
    }

    #[test]
    fn what_a_browser_would_refuse_is_refused_here() {
        fn builder(name: &str) -> CookieBuilder {
            CookieSettings::builder(name.to_owned())
        }
        for (why, refused) in [
            ("empty name", builder("")),
            ("name with a space", builder("a b")),
            ("name with a semicolon", builder("a;b")),
            ("name not ASCII", builder("é")),
            ("name too long", builder(&"n".repeat(101))),
            ("domain with a semicolon", builder("a").domain("a;b")),
            ("domain with a space", builder("a").domain("a b")),
            ("domain with an empty part", builder("a").domain("a..b")),
            ("domain with an end", builder("a").domain("a.b.")),
            ("domain that is none", builder("a").domain(".")),
            ("domain with a hyphen outside", builder("a").domain("a.-b")),
            (
                "domain with a long part",
                builder("a").domain("a".repeat(64)),
            ),
            ("path without a slash", builder("a").path("app")),
            ("path with a comma", builder("a").path("/a,b")),
            ("path with a line feed", builder("a").path("/a\nb")),
            (
                "__Host- with a domain",
                builder("__Host-a").domain("example.com"),
            ),
            (
                "__Host- with another path",
                builder("__Host-a").path("/app"),
            ),
            ("__Host- without a path", builder("__Host-a").path("")),
            ("__Host- not secure", builder("__Host-a").secure(false)),
            (
                "the prefix in another case",
                builder("__hOST-a").secure(false),
            ),
            ("__Secure- not secure", builder("__Secure-a").secure(false)),
            (
                "SameSite=None not secure",
                builder("a").same_site(SameSite::None).secure(false),
            ),
            (
                "Partitioned not secure",
                builder("a").partitioned(true).secure(false),
            ),
            ("max_age zero", builder("a").max_age(Duration::ZERO)),
            (
                "absolute zero",
                builder("a").absolute_max_age(Duration::ZERO),
            ),
            ("rolling without a max_age", builder("a").rolling(true)),
        ] {
            let error = refused.build().expect_err(why);
            assert_eq!(error.kind(), ErrorKind::Settings, "{why}");
        }
        assert!(builder("__Host-a").build().is_ok());
        assert!(builder("a").domain("").path("").build().is_ok());
    }

    #[test]
    fn p8_a_cookie_that_a_browser_would_drop_is_an_error() {
        let cookie = CookieSettings::builder("sid").build().unwrap();
        for (bytes, fits) in [(4095, true), (4096, true), (4097, false)] {
            let set = cookie.set(&"v".repeat(bytes - "sid".len()), None, UNIX_EPOCH);
            assert_eq!(set.is_ok(), fits, "{bytes} bytes");
            // Quotes and escapes count: they are part of what the browser stores.
            let quoted = format!("{}=", "v".repeat(bytes - "sid\"=\"".len()));
            assert_eq!(
                cookie.set(&quoted, None, UNIX_EPOCH).is_ok(),
                fits,
                "{bytes} bytes quoted"
            );
        }
    }

    #[test]
    fn lifetimes_round_up_and_have_an_end() {
        for (lifetime, whole) in [
            (Duration::ZERO, Duration::from_secs(1)),
            (Duration::from_millis(1), Duration::from_secs(1)),
            (Duration::from_millis(1001), Duration::from_secs(2)),
            (HOUR, HOUR),
            (Duration::MAX, LONGEST),
        ] {
            assert_eq!(whole_seconds(lifetime), whole);
        }
        let late = UNIX_EPOCH + Duration::from_secs(LATEST + 100);
        assert!(
            CookieSettings::default()
                .set("v", Some(Duration::MAX), late)
                .is_ok()
        );
        let header = CookieSettings::default()
            .set("v", Some(LONGEST), late)
            .unwrap();
        assert!(text(&header).ends_with("Expires=Fri, 31 Dec 9999 23:59:59 GMT"));
    }
}
