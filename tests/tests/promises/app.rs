//! A program on sessions in memory, whose every backend call a test can hold, fail and count.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use http::header::{COOKIE, SET_COOKIE};
use http::{HeaderMap, Request, Response, StatusCode};
use hyper::service::{Service, service_fn};
use session_core::{
    Codec, CookieBuilder, CookieSettings, Error, KeyedStorage, ManualClock, MemoryBackend,
    RequestSession, Storage,
};
use session_hyper::SessionService;
use session_tests::stores::{Counting, Failing, Gate};
use tokio::task::JoinHandle;

pub(crate) type Store = Counting<Failing<Gate<MemoryBackend>>>;

pub(crate) const SECOND: Duration = Duration::from_secs(1);
pub(crate) const MINUTE: Duration = Duration::from_secs(60);
pub(crate) const HOUR: Duration = Duration::from_secs(3600);

#[derive(Clone)]
pub(crate) struct App {
    pub(crate) storage: Arc<KeyedStorage<Store>>,
    pub(crate) clock: ManualClock,
}

/// What the client sees of an answer.
#[derive(Debug)]
pub(crate) struct Answer {
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
        change: impl FnOnce(KeyedStorage<Store>) -> KeyedStorage<Store>,
    ) -> Self {
        let clock = ManualClock::at(UNIX_EPOCH + SECOND * 1_700_000_000);
        let memory = MemoryBackend::new().with_clock(clock.clone());
        let storage = KeyedStorage::new(Counting::new(Failing::new(Gate::new(memory))))
            .with_cookie(cookie.build().unwrap())
            .with_clock(clock.clone());
        Self {
            storage: Arc::new(change(storage)),
            clock,
        }
    }

    pub(crate) fn counts(&self) -> &Store {
        self.storage.backend()
    }

    pub(crate) fn failing(&self) -> &Failing<Gate<MemoryBackend>> {
        self.counts().inner()
    }

    pub(crate) fn gate(&self) -> &Gate<MemoryBackend> {
        self.failing().inner()
    }

    /// A client's session with `k` = `first`; returns its cookie.
    pub(crate) async fn client(&self) -> String {
        let answer = self.ask(None, "/set/k/first").await;
        assert_eq!(answer.status, 200);
        let cookie = answer.cookie().unwrap();
        self.counts().take();
        cookie
    }

    /// Sends a request through the service.
    pub(crate) async fn ask(&self, cookie: Option<&str>, path: &str) -> Answer {
        let mut request = Request::builder().uri(path);
        if let Some(cookie) = cookie {
            request = request.header(COOKIE, format!("sid={cookie}"));
        }
        let service = SessionService::new(self.storage.clone(), service_fn(handler));
        let response = service
            .call(request.body(String::new()).unwrap())
            .await
            .unwrap();
        let (head, body) = response.into_parts();
        Answer {
            status: head.status,
            headers: head.headers,
            body,
        }
    }

    /// Sends a request that the test will wait for later.
    pub(crate) fn start(&self, cookie: &str, path: &str) -> JoinHandle<Answer> {
        let (app, cookie, path) = (self.clone(), cookie.to_owned(), path.to_owned());
        tokio::spawn(async move { app.ask(Some(&cookie), &path).await })
    }

    /// The keys of the session that a cookie stands for; `None` if it stands for none.
    pub(crate) async fn keys(&self, cookie: &str) -> Option<Vec<String>> {
        let session = self.storage.load(Some(cookie)).await.unwrap();
        (!session.is_new()).then(|| session.keys())
    }

    /// The identities of all sessions that there are, whoever knows of them.
    pub(crate) async fn live(&self) -> Vec<String> {
        let mut live = Vec::new();
        for key in self.counts().created() {
            let identity = key.strip_prefix("sid_").unwrap().to_owned();
            if self.keys(&identity).await.is_some() && !live.contains(&identity) {
                live.push(identity);
            }
        }
        live
    }
}

impl Answer {
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

    /// It is an error's answer: empty, and the client keeps the cookie that it has.
    #[track_caller]
    pub(crate) fn assert_refused(&self, status: u16) {
        assert_eq!((self.status.as_u16(), self.set_cookie()), (status, None));
        assert_eq!(self.body, "");
    }
}

/// A codec that stores JSON in another form, and so loses its white space.
#[derive(Debug)]
pub(crate) struct Compact;

impl Codec for Compact {
    fn encode(&self, record: Vec<u8>) -> session_core::Result<Vec<u8>> {
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

/// `/set/KEY/VALUE`, `/remove/KEY`, `/read` and a path for each verb.
async fn handler(request: Request<String>) -> Result<Response<String>, Error> {
    let path = request.uri().path().to_owned();
    let mut parts = path[1..].split('/');
    let verb = parts.next().unwrap();
    if verb == "none" {
        return Ok(Response::default());
    }
    let session = match verb {
        "login" => request.new_session()?,
        _ => request.session().await?,
    };
    let mut key = || parts.next().unwrap();
    match verb {
        "read" => {}
        "set" => session.insert(key(), key())?,
        "remove" => session.remove(key()).map(drop)?,
        "touch" => session.changed()?,
        "renew" => session.renew()?,
        "logout" => session.invalidate()?,
        "restart" => {
            session.invalidate()?;
            session.insert("restarted", true)?;
        }
        "clear" => session.clear()?,
        "empty" => {
            for key in session.keys() {
                session.remove(&key)?;
            }
        }
        "login" => session.insert("user", "alice")?,
        _ => panic!("no such path: {path}"),
    }
    Ok(Response::new(session.keys().join(" ")))
}
