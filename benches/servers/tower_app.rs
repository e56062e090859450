// What the two servers of tower-sessions share, which are on two versions of it: by `include!`.

use std::fmt::Debug;
use std::sync::Arc;

use axum::Router;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::routing::get;
use tokio::net::TcpListener;
use tower_sessions::{Expiry, Session, SessionManagerLayer, SessionStore, session};

const LIFE: Expiry = Expiry::OnInactivity(time::Duration::seconds(3600));

fn failed(error: impl Debug) -> StatusCode {
    eprintln!("{error:?}");
    StatusCode::INTERNAL_SERVER_ERROR
}

async fn read(session: Session) -> Result<String, StatusCode> {
    let counter: Option<i64> = session.get("counter").await.map_err(failed)?;
    Ok(counter.unwrap_or(0).to_string())
}

async fn write(session: Session) -> Result<String, StatusCode> {
    let counter = increment(&session).await.map_err(failed)?;
    Ok(counter.to_string())
}

/// Loads the session when it begins, and sets a key a while later.
async fn set(
    session: Session,
    Path((key, milliseconds)): Path<(String, u64)>,
) -> Result<&'static str, StatusCode> {
    read(session.clone()).await?;
    bench_common::pause(milliseconds).await;
    session.insert(&key, 1).await.map_err(failed)?;
    Ok("ok")
}

async fn value(session: Session, Path(key): Path<String>) -> Result<String, StatusCode> {
    let value: Option<i64> = session.get(&key).await.map_err(failed)?;
    Ok(value.unwrap_or(0).to_string())
}

async fn log_out(session: Session) -> Result<&'static str, StatusCode> {
    session.flush().await.map_err(failed)?;
    Ok("ok")
}

async fn increment(session: &Session) -> Result<i64, session::Error> {
    let counter = session.get("counter").await?.unwrap_or(0);
    if counter == 0 {
        if let Some(text) = bench_common::filler() {
            session.insert("filler", text).await?;
        } else {
            session.insert("user_id", 1_234_567).await?;
            session.insert("name", "Ada Lovelace").await?;
            let roles = ["admin", "editor", "viewer"];
            session.insert("roles", roles).await?;
            session.insert("last_visit", 1_700_000_000.123_456).await?;
        }
    }
    session.insert("counter", counter + 1).await?;
    Ok(counter + 1)
}

/// Stores a session as a first `/write` would, and returns its Cookie header.
async fn create(store: Arc<impl SessionStore>) -> String {
    let session = Session::new(None, store, Some(LIFE));
    increment(&session).await.expect("room for a user");
    session.save().await.expect("an acknowledged save");
    format!("id={}", session.id().expect("an identity"))
}

async fn serve(store: impl SessionStore + Clone) {
    let filled = Arc::new(store.clone());
    bench_common::fill(|| create(filled.clone())).await;
    let layer = SessionManagerLayer::new(store)
        .with_secure(false)
        .with_expiry(LIFE);
    let mut app = Router::new()
        .route("/none", get(|| async { "ok" }))
        .route("/read", get(read))
        .route("/write", get(write));
    if bench_common::in_trouble() {
        app = app
            .route("/set/{key}/{milliseconds}", get(set))
            .route("/value/{key}", get(value))
            .route("/logout", get(log_out));
    }
    let app = app.layer(layer);
    let listener = TcpListener::bind(("127.0.0.1", bench_common::port()))
        .await
        .expect("the port is free");
    axum::serve(listener, app).await.expect("an open port");
}
