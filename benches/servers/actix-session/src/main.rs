//! actix-web and actix-session: `PORT cookie|redis`, with the store's address in `REDIS_URL`.

use actix_session::config::PersistentSession;
use actix_session::storage::{CookieSessionStore, RedisSessionStore, SessionStore};
use actix_session::{Session, SessionMiddleware};
use actix_web::cookie::{Key, time::Duration};
use actix_web::error::ErrorInternalServerError as failed;
use actix_web::web::{Path, ServiceConfig};
use actix_web::{App, HttpServer, Responder, get};

#[get("/none")]
async fn none() -> impl Responder {
    "ok"
}

#[get("/read")]
async fn read(session: Session) -> actix_web::Result<String> {
    let counter: Option<i64> = session.get("counter").map_err(failed)?;
    Ok(counter.unwrap_or(0).to_string())
}

#[get("/write")]
async fn write(session: Session) -> actix_web::Result<String> {
    let counter: i64 = session.get("counter").map_err(failed)?.unwrap_or(0);
    if counter == 0 {
        if let Some(text) = bench_common::filler() {
            session.insert("filler", text).map_err(failed)?;
        } else {
            session.insert("user_id", 1_234_567).map_err(failed)?;
            session.insert("name", "Ada Lovelace").map_err(failed)?;
            let roles = ["admin", "editor", "viewer"];
            session.insert("roles", roles).map_err(failed)?;
            let time = 1_700_000_000.123_456;
            session.insert("last_visit", time).map_err(failed)?;
        }
    }
    session.insert("counter", counter + 1).map_err(failed)?;
    Ok((counter + 1).to_string())
}

/// Has loaded the session when it begins, and sets a key a while later.
#[get("/set/{key}/{milliseconds}")]
async fn set(session: Session, path: Path<(String, u64)>) -> actix_web::Result<&'static str> {
    let (key, milliseconds) = path.into_inner();
    bench_common::pause(milliseconds).await;
    session.insert(key, 1).map_err(failed)?;
    Ok("ok")
}

#[get("/value/{key}")]
async fn value(session: Session, key: Path<String>) -> actix_web::Result<String> {
    let value: Option<i64> = session.get(&key).map_err(failed)?;
    Ok(value.unwrap_or(0).to_string())
}

#[get("/logout")]
async fn log_out(session: Session) -> impl Responder {
    session.purge();
    "ok"
}

fn trouble(config: &mut ServiceConfig) {
    if bench_common::in_trouble() {
        config.service(set).service(value).service(log_out);
    }
}

/// The cookie's content is private, encrypted with AES-256-GCM: the default, for both stores.
fn layer<S: SessionStore>(store: S) -> SessionMiddleware<S> {
    let life = PersistentSession::default().session_ttl(Duration::seconds(3600));
    SessionMiddleware::builder(store, Key::from(&[7; 64]))
        .cookie_secure(false)
        .session_lifecycle(life)
        .build()
}

/// `store` makes one for each worker.
async fn serve<S: SessionStore + 'static>(
    store: impl Fn() -> S + Clone + Send + 'static,
) -> std::io::Result<()> {
    HttpServer::new(move || {
        App::new()
            .wrap(layer(store()))
            .service(none)
            .service(read)
            .service(write)
            .configure(trouble)
    })
    .workers(1)
    .bind(("127.0.0.1", bench_common::port()))?
    .run()
    .await
}

#[actix_web::main]
async fn main() -> std::io::Result<()> {
    match bench_common::argument(2).as_str() {
        "cookie" => serve(CookieSessionStore::default).await,
        "redis" => {
            let address = std::env::var("REDIS_URL").expect("REDIS_URL");
            let store = RedisSessionStore::new(address).await.expect("Redis");
            serve(move || store.clone()).await
        }
        other => panic!("no store is called {other:?}"),
    }
}
