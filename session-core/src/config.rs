//! The configuration of a storage: cookie settings, codec and clock.

use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use memchr::memchr;

use crate::clock::{Clock, SystemClock, unix_seconds};
use crate::cookie::settings::CookieSettings;
use crate::error::Result;
use crate::metrics::Metrics;
use crate::record::codec::Codec;
use crate::record::{Parsed, Record, Unreadable};

/// The cookie settings, the [`Codec`] and the [`Clock`] of a storage. Clones are cheap and share
/// their contents.
///
/// An application sets these on its storage. To write a storage that keeps the whole record in one
/// place and cannot compare and swap, use [`open`](Self::open), [`new_session`](Self::new_session)
/// and [`stage`](Self::stage).
#[derive(Clone, Debug, Default)]
pub struct SessionConfig(Arc<Inner>);

#[derive(Clone, Debug)]
struct Inner {
    cookie: CookieSettings,
    codec: Option<Arc<dyn Codec>>,
    clock: Arc<dyn Clock>,
    metrics: Metrics,
    /// The application draws identities, which may contain a `_`.
    has_key_factory: bool,
}

impl Default for Inner {
    fn default() -> Self {
        let cookie = CookieSettings::default();
        Self {
            metrics: Metrics::of(cookie.name()),
            cookie,
            codec: None,
            clock: Arc::new(SystemClock),
            has_key_factory: false,
        }
    }
}

impl SessionConfig {
    /// Uses these cookie settings in place of the default ones.
    #[must_use]
    pub fn with_cookie(mut self, cookie: CookieSettings) -> Self {
        let inner = Arc::make_mut(&mut self.0);
        inner.metrics = Metrics::of(cookie.name());
        inner.cookie = cookie;
        self
    }

    /// Stores records through `codec` in place of plain JSON.
    #[must_use]
    pub fn with_codec(mut self, codec: impl Codec) -> Self {
        Arc::make_mut(&mut self.0).codec = Some(Arc::new(codec));
        self
    }

    /// Takes the time from `clock` in place of the operating system.
    #[must_use]
    pub fn with_clock(mut self, clock: impl Clock) -> Self {
        Arc::make_mut(&mut self.0).clock = Arc::new(clock);
        self
    }

    /// Notes that the application draws identities, which may contain a `_`.
    pub(crate) fn with_key_factory(mut self) -> Self {
        Arc::make_mut(&mut self.0).has_key_factory = true;
        self
    }

    /// Returns whether the application draws identities.
    pub(crate) fn has_key_factory(&self) -> bool {
        self.0.has_key_factory
    }

    /// Returns whether this storage could have issued `identity`.
    ///
    /// An identity with a `_` could spell the key of another cookie name: `a` with `b_1`, `a_b`
    /// with `1`. Only an application's own factory makes one.
    pub(crate) fn accepts(&self, identity: &str) -> bool {
        self.0.has_key_factory || memchr(b'_', identity.as_bytes()).is_none()
    }

    /// Returns the cookie settings.
    pub fn cookie(&self) -> &CookieSettings {
        &self.0.cookie
    }

    /// Returns the metrics of this storage.
    pub(crate) fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    /// Returns the present time.
    pub fn now(&self) -> SystemTime {
        self.0.clock.now()
    }

    /// Returns the present time in Unix seconds.
    pub(crate) fn unix_now(&self) -> u64 {
        unix_seconds(self.now())
    }

    /// Returns whether `other` is a clone of this value.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Turns stored bytes into a record's JSON text; `None` if the codec refuses them.
    pub(crate) fn decode(&self, stored: Bytes) -> Option<Bytes> {
        match &self.0.codec {
            None => Some(stored),
            Some(codec) => codec.decode(&stored).map(Bytes::from),
        }
    }

    /// Decodes and parses stored bytes. A record without `created` gets `now`, in Unix seconds.
    pub(crate) fn read(&self, stored: Bytes, now: u64) -> Content {
        let Some(text) = self.decode(stored) else {
            return Content::Foreign(Unreadable("the codec refused it"));
        };
        match Record::parse(text.clone(), now) {
            Ok(Parsed::Record(record)) => Content::Record(record),
            Ok(Parsed::Empty) => Content::Empty(text),
            Err(unreadable) => Content::Foreign(unreadable),
        }
    }

    /// Turns a record's JSON text into the bytes to store.
    pub(crate) fn encode(&self, text: Vec<u8>) -> Result<Vec<u8>> {
        match &self.0.codec {
            None => Ok(text),
            Some(codec) => codec.encode(text),
        }
    }
}

/// What stored bytes contain.
pub(crate) enum Content {
    /// A session's record. Its session may have expired, or have no keys.
    Record(Arc<Record>),
    /// An empty JSON object, the text of an ended session.
    Empty(Bytes),
    /// Another program's data, or a damaged record.
    Foreign(Unreadable),
}
