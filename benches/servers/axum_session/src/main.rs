//! axum and axum_session, in memory.
//!
//! Not with Redis: it responds from memory there too and writes to Redis at most every ten seconds
//! (its `db_update_interval`), so that this row would be measured a second time.

use std::time::Duration;

use axum::Router;
use axum::routing::get;
use axum_session::{SessionConfig, SessionLayer, SessionNullPool, SessionStore};
use tokio::net::TcpListener;

type Session = axum_session::Session<SessionNullPool>;

async fn read(session: Session) -> String {
    session.get::<i64>("counter").unwrap_or(0).to_string()
}

async fn write(session: Session) -> String {
    let counter = session.get::<i64>("counter").unwrap_or(0);
    if counter == 0 {
        if let Some(text) = bench_common::filler() {
            session.set("filler", text);
        } else {
            session.set("user_id", 1_234_567);
            session.set("name", "Ada Lovelace");
            session.set("roles", ["admin", "editor", "viewer"]);
            session.set("last_visit", 1_700_000_000.123_456);
        }
    }
    session.set("counter", counter + 1);
    (counter + 1).to_string()
}

fn main() {
    bench_common::runtime().block_on(async {
        let life = Duration::from_secs(3600).try_into().expect("an hour");
        let config = SessionConfig::default()
            .with_secure(false)
            .with_lifetime(life)
            .with_memory_lifetime(life)
            .with_max_age(Some(life));
        let store = SessionStore::<SessionNullPool>::new(None, config)
            .await
            .expect("a store in memory");
        let app = Router::new()
            .route("/none", get(|| async { "ok" }))
            .route("/read", get(read))
            .route("/write", get(write))
            .layer(SessionLayer::new(store));
        let listener = TcpListener::bind(("127.0.0.1", bench_common::port()))
            .await
            .expect("the port is free");
        axum::serve(listener, app).await.expect("an open port");
    });
}
