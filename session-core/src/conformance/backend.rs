//! The contract of [`Backend`] as tests: one function for each rule.
//!
//! A backend's whole test file says how to make one, and runs the rules on it:
//!
//! ```
//! # type MyBackend = session_core::MemoryBackend;
//! async fn mine() -> MyBackend {
//!     MyBackend::new()
//! }
//!
//! session_core::backend_conformance!(mine);
//! # fn main() {}
//! ```
//!
//! [`full_backend_conformance!`](macro@crate::full_backend_conformance) adds the rules for a store
//! that is out of memory.
//!
//! Each backend tests these clauses itself, because they need its store: bounded time,
//! acknowledgement, an error after a missing or malformed reply, no secret in errors and logs, and
//! [`Found::Foreign`] for a value of another type.

use std::fmt::{self, Write as _};
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use tokio::task::{JoinSet, yield_now};
use tokio::time::sleep;

use super::races::{Round, Rounds, Start, parallel};
use crate::error::{Error, ErrorKind};
use crate::keyed::{Backend, Found, OnlyIf, Outcome, Stored, Write};
use crate::session::identity::Identity;

/// Makes backends; an `async fn() -> impl Backend` is one. All that it makes may share one server.
pub trait Maker: sealed::Sealed + Send + Sync + 'static {
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

mod sealed {
    /// Sealed: only functions implement it, so a later version may require more of them.
    pub trait Sealed {}

    impl<F: Fn() -> Made, Made: Future> Sealed for F {}
}

/// Makes a test of each rule that every backend keeps, in a module of the maker's name.
///
/// The argument is an async function that returns a backend. If `bound` of the backend sets no
/// limit, write `backend_conformance!(mine, no_timer)`: the rule that needs a timer is left out.
#[macro_export]
macro_rules! backend_conformance {
    ($maker:ident) => {
        mod $maker {
            $crate::__every_backend!($maker);
            $crate::__rules! { $maker, every_backend,
                bound_gives_up_when_the_time_is_up,
            }
        }
    };
    ($maker:ident, no_timer) => {
        mod $maker {
            $crate::__every_backend!($maker);
        }
    };
}

/// Makes a test of each rule for a store that is out of memory, in a module of the
/// maker's name.
///
/// The maker returns a backend whose store can hold about a megabyte and evicts nothing. The rules
/// fill it, so each call of the maker must make another store.
#[macro_export]
macro_rules! full_backend_conformance {
    ($maker:ident) => {
        mod $maker {
            use $crate::conformance::backend as full_backend;
            $crate::__rules! { $maker, full_backend,
                a_full_store_still_ends_sessions,
                a_full_store_still_compares,
            }
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __every_backend {
    ($maker:ident) => {
        use $crate::conformance::backend as every_backend;
        $crate::__rules! { $maker, every_backend,
            a_key_that_was_never_written_is_missing,
            a_created_record_reads_back,
            a_create_never_overwrites,
            a_refused_create_returns_what_is_there,
            an_update_stores_its_value,
            an_update_of_a_missing_key_stores_nothing,
            an_update_compares_every_byte,
            a_refused_update_returns_what_is_there,
            a_refused_update_changes_nothing,
            a_stale_value_is_refused,
            a_stale_version_is_refused,
            a_written_record_can_be_updated,
            a_record_without_its_version_can_be_updated,
            what_a_conflict_returns_can_be_updated,
            a_record_expires,
            a_long_time_to_live_is_kept,
            an_update_begins_a_new_time_to_live,
            an_update_without_a_time_to_live_removes_the_limit,
            a_tombstone_is_stored_and_compared_as_a_record,
            a_tombstone_expires,
            a_value_is_any_bytes,
            a_large_value_is_stored_whole,
            a_value_over_the_limit_is_too_large,
            a_key_is_up_to_250_characters_of_any_kind,
            keys_do_not_disturb_one_another,
            of_simultaneous_creates_one_wins,
            of_simultaneous_updates_one_wins,
            no_update_is_lost,
            a_reader_never_sees_half_a_write,
            a_dropped_call_leaves_nothing_behind,
            bound_returns_what_the_future_returns,
            nothing_secret_prints,
        }
    };
}

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 3600);
/// Longer than a record of one second lives, in a store that counts whole seconds.
const OVER: Duration = Duration::from_millis(2200);

/// A key that was never written reads as missing. Only [`OnlyIf::Missing`] can write it.
pub async fn a_key_that_was_never_written_is_missing(make: impl Maker) {
    let backend = make.make().await;
    assert_missing(&backend, &key()).await;
}

/// A write to a missing key stores its value, and the outcome holds it.
pub async fn a_created_record_reads_back(make: impl Maker) {
    let backend = make.make().await;
    for time_to_live in [None, Some(MINUTE)] {
        let key = key();
        let created = create(&backend, &key, "value", time_to_live).await;
        let found = stored(&backend, &key).await;
        assert_eq!(found.value(), "value");
        assert_same(&created, &found);
    }
}

/// A refused create changes neither the value nor the time to live.
pub async fn a_create_never_overwrites(make: impl Maker) {
    let backend = make.make().await;
    let (limited, unlimited) = (key(), key());
    create(&backend, &limited, "first", Some(MINUTE)).await;
    create(&backend, &unlimited, "first", None).await;
    for key in [&limited, &unlimited] {
        for write in [
            Write::record("second", Some(SECOND)),
            Write::record("third", None),
            Write::tombstone("fourth", SECOND),
        ] {
            let outcome = write_to(&backend, key, write, OnlyIf::Missing).await;
            assert_refused(outcome, "first");
            assert_eq!(stored(&backend, key).await.value(), "first");
        }
    }
    sleep(OVER).await;
    for key in [&limited, &unlimited] {
        assert_eq!(stored(&backend, key).await.value(), "first");
    }
}

/// A create that finds a record returns it, exactly as a read does.
pub async fn a_refused_create_returns_what_is_there(make: impl Maker) {
    let backend = make.make().await;
    let key = key();
    create(&backend, &key, "there", None).await;
    let write = Write::record("new", None);
    let outcome = write_to(&backend, &key, write, OnlyIf::Missing).await;
    let found = assert_refused(outcome, "there");
    assert_same(&found, &stored(&backend, &key).await);
}

/// A write stores its value if the key still holds what was read.
pub async fn an_update_stores_its_value(make: impl Maker) {
    let backend = make.make().await;
    let key = key();
    create(&backend, &key, "first", None).await;
    for value in ["second", "2nd", "a third that is longer", "first", "first"] {
        let was = stored(&backend, &key).await;
        update(&backend, &key, value, &was).await;
        assert_eq!(stored(&backend, &key).await.value(), value);
    }
}

/// An update of a key that holds nothing says so, and stores nothing.
pub async fn an_update_of_a_missing_key_stores_nothing(make: impl Maker) {
    let backend = make.make().await;
    let other = key();
    create(&backend, &other, "value", None).await;
    let of_another_key = stored(&backend, &other).await;
    for was in [&of_another_key, &Stored::new("value"), &Stored::new("")] {
        let key = key();
        for write in [
            Write::record("value", None),
            Write::tombstone("value", MINUTE),
        ] {
            let outcome = write_to(&backend, &key, write, OnlyIf::Unchanged(was)).await;
            assert_eq!(outcome, Outcome::Found(Found::Missing));
            assert_eq!(backend.read(&key).await.unwrap(), Found::Missing);
        }
    }
}

/// An update is refused if a single byte is another one, is missing or is too many.
pub async fn an_update_compares_every_byte(make: impl Maker) {
    let backend = make.make().await;
    let key = key();
    let value = b"Some\0Value 1\n";
    create(&backend, &key, &value[..], None).await;
    let others: [&[u8]; 8] = [
        b"some\0Value 1\n",
        b"Some\0Value 2\n",
        b"Some\0Value 1 ",
        b"Some\0Value 1",
        b"Some\0Value 1\n\0",
        b"Some\0",
        b"Some",
        b"",
    ];
    for other in others {
        let was = Stored::new(Bytes::from_static(other));
        let write = Write::record("new", None);
        let outcome = write_to(&backend, &key, write, OnlyIf::Unchanged(&was)).await;
        assert_refused(outcome, &value[..]);
        assert_eq!(stored(&backend, &key).await.value(), &value[..]);
    }
    let write = Write::record("new", None);
    let same = Stored::new(Bytes::from_static(value));
    let outcome = write_to(&backend, &key, write, OnlyIf::Unchanged(&same)).await;
    assert_written(outcome, "new");
}

/// An update that finds another record returns it, exactly as a read does.
pub async fn a_refused_update_returns_what_is_there(make: impl Maker) {
    let backend = make.make().await;
    let key = key();
    create(&backend, &key, "there", None).await;
    let was = Stored::new("expected");
    let write = Write::record("new", None);
    let outcome = write_to(&backend, &key, write, OnlyIf::Unchanged(&was)).await;
    let found = assert_refused(outcome, "there");
    assert_same(&found, &stored(&backend, &key).await);
}

/// A refused update changes neither the value nor the time to live.
pub async fn a_refused_update_changes_nothing(make: impl Maker) {
    let backend = make.make().await;
    let key = key();
    create(&backend, &key, "first", Some(MINUTE)).await;
    let was = Stored::new("expected");
    for write in [
        Write::record("second", Some(SECOND)),
        Write::tombstone("third", SECOND),
    ] {
        let outcome = write_to(&backend, &key, write, OnlyIf::Unchanged(&was)).await;
        assert_refused(outcome, "first");
        assert_eq!(stored(&backend, &key).await.value(), "first");
    }
    sleep(OVER).await;
    assert_eq!(stored(&backend, &key).await.value(), "first");
}

/// After an update, another update that expects the old value is refused.
pub async fn a_stale_value_is_refused(make: impl Maker) {
    let backend = make.make().await;
    let key = key();
    create(&backend, &key, "old", None).await;
    let old = stored(&backend, &key).await;
    update(&backend, &key, "new", &old).await;
    for stale in [&old, &Stored::new("old")] {
        for write in [
            Write::record("late", None),
            Write::tombstone("late", MINUTE),
        ] {
            let outcome = write_to(&backend, &key, write, OnlyIf::Unchanged(stale)).await;
            assert_refused(outcome, "new");
            assert_eq!(stored(&backend, &key).await.value(), "new");
        }
    }
}

/// A store that numbers versions compares the number, also if the value is the same again. A store
/// that compares values ignores the number.
pub async fn a_stale_version_is_refused(make: impl Maker) {
    let backend = make.make().await;
    let key = key();
    create(&backend, &key, "same", None).await;
    let old = stored(&backend, &key).await;
    update(&backend, &key, "other", &old).await;
    let other = stored(&backend, &key).await;
    update(&backend, &key, "same", &other).await;
    let now = stored(&backend, &key).await;
    if let Some(version) = old.version() {
        assert_ne!(now.version(), Some(version), "each write has a new version");
        let write = Write::record("late", None);
        let outcome = write_to(&backend, &key, write, OnlyIf::Unchanged(&old)).await;
        assert_same(&assert_refused(outcome, "same"), &now);
        assert_same(&stored(&backend, &key).await, &now);
        update(&backend, &key, "new", &now).await;
    } else {
        let numbered = Stored::with_version("same", std::num::NonZeroU64::MIN);
        update(&backend, &key, "new", &numbered).await;
    }
    assert_eq!(stored(&backend, &key).await.value(), "new");
}

/// The record that a write returns is what the next update expects, without a read in between.
pub async fn a_written_record_can_be_updated(make: impl Maker) {
    let backend = make.make().await;
    let key = key();
    let mut last = create(&backend, &key, "first", None).await;
    for value in ["second", "third", "fourth", "fourth"] {
        last = update(&backend, &key, value, &last).await;
    }
    let write = Write::tombstone("{ }", MINUTE);
    let outcome = write_to(&backend, &key, write, OnlyIf::Unchanged(&last)).await;
    let end = assert_written(outcome, "{ }");
    update(&backend, &key, "new", &end).await;
    assert_eq!(stored(&backend, &key).await.value(), "new");
}

/// The value alone is enough for an update: another process may know no version.
pub async fn a_record_without_its_version_can_be_updated(make: impl Maker) {
    let backend = make.make().await;
    let key = key();
    let values = ["first", "second", "third", "third", "fourth"];
    create(&backend, &key, values[0], None).await;
    for (was, value) in values.iter().zip(&values[1..]) {
        update(&backend, &key, value, &Stored::new(*was)).await;
    }
    assert_eq!(stored(&backend, &key).await.value(), "fourth");
}

/// The record that a refused write returns is what the next update expects.
pub async fn what_a_conflict_returns_can_be_updated(make: impl Maker) {
    let backend = make.make().await;
    let key = key();
    create(&backend, &key, "there", None).await;
    let write = Write::record("new", None);
    let refused = write_to(&backend, &key, write.clone(), OnlyIf::Missing).await;
    let there = assert_refused(refused, "there");
    update(&backend, &key, "second", &there).await;
    let refused = write_to(&backend, &key, write, OnlyIf::Unchanged(&there)).await;
    let there = assert_refused(refused, "second");
    update(&backend, &key, "third", &there).await;
    assert_eq!(stored(&backend, &key).await.value(), "third");
}

/// A record whose time is over is missing: for a read, for an update, and for a create.
pub async fn a_record_expires(make: impl Maker) {
    let backend = make.make().await;
    let (key, live) = (key(), self::key());
    create(&backend, &live, "value", Some(MINUTE)).await;
    create(&backend, &key, "value", Some(SECOND)).await;
    sleep(OVER).await;
    assert_missing(&backend, &key).await;
    assert_eq!(stored(&backend, &live).await.value(), "value");
}

/// A long time to live is kept, also in a store that needs a date for it, as memcached does beyond
/// 30 days.
pub async fn a_long_time_to_live_is_kept(make: impl Maker) {
    let backend = make.make().await;
    for days in [29, 30, 31, 365, 3650] {
        for seconds in 0..2 {
            let time_to_live = DAY * days + SECOND * seconds;
            let key = key();
            let created = create(&backend, &key, "first", Some(time_to_live)).await;
            assert_eq!(stored(&backend, &key).await.value(), "first", "{days} days");
            let write = Write::record("second", Some(time_to_live));
            let outcome = write_to(&backend, &key, write, OnlyIf::Unchanged(&created)).await;
            assert_written(outcome, "second");
            assert_eq!(
                stored(&backend, &key).await.value(),
                "second",
                "{days} days"
            );
        }
    }
}

/// An update sets, shortens and extends the time to live.
pub async fn an_update_begins_a_new_time_to_live(make: impl Maker) {
    let backend = make.make().await;
    let cases = [
        ("set", None, SECOND, false),
        ("shortened", Some(MINUTE), SECOND, false),
        ("extended", Some(SECOND), MINUTE, true),
    ];
    let mut keys = Vec::new();
    for (_, first, then, _) in cases {
        keys.push(updated_in_time(&backend, first, Some(then)).await);
    }
    sleep(OVER).await;
    for (key, (what, _, _, is_there)) in keys.iter().zip(cases) {
        let found = backend.read(key).await.unwrap();
        assert_eq!(found != Found::Missing, is_there, "{what}: {found:?}");
    }
}

/// An update without a time to live removes the one that the key had.
pub async fn an_update_without_a_time_to_live_removes_the_limit(make: impl Maker) {
    let backend = make.make().await;
    let key = updated_in_time(&backend, Some(SECOND), None).await;
    sleep(OVER).await;
    assert_eq!(stored(&backend, &key).await.value(), "second");
}

/// A store with room handles a tombstone as any other write.
pub async fn a_tombstone_is_stored_and_compared_as_a_record(make: impl Maker) {
    let backend = make.make().await;
    let end = || Write::tombstone("{ \t}", MINUTE);
    let (missing, live) = (key(), key());
    let outcome = write_to(&backend, &missing, end(), OnlyIf::Missing).await;
    let at_missing = assert_written(outcome, "{ \t}");
    let record = create(&backend, &live, "record", None).await;
    let outcome = write_to(&backend, &live, end(), OnlyIf::Unchanged(&record)).await;
    let at_live = assert_written(outcome, "{ \t}");
    for (key, written) in [(missing, at_missing), (live, at_live)] {
        assert_eq!(stored(&backend, &key).await.value(), "{ \t}");
        let write = Write::record("new", None);
        let outcome = write_to(&backend, &key, write.clone(), OnlyIf::Missing).await;
        assert_refused(outcome, "{ \t}");
        let was = Stored::new("{ }");
        let outcome = write_to(&backend, &key, write, OnlyIf::Unchanged(&was)).await;
        assert_refused(outcome, "{ \t}");
        update(&backend, &key, "new", &written).await;
        assert_eq!(stored(&backend, &key).await.value(), "new");
    }
}

/// A tombstone is missing when its time is over, also at the key of a record that had none.
pub async fn a_tombstone_expires(make: impl Maker) {
    let backend = make.make().await;
    let (missing, live, kept) = (key(), key(), key());
    let end = || Write::tombstone("{ }", SECOND);
    let outcome = write_to(&backend, &missing, end(), OnlyIf::Missing).await;
    assert_written(outcome, "{ }");
    let record = create(&backend, &live, "record", None).await;
    let outcome = write_to(&backend, &live, end(), OnlyIf::Unchanged(&record)).await;
    assert_written(outcome, "{ }");
    let longer = Write::tombstone("{ }", MINUTE);
    let outcome = write_to(&backend, &kept, longer, OnlyIf::Missing).await;
    assert_written(outcome, "{ }");
    sleep(OVER).await;
    assert_missing(&backend, &missing).await;
    assert_missing(&backend, &live).await;
    assert_eq!(stored(&backend, &kept).await.value(), "{ }");
}

/// Values of any two or more bytes come back as they were stored, and are compared as they are.
pub async fn a_value_is_any_bytes(make: impl Maker) {
    let backend = make.make().await;
    let all: Vec<u8> = (0..=255).collect();
    let values: [&[u8]; 10] = [
        b"{}",
        b"\0\0",
        b"\r\n",
        b"\r\nEND\r\n",
        b"END\r\n",
        b"$-1\r\n",
        b"-ERR\r\n",
        b"\xff\xfe",
        b"0123456789",
        &all,
    ];
    for value in values {
        let key = key();
        let created = create(&backend, &key, value, None).await;
        assert_eq!(stored(&backend, &key).await.value(), value);
        let updated = update(&backend, &key, value, &created).await;
        assert_eq!(stored(&backend, &key).await.value(), value);
        let other = Stored::new("other");
        let write = Write::record("new", None);
        let outcome = write_to(&backend, &key, write, OnlyIf::Unchanged(&other)).await;
        assert_refused(outcome, value);
        update(&backend, &key, "new", &updated).await;
    }
}

/// A value of half a megabyte comes back as it was stored, from a read and from a conflict.
pub async fn a_large_value_is_stored_whole(make: impl Maker) {
    let backend = make.make().await;
    let large: Vec<u8> = (0..=255).cycle().take(500_000).collect();
    let mut other = large.clone();
    other[499_999] ^= 1;
    let (large, other) = (Bytes::from(large), Bytes::from(other));
    for width in [18, 250] {
        let key = key_of(width);
        create(&backend, &key, large.clone(), None).await;
        let was = stored(&backend, &key).await;
        assert!(*was.value() == large, "the read value is another one");
        let expected = Stored::new(other.clone());
        let write = Write::record("new", None);
        match write_to(&backend, &key, write, OnlyIf::Unchanged(&expected)).await {
            Outcome::Found(Found::Value(found)) => assert!(*found.value() == large),
            outcome => panic!("the last byte is another one: {outcome:?}"),
        }
        update(&backend, &key, other.clone(), &was).await;
        assert!(*stored(&backend, &key).await.value() == other);
        update(&backend, &key, "small", &expected).await;
        assert_eq!(stored(&backend, &key).await.value(), "small");
    }
}

/// A store either takes a value of two mebibytes, or the error is of kind `TooLarge`, nothing
/// changes, and the next call works.
pub async fn a_value_over_the_limit_is_too_large(make: impl Maker) {
    let backend = make.make().await;
    let huge = Bytes::from(vec![b'x'; 2 << 20]);
    let key = key();
    let created = create(&backend, &key, "small", None).await;
    let write = Write::record(huge.clone(), None);
    match backend
        .write(&key, write, OnlyIf::Unchanged(&created))
        .await
    {
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::TooLarge, "{error:?}");
            assert_eq!(stored(&backend, &key).await.value(), "small");
            let key = self::key();
            let write = Write::record(huge, None);
            let error = backend.write(&key, write, OnlyIf::Missing).await;
            assert_eq!(error.unwrap_err().kind(), ErrorKind::TooLarge);
            assert_missing(&backend, &key).await;
        }
        Ok(outcome) => {
            assert!(matches!(outcome, Outcome::Written(_)), "{outcome:?}");
            assert!(*stored(&backend, &key).await.value() == huge);
        }
    }
}

/// Keys of 18 to 250 printable ASCII characters hold what was stored under them.
pub async fn a_key_is_up_to_250_characters_of_any_kind(make: impl Maker) {
    let backend = make.make().await;
    for width in [18, 33, 64, 249, 250] {
        let key = key_of(width);
        let created = create(&backend, &key, width.to_string(), None).await;
        let value = width.to_string();
        assert_eq!(stored(&backend, &key).await.value(), &value);
        update(&backend, &key, "new", &created).await;
        assert_eq!(stored(&backend, &key).await.value(), "new");
    }
}

/// Writes to one key leave alone all others, however similar the keys are.
pub async fn keys_do_not_disturb_one_another(make: impl Maker) {
    let backend = make.make().await;
    let base = key();
    let long = key_of(249);
    let keys = [
        base.clone(),
        base.to_ascii_uppercase(),
        format!("{base}_"),
        format!("{base}*"),
        format!("{base}?"),
        format!("_{base}"),
        format!("{long}a"),
        format!("{long}b"),
        format!("{long}A"),
        long,
    ];
    for key in &keys {
        assert_eq!(backend.read(key).await.unwrap(), Found::Missing, "{key}");
        create(&backend, key, key, None).await;
    }
    for key in &keys {
        assert_eq!(stored(&backend, key).await.value(), key);
    }
    for (at, key) in keys.iter().enumerate() {
        let was = stored(&backend, key).await;
        update(&backend, key, format!("new {key}"), &was).await;
        for (other_at, other) in keys.iter().enumerate() {
            let new = if other_at <= at { "new " } else { "" };
            let value = format!("{new}{other}");
            assert_eq!(stored(&backend, other).await.value(), &value);
        }
    }
}

/// Of many simultaneous creates of one key one wins, and the others return its value.
pub async fn of_simultaneous_creates_one_wins(make: impl Maker) {
    let backend = Arc::new(make.make().await);
    let mut rounds = Rounds::start();
    while let Some(round) = rounds.next() {
        let keys = (0..round.keys).map(|_| (key(), None));
        one_wins(&round, &backend, keys.collect()).await;
    }
}

/// Of many simultaneous updates of one record, half of them tombstones, one wins, and the others
/// return its value.
pub async fn of_simultaneous_updates_one_wins(make: impl Maker) {
    let backend = Arc::new(make.make().await);
    let mut rounds = Rounds::start();
    while let Some(round) = rounds.next() {
        let mut keys = Vec::new();
        for _ in 0..round.keys {
            let key = key();
            let was = create(&*backend, &key, "begin", None).await;
            keys.push((key, Some(was)));
        }
        one_wins(&round, &backend, keys).await;
    }
}

/// Writers that retry with what a conflict returns all get their update in, each exactly once.
pub async fn no_update_is_lost(make: impl Maker) {
    const WRITERS: usize = 8;
    const LEAST: usize = 16;
    let backend = Arc::new(make.make().await);
    let key = key();
    let begin = create(&*backend, &key, "00", None).await;
    let start = Arc::new(Start::of(WRITERS));
    let mut all = JoinSet::new();
    for _ in 0..WRITERS {
        let (backend, key, mut was) = (backend.clone(), key.clone(), begin.clone());
        let start = start.clone();
        parallel(&mut all, async move {
            let (mut written, mut refused) = (0, 0);
            start.wait();
            let rounds = Rounds::start();
            while written < LEAST || !rounds.is_time_up() {
                let count: usize = std::str::from_utf8(was.value()).unwrap().parse().unwrap();
                // Each refusal means that another writer has written since.
                assert!(
                    refused <= count,
                    "refused without a reason, or an update is lost"
                );
                let write = Write::record(format!("{:02}", count + 1), None);
                match write_to(&*backend, &key, write, OnlyIf::Unchanged(&was)).await {
                    Outcome::Written(stored) => (was, written) = (stored, written + 1),
                    Outcome::Found(Found::Value(stored)) => (was, refused) = (stored, refused + 1),
                    Outcome::Found(found) => panic!("the record is gone: {found:?}"),
                }
                yield_now().await;
            }
            written
        });
    }
    let written: usize = all.join_all().await.into_iter().sum();
    assert_eq!(stored(&*backend, &key).await.value(), &written.to_string());
}

/// A read during writes returns the whole old value or the whole new one.
pub async fn a_reader_never_sees_half_a_write(make: impl Maker) {
    let backend = Arc::new(make.make().await);
    let key = key();
    let value = |number: usize| {
        let letter = b'a' + u8::try_from(number % 26).unwrap();
        vec![letter; 10_000 + 10_000 * (number % 5)]
    };
    let mut last = create(&*backend, &key, value(0), None).await;
    let mut all = JoinSet::new();
    for _ in 0..4 {
        let (backend, key) = (backend.clone(), key.clone());
        all.spawn(async move {
            for _ in 0..50 {
                let found = stored(&*backend, &key).await;
                let first = usize::from(found.value()[0] - b'a');
                let is_whole = (0..26 * 5)
                    .filter(|number| number % 26 == first)
                    .any(|number| *found.value() == value(number));
                assert!(is_whole, "half a value");
                yield_now().await;
            }
        });
    }
    for number in 1..50 {
        last = update(&*backend, &key, value(number), &last).await;
        yield_now().await;
    }
    finish(all).await;
}

/// Calls that are dropped at any await point leave nothing from which a later call could read
/// another call's response. A dropped write happens whole or not at all.
pub async fn a_dropped_call_leaves_nothing_behind(make: impl Maker) {
    let backend = Arc::new(make.make().await);
    let keys: Vec<String> = (0..8).map(|_| key()).collect();
    for key in &keys {
        create(&*backend, key, key, None).await;
    }
    let mut all = JoinSet::new();
    for (turn, key) in keys.iter().cycle().take(64).cloned().enumerate() {
        let backend = backend.clone();
        all.spawn(async move {
            for round in 0..40 {
                // Few polls for a fast store, many for a slow one.
                let polls = ((turn * 7 + round * 13) % 15_usize).pow(2);
                let read = dropped_after(polls, backend.read(&key)).await;
                assert_is_of(&key, read.map(Result::unwrap));

                // No value is empty, so this write is refused.
                let nothing = Stored::new("");
                let write = Write::record("nothing", None);
                let refused = backend.write(&key, write, OnlyIf::Unchanged(&nothing));
                match dropped_after(polls, refused).await {
                    Some(Ok(Outcome::Found(found))) => assert_is_of(&key, Some(found)),
                    Some(outcome) => panic!("{outcome:?}"),
                    None => {}
                }

                // Others write this key, too, so this write may be refused.
                let was = stored(&*backend, &key).await;
                let write = Write::record(format!("{key} {turn} {round}"), None);
                let update = backend.write(&key, write, OnlyIf::Unchanged(&was));
                match dropped_after(polls, update).await.map(Result::unwrap) {
                    Some(Outcome::Found(found)) => assert_is_of(&key, Some(found)),
                    Some(Outcome::Written(stored)) => {
                        assert_is_of(&key, Some(Found::Value(stored)));
                    }
                    None => {}
                }

                let found = backend.read(&key).await.unwrap();
                assert_is_of(&key, Some(found));
            }
        });
    }
    finish(all).await;
}

/// A future that ends in time ends as it would without the bound. That includes its errors.
pub async fn bound_returns_what_the_future_returns(make: impl Maker) {
    let backend = make.make().await;
    assert_eq!(backend.bound(async { 7 }, 1).await.unwrap(), 7);
    let waiting = async {
        sleep(Duration::from_millis(5)).await;
        "value"
    };
    // A busy machine is no failure, so the limit is long.
    assert_eq!(backend.bound(waiting, 1000).await.unwrap(), "value");
    let error = backend.bound(async { Err::<(), _>("error") }, 1).await;
    assert_eq!(error.unwrap(), Err("error"));
    // A call to the backend may run inside.
    let missing = backend.bound(backend.read(&key()), 5).await;
    assert_eq!(missing.unwrap().unwrap(), Found::Missing);
}

/// A future that never ends is an error of kind `Unavailable`. The test passes `times: 0`, so it
/// does not wait.
pub async fn bound_gives_up_when_the_time_is_up(make: impl Maker) {
    let backend = make.make().await;
    let never = std::future::pending::<()>();
    let patience = Duration::from_secs(20);
    let bound = tokio::time::timeout(patience, backend.bound(never, 0)).await;
    let error = bound.expect("it waits without a limit").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
}

/// Neither `Debug` nor an error shows a key or a value.
pub async fn nothing_secret_prints(make: impl Maker) {
    let backend = make.make().await;
    let key = key();
    let mut printed = String::new();
    let mut print = |what: &dyn fmt::Debug| writeln!(printed, "{what:?} {what:#?}").unwrap();
    let write = Write::record("sekrit-1", Some(MINUTE));
    print(&write);
    let outcome = write_to(&backend, &key, write, OnlyIf::Missing).await;
    print(&outcome);
    let was = assert_written(outcome, "sekrit-1");
    print(&OnlyIf::Unchanged(&was));
    let write = Write::tombstone("sekrit-2", MINUTE);
    print(&write);
    let outcome = write_to(&backend, &key, write.clone(), OnlyIf::Unchanged(&was)).await;
    print(&outcome);
    print(&write_to(&backend, &key, write, OnlyIf::Unchanged(&was)).await);
    print(&backend.read(&key).await.unwrap());
    print(&backend);
    let huge = Write::record("sekrit".repeat(400_000), None);
    let huge_at = self::key();
    if let Err(error) = backend.write(&huge_at, huge, OnlyIf::Missing).await {
        print(&error);
        printed.push_str(&chain(&error));
    }
    // As text, in hexadecimal, and as a list of bytes.
    let shapes = ["sekrit", "73656b72", "115, 101, 107", &key, &huge_at];
    for secret in shapes {
        assert!(!printed.contains(secret), "{printed:.2000}");
    }
}

/// A tombstone in a full store ends the session: the key holds the tombstone, or nothing.
pub async fn a_full_store_still_ends_sessions(make: impl Maker) {
    let backend = make.make().await;
    let (full, last) = fill(&backend).await;
    let end = end_longer_than(&last);
    let is_ended = |found: &Found| match found {
        Found::Missing => true,
        Found::Value(stored) => *stored.value() == end,
        Found::Foreign => false,
    };
    let write = || Write::tombstone(end.clone(), MINUTE);
    let missing = key();
    let outcome = write_to(&backend, &missing, write(), OnlyIf::Missing).await;
    assert_written(outcome, &end[..]);
    let found = backend.read(&missing).await.unwrap();
    assert!(is_ended(&found), "{found:?}");
    let outcome = write_to(&backend, &full, write(), OnlyIf::Unchanged(&last)).await;
    assert_written(outcome, &end[..]);
    let found = backend.read(&full).await.unwrap();
    assert!(is_ended(&found), "{found:?}");
}

/// A tombstone in a full store still keeps its condition.
pub async fn a_full_store_still_compares(make: impl Maker) {
    let backend = make.make().await;
    let (full, last) = fill(&backend).await;
    let end = end_longer_than(&last);
    let write = || Write::tombstone(end.clone(), MINUTE);
    let other = Stored::new("other");
    for only_if in [OnlyIf::Missing, OnlyIf::Unchanged(&other)] {
        let outcome = write_to(&backend, &full, write(), only_if).await;
        assert_refused(outcome, &last.value()[..]);
        assert_eq!(stored(&backend, &full).await.value(), last.value());
    }
    let missing = key();
    let outcome = write_to(&backend, &missing, write(), OnlyIf::Unchanged(&last)).await;
    assert_eq!(outcome, Outcome::Found(Found::Missing));
    assert_eq!(backend.read(&missing).await.unwrap(), Found::Missing);
}

fn key() -> String {
    format!("test_{}", Identity::random().unwrap().as_str())
}

/// Makes a key of so many characters, all kinds of punctuation among them if they fit.
fn key_of(width: usize) -> String {
    let punctuation = r##"!"#$%&'()*+,-./:;<=>?@[\]^_`{|}~"##;
    let start = &key()[5..17];
    let rest = punctuation.chars().cycle().take(width - start.len());
    start.chars().chain(rest).collect()
}

async fn write_to(backend: &impl Backend, key: &str, write: Write, only_if: OnlyIf<'_>) -> Outcome {
    backend.write(key, write, only_if).await.unwrap()
}

/// Creates a record, and returns it as the store returned it.
async fn create(
    backend: &impl Backend,
    key: &str,
    value: impl AsRef<[u8]>,
    time_to_live: Option<Duration>,
) -> Stored {
    let value = Bytes::copy_from_slice(value.as_ref());
    let write = Write::record(value.clone(), time_to_live);
    assert_written(write_to(backend, key, write, OnlyIf::Missing).await, value)
}

/// Updates a record without a time to live, and returns it as the store returned it.
async fn update(
    backend: &impl Backend,
    key: &str,
    value: impl AsRef<[u8]>,
    was: &Stored,
) -> Stored {
    let value = Bytes::copy_from_slice(value.as_ref());
    let write = Write::record(value.clone(), None);
    let outcome = write_to(backend, key, write, OnlyIf::Unchanged(was)).await;
    assert_written(outcome, value)
}

/// Creates a record with one time to live and updates it with another. A store that counts whole
/// seconds may end a record of one second at any moment; then the record is created again.
async fn updated_in_time(
    backend: &impl Backend,
    first: Option<Duration>,
    then: Option<Duration>,
) -> String {
    for _ in 0..20 {
        let key = key();
        let created = create(backend, &key, "first", first).await;
        let write = Write::record("second", then);
        let outcome = write_to(backend, &key, write, OnlyIf::Unchanged(&created)).await;
        if outcome != Outcome::Found(Found::Missing) {
            assert_written(outcome, "second");
            return key;
        }
    }
    panic!("an update does not find the record that was just created");
}

async fn stored(backend: &impl Backend, key: &str) -> Stored {
    match backend.read(key).await.unwrap() {
        Found::Value(stored) => stored,
        found => panic!("no record is stored: {found:?}"),
    }
}

/// Checks that `key` is missing for a read, an update and a create. The create comes last.
async fn assert_missing(backend: &impl Backend, key: &str) {
    assert_eq!(backend.read(key).await.unwrap(), Found::Missing);
    for was in ["value", "{ }"].map(Stored::new) {
        let write = Write::record("value", None);
        let outcome = write_to(backend, key, write, OnlyIf::Unchanged(&was)).await;
        assert_eq!(outcome, Outcome::Found(Found::Missing));
        assert_eq!(backend.read(key).await.unwrap(), Found::Missing);
    }
    create(backend, key, "anew", None).await;
    assert_eq!(stored(backend, key).await.value(), "anew");
}

/// Checks that a write was carried out, and returns what the store returned.
#[track_caller]
fn assert_written(outcome: Outcome, value: impl AsRef<[u8]>) -> Stored {
    match outcome {
        Outcome::Written(stored) => {
            let is_same = stored.value() == value.as_ref();
            assert!(is_same, "the outcome holds another value");
            stored
        }
        Outcome::Found(found) => panic!("the write was refused: {found:?}"),
    }
}

/// Checks that a write was refused because of a record with `value`, and returns that record.
#[track_caller]
fn assert_refused(outcome: Outcome, value: impl AsRef<[u8]>) -> Stored {
    match outcome {
        Outcome::Found(Found::Value(stored)) => {
            assert_eq!(stored.value(), value.as_ref(), "it returns another value");
            stored
        }
        outcome => panic!("the write found no record: {outcome:?}"),
    }
}

/// Checks that two responses name the same record. A store need not name the version each time.
#[track_caller]
fn assert_same(one: &Stored, other: &Stored) {
    assert_eq!(one.value(), other.value());
    if let (Some(one), Some(other)) = (one.version(), other.version()) {
        assert_eq!(one, other, "these are two versions");
    }
}

/// Checks that what `key` holds was written under that key.
#[track_caller]
fn assert_is_of(key: &str, found: Option<Found>) {
    match found {
        Some(Found::Value(stored)) => {
            let is_own = stored.value().starts_with(key.as_bytes());
            assert!(is_own, "another key's value");
        }
        Some(found) => panic!("the record is gone: {found:?}"),
        None => {}
    }
}

/// Writes to one key after the other from several tasks at once, and checks that one write wins.
/// Each key comes with the record that the writes expect.
async fn one_wins<B: Backend>(
    round: &Round,
    backend: &Arc<B>,
    keys: Vec<(String, Option<Stored>)>,
) {
    let Round { writers, skips, .. } = *round;
    let keys = Arc::new(keys);
    let next = Arc::new(AtomicUsize::new(0));
    let start = Arc::new(Start::of(writers));
    let mut all = JoinSet::new();
    for number in 0..writers {
        let (backend, keys) = (backend.clone(), keys.clone());
        let (next, start) = (next.clone(), start.clone());
        parallel(&mut all, async move {
            let value = format!("{number:02}");
            let mut outcomes = Vec::new();
            start.wait();
            let mut at = 0;
            loop {
                if skips {
                    at = at.max(next.load(Ordering::Acquire));
                }
                let Some((key, was)) = keys.get(at) else {
                    return (value, outcomes);
                };
                let write = match number % 2 {
                    0 => Write::record(value.clone(), None),
                    _ => Write::tombstone(value.clone(), MINUTE),
                };
                let only_if = was.as_ref().map_or(OnlyIf::Missing, OnlyIf::Unchanged);
                outcomes.push((at, write_to(&*backend, key, write, only_if).await));
                at += 1;
                next.fetch_max(at, Ordering::AcqRel);
            }
        });
    }
    let mut winners = vec![None; keys.len()];
    let mut refused = Vec::new();
    for (value, outcomes) in all.join_all().await {
        for (at, outcome) in outcomes {
            match outcome {
                Outcome::Written(_) => {
                    let other = winners[at].replace(value.clone());
                    assert_eq!(other, None, "two writes win");
                }
                Outcome::Found(Found::Value(there)) => refused.push((at, there)),
                Outcome::Found(found) => panic!("there is a record: {found:?}"),
            }
        }
    }
    if !skips {
        assert_eq!(refused.len(), (writers - 1) * keys.len(), "all others lose");
    }
    let winners: Vec<String> = winners
        .into_iter()
        .map(|it| it.expect("no write wins"))
        .collect();
    for (at, there) in refused {
        assert_eq!(there.value(), &winners[at]);
    }
    for ((key, _), winner) in keys.iter().zip(&winners) {
        assert_eq!(stored(&**backend, key).await.value(), winner);
    }
}

/// Polls `call` until it ends, but at most so many times, and then drops it. Between two polls
/// other tasks have a turn.
async fn dropped_after<T>(polls: usize, call: impl Future<Output = T>) -> Option<T> {
    let mut call = pin!(call);
    for _ in 0..polls {
        let poll = poll_fn(|context| Poll::Ready(call.as_mut().poll(context)));
        if let Poll::Ready(reply) = poll.await {
            return Some(reply);
        }
        yield_now().await;
    }
    None
}

/// Waits for all tasks. A panic in one of them is a panic of the test.
async fn finish(mut tasks: JoinSet<()>) {
    while let Some(outcome) = tasks.join_next().await {
        outcome.unwrap();
    }
}

/// Stores records until not even the smallest fits, and returns the last one and its key.
async fn fill(backend: &impl Backend) -> (String, Stored) {
    const MOST: usize = 32 << 20;
    let (mut size, mut used) = (1 << 16, 0);
    let mut last = None;
    while used < MOST {
        let key = key();
        let write = Write::record(vec![b'x'; size], None);
        match backend.write(&key, write, OnlyIf::Missing).await {
            Ok(Outcome::Written(stored)) => {
                used += key.len() + size;
                last = Some((key, stored));
            }
            Ok(outcome) => panic!("the key is new: {outcome:?}"),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
                assert_eq!(backend.read(&key).await.unwrap(), Found::Missing);
                if size == 2 {
                    return last.expect("there was no room at all");
                }
                size = (size / 4).max(2);
            }
        }
    }
    panic!("the store does not run out of memory");
}

/// Returns a tombstone that needs more memory than a full store has left in place of `last`.
fn end_longer_than(last: &Stored) -> String {
    format!("{{{}}}", " ".repeat(last.value().len() + 1000))
}

/// Returns the texts of an error and of its causes.
fn chain(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        write!(text, " {error} {error:?}").unwrap();
        source = error.source();
    }
    text
}
