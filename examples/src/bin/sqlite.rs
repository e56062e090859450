//! Sessions in a SQLite file, which outlive this program:
//!
//! ```text
//! SESSIONS=target/sessions.db cargo run --features sqlite --bin sqlite
//! ```
//!
//! What to look at:
//!
//! - The store is not part of the library. It is `examples/src/sqlite.rs`: two operations that any
//!   database can do.
//! - Stop the program and start it again: it still knows you.
//! - Click "forget me": a copy of the old cookie is invalid.
//! - Start it twice, the second time with another PORT: both know you.

use std::time::Duration;

use http::{Method, Request, StatusCode};
use hyper::body::Incoming;
use hyper::service::service_fn;
use session_core::{CookieSettings, KeyedStorage, Session};
use session_examples::sqlite::SqliteBackend;
use session_examples::{BoxError, HandlerResult, escape, field, form, page, see_other, serve};
use session_hyper::{RequestSession, SessionService};

async fn handler(request: Request<Incoming>) -> HandlerResult {
    match (request.method(), request.uri().path()) {
        (&Method::GET, "/") => home(&request.session().await?),
        (&Method::POST, "/name") => name(request).await,
        (&Method::POST, "/forget") => {
            request.session().await?.invalidate()?;
            Ok(see_other("/"))
        }
        _ => Ok(page(
            StatusCode::NOT_FOUND,
            "Visits",
            "<p>There is no such page.</p>",
        )),
    }
}

fn home(session: &Session) -> HandlerResult {
    let visits = session.update("visits", |visits: Option<u64>| visits.unwrap_or(0) + 1)?;
    let name: Option<String> = session.get("name")?;
    let name = escape(&name.unwrap_or_else(|| "stranger".to_owned()));
    let body = format!(
        "<p>Hello <b>{name}</b>, this is visit {visits}.</p>
<form method=post action=/name>
<label>Your name <input name=name required></label><button>Remember</button></form>
<form method=post action=/forget><button>Forget me</button></form>"
    );
    Ok(page(StatusCode::OK, "Visits", &body))
}

async fn name(request: Request<Incoming>) -> HandlerResult {
    let (parts, body) = request.into_parts();
    let form = form(body).await.unwrap_or_default();
    parts
        .session()
        .await?
        .insert("name", field(&form, "name"))?;
    Ok(see_other("/"))
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    tracing_subscriber::fmt().init(); // says why a page is a 503
    let path = std::env::var("SESSIONS").map_err(|_| "set SESSIONS, to target/sessions.db say")?;
    let cookie = CookieSettings::builder("visits")
        .max_age(Duration::from_secs(30 * 24 * 3600))
        .secure(false) // only because this program speaks plain http
        .build()?;
    let storage = KeyedStorage::new(SqliteBackend::open(path).await?)
        .with_cookie(cookie)
        .hash_identities(true); // a copy of the file is not enough to log in
    match serve(SessionService::new(storage, service_fn(handler))).await? {}
}
