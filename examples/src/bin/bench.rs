//! The server that is measured beside its peers: `bench PORT fernet|nacl|memory|redis|memcached|none`,
//! with the store's address in REDIS_URL or MEMCACHED.
//!
//! `/none` does not touch the session, `/read` answers its counter, `/write` increments it, first
//! setting what a logged-in user's session holds. One thread, HTTP/1.

use std::convert::Infallible;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use session_cookie::{EncryptedCookieStorage, Key, NaClCookieStorage};
use session_core::{CookieSettings, MemoryStorage, RequestSession, Session, Storage};
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
        session.insert("user_id", 1_234_567)?;
        session.insert("name", "Ada Lovelace")?;
        session.insert("roles", ["admin", "editor", "viewer"])?;
        session.insert("last_visit", 1_700_000_000.123_456)?;
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

/// The same answers without a session, as the measure of what hyper itself costs.
async fn bare(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let known = matches!(request.uri().path(), "/none" | "/read" | "/write");
    let status = if known {
        StatusCode::OK
    } else {
        StatusCode::NOT_FOUND
    };
    Ok(answer(Bytes::from_static(b"ok"), status))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    let mut arguments = std::env::args().skip(1);
    let port: u16 = arguments
        .next()
        .ok_or("usage: bench PORT STORAGE")?
        .parse()?;
    let kind = arguments.next().unwrap_or_default();
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    if kind == "none" {
        loop {
            let (stream, _) = listener.accept().await?;
            tokio::spawn(
                http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(bare)),
            );
        }
    }
    let cookie = CookieSettings::builder("id")
        .secure(false)
        .max_age(Duration::from_secs(3600))
        .build()?;
    let storage: Arc<dyn Storage> = match kind.as_str() {
        "fernet" => Arc::new(EncryptedCookieStorage::new(Key::generate()?).with_cookie(cookie)),
        "nacl" => Arc::new(NaClCookieStorage::new(Key::generate()?).with_cookie(cookie)),
        "memory" => Arc::new(MemoryStorage::default().with_cookie(cookie)),
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
    let service = SessionService::new(storage, service_fn(handle));
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service.clone()));
    }
}
