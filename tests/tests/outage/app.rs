//! A web program on a store, and clients that hold it to what it says.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use session_core::{CookieSettings, DEFAULT_NAME, RequestSession as _, Storage};
use session_memcached::{MemcachedBackend, MemcachedStorage};
use session_redis::{RedisBackend, RedisStorage};
use session_tests::server::{BoxError, Server};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// The limit for each call of the store.
pub(crate) const BOUND: Duration = Duration::from_millis(500);

/// The limit for a request: one call for the load and five times as long for the save, and more on
/// a machine that has other things to do.
pub(crate) const REQUEST: Duration = BOUND
    .saturating_mul(1 + 5)
    .saturating_add(Duration::from_secs(4));

/// Requests succeed again within a second after the store does. The rest is for a busy machine.
pub(crate) const SOON: Duration = Duration::from_secs(5);

/// A busy machine is no failure.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Makes a storage of `redis://..` or of memcached's `host:port`.
pub(crate) async fn storage(address: &str) -> Arc<dyn Storage> {
    // With a Max-Age each save sends the cookie, and the tests see whose session it saved.
    let cookie = CookieSettings::builder(DEFAULT_NAME).max_age(Duration::from_secs(3600));
    let cookie = cookie.build().unwrap();
    if address.starts_with("redis:") {
        let backend = RedisBackend::connect(address).await.unwrap();
        Arc::new(RedisStorage::new(backend.with_timeout(BOUND)).with_cookie(cookie))
    } else {
        let backend = MemcachedBackend::connect(address).await.unwrap();
        Arc::new(MemcachedStorage::new(backend.with_timeout(BOUND)).with_cookie(cookie))
    }
}

/// `/none`, `/read`, `/write/KEY`, `/big`, `/renew`, `/logout`, `/login`; responds with the keys.
pub(crate) async fn handler(
    request: Request<Incoming>,
) -> Result<Response<Full<bytes::Bytes>>, BoxError> {
    let path = request.uri().path().to_owned();
    if path == "/none" {
        return Ok(Response::default());
    }
    let session = match &*path {
        "/login" => request.new_session()?,
        _ => request.session().await?,
    };
    match &*path {
        "/read" => {}
        "/big" => session.insert("big", "x".repeat(1 << 20))?,
        "/renew" => session.renew()?,
        "/logout" => session.invalidate()?,
        "/login" => session.insert("user", "alice")?,
        _ => session.insert(path.strip_prefix("/write/").unwrap(), 1)?,
    }
    Ok(Response::new(Full::from(session.keys().join(" "))))
}

pub(crate) async fn serve(address: &str) -> Server {
    Server::start(storage(address).await, handler).await
}

/// What a client read, if it could read the whole of it.
#[derive(Debug)]
pub(crate) struct TestResponse {
    pub(crate) status: u16,
    pub(crate) set_cookie: Option<String>,
    pub(crate) body: String,
    pub(crate) took: Duration,
}

/// Asks over a connection of its own; `None` if the server went away before it had responded.
pub(crate) async fn ask(web: SocketAddr, path: &str, cookie: Option<&str>) -> Option<TestResponse> {
    let begun = Instant::now();
    let mut stream = TcpStream::connect(web).await.ok()?;
    let cookie = cookie.map_or(String::new(), |cookie| {
        format!("Cookie: {DEFAULT_NAME}={cookie}\r\n")
    });
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{cookie}\r\n");
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut response = String::new();
    let whole = tokio::time::timeout(PATIENCE, stream.read_to_string(&mut response)).await;
    whole.expect("a request without an end").ok()?;
    let (head, body) = response.split_once("\r\n\r\n")?;
    let header = |name: &str| {
        let mut lines = head.lines().filter_map(|line| line.split_once(": "));
        let found = lines.find(|(is, _)| is.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.to_owned())
    };
    let length: usize = header("content-length")?.parse().ok()?;
    (body.len() == length).then(|| TestResponse {
        status: head.get(9..12).unwrap().parse().unwrap(),
        set_cookie: header("set-cookie"),
        body: body.to_owned(),
        took: begun.elapsed(),
    })
}

impl TestResponse {
    /// The cookie's new value.
    pub(crate) fn cookie(&self) -> Option<String> {
        let header = self.set_cookie.as_ref()?;
        let value = header.split_once('=')?.1.split(';').next()?;
        (value != "\"\"").then(|| value.to_owned())
    }

    /// It came in time; and is either a response as ever, or a 503 that leaves the cookie alone.
    #[track_caller]
    pub(crate) fn assert_harmless(&self) {
        assert!(self.took < REQUEST, "{self:?}");
        if self.status != 200 {
            self.assert_refused(503);
        }
    }

    /// It leaves the cookie alone and says nothing.
    #[track_caller]
    pub(crate) fn assert_refused(&self, status: u16) {
        let response = (self.status, &self.set_cookie, &*self.body);
        assert_eq!(response, (status, &None, ""), "{self:?}");
    }
}

/// A client with a session.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    pub(crate) web: SocketAddr,
    pub(crate) cookie: String,
}

impl Client {
    /// Starts a session that holds `first`.
    pub(crate) async fn new(web: SocketAddr) -> Self {
        let response = ask(web, "/write/first", None).await.unwrap();
        let cookie = response.cookie().unwrap();
        Self { web, cookie }
    }

    pub(crate) async fn ask(&self, path: &str) -> TestResponse {
        let response = ask(self.web, path, Some(&self.cookie)).await.unwrap();
        response.assert_harmless();
        response
    }

    /// Expects `status` of each of `paths`, a 200 at `/none`.
    pub(crate) async fn expect(&self, status: u16, paths: &[&str]) {
        for path in paths {
            let response = self.ask(path).await;
            assert_eq!(response.status, status, "{path}: {response:?}");
        }
        assert_eq!(self.ask("/none").await.status, 200);
    }

    /// Asks until there is a 200, prints how long that took, and returns the response.
    pub(crate) async fn resumes(&self, what: &str) -> TestResponse {
        let begun = Instant::now();
        loop {
            let response = self.ask("/read").await;
            if response.status == 200 {
                println!("{what}: resumed after {:?}", begun.elapsed());
                return response;
            }
            assert!(begun.elapsed() < SOON, "{what}: no service again");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// All verbs that need the store.
pub(crate) const ALL: [&str; 5] = ["/read", "/write/lost", "/renew", "/logout", "/login"];
