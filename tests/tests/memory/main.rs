//! The conformance suites on sessions in memory.
#![allow(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "these are tests"
)]

mod check;

use session_core::{Codec, CookieSettings, ManualClock, MemoryBackend, MemoryStorage, Result};
use session_core::{
    backend_conformance, full_backend_conformance, keyed_conformance, users_conformance,
};

async fn memory(cookie: CookieSettings, clock: ManualClock) -> MemoryStorage {
    MemoryStorage::new(MemoryBackend::new().with_clock(clock.clone()))
        .with_cookie(cookie)
        .with_clock(clock)
}

async fn memory_hashed(cookie: CookieSettings, clock: ManualClock) -> MemoryStorage {
    memory(cookie, clock).await.hash_identities(true)
}

async fn memory_with_prefix(cookie: CookieSettings, clock: ManualClock) -> MemoryStorage {
    memory(cookie, clock)
        .await
        .with_key_prefix("shop:")
        .unwrap()
}

async fn memory_with_codec(cookie: CookieSettings, clock: ManualClock) -> MemoryStorage {
    memory(cookie, clock).await.with_codec(Masked)
}

async fn memory_of_users(cookie: CookieSettings, clock: ManualClock) -> MemoryStorage {
    memory(cookie, clock).await.with_user_index("user")
}

async fn memory_of_users_hashed(cookie: CookieSettings, clock: ManualClock) -> MemoryStorage {
    memory_of_users(cookie, clock).await.hash_identities(true)
}

async fn memory_of_users_with_codec(cookie: CookieSettings, clock: ManualClock) -> MemoryStorage {
    memory_of_users(cookie, clock).await.with_codec(Masked)
}

async fn memory_of_users_with_prefix(cookie: CookieSettings, clock: ManualClock) -> MemoryStorage {
    memory_with_prefix(cookie, clock)
        .await
        .with_user_index("user")
}

async fn memory_backend() -> MemoryBackend {
    MemoryBackend::new()
}

async fn full_memory_backend() -> MemoryBackend {
    MemoryBackend::with_capacity(1 << 20)
}

/// Stores records as bytes that are not JSON.
#[derive(Debug)]
struct Masked;

impl Codec for Masked {
    fn encode(&self, mut record: Vec<u8>) -> Result<Vec<u8>> {
        record.reverse();
        for byte in &mut record {
            *byte ^= 0xa5;
        }
        Ok(record)
    }

    fn decode(&self, stored: &[u8]) -> Option<Vec<u8>> {
        Some(stored.iter().rev().map(|byte| byte ^ 0xa5).collect())
    }
}

keyed_conformance!(memory);
keyed_conformance!(memory_hashed);
keyed_conformance!(memory_with_codec);
keyed_conformance!(memory_with_prefix);
users_conformance!(memory_of_users);
users_conformance!(memory_of_users_hashed);
users_conformance!(memory_of_users_with_codec);
users_conformance!(memory_of_users_with_prefix);
backend_conformance!(memory_backend, no_timer);
full_backend_conformance!(full_memory_backend);
