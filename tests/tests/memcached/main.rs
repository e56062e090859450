//! Sessions in memcached: the conformance suites, and what only memcached does.
#![allow(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "these are tests"
)]

use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{LazyLock, Mutex};
use std::time::{Duration, UNIX_EPOCH};

use session_core::keyed::{Backend as _, Found, OnlyIf, Outcome, Stored, Write};
use session_core::{CookieSettings, ErrorKind, ManualClock, Storage};
use session_core::{
    backend_conformance, full_backend_conformance, keyed_conformance, users_conformance,
};
use session_memcached::{MemcachedBackend, MemcachedStorage};
use session_tests::memcached::MemcachedServer;

mod idle;
mod memory;
mod scripted;
mod versions;

/// An empty JSON object that is not Python's `{}`.
const TOMBSTONE: &str = "{ }";

const MINUTE: Duration = Duration::from_secs(60);

const OUT_OF_MEMORY: &str = "SERVER_ERROR out of memory storing object";

/// A busy machine is no failure.
const PATIENCE: Duration = Duration::from_secs(20);

static TCP: LazyLock<MemcachedServer> = LazyLock::new(MemcachedServer::start);
static SOCKET: LazyLock<MemcachedServer> = LazyLock::new(MemcachedServer::start_on_socket);

#[tokio::test]
async fn a_check_tries_sessions_and_the_index() {
    let storage = memcached_of_users(CookieSettings::default(), ManualClock::at(UNIX_EPOCH));
    storage.await.check().await.unwrap();
    let mut server = MemcachedServer::start();
    let storage = MemcachedStorage::new(backend(&server));
    storage.check().await.unwrap();
    server.kill();
    let error = storage.check().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
}

async fn memcached(cookie: CookieSettings, clock: ManualClock) -> MemcachedStorage {
    MemcachedStorage::new(memcached_backend().await)
        .with_cookie(cookie)
        .with_clock(clock)
}

async fn memcached_hashed(cookie: CookieSettings, clock: ManualClock) -> MemcachedStorage {
    memcached(cookie, clock).await.hash_identities(true)
}

async fn memcached_of_users(cookie: CookieSettings, clock: ManualClock) -> MemcachedStorage {
    memcached(cookie, clock).await.with_user_index("user")
}

async fn memcached_of_users_hashed(cookie: CookieSettings, clock: ManualClock) -> MemcachedStorage {
    memcached_hashed(cookie, clock)
        .await
        .with_user_index("user")
}

async fn memcached_backend() -> MemcachedBackend {
    backend(&TCP)
}

async fn memcached_backend_on_a_socket() -> MemcachedBackend {
    backend(&SOCKET)
}

fn backend(server: &MemcachedServer) -> MemcachedBackend {
    let backend = MemcachedBackend::open(&server.address()).unwrap();
    backend.with_timeout(PATIENCE)
}

keyed_conformance!(memcached);
keyed_conformance!(memcached_hashed);
users_conformance!(memcached_of_users);
users_conformance!(memcached_of_users_hashed);
backend_conformance!(memcached_backend);
backend_conformance!(memcached_backend_on_a_socket);
full_backend_conformance!(full_memcached);

/// Makes a backend of a server of its own, which evicts nothing.
async fn full_memcached() -> MemcachedBackend {
    /// The servers run until the tests end.
    static SERVERS: Mutex<Vec<MemcachedServer>> = Mutex::new(Vec::new());
    let server = MemcachedServer::start_with(&["-M", "-m", "4"]);
    let backend = backend(&server);
    SERVERS.lock().unwrap().push(server);
    backend
}

/// Nothing is lost silently: neither the change, whose request is told, nor what was stored.
#[tokio::test]
async fn p8_a_session_over_what_memcached_takes_is_too_large_and_the_stored_one_stays() {
    let storage = MemcachedStorage::new(memcached_backend().await);
    let session = storage.load(&[]).await.unwrap();
    session.insert("k", 1).unwrap();
    storage.save(&session).await.unwrap();
    let identity = session.identity().unwrap();

    session.insert("big", "x".repeat(1 << 20)).unwrap();
    let error = storage.save(&session).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge, "{error:?}");
    let stored = storage.load(&[identity.as_str()]).await.unwrap();
    assert_eq!(stored.keys(), ["k"]);

    let new = storage.load(&[]).await.unwrap();
    new.insert("big", "x".repeat(1 << 20)).unwrap();
    let error = storage.save(&new).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge, "{error:?}");
}

/// memcached takes a time beyond January 2038 for one that is over.
#[tokio::test]
async fn a_lifetime_of_any_length_is_none_that_is_over() {
    const YEAR: u64 = 365 * 24 * 3600;
    for years in [1, 11, 12, 20, 100] {
        let cookie = CookieSettings::builder("sid").max_age(Duration::from_secs(years * YEAR));
        let storage = MemcachedStorage::new(memcached_backend().await);
        let storage = storage.with_cookie(cookie.build().unwrap());
        let session = storage.load(&[]).await.unwrap();
        for change in ["created", "replaced"] {
            session.insert(change, true).unwrap();
            storage.save(&session).await.unwrap();
            let identity = session.identity().unwrap();
            let stored = storage.load(&[identity.as_str()]).await.unwrap();
            assert!(stored.contains_key(change), "{years} years, {change}");
        }
    }
}

/// A key of the length that sessions have.
fn new_key() -> String {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("AIOHTTP_SESSION_{count:032x}")
}

fn record(value: &str) -> Write {
    Write::record(value.to_owned(), Some(MINUTE))
}

fn tombstone() -> Write {
    Write::tombstone(TOMBSTONE, MINUTE)
}

fn written(value: &str) -> Outcome {
    Outcome::Written(Stored::new(value.to_owned()))
}

async fn create(backend: &MemcachedBackend, key: &str, value: &str) {
    let outcome = backend.write(key, record(value), OnlyIf::Missing).await;
    assert_eq!(outcome.unwrap(), written(value));
}

async fn read(backend: &MemcachedBackend, key: &str) -> Stored {
    match backend.read(key).await.unwrap() {
        Found::Value(stored) => stored,
        other => panic!("no record: {other:?}"),
    }
}

#[track_caller]
fn assert_found(outcome: &Outcome, value: &str) {
    match outcome {
        Outcome::Found(Found::Value(stored)) => {
            assert_eq!(stored.value(), value);
            assert!(stored.version().is_some());
        }
        other => panic!("no conflict: {other:?}"),
    }
}

/// All tests run on the server that the environment names.
#[test]
fn the_server_is_the_chosen_one() {
    let program = std::env::var("SESSION_TEST_MEMCACHED");
    let program = program.unwrap_or_else(|_| "memcached".to_owned());
    let output = Command::new(program).arg("--version").output().unwrap();
    // `memcached 1.6.18`
    let text = String::from_utf8(output.stdout).unwrap();
    let version = text.trim().strip_prefix("memcached ").unwrap();
    let response = TCP.ask("version", "\r\n");
    assert_eq!(response, format!("VERSION {version}\r\n"));
}
