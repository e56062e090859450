//! The parity program's own handler, in process, on a storage of any kind.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use http::{HeaderValue, Request, header};
use http_body_util::{BodyExt as _, Full};
use hyper::service::{Service as _, service_fn};
use serde_json::Value;
use session_cookie::{EncryptedCookieStorage, Key, NaClCookieStorage, SimpleCookieStorage};
use session_core::{CookieSettings, Result, Storage};
use session_hyper::SessionService;
use session_tests::real::{Lease, Left, RealStore};
use session_tests::vectors::{self, NAME};
use session_tests::wire::{SetCookie, canonical, unquoted};

use crate::differences::{GRACE, same};
use crate::{parity, reference};

/// A storage of some kind with the vectors' key and clock, and the program around it.
pub(crate) struct Program {
    pub(crate) kind: String,
    pub(crate) storage: Arc<dyn Storage>,
    store: Option<Lease>,
}

/// What the program responded.
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) location: Option<String>,
    pub(crate) body: String,
    pub(crate) set_cookie: Option<SetCookie>,
}

/// The cookie settings that aiohttp_session's defaults amount to.
pub(crate) fn settings(max_age: Option<i64>) -> Result<CookieSettings> {
    CookieSettings::builder(NAME)
        .secure(false)
        .same_site(None)
        .max_age(max_age.map(|seconds| Duration::from_secs(u64::try_from(seconds).unwrap())))
        .build()
}

impl Program {
    pub(crate) async fn new(kind: &str, cookie: CookieSettings) -> Self {
        let key = || Key::from(vectors::key());
        let clock = vectors::clock();
        let mut store = None;
        let storage: Arc<dyn Storage> = match kind {
            "simple" => Arc::new(
                SimpleCookieStorage::unprotected()
                    .with_cookie(cookie)
                    .with_clock(clock),
            ),
            "fernet" => Arc::new(
                EncryptedCookieStorage::new(key())
                    .with_cookie(cookie)
                    .with_clock(clock),
            ),
            "nacl" => Arc::new(
                NaClCookieStorage::new(key())
                    .with_cookie(cookie)
                    .with_clock(clock),
            ),
            _ => {
                let store = store.insert(Lease::of(kind));
                store.storage(cookie, Some(clock), false).await
            }
        };
        Self {
            kind: kind.to_owned(),
            storage,
            store,
        }
    }

    pub(crate) fn is_keyed(&self) -> bool {
        self.store.is_some()
    }

    /// The Redis or the memcached that the records are in.
    pub(crate) fn store(&self) -> &RealStore {
        self.store.as_ref().expect("the record is in the cookie")
    }

    /// How many writes the store has carried out, other than of what the test put there.
    pub(crate) fn writes(&self) -> u64 {
        self.store.as_ref().map_or(0, |store| store.writes())
    }

    /// Returns what is in the store.
    pub(crate) fn stored(&self, key: &str) -> Option<String> {
        let found = self.store().get(key)?;
        Some(String::from_utf8(found).unwrap())
    }

    pub(crate) async fn send(&self, request: &str, cookie: Option<&[u8]>, body: &str) -> Reply {
        let (method, path) = request.split_once(' ').unwrap();
        let mut sent = Request::builder().method(method).uri(path);
        if let Some(cookie) = cookie {
            sent = sent.header(header::COOKIE, HeaderValue::from_bytes(cookie).unwrap());
        }
        let sent = sent.body(Full::new(Bytes::copy_from_slice(body.as_bytes())));
        let service = SessionService::new(self.storage.clone(), service_fn(parity::handle));
        let response = service.call(sent.unwrap()).await.unwrap();
        let (head, body) = response.into_parts();
        let cookies: Vec<_> = head.headers.get_all(header::SET_COOKIE).iter().collect();
        assert!(cookies.len() <= 1, "{cookies:?}");
        let body = body.collect().await.unwrap().to_bytes();
        Reply {
            status: head.status.as_u16(),
            location: head
                .headers
                .get(header::LOCATION)
                .map(|value| value.to_str().unwrap().to_owned()),
            body: String::from_utf8(body.to_vec()).unwrap(),
            set_cookie: cookies
                .first()
                .map(|header| SetCookie::parse(std::str::from_utf8(header.as_bytes()).unwrap())),
        }
    }

    /// Returns the record that a cookie which was just set stands for.
    pub(crate) fn payload(&self, cookie: &SetCookie) -> String {
        let value = unquoted(&cookie.raw);
        match self.kind.as_str() {
            "simple" => value,
            "fernet" => reference::open_fernet(&value).payload,
            "nacl" => reference::open_nacl(&value).1,
            _ => self.stored(&format!("{NAME}_{value}")).unwrap_or_default(),
        }
    }

    /// Makes the cookie's value that stands for `payload`, storing it where that is needed.
    pub(crate) fn wrap(&self, payload: &str) -> String {
        match self.kind.as_str() {
            "simple" => payload.to_owned(),
            "fernet" => reference::seal_fernet(vectors::NOW, [7; 16], payload),
            "nacl" => reference::seal_nacl([7; 24], payload),
            _ => {
                let key = "0123456789abcdef0123456789abcdef";
                self.store()
                    .put(&format!("{NAME}_{key}"), payload.as_bytes());
                key.to_owned()
            }
        }
    }
}

/// Compares what a record has to live with a lifetime of its session. See [`GRACE`].
pub(crate) fn lives_for(left: Left, max_age: Option<u64>) -> std::result::Result<(), String> {
    let wanted = max_age.map(|seconds| seconds + GRACE);
    if left.is_about(wanted) {
        return Ok(());
    }
    Err(format!("time to live is {left:?}, not {wanted:?}"))
}

/// Checks that the record at `key` was ended: it is this tombstone, for a minute. See
/// [`differences`](crate::differences).
pub(crate) fn is_tombstone(
    program: &Program,
    key: &str,
    tombstone: &str,
) -> std::result::Result<(), String> {
    same("tombstone", program.stored(key), Some(tombstone.to_owned()))?;
    let left = program.store().left(key);
    same("the tombstone's minute", left.is_about(Some(60)), true)
}

/// A handler's view of the session.
#[derive(Debug)]
pub(crate) struct View {
    pub(crate) new: bool,
    pub(crate) identity: Option<String>,
    pub(crate) created: i64,
    /// Canonical text.
    pub(crate) data: String,
}

impl View {
    pub(crate) fn parse(body: &str) -> Self {
        // The data comes last, and may be what no parser takes.
        let (head, data) = body.split_once(", \"data\": ").unwrap();
        let head: Value = serde_json::from_str(&format!("{head}}}")).unwrap();
        Self {
            new: head["new"].as_bool().unwrap(),
            identity: head["identity"].as_str().map(ToOwned::to_owned),
            created: head["created"].as_i64().unwrap(),
            data: canonical(data.strip_suffix('}').unwrap()),
        }
    }
}

/// Unix seconds of the vectors' clock and a record made then.
pub(crate) fn record(session: &str) -> String {
    let now = vectors::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    format!("{{\"created\": {now}, \"session\": {session}}}")
}
