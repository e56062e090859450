//! axum and tower-sessions, in its memory store.

include!("../../tower_app.rs");

fn main() {
    bench_common::runtime().block_on(serve(tower_sessions::MemoryStore::default()));
}
