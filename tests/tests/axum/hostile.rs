//! What a hostile review of the layer found.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::body::Body;
use axum::middleware::Next;
use axum::routing::get;
use http::header::{CACHE_CONTROL, COOKIE, SET_COOKIE};
use http::{HeaderMap, Request, StatusCode};
use session_core::{
    CookieChange, CookieSettings, Error, ErrorKind, Identity, KeyedStorage, ManualClock,
    MemoryBackend, MemoryStorage, Session, Sessions, Storage,
};
use session_tests::stores::{Failing, When};
use session_tower::SessionLayer;
use tower::ServiceExt as _;

const HOUR: Duration = Duration::from_secs(3600);

async fn ask(app: &Router, path: &str, cookie: &str) -> (StatusCode, HeaderMap) {
    let mut request = Request::get(path);
    if !cookie.is_empty() {
        request = request.header(COOKIE, cookie);
    }
    let request = request.body(Body::empty()).unwrap();
    let response = app.clone().oneshot(request).await.unwrap();
    (response.status(), response.headers().clone())
}

fn set_cookies(headers: &HeaderMap) -> Vec<String> {
    let all = headers.get_all(SET_COOKIE).iter();
    all.map(|it| it.to_str().unwrap().to_owned()).collect()
}

/// A jar as RFC 6265bis, 5.7 has it: name, domain, host-only flag and path tell cookies apart.
#[derive(Debug, Default)]
struct Jar(BTreeMap<(String, String, bool, String), String>);

impl Jar {
    fn take(&mut self, host: &str, uri_path: &str, headers: &HeaderMap, host_only_counts: bool) {
        for line in set_cookies(headers) {
            let mut parts = line.split(';').map(str::trim);
            let (name, value) = parts.next().unwrap().split_once('=').unwrap();
            let (mut domain, mut path, mut is_gone) = (String::new(), String::new(), false);
            for part in parts {
                let (key, value) = part.split_once('=').unwrap_or((part, ""));
                match &*key.to_ascii_lowercase() {
                    "domain" => domain = value.trim_start_matches('.').into(),
                    "path" => path = value.into(),
                    "max-age" => is_gone = value == "0",
                    _ => {}
                }
            }
            // 5.1.4: the default path is the request's up to, not including, the right-most "/".
            if !path.starts_with('/') {
                let cut = uri_path.rfind('/').filter(|at| *at > 0);
                path = cut.map_or("/", |at| &uri_path[..at]).into();
            }
            let host_only = domain.is_empty();
            if host_only {
                domain = host.into();
            }
            let key = (name.to_owned(), domain, host_only && host_only_counts, path);
            if is_gone {
                self.0.remove(&key);
            } else {
                self.0.insert(key, value.to_owned());
            }
        }
    }
}

fn login_app(settings: CookieSettings) -> Router {
    let login = async |session: Session| session.insert("user", 1);
    let storage = MemoryStorage::default().with_cookie(settings);
    let routes = Router::new()
        .route("/login", get(login))
        .route("/app/login", get(login));
    routes.layer(SessionLayer::new(storage))
}

/// `former("", "")` is the documented way to name a cookie that had no Domain and no Path.
#[tokio::test]
async fn a_former_removal_does_not_remove_the_cookie_that_the_same_response_sets() {
    for (place, path) in [("/", "/login"), ("/app", "/app/login")] {
        let settings = CookieSettings::builder("sid").path(place).former("", "");
        let app = login_app(settings.build().unwrap());
        let (_, headers) = ask(&app, path, "").await;
        let mut jar = Jar::default();
        jar.take("example.com", path, &headers, true);
        assert_eq!(jar.0.len(), 1, "{path}: {:#?}", set_cookies(&headers));
    }
}

/// The other way round: the present cookie has no Path.
#[tokio::test]
async fn a_former_removal_leaves_a_cookie_without_a_path() {
    let settings = CookieSettings::builder("sid").path("").former("", "/");
    let app = login_app(settings.build().unwrap());
    let (_, headers) = ask(&app, "/login", "").await;
    let mut jar = Jar::default();
    jar.take("example.com", "/login", &headers, true);
    assert_eq!(jar.0.len(), 1, "{:#?}", set_cookies(&headers));
}

/// The order in which a builder's methods are called makes no difference.
#[tokio::test]
async fn a_former_removal_has_the_attributes_of_the_cookie() {
    let first = CookieSettings::builder("sid")
        .former("", "/app")
        .secure(false);
    let last = CookieSettings::builder("sid")
        .secure(false)
        .former("", "/app");
    let [first, last] = [first, last].map(|it| it.build().unwrap());
    assert_eq!(first.former_removals(), last.former_removals());
}

/// "A session with a lifetime of its own keeps a cookie that survives": "remember me".
#[tokio::test]
async fn remember_me_for_as_long_as_the_usual_lifetime_survives_the_browser() {
    for remembered in [HOUR, HOUR + Duration::from_secs(1)] {
        let settings = CookieSettings::builder("sid")
            .max_age(HOUR)
            .persistent(false);
        let storage = MemoryStorage::default().with_cookie(settings.build().unwrap());
        let session = storage.load(&[]).await.unwrap();
        session.insert("user", 1).unwrap();
        session.set_max_age(remembered).unwrap();
        let CookieChange::Set { max_age, .. } = storage.save(&session).await.unwrap() else {
            panic!()
        };
        assert_eq!(max_age, Some(remembered));
    }
}

/// RFC 9111, section 3: whether a shared cache may store a response to a GET without Authorization.
fn a_shared_cache_may_store(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(CACHE_CONTROL).iter();
    let all: Vec<String> = lines
        .flat_map(|line| line.to_str().unwrap().split(','))
        .map(|it| it.trim().to_ascii_lowercase())
        .collect();
    let has = |name: &str| all.iter().any(|it| it.split('=').next() == Some(name));
    !has("no-store") && !has("private") && (has("public") || has("max-age") || has("s-maxage"))
}

#[tokio::test]
async fn a_response_that_sets_the_cookie_is_never_for_shared_caches() {
    for caching in ["public, max-age=60", "max-age=60", "max-age=60, immutable"] {
        let handler = async move |session: Session| {
            session.insert("n", 1)?;
            Ok::<_, Error>(([(CACHE_CONTROL, caching)], ""))
        };
        let app = Router::new().route("/", get(handler));
        let app = app.layer(SessionLayer::new(MemoryStorage::default()));
        let (_, headers) = ask(&app, "/", "").await;
        assert!(headers.contains_key(SET_COOKIE));
        assert!(
            !a_shared_cache_may_store(&headers),
            "{caching}: the next visitor without a cookie gets {:?}",
            headers.get_all(CACHE_CONTROL)
        );
    }
}

type Broken = KeyedStorage<Failing<MemoryBackend>>;

fn broken(name: &'static str) -> Arc<Broken> {
    let cookie = CookieSettings::builder(name).build().unwrap();
    Arc::new(Broken::new(Failing::new(MemoryBackend::new())).with_cookie(cookie))
}

async fn start(storage: &Arc<Broken>, name: &str) -> String {
    let session = storage.load(&[]).await.unwrap();
    session.insert("k", 1).unwrap();
    storage.save(&session).await.unwrap();
    format!("{name}={}", session.identity().unwrap().as_str())
}

/// An explicit save was acknowledged. Then comes a login whose save fails.
#[tokio::test]
async fn p8_the_cookie_of_an_explicit_save_travels_although_a_login_fails_after_it() {
    let storage = broken("sid");
    let cookie = start(&storage, "sid").await;
    let store = storage.clone();
    let handler = async move |sessions: Sessions| -> Result<(), Error> {
        let session = sessions.session().await?;
        session.renew()?;
        session.save().await?; // acknowledged: the old identity is dead
        sessions.new_session()?.insert("user", 1)?;
        store.backend().fail(0..=usize::MAX, When::Before);
        Ok(())
    };
    let app = Router::new().route("/", get(handler));
    let app = app.layer(SessionLayer::new(storage.clone()));
    let (status, headers) = ask(&app, "/", &cookie).await;
    assert_eq!(status, 503);
    assert_eq!(set_cookies(&headers).len(), 1, "the cookie of the renewal");
}

/// A login that was saved explicitly, another one, and a 5xx.
#[tokio::test]
async fn p8_the_cookie_of_a_saved_login_travels_although_another_login_is_dropped() {
    let storage = broken("sid");
    let cookie = start(&storage, "sid").await;
    let handler = async move |sessions: Sessions| -> Result<StatusCode, Error> {
        let session = sessions.new_session()?;
        session.insert("user", 1)?;
        session.save().await?;
        sessions.new_session()?.insert("user", 2)?;
        Ok(StatusCode::INTERNAL_SERVER_ERROR)
    };
    let app = Router::new().route("/", get(handler));
    let app = app.layer(SessionLayer::new(storage.clone()));
    let (_, headers) = ask(&app, "/", &cookie).await;
    assert_eq!(
        set_cookies(&headers).len(),
        1,
        "the cookie of the first login"
    );
}

/// A rolling storage, its clock, and a session in it whose lifetime is half over.
async fn half_over() -> (Arc<MemoryStorage>, ManualClock, Identity) {
    let clock = ManualClock::at(SystemTime::now());
    let settings = CookieSettings::builder("sid").max_age(HOUR).rolling(true);
    let storage = MemoryStorage::new(MemoryBackend::new().with_clock(clock.clone()))
        .with_cookie(settings.build().unwrap())
        .with_clock(clock.clone());
    let storage = Arc::new(storage);
    let session = storage.load(&[]).await.unwrap();
    session.insert("k", 1).unwrap();
    storage.save(&session).await.unwrap();
    let identity = session.identity().unwrap();
    clock.advance(HOUR / 2);
    (storage, clock, identity)
}

/// A passive read does not restart the lifetime, also where a middleware saves.
#[tokio::test]
async fn a_passive_read_and_an_explicit_save_do_not_restart_the_lifetime() {
    for saves in [false, true] {
        let (storage, clock, identity) = half_over().await;
        let handler = async move |sessions: Sessions| -> Result<(), Error> {
            let session = sessions.passive_session().await?;
            if saves {
                session.save().await?;
            }
            Ok(())
        };
        let app = Router::new().route("/", get(handler));
        let app = app.layer(SessionLayer::new(storage.clone()));
        ask(&app, "/", &format!("sid={}", identity.as_str())).await;
        clock.advance(HOUR / 2 + Duration::from_secs(1));
        let session = storage.load(&[identity.as_str()]).await.unwrap();
        assert!(session.is_new(), "explicit save: {saves}");
    }
}

/// "In a rolling storage such a read does not restart the lifetime. A write does"; `set_max_age`
/// and `changed` are no writes.
#[tokio::test]
async fn a_passive_read_and_a_touch_do_not_restart_the_lifetime() {
    let mut wrong = Vec::new();
    let touches = ["changed", "set_max_age", "renew"];
    for (touch, saves) in touches.into_iter().flat_map(|it| [(it, false), (it, true)]) {
        let (storage, clock, identity) = half_over().await;
        let kept: Arc<Mutex<Option<Session>>> = Arc::default();
        let keeper = kept.clone();
        let handler = async move |sessions: Sessions| -> Result<(), Error> {
            let session = sessions.passive_session().await?;
            *keeper.lock().unwrap() = Some(session.clone());
            match touch {
                "changed" => session.changed()?,
                "renew" => session.renew()?,
                _ => session.set_max_age(HOUR)?,
            }
            if saves {
                session.save().await?;
            }
            Ok(())
        };
        let app = Router::new().route("/", get(handler));
        let app = app.layer(SessionLayer::new(storage.clone()));
        ask(&app, "/", &format!("sid={}", identity.as_str())).await;
        let identity = kept.lock().unwrap().take().unwrap().identity().unwrap();
        clock.advance(HOUR / 2 + Duration::from_secs(1));
        if !storage.load(&[identity.as_str()]).await.unwrap().is_new() {
            wrong.push((touch, saves));
        }
    }
    assert_eq!(wrong, [("", true); 0], "these restarted it");
}

/// The layer twice, as where a nested router and the whole program both add it: a guard between
/// them reads, the handler logs out. P3: the logout stays.
#[tokio::test]
async fn p3_a_logout_stays_although_the_layer_is_there_twice() {
    let clock = ManualClock::at(SystemTime::now());
    let settings = CookieSettings::builder("sid").max_age(HOUR).rolling(true);
    let storage = session_cookie::EncryptedCookieStorage::new(session_cookie::Key::from([7; 32]))
        .with_cookie(settings.build().unwrap())
        .with_clock(clock.clone());
    let storage = Arc::new(storage);
    let session = storage.load(&[]).await.unwrap();
    session.insert("user", 1).unwrap();
    let CookieChange::Set { value, .. } = storage.save(&session).await.unwrap() else {
        panic!()
    };
    clock.advance(HOUR / 2);
    let guard = |session: Session, request: Request<Body>, next: Next| async move {
        assert!(session.contains_key("user"));
        next.run(request).await
    };
    let layer = SessionLayer::new(storage.clone());
    let app = Router::new()
        .route(
            "/logout",
            get(async |session: Session| session.invalidate()),
        )
        .route(
            "/write",
            get(async |session: Session| session.insert("cart", 1)),
        )
        .layer(layer.clone())
        .layer(axum::middleware::from_fn(guard))
        .layer(layer);
    let (_, headers) = ask(&app, "/write", &format!("sid={value}")).await;
    let sent = set_cookies(&headers);
    let after = sent[0]
        .split(';')
        .next()
        .unwrap()
        .strip_prefix("sid=")
        .unwrap()
        .trim_matches('"');
    let kept = storage.load(&[after]).await.unwrap().contains_key("cart");
    let (_, headers) = ask(&app, "/logout", &format!("sid={value}")).await;
    let sent = set_cookies(&headers);
    assert!(
        kept && sent.len() == 1 && sent[0].starts_with("sid=\"\""),
        "the write is kept: {kept}; the logout sends {sent:?}"
    );
}

/// The same in a store: a middleware between the layers notes something, the handler logs in.
#[tokio::test]
async fn a_login_arrives_although_the_layer_is_there_twice() {
    let storage = Arc::new(MemoryStorage::default());
    let session = storage.load(&[]).await.unwrap();
    session.insert("k", 1).unwrap();
    storage.save(&session).await.unwrap();
    let cookie = format!("AIOHTTP_SESSION={}", session.identity().unwrap().as_str());
    let note = |session: Session, request: Request<Body>, next: axum::middleware::Next| async move {
        session.insert("last_seen", 1).unwrap();
        next.run(request).await
    };
    let layer = SessionLayer::new(storage.clone());
    let app = Router::new()
        .route(
            "/login",
            get(async |it: Sessions| it.new_session()?.insert("user", 1)),
        )
        .layer(layer.clone())
        .layer(axum::middleware::from_fn(note))
        .layer(layer);
    let (status, headers) = ask(&app, "/login", &cookie).await;
    assert_eq!(
        set_cookies(&headers).len(),
        1,
        "{status}: the new session has no cookie, the old one is dead"
    );
}

/// A task that outlives its request reads, and changes nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_that_outlives_its_request_reads_and_changes_nothing() {
    let storage = broken("sid");
    let cookie = start(&storage, "sid").await;
    let (send, mut receive) = tokio::sync::mpsc::unbounded_channel();
    let handler = async move |sessions: Sessions| {
        send.send(sessions).unwrap();
    };
    let app = Router::new().route("/", get(handler));
    let app = app.layer(SessionLayer::new(storage.clone()));
    ask(&app, "/", &cookie).await;
    let sessions = receive.recv().await.unwrap();
    let all: Vec<_> = (0..20)
        .map(|_| {
            tokio::spawn({
                let sessions = sessions.clone();
                async move { sessions.session().await.unwrap() }
            })
        })
        .collect();
    for one in all {
        let session = one.await.unwrap();
        assert_eq!(session.keys(), ["k"]);
        assert_eq!(
            session.insert("late", 1).unwrap_err().kind(),
            ErrorKind::Committed
        );
        assert_eq!(
            session.invalidate().unwrap_err().kind(),
            ErrorKind::Committed
        );
        assert_eq!(
            session.save().await.unwrap_err().kind(),
            ErrorKind::Committed
        );
    }
    assert_eq!(
        sessions.new_session().unwrap_err().kind(),
        ErrorKind::Committed
    );
    let weak = Arc::downgrade(&storage);
    drop((sessions, app, storage, receive));
    assert_eq!(weak.strong_count(), 0, "it leaks");
}
