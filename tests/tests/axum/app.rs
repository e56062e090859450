//! A storage whose calls a test can count and fail, and a client for a router.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use http::header::{COOKIE, SET_COOKIE};
use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt as _;
use session_tests::logs::Logs;
use session_tests::stores::{Calls, Counting, Failing, Gate};
use session_tower::{CookieSettings, Storage as _};
use tower::ServiceExt as _;

pub(crate) type Store =
    session_core::KeyedStorage<Counting<Failing<Gate<session_core::MemoryBackend>>>>;

pub(crate) const NO_CALLS: Calls = Calls {
    read: 0,
    create: 0,
    update: 0,
    end: 0,
};

pub(crate) const ONE_READ: Calls = Calls {
    read: 1,
    ..NO_CALLS
};

/// Returns a storage whose cookie is called `name`, and the `name=value` of a session in which `k`
/// is 1.
pub(crate) async fn store(name: &'static str) -> (Arc<Store>, String) {
    let memory = session_core::MemoryBackend::new();
    let backend = Counting::new(Failing::new(Gate::new(memory)));
    let cookie = CookieSettings::builder(name).build().unwrap();
    let storage = Arc::new(Store::new(backend).with_cookie(cookie));
    let session = storage.load(&[]).await.unwrap();
    session.insert("k", 1).unwrap();
    storage.save(&session).await.unwrap();
    storage.backend().take();
    let identity = session.identity().unwrap();
    (storage, format!("{name}={}", identity.as_str()))
}

/// Returns the keys of the session that a `name=value` stands for; `None` if it stands for none.
pub(crate) async fn keys(storage: &Arc<Store>, cookie: &str) -> Option<Vec<String>> {
    let (_, value) = cookie.split_once('=').unwrap();
    let session = storage.load(&[value]).await.unwrap();
    (!session.is_new()).then(|| session.keys())
}

/// What the client sees of a response.
#[derive(Debug)]
pub(crate) struct TestResponse {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

/// Sends `GET path` to a router.
pub(crate) async fn get(app: &Router, path: &str, cookies: &str) -> TestResponse {
    let mut request = Request::get(path);
    if !cookies.is_empty() {
        request = request.header(COOKIE, cookies);
    }
    let request = request.body(Body::empty()).unwrap();
    let response = app.clone().oneshot(request).await.unwrap();
    let (head, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    TestResponse {
        status: head.status,
        headers: head.headers,
        body: String::from_utf8(body.into()).unwrap(),
    }
}

impl TestResponse {
    /// Returns the `name=value` of each cookie that the response sets.
    pub(crate) fn cookies(&self) -> Vec<&str> {
        let headers = self.headers.get_all(SET_COOKIE).iter();
        let texts = headers.map(|header| header.to_str().unwrap());
        texts.map(|text| text.split(';').next().unwrap()).collect()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        Some(self.headers.get(name)?.to_str().unwrap())
    }
}

/// Returns the events of a level.
pub(crate) fn events(logs: &Logs, level: &str) -> Vec<String> {
    let text = logs.text();
    let lines = text.lines().filter(|line| line.contains(level));
    lines.map(str::to_owned).collect()
}
