// What the two servers of tower-sessions share, which are on two versions of it: by `include!`.

use std::fmt::Debug;
use std::sync::Arc;

use axum::Router;
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
    let app = Router::new()
        .route("/none", get(|| async { "ok" }))
        .route("/read", get(read))
        .route("/write", get(write))
        .layer(layer);
    let listener = TcpListener::bind(("127.0.0.1", bench_common::port()))
        .await
        .expect("the port is free");
    axum::serve(listener, app).await.expect("an open port");
}
