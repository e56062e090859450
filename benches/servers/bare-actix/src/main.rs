//! actix-web without a session: what the framework costs.

use std::sync::atomic::{AtomicU64, Ordering};

use actix_web::{App, HttpServer, Responder, get};

static COUNTER: AtomicU64 = AtomicU64::new(0);

#[get("/none")]
async fn none() -> impl Responder {
    "ok"
}

#[get("/read")]
async fn read() -> impl Responder {
    COUNTER.load(Ordering::Relaxed).to_string()
}

#[get("/write")]
async fn write() -> impl Responder {
    (COUNTER.fetch_add(1, Ordering::Relaxed) + 1).to_string()
}

#[actix_web::main]
async fn main() -> std::io::Result<()> {
    HttpServer::new(|| App::new().service(none).service(read).service(write))
        .workers(1)
        .bind(("127.0.0.1", bench_common::port()))?
        .run()
        .await
}
