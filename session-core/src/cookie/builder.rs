//! Builds the settings of a session cookie, and refuses those that a browser would refuse.

use std::borrow::Cow;
use std::net::Ipv4Addr;
use std::time::{Duration, UNIX_EPOCH};

use http::HeaderValue;

use crate::cookie::same_site::SameSite;
use crate::cookie::set_cookie::{Attributes, SetCookie};
use crate::cookie::settings::{CookieSettings, DEFAULT_NAME, whole_seconds};
use crate::error::{Error, ErrorKind, Result};

/// A former domain and path.
type Place = (Option<String>, Option<String>);

/// Builds [`CookieSettings`].
#[derive(Clone, Debug)]
#[must_use]
pub struct CookieBuilder {
    name: Cow<'static, str>,
    attributes: Attributes,
    max_age: Option<Duration>,
    persistent: bool,
    rolling: bool,
    absolute_max_age: Option<Duration>,
    former: Vec<Place>,
}

impl CookieBuilder {
    /// Begins with the defaults that the methods document.
    pub(super) fn new(name: Cow<'static, str>) -> Self {
        Self {
            name,
            attributes: Attributes {
                domain: None,
                path: Some("/".to_owned()),
                secure: true,
                http_only: true,
                same_site: Some(SameSite::Lax),
                partitioned: false,
            },
            max_age: None,
            persistent: true,
            rolling: false,
            absolute_max_age: None,
            former: Vec::new(),
        }
    }

    /// Sets the domain whose hosts get the cookie. Default: only the host that set it.
    ///
    /// An empty text is no domain.
    pub fn domain(mut self, domain: impl Into<String>) -> Self {
        self.attributes.domain = Some(domain.into()).filter(|domain| !domain.is_empty());
        self
    }

    /// Sets the path below which the browser sends the cookie. Default: `/`.
    ///
    /// An empty text writes no attribute. The browser then derives the path from the request.
    pub fn path(mut self, path: impl Into<String>) -> Self {
        self.attributes.path = Some(path.into()).filter(|path| !path.is_empty());
        self
    }

    /// Sets whether the browser sends the cookie over https only. Default: true.
    ///
    /// Use false only for development over plain http. Everyone on the network path can then read
    /// the cookie and use the session.
    pub fn secure(mut self, secure: bool) -> Self {
        self.attributes.secure = secure;
        self
    }

    /// Sets whether the browser hides the cookie from scripts in the page. Default: true.
    pub fn http_only(mut self, http_only: bool) -> Self {
        self.attributes.http_only = http_only;
        self
    }

    /// Adds a domain and a path that the cookie had before. An empty text means no attribute.
    ///
    /// A browser keeps such a cookie beside the present one and sends both. Each response that sets
    /// or removes the cookie then removes the former one as well.
    ///
    /// ```
    /// # use session_core::CookieSettings;
    /// # fn main() -> session_core::Result<()> {
    /// let cookie = CookieSettings::builder("sid")
    ///     .former("example.com", "/app") // until the last of these cookies has expired
    ///     .build()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn former(mut self, domain: impl Into<String>, path: impl Into<String>) -> Self {
        let text = |text: String| Some(text).filter(|text| !text.is_empty());
        self.former.push((text(domain.into()), text(path.into())));
        self
    }

    /// Sets which requests from other sites carry the cookie. Default: [`SameSite::Lax`].
    ///
    /// The option `None` writes no attribute, so that the browser decides. It is not
    /// [`SameSite::None`].
    pub fn same_site(mut self, same_site: impl Into<Option<SameSite>>) -> Self {
        self.attributes.same_site = same_site.into();
        self
    }

    /// Sets whether the browser keeps a separate cookie for each top-level site (CHIPS). Default:
    /// false.
    pub fn partitioned(mut self, partitioned: bool) -> Self {
        self.attributes.partitioned = partitioned;
        self
    }

    /// Sets how long a session lives after its last write. Default: `None`, no limit.
    ///
    /// Without it, the cookie lives until the browser closes.
    ///
    /// The server enforces this age. It is also the cookie's Max-Age and Expires, unless
    /// [`persistent`](Self::persistent) is false. It is rounded up to whole seconds and capped at
    /// 100 years. Zero is refused.
    pub fn max_age(mut self, max_age: impl Into<Option<Duration>>) -> Self {
        self.max_age = max_age.into();
        self
    }

    /// Sets whether the cookie stays when the browser closes. Default: true.
    ///
    /// It has an effect only with a [`max_age`](Self::max_age). False writes no Max-Age, and the
    /// server still ends the session after `max_age`. A session with its own lifetime
    /// ([`Session::set_max_age`](crate::Session::set_max_age)) still has a cookie that stays: the
    /// usual "remember me".
    pub fn persistent(mut self, persistent: bool) -> Self {
        self.persistent = persistent;
        self
    }

    /// Sets whether reading a session restarts its lifetime, as writing does. Default: false.
    ///
    /// Reads restart it at most once per tenth of the session's lifetime. So a session may expire
    /// before `max_age` has passed since its last read, by at most a tenth.
    /// [`max_age`](Self::max_age) must be set.
    pub fn rolling(mut self, rolling: bool) -> Self {
        self.rolling = rolling;
        self
    }

    /// Sets how long after its start a session ends, even if it is still used. Default: `None`,
    /// never.
    ///
    /// It is rounded up to whole seconds and capped at 100 years. Zero is refused.
    ///
    /// The record contains the start. A Python service that writes the session drops it. The time
    /// then counts from that write. A start in the future, from a process whose clock is ahead,
    /// is treated as now. The next write stores that time.
    pub fn absolute_max_age(mut self, absolute_max_age: impl Into<Option<Duration>>) -> Self {
        self.absolute_max_age = absolute_max_age.into();
        self
    }

    /// Checks the settings and returns them.
    ///
    /// # Errors
    /// [`ErrorKind::Settings`] if a browser would refuse the cookie (RFC 6265bis, sections 4.1 and
    /// 5.6) or a lifetime cannot work. The text says what to change.
    pub fn build(mut self) -> Result<CookieSettings> {
        if let Some(why) = self.fault() {
            return Err(Error::with_message(ErrorKind::Settings, why));
        }
        self.max_age = self.max_age.map(whole_seconds);
        self.absolute_max_age = self.absolute_max_age.map(whole_seconds);
        Ok(self.finish())
    }

    /// Returns the settings without a check, for the defaults.
    pub(super) fn finish(self) -> CookieSettings {
        CookieSettings {
            header: SetCookie::new(&self.name, &self.attributes, self.max_age),
            former: self.removals(),
            name: self.name,
            max_age: self.max_age,
            persistent: self.persistent,
            rolling: self.rolling,
            absolute_max_age: self.absolute_max_age,
        }
    }

    /// Returns the attributes with which a browser keeps the cookies of former places.
    fn former_attributes(&self) -> impl Iterator<Item = Attributes> {
        self.former.iter().map(|(domain, path)| Attributes {
            domain: domain.clone(),
            path: path.clone(),
            ..self.attributes.clone()
        })
    }

    fn removals(&self) -> Vec<HeaderValue> {
        let removal = |attributes| {
            let header = SetCookie::new(&self.name, &attributes, None);
            header.write("", Some(Duration::ZERO), UNIX_EPOCH)
        };
        self.former_attributes().map(removal).collect()
    }

    /// Returns the first thing that is wrong with the settings, as the text of an error.
    fn fault(&self) -> Option<&'static str> {
        let attributes = &self.attributes;
        let (domain, path) = (attributes.domain.as_deref(), attributes.path.as_deref());
        let has_prefix = |prefix: &str| {
            let start = self.name.get(..prefix.len());
            start.is_some_and(|start| start.eq_ignore_ascii_case(prefix))
        };
        let is_host = has_prefix("__Host-");
        let is_http = has_prefix("__Http-") || has_prefix("__Host-Http-");
        let is_insecure = !attributes.secure;
        let zero = Some(Duration::ZERO);
        let faults = [
            (
                !is_name(&self.name),
                "the cookie name must have 1 to 100 characters, letters, digits or !#$%&'*+-.^_`|~",
            ),
            (
                domain.is_some_and(|domain| !is_domain(domain)),
                "the cookie domain must be a host name: letters, digits, '.' and '-'",
            ),
            (
                path.is_some_and(|path| !is_path(path)),
                "the cookie path must start with '/' and hold no ';', ',', space or control \
                 character",
            ),
            (
                is_insecure && (is_host || is_http || has_prefix("__Secure-")),
                "browsers refuse a __Host-, __Http- or __Secure- cookie without Secure: use \
                 secure(true)",
            ),
            (
                is_http && !attributes.http_only,
                "browsers refuse an __Http- or __Host-Http- cookie without HttpOnly: use \
                 http_only(true)",
            ),
            (
                is_insecure && attributes.same_site == Some(SameSite::None),
                "browsers refuse SameSite=None without Secure: use secure(true)",
            ),
            (
                is_insecure && attributes.partitioned,
                "browsers refuse Partitioned without Secure: use secure(true)",
            ),
            (
                is_host && domain.is_some(),
                "browsers refuse a __Host- cookie with a domain: leave the domain out",
            ),
            (
                is_host && path != Some("/"),
                "browsers refuse a __Host- cookie unless its path is '/'",
            ),
            (
                is_host && !self.former.is_empty(),
                "a __Host- cookie has no former place: browsers refuse it with another one",
            ),
            (
                self.former.iter().any(|(domain, path)| {
                    domain.as_deref().is_some_and(|domain| !is_domain(domain))
                        || path.as_deref().is_some_and(|path| !is_path(path))
                }),
                "a former domain must be a host name, and a former path start with '/'",
            ),
            (
                self.former_attributes()
                    .any(|former| former.is_same_place(attributes)),
                "a former domain and path must differ from the present ones",
            ),
            (
                self.max_age == zero || self.absolute_max_age == zero,
                "a lifetime of zero would end every session at once: leave it out for no limit",
            ),
            (
                self.rolling && self.max_age.is_none(),
                "a rolling session needs a max_age to restart",
            ),
        ];
        let first = faults.into_iter().find(|(is_wrong, _)| *is_wrong);
        first.map(|(_, why)| why)
    }
}

/// The cookie is called [`DEFAULT_NAME`].
impl Default for CookieBuilder {
    fn default() -> Self {
        Self::new(Cow::Borrowed(DEFAULT_NAME))
    }
}

/// Returns whether `name` is a token (RFC 9110, section 5.6.2) of 1 to 100 characters.
fn is_name(name: &str) -> bool {
    let is_token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    (1..=100).contains(&name.len()) && name.bytes().all(is_token)
}

/// Returns whether `domain` is a host name (RFC 1123, section 2.1), with or without a `.` before
/// it, which browsers ignore. Browsers drop a cookie with another domain, and an address has no
/// subdomains.
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
    let is_address = host.parse::<Ipv4Addr>().is_ok();
    host.len() <= 253 && host.split('.').all(is_label) && !(is_address && host != domain)
}

/// Returns whether browsers accept `path`. They ignore an attribute value over 1024 bytes (RFC
/// 6265bis, section 5.6).
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

    #[test]
    fn what_a_browser_would_refuse_is_refused_here() {
        fn builder(name: &str) -> CookieBuilder {
            CookieSettings::builder(name.to_owned())
        }
        for (why, refused) in [
            ("empty name", builder("")),
            ("name with a space", builder("a b")),
            ("__Http- not hidden", builder("__Http-a").http_only(false)),
            ("__http- not hidden", builder("__http-a").http_only(false)),
            ("__Http- without Secure", builder("__Http-a").secure(false)),
            (
                "__Host-Http- not hidden",
                builder("__Host-Http-a").http_only(false),
            ),
            (
                "__Host-Http- without Secure",
                builder("__Host-Http-a").secure(false),
            ),
            (
                "__Host-Http- with a domain",
                builder("__Host-Http-a").domain("a.example"),
            ),
            (
                "subdomains of an address",
                builder("a").domain(".127.0.0.1"),
            ),
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
            ("former of __Host-", builder("__Host-a").former("", "/app")),
            ("former domain", builder("a").former("a b", "/")),
            ("former path", builder("a").former("", "app")),
            (
                "former place that is the present",
                builder("a").former("", "/"),
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
    fn build_rounds_lifetimes_up_to_whole_seconds() {
        let builder = CookieSettings::builder("a").max_age(Duration::from_millis(1500));
        let cookie = builder.absolute_max_age(Duration::from_millis(1)).build();
        let cookie = cookie.unwrap();
        assert_eq!(cookie.max_age(), Some(Duration::from_secs(2)));
        assert_eq!(cookie.absolute_max_age(), Some(Duration::from_secs(1)));
    }
}
