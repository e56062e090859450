//! The library's sessions on axum, by its layer:
//! `bench-ours-axum PORT fernet|nacl|memory|redis|memcached`, with the store's address in
//! `REDIS_URL` or `MEMCACHED`.

include!("../../ours_app.rs");

use axum::Router;
use axum::extract::Path;
use axum::routing::get;
use session_tower::{Result as SessionResult, SessionLayer};

async fn read(session: Session) -> SessionResult<String> {
    let counter: Option<i64> = session.get("counter")?;
    Ok(counter.unwrap_or(0).to_string())
}

async fn write(session: Session) -> SessionResult<String> {
    Ok(increment(&session)?.to_string())
}

/// Has loaded the session when it begins, and sets a key a while later.
async fn set(
    session: Session,
    Path((key, milliseconds)): Path<(String, u64)>,
) -> SessionResult<&'static str> {
    bench_common::pause(milliseconds).await;
    session.insert(&key, 1)?;
    Ok("ok")
}

async fn value(session: Session, Path(key): Path<String>) -> SessionResult<String> {
    let value: Option<i64> = session.get(&key)?;
    Ok(value.unwrap_or(0).to_string())
}

async fn log_out(session: Session) -> SessionResult<&'static str> {
    session.invalidate()?;
    Ok("ok")
}

async fn serve() -> Result<(), BoxError> {
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
    let app = app.layer(SessionLayer::new(storage().await?));
    axum::serve(listen().await?, app).await?;
    Ok(())
}

fn main() -> Result<(), BoxError> {
    bench_common::runtime().block_on(serve())
}
