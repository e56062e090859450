//! The Rust twin of `tests/python/oracle_server.py`: the same routes, flags and responses, with
//! this library's storages. If both run with one key, a client can use them in turn.
//!
//! Some routes and flags exist only in this program, because aiohttp_session has no counterpart:
//! the routes `POST /renew` and `POST /clear`, the storage `memory`, and the flags `--adapter`,
//! `--rolling`, `--absolute-max-age` and `--hash-identities`. The flag `--user-index KEY` adds the
//! routes `GET /sessions`, `POST /sessions/end`, `POST /sessions/end-others` and
//! `POST /sessions/end-all`.
//!
//! ```text
//! cargo run --bin parity -- --port 8002 --storage fernet --key $KEY --max-age 3600
//! ```
//!
//! `--adapter axum` serves the routes through an axum router and `session_tower::SessionLayer`.
//! `--adapter hyper`, the default, serves them through `session_hyper::SessionService`. The
//! responses are the same.
//!
//! Unlike our own defaults, and like aiohttp_session's, Secure is off without `--secure` and no
//! SameSite is sent without `--samesite`.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::error::Error;
use std::fmt;
use std::fmt::Write as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::response::IntoResponse;
use axum::routing::{any, get, post};
use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE, HeaderValue, LOCATION};
use http::{Method, Request, Response, StatusCode, Uri};
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame, SizeHint};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use session_cookie::{EncryptedCookieStorage, Key, NaClCookieStorage, SimpleCookieStorage};
use session_core::{
    CookieSettings, Identity, MemoryStorage, RequestSession as _, SameSite, Session, Sessions,
    Storage, UserSession, UserSessions,
};
use session_hyper::SessionService;
use session_memcached::MemcachedStorage;
use session_redis::RedisStorage;
use session_tower::SessionLayer;
use tokio::net::TcpListener;

pub(crate) type BoxError = Box<dyn Error + Send + Sync>;

const USAGE: &str = "usage: parity --port N --storage simple|fernet|nacl|memory|redis|memcached \
[--adapter hyper|axum] [--host H] [--key BASE64] [--redis-url URL] [--memcached ADDRESS] \
[--max-age N|none] [--absolute-max-age N] [--rolling] [--hash-identities] \
[--cookie-name NAME] [--domain D] [--path P] [--samesite S] [--secure] \
[--no-httponly] [--user-index KEY]";

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let flags = Flags::parse(std::env::args().skip(1))?;
    let adapter = flags.get("--adapter").unwrap_or("hyper");
    if !matches!(adapter, "hyper" | "axum") {
        return Err(format!("there is no adapter {adapter}\n{USAGE}").into());
    }
    let storage = storage(&flags).await?;
    let port: u16 = flags.need("--port")?.parse()?;
    let listener = TcpListener::bind((flags.get("--host").unwrap_or("127.0.0.1"), port)).await?;
    // Tests wait for this line, and learn the port from it.
    println!(
        "serving {} on {}",
        flags.need("--storage")?,
        listener.local_addr()?
    );
    let of_users = flags.get("--user-index").map(|_| storage.clone());
    match adapter {
        "axum" => axum::serve(listener, router(storage, of_users)).await?,
        _ => match serve(listener, storage, of_users).await {},
    }
    Ok(())
}

/// Serves through hyper. Axum has such a loop.
async fn serve(
    listener: TcpListener,
    storage: Arc<dyn Storage>,
    of_users: Option<Arc<dyn Storage>>,
) -> Infallible {
    let handler = service_fn(move |request| handle_with_users(request, of_users.clone()));
    let sessions = SessionService::new(storage, handler);
    loop {
        let stream = session_examples::accept(&listener).await;
        let sessions = sessions.clone();
        tokio::spawn(async move {
            let connection = auto::Builder::new(TokioExecutor::new());
            // A client that disconnects is not worth a message.
            let _ = connection
                .serve_connection(TokioIo::new(stream), sessions)
                .await;
        });
    }
}

/// Why a handler failed.
pub(crate) enum Failure {
    /// The adapter responds to it.
    Session(session_core::Error),
    /// An error of this program, to which aiohttp responds with a 500.
    Other,
}

impl<E: Error + Send + Sync + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        let error: BoxError = error.into();
        match error.downcast() {
            Ok(error) => Self::Session(*error),
            Err(_) => Self::Other,
        }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> axum::response::Response {
        match self {
            Self::Session(error) => error.into_response(),
            Self::Other => trouble().into_response(),
        }
    }
}

fn trouble() -> Response<Content> {
    text(
        StatusCode::INTERNAL_SERVER_ERROR,
        "500 Internal Server Error\n\nServer got itself in trouble",
    )
}

type HandlerResult = Result<Response<Content>, Failure>;

/// Returns the routes for axum.
fn router(storage: Arc<dyn Storage>, of_users: Option<Arc<dyn Storage>>) -> Router {
    let delete = async |session: Session, uri: Uri| delete(&session, uri.path());
    let mut routes = Router::new();
    if let Some(users) = of_users {
        for route in OF_USERS {
            let users = users.clone();
            let handler = async move |session: Session, method: Method, uri: Uri, body: Bytes| {
                of_user(&*users, &session, &method, uri.path(), &body).await
            };
            routes = routes.route(route, any(handler));
        }
    }
    routes
        .route("/get", get(async |session: Session| view(&session)))
        .route("/noop", get(async || noop()))
        .route("/touch", get(async |session: Session| touch(&session)))
        .route(
            "/raise-redirect",
            get(async |session: Session| redirect(&session)),
        )
        .route("/error", get(async |session: Session| error(&session)))
        .route("/stream", get(async |session: Session| stream(&session)))
        .route(
            "/forbidden",
            get(async |session: Session| forbidden(&session)),
        )
        .route(
            "/set",
            post(async |sessions: Sessions, body: Bytes| set(&sessions, &body).await),
        )
        .route(
            "/invalidate",
            post(async |session: Session| invalidate(&session)),
        )
        .route("/clear", post(async |session: Session| clear(&session)))
        .route("/renew", post(async |session: Session| renew(&session)))
        .route(
            "/login",
            post(async |sessions: Sessions, body: Bytes| login(&sessions, &body)),
        )
        .route(
            "/max-age",
            post(async |session: Session, body: Bytes| set_max_age(&session, &body)),
        )
        .route(
            "/new-untouched",
            post(async |sessions: Sessions| view(&sessions.new_session()?)),
        )
        .route("/delete/{key}", post(delete))
        .fallback(async || not_found())
        // Axum names the methods that are allowed.
        .method_not_allowed_fallback(async || not_allowed(None))
        .layer(DefaultBodyLimit::disable())
        .layer(SessionLayer::new(storage))
}

/// Serves the routes for hyper, and those about the sessions of a user if `of_users`, the storage,
/// keeps an index of them.
async fn handle_with_users<B>(
    request: Request<B>,
    of_users: Option<Arc<dyn Storage>>,
) -> Result<Response<Content>, session_core::Error>
where
    B: Body<Data: Send, Error: Send> + Send,
{
    let is_of_users = OF_USERS.contains(&request.uri().path());
    let Some(storage) = of_users.filter(|_| is_of_users) else {
        return handle(request).await;
    };
    let (head, body) = request.into_parts();
    let response = async {
        let session = head.session().await?;
        of_user(
            &*storage,
            &session,
            &head.method,
            head.uri.path(),
            &read(body).await?,
        )
        .await
    };
    respond_for_hyper(response.await)
}

/// Serves the routes for hyper.
pub(crate) async fn handle<B>(request: Request<B>) -> Result<Response<Content>, session_core::Error>
where
    B: Body<Data: Send, Error: Send> + Send,
{
    respond_for_hyper(route(request).await)
}

fn respond_for_hyper(response: HandlerResult) -> Result<Response<Content>, session_core::Error> {
    match response {
        Ok(response) => Ok(response),
        Err(Failure::Session(error)) => Err(error),
        Err(Failure::Other) => Ok(trouble()),
    }
}

async fn route<B>(request: Request<B>) -> HandlerResult
where
    B: Body<Data: Send, Error: Send> + Send,
{
    let (head, body) = request.into_parts();
    let method = if head.method == Method::HEAD {
        Method::GET
    } else {
        head.method.clone()
    };
    let path = head.uri.path();
    match (method.as_str(), path) {
        ("GET", "/get") => view(&head.session().await?),
        ("GET", "/noop") => Ok(noop()),
        ("GET", "/touch") => touch(&head.session().await?),
        ("GET", "/raise-redirect") => redirect(&head.session().await?),
        ("GET", "/error") => error(&head.session().await?),
        ("GET", "/stream") => stream(&head.session().await?),
        ("GET", "/forbidden") => forbidden(&head.session().await?),
        ("POST", "/set") => set(&Sessions::of(&head), &read(body).await?).await,
        ("POST", "/invalidate") => invalidate(&head.session().await?),
        ("POST", "/clear") => clear(&head.session().await?),
        ("POST", "/renew") => renew(&head.session().await?),
        ("POST", "/login") => login(&Sessions::of(&head), &read(body).await?),
        ("POST", "/max-age") => set_max_age(&head.session().await?, &read(body).await?),
        ("POST", "/new-untouched") => view(&head.new_session()?),
        (method, path) => match path.strip_prefix(DELETE) {
            Some(key) if !key.is_empty() && !key.contains('/') => {
                if method != "POST" {
                    return Ok(not_allowed(Some("POST")));
                }
                delete(&head.session().await?, path)
            }
            _ if GETS.contains(&path) => Ok(not_allowed(Some("GET,HEAD"))),
            _ if POSTS.contains(&path) => Ok(not_allowed(Some("POST"))),
            _ => Ok(not_found()),
        },
    }
}

/// The routes about the sessions of the session's user.
const OF_USERS: [&str; 4] = [
    "/sessions",
    "/sessions/end",
    "/sessions/end-others",
    "/sessions/end-all",
];

/// Serves the routes about the sessions of the session's user.
async fn of_user(
    storage: &dyn Storage,
    session: &Session,
    method: &Method,
    path: &str,
    body: &[u8],
) -> HandlerResult {
    #[derive(Deserialize)]
    struct Id {
        id: String,
    }
    let is_list = path == OF_USERS[0];
    match (is_list, method) {
        (true, &Method::GET | &Method::HEAD) | (false, &Method::POST) => {}
        (true, _) => return Ok(not_allowed(Some("GET,HEAD"))),
        (false, _) => return Ok(not_allowed(Some("POST"))),
    }
    let Some(sessions) = UserSessions::of_session(storage, session)? else {
        return Ok(text(StatusCode::UNAUTHORIZED, "401: Unauthorized"));
    };
    let ended = match path {
        "/sessions/end" => {
            let Id { id } = serde_json::from_slice(body)?;
            sessions.end(&id).await?
        }
        "/sessions/end-others" => sessions.end_others().await?,
        "/sessions/end-all" => sessions.end_all().await?,
        _ => return view_all(&sessions.list().await?),
    };
    Ok(json(format!("{{\"ended\": {ended}}}")))
}

/// Responds with the sessions of a user.
fn view_all(sessions: &[UserSession]) -> HandlerResult {
    let mut out = String::from("{\"sessions\": [");
    let mut comma = "";
    for session in sessions {
        write!(
            out,
            "{comma}{{\"id\": \"{}\", \"current\": {}, \"created\": {}, \"data\": ",
            session.handle(),
            session.is_current(),
            unix_seconds(session.created()),
        )?;
        write_data(&mut out, session.keys(), |key| session.get(key))?;
        out.push('}');
        comma = ", ";
    }
    out.push_str("]}");
    Ok(json(out))
}

fn noop() -> Response<Content> {
    json("{\"ok\": true}".to_owned())
}

fn touch(session: &Session) -> HandlerResult {
    session.changed()?;
    view(session)
}

fn redirect(session: &Session) -> HandlerResult {
    session.insert("redirected", true)?;
    let mut response = text(StatusCode::FOUND, "302: Found");
    let headers = response.headers_mut();
    headers.insert(LOCATION, HeaderValue::from_static("/get"));
    Ok(response)
}

fn error(session: &Session) -> HandlerResult {
    session.insert("error", true)?;
    Err(Failure::Other)
}

fn stream(session: &Session) -> HandlerResult {
    session.insert("streamed", true)?;
    let mut response = text(StatusCode::OK, "streamed");
    response.body_mut().known_size = false;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    Ok(response)
}

fn forbidden(session: &Session) -> HandlerResult {
    session.insert("forbidden", true)?;
    Ok(text(StatusCode::FORBIDDEN, "forbidden"))
}

/// Loads no session for a body that is not JSON.
async fn set(sessions: &Sessions, body: &[u8]) -> HandlerResult {
    let Members(members) = serde_json::from_slice(body)?;
    let session = sessions.session().await?;
    for (key, value) in members {
        session.insert(&key, value)?;
    }
    view(&session)
}

fn invalidate(session: &Session) -> HandlerResult {
    session.invalidate()?;
    view(session)
}

fn clear(session: &Session) -> HandlerResult {
    session.clear()?;
    view(session)
}

fn renew(session: &Session) -> HandlerResult {
    session.renew()?;
    view(session)
}

fn login(sessions: &Sessions, body: &[u8]) -> HandlerResult {
    let Members(members) = match body {
        b"" => Members::default(),
        body => serde_json::from_slice(body)?,
    };
    let user = members.into_iter().rfind(|(key, _)| key == "user");
    let session = sessions.new_session()?;
    match user {
        Some((_, user)) => session.insert("user", user)?,
        None => session.insert("user", "alice")?,
    }
    view(&session)
}

fn delete(session: &Session, path: &str) -> HandlerResult {
    let key = path.strip_prefix(DELETE).unwrap_or_default();
    session.remove(&percent_decoded(key))?;
    view(session)
}

fn set_max_age(session: &Session, body: &[u8]) -> HandlerResult {
    #[derive(Deserialize)]
    struct MaxAge {
        max_age: Option<i64>,
    }
    let MaxAge { max_age } = serde_json::from_slice(body)?;
    // A `Duration` is not negative. The shortest lifetime comes nearest.
    let seconds = max_age.map(|seconds| u64::try_from(seconds).unwrap_or(0));
    session.set_max_age(seconds.map(Duration::from_secs))?;
    view(session)
}

const DELETE: &str = "/delete/";

const GETS: [&str; 7] = [
    "/get",
    "/noop",
    "/touch",
    "/raise-redirect",
    "/error",
    "/stream",
    "/forbidden",
];
const POSTS: [&str; 7] = [
    "/set",
    "/invalidate",
    "/clear",
    "/renew",
    "/login",
    "/max-age",
    "/new-untouched",
];

/// Responds with the content of the session, in the format of the Python twin.
fn view(session: &Session) -> HandlerResult {
    let created = unix_seconds(session.created());
    let identity = session.identity();
    let identity = serde_json::to_string(&identity.as_ref().map(Identity::as_str))?;
    let mut out = format!(
        "{{\"new\": {}, \"identity\": {identity}, \"created\": {created}, \"data\": ",
        session.is_new()
    );
    write_data(&mut out, session.keys(), |key| session.get(key))?;
    out.push('}');
    Ok(json(out))
}

/// Writes the values of a session as a JSON object.
fn write_data(
    out: &mut String,
    keys: Vec<String>,
    get: impl Fn(&str) -> session_core::Result<Option<Box<RawValue>>>,
) -> Result<(), Failure> {
    out.push('{');
    let mut comma = "";
    for key in keys {
        // A key that is not Unicode (a lone surrogate from Python) cannot be passed to `get`.
        if let Some(value) = get(&key)? {
            write!(
                out,
                "{comma}{}: {}",
                serde_json::to_string(&key)?,
                value.get()
            )?;
            comma = ", ";
        }
    }
    out.push('}');
    Ok(())
}

fn unix_seconds(time: SystemTime) -> i128 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(since) => i128::from(since.as_secs()),
        Err(before) => -i128::from(before.duration().as_secs()),
    }
}

fn json(text: String) -> Response<Content> {
    respond(
        StatusCode::OK,
        "application/json; charset=utf-8",
        text.into(),
    )
}

fn text(status: StatusCode, text: &'static str) -> Response<Content> {
    respond(status, "text/plain; charset=utf-8", text.into())
}

fn not_found() -> Response<Content> {
    text(StatusCode::NOT_FOUND, "404: Not Found")
}

fn not_allowed(methods: Option<&'static str>) -> Response<Content> {
    let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "405: Method Not Allowed");
    if let Some(methods) = methods {
        let headers = response.headers_mut();
        headers.insert(ALLOW, HeaderValue::from_static(methods));
    }
    response
}

fn respond(status: StatusCode, kind: &'static str, body: Bytes) -> Response<Content> {
    let mut response = Response::new(Content {
        bytes: Some(body),
        known_size: true,
    });
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

async fn read<B: Body>(body: B) -> Result<Bytes, Failure> {
    let body = body.collect().await.map_err(|_| Failure::Other)?;
    Ok(body.to_bytes())
}

/// A body of one piece; with a size that is not known it leaves in chunks.
#[derive(Debug, Default)]
pub(crate) struct Content {
    bytes: Option<Bytes>,
    known_size: bool,
}

impl Body for Content {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.bytes.take().map(|bytes| Ok(Frame::data(bytes))))
    }

    fn size_hint(&self) -> SizeHint {
        let left = self.bytes.as_ref().map_or(0, Bytes::len);
        if self.known_size || left == 0 {
            SizeHint::with_exact(left as u64)
        } else {
            SizeHint::default()
        }
    }
}

/// The members of a JSON object in their order, their values as they are written.
#[derive(Default)]
struct Members(Vec<(String, Box<RawValue>)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;

        impl<'de> Visitor<'de> for Reader {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(Reader)
    }
}

fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let digits = tail.get(..2).filter(|_| first == b'%');
        let byte = digits
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(byte.unwrap_or(first));
        rest = if byte.is_some() { &tail[2..] } else { tail };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

async fn storage(flags: &Flags) -> Result<Arc<dyn Storage>, BoxError> {
    let cookie = cookie(flags)?;
    let key = || Ok::<_, BoxError>(Key::parse(flags.need("--key")?)?);
    let hash = flags.is_set("--hash-identities");
    let kind = flags.need("--storage")?;
    if hash && matches!(kind, "simple" | "fernet" | "nacl") {
        return Err(format!("--hash-identities: {kind} keeps no identities\n{USAGE}").into());
    }
    let index = flags.get("--user-index");
    if index.is_some() && matches!(kind, "simple" | "fernet" | "nacl") {
        return Err(format!("--user-index: {kind} keeps no index of users\n{USAGE}").into());
    }
    Ok(match kind {
        "simple" => Arc::new(SimpleCookieStorage::unprotected().with_cookie(cookie)),
        "fernet" => Arc::new(EncryptedCookieStorage::new(key()?).with_cookie(cookie)),
        "nacl" => Arc::new(NaClCookieStorage::new(key()?).with_cookie(cookie)),
        "memory" => {
            let storage = MemoryStorage::default();
            let storage = storage.with_cookie(cookie).hash_identities(hash);
            match index {
                Some(key) => Arc::new(storage.with_user_index(key)),
                None => Arc::new(storage),
            }
        }
        "redis" => {
            let storage = RedisStorage::connect(flags.need("--redis-url")?).await?;
            let storage = storage.with_cookie(cookie).hash_identities(hash);
            match index {
                Some(key) => Arc::new(storage.with_user_index(key)),
                None => Arc::new(storage),
            }
        }
        "memcached" => {
            let storage = MemcachedStorage::connect(flags.need("--memcached")?).await?;
            let storage = storage.with_cookie(cookie).hash_identities(hash);
            match index {
                Some(key) => Arc::new(storage.with_user_index(key)),
                None => Arc::new(storage),
            }
        }
        other => return Err(format!("there is no storage {other}\n{USAGE}").into()),
    })
}

fn cookie(flags: &Flags) -> Result<CookieSettings, BoxError> {
    let name = flags.get("--cookie-name").unwrap_or("AIOHTTP_SESSION");
    let same_site = match flags
        .get("--samesite")
        .map(str::to_ascii_lowercase)
        .as_deref()
    {
        None => None,
        Some("strict") => Some(SameSite::Strict),
        Some("lax") => Some(SameSite::Lax),
        Some("none") => Some(SameSite::None),
        Some(_) => return Err("--samesite is Strict, Lax or None".into()),
    };
    let max_age = match flags.get("--max-age") {
        None | Some("none" | "None" | "") => None,
        Some(seconds) => Some(Duration::from_secs(seconds.parse()?)),
    };
    let absolute_max_age = match flags.get("--absolute-max-age") {
        None => None,
        Some(seconds) => Some(Duration::from_secs(seconds.parse()?)),
    };
    Ok(CookieSettings::builder(name.to_owned())
        .rolling(flags.is_set("--rolling"))
        .absolute_max_age(absolute_max_age)
        .domain(flags.get("--domain").unwrap_or_default())
        .path(flags.get("--path").unwrap_or("/"))
        .secure(flags.is_set("--secure"))
        .http_only(!flags.is_set("--no-httponly"))
        .same_site(same_site)
        .max_age(max_age)
        .build()?)
}

/// The command line: `--name value`, `--name=value`, or `--name` alone.
struct Flags(BTreeMap<String, String>);

impl Flags {
    fn parse(arguments: impl Iterator<Item = String>) -> Result<Self, BoxError> {
        let mut flags = BTreeMap::new();
        let mut arguments = arguments;
        while let Some(argument) = arguments.next() {
            let (name, value) = match argument.split_once('=') {
                Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
                None => (argument, None),
            };
            let value = match name.as_str() {
                "--secure" | "--no-httponly" | "--rolling" | "--hash-identities" | "--verbose"
                    if value.is_none() =>
                {
                    String::new()
                }
                "--port" | "--host" | "--storage" | "--key" | "--redis-url" | "--memcached"
                | "--max-age" | "--absolute-max-age" | "--cookie-name" | "--domain" | "--path"
                | "--samesite" | "--adapter" | "--user-index" => value
                    .or_else(|| arguments.next())
                    .ok_or_else(|| format!("{name} needs a value\n{USAGE}"))?,
                _ => return Err(format!("{name} is no flag of this program\n{USAGE}").into()),
            };
            flags.insert(name, value);
        }
        Ok(Self(flags))
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    fn need(&self, name: &str) -> Result<&str, BoxError> {
        self.get(name)
            .ok_or_else(|| format!("{name} is needed\n{USAGE}").into())
    }

    fn is_set(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }
}
