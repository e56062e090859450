//! The settings of a session cookie. They also write its Set-Cookie headers.

use std::borrow::Cow;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::HeaderValue;

use crate::cookie::builder::CookieBuilder;
use crate::cookie::quote::Quoted;
use crate::cookie::set_cookie::SetCookie;
use crate::error::{Error, ErrorKind, Result};

/// The cookie name that aiohttp_session uses by default.
pub const DEFAULT_NAME: &str = "AIOHTTP_SESSION";

/// The maximum length of a cookie's name and value together, in bytes. Browsers drop a longer
/// cookie (RFC 6265bis, section 5.6, step 4).
pub const MAX_COOKIE_BYTES: usize = 4096;

/// Longer lifetimes are capped at 100 years. Browsers cap at 400 days.
const MAX_LIFETIME: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// The name, the attributes and the lifetime of the session cookie.
///
/// [`CookieBuilder::build`] makes one. It refuses settings that a browser would refuse.
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
    pub(super) name: Cow<'static, str>,
    pub(super) header: SetCookie,
    pub(super) max_age: Option<Duration>,
    pub(super) persistent: bool,
    pub(super) rolling: bool,
    pub(super) absolute_max_age: Option<Duration>,
    /// The Set-Cookie headers that remove the cookies of former domains and paths.
    pub(super) former: Vec<HeaderValue>,
}

impl CookieSettings {
    /// Begins settings for a cookie called `name`: an RFC 6265 token of 1 to 100 characters.
    ///
    /// For a name that starts with `__Host-` or `__Secure-`, browsers check the attributes too.
    pub fn builder(name: impl Into<Cow<'static, str>>) -> CookieBuilder {
        CookieBuilder::new(name.into())
    }

    /// Returns the cookie's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns how long a session lives after its last write.
    ///
    /// `None`: it has no limit, and its cookie lives until the browser closes.
    pub fn max_age(&self) -> Option<Duration> {
        self.max_age
    }

    /// Returns whether the cookie stays when the browser closes, if there is a `max_age`.
    pub fn is_persistent(&self) -> bool {
        self.persistent
    }

    /// Returns whether reading a session restarts its lifetime.
    pub fn is_rolling(&self) -> bool {
        self.rolling
    }

    /// Returns how long after its start a session ends, even if it is still used.
    pub fn absolute_max_age(&self) -> Option<Duration> {
        self.absolute_max_age
    }

    /// Checks that browsers accept a cookie with this value. Quotes and escapes count.
    ///
    /// # Errors
    /// [`ErrorKind::TooLarge`] if name and value are longer than [`MAX_COOKIE_BYTES`] together.
    pub fn check_size(&self, value: &str) -> Result<()> {
        // A byte becomes at most four, so most values need no closer look.
        if self.name.len() + 2 + 4 * value.len() <= MAX_COOKIE_BYTES {
            return Ok(());
        }
        let size = self.name.len() + Quoted::new(value).len();
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

    /// Returns the Set-Cookie header that stores `value` for `max_age` from `now`.
    ///
    /// `None` stores it until the browser closes. Fractions of a second are dropped, and longer
    /// lifetimes are capped at 100 years.
    ///
    /// Use this to send a [`CookieChange::Set`](crate::CookieChange::Set) without an adapter, with
    /// the `max_age` of that change. It may differ from the [`max_age`](Self::max_age) of these
    /// settings.
    ///
    /// # Errors
    /// As [`check_size`](Self::check_size).
    pub fn set_cookie(
        &self,
        value: &str,
        max_age: Option<Duration>,
        now: SystemTime,
    ) -> Result<HeaderValue> {
        self.check_size(value)?;
        let max_age = max_age.map(|max_age| max_age.min(MAX_LIFETIME));
        Ok(self.header.write(value, max_age, now))
    }

    /// Returns the Set-Cookie headers that make the browser remove the cookies of
    /// [former](CookieBuilder::former) domains and paths. Send them in every response that sets or
    /// removes the cookie.
    pub fn former_removals(&self) -> &[HeaderValue] {
        &self.former
    }

    /// Returns the Set-Cookie header that makes the browser remove the cookie.
    pub fn removal(&self) -> HeaderValue {
        self.header.write("", Some(Duration::ZERO), UNIX_EPOCH)
    }
}

/// The cookie is called [`DEFAULT_NAME`] and has the defaults of [`CookieBuilder`].
impl Default for CookieSettings {
    fn default() -> Self {
        CookieBuilder::default().finish()
    }
}

/// Rounds a lifetime up to whole seconds, at least one and at most [`MAX_LIFETIME`].
///
/// If it were rounded down to 0, the cookie would expire at once and a memcached record never.
pub(crate) fn whole_seconds(lifetime: Duration) -> Duration {
    let lifetime = lifetime.min(MAX_LIFETIME);
    let up = u64::from(lifetime.subsec_nanos() > 0);
    Duration::from_secs((lifetime.as_secs() + up).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cookie::same_site::SameSite;

    const HOUR: Duration = Duration::from_secs(3600);

    fn text(header: &HeaderValue) -> &str {
        header.to_str().unwrap()
    }

    #[test]
    fn the_defaults_are_the_safe_ones() {
        let cookie = CookieSettings::default();
        let set = cookie.set_cookie("v", None, UNIX_EPOCH).unwrap();
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
            text(&cookie.set_cookie("v", cookie.max_age(), now).unwrap()),
            format!("sid=v{attributes}; Max-Age=3600; Expires=Tue, 14 Nov 2023 23:13:20 GMT"),
        );
        assert_eq!(
            text(&cookie.removal()),
            format!("sid=\"\"{attributes}; Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT"),
        );
    }

    #[test]
    fn p8_a_cookie_that_a_browser_would_drop_is_an_error() {
        let cookie = CookieSettings::builder("sid").build().unwrap();
        for (bytes, fits) in [(4095, true), (4096, true), (4097, false)] {
            let set = cookie.set_cookie(&"v".repeat(bytes - "sid".len()), None, UNIX_EPOCH);
            assert_eq!(set.is_ok(), fits, "{bytes} bytes");
            // Quotes and escapes count: they are part of what the browser stores.
            let quoted = format!("{}=", "v".repeat(bytes - "sid\"=\"".len()));
            assert_eq!(
                cookie.set_cookie(&quoted, None, UNIX_EPOCH).is_ok(),
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
            (Duration::MAX, MAX_LIFETIME),
        ] {
            assert_eq!(whole_seconds(lifetime), whole);
        }
        let late = UNIX_EPOCH + Duration::from_secs(253_402_300_799 + 100);
        for lifetime in [MAX_LIFETIME, Duration::MAX] {
            let header = CookieSettings::default().set_cookie("v", Some(lifetime), late);
            let end = "; Max-Age=3153600000; Expires=Fri, 31 Dec 9999 23:59:59 GMT";
            assert!(text(&header.unwrap()).ends_with(end));
        }
    }
}
