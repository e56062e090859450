//! What the tests share: handlers, storages, a backend that fails, and what a response must be.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::header::SET_COOKIE;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use session_cookie::{EncryptedCookieStorage, Key, NaClCookieStorage, SimpleCookieStorage};
use session_core::{
    DEFAULT_NAME, Error, ErrorKind, KeyedStorage, MemoryBackend, MemoryStorage, RequestSession,
    Result, Session, Storage,
};
use session_tests::server::{BoxError, Server, TestResponse, pair, set_cookies};
use session_tests::stores::Call;
use session_tests::wrap_backend;
use tokio::sync::mpsc;

use crate::ADAPTER;

pub(crate) type Page = std::result::Result<Response<Full<Bytes>>, BoxError>;

/// What a handler under test sets itself, and with which status it responds.
pub(crate) type Headers = &'static [(&'static str, &'static str)];

pub(crate) fn page(status: u16, headers: Headers) -> Page {
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(*name, *value);
    }
    Ok(response.body(Full::from("page"))?)
}

/// A server whose handler does `act` to the session, then responds with `headers`.
pub(crate) async fn serve(
    storage: Arc<dyn Storage>,
    act: fn(&Session) -> Result<()>,
    status: u16,
    headers: Headers,
) -> Server {
    ADAPTER
        .start(storage, move |request: Request<Incoming>| async move {
            act(&request.session().await?)?;
            page(status, headers)
        })
        .await
}

pub(crate) fn storages() -> [Arc<dyn Storage>; 5] {
    [
        Arc::new(SimpleCookieStorage::unprotected()),
        Arc::new(EncryptedCookieStorage::new(Key::from([1; 32]))),
        Arc::new(NaClCookieStorage::new(Key::from([1; 32]))),
        Arc::new(MemoryStorage::default()),
        Arc::new(KeyedStorage::new(MemoryBackend::new()).hash_identities(true)),
    ]
}

/// Returns the storages of [`storages`], and whether an update sends the cookie. It does not if the
/// cookie is only an identity and has no Max-Age to restart.
pub(crate) fn storages_and_updates() -> impl Iterator<Item = (Arc<dyn Storage>, bool)> {
    storages().into_iter().zip([true, true, true, false, false])
}

pub(crate) fn read(session: &Session) -> Result<()> {
    session.get::<u64>("n").map(drop)
}

pub(crate) fn write(session: &Session) -> Result<()> {
    session.insert("n", 1)
}

pub(crate) fn overwrite(session: &Session) -> Result<()> {
    session.insert("n", 2)
}

/// Serves a handler that fills the session up to `len` characters under one key.
pub(crate) async fn fill(storage: Arc<dyn Storage>, len: usize) -> Server {
    ADAPTER
        .start(storage, move |request: Request<Incoming>| async move {
            request.session().await?.insert("a", "x".repeat(len))?;
            page(200, &[])
        })
        .await
}

pub(crate) fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Saves a session and returns what a browser would send from then on.
pub(crate) async fn saved(storage: &Arc<dyn Storage>) -> String {
    let server = serve(storage.clone(), write, 200, &[]).await;
    one_cookie(&server.get("/", &[]).await)
}

/// Returns what a request with `cookie` finds under `n`.
pub(crate) async fn stored(storage: &Arc<dyn Storage>, cookie: &str) -> Option<u64> {
    let (send, mut receive) = mpsc::unbounded_channel();
    let server = ADAPTER
        .start(storage.clone(), move |request: Request<Incoming>| {
            let send = send.clone();
            async move {
                send.send(request.session().await?.get::<u64>("n")?)?;
                page(200, &[])
            }
        })
        .await;
    assert_eq!(server.get("/", &[cookie.as_bytes()]).await.status(), 200);
    receive.recv().await.unwrap()
}

/// Returns the one session cookie that a response sets.
#[track_caller]
pub(crate) fn one_cookie(response: &TestResponse) -> String {
    let set = set_cookies(response, DEFAULT_NAME);
    assert_eq!(set.len(), 1, "{:?}", response.headers());
    pair(&set[0]).to_owned()
}

#[track_caller]
pub(crate) fn values<'a>(response: &'a TestResponse, name: &str) -> Vec<&'a str> {
    let all = response.headers().get_all(name).iter();
    all.map(|value| value.to_str().unwrap()).collect()
}

/// The response to a failure says what it must and no more.
#[track_caller]
pub(crate) fn assert_bare(response: &TestResponse, status: StatusCode) {
    assert_eq!(response.status(), status);
    assert!(response.body().is_empty(), "{:?}", response.body());
    assert_eq!(values(response, "cache-control"), ["no-store"]);
    assert!(!response.headers().contains_key(SET_COOKIE));
    let own = [
        "cache-control",
        "content-length",
        "date",
        "connection",
        "vary",
    ];
    for name in response.headers().keys() {
        assert!(own.contains(&name.as_str()), "{name}");
    }
}

/// A backend in memory that can be switched off. Every call is then an error, whose text must not
/// leave the server.
#[derive(Clone, Debug, Default)]
pub(crate) struct Switch {
    pub(crate) inner: Arc<MemoryBackend>,
    off: Arc<AtomicBool>,
}

const INSIDE: &str = "password=swordfish at 10.0.0.1";

impl Switch {
    pub(crate) fn turn(&self, on: bool) {
        self.off.store(!on, Ordering::SeqCst);
    }

    async fn around<T>(
        &self,
        _: Call,
        _: &str,
        inner: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        if self.off.load(Ordering::SeqCst) {
            return Err(Error::new(ErrorKind::Unavailable, INSIDE));
        }
        inner.await
    }
}

wrap_backend!(Switch);
