//! The storages under attack, each with what a test needs to know of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use session_cookie::{EncryptedCookieStorage, Key, NaClCookieStorage, SimpleCookieStorage};
use session_core::{
    Backend, CookieSettings, Create, DEFAULT_NAME, Identity, KeyedStorage, ManualClock,
    MemoryBackend, Replace, Storage, Versioned,
};
use session_tests::real::Lease;
use session_tests::server::Server;

use crate::tokens::{Token, boxed};
use crate::{HOUR, KEY, NOW, at, handler, sha256};

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
    Memory(Counting),
    Real(Box<Lease>),
}

impl Subject {
    pub(crate) async fn new(kind: Kind) -> Self {
        let settings = CookieSettings::builder(DEFAULT_NAME).max_age(HOUR);
        Self::with(kind, settings.build().unwrap()).await
    }

    pub(crate) async fn with(kind: Kind, cookie: CookieSettings) -> Self {
        let clock = ManualClock::at(at(NOW));
        let (store, time) = (Counting::default(), clock.clone());
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
                    store: Store::Real(Box::new(lease)),
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

    /// Returns the numbers of reads, creates, replaces and deletes since this was asked last: of a real
    /// server's commands, as the server counts them.
    pub(crate) fn take_counts(&self) -> [usize; 4] {
        match &self.store {
            Store::Memory(store) => store.take_counts(),
            Store::Real(store) => {
                let calls = store.take_calls();
                [calls.read, calls.create, calls.replace, calls.delete]
            }
        }
    }

    /// Returns how many records there are.
    pub(crate) fn records(&self) -> usize {
        match &self.store {
            Store::Memory(store) => store.0.memory.len(),
            Store::Real(store) => store.keys().len(),
        }
    }

    pub(crate) async fn serve(&self) -> Server {
        Server::start(self.storage.clone(), handler).await
    }

    /// Returns the cookie value, not quoted, of a session whose stored payload is `payload`.
    pub(crate) async fn seal(&self, payload: &[u8]) -> Option<String> {
        Some(match self.kind {
            Kind::simple => String::from_utf8(payload.to_vec()).ok()?,
            Kind::fernet => Token::new(payload).text(),
            Kind::nacl => boxed(&KEY, payload),
            _ => {
                let identity = Identity::random().unwrap().as_str().to_owned();
                let key = if self.kind == Kind::hashed {
                    format!("{DEFAULT_NAME}_{}", sha256(&identity))
                } else {
                    format!("{DEFAULT_NAME}_{identity}")
                };
                let value = Bytes::copy_from_slice(payload);
                match &self.store {
                    Store::Real(store) => store.put(&key, payload),
                    Store::Memory(store) => {
                        let created = store.0.memory.create(&key, value, None).await;
                        assert_eq!(created.unwrap(), Create::Done);
                    }
                }
                identity
            }
        })
    }
}

/// [`MemoryBackend`] with its calls counted; clones are the same store. Its own clock stands still,
/// so that what expires is what the storage finds expired.
#[derive(Clone, Debug)]
pub(crate) struct Counting(Arc<Counted>);

#[derive(Debug)]
struct Counted {
    memory: MemoryBackend,
    calls: [AtomicUsize; 4],
}

impl Default for Counting {
    fn default() -> Self {
        Self(Arc::new(Counted {
            memory: MemoryBackend::new().with_clock(ManualClock::at(at(NOW))),
            calls: Default::default(),
        }))
    }
}

impl Counting {
    fn take_counts(&self) -> [usize; 4] {
        std::array::from_fn(|call| self.0.calls[call].swap(0, Ordering::SeqCst))
    }

    fn count(&self, call: usize) -> &MemoryBackend {
        self.0.calls[call].fetch_add(1, Ordering::SeqCst);
        &self.0.memory
    }
}

impl Backend for Counting {
    async fn read(&self, key: &str) -> session_core::Result<Option<Versioned>> {
        self.count(0).read(key).await
    }

    async fn create(
        &self,
        key: &str,
        value: Bytes,
        ttl: Option<Duration>,
    ) -> session_core::Result<Create> {
        self.count(1).create(key, value, ttl).await
    }

    async fn replace(
        &self,
        key: &str,
        value: Bytes,
        ttl: Option<Duration>,
        was: &Versioned,
    ) -> session_core::Result<Replace> {
        self.count(2).replace(key, value, ttl, was).await
    }

    async fn delete(
        &self,
        key: &str,
        was: Option<&session_core::Versioned>,
    ) -> session_core::Result<Replace> {
        self.count(3).delete(key, was).await
    }
}
