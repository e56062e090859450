//! Sessions in any server-side store.
//!
//! A store is a [`Backend`]: it maps keys to bytes, with compare-and-swap. [`KeyedStorage`] builds
//! sessions on it: creating, merging concurrent changes, renewing, and logging out are written
//! here, once.

mod backend;
mod base;
mod check;
mod create;
mod end;
mod lineage;
mod load;
mod login;
mod logout;
mod memory;
mod newtype;
mod plan;
mod prefix;
mod queue;
mod renew;
mod save;
mod swap;
mod tombstone;
mod update;
mod users;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

pub use backend::{Backend, Found, OnlyIf, Outcome, Write};
pub use memory::{MemoryBackend, MemoryStorage};
pub use users::UserIndex;

use crate::clock::Clock;
use crate::config::SessionConfig;
use crate::cookie::change::CookieChange;
use crate::cookie::settings::CookieSettings;
use crate::error::{Error, ErrorKind, Result};
use crate::keyed::prefix::KeyPrefix;
use crate::keyed::queue::Queues;
use crate::record::codec::Codec;
pub use crate::record::stored::Stored;
use crate::session::Session;
use crate::session::identity::Identity;
use crate::storage::Storage;
use crate::users::Users;

/// Keeps the record in a [`Backend`] and only its random identity in the cookie.
///
/// - It creates records, and never overwrites blindly. An identity that the store does not know is
///   never adopted.
/// - It saves changes by compare-and-swap. If another request saved first, it applies the changes
///   of this request to the stored record. Then it tries again. Changes of different keys all
///   survive. For the same key the last save wins.
/// - A request that changes a session which another request ended gets [`ErrorKind::Ended`].
///
/// The key in the store is the cookie's name, `_` and the identity, as in aiohttp_session.
/// [`with_key_prefix`](Self::with_key_prefix) adds a prefix. The store keeps a record five minutes
/// longer than its session lives, so that a request that loaded a live session can still save it.
///
/// ```
/// use session_core::{CookieSettings, KeyedStorage, MemoryBackend, Storage};
/// use std::time::Duration;
///
/// # fn main() -> Result<(), session_core::Error> {
/// let cookie = CookieSettings::builder("sid").max_age(Duration::from_secs(3600)).build()?;
/// let storage = KeyedStorage::new(MemoryBackend::new()).with_cookie(cookie);
/// assert_eq!(storage.config().cookie().name(), "sid");
/// # Ok(())
/// # }
/// ```
pub struct KeyedStorage<B> {
    backend: B,
    config: SessionConfig,
    prefix: KeyPrefix,
    key_factory: Option<Arc<dyn Fn() -> Result<Identity> + Send + Sync>>,
    hash_identities: bool,
    users: Option<UserIndex>,
    queues: Queues,
}

impl<B: Backend> KeyedStorage<B> {
    /// Keeps sessions in `backend`, with the default cookie settings.
    pub fn new(backend: B) -> Self {
        Self {
            backend,
            config: SessionConfig::default(),
            prefix: KeyPrefix::default(),
            key_factory: None,
            hash_identities: false,
            users: None,
            queues: Queues::default(),
        }
    }

    /// Uses these cookie settings in place of the default ones.
    #[must_use]
    pub fn with_cookie(mut self, cookie: CookieSettings) -> Self {
        self.config = self.config.with_cookie(cookie);
        self
    }

    /// Stores records through `codec` in place of plain JSON.
    #[must_use]
    pub fn with_codec(mut self, codec: impl Codec) -> Self {
        self.config = self.config.with_codec(codec);
        self
    }

    /// Takes the time from `clock` in place of the operating system. A backend that has a clock of
    /// its own, such as [`MemoryBackend`], needs it separately.
    #[must_use]
    pub fn with_clock(mut self, clock: impl Clock) -> Self {
        self.config = self.config.with_clock(clock);
        self
    }

    /// Draws identities with `factory` in place of [`Identity::random`].
    ///
    /// Identities must be impossible to guess, with about 128 random bits, and must never repeat.
    /// If they can contain a `_`, do not use the cookie names `a` and `a_b` in one store. An error
    /// of the factory ends the save.
    #[must_use]
    pub fn with_key_factory(
        mut self,
        factory: impl Fn() -> Result<Identity> + Send + Sync + 'static,
    ) -> Self {
        self.key_factory = Some(Arc::new(factory));
        self.config = self.config.with_key_factory();
        self
    }

    /// Sets whether keys contain the SHA-256 of the identity in place of the identity.
    ///
    /// A reader of the store then cannot log in with its content. A Python service cannot share
    /// such a store. Default: false.
    #[must_use]
    pub fn hash_identities(mut self, hash: bool) -> Self {
        self.hash_identities = hash;
        self
    }

    /// Begins every key in the store with `prefix`, such as `shop:`. Default: none.
    ///
    /// Applications that share a store, and whose cookies have one name, keep their sessions apart
    /// with it. The key of a session is then `shop:sid_<identity>`, and that of an index of a user
    /// `shop:@sid_<hash>`. A prefix that ends with `:` never collides with the name of a cookie
    /// of this library, which has no `:`. A Python service's cookie may have one.
    ///
    /// aiohttp_session has no such setting, so a Python service cannot share the sessions. A prefix
    /// changes every key: setting or changing it logs everybody out.
    ///
    /// Call it after [`with_cookie`](Self::with_cookie), so that it checks the length with the
    /// cookie's name. In the other order, the first load returns the error.
    ///
    /// # Errors
    /// [`ErrorKind::Settings`] if `prefix` is longer than 100 bytes, is longer than 121 bytes
    /// together with the cookie's name, or holds anything but printable ASCII without spaces and
    /// `@*?[]\`.
    pub fn with_key_prefix(mut self, prefix: &str) -> Result<Self> {
        self.prefix = KeyPrefix::parse(prefix)?;
        self.prefix.check(self.config.cookie().name())?;
        Ok(self)
    }

    /// Keeps an index of the sessions of each user, so that [`UserSessions`](crate::UserSessions)
    /// can list and end them. Default: none.
    ///
    /// `index` is the session key whose value identifies the user, or a [`UserIndex`] with a limit.
    /// Handlers do not change: `session.insert("user", 42)` is a login. A save that gives a session
    /// another user also moves it to a fresh identity.
    ///
    /// The index of a user is one more record of the store. Its key is `@`, the cookie's name, `_`
    /// and the SHA-256 of the user's value. A key prefix comes before the `@`. Reading and writing
    /// a session cost nothing more. A login costs one read and one write more.
    ///
    /// Every process that shares the store needs the same index. A session is listed at its first
    /// write by a process that has the index. Do not give the index another key while sessions
    /// live.
    #[must_use]
    pub fn with_user_index(mut self, index: impl Into<UserIndex>) -> Self {
        self.users = Some(index.into());
        self
    }

    /// Borrows the backend.
    pub fn backend(&self) -> &B {
        &self.backend
    }

    /// Returns the identity that a cookie's value spells; `None` if it has another shape.
    fn parse(&self, cookie: &str) -> Option<Identity> {
        Identity::parse(cookie).filter(|identity| self.accepts(identity))
    }

    /// Returns whether this storage could have issued `identity`.
    fn accepts(&self, identity: &Identity) -> bool {
        self.config.accepts(identity.as_str())
    }

    /// Returns where the store keeps the session of `identity`.
    fn address(&self, identity: &Identity) -> Address {
        let suffix = if self.hash_identities {
            identity.sha256(64).into()
        } else {
            identity.text()
        };
        self.address_of(suffix)
    }

    fn address_of(&self, suffix: Arc<str>) -> Address {
        let prefix = self.prefix.as_str();
        let name = self.config.cookie().name();
        let mut key = String::with_capacity(prefix.len() + name.len() + 1 + suffix.len());
        key.push_str(prefix);
        key.push_str(name);
        key.push('_');
        key.push_str(&suffix);
        Address { key, suffix }
    }

    fn draw(&self) -> Result<Identity> {
        match &self.key_factory {
            None => Identity::random(),
            Some(factory) => factory(),
        }
    }

    fn unavailable(why: &'static str) -> Error {
        Error::with_message(ErrorKind::Unavailable, why)
    }
}

/// Where a store keeps a session.
#[derive(Clone)]
struct Address {
    key: String,
    /// What follows the cookie's name in the key. The queues go by it.
    suffix: Arc<str>,
}

#[async_trait]
impl<B: Backend> Storage for KeyedStorage<B> {
    fn config(&self) -> &SessionConfig {
        &self.config
    }

    async fn load(&self, cookies: &[&str]) -> Result<Session> {
        self.load_session(cookies).await
    }

    async fn save(&self, session: &Session) -> Result<CookieChange> {
        self.save_session(session).await
    }

    fn users(&self) -> Option<&dyn Users> {
        self.users.is_some().then_some(self)
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
            .field("config", &self.config)
            .field("prefix", &self.prefix.as_str())
            .field("hash_identities", &self.hash_identities)
            .field("users", &self.users)
            .finish_non_exhaustive()
    }
}
