//! The contract of [`Storage`] as tests, one function for each rule. Use it to test your own
//! storage.
//!
//! The suites come with the feature `conformance`. Turn it on in `[dev-dependencies]`:
//!
//! ```toml
//! [dev-dependencies]
//! session-core = { path = "web-sessions/session-core", features = ["conformance"] }
//! ```
//!
//! A test file has one function that makes a fresh storage, and one macro that runs the rules:
//!
//! ```
//! use session_core::{CookieSettings, KeyedStorage, ManualClock};
//! # type MyBackend = session_core::MemoryBackend;
//!
//! async fn mine(cookie: CookieSettings, clock: ManualClock) -> KeyedStorage<MyBackend> {
//!     KeyedStorage::new(MyBackend::new()).with_cookie(cookie).with_clock(clock)
//! }
//!
//! session_core::keyed_conformance!(mine);
//! # fn main() {}
//! ```
//!
//! [`conformance!`](macro@crate::conformance) is for a storage that keeps the session in its
//! cookie. [`keyed_conformance!`](macro@crate::keyed_conformance) is for storages that keep it on a
//! server. It adds the rules in [`keyed`], which a cookie storage cannot fulfil.
//! [`users_conformance!`](macro@crate::users_conformance) is for one with an index of users.
//! [`backend`] has the rules for the operations of a [`Backend`](crate::keyed::Backend), with
//! macros of their own. A failure reads `mine: the_rule`.
//!
//! The rules move the clock that they pass in. They do not wait until a server expires a record.
//! They share no identity, so that all may run at once against one server. Each rule runs in a
//! tokio runtime of its own, with several threads, so that writes run in parallel. A broken rule is
//! a panic.

#![allow(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "a rule that is broken is a panic: this is a library of tests"
)]

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::runtime::Builder;

use crate::clock::{Clock, ManualClock};
use crate::cookie::builder::CookieBuilder;
use crate::cookie::change::CookieChange;
use crate::cookie::settings::CookieSettings;
use crate::error::{ErrorKind, Result};
use crate::session::Session;
use crate::storage::Storage;

pub mod backend;
pub mod keyed;
mod races;
#[cfg(test)]
mod racy;
pub mod users;

/// Makes fresh storages; an `async fn(CookieSettings, ManualClock) -> impl Storage` is one.
pub trait Maker: sealed::Sealed + Send + Sync + 'static {
    /// What it makes.
    type Storage: Storage;

    /// Makes a storage with these settings and this clock.
    fn make(
        &self,
        cookie: CookieSettings,
        clock: ManualClock,
    ) -> impl Future<Output = Self::Storage> + Send;
}

impl<F, Made, S> Maker for F
where
    F: Fn(CookieSettings, ManualClock) -> Made + Send + Sync + 'static,
    Made: Future<Output = S> + Send,
    S: Storage,
{
    type Storage = S;

    fn make(&self, cookie: CookieSettings, clock: ManualClock) -> impl Future<Output = S> + Send {
        self(cookie, clock)
    }
}

mod sealed {
    use super::{CookieSettings, ManualClock};

    /// Sealed: only functions implement it, so a later version may require more of them.
    pub trait Sealed {}

    impl<F: Fn(CookieSettings, ManualClock) -> Made, Made: Future> Sealed for F {}
}

/// Makes one test for each rule of a storage whose sessions live in their cookies, in a module of
/// the maker's name.
#[macro_export]
macro_rules! conformance {
    ($maker:ident) => {
        mod $maker {
            $crate::__every_storage!($maker);
            $crate::__cookie_storage!($maker);
        }
    };
}

/// Makes a test of each rule that every server-side storage keeps, those of
/// [`conformance!`](macro@crate::conformance) among them.
#[macro_export]
macro_rules! keyed_conformance {
    ($maker:ident) => {
        mod $maker {
            $crate::__every_storage!($maker);
            $crate::__keyed_storage!($maker);
        }
    };
}

/// Makes a test of each rule that every server-side storage with an index of users keeps. The maker
/// calls `with_user_index("user")`.
#[macro_export]
macro_rules! users_conformance {
    ($maker:ident) => {
        mod $maker {
            $crate::__users_storage!($maker);
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __every_storage {
    ($maker:ident) => {
        use $crate::conformance as every_storage;
        $crate::__rules! { $maker, every_storage,
            no_cookie_is_a_new_session,
            unknown_cookie_is_a_new_session,
            saved_session_loads_back,
            untouched_values_survive_byte_for_byte,
            raw_values_pass_through_byte_for_byte,
            a_read_changes_nothing,
            a_touch_is_saved,
            a_new_empty_session_stores_nothing,
            a_cleared_session_is_removed,
            an_invalidated_session_is_removed,
            invalidating_removes_only_a_cookie_that_was_sent,
            what_is_set_after_an_invalidation_is_all_there_is,
            a_renewed_session_keeps_its_data,
            a_session_is_saved_again_and_again,
            a_session_is_saved_invalidated_and_saved_again,
            an_expired_session_is_new,
            a_write_restarts_the_lifetime_and_a_read_does_not,
            a_lifetime_of_its_own_is_kept,
            rolling_reads_restart_the_lifetime,
            an_absolute_lifetime_ends_a_session,
            a_session_of_another_storage_is_refused,
            nothing_secret_prints,
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __cookie_storage {
    ($maker:ident) => {
        use $crate::conformance as cookie_storage;
        $crate::__rules! { $maker, cookie_storage,
            an_emptied_session_is_removed,
            of_several_cookies_one_session_is_loaded,
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __rules {
    ($maker:ident, $list:ident, $($rule:ident,)+) => {
        $(
            #[test]
            fn $rule() {
                let rule = $list::$rule(super::$maker);
                $crate::conformance::run(stringify!($maker), stringify!($rule), rule);
            }
        )+
    };
}

/// Several, so that the tasks of a rule run in parallel.
const THREADS: usize = 4;

/// Runs one rule in a runtime of its own. A failure names the storage and the rule.
pub fn run(storage: &str, rule: &str, test: impl Future<Output = ()> + Send + 'static) {
    // Made here and not by an attribute in the macros: these would need the caller's own tokio.
    // On a single thread, a write without an await point is atomic by itself.
    let mut builder = Builder::new_multi_thread();
    let builder = builder.worker_threads(THREADS).enable_all();
    let runtime = builder.build().unwrap();
    let outcome = runtime.block_on(async { tokio::spawn(test).await });
    // A rule that failed may leave threads behind that wait for ever.
    runtime.shutdown_timeout(Duration::from_secs(1));
    // The panic's own text and place were printed when it happened.
    assert!(outcome.is_ok(), "{storage}: {rule}");
}

/// No cookie is a new, empty session, made now.
pub async fn no_cookie_is_a_new_session(make: impl Maker) {
    let (storage, clock) = timed(&make, settings()).await;
    let session = storage.load(&[]).await.unwrap();
    assert_new(&session);
    assert_eq!(session.created(), clock.now());
}

/// A cookie that was never issued is a new session, and no error.
pub async fn unknown_cookie_is_a_new_session(make: impl Maker) {
    let storage = fresh(&make).await;
    let long = "x".repeat(70_000);
    let unknown = [
        "",
        " ",
        "never-issued",
        "0123456789abcdef0123456789abcdef",
        "../../etc/passwd",
        "\r\nDEL *\r\n",
        "\0\u{7f}\u{80}é☃",
        "null",
        "[]",
        "{}",
        "{\"created\": 1",
        "1e999",
        "gAAAAA==",
        &long,
    ];
    for cookie in unknown {
        let session = storage.load(&[cookie]).await;
        assert_new(&session.unwrap_or_else(|error| panic!("{cookie:.40?}: {error}")));
    }
}

/// What was saved is what is loaded: data, order, `created`.
pub async fn saved_session_loads_back(make: impl Maker) {
    let (storage, clock) = timed(&make, settings()).await;
    let values = [
        ("text", json!("Grüße \u{1f680} \"quoted\" \\ / \n\0")),
        ("z", json!(1)),
        ("a", json!(-0.5)),
        ("list", json!([1, null, true, {"deep": [[]]}])),
        ("clé; with, \"odd\" \u{1f511}", json!({"x": ""})),
        ("", json!(u64::MAX)),
    ];
    let mut client = Client::default();
    let session = client.load(&storage).await;
    for (key, value) in &values {
        session.insert(key, value).unwrap();
    }
    assert!(session.is_new() && session.is_changed());
    clock.advance(MINUTE);
    client.save(&storage, &session).await;
    clock.advance(MINUTE);

    let session = client.load(&storage).await;
    assert!(!session.is_new() && !session.is_changed());
    let found: Vec<(String, Value)> = session
        .keys()
        .into_iter()
        .map(|key| (key.clone(), session.get(&key).unwrap().unwrap()))
        .collect();
    let saved: Vec<(String, Value)> = values.map(|(key, value)| (key.to_owned(), value)).into();
    assert_eq!(found, saved);
    assert_eq!(session.created(), clock.now() - MINUTE * 2);
}

/// An untouched value is written back byte for byte, although no Rust type could hold it.
pub async fn untouched_values_survive_byte_for_byte(make: impl Maker) {
    let texts = [
        "1234567890123456789012345678901234567890",
        "1e400",
        "-0.0",
        "1.10",
        "\"\\u00e9\\/\\ud800\"",
        "{\"b\":1,\"a\":[ 1 , 2 ],\"b\":2}",
    ];
    let storage = fresh(&make).await;
    let mut client = Client::default();
    let session = client.load(&storage).await;
    for (index, text) in texts.iter().enumerate() {
        let raw = RawValue::from_string((*text).to_owned()).unwrap();
        session.insert(&index.to_string(), raw).unwrap();
    }
    client.save(&storage, &session).await;
    for turn in 0..3 {
        let session = client.load(&storage).await;
        session.insert("turn", turn).unwrap();
        client.save(&storage, &session).await;
    }
    let session = client.load(&storage).await;
    for (index, text) in texts.iter().enumerate() {
        let raw: Box<RawValue> = session.get(&index.to_string()).unwrap().unwrap();
        assert_eq!(raw.get(), *text);
    }
}

/// `RawValue` is the JSON text itself: in `insert`, `get`, `modify`, `update`, `take` and structs.
pub async fn raw_values_pass_through_byte_for_byte(make: impl Maker) {
    #[derive(Default, Deserialize, Serialize)]
    #[serde(default)]
    struct Data {
        name: String,
        raw: Option<Box<RawValue>>,
    }

    let raw = |text: &str| RawValue::from_string(text.to_owned()).unwrap();
    let texts = [
        "18446744073709551616",
        "-9223372036854775809",
        "1e999",
        "1.10",
        "\"\\ud800 \\u00E9\\/\"",
        "{\"b\":1,\"a\":[ 1 ,null ],\"b\":2}",
    ];
    let list = format!("[{}]", texts.join(", "));
    let storage = fresh(&make).await;
    let mut client = Client::default();
    let session = client.load(&storage).await;
    session.insert("ref", &*raw(texts[0])).unwrap();
    session.insert("box", raw(texts[4])).unwrap();
    let data = Data {
        name: "é".into(),
        raw: Some(raw(&list)),
    };
    session.insert("struct", &data).unwrap();
    session.insert("modified", raw(&list)).unwrap();
    session.insert("updated", raw(&list)).unwrap();
    session.set_data(&data).unwrap();
    client.save(&storage, &session).await;

    let session = client.load(&storage).await;
    let modify = |all: &mut Vec<Box<RawValue>>| all.push(raw(texts[5]));
    session.modify("modified", modify).unwrap();
    let update = |all: Option<Vec<Box<RawValue>>>| all.into_iter().flatten().rev().collect();
    session.update::<Vec<_>>("updated", update).unwrap();
    let mut data: Data = session.data().unwrap();
    data.name = "new".into();
    session.set_data(&data).unwrap();
    client.save(&storage, &session).await;

    let session = client.load(&storage).await;
    let text = |key| session.get::<Box<RawValue>>(key).unwrap().unwrap();
    assert_eq!(text("ref").get(), texts[0]);
    let expected = format!("{{\"name\": \"\\u00e9\", \"raw\": {list}}}");
    assert_eq!(text("struct").get(), expected);
    assert_eq!(text("raw").get(), list);
    assert_eq!(text("name").get(), "\"new\"");
    let expected = format!("[{}, {}]", texts.join(", "), texts[5]);
    assert_eq!(text("modified").get(), expected);
    let mut reversed = texts;
    reversed.reverse();
    assert_eq!(text("updated").get(), format!("[{}]", reversed.join(", ")));
    let taken = session.take::<Box<RawValue>>("box").unwrap().unwrap();
    assert_eq!(taken.get(), texts[4]);
}

/// Saving a session that was only read keeps the cookie.
pub async fn a_read_changes_nothing(make: impl Maker) {
    let (storage, clock) = timed(&make, settings().max_age(HOUR)).await;
    let client = Client::with(&storage, "k", "v").await;
    clock.advance(MINUTE * 30);
    let session = client.load(&storage).await;
    assert_eq!(session.get::<String>("k").unwrap().unwrap(), "v");
    assert!(!session.remove("missing").unwrap());
    assert_eq!(storage.save(&session).await.unwrap(), CookieChange::Keep);
}

/// `changed()` sends the cookie again, and moves neither data nor `created`.
pub async fn a_touch_is_saved(make: impl Maker) {
    let (storage, clock) = timed(&make, settings().max_age(HOUR)).await;
    let mut client = Client::with(&storage, "k", "v").await;
    let created = client.load(&storage).await.created();
    clock.advance(MINUTE * 30);
    let session = client.load(&storage).await;
    session.changed().unwrap();
    let change = client.save(&storage, &session).await;
    assert_eq!(lifetime(&change), Some(HOUR));
    let session = client.load(&storage).await;
    assert_eq!(session.get::<String>("k").unwrap().unwrap(), "v");
    assert_eq!(session.created(), created);
}

/// A session that was never saved and is empty stores nothing and sets no cookie.
pub async fn a_new_empty_session_stores_nothing(make: impl Maker) {
    let storage = fresh(&make).await;
    for cookie in [&[][..], &["0123456789abcdef0123456789abcdef"]] {
        let untouched = storage.load(cookie).await.unwrap();
        assert_eq!(storage.save(&untouched).await.unwrap(), CookieChange::Keep);
        let touched = storage.load(cookie).await.unwrap();
        touched.changed().unwrap();
        assert_eq!(storage.save(&touched).await.unwrap(), CookieChange::Keep);
        let emptied = storage.load(cookie).await.unwrap();
        emptied.insert("k", 1).unwrap();
        emptied.remove("k").unwrap();
        assert_eq!(storage.save(&emptied).await.unwrap(), CookieChange::Keep);
        let renewed = storage.load(cookie).await.unwrap();
        renewed.renew().unwrap();
        assert_eq!(storage.save(&renewed).await.unwrap(), CookieChange::Keep);
        assert!(renewed.is_new());
    }
}

/// `clear()` with nothing set after it removes the session and its cookie.
pub async fn a_cleared_session_is_removed(make: impl Maker) {
    removed_by(make, Session::clear).await;
}

/// In a cookie storage, removing the last key removes the session and its cookie.
pub async fn an_emptied_session_is_removed(make: impl Maker) {
    removed_by(make, |session| session.remove("k").map(drop)).await;
}

async fn removed_by(make: impl Maker, empty: impl Fn(&Session) -> Result<()>) {
    let storage = fresh(&make).await;
    let client = Client::with(&storage, "k", "v").await;
    let session = client.load(&storage).await;
    empty(&session).unwrap();
    assert!(session.is_empty() && session.is_changed());
    let change = storage.save(&session).await.unwrap();
    assert_eq!(change, CookieChange::Remove);
    assert_new(&session);
    assert_eq!(storage.save(&session).await.unwrap(), CookieChange::Keep);
}

/// A client may send several cookies of the name. One that stands for a session is found among
/// cookies that do not.
pub async fn of_several_cookies_one_session_is_loaded(make: impl Maker) {
    let storage = fresh(&make).await;
    let client = Client::with(&storage, "k", "v").await;
    let own = client.cookie.as_deref().unwrap();
    for cookies in [
        &["junk", own][..],
        &[own, "junk"],
        &["a", "b", "c", own, own, "d"],
        &[
            "junk", "junk", "junk", "junk", "junk", "junk", "junk", "junk", "junk", own,
        ],
    ] {
        let session = storage.load(cookies).await.unwrap();
        assert_eq!(session.keys(), ["k"]);
    }
}

/// A session is saved by the storage that loaded it, and by no other: the settings, the codec and
/// the cookie's name may differ.
pub async fn a_session_of_another_storage_is_refused(make: impl Maker) {
    let (storage, other) = (fresh(&make).await, fresh(&make).await);
    let session = other.load(&[]).await.unwrap();
    session.insert("k", "v").unwrap();
    let refused = storage.save(&session).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Settings);
    let saved = other.save(&session).await.unwrap();
    assert!(matches!(saved, CookieChange::Set { .. }));
}

/// `invalidate()` empties the session at once, and removes its cookie.
pub async fn an_invalidated_session_is_removed(make: impl Maker) {
    let storage = fresh(&make).await;
    let client = Client::with(&storage, "k", "v").await;
    let session = client.load(&storage).await;
    session.invalidate().unwrap();
    assert!(session.is_empty() && session.is_changed());
    assert_eq!(storage.save(&session).await.unwrap(), CookieChange::Remove);
    assert_new(&session);
    assert_eq!(storage.save(&session).await.unwrap(), CookieChange::Keep);
}

/// Invalidating a session that was never saved removes a cookie that the client sent. A client that
/// sent none gets no Set-Cookie.
pub async fn invalidating_removes_only_a_cookie_that_was_sent(make: impl Maker) {
    let storage = fresh(&make).await;
    for (cookies, change) in [
        (&[][..], CookieChange::Keep),
        (&["stale"], CookieChange::Remove),
    ] {
        let session = storage.load(cookies).await.unwrap();
        session.insert("k", 1).unwrap();
        session.invalidate().unwrap();
        assert_eq!(storage.save(&session).await.unwrap(), change);
    }
}

/// What is set after `invalidate()` starts another session, with nothing of the old one.
pub async fn what_is_set_after_an_invalidation_is_all_there_is(make: impl Maker) {
    let (storage, clock) = timed(&make, settings().max_age(HOUR)).await;
    let mut client = Client::with(&storage, "old", 1).await;
    let session = client.load(&storage).await;
    session.set_max_age(Some(HOUR * 5)).unwrap();
    session.invalidate().unwrap();
    clock.advance(MINUTE);
    session.insert("new", 2).unwrap();
    let change = client.save(&storage, &session).await;
    assert_eq!(lifetime(&change), Some(HOUR));
    let session = client.load(&storage).await;
    assert_eq!(session.keys(), ["new"]);
    assert_eq!(
        (session.created(), session.max_age()),
        (clock.now(), Some(HOUR))
    );
}

/// `renew()` sets the cookie, and keeps the data; what is written before and after it too.
pub async fn a_renewed_session_keeps_its_data(make: impl Maker) {
    let storage = fresh(&make).await;
    let mut client = Client::with(&storage, "k", "v").await;
    let session = client.load(&storage).await;
    session.insert("before", 1).unwrap();
    session.renew().unwrap();
    session.insert("after", 2).unwrap();
    let change = client.save(&storage, &session).await;
    assert!(matches!(change, CookieChange::Set { .. }), "{change:?}");
    let session = client.load(&storage).await;
    assert!(!session.is_new());
    assert_eq!(session.keys(), ["k", "before", "after"]);
}

/// A session may be changed and saved again; a save with nothing new to save keeps the cookie.
pub async fn a_session_is_saved_again_and_again(make: impl Maker) {
    let (storage, _) = timed(&make, settings().max_age(HOUR)).await;
    let mut client = Client::default();
    let session = client.load(&storage).await;
    for turn in 0..4 {
        session.insert(&format!("k{turn}"), turn).unwrap();
        session.insert("turn", turn).unwrap();
        if turn == 2 {
            session.remove("k0").unwrap();
        }
        let change = client.save(&storage, &session).await;
        assert!(matches!(change, CookieChange::Set { .. }), "{change:?}");
        assert!(!session.is_new() && !session.is_changed());
        assert_eq!(storage.save(&session).await.unwrap(), CookieChange::Keep);
        let loaded = client.load(&storage).await;
        assert_eq!(loaded.keys(), session.keys());
        assert_eq!(loaded.get::<i32>("turn").unwrap(), Some(turn));
    }
    assert_eq!(session.keys(), ["turn", "k1", "k2", "k3"]);
}

/// One handle serves a session's whole life, and the next session's.
pub async fn a_session_is_saved_invalidated_and_saved_again(make: impl Maker) {
    let storage = fresh(&make).await;
    let mut client = Client::default();
    let session = client.load(&storage).await;
    session.insert("first", 1).unwrap();
    client.save(&storage, &session).await;
    session.invalidate().unwrap();
    client.save(&storage, &session).await;
    assert_eq!(client.cookie, None);
    session.insert("second", 2).unwrap();
    assert!(session.is_new());
    client.save(&storage, &session).await;
    assert_eq!(client.load(&storage).await.keys(), ["second"]);
}

/// A session older than its lifetime is a new one.
pub async fn an_expired_session_is_new(make: impl Maker) {
    let (storage, clock) = timed(&make, settings().max_age(HOUR)).await;
    let client = Client::with(&storage, "k", "v").await;
    clock.advance(MINUTE * 59);
    assert_eq!(client.load(&storage).await.keys(), ["k"]);
    clock.advance(MINUTE * 2);
    let session = client.load(&storage).await;
    assert_new(&session);
    assert_eq!(session.created(), clock.now());
}

/// The lifetime counts from the last write; reading and touching do not move it.
pub async fn a_write_restarts_the_lifetime_and_a_read_does_not(make: impl Maker) {
    let (storage, clock) = timed(&make, settings().max_age(HOUR)).await;
    let mut client = Client::with(&storage, "k", 0).await;
    for turn in 0..3 {
        clock.advance(MINUTE * 50);
        let session = client.load(&storage).await;
        session.insert("k", turn).unwrap();
        let change = client.save(&storage, &session).await;
        assert_eq!(lifetime(&change), Some(HOUR));
    }
    clock.advance(MINUTE * 50);
    let session = client.load(&storage).await;
    assert_eq!(storage.save(&session).await.unwrap(), CookieChange::Keep);
    session.changed().unwrap();
    client.save(&storage, &session).await;
    clock.advance(MINUTE * 11);
    assert_new(&client.load(&storage).await);
}

/// `set_max_age()` is kept with the session, and goes before the storage's, longer or shorter.
pub async fn a_lifetime_of_its_own_is_kept(make: impl Maker) {
    for (own, alive, more) in [
        (Some(MINUTE * 10), MINUTE * 9, MINUTE * 2),
        (Some(HOUR * 3), HOUR * 2, HOUR * 2),
        (None, HOUR * 1000, Duration::ZERO),
    ] {
        let (storage, clock) = timed(&make, settings().max_age(HOUR)).await;
        let mut client = Client::with(&storage, "k", "v").await;
        let session = client.load(&storage).await;
        session.set_max_age(own).unwrap();
        assert_eq!(lifetime(&client.save(&storage, &session).await), own);
        clock.advance(alive);
        let session = client.load(&storage).await;
        assert_eq!((session.len(), session.max_age()), (1, own));
        if own.is_some() {
            clock.advance(more);
            assert_new(&client.load(&storage).await);
        }
    }
}

/// Where the settings say so, reads restart the lifetime, at most once per tenth of it.
pub async fn rolling_reads_restart_the_lifetime(make: impl Maker) {
    let (storage, clock) = timed(&make, settings().max_age(HOUR).rolling(true)).await;
    let mut client = Client::with(&storage, "k", "v").await;
    clock.advance(MINUTE * 5);
    let session = client.load(&storage).await;
    assert_eq!(storage.save(&session).await.unwrap(), CookieChange::Keep);
    clock.advance(MINUTE * 5);
    for _ in 0..3 {
        clock.advance(MINUTE * 45);
        let session = client.load(&storage).await;
        assert!(!session.is_new() && !session.is_changed());
        let change = client.save(&storage, &session).await;
        assert_eq!(lifetime(&change), Some(HOUR));
        assert_eq!(storage.save(&session).await.unwrap(), CookieChange::Keep);
    }
    assert_eq!(client.load(&storage).await.keys(), ["k"]);
    clock.advance(HOUR + SECOND);
    assert_new(&client.load(&storage).await);
}

/// An absolute lifetime ends a session so long after its start, whatever is written or renewed.
pub async fn an_absolute_lifetime_ends_a_session(make: impl Maker) {
    let cookie = settings().max_age(HOUR).absolute_max_age(HOUR * 2);
    let (storage, clock) = timed(&make, cookie).await;
    let mut client = Client::with(&storage, "k", 0).await;
    for (turn, wait, left) in [
        (1, SECOND * 2400, HOUR),
        (2, SECOND * 2400, SECOND * 2400),
        (3, SECOND * 2399, SECOND),
    ] {
        clock.advance(wait);
        let session = client.load(&storage).await;
        session.insert("k", turn).unwrap();
        if turn == 1 {
            session.renew().unwrap();
        }
        assert_eq!(lifetime(&client.save(&storage, &session).await), Some(left));
    }
    clock.advance(SECOND * 2);
    assert_new(&client.load(&storage).await);
    // The next one starts from now.
    let mut client = Client::with(&storage, "k", 4).await;
    let session = client.load(&storage).await;
    session.changed().unwrap();
    let change = client.save(&storage, &session).await;
    assert_eq!(lifetime(&change), Some(HOUR));
}

/// No value, cookie or identity shows in what is printed for debugging.
pub async fn nothing_secret_prints(make: impl Maker) {
    let storage = fresh(&make).await;
    let mut client = Client::default();
    let session = client.load(&storage).await;
    session.insert("sekrit-key", "sekrit-value").unwrap();
    let change = client.save(&storage, &session).await;
    let printed = format!(
        "{storage:?} {session:?} {change:?} {:?}",
        session.identity()
    );
    let cookie = client.cookie.unwrap();
    assert!(
        !printed.contains("sekrit") && !printed.contains(&cookie),
        "{printed}"
    );
}

/// A client: it sends the cookie that it was given.
#[derive(Default)]
struct Client {
    cookie: Option<String>,
}

impl Client {
    /// A client with a session that holds one value.
    async fn with(storage: &dyn Storage, key: &str, value: impl serde::Serialize) -> Self {
        let mut client = Self::default();
        let session = client.load(storage).await;
        session.insert(key, value).unwrap();
        client.save(storage, &session).await;
        assert!(client.cookie.is_some());
        client
    }

    async fn load(&self, storage: &dyn Storage) -> Session {
        storage
            .load(self.cookie.as_deref().as_slice())
            .await
            .unwrap()
    }

    async fn save(&mut self, storage: &dyn Storage, session: &Session) -> CookieChange {
        let change = storage.save(session).await.unwrap();
        match &change {
            CookieChange::Keep => {}
            CookieChange::Set { value, .. } => self.cookie = Some(value.clone()),
            CookieChange::Remove => self.cookie = None,
        }
        change
    }

    /// The identity that a server-side storage gave it.
    fn identity(&self) -> &str {
        self.cookie.as_deref().unwrap()
    }
}

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

fn settings() -> CookieBuilder {
    CookieSettings::builder("conformance")
}

async fn fresh<M: Maker>(make: &M) -> M::Storage {
    timed(make, settings()).await.0
}

/// Makes a storage whose clock starts at the present time, in whole seconds.
async fn timed<M: Maker>(make: &M, cookie: CookieBuilder) -> (M::Storage, ManualClock) {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let clock = ManualClock::at(UNIX_EPOCH + Duration::from_secs(since.as_secs()));
    let storage = make.make(cookie.build().unwrap(), clock.clone()).await;
    (storage, clock)
}

#[track_caller]
fn assert_new(session: &Session) {
    let blank = session.is_new() && session.is_empty() && session.identity().is_none();
    assert!(blank && !session.is_changed(), "{session:?}");
}

/// How long the browser keeps a cookie that was set.
#[track_caller]
fn lifetime(change: &CookieChange) -> Option<Duration> {
    match change {
        CookieChange::Set { max_age, .. } => *max_age,
        _ => panic!("the cookie is not set: {change:?}"),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_rule_is_in_a_list() {
        for source in [
            include_str!("mod.rs"),
            include_str!("keyed.rs"),
            include_str!("backend.rs"),
            include_str!("users.rs"),
        ] {
            let rules = source
                .lines()
                .filter_map(|line| line.strip_prefix("pub async fn "))
                .filter_map(|line| line.split_once("(make: "));
            let listed = |rule: &str| source.lines().any(|line| line.trim() == format!("{rule},"));
            let missing: Vec<&str> = rules
                .map(|(rule, _)| rule)
                .filter(|rule| !listed(rule))
                .collect();
            assert!(missing.is_empty(), "{missing:?}");
        }
    }
}
