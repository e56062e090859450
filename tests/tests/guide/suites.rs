//! How the guide's page on backends runs the test suites. A test compares the two.

use super::backend::MapBackend;
use session_core::{CookieSettings, KeyedStorage, ManualClock};
use session_core::{backend_conformance, full_backend_conformance, keyed_conformance};
use std::time::Duration;

/// Longer than in production: a test machine may be busy.
const PATIENCE: Duration = Duration::from_secs(20);

async fn map() -> MapBackend {
    MapBackend::new(64 << 20, PATIENCE)
}

async fn full_map() -> MapBackend {
    MapBackend::new(1 << 20, PATIENCE)
}

async fn map_storage(cookie: CookieSettings, clock: ManualClock) -> KeyedStorage<MapBackend> {
    KeyedStorage::new(map().await)
        .with_cookie(cookie)
        .with_clock(clock)
}

backend_conformance!(map); // the two operations and bound()
full_backend_conformance!(full_map); // a store of a megabyte, which the rules fill
keyed_conformance!(map_storage); // sessions in it
