//! axum, tower-sessions and tower-sessions-redis-store, with Redis's address in `REDIS_URL`.
//!
//! The store's newest version, 0.16, is for tower-sessions 0.14. Six connections, as in its
//! example.

include!("../../tower_app.rs");

use tower_sessions_redis_store::RedisStore;
use tower_sessions_redis_store::fred::prelude::{ClientLike, Config, Pool};

const CONNECTIONS: usize = 6;

fn main() {
    bench_common::runtime().block_on(async {
        let address = std::env::var("REDIS_URL").expect("REDIS_URL");
        let config = Config::from_url(&address).expect("an address of Redis");
        let pool = Pool::new(config, None, None, None, CONNECTIONS).expect("a pool");
        let _connections = pool.connect();
        pool.wait_for_connect().await.expect("Redis");
        serve(RedisStore::new(pool)).await;
    });
}
