//! The contract of [`Backend`] as tests, on its four primitives.
//!
//! ```
//! # type MyBackend = session_core::MemoryBackend;
//! async fn mine() -> MyBackend {
//!     MyBackend::new()
//! }
//!
//! session_tests::backend_conformance!(mine);
//! # fn main() {}
//! ```

use std::time::Duration;

use bytes::Bytes;
use session_core::{Backend, Create, Identity, Replace, Versioned};
use tokio::task::JoinSet;
use tokio::time::sleep;

/// Makes backends; an `async fn() -> impl Backend` is one. All that it makes may share one server.
pub trait Maker: Send + Sync + 'static {
    /// What it makes.
    type Backend: Backend;

    /// Makes a backend.
    fn make(&self) -> impl Future<Output = Self::Backend> + Send;
}

impl<F, Made, B> Maker for F
where
    F: Fn() -> Made + Send + Sync + 'static,
    Made: Future<Output = B> + Send,
    B: Backend,
{
    type Backend = B;

    fn make(&self) -> impl Future<Output = B> + Send {
        self()
    }
}

/// Makes a `#[tokio::test]` of each rule that every backend keeps, in a module of the maker's name.
#[macro_export]
macro_rules! backend_conformance {
    ($maker:ident) => {
        mod $maker {
            use $crate::conformance::backend as every_backend;
            $crate::__rules! { $maker, every_backend,
                what_was_never_stored_is_nothing,
                what_is_created_reads_back,
                creation_never_overwrites,
                a_replacement_needs_what_was_read,
                an_unknown_version_is_a_conflict,
                a_delete_compares,
                a_delete_that_does_not_compare_deletes,
                a_deleted_key_can_be_created,
                of_simultaneous_creators_one_wins,
                of_simultaneous_replacers_one_wins,
                a_record_expires,
                a_replacement_sets_the_time_to_live,
                a_call_that_is_dropped_leaves_nothing_behind,
            }
        }
    };
}

const SECOND: Duration = Duration::from_secs(1);
/// Longer than a record of one second lives, in a store that counts whole seconds.
const OVER: Duration = Duration::from_millis(2200);

fn key() -> String {
    format!("test_{}", Identity::random().unwrap().as_str())
}

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

/// What no store has numbered and nobody stores.
fn unknown() -> Versioned {
    Versioned {
        value: Bytes::new(),
        version: 0,
    }
}

async fn stored(backend: &impl Backend, key: &str) -> Versioned {
    backend.read(key).await.unwrap().expect("nothing is stored")
}

/// Nothing is stored under `key`: all four methods say so, `create` last.
async fn assert_nothing(backend: &impl Backend, key: &str, was: &Versioned) {
    assert!(backend.read(key).await.unwrap().is_none());
    let replaced = backend.replace(key, bytes("x"), None, was).await.unwrap();
    assert!(matches!(replaced, Replace::Gone), "{replaced:?}");
    for was in [Some(was), None] {
        let deleted = backend.delete(key, was).await.unwrap();
        assert!(matches!(deleted, Replace::Gone), "{deleted:?}");
    }
    assert!(backend.read(key).await.unwrap().is_none());
    let created = backend.create(key, bytes("anew"), None).await.unwrap();
    assert_eq!(created, Create::Done);
    assert_eq!(stored(backend, key).await.value, "anew");
}

fn assert_conflict(outcome: &Replace, value: &str) {
    match outcome {
        Replace::Conflict(now) => assert_eq!(now.value, value),
        other => panic!("no conflict: {other:?}"),
    }
}

/// A key that was never stored is nothing to all four methods.
pub async fn what_was_never_stored_is_nothing(make: impl Maker) {
    let backend = make.make().await;
    assert_nothing(&backend, &key(), &unknown()).await;
    let other = Versioned {
        value: bytes("x"),
        version: 7,
    };
    assert_nothing(&backend, &key(), &other).await;
}

/// Keys of every length and values of all bytes come back as they were stored.
pub async fn what_is_created_reads_back(make: impl Maker) {
    let backend = make.make().await;
    let all: Vec<u8> = (0..=255).collect();
    let long: Vec<u8> = all.iter().copied().cycle().take(500_000).collect();
    let values = [
        &b"{}"[..],
        b"\r\nEND\r\n",
        b"END\r\n",
        &all,
        &long,
        b"\xff\xfe",
    ];
    let punctuation = r##"!"#$%&'()*+,-./:;<=>?@[\]^_`{|}~"##;
    for value in values {
        for width in [18, 33, 250] {
            let base = key() + punctuation;
            let key: String = base.chars().rev().cycle().take(width).collect();
            let key = format!("{}{}", &self::key()[5..17], &key[12..]);
            assert_eq!(key.len(), width);
            let value = Bytes::copy_from_slice(value);
            let created = backend.create(&key, value.clone(), None).await.unwrap();
            assert_eq!(created, Create::Done);
            let found = stored(&backend, &key).await;
            assert_eq!(found.value, value);
            let replaced = backend.replace(&key, value.clone(), None, &found).await;
            assert!(matches!(replaced.unwrap(), Replace::Done));
            let found = stored(&backend, &key).await;
            assert_eq!(found.value, value);
            backend.delete(&key, Some(&found)).await.unwrap();
        }
    }
}

/// Creation leaves alone what is there.
pub async fn creation_never_overwrites(make: impl Maker) {
    let backend = make.make().await;
    let key = key();
    for (value, ttl, outcome) in [
        ("first", Some(SECOND * 60), Create::Done),
        ("second", None, Create::Exists),
        ("third", Some(SECOND), Create::Exists),
    ] {
        let created = backend.create(&key, bytes(value), ttl).await.unwrap();
        assert_eq!(created, outcome);
        assert_eq!(stored(&backend, &key).await.value, "first");
    }
    sleep(OVER).await;
    assert_eq!(stored(&backend, &key).await.value, "first");
}

/// A compare-and-swap succeeds on what was read, and afterwards is a conflict that brings what is
/// there, which is enough for the next.
pub async fn a_replacement_needs_what_was_read(make: impl Maker) {
    let backend = make.make().await;
    let key = key();
    backend.create(&key, bytes("1"), None).await.unwrap();
    let was = stored(&backend, &key).await;
    let replaced = backend.replace(&key, bytes("2"), None, &was).await.unwrap();
    assert!(matches!(replaced, Replace::Done));
    let late = backend.replace(&key, bytes("3"), None, &was).await.unwrap();
    assert_conflict(&late, "2");
    assert_eq!(stored(&backend, &key).await.value, "2");
    let Replace::Conflict(now) = late else {
        unreachable!()
    };
    let again = backend.replace(&key, bytes("3"), None, &now).await.unwrap();
    assert!(matches!(again, Replace::Done));
    assert_eq!(stored(&backend, &key).await.value, "3");
}

/// Who does not know what is there is told, by a write and by a delete, and nothing is written.
pub async fn an_unknown_version_is_a_conflict(make: impl Maker) {
    let backend = make.make().await;
    let key = key();
    backend.create(&key, bytes("v"), None).await.unwrap();
    let replaced = backend
        .replace(&key, bytes("x"), None, &unknown())
        .await
        .unwrap();
    assert_conflict(&replaced, "v");
    let deleted = backend.delete(&key, Some(&unknown())).await.unwrap();
    assert_conflict(&deleted, "v");
    let Replace::Conflict(now) = deleted else {
        unreachable!()
    };
    let deleted = backend.delete(&key, Some(&now)).await.unwrap();
    assert!(matches!(deleted, Replace::Done));
}

/// A compare-and-delete deletes what was read, and nothing else.
pub async fn a_delete_compares(make: impl Maker) {
    let backend = make.make().await;
    let key = key();
    backend.create(&key, bytes("1"), None).await.unwrap();
    let was = stored(&backend, &key).await;
    backend.replace(&key, bytes("2"), None, &was).await.unwrap();
    let late = backend.delete(&key, Some(&was)).await.unwrap();
    assert_conflict(&late, "2");
    let now = stored(&backend, &key).await;
    let deleted = backend.delete(&key, Some(&now)).await.unwrap();
    assert!(matches!(deleted, Replace::Done));
    assert_nothing(&backend, &key, &now).await;
}

/// A delete without a version deletes whatever is there.
pub async fn a_delete_that_does_not_compare_deletes(make: impl Maker) {
    let backend = make.make().await;
    let key = key();
    backend.create(&key, bytes("v"), None).await.unwrap();
    let was = stored(&backend, &key).await;
    let deleted = backend.delete(&key, None).await.unwrap();
    assert!(matches!(deleted, Replace::Done));
    assert_nothing(&backend, &key, &was).await;
}

/// What was deleted is nothing; what is created there afterwards is not what was there before.
pub async fn a_deleted_key_can_be_created(make: impl Maker) {
    let backend = make.make().await;
    let key = key();
    backend.create(&key, bytes("1"), None).await.unwrap();
    let was = stored(&backend, &key).await;
    backend.delete(&key, Some(&was)).await.unwrap();
    let created = backend.create(&key, bytes("2"), None).await.unwrap();
    assert_eq!(created, Create::Done);
    let late = backend.replace(&key, bytes("3"), None, &was).await.unwrap();
    assert_conflict(&late, "2");
}

/// Of many who create one key at the same time one does, and the value is that one's.
pub async fn of_simultaneous_creators_one_wins(make: impl Maker) {
    let backend = std::sync::Arc::new(make.make().await);
    let key = key();
    let mut all = JoinSet::new();
    for number in 0..32 {
        let (backend, key) = (backend.clone(), key.clone());
        all.spawn(async move {
            let created = backend.create(&key, bytes(&number.to_string()), None).await;
            (number, created.unwrap())
        });
    }
    let outcomes = all.join_all().await;
    let winners: Vec<_> = outcomes
        .iter()
        .filter(|(_, how)| *how == Create::Done)
        .collect();
    assert_eq!(winners.len(), 1, "{outcomes:?}");
    assert_eq!(
        stored(&*backend, &key).await.value,
        winners[0].0.to_string()
    );
}

/// Of many who replace one value at the same time one does, the others are told whose it is.
pub async fn of_simultaneous_replacers_one_wins(make: impl Maker) {
    let backend = std::sync::Arc::new(make.make().await);
    let key = key();
    backend.create(&key, bytes("begin"), None).await.unwrap();
    let was = stored(&*backend, &key).await;
    let mut all = JoinSet::new();
    for number in 0..32 {
        let (backend, key, was) = (backend.clone(), key.clone(), was.clone());
        all.spawn(async move {
            let value = bytes(&number.to_string());
            (
                number,
                backend.replace(&key, value, None, &was).await.unwrap(),
            )
        });
    }
    let (mut winner, mut told) = (Vec::new(), Vec::new());
    for (number, outcome) in all.join_all().await {
        match outcome {
            Replace::Done => winner.push(number.to_string()),
            Replace::Conflict(now) => told.push(now.value),
            Replace::Gone => panic!("it is there"),
        }
    }
    assert_eq!((winner.len(), told.len()), (1, 31));
    assert!(told.iter().all(|value| *value == winner[0]));
}

/// A record whose time is over is nothing to all four methods.
pub async fn a_record_expires(make: impl Maker) {
    let backend = make.make().await;
    let key = key();
    let created = backend
        .create(&key, bytes("v"), Some(SECOND))
        .await
        .unwrap();
    assert_eq!(created, Create::Done);
    let other = self::key();
    backend
        .create(&other, bytes("v"), Some(SECOND * 60))
        .await
        .unwrap();
    let far = self::key();
    let years = SECOND * 3600 * 24 * 365 * 10;
    backend.create(&far, bytes("v"), Some(years)).await.unwrap();
    sleep(OVER).await;
    assert_nothing(&backend, &key, &unknown()).await;
    assert_eq!(stored(&backend, &other).await.value, "v");
    assert_eq!(stored(&backend, &far).await.value, "v");
}

/// A replacement begins a new time to live: a longer one, a shorter one, none.
pub async fn a_replacement_sets_the_time_to_live(make: impl Maker) {
    let backend = make.make().await;
    let cases = [
        (Some(SECOND), Some(SECOND * 60), true),
        (Some(SECOND), None, true),
        (Some(SECOND * 60), Some(SECOND), false),
        (None, Some(SECOND), false),
    ];
    let mut keys = Vec::new();
    for (first, then, _) in cases {
        // A store that counts whole seconds may end one of a second at any moment.
        let (key, mut done) = (key(), false);
        while !done {
            backend.create(&key, bytes("1"), first).await.unwrap();
            let Some(was) = backend.read(&key).await.unwrap() else {
                continue;
            };
            let replaced = backend.replace(&key, bytes("2"), then, &was).await.unwrap();
            done = matches!(replaced, Replace::Done);
        }
        keys.push(key);
    }
    sleep(OVER).await;
    for (key, (first, then, is_there)) in keys.iter().zip(cases) {
        let found = backend.read(key).await.unwrap();
        assert_eq!(found.is_some(), is_there, "{first:?} then {then:?}");
    }
}

/// Calls that are dropped wherever they wait leave nothing from which a later call could read.
pub async fn a_call_that_is_dropped_leaves_nothing_behind(make: impl Maker) {
    let backend = std::sync::Arc::new(make.make().await);
    let keys: Vec<String> = (0..8).map(|_| key()).collect();
    for key in &keys {
        backend.create(key, bytes(key), None).await.unwrap();
    }
    let mut all = JoinSet::new();
    for (turn, key) in keys.iter().cycle().take(64).cloned().enumerate() {
        let backend = backend.clone();
        all.spawn(async move {
            for round in 0..40 {
                let wait = Duration::from_micros(((turn * 7 + round * 13) % 200) as u64);
                let was = unknown();
                tokio::select! {
                    biased;
                    found = backend.read(&key) => assert_eq!(found.unwrap().unwrap().value, key),
                    () = sleep(wait) => {}
                }
                tokio::select! {
                    biased;
                    now = backend.replace(&key, bytes("x"), None, &was) => {
                        assert_conflict(&now.unwrap(), &key);
                    }
                    () = sleep(wait) => {}
                }
                let found = backend.read(&key).await.unwrap().unwrap();
                assert_eq!(found.value, key, "another key's value");
            }
        });
    }
    while let Some(outcome) = all.join_next().await {
        outcome.unwrap();
    }
}
