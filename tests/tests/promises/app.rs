//! A program on sessions in memory, whose every backend call a test can hold, fail and count.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use http::header::{CACHE_CONTROL, COOKIE, SET_COOKIE};
use http::{HeaderMap, Request, Response, StatusCode};
use session_core::keyed::{Backend as _, Found, OnlyIf, Outcome, Write};
use session_core::{
    Codec, CookieBuilder, CookieChange, CookieSettings, KeyedStorage, ManualClock, MemoryBackend,
    RequestSession, Result, Session, Storage, UserSessions,
};
use session_tests::ends::change;
use session_tests::stores::{Call, Counting, Failing, Gate};
use session_tests::wrap_backend;
use tokio::task::JoinHandle;

use crate::ADAPTER;

pub(crate) type Store = Counting<Failing<Gate<MemoryBackend>>>;

/// One store for several processes.
#[derive(Clone, Debug)]
pub(crate) struct Shared {
    inner: Arc<Store>,
}

impl Shared {
    async fn around<T>(&self, _: Call, _: &str, inner: impl Future<Output = T>) -> T {
        inner.await
    }
}

wrap_backend!(Shared);

pub(crate) const SECOND: Duration = Duration::from_secs(1);
pub(crate) const MINUTE: Duration = Duration::from_secs(60);
pub(crate) const HOUR: Duration = Duration::from_secs(3600);

/// A process that serves sessions. Clones are the same process.
#[derive(Clone)]
pub(crate) struct App {
    pub(crate) storage: Arc<KeyedStorage<Shared>>,
    pub(crate) clock: ManualClock,
    start: Arc<dyn Fn() -> KeyedStorage<Shared> + Send + Sync>,
}

/// Sends a request through a service with sessions of `storage`.
pub(crate) async fn ask(
    storage: Arc<dyn Storage>,
    cookie: Option<&str>,
    path: &str,
) -> TestResponse {
    let mut request = Request::builder().uri(path);
    if let Some(cookie) = cookie {
        request = request.header(COOKIE, format!("sid={cookie}"));
    }
    let of_handler = storage.clone();
    let handler = move |request| handler(of_handler.clone(), request);
    let service = ADAPTER.service(storage, handler);
    let request = request.body(String::new()).unwrap();
    let response = service.call(request).await.unwrap();
    let (head, body) = response.into_parts();
    TestResponse {
        status: head.status,
        headers: head.headers,
        body,
    }
}

/// What the client sees of a response.
#[derive(Debug)]
pub(crate) struct TestResponse {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl App {
    pub(crate) fn new() -> Self {
        Self::with(settings(), |storage| storage)
    }

    pub(crate) fn with(
        cookie: CookieBuilder,
        change: impl Fn(KeyedStorage<Shared>) -> KeyedStorage<Shared> + Send + Sync + 'static,
    ) -> Self {
        let clock = ManualClock::at(UNIX_EPOCH + SECOND * 1_700_000_000);
        let memory = MemoryBackend::new().with_clock(clock.clone());
        let inner = Arc::new(Counting::new(Failing::new(Gate::new(memory))));
        let store = Shared { inner };
        let cookie = cookie.build().unwrap();
        let start = {
            let clock = clock.clone();
            move || {
                let storage = KeyedStorage::new(store.clone())
                    .with_cookie(cookie.clone())
                    .with_clock(clock.clone());
                change(storage)
            }
        };
        Self {
            storage: Arc::new(start()),
            clock,
            start: Arc::new(start),
        }
    }

    /// Starts another process on the same store. Savers of one session wait for each other only
    /// within a process, so a request whose save a test holds belongs to another one.
    pub(crate) fn another(&self) -> Self {
        Self {
            storage: Arc::new((self.start)()),
            ..self.clone()
        }
    }

    pub(crate) fn counts(&self) -> &Store {
        &self.storage.backend().inner
    }

    pub(crate) fn failing(&self) -> &Failing<Gate<MemoryBackend>> {
        self.counts().inner()
    }

    pub(crate) fn gate(&self) -> &Gate<MemoryBackend> {
        self.failing().inner()
    }

    /// A client's session with `k` = `first`; returns its cookie.
    pub(crate) async fn client(&self) -> String {
        let response = self.ask(None, "/set/k/first").await;
        assert_eq!(response.status, 200);
        let cookie = response.cookie().unwrap();
        self.counts().take();
        cookie
    }

    /// Sends a request through the service.
    pub(crate) async fn ask(&self, cookie: Option<&str>, path: &str) -> TestResponse {
        ask(self.storage.clone(), cookie, path).await
    }

    /// Returns a session that a request has loaded, and the cookie that the request came with.
    pub(crate) async fn loaded(&self, signed_in: bool) -> (Option<String>, Session) {
        let cookie = self.client_if(signed_in).await;
        let cookies = cookie.as_deref();
        let session = self.storage.load(cookies.as_slice()).await.unwrap();
        (cookie, session)
    }

    /// A client's session if there is to be one, as [`client`](Self::client).
    pub(crate) async fn client_if(&self, signed_in: bool) -> Option<String> {
        if signed_in {
            Some(self.client().await)
        } else {
            None
        }
    }

    /// Begins a save that the test will wait for later.
    pub(crate) fn start_save(&self, session: &Session) -> JoinHandle<Result<CookieChange>> {
        let (app, session) = (self.clone(), session.clone());
        tokio::spawn(async move { app.storage.save(&session).await })
    }

    /// Sends a request that the test will wait for later.
    pub(crate) fn start(&self, cookie: &str, path: &str) -> JoinHandle<TestResponse> {
        let (app, cookie, path) = (self.clone(), cookie.to_owned(), path.to_owned());
        tokio::spawn(async move { app.ask(Some(&cookie), &path).await })
    }

    /// Returns the bytes that the store holds for a cookie.
    pub(crate) async fn stored(&self, cookie: &str) -> Option<Bytes> {
        match self.memory().read(&format!("sid_{cookie}")).await.unwrap() {
            Found::Value(stored) => Some(stored.value().clone()),
            _ => None,
        }
    }

    /// Writes these bytes into the store for a cookie, whatever is there.
    pub(crate) async fn plant(&self, cookie: &str, value: &'static [u8]) {
        self.plant_for(cookie, value, MINUTE).await;
    }

    async fn plant_for(&self, cookie: &str, value: &'static [u8], ttl: Duration) {
        self.put(&format!("sid_{cookie}"), value, ttl).await;
    }

    /// Writes these bytes under a key, whatever is there.
    pub(crate) async fn plant_at(&self, key: &str, value: &'static [u8]) {
        self.put(key, value, HOUR).await;
    }

    async fn put(&self, key: &str, value: &'static [u8], ttl: Duration) {
        let found = self.memory().read(key).await.unwrap();
        let only_if = match &found {
            Found::Value(stored) => OnlyIf::Unchanged(stored),
            _ => OnlyIf::Missing,
        };
        let write = Write::record(value, Some(ttl));
        let outcome = self.memory().write(key, write, only_if).await.unwrap();
        assert!(matches!(outcome, Outcome::Written(_)));
    }

    /// Takes the record of a cookie out of the store, as another program would.
    pub(crate) async fn remove(&self, cookie: &str) {
        self.plant_for(cookie, b"{}", SECOND).await;
        self.clock.advance(SECOND);
        assert_eq!(self.stored(cookie).await, None);
    }

    /// Takes a key out of the store, as eviction would.
    pub(crate) async fn take_away(&self, key: &str) {
        self.put(key, b"{}", SECOND).await;
        self.clock.advance(SECOND);
        assert_eq!(self.memory().read(key).await.unwrap(), Found::Missing);
    }

    /// Borrows the store behind what counts, fails and holds calls.
    pub(crate) fn memory(&self) -> &MemoryBackend {
        self.gate().inner()
    }

    /// The keys of the session that a cookie stands for; `None` if it stands for none.
    pub(crate) async fn keys(&self, cookie: &str) -> Option<Vec<String>> {
        let session = self.storage.load(&[cookie]).await.unwrap();
        (!session.is_new()).then(|| session.keys())
    }

    /// The identities of all sessions in the store, whether a client has them or not.
    pub(crate) async fn live(&self) -> Vec<String> {
        let mut live = Vec::new();
        for key in self.counts().created() {
            let Some(identity) = key.strip_prefix("sid_").map(str::to_owned) else {
                continue; // an index of users
            };
            if self.keys(&identity).await.is_some() && !live.contains(&identity) {
                live.push(identity);
            }
        }
        live
    }
}

impl TestResponse {
    /// The cookie's new value, if it is set to one.
    pub(crate) fn cookie(&self) -> Option<String> {
        let header = self.set_cookie()?;
        let value = header.strip_prefix("sid=").unwrap().split(';').next()?;
        (value != "\"\"").then(|| value.to_owned())
    }

    pub(crate) fn set_cookie(&self) -> Option<&str> {
        let mut found = self.headers.get_all(SET_COOKIE).iter();
        let first = found.next().map(|value| value.to_str().unwrap());
        assert!(found.next().is_none(), "two cookies");
        first
    }

    /// What the client sends next, if it sent `before`.
    pub(crate) fn next_cookie(&self, before: Option<&str>) -> Option<String> {
        match self.set_cookie() {
            None => before.map(str::to_owned),
            Some(_) => self.cookie(),
        }
    }

    /// It is an error's response: empty, not to be stored, and the client keeps the cookie that it
    /// has.
    #[track_caller]
    pub(crate) fn assert_refused(&self, status: u16) {
        assert_eq!((self.status.as_u16(), self.set_cookie()), (status, None));
        assert_eq!(self.body, "");
        assert_eq!(self.headers[CACHE_CONTROL], "no-store");
    }
}

/// A codec that stores JSON in another form, and so loses its white space.
#[derive(Debug)]
pub(crate) struct Compact;

impl Codec for Compact {
    fn encode(&self, record: Vec<u8>) -> Result<Vec<u8>> {
        let value: serde_json::Value = serde_json::from_slice(&record).unwrap();
        Ok(value.to_string().into_bytes())
    }

    fn decode(&self, stored: &[u8]) -> Option<Vec<u8>> {
        Some(stored.to_vec())
    }
}

pub(crate) fn settings() -> CookieBuilder {
    CookieSettings::builder("sid").max_age(HOUR)
}

/// Ends sessions of the session's user. Returns how many ended, or 401 without a user.
async fn end(
    storage: &dyn Storage,
    session: &Session,
    verb: &str,
    handle: &str,
) -> Result<Response<String>> {
    let Some(sessions) = UserSessions::of_session(storage, session)? else {
        let mut response = Response::default();
        *response.status_mut() = StatusCode::UNAUTHORIZED;
        return Ok(response);
    };
    let ended = match verb {
        "end" => sessions.end(handle).await?,
        "end-others" => sessions.end_others().await?,
        "end-all" => sessions.end_all().await?,
        _ => sessions.list().await?.len(),
    };
    Ok(Response::new(ended.to_string()))
}

/// The paths of [`change`], and others.
async fn handler(storage: Arc<dyn Storage>, request: Request<String>) -> Result<Response<String>> {
    let path = request.uri().path().to_owned();
    let mut words: Vec<&str> = path[1..].split('/').collect();
    let session = match words[0] {
        "none" => return Ok(Response::default()),
        "login" | "anonymous" => request.new_session()?,
        "relogin" => {
            request.session().await?;
            let session = request.new_session()?;
            session.insert("user", "alice")?;
            return Ok(Response::new(String::from("user")));
        }
        _ => request.session().await?,
    };
    if let Some(verb) = words[0].strip_prefix("write-") {
        session.insert("written", 1)?;
        words[0] = verb;
    }
    match words[..] {
        ["read" | "anonymous"] => {}
        ["end", handle] => return end(&*storage, &session, "end", handle).await,
        [verb @ ("sessions" | "end-others" | "end-all")] => {
            return end(&*storage, &session, verb, "").await;
        }
        ["lifetime"] => session.set_max_age(MINUTE)?,
        ["passing"] => {
            session.insert("passing", 1)?;
            session.remove("passing")?;
        }
        ["replaced"] => return Ok(Response::new(session.was_replaced().to_string())),
        ["cleared"] => {
            session.clear()?;
            session.insert("next", 1)?;
        }
        ["renewed"] => {
            session.insert("mine", 1)?;
            session.renew()?;
        }
        ["login", user] => session.insert("user", user)?,
        _ => assert!(change(&session, &words)?, "no such path: {path}"),
    }
    Ok(Response::new(session.keys().join(" ")))
}
