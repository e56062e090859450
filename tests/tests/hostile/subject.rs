//! The storages under attack, each with what a test needs to know of it.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;
use session_cookie::{EncryptedCookieStorage, Key, NaClCookieStorage, SimpleCookieStorage};
use session_core::keyed::{Backend as _, Found, OnlyIf, Outcome, Write};
use session_core::{
    CookieSettings, DEFAULT_NAME, Identity, KeyedStorage, ManualClock, MemoryBackend, Result,
    Storage,
};
use session_tests::real::Lease;
use session_tests::server::Server;
use session_tests::stores::{Call, Calls, Counting};
use session_tests::wrap_backend;

use crate::ADAPTER;
use crate::suite::{HOUR, KEY, NOW, at, handler, sha256};
use crate::tokens::{Token, boxed};

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(non_camel_case_types, reason = "they name the test modules")]
pub(crate) enum Kind {
    simple,
    fernet,
    nacl,
    memory,
    hashed,
    redis,
    memcached,
}

impl Kind {
    pub(crate) const KEYED: [Self; 4] = [Self::memory, Self::hashed, Self::redis, Self::memcached];

    pub(crate) const ALL: [Self; 7] = [
        Self::simple,
        Self::fernet,
        Self::nacl,
        Self::memory,
        Self::hashed,
        Self::redis,
        Self::memcached,
    ];

    pub(crate) fn is_keyed(self) -> bool {
        Self::KEYED.contains(&self)
    }
}

/// A storage, and what a test needs to know of it.
pub(crate) struct Subject {
    pub(crate) kind: Kind,
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) clock: ManualClock,
    store: Store,
}

/// Where the records are.
enum Store {
    Memory(Shared),
    Real(Arc<Lease>),
}

impl Subject {
    pub(crate) async fn new(kind: Kind) -> Self {
        let settings = CookieSettings::builder(DEFAULT_NAME).max_age(HOUR);
        Self::with(kind, settings.build().unwrap()).await
    }

    pub(crate) async fn with(kind: Kind, cookie: CookieSettings) -> Self {
        let clock = ManualClock::at(at(NOW));
        let (store, time) = (Shared::default(), clock.clone());
        let keyed = KeyedStorage::new(store.clone());
        let storage: Arc<dyn Storage> = match kind {
            Kind::simple => Arc::new(
                SimpleCookieStorage::unprotected()
                    .with_cookie(cookie)
                    .with_clock(time),
            ),
            Kind::fernet => Arc::new(
                EncryptedCookieStorage::new(Key::from(KEY))
                    .with_cookie(cookie)
                    .with_clock(time),
            ),
            Kind::nacl => Arc::new(
                NaClCookieStorage::new(Key::from(KEY))
                    .with_cookie(cookie)
                    .with_clock(time),
            ),
            Kind::memory => Arc::new(keyed.with_cookie(cookie).with_clock(time)),
            Kind::hashed => Arc::new(
                keyed
                    .with_cookie(cookie)
                    .with_clock(time)
                    .hash_identities(true),
            ),
            Kind::redis | Kind::memcached => {
                let lease = Lease::of(if kind == Kind::redis {
                    "redis"
                } else {
                    "memcached"
                });
                let storage = lease.storage(cookie, Some(time), false).await;
                lease.take_calls();
                return Self {
                    kind,
                    storage,
                    clock,
                    store: Store::Real(Arc::new(lease)),
                };
            }
        };
        Self {
            kind,
            storage,
            clock,
            store: Store::Memory(store),
        }
    }

    /// Returns the calls since the last `take_calls`. A real server counts its own commands: a
    /// tombstone is then a create or an update, and never an end.
    pub(crate) fn take_calls(&self) -> Calls {
        match &self.store {
            Store::Memory(store) => store.inner.take(),
            Store::Real(store) => store.take_calls(),
        }
    }

    /// Returns how many keys the store holds, tombstones included.
    pub(crate) fn keys(&self) -> usize {
        match &self.store {
            Store::Memory(store) => store.inner.inner().len(),
            Store::Real(store) => store.keys().len(),
        }
    }

    /// Serves it. A test may drop the subject before the server, which then still keeps a real
    /// store from other tests.
    pub(crate) async fn serve(&self) -> Server {
        let lease = match &self.store {
            Store::Real(lease) => Some(lease.clone()),
            Store::Memory(_) => None,
        };
        let handler = move |request| {
            let lease = lease.clone();
            async move {
                let response = handler(request).await;
                drop(lease);
                response
            }
        };
        ADAPTER.start(self.storage.clone(), handler).await
    }

    /// Returns the cookie value, not quoted, of a session whose stored payload is `payload`.
    pub(crate) async fn seal(&self, payload: &[u8]) -> Option<String> {
        Some(match self.kind {
            Kind::simple => String::from_utf8(payload.to_vec()).ok()?,
            Kind::fernet => Token::new(payload).text(),
            Kind::nacl => boxed(&KEY, payload),
            _ => {
                let identity = Identity::random().unwrap().as_str().to_owned();
                self.plant(&identity, payload).await;
                identity
            }
        })
    }

    /// Stores `payload` under the key of `identity`.
    pub(crate) async fn plant(&self, identity: &str, payload: &[u8]) {
        let key = self.key(identity);
        match &self.store {
            Store::Real(store) => store.put(&key, payload),
            Store::Memory(store) => {
                let write = Write::record(Bytes::copy_from_slice(payload), None);
                let memory = store.inner.inner();
                let outcome = memory.write(&key, write, OnlyIf::Missing).await;
                assert!(matches!(outcome, Ok(Outcome::Written(_))));
            }
        }
    }

    /// Returns the bytes under the key of `identity`.
    pub(crate) async fn stored(&self, identity: &str) -> Option<Vec<u8>> {
        let key = self.key(identity);
        match &self.store {
            Store::Real(store) => store.get(&key),
            Store::Memory(store) => match store.inner.inner().read(&key).await.unwrap() {
                Found::Value(stored) => Some(stored.value().to_vec()),
                _ => None,
            },
        }
    }

    fn key(&self, identity: &str) -> String {
        let name = self.storage.config().cookie().name();
        if self.kind == Kind::hashed {
            format!("{name}_{}", sha256(identity))
        } else {
            format!("{name}_{identity}")
        }
    }
}

/// [`MemoryBackend`] with its calls counted. Clones are the same store. Its own clock stands still,
/// so that only the storage decides what has expired.
#[derive(Clone)]
pub(crate) struct Shared {
    inner: Arc<Counting<MemoryBackend>>,
}

/// Shows the memory, and not the keys that the counter remembers.
impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.inner().fmt(f)
    }
}

impl Default for Shared {
    fn default() -> Self {
        let memory = MemoryBackend::new().with_clock(ManualClock::at(at(NOW)));
        Self {
            inner: Arc::new(Counting::new(memory)),
        }
    }
}

impl Shared {
    async fn around<T>(
        &self,
        _: Call,
        _: &str,
        inner: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        inner.await
    }
}

wrap_backend!(Shared);

/// Returns what `count` reads and nothing else are.
pub(crate) fn reads(count: usize) -> Calls {
    Calls {
        read: count,
        ..Calls::default()
    }
}
