//! The example program `axum`, as a browser and a websocket use it: in memory and in Redis.
#![allow(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "these are tests"
)]

use std::process::Command;
use std::sync::LazyLock;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use session_tests::examples::program;
use session_tests::python::Process;
use session_tests::redis::RedisServer;
use session_tests::wire::SetCookie;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

/// Longer than what the program keeps of it.
static USER_AGENT: LazyLock<String> = LazyLock::new(|| "x".repeat(2000));

const LOGIN: &str = "user=%3CAda%3E&password=open+sesame";

/// The program, and a browser that can only keep one cookie.
struct Browser<'a> {
    server: &'a Process,
    /// The site of the page that it shows.
    origin: &'static str,
    cookie: Option<SetCookie>,
}

fn start(change: impl FnOnce(&mut Command)) -> Process {
    let mut command = Command::new(program("axum"));
    command.env("PORT", "0").env("DEVELOPMENT", "1");
    command.env_remove("REDIS_URL");
    change(&mut command);
    Process::start(&mut command)
}

impl<'a> Browser<'a> {
    fn new(server: &'a Process) -> Self {
        Self {
            server,
            origin: "http://lamps",
            cookie: None,
        }
    }

    fn pair(&self) -> String {
        let cookie = self.cookie.as_ref().unwrap();
        format!("{}={}", cookie.name, cookie.raw)
    }

    /// Whether the last cookie came with this attribute.
    fn has(&self, name: &str, value: &str) -> bool {
        let cookie = self.cookie.as_ref().unwrap();
        cookie
            .attributes
            .contains(&(name.to_owned(), value.to_owned()))
    }

    fn has_max_age(&self) -> bool {
        let attributes = &self.cookie.as_ref().unwrap().attributes;
        attributes.iter().any(|(name, _)| name == "max-age")
    }

    async fn ask(&mut self, method: &str, path: &str, form: &'static str) -> Response<Bytes> {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "lamps")
            .header("origin", self.origin)
            .header("user-agent", &*USER_AGENT)
            .header("content-type", "application/x-www-form-urlencoded");
        if self.cookie.is_some() {
            request = request.header("cookie", self.pair());
        }
        let request = request.body(Full::from(form)).unwrap();
        let response = self.server.send(request).await;
        let mut set = response.headers().get_all("set-cookie").iter();
        if let Some(header) = set.next() {
            let cookie = SetCookie::parse(header.to_str().unwrap());
            self.cookie = (!cookie.is_removal()).then_some(cookie);
        }
        assert!(set.next().is_none(), "two cookies");
        response
    }

    async fn page(&mut self, path: &str) -> String {
        let response = self.ask("GET", path, "").await;
        assert_eq!(response.status(), 200, "{path}");
        String::from_utf8(response.body().to_vec()).unwrap()
    }

    /// Posts a form, and returns where the browser is sent.
    async fn post(&mut self, path: &str, form: &'static str) -> String {
        let response = self.ask("POST", path, form).await;
        assert_eq!(response.status(), StatusCode::SEE_OTHER, "{path}");
        response.headers()["location"].to_str().unwrap().to_owned()
    }

    async fn socket(&self) -> Socket {
        let own = format!("http://{}", self.server.address());
        self.socket_from(Some(&own)).await.unwrap()
    }

    /// Opens a websocket from a page of a site.
    async fn socket_from(&self, origin: Option<&str>) -> Result<Socket, Error> {
        let url = format!("ws://{}/notes", self.server.address());
        let mut request = url.into_client_request().unwrap();
        let headers = request.headers_mut();
        if self.cookie.is_some() {
            headers.insert("cookie", self.pair().parse().unwrap());
        }
        if let Some(origin) = origin {
            headers.insert("origin", origin.parse().unwrap());
        }
        connect_async(request).await.map(|(socket, _)| socket)
    }
}

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

async fn note(socket: &mut Socket, text: &str) -> String {
    socket.send(Message::text(text)).await.unwrap();
    let response = socket.next().await.unwrap().unwrap();
    response.into_text().unwrap().to_string()
}

async fn visit(server: &Process) {
    let mut browser = Browser::new(server);
    // The guard sends strangers away. They have no session, so they cannot fill the store.
    let response = browser.ask("GET", "/account", "").await;
    assert_eq!(response.status(), StatusCode::SEE_OTHER);
    assert_eq!(response.headers()["location"], "/?error=login");
    let page = browser.page("/?error=login").await;
    assert!(page.contains("Please log in first."), "{page}");
    let wrong = "user=ada&password=wrong";
    assert_eq!(browser.post("/login", wrong).await, "/?error=password");
    let page = browser.page("/?error=password").await;
    assert!(page.contains("not the password"), "{page}");
    for page in ["/", "/?error=%3Cb%3Emine", "/?error=login&more=mine"] {
        let page = browser.page(page).await;
        assert!(
            !page.contains("role=status>") && !page.contains("mine"),
            "{page}"
        );
    }
    assert!(browser.cookie.is_none(), "a stranger has a session");

    assert_eq!(browser.post("/login", LOGIN).await, "/account");
    let first = browser.pair();
    assert_eq!(browser.post("/login", LOGIN).await, "/account");
    assert_ne!(browser.pair(), first, "a login is another session");
    assert!(!browser.has_max_age(), "it ends with the browser");
    let account = browser.page("/account").await;
    assert!(account.contains("Welcome, &lt;Ada&gt;."), "{account}");
    assert!(account.contains("account of <b>&lt;Ada&gt;</b>"));

    let form = "theme=dark&page_size=50";
    assert_eq!(browser.post("/preferences", form).await, "/account");
    let account = browser.page("/account").await;
    assert!(account.contains("<option selected>dark<") && account.contains("value=50"));
    let form = "theme=darker&page_size=50";
    let refused = browser.ask("POST", "/preferences", form).await;
    assert_eq!(refused.status(), StatusCode::BAD_REQUEST);
    assert!(!browser.page("/account").await.contains("darker"));
    assert!(browser.page("/").await.contains("You are <b>&lt;Ada&gt;"));

    assert_eq!(browser.post("/checkout", "").await, "/bank");
    browser.page("/bank").await;
    assert!(browser.page("/paid").await.contains("paid for a lamp"));
    let again = browser.ask("GET", "/paid", "").await;
    assert_eq!(again.status(), 404, "an order is paid once");

    // "Remember me" in another browser.
    let mut other = Browser::new(server);
    let remember = "user=eve&password=open+sesame&remember=on";
    assert_eq!(other.post("/login", remember).await, "/account");
    assert!(other.has("max-age", "2592000"), "a month");

    // Where the user is logged in: one session is ended, then all others.
    let mut phone = Browser::new(server);
    let mut tablet = Browser::new(server);
    for device in [&mut phone, &mut tablet] {
        device.post("/login", LOGIN).await;
    }
    let page = browser.page("/sessions").await;
    assert_eq!(page.matches("<li>").count(), 3, "{page}");
    assert_eq!(page.matches("this browser").count(), 1, "{page}");
    let name = format!("<li>{} ", &USER_AGENT[..200]);
    assert_eq!(page.matches(&name).count(), 3, "{page}");
    let id = page.split("value=").nth(1).unwrap();
    let id = id.split('>').next().unwrap();
    let form = Box::leak(format!("id={id}").into_boxed_str());
    assert_eq!(browser.post("/sessions/end", form).await, "/sessions");
    let page = browser.page("/sessions").await;
    assert_eq!(page.matches("<li>").count(), 2, "{page}");
    assert_eq!(browser.post("/sessions/end-others", "").await, "/sessions");
    let page = browser.page("/sessions").await;
    assert!(page.contains("Logged out in 1 other places."), "{page}");
    assert_eq!(page.matches("<li>").count(), 1, "{page}");
    for device in [&mut phone, &mut tablet] {
        assert_eq!(device.ask("GET", "/account", "").await.status(), 303);
    }

    // A websocket writes the session, and closes after the logout, also if it says nothing.
    let mut writer = browser.socket().await;
    let mut listener = browser.socket().await;
    assert_eq!(note(&mut writer, "a").await, "note 1");
    assert_eq!(note(&mut writer, "b").await, "note 2");
    let old = browser.pair();
    assert_eq!(browser.post("/logout", "").await, "/");
    assert!(browser.cookie.is_none());
    writer.send(Message::text("c")).await.unwrap();
    for socket in [&mut writer, &mut listener] {
        let closed = socket.next().await.unwrap().unwrap();
        assert!(closed.is_close(), "{closed:?}");
    }
    assert!(browser.page("/").await.contains("Log in"));
    // A copy of the cookie is worth nothing.
    let stolen = Request::builder().uri("/account").header("host", "lamps");
    let stolen = stolen.header("cookie", old).body(Full::default()).unwrap();
    let response = server.send(stolen).await;
    assert_eq!(response.status(), StatusCode::CONFLICT);
    let page = String::from_utf8(response.body().to_vec()).unwrap();
    assert!(
        page.contains("login has changed in another window"),
        "{page}"
    );
    assert!(other.page("/account").await.contains("<b>eve</b>"));
}

#[tokio::test]
async fn the_program_is_used_in_memory() {
    visit(&start(|_| ())).await;
}

#[tokio::test]
async fn the_program_is_used_in_redis_and_shows_a_page_when_redis_is_gone() {
    let mut redis = RedisServer::start();
    let server = start(|command| {
        command.env("REDIS_URL", redis.url());
    });
    visit(&server).await;
    let mut browser = Browser::new(&server);
    browser.post("/login", LOGIN).await;
    redis.kill();
    let response = browser.ask("GET", "/account", "").await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(response.headers()["cache-control"], "no-store");
    let page = String::from_utf8(response.body().to_vec()).unwrap();
    assert!(page.contains("Please try again in a minute."), "{page}");
    assert!(browser.cookie.is_some(), "the cookie is kept");
}

#[tokio::test]
async fn behind_https_the_cookie_is_one_of_its_host_alone() {
    let server = start(|command| {
        command.env_remove("DEVELOPMENT");
    });
    let mut browser = Browser::new(&server);
    let refused = browser.ask("POST", "/login", LOGIN).await;
    assert_eq!(
        refused.status(),
        403,
        "a page without https is another site"
    );
    browser.origin = "https://lamps";
    browser.post("/login", LOGIN).await;
    assert!(browser.has("secure", "") && browser.has("httponly", ""));
    assert!(browser.has("path", "/") && browser.has("samesite", "Lax"));
    assert!(browser.pair().starts_with("__Host-sid="));
}

#[tokio::test]
async fn a_websocket_of_a_stranger_is_refused() {
    let server = start(|_| ());
    let mut browser = Browser::new(&server);
    let own = format!("http://{}", server.address());
    let error = browser.socket_from(Some(&own)).await.unwrap_err();
    assert!(error.to_string().contains("401"), "{error}");
    // With a copy of the cookie of a session that was logged out.
    browser.post("/login", LOGIN).await;
    let mut thief = Browser::new(&server);
    thief.cookie = Some(SetCookie::parse(&format!("{}; Path=/", browser.pair())));
    thief.socket_from(Some(&own)).await.unwrap();
    browser.post("/logout", "").await;
    let error = thief.socket_from(Some(&own)).await.unwrap_err();
    assert!(error.to_string().contains("401"), "{error}");
}

/// The browser sends the user's cookie with the forms and websockets of a sibling subdomain.
#[tokio::test]
async fn forms_and_websockets_of_other_sites_are_refused() {
    let server = start(|_| ());
    let mut browser = Browser::new(&server);
    browser.post("/login", LOGIN).await;
    let cookie = browser.pair();
    for origin in [
        "http://evil.lamps",
        "http://lamps.evil",
        "http://lamps:81",
        "https://lamps",
        "lamps",
        "null",
        "",
    ] {
        browser.origin = origin;
        for path in ["/login", "/logout", "/preferences"] {
            let refused = browser.ask("POST", path, LOGIN).await;
            assert_eq!(refused.status(), 403, "{path} {origin}");
        }
        let refused = browser.socket_from(Some(origin)).await.unwrap_err();
        assert!(refused.to_string().contains("403"), "{refused}");
    }
    let refused = browser.socket_from(None).await.unwrap_err();
    assert!(refused.to_string().contains("403"), "{refused}");
    assert_eq!(browser.pair(), cookie);
    browser.page("/account").await; // a link of another site may lead here
    browser.socket().await;
}

/// No client can make the session or the server's memory grow.
#[tokio::test]
async fn what_a_client_sends_is_limited() {
    let server = start(|_| ());
    let mut browser = Browser::new(&server);
    let long = Box::leak(format!("{LOGIN}&more={}", "x".repeat(5000)).into_boxed_str());
    let refused = browser.ask("POST", "/login", long).await;
    assert_eq!(refused.status(), StatusCode::PAYLOAD_TOO_LARGE);
    browser.post("/login", LOGIN).await;
    let mut socket = browser.socket().await;
    for count in 1..=100 {
        assert_eq!(note(&mut socket, "a").await, format!("note {count}"));
    }
    assert_eq!(note(&mut socket, &"x".repeat(4096)).await, "note 100");
    // The message of another socket is too long. The server closes that socket.
    let mut other = browser.socket().await;
    let _ = other.send(Message::text("x".repeat(4097))).await;
    let end = other.next().await;
    let is_end = !matches!(&end, Some(Ok(Message::Text(_))));
    assert!(is_end, "{end:?}");
    assert_eq!(note(&mut socket, "b").await, "note 100");
}

/// A note that was sent before SIGTERM is taken, and the socket is closed properly.
#[tokio::test]
async fn sigterm_ends_the_program_when_its_requests_and_sockets_are_done() {
    let mut server = start(|_| ());
    let mut browser = Browser::new(&server);
    browser.post("/login", LOGIN).await;
    let mut socket = browser.socket().await;
    assert_eq!(note(&mut socket, "a").await, "note 1");
    server.signal("TERM");
    let closed = socket.next().await.unwrap().unwrap();
    assert!(closed.is_close(), "{closed:?}");
    drop(socket);
    assert!(server.wait().success());
}

/// A client that never sends the rest of its request does not keep the program from ending.
#[tokio::test]
async fn sigterm_ends_the_program_although_a_client_is_slow() {
    let mut server = start(|_| ());
    let mut client = TcpStream::connect(server.address()).await.unwrap();
    let head = "POST /login HTTP/1.1\r\nHost: lamps\r\nOrigin: http://lamps\r\n\
                Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 9\r\n\
                Expect: 100-continue\r\n\r\n";
    client.write_all(head.as_bytes()).await.unwrap();
    // The server begins to read the body.
    let mut response = [0; 12];
    client.read_exact(&mut response).await.unwrap();
    assert_eq!(&response, b"HTTP/1.1 100");
    server.signal("TERM");
    let ended = tokio::task::spawn_blocking(move || server.wait());
    let ended = timeout(Duration::from_secs(60), ended).await;
    assert!(ended.expect("it does not end").unwrap().success());
}
