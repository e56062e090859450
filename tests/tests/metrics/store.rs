//! The stores of the script.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use session_core::keyed::{Backend as _, OnlyIf, Outcome, Write};
use session_core::{CookieSettings, KeyedStorage, MemoryBackend, Storage, UserIndex};
use session_redis::{RedisBackend, RedisStorage};
use session_tests::redis::RedisServer;
use session_tests::stores::{Call, Failing, Gate, When};
use session_tests::wrap_backend;

/// A store that can be down, and storages in it.
#[derive(Clone)]
pub(crate) enum Store {
    Memory(Memory),
    Redis(Arc<Mutex<RedisServer>>),
}

#[derive(Clone, Debug)]
pub(crate) struct Memory {
    pub(crate) inner: Arc<Failing<Gate<MemoryBackend>>>,
}

impl Memory {
    pub(crate) fn new() -> Self {
        let inner = Arc::new(Failing::new(Gate::new(MemoryBackend::new())));
        Self { inner }
    }

    async fn around<T>(&self, _: Call, _: &str, inner: impl Future<Output = T>) -> T {
        inner.await
    }
}

wrap_backend!(Memory);

impl Store {
    pub(crate) fn all() -> [Self; 2] {
        [
            Self::Memory(Memory::new()),
            Self::Redis(Arc::new(Mutex::new(RedisServer::start()))),
        ]
    }

    /// Makes a storage whose users have one session each.
    pub(crate) fn storage(&self) -> Arc<dyn Storage> {
        let cookie = CookieSettings::builder("sid");
        let cookie = cookie.max_age(Duration::from_secs(3600)).build().unwrap();
        let index = UserIndex::new("user").limit(1);
        match self {
            Self::Memory(memory) => Arc::new(
                KeyedStorage::new(memory.clone())
                    .with_cookie(cookie)
                    .with_user_index(index),
            ),
            Self::Redis(server) => {
                let backend = RedisBackend::open(&server.lock().unwrap().url()).unwrap();
                // A busy machine is no failure.
                let backend = backend.with_timeout(Duration::from_secs(20));
                let storage = RedisStorage::new(backend);
                Arc::new(storage.with_cookie(cookie).with_user_index(index))
            }
        }
    }

    /// Stores another program's data under a new key.
    pub(crate) async fn put(&self, key: &str, value: &'static str) {
        let write = Write::record(value, None);
        let written = match self {
            Self::Memory(memory) => memory.write(key, write, OnlyIf::Missing).await,
            Self::Redis(server) => {
                let backend = RedisBackend::open(&server.lock().unwrap().url()).unwrap();
                backend.write(key, write, OnlyIf::Missing).await
            }
        };
        assert!(matches!(written, Ok(Outcome::Written(_))), "{written:?}");
    }

    /// From now on every call fails.
    pub(crate) fn go_down(&self) {
        match self {
            Self::Memory(memory) => memory.inner.fail(0..=usize::MAX, When::Before),
            Self::Redis(server) => server.lock().unwrap().kill(),
        }
    }

    /// The opposite. Redis is then empty.
    pub(crate) fn come_back(&self) {
        match self {
            Self::Memory(memory) => drop(memory.inner.heal()),
            Self::Redis(server) => server.lock().unwrap().restart(),
        }
    }
}
