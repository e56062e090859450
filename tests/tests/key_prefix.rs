//! Applications that share a store, each with a key prefix of its own.
#![allow(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "these are tests"
)]

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use session_core::{
    CookieChange, CookieSettings, ErrorKind, KeyedStorage, MemoryBackend, MemoryStorage, Storage,
    UserSessions,
};
use session_memcached::{MemcachedBackend, MemcachedStorage};
use session_redis::{RedisBackend, RedisStorage};
use session_tests::memcached::MemcachedServer;
use session_tests::redis::RedisServer;
use session_tests::stores::Call;
use session_tests::wrap_backend;

/// A busy machine is no failure.
const PATIENCE: Duration = Duration::from_secs(20);

/// printf 42 | sha256sum
const HASH_OF_42: &str = "73475cb40a568e8da8a045ced110137e159f890ac4da883b6b17dc651b3a8049";

/// A store of whatever kind that applications share.
enum Store {
    Memory(Watched),
    Redis(RedisServer),
    Memcached(MemcachedServer),
}

impl Store {
    fn all() -> [Self; 3] {
        [
            Self::Memory(Watched::default()),
            Self::Redis(RedisServer::start()),
            Self::Memcached(MemcachedServer::start()),
        ]
    }

    /// An application on this store. All of them have one cookie name.
    async fn app(&self, prefix: Option<&str>) -> Arc<dyn Storage> {
        let cookie = || CookieSettings::builder("sid").build().unwrap();
        macro_rules! app {
            ($storage:expr) => {{
                let storage = $storage.with_cookie(cookie()).with_user_index("user");
                Arc::new(match prefix {
                    Some(prefix) => storage.with_key_prefix(prefix).unwrap(),
                    None => storage,
                })
            }};
        }
        match self {
            Self::Memory(backend) => app!(KeyedStorage::new(backend.clone())),
            Self::Redis(server) => {
                let backend = RedisBackend::connect(&server.url()).await.unwrap();
                app!(RedisStorage::new(backend.with_timeout(PATIENCE)))
            }
            Self::Memcached(server) => {
                let backend = MemcachedBackend::open(&server.address()).unwrap();
                app!(MemcachedStorage::new(backend.with_timeout(PATIENCE)))
            }
        }
    }

    /// The keys in the store.
    async fn keys(&self) -> BTreeSet<String> {
        match self {
            Self::Memory(backend) => backend.keys.lock().unwrap().clone(),
            Self::Redis(server) => server.ask("KEYS *").await,
            Self::Memcached(server) => server.keys().into_iter().collect(),
        }
    }
}

/// Memory that remembers the keys of its calls.
#[derive(Clone, Debug, Default)]
struct Watched {
    inner: Arc<MemoryBackend>,
    keys: Arc<Mutex<BTreeSet<String>>>,
}

impl Watched {
    async fn around<T>(&self, call: Call, key: &str, inner: impl Future<Output = T>) -> T {
        if call != Call::Read {
            self.keys.lock().unwrap().insert(key.to_owned());
        }
        inner.await
    }
}

wrap_backend!(Watched);

/// Logs a user in and returns the cookie's value.
async fn log_in(app: &Arc<dyn Storage>, user: u64) -> String {
    let session = app.load(&[]).await.unwrap();
    session.insert("user", user).unwrap();
    let change = app.save(&session).await.unwrap();
    assert!(matches!(change, CookieChange::Set { .. }), "{change:?}");
    session.identity().unwrap().as_str().to_owned()
}

async fn user(app: &Arc<dyn Storage>, cookie: &str) -> Option<u64> {
    app.load(&[cookie]).await.unwrap().get("user").unwrap()
}

#[tokio::test]
async fn every_key_begins_with_the_prefix() {
    for store in Store::all() {
        let (shop, none) = (store.app(Some("shop:")).await, store.app(None).await);
        let (in_shop, in_none) = (log_in(&shop, 42).await, log_in(&none, 42).await);
        let expected = [
            format!("shop:sid_{in_shop}"),
            format!("shop:@sid_{HASH_OF_42}"),
            format!("sid_{in_none}"),
            format!("@sid_{HASH_OF_42}"),
        ];
        assert_eq!(store.keys().await, BTreeSet::from(expected));

        // A renewal and a logout write under keys with the prefix, too.
        let renewed = shop.load(&[&in_shop]).await.unwrap();
        renewed.renew().unwrap();
        shop.save(&renewed).await.unwrap();
        let cookie = renewed.identity().unwrap().as_str().to_owned();
        let logout = shop.load(&[&cookie]).await.unwrap();
        logout.invalidate().unwrap();
        assert_eq!(shop.save(&logout).await.unwrap(), CookieChange::Remove);
        let keys = store.keys().await;
        let begin = |prefix: &str| keys.iter().filter(|key| key.starts_with(prefix)).count();
        assert_eq!((begin("shop:"), keys.len()), (3, 5), "{keys:?}");
    }
}

#[tokio::test]
async fn applications_with_two_prefixes_do_not_see_each_others_sessions() {
    for store in Store::all() {
        // One prefix begins with the other one, and one application has none.
        let prefixes = [Some("a:"), Some("a:b:"), None];
        let mut apps = Vec::new();
        for (user, prefix) in (1_u64..).zip(prefixes) {
            let app = store.app(prefix).await;
            let cookie = log_in(&app, user).await;
            apps.push((app, cookie));
        }
        for (at, (app, _)) in apps.iter().enumerate() {
            for (other, (_, cookie)) in apps.iter().enumerate() {
                let user = user(app, cookie).await;
                assert_eq!(user, (at == other).then_some(at as u64 + 1));
                if at == other {
                    continue;
                }
                // A logout with the other application's cookie ends nothing there.
                let session = app.load(&[cookie]).await.unwrap();
                session.invalidate().unwrap();
                app.save(&session).await.unwrap();
            }
        }
        for (user_id, (app, cookie)) in (1..).zip(&apps) {
            assert_eq!(user(app, cookie).await, Some(user_id));
        }
    }
}

#[tokio::test]
async fn p11_log_out_everywhere_ends_the_sessions_of_one_application() {
    for store in Store::all() {
        let (shop, blog) = (
            store.app(Some("shop:")).await,
            store.app(Some("blog:")).await,
        );
        let in_shop = [log_in(&shop, 42).await, log_in(&shop, 42).await];
        let in_blog = log_in(&blog, 42).await;
        let sessions = UserSessions::of_user(&*shop, &42).unwrap();
        assert_eq!(sessions.list().await.unwrap().len(), 2);
        assert_eq!(sessions.end_all().await.unwrap(), 2);
        for cookie in in_shop {
            assert_eq!(user(&shop, &cookie).await, None);
        }
        assert_eq!(user(&blog, &in_blog).await, Some(42));
        let sessions = UserSessions::of_user(&*blog, &42).unwrap();
        assert_eq!(sessions.end_all().await.unwrap(), 1);
        assert_eq!(user(&blog, &in_blog).await, None);
    }
}

#[tokio::test]
async fn a_prefix_that_cannot_work_is_refused() {
    let cookie = |len: usize| CookieSettings::builder("n".repeat(len)).build().unwrap();
    let storage = |len| MemoryStorage::default().with_cookie(cookie(len));
    for (len, prefix, is_fine) in [
        (3, "shop:".to_owned(), true),
        (3, String::new(), true),
        (3, "a b".to_owned(), false),
        (3, "a@".to_owned(), false),
        (21, "p".repeat(100), true),
        (21, "p".repeat(101), false),
        (22, "p".repeat(100), false),
    ] {
        let built = storage(len).with_key_prefix(&prefix);
        assert_eq!(built.is_ok(), is_fine, "{prefix} and {len}");
        if let Err(error) = built {
            assert_eq!(error.kind(), ErrorKind::Settings);
        }
    }

    // A cookie's name that comes after the prefix is checked at the first load.
    let early = storage(3).with_key_prefix(&"p".repeat(100)).unwrap();
    assert!(early.load(&[]).await.is_ok());
    let error = early.with_cookie(cookie(22)).load(&[]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Settings);
    assert!(error.to_string().contains("121 bytes"), "{error}");
}

#[tokio::test]
async fn p7_the_longest_prefix_name_and_cookie_fit_into_memcached() {
    let server = MemcachedServer::start();
    for (prefix, name) in [(100, 21), (21, 100)] {
        let backend = MemcachedBackend::open(&server.address()).unwrap();
        let cookie = CookieSettings::builder("n".repeat(name)).build().unwrap();
        let app = MemcachedStorage::new(backend.with_timeout(PATIENCE))
            .with_cookie(cookie)
            .with_user_index("user")
            .with_key_prefix(&"p".repeat(prefix))
            .unwrap();
        let app: Arc<dyn Storage> = Arc::new(app);
        let longest = "c".repeat(128);
        assert_eq!(user(&app, &longest).await, None);
        let cookie = log_in(&app, 42).await;
        assert_eq!(user(&app, &cookie).await, Some(42));
    }
}
