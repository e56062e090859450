//! A whole request through the service around a handler.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, COOKIE, SET_COOKIE, VARY};
use http::{HeaderValue, Request, Response, StatusCode};
use hyper::service::{Service as _, service_fn};
use session_cookie::{EncryptedCookieStorage, Key, NaClCookieStorage, SimpleCookieStorage};
use session_core::{
    Backend, Create, DEFAULT_NAME, Error, KeyedStorage, MAX_CANDIDATES, MemoryBackend, Replace,
    RequestSession as _, Result, Storage, Versioned,
};
use session_hyper::SessionService;

use super::now;
use crate::vectors;

/// The input is a byte that says what the handler does, and Cookie header lines. On every storage the
/// answer is a 200 with at most one Set-Cookie, which the next request comes back with; and a store is
/// asked for well-formed identities only.
pub fn request(data: &[u8]) {
    let (what, lines) = data.split_first().unwrap_or((&0, &[]));
    // A plain cookie that grows out of the client's own would be too large, which is an error.
    let lines = &lines[..lines.len().min(900)];
    let lines: Vec<HeaderValue> = lines
        .split(|b| *b == b'\n')
        .filter_map(|line| HeaderValue::from_bytes(line).ok())
        .collect();
    let clock = vectors::clock();
    let asked: Asked = Asked::default();
    let watched = Watched {
        inner: MemoryBackend::new().with_clock(clock.clone()),
        asked: asked.clone(),
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
            let reads = asked.lock().unwrap().len();
            assert!(reads <= MAX_CANDIDATES + 2, "{reads}");
            assert_eq!(*first.body(), seen(true, 0), "nobody's identity is known");
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

/// The keys that a backend was asked for.
type Asked = Arc<Mutex<Vec<String>>>;

/// Looks at every key before the store sees it.
#[derive(Debug)]
struct Watched {
    inner: MemoryBackend,
    asked: Asked,
}

impl Watched {
    fn look(&self, key: &str) {
        let identity = key
            .strip_prefix(DEFAULT_NAME)
            .and_then(|key| key.strip_prefix('_'));
        let identity = identity.expect("the cookie's name comes first");
        let shaped = identity
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || c == '-');
        assert!(shaped && (16..=128).contains(&identity.len()), "{key:?}");
        self.asked.lock().unwrap().push(key.to_owned());
    }
}

impl Backend for Watched {
    async fn read(&self, key: &str) -> Result<Option<Versioned>> {
        self.look(key);
        self.inner.read(key).await
    }

    async fn create(&self, key: &str, value: Bytes, ttl: Option<Duration>) -> Result<Create> {
        self.look(key);
        self.inner.create(key, value, ttl).await
    }

    async fn replace(
        &self,
        key: &str,
        value: Bytes,
        ttl: Option<Duration>,
        was: &Versioned,
    ) -> Result<Replace> {
        self.look(key);
        self.inner.replace(key, value, ttl, was).await
    }

    async fn delete(&self, key: &str, was: Option<&Versioned>) -> Result<Replace> {
        self.look(key);
        self.inner.delete(key, was).await
    }
}
