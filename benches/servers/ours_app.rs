// What our two servers share, one on hyper and one on axum: by `include!`.

use std::sync::Arc;
use std::time::Duration;

use session_cookie::{EncryptedCookieStorage, Key, NaClCookieStorage};
use session_core::{CookieChange, CookieSettings, MemoryBackend, MemoryStorage, Session, Storage};
use session_memcached::MemcachedStorage;
use session_redis::RedisStorage;
use tokio::net::TcpListener;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// As short as the peers'.
const NAME: &str = "id";

/// The session key of the user's number. `memory-users` and `redis-users` keep an index by it.
const USER: &str = "user_id";

fn increment(session: &Session) -> session_core::Result<i64> {
    let counter = session.get("counter")?.unwrap_or(0);
    if counter == 0 {
        if let Some(text) = bench_common::filler() {
            session.insert("filler", text)?;
        } else {
            session.insert(USER, 1_234_567)?;
            session.insert("name", "Ada Lovelace")?;
            session.insert("roles", ["admin", "editor", "viewer"])?;
            session.insert("last_visit", 1_700_000_000.123_456)?;
        }
    }
    session.insert("counter", counter + 1)?;
    Ok(counter + 1)
}

/// Stores a session as a first `/write` would, and returns its Cookie header.
async fn create(storage: &dyn Storage) -> String {
    let session = storage.load(&[]).await.expect("a new session");
    increment(&session).expect("room for a user");
    match storage.save(&session).await.expect("an acknowledged save") {
        CookieChange::Set { value, .. } => format!("{NAME}={value}"),
        change => panic!("a new session's cookie is set, not {change:?}"),
    }
}

/// The storage that the second argument names, with the sessions to begin with.
async fn storage() -> Result<Arc<dyn Storage>, BoxError> {
    let cookie = CookieSettings::builder(NAME)
        .secure(false)
        .max_age(Duration::from_secs(3600))
        .build()?;
    let storage: Arc<dyn Storage> = match bench_common::argument(2).as_str() {
        "fernet" => Arc::new(EncryptedCookieStorage::new(Key::generate()?).with_cookie(cookie)),
        "nacl" => Arc::new(NaClCookieStorage::new(Key::generate()?).with_cookie(cookie)),
        store @ ("memory" | "memory-users") => {
            // Room for a million sessions.
            let backend = MemoryBackend::with_capacity(2 << 30);
            let storage = MemoryStorage::new(backend).with_cookie(cookie);
            match store {
                "memory" => Arc::new(storage),
                _ => Arc::new(storage.with_user_index(USER)),
            }
        }
        store @ ("redis" | "redis-users") => {
            let storage = RedisStorage::connect(&std::env::var("REDIS_URL")?).await?;
            let storage = storage.with_cookie(cookie);
            match store {
                "redis" => Arc::new(storage),
                _ => Arc::new(storage.with_user_index(USER)),
            }
        }
        "memcached" => {
            let storage = MemcachedStorage::connect(&std::env::var("MEMCACHED")?).await?;
            Arc::new(storage.with_cookie(cookie))
        }
        other => return Err(format!("no storage is called {other:?}").into()),
    };
    bench_common::fill(|| create(&*storage)).await;
    Ok(storage)
}

async fn listen() -> std::io::Result<TcpListener> {
    TcpListener::bind(("127.0.0.1", bench_common::port())).await
}
