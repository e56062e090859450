//! Sessions in a server-side store, whichever.

pub(crate) mod backend;
pub(crate) mod memory;
mod save;

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use crate::clock::Clock;
use crate::config::Records;
use crate::cookie::CookieSettings;
use crate::error::{Error, ErrorKind, Result};
use crate::keyed::backend::Backend;
use crate::record::codec::Codec;
use crate::session::Session;
use crate::session::identity::Identity;
use crate::storage::{CookieChange, Storage};

/// Keeps the record in a [`Backend`] and only its random identity in the cookie.
///
/// - A record is created, never written over blindly: an identity that the store does not know is
///   never adopted.
/// - A change is saved by compare-and-swap. If another request saved first, the keys that this one
///   set and removed are put onto what that one left, and it is tried again: different keys all
///   survive, and of the same key the last save wins.
/// - A session that another request ended is [`ErrorKind::Ended`], and never comes back.
///
/// The key in the store is the cookie's name, `_` and the identity, as in aiohttp_session.
///
/// ```
/// use session_core::{CookieSettings, KeyedStorage, MemoryBackend, Storage};
/// use std::time::Duration;
///
/// # fn main() -> Result<(), session_core::Error> {
/// let cookie = CookieSettings::builder("sid").max_age(Duration::from_secs(3600)).build()?;
/// let storage = KeyedStorage::new(MemoryBackend::new()).with_cookie(cookie);
/// assert_eq!(storage.records().cookie().name(), "sid");
/// # Ok(())
/// # }
/// ```
pub struct KeyedStorage<B> {
    backend: B,
    records: Records,
    key_factory: Option<Arc<dyn Fn() -> String + Send + Sync>>,
    hash_identities: bool,
}

/// A [`Backend`] for which an address is enough.
pub trait Connect: Backend + Sized {
    /// Reaches the store at `address`, with default settings; the backend's docs say what an
    /// address looks like.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Settings`] if it is no address, [`ErrorKind::Unavailable`] if nobody answers
    /// there within the backend's default timeout.
    fn connect(address: &str) -> impl Future<Output = Result<Self>> + Send;
}

impl<B: Connect> KeyedStorage<B> {
    /// Keeps sessions in the store at `address`, with default settings.
    ///
    /// # Errors
    ///
    /// See [`Connect::connect`].
    pub async fn connect(address: &str) -> Result<Self> {
        B::connect(address).await.map(Self::new)
    }
}

impl<B: Backend> KeyedStorage<B> {
    /// Keeps sessions in `backend`, with the default cookie settings.
    pub fn new(backend: B) -> Self {
        Self {
            backend,
            records: Records::default(),
            key_factory: None,
            hash_identities: false,
        }
    }

    /// Uses these settings in place of the default ones.
    #[must_use]
    pub fn with_cookie(mut self, cookie: CookieSettings) -> Self {
        self.records = self.records.with_cookie(cookie);
        self
    }

    /// Stores records through `codec` in place of plain JSON.
    #[must_use]
    pub fn with_codec(mut self, codec: impl Codec) -> Self {
        self.records = self.records.with_codec(codec);
        self
    }

    /// Takes the time from `clock` in place of the operating system. A backend's own clock, as
    /// [`MemoryBackend`](crate::MemoryBackend) has one, is set there.
    #[must_use]
    pub fn with_clock(mut self, clock: impl Clock) -> Self {
        self.records = self.records.with_clock(clock);
        self
    }

    /// Draws identities with `factory` in place of [`Identity::random`]. They must be impossible
    /// to guess, 128 random bits or so, and have the shape that [`Identity::parse`] takes. If they can
    /// hold a `_`, no cookie name `a` may share the store with one that starts with `a_`. Text
    /// of another shape ends the save with [`ErrorKind::Settings`].
    #[must_use]
    pub fn with_key_factory(
        mut self,
        factory: impl Fn() -> String + Send + Sync + 'static,
    ) -> Self {
        self.key_factory = Some(Arc::new(factory));
        self
    }

    /// Uses the SHA-256 of the identity in the store's key in place of the identity: whoever reads
    /// the store can then not log in with what is there. A Python service cannot share such a
    /// store. Default: false.
    #[must_use]
    pub fn hash_identities(mut self, hash: bool) -> Self {
        self.hash_identities = hash;
        self
    }

    /// Borrows the backend.
    pub fn backend(&self) -> &B {
        &self.backend
    }

    /// Returns the identity that a cookie spells. One with a `_` could make the key of another cookie
    /// name (`a` with `b_1`, `a_b` with `1`): only an application's own factory makes such.
    fn parse(&self, cookie: &str) -> Option<Identity> {
        let identity = Identity::parse(cookie)?;
        (self.key_factory.is_some() || cookie.bytes().all(|b| b != b'_')).then_some(identity)
    }

    fn key(&self, identity: &Identity) -> String {
        self.key_of(&self.suffix(identity))
    }

    fn key_of(&self, suffix: &str) -> String {
        let name = self.records.cookie().name();
        let mut key = String::with_capacity(name.len() + 1 + suffix.len());
        key.push_str(name);
        key.push('_');
        key.push_str(suffix);
        key
    }

    /// What stands for the identity in the store's key.
    fn suffix<'a>(&self, identity: &'a Identity) -> Cow<'a, str> {
        if self.hash_identities {
            Cow::Owned(identity.sha256())
        } else {
            Cow::Borrowed(identity.as_str())
        }
    }

    fn draw(&self) -> Result<Identity> {
        let Some(factory) = &self.key_factory else {
            return Identity::random();
        };
        Identity::parse(&factory()).ok_or_else(|| {
            Error::with_message(
                ErrorKind::Settings,
                "the key factory must return 16 to 128 characters of A-Z a-z 0-9 - _",
            )
        })
    }
}

#[async_trait]
impl<B: Backend> Storage for KeyedStorage<B> {
    fn records(&self) -> &Records {
        &self.records
    }

    async fn load(&self, cookie: Option<&str>) -> Result<Session> {
        let Some(identity) = cookie.and_then(|cookie| self.parse(cookie)) else {
            return Ok(self.records.fresh(cookie.is_some()));
        };
        let key = self.key(&identity);
        let Some(found) = self.backend.read(&key).await? else {
            tracing::debug!(session = identity.fingerprint(), "session is unknown");
            return Ok(self.records.fresh(true));
        };
        let Some(session) = self.records.open(found.value.clone()) else {
            let session = self.records.fresh(true);
            let expired = || self.records.is_record(found.value.clone()).then_some(key);
            let stood_for = self.moved_to(&found).or_else(expired);
            session.state().stood_for.extend(stood_for);
            return Ok(session);
        };
        let mut state = session.state();
        state.identity = Some(identity);
        state.base = Some(found);
        drop(state);
        Ok(session)
    }

    async fn save(&self, session: &Session) -> Result<CookieChange> {
        self.save_changes(session).await
    }
}

impl<B: Backend + Default> Default for KeyedStorage<B> {
    fn default() -> Self {
        Self::new(B::default())
    }
}

impl<B: fmt::Debug> fmt::Debug for KeyedStorage<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedStorage")
            .field("backend", &self.backend)
            .field("records", &self.records)
            .field("hash_identities", &self.hash_identities)
            .finish_non_exhaustive()
    }
}
