//! axum without a session: what the framework costs.

use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::routing::get;
use tokio::net::TcpListener;

static COUNTER: AtomicU64 = AtomicU64::new(0);

async fn read() -> String {
    COUNTER.load(Ordering::Relaxed).to_string()
}

async fn write() -> String {
    (COUNTER.fetch_add(1, Ordering::Relaxed) + 1).to_string()
}

fn main() {
    bench_common::runtime().block_on(async {
        let app = Router::new()
            .route("/none", get(|| async { "ok" }))
            .route("/read", get(read))
            .route("/write", get(write));
        let listener = TcpListener::bind(("127.0.0.1", bench_common::port()))
            .await
            .expect("the port is free");
        axum::serve(listener, app).await.expect("an open port");
    });
}
