//! `KeyedStorage::check` on a store that works, and on stores that do not keep their word.

use std::sync::Mutex;

use session_core::keyed::{Backend, Found, OnlyIf, Outcome, Stored, Write};
use session_core::{
    CookieSettings, ErrorKind, KeyedStorage, MemoryBackend, MemoryStorage, Result, Storage as _,
};

#[tokio::test]
async fn a_store_that_works_passes() {
    MemoryStorage::default().check().await.unwrap();
    let with_index = MemoryStorage::default().with_user_index("user");
    with_index.check().await.unwrap();
}

/// What a store does not do.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Broken {
    Reads,
    Replaces,
    Compares,
    Index,
}

/// A store in memory that acknowledges what it does not do.
#[derive(Debug)]
struct Liar {
    store: MemoryBackend,
    broken: Broken,
    keys: Mutex<Vec<String>>,
}

impl Backend for Liar {
    async fn read(&self, key: &str) -> Result<Found> {
        match self.broken {
            Broken::Reads => Ok(Found::Missing),
            _ => self.store.read(key).await,
        }
    }

    async fn write(&self, key: &str, write: Write, only_if: OnlyIf<'_>) -> Result<Outcome> {
        self.keys.lock().unwrap().push(key.to_owned());
        let is_replace = matches!(only_if, OnlyIf::Unchanged(_));
        if self.broken == Broken::Index && key.starts_with('@') {
            return Ok(Outcome::Written(Stored::new(write.into_value())));
        }
        if is_replace && self.broken == Broken::Replaces {
            return Ok(Outcome::Written(Stored::new(write.into_value())));
        }
        let outcome = self.store.write(key, write.clone(), only_if).await?;
        if self.broken == Broken::Compares && matches!(outcome, Outcome::Found(_)) {
            return Ok(Outcome::Written(Stored::new(write.into_value())));
        }
        Ok(outcome)
    }

    async fn bound<F: Future + Send>(&self, waiting: F, times: u32) -> Result<F::Output> {
        self.store.bound(waiting, times).await
    }
}

#[tokio::test]
async fn a_store_that_does_not_keep_its_word_is_found() {
    for broken in [
        Broken::Reads,
        Broken::Replaces,
        Broken::Compares,
        Broken::Index,
    ] {
        let storage = KeyedStorage::new(Liar {
            store: MemoryBackend::new(),
            broken,
            keys: Mutex::default(),
        });
        let storage = storage.with_user_index("user");
        let error = storage.check().await.expect_err("it is broken");
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{broken:?}");
    }
}

/// The keys are those of sessions and of an index: rights to them are enough, and needed.
#[tokio::test]
async fn a_check_tries_keys_like_those_of_sessions_and_of_an_index() {
    for (has_index, expected) in [
        (false, &["AIOHTTP_SESSION_"][..]),
        (true, &["AIOHTTP_SESSION_", "@AIOHTTP_SESSION_"]),
    ] {
        let storage = KeyedStorage::new(Liar {
            store: MemoryBackend::new(),
            broken: Broken::Index,
            keys: Mutex::default(),
        });
        let storage = if has_index {
            storage.with_user_index("user")
        } else {
            storage
        };
        assert_eq!(storage.check().await.is_err(), has_index);
        let keys = storage.backend().keys.lock().unwrap();
        let mut starts: Vec<&str> = keys
            .iter()
            .map(|key| &key[..=key.rfind('_').unwrap()])
            .collect();
        starts.dedup();
        assert_eq!(starts, expected);
    }
}

/// A store whose connection sends each write twice, as that of a Redis Cluster does if a response
/// is lost. The result is that of the second one.
#[derive(Debug)]
struct Twice(MemoryBackend);

impl Backend for Twice {
    async fn read(&self, key: &str) -> Result<Found> {
        self.0.read(key).await
    }

    async fn write(&self, key: &str, write: Write, only_if: OnlyIf<'_>) -> Result<Outcome> {
        self.0.write(key, write.clone(), only_if).await?;
        self.0.write(key, write, only_if).await
    }

    async fn bound<F: Future + Send>(&self, waiting: F, times: u32) -> Result<F::Output> {
        self.0.bound(waiting, times).await
    }
}

#[tokio::test]
async fn a_check_knows_every_write_that_the_connection_repeated() {
    let storage = KeyedStorage::new(Twice(MemoryBackend::new()));
    storage.with_user_index("user").check().await.unwrap();
}

/// Otherwise the program starts, and each of its requests fails.
#[tokio::test]
async fn a_check_finds_a_prefix_that_is_too_long_for_the_cookies_name() {
    let storage = MemoryStorage::default();
    let storage = storage.with_key_prefix(&"p".repeat(100)).unwrap();
    let cookie = CookieSettings::builder("n".repeat(100)).build().unwrap();
    let storage = storage.with_cookie(cookie);
    let error = storage.load(&[]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Settings);
    let error = storage.check().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Settings);
}
