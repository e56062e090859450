//! A whole request through the service around a handler.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::header::{CACHE_CONTROL, COOKIE, SET_COOKIE, VARY};
use http::{HeaderValue, Request, Response, StatusCode};
use hyper::service::{Service as _, service_fn};
use session_cookie::{EncryptedCookieStorage, Key, NaClCookieStorage, SimpleCookieStorage};
use session_core::keyed::{Backend, Found, OnlyIf, Outcome, Write};
use session_core::{
    DEFAULT_NAME, Error, KeyedStorage, MemoryBackend, RequestSession as _, Result, Storage,
};
use session_hyper::SessionService;

use super::header::model;
use super::now;
use crate::vectors;

/// How many identities of a client's cookies a server-side storage tries.
const MOST: usize = 8;

/// The input is a byte that says what the handler does, and Cookie header lines. On every storage
/// the response is a 200 with at most one Set-Cookie, which the next request comes back with. A
/// store is asked for the first eight well-formed identities, and for nothing else.
pub fn request(data: &[u8]) {
    let (what, lines) = data.split_first().unwrap_or((&0, &[]));
    // A plain cookie that grows out of the client's own would be too large, which is an error.
    let lines = &lines[..lines.len().min(900)];
    let lines: Vec<HeaderValue> = lines
        .split(|b| *b == b'\n')
        .filter_map(|line| HeaderValue::from_bytes(line).ok())
        .collect();
    let clock = vectors::clock();
    let calls = Calls::default();
    let watched = Watched {
        inner: MemoryBackend::new().with_clock(clock.clone()),
        calls: calls.clone(),
    };
    let key = || Key::from(vectors::key());
    let encrypted = EncryptedCookieStorage::new(key()).with_clock(clock.clone());
    let storages: [Arc<dyn Storage>; 4] = [
        Arc::new(SimpleCookieStorage::unprotected().with_clock(clock.clone())),
        Arc::new(encrypted.with_fallback_key(Key::from([9; 32]))),
        Arc::new(NaClCookieStorage::new(key()).with_clock(clock.clone())),
        Arc::new(KeyedStorage::new(watched).with_clock(clock)),
    ];
    for (at, storage) in storages.iter().enumerate() {
        let first = ask(storage, &lines, *what % 7);
        if at == 3 {
            let calls = std::mem::take(&mut *calls.lock().unwrap());
            check_calls(&calls, *what % 7, &identities(&lines));
            assert_eq!(*first.body(), seen(true, 0), "no identity is known");
        }
        let Some(set) = first.headers().get(SET_COOKIE) else {
            continue;
        };
        let end = set.as_bytes().iter().position(|b| *b == b';').unwrap();
        let pair = HeaderValue::from_bytes(&set.as_bytes()[..end]).unwrap();
        let again = ask(storage, &[pair], 0);
        assert!(!again.headers().contains_key(SET_COOKIE));
        if set.to_str().is_ok_and(|set| set.contains("Max-Age=0")) {
            assert_eq!(*again.body(), seen(true, 0), "a removed cookie is none");
        } else {
            assert!(again.body().starts_with("old ") && *again.body() != seen(false, 0));
        }
    }
}

/// Returns the identities that the storage tries: the first eight that differ.
fn identities(lines: &[HeaderValue]) -> Vec<String> {
    let pairs = lines
        .iter()
        .flat_map(|line| model::pairs(line.as_bytes()))
        .filter(|(name, _)| *name == DEFAULT_NAME.as_bytes());
    let values = pairs.filter_map(|(_, value)| str::from_utf8(value).ok());
    let mut identities = Vec::new();
    for value in values.map(model::unquote).filter(|value| is_shaped(value)) {
        if !identities.contains(&value) {
            identities.push(value);
        }
    }
    identities.truncate(MOST);
    identities
}

/// Returns whether it is an identity that a storage without a key factory makes.
fn is_shaped(identity: &str) -> bool {
    let is_shaped = |c: char| c.is_ascii_alphanumeric() || c == '-';
    (16..=128).contains(&identity.len()) && identity.chars().all(is_shaped)
}

/// Checks what the first request asked of an empty store.
fn check_calls(calls: &[Call], what: u8, identities: &[String]) {
    let read = |identity: &String| Call::Read(identity.clone());
    let mut expected: Vec<Call> = identities.iter().map(read).collect();
    match what {
        1 => expected.push(Call::Create),
        // A logout looks for what it can end.
        4 => expected.extend(identities.iter().map(read)),
        // A login stores the new record first. It leaves a tombstone at each identity.
        5 => {
            expected.push(Call::Create);
            for identity in identities {
                expected.extend([read(identity), Call::Tombstone(identity.clone())]);
            }
        }
        _ => {}
    }
    assert_eq!(calls, expected);
}

/// Whether the session was new, and how much was in it.
fn seen(new: bool, len: usize) -> String {
    format!("{} {len}", if new { "new" } else { "old" })
}

fn ask(storage: &Arc<dyn Storage>, lines: &[HeaderValue], what: u8) -> Response<String> {
    let handler = move |request: Request<String>| async move {
        let session = request.session().await?;
        let seen = seen(session.is_new(), session.len());
        match what {
            0 => {}
            1 => session.insert("n", 1)?,
            2 => session.changed()?,
            3 => session.renew()?,
            4 => session.invalidate()?,
            5 => request.new_session()?.insert("n", 1)?,
            _ => session.set_max_age(Duration::from_secs(60))?,
        }
        Ok::<_, Error>(Response::new(seen))
    };
    let service = SessionService::new(storage.clone(), service_fn(handler));
    let mut request = Request::new(String::new());
    for line in lines {
        request.headers_mut().append(COOKIE, line.clone());
    }
    let response = now(service.call(request)).unwrap();
    assert_eq!(response.status(), StatusCode::OK, "{storage:?}");
    let headers = response.headers();
    assert_eq!(headers[VARY], "Cookie");
    let set: Vec<_> = headers.get_all(SET_COOKIE).iter().collect();
    assert!(set.len() <= 1, "{set:?}");
    assert_eq!(set.is_empty(), !headers.contains_key(CACHE_CONTROL));
    for set in set {
        assert!(set.as_bytes().starts_with(DEFAULT_NAME.as_bytes()));
        assert!(set.as_bytes().ends_with(b"Path=/") || set.as_bytes().ends_with(b"GMT"));
    }
    response
}

/// A call of the backend, with the identity in its key.
#[derive(Debug, Eq, PartialEq)]
enum Call {
    Read(String),
    /// A record under an identity that was drawn for it.
    Create,
    Tombstone(String),
}

/// The calls of a backend.
type Calls = Arc<Mutex<Vec<Call>>>;

/// Looks at every key before the store sees it.
#[derive(Debug)]
struct Watched {
    inner: MemoryBackend,
    calls: Calls,
}

impl Watched {
    fn note(&self, key: &str, call: impl Fn(String) -> Call) {
        let identity = key
            .strip_prefix(DEFAULT_NAME)
            .and_then(|key| key.strip_prefix('_'));
        let identity = identity.expect("the cookie's name comes first");
        assert!(is_shaped(identity), "{key:?}");
        self.calls.lock().unwrap().push(call(identity.to_owned()));
    }
}

impl Backend for Watched {
    async fn read(&self, key: &str) -> Result<Found> {
        self.note(key, Call::Read);
        self.inner.read(key).await
    }

    async fn write(&self, key: &str, write: Write, only_if: OnlyIf<'_>) -> Result<Outcome> {
        assert!(matches!(only_if, OnlyIf::Missing), "the store is empty");
        if write.is_tombstone() {
            self.note(key, Call::Tombstone);
        } else {
            self.note(key, |_| Call::Create);
        }
        self.inner.write(key, write, only_if).await
    }

    async fn bound<F: Future + Send>(&self, waiting: F, times: u32) -> Result<F::Output> {
        self.inner.bound(waiting, times).await
    }
}
