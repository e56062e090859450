//! Remembers your last visit in an encrypted cookie: `cargo run --release --bin quickstart`.
//!
//! `PORT` chooses the port (8080), `SESSION_KEY` the key: the base64 text of 32 bytes.

use std::error::Error;
use std::time::{Duration, SystemTime};

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use session_cookie::{EncryptedCookieStorage, Key};
use session_core::CookieSettings;
use session_hyper::{RequestSession, SessionService};
use tokio::net::TcpListener;

type BoxError = Box<dyn Error + Send + Sync>;

async fn handler(request: Request<Incoming>) -> Result<Response<String>, BoxError> {
    let mut response = Response::new(String::new());
    if request.uri().path() != "/" {
        *response.status_mut() = http::StatusCode::NOT_FOUND;
        return Ok(response);
    }
    let session = request.session().await?;
    let last: Option<String> = session.get("last_visit")?;
    session.insert("last_visit", httpdate::fmt_http_date(SystemTime::now()))?;
    *response.body_mut() = page(&last.unwrap_or_else(|| "never".to_owned()));
    let html = http::HeaderValue::from_static("text/html; charset=utf-8");
    response
        .headers_mut()
        .insert(http::header::CONTENT_TYPE, html);
    Ok(response)
}

fn page(last: &str) -> String {
    format!(
        "<!doctype html>
<html lang=en>
<meta charset=utf-8>
<meta name=viewport content='width=device-width'>
<title>Last visit</title>
<style>
  body {{ font: 1.25rem/1.6 system-ui, sans-serif; color: #223; background: #f4f5f8;
         display: grid; min-height: 100vh; margin: 0; place-items: center }}
  main {{ background: #fff; padding: 2rem 3rem; border-radius: 1rem; box-shadow: 0 1px 12px #0002 }}
  h1 {{ font-size: 1.5rem; margin: 0 0 .5rem }}
  p {{ margin: 0 }}
  small {{ color: #667 }}
</style>
<main>
  <h1>Last visited: {last}</h1>
  <p><small>Kept in an encrypted cookie of this browser. Reload the page.</small></p>
</main>
"
    )
}

fn key() -> Result<Key, BoxError> {
    if let Ok(text) = std::env::var("SESSION_KEY") {
        return Ok(Key::parse(&text)?);
    }
    let key = Key::generate()?;
    eprintln!(
        "warning: SESSION_KEY is not set, so a key was generated for this run: when the program"
    );
    eprintln!(
        "ends today's cookies cannot be read any more. To keep sessions, set SESSION_KEY to 32"
    );
    eprintln!(
        "random bytes in base64, for example the output of: head -c 32 /dev/urandom | base64"
    );
    Ok(key)
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    // This is off only because the program speaks plain http.
    let cookie = CookieSettings::builder("last_visit")
        .secure(false)
        .build()?;
    let storage = EncryptedCookieStorage::new(key()?).with_cookie(cookie);
    let service = SessionService::new(storage, service_fn(handler));

    let port = std::env::var("PORT").map_or(Ok(8080), |port| port.parse())?;
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    println!("Listening on http://{}", listener.local_addr()?);
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Too many open files, say. The next attempt may succeed.
                eprintln!("{error}");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let service = service.clone();
        tokio::spawn(async move {
            // A connection that breaks off affects only its client.
            let server = auto::Builder::new(TokioExecutor::new());
            let _ = server.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}
