//! The library's sessions around hyper: `bench-ours PORT fernet|nacl|memory|redis|memcached`, with the
//! store's address in `REDIS_URL` or `MEMCACHED`.
//!
//! `/none` does not touch the session, `/read` answers its counter, `/write` increments it, first
//! setting what a logged-in user's session holds.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use bench_common::argument;
use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use session_cookie::{EncryptedCookieStorage, Key, NaClCookieStorage};
use session_core::{
    CookieChange, CookieSettings, MemoryBackend, MemoryStorage, RequestSession, Session, Storage,
};
use session_hyper::SessionService;
use session_memcached::MemcachedStorage;
use session_redis::RedisStorage;
use tokio::net::TcpListener;

type BoxError = Box<dyn Error + Send + Sync>;

async fn handle(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, session_core::Error> {
    let body = match request.uri().path() {
        "/none" => Bytes::from_static(b"ok"),
        "/read" => {
            let counter: Option<i64> = request.session().await?.get("counter")?;
            counter.unwrap_or(0).to_string().into()
        }
        "/write" => write(&request.session().await?)?.to_string().into(),
        _ => return Ok(answer(Bytes::new(), StatusCode::NOT_FOUND)),
    };
    Ok(answer(body, StatusCode::OK))
}

fn write(session: &Session) -> session_core::Result<i64> {
    let counter = session.get("counter")?.unwrap_or(0);
    if counter == 0 {
        if let Some(text) = bench_common::filler() {
            session.insert("filler", text)?;
        } else {
            session.insert("user_id", 1_234_567)?;
            session.insert("name", "Ada Lovelace")?;
            session.insert("roles", ["admin", "editor", "viewer"])?;
            session.insert("last_visit", 1_700_000_000.123_456)?;
        }
    }
    session.insert("counter", counter + 1)?;
    Ok(counter + 1)
}

fn answer(body: Bytes, status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    let text = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, text);
    response
}

/// Stores a session as a first `/write` would, and returns its Cookie header.
async fn create(storage: &dyn Storage) -> String {
    let session = storage.load(&[]).await.expect("a new session");
    write(&session).expect("room for a user");
    match storage.save(&session).await.expect("an acknowledged save") {
        CookieChange::Set { value, .. } => format!("{NAME}={value}"),
        change => panic!("a new session's cookie is set, not {change:?}"),
    }
}

/// As short as the peers'.
const NAME: &str = "id";

async fn serve() -> Result<(), BoxError> {
    let cookie = CookieSettings::builder(NAME)
        .secure(false)
        .max_age(Duration::from_secs(3600))
        .build()?;
    let storage: Arc<dyn Storage> = match argument(2).as_str() {
        "fernet" => Arc::new(EncryptedCookieStorage::new(Key::generate()?).with_cookie(cookie)),
        "nacl" => Arc::new(NaClCookieStorage::new(Key::generate()?).with_cookie(cookie)),
        "memory" => {
            // Room for a million sessions.
            let backend = MemoryBackend::with_capacity(2 << 30);
            Arc::new(MemoryStorage::new(backend).with_cookie(cookie))
        }
        "redis" => {
            let storage = RedisStorage::connect(&std::env::var("REDIS_URL")?).await?;
            Arc::new(storage.with_cookie(cookie))
        }
        "memcached" => {
            let storage = MemcachedStorage::connect(&std::env::var("MEMCACHED")?).await?;
            Arc::new(storage.with_cookie(cookie))
        }
        other => return Err(format!("no storage is called {other:?}").into()),
    };
    bench_common::fill(|| create(&*storage)).await;
    let service = SessionService::new(storage, service_fn(handle));
    let listener = TcpListener::bind(("127.0.0.1", bench_common::port())).await?;
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        let connection = http1::Builder::new();
        tokio::spawn(connection.serve_connection(TokioIo::new(stream), service.clone()));
    }
}

fn main() -> Result<(), BoxError> {
    bench_common::runtime().block_on(serve())
}
