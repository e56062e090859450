//! The server that the browser is sent to, over http and https and under any name in `.test`.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, COOKIE, HeaderValue, SET_COOKIE};
use http::{HeaderMap, Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use session_core::{CookieBuilder, CookieSettings, MemoryStorage, RequestSession, Storage};
use session_tests::browser::{Browser, until};
use session_tests::server::{BoxError, Server};
use session_tests::stores::Hold;
use session_tests::tls::TlsProxy;
use tokio::sync::Barrier;

pub(crate) const HOUR: Duration = Duration::from_secs(3600);

/// Where the browser is at home in these tests, and another site.
pub(crate) const SHOP: &str = "shop.test";
pub(crate) const ELSEWHERE: &str = "elsewhere.test";

/// Responds, with or without `/app` before it:
///
/// - `/page`: nothing, and asks for no session;
/// - `/login`, `/logout`, `/who`: who is logged in after it;
/// - `/fill/SIZE`: fills the session with so many bytes;
/// - `/add/KEY`: loads the session, waits until another such request has loaded it too, and adds
///   the key;
/// - `/slow/KEY`: loads the session, waits until the test lets it go on, and adds the key;
/// - `/keys`: what is in the session.
pub(crate) struct App {
    server: Server,
    tls: TlsProxy,
    shared: Arc<Shared>,
}

struct Shared {
    seen: Mutex<Vec<Seen>>,
    plain: Mutex<Vec<String>>,
    both: Barrier,
    slow: Hold,
}

/// A request as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) method: String,
    /// With its query.
    pub(crate) path: String,
    /// `name=value` pairs.
    pub(crate) cookies: Vec<String>,
}

impl Seen {
    pub(crate) fn has(&self, name: &str) -> bool {
        let named = |pair: &String| pair.split('=').next() == Some(name);
        self.cookies.iter().any(named)
    }
}

impl App {
    /// Starts one whose sessions are in memory.
    pub(crate) async fn start(cookie: CookieBuilder) -> Self {
        Self::with(memory(cookie)).await
    }

    pub(crate) async fn with(storage: impl Storage) -> Self {
        let shared = Arc::new(Shared {
            seen: Mutex::default(),
            plain: Mutex::default(),
            both: Barrier::new(2),
            slow: Hold::default(),
        });
        let own = shared.clone();
        let server = Server::start(Arc::new(storage), move |request| {
            own.clone().handle(request)
        })
        .await;
        let tls = TlsProxy::start(server.address().port(), SHOP).await;
        Self {
            server,
            tls,
            shared,
        }
    }

    pub(crate) fn http(&self, host: &str, path: &str) -> String {
        format!("http://{host}:{}{path}", self.server.address().port())
    }

    pub(crate) fn https(&self, host: &str, path: &str) -> String {
        format!("https://{host}:{}{path}", self.tls.port())
    }

    /// Every response to `/page` sets this cookie, beside what else is set.
    pub(crate) fn also_set(&self, cookie: &str) {
        self.shared.plain.lock().unwrap().push(cookie.to_owned());
    }

    /// Waits for a request, and returns it.
    pub(crate) async fn seen(&self, path: &str) -> Seen {
        let find = || {
            let seen = self.shared.seen.lock().unwrap();
            seen.iter().rfind(|seen| seen.path == path).cloned()
        };
        until(path, async || find().is_some()).await;
        find().unwrap()
    }

    /// The handlers of `/slow`.
    pub(crate) fn slow(&self) -> &Hold {
        &self.shared.slow
    }
}

impl Shared {
    async fn handle(
        self: Arc<Self>,
        request: Request<Incoming>,
    ) -> Result<Response<Full<Bytes>>, BoxError> {
        let path = request.uri().path();
        let path = path.strip_prefix("/app").unwrap_or(path);
        let whole = request
            .uri()
            .path_and_query()
            .map_or("", |path| path.as_str());
        self.seen.lock().unwrap().push(Seen {
            method: request.method().to_string(),
            path: whole.to_owned(),
            cookies: pairs(request.headers()),
        });
        let words: Vec<&str> = path[1..].split('/').collect();
        let text = match words[..] {
            ["page"] => String::new(),
            ["login"] => {
                request.new_session()?.insert("user", "ada")?;
                "ada".to_owned()
            }
            ["logout"] => {
                request.session().await?.invalidate()?;
                "nobody".to_owned()
            }
            ["who"] => {
                let user: Option<String> = request.session().await?.get("user")?;
                user.unwrap_or_else(|| "nobody".to_owned())
            }
            ["fill", size] => {
                let session = request.session().await?;
                session.insert("fill", "x".repeat(size.parse()?))?;
                size.to_owned()
            }
            ["add", key] => {
                let session = request.session().await?;
                self.both.wait().await;
                session.insert(key, true)?;
                key.to_owned()
            }
            ["slow", key] => {
                let session = request.session().await?;
                self.slow.wait().await;
                session.insert(key, true)?;
                key.to_owned()
            }
            ["keys"] => request.session().await?.keys().join(" "),
            _ => return Err(format!("no such page: {path}").into()),
        };
        // The icon keeps the browser from asking for one.
        let html = format!("<!doctype html><link rel=icon href='data:,'><body>{text}");
        let mut response = Response::new(Full::from(html));
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html"));
        if words == ["page"] {
            for cookie in &*self.plain.lock().unwrap() {
                headers.append(SET_COOKIE, cookie.parse()?);
            }
        }
        Ok(response)
    }
}

fn pairs(headers: &HeaderMap) -> Vec<String> {
    let lines = headers.get_all(COOKIE).iter();
    let texts = lines.map(|line| line.to_str().unwrap());
    let pairs = texts.flat_map(|text| text.split("; "));
    pairs.map(str::to_owned).collect()
}

pub(crate) fn memory(cookie: CookieBuilder) -> MemoryStorage {
    MemoryStorage::default().with_cookie(cookie.build().unwrap())
}

/// A cookie named `sid` that lives for an hour, with our defaults.
pub(crate) fn sid() -> CookieBuilder {
    CookieSettings::builder("sid").max_age(HOUR)
}

/// Asks for something from within the page, with cookies, and returns the response's status: 0 if
/// it is that of another site, a text if there is none.
pub(crate) async fn fetch(browser: &Browser, url: &str) -> serde_json::Value {
    let script = format!(
        "return fetch({url:?}, {{credentials: 'include', mode: 'no-cors'}}) \
                 .then(r => r.status, String)"
    );
    browser.run(&script).await
}
