//! The two programs side by side, and a client for both.

use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE, COOKIE, HOST, LOCATION, SET_COOKIE};
use http::{HeaderValue, Request};
use http_body_util::Full;
use serde_json::Value;
use session_tests::examples::program;
use session_tests::python::Process;
use session_tests::real::{KINDS, Lease, RealStore};
use session_tests::vectors;
use session_tests::wire::{SetCookie, canonical};

use crate::ADAPTER;
use crate::model::Side;

/// The oracle and the parity program, on the same kind of storage with the same key.
pub(crate) struct Pair {
    oracle: Process,
    parity: Process,
    store: Option<Lease>,
}

pub(crate) struct TestResponse {
    pub(crate) status: u16,
    pub(crate) body: String,
    pub(crate) content_type: String,
    pub(crate) location: String,
    pub(crate) allow: String,
    pub(crate) set_cookie: Option<SetCookie>,
}

impl Pair {
    pub(crate) fn start(kind: &str, max_age: Option<u64>) -> Self {
        Self::start_with(kind, max_age, &[])
    }

    /// The same, with flags for our program alone.
    pub(crate) fn start_with(kind: &str, max_age: Option<u64>, ours: &[&str]) -> Self {
        let max_age = max_age.map_or("none".to_owned(), |age| age.to_string());
        let key = URL_SAFE.encode(vectors::key());
        let mut flags = ["--storage", kind, "--key", &key, "--max-age", &max_age]
            .map(str::to_owned)
            .to_vec();
        let store = KINDS.contains(&kind).then(|| Lease::of(kind));
        flags.extend(store.iter().flat_map(|store| store.flags()));
        Self {
            oracle: Process::oracle(&flags),
            parity: Process::start(
                Command::new(program("parity"))
                    .args(["--port", "0", "--adapter", ADAPTER.name()])
                    .args(&flags)
                    .args(ours),
            ),
            store,
        }
    }

    /// The Redis or the memcached that both programs use.
    pub(crate) fn store(&self) -> &RealStore {
        self.store.as_ref().expect("the session is in the cookie")
    }

    /// Asks the program of `side`.
    pub(crate) async fn ask(
        &self,
        side: Side,
        method: &str,
        path: &str,
        cookie: Option<String>,
        body: &str,
    ) -> TestResponse {
        let program = match side {
            Side::Python => &self.oracle,
            Side::Ours => &self.parity,
        };
        send(program, method, path, cookie, body).await
    }

    /// Asks aiohttp_session, with a Cookie header of `cookie`.
    pub(crate) async fn oracle(
        &self,
        method: &str,
        path: &str,
        cookie: Option<String>,
        body: &str,
    ) -> TestResponse {
        send(&self.oracle, method, path, cookie, body).await
    }

    /// Asks our program.
    pub(crate) async fn parity(
        &self,
        method: &str,
        path: &str,
        cookie: Option<String>,
        body: &str,
    ) -> TestResponse {
        send(&self.parity, method, path, cookie, body).await
    }
}

pub(crate) async fn send(
    to: &Process,
    method: &str,
    path: &str,
    cookie: Option<String>,
    body: &str,
) -> TestResponse {
    let mut request = Request::builder().method(method).uri(path);
    request = request.header(HOST, "localhost");
    if let Some(cookie) = cookie {
        request = request.header(COOKIE, HeaderValue::from_bytes(cookie.as_bytes()).unwrap());
    }
    let body = Full::new(Bytes::copy_from_slice(body.as_bytes()));
    let (head, body) = to.send(request.body(body).unwrap()).await.into_parts();
    let text = |name| {
        let value = head
            .headers
            .get(name)
            .map(|value: &HeaderValue| value.to_str());
        value.map_or(String::new(), |value| value.unwrap().to_owned())
    };
    let cookies: Vec<_> = head.headers.get_all(SET_COOKIE).iter().collect();
    assert!(cookies.len() <= 1, "{method} {path}: {cookies:?}");
    TestResponse {
        status: head.status.as_u16(),
        body: String::from_utf8(body.to_vec()).unwrap(),
        content_type: text(CONTENT_TYPE),
        location: text(LOCATION),
        allow: text(ALLOW),
        set_cookie: cookies
            .first()
            .map(|header| SetCookie::parse(std::str::from_utf8(header.as_bytes()).unwrap())),
    }
}

impl TestResponse {
    /// What a browser sends back after this response.
    pub(crate) fn pair(&self) -> Option<String> {
        let cookie = self.set_cookie.as_ref();
        let kept = cookie.filter(|cookie| !cookie.is_removal());
        kept.map(|cookie| format!("{}={}", cookie.name, cookie.raw))
    }

    /// The session's data in the view, as canonical text.
    pub(crate) fn data(&self) -> String {
        self.view().map_or(String::new(), |(_, _, data)| data)
    }

    /// The identity in the view.
    pub(crate) fn identity(&self) -> Option<String> {
        let (head, _) = self.body.split_once(", \"data\": ")?;
        let head: Value = serde_json::from_str(&format!("{head}}}")).unwrap();
        head["identity"].as_str().map(str::to_owned)
    }

    /// The view: new, created, data.
    pub(crate) fn view(&self) -> Option<(bool, u64, String)> {
        let (head, data) = self.body.split_once(", \"data\": ")?;
        let head: Value = serde_json::from_str(&format!("{head}}}")).unwrap();
        let created = head["created"].as_u64().unwrap();
        let data = canonical(data.strip_suffix('}').unwrap());
        Some((head["new"].as_bool().unwrap(), created, data))
    }
}
