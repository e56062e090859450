//! Requests, and what each of them counts.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use session_core::{
    CookieSettings, KeyedStorage, ManualClock, MemoryBackend, RequestSession as _, Session,
    Storage, UserSessions,
};
use session_tests::adapter::Adapter;
use session_tests::server::{BoxError, Server, pair, set_cookies};
use session_tests::stores::{Call, When};

use crate::recorder::Seen;
use crate::store::{Memory, Store};

/// One load, without its outcome.
const LOAD: &str = "session_load_duration_seconds";
/// One save, without its outcome.
const SAVE: &str = "session_save_duration_seconds";
const LOADED: &str = "session_loads_total outcome=loaded";
const NEW: &str = "session_loads_total outcome=new";
const UNKNOWN: &str = "session_loads_total outcome=unknown";
const LOAD_FAILED: &str = "session_loads_total outcome=failed";
const SAVED: &str = "session_saves_total outcome=saved";
const REFUSED: &str = "session_saves_total outcome=refused";
const SAVE_FAILED: &str = "session_saves_total outcome=failed";
const ENDED: &str = "session_ends_total outcome=ended";
const END_REFUSED: &str = "session_ends_total outcome=refused";
const END_FAILED: &str = "session_ends_total outcome=failed";
const CONFLICT: &str = "session_conflicts_total";
const RETRY: &str = "session_retries_total";
const DROP: &str = "session_drops_total";
const UNREADABLE: &str = "session_unreadable_total";

/// A program that counts.
struct App {
    server: Server,
    seen: Seen,
    store: Store,
    storage: Arc<dyn Storage>,
}

impl App {
    async fn start(adapter: Adapter, store: Store, seen: Seen) -> Self {
        let world = store.clone();
        let handler = move |request| handler(request, world.clone());
        let storage = store.storage();
        let server = adapter.start(storage.clone(), handler).await;
        Self {
            server,
            seen,
            store,
            storage,
        }
    }

    /// Sends a request. It must count these, once each. Returns the status and a new cookie.
    async fn ask(&self, path: &str, cookie: &str, counts: &[&str]) -> (StatusCode, String) {
        let line = format!("sid={cookie}");
        let lines: &[&[u8]] = if cookie.is_empty() {
            &[]
        } else {
            &[line.as_bytes()]
        };
        let response = self.server.get(path, lines).await;
        self.counts(path, counts);
        let set = set_cookies(&response, "sid");
        let set = set.first().map(|header| pair(header)[4..].to_owned());
        (response.status(), set.unwrap_or_default())
    }

    /// Sends a request to which the handler responds as usual.
    async fn fine(&self, path: &str, cookie: &str, counts: &[&str]) -> String {
        let (status, set) = self.ask(path, cookie, counts).await;
        assert_eq!(status, StatusCode::OK, "{path}");
        set
    }

    #[track_caller]
    fn counts(&self, what: &str, counts: &[&str]) {
        let mut expected = BTreeMap::new();
        for count in counts {
            let (name, label) = count.split_once(' ').unwrap_or((count, ""));
            let label = label.split_once('=').map(|(name, value)| {
                let value = format!("{value:?}");
                format!(",{name}={value}")
            });
            let name = format!("{name}{{cookie=\"sid\"{}}}", label.unwrap_or_default());
            *expected.entry(name).or_insert(0) += 1;
        }
        assert_eq!(self.seen.take(), expected, "{what}");
    }
}

async fn handler(
    request: Request<Incoming>,
    store: Store,
) -> Result<Response<Full<Bytes>>, BoxError> {
    let path = request.uri().path();
    if path == "/none" {
        return Ok(Response::default());
    }
    if path == "/login" {
        request.new_session()?.insert("user", "ada")?;
        return Ok(Response::default());
    }
    let session = request.session().await?;
    // What another process does with this session meanwhile, past the adapter.
    let elsewhere = async |change: fn(&Session) -> session_core::Result<()>| {
        let storage = store.storage();
        let identity = session.identity().unwrap();
        let other = storage.load(&[identity.as_str()]).await?;
        change(&other)?;
        storage.save(&other).await.map(drop)
    };
    match path {
        "/read" => drop(session.keys()),
        "/set" => session.insert("k", 1)?,
        "/explicit" => {
            session.insert("k", 2)?;
            session.save().await?;
        }
        "/conflict" => {
            elsewhere(|other| other.insert("other", 1)).await?;
            session.insert("k", 3)?;
        }
        "/lost" => {
            elsewhere(Session::invalidate).await?;
            session.insert("k", 4)?;
        }
        "/lost-end" => {
            elsewhere(Session::invalidate).await?;
            session.clear()?;
        }
        "/error" => {
            session.insert("k", 5)?;
            let mut response = Response::default();
            *response.status_mut() = StatusCode::BAD_GATEWAY;
            return Ok(response);
        }
        "/renew" => session.renew()?,
        "/logout" => session.invalidate()?,
        "/set-down" => {
            session.insert("k", 6)?;
            store.go_down();
        }
        "/logout-down" => {
            session.invalidate()?;
            store.go_down();
        }
        other => panic!("no such path: {other}"),
    }
    Ok(Response::default())
}

#[tokio::test]
async fn every_metric_counts_exactly() {
    for adapter in [Adapter::Hyper, Adapter::Axum] {
        for store in Store::all() {
            let seen = Seen::default();
            let _guard = metrics::set_default_local_recorder(&seen);
            run(&App::start(adapter, store, seen.clone()).await).await;
        }
    }
}

async fn run(app: &App) {
    app.fine("/none", "", &[]).await;
    app.fine("/read", "", &[NEW, LOAD]).await;
    let first = app.fine("/set", "", &[NEW, LOAD, SAVED, SAVE]).await;
    app.fine("/none", &first, &[]).await;
    app.fine("/read", &first, &[LOADED, LOAD]).await;
    app.fine("/set", &first, &[LOADED, LOAD, SAVED, SAVE]).await;
    let counts = [LOADED, LOAD, SAVED, SAVE];
    app.fine("/explicit", &first, &counts).await;
    let counts = [LOADED, LOAD, CONFLICT, SAVED, SAVE];
    app.fine("/conflict", &first, &counts).await;

    let (status, _) = app.ask("/error", &first, &[LOADED, LOAD, DROP]).await;
    assert_eq!(status, StatusCode::BAD_GATEWAY);
    let counts = [LOADED, LOAD, CONFLICT, REFUSED, SAVE];
    let (status, _) = app.ask("/lost", &first, &counts).await;
    assert_eq!(status, StatusCode::CONFLICT);
    let by_logout = "session_tombstones_total of=logout";
    let counts = [by_logout, UNKNOWN, LOAD];
    app.fine("/read", &first, &counts).await;
    let never = "00112233445566778899aabbccddeeff";
    app.fine("/read", never, &[UNKNOWN, LOAD]).await;
    app.fine("/read", "", &[NEW, LOAD]).await;

    // Ends.
    let second = app.fine("/set", "", &[NEW, LOAD, SAVED, SAVE]).await;
    let counts = [LOADED, LOAD, ENDED, SAVE];
    app.fine("/logout", &second, &counts).await;
    let third = app.fine("/set", "", &[NEW, LOAD, SAVED, SAVE]).await;
    let counts = [LOADED, LOAD, CONFLICT, END_REFUSED, SAVE];
    let (status, _) = app.ask("/lost-end", &third, &counts).await;
    assert_eq!(status, StatusCode::CONFLICT);

    // A login, a renewal, and the end of a user's sessions.
    let fourth = app.fine("/set", "", &[NEW, LOAD, SAVED, SAVE]).await;
    let login = app.fine("/login", &fourth, &[SAVED, SAVE]).await;
    let by_login = "session_tombstones_total of=login";
    app.fine("/read", &fourth, &[by_login, UNKNOWN, LOAD]).await;
    let counts = [LOADED, LOAD, SAVED, SAVE];
    let renewed = app.fine("/renew", &login, &counts).await;
    let by_renewal = "session_tombstones_total of=renewal";
    app.fine("/read", &login, &[by_renewal, UNKNOWN, LOAD])
        .await;
    let storage = app.store.storage();
    let sessions = UserSessions::of_user(&*storage, &"ada").unwrap();
    assert_eq!(sessions.end_all().await.unwrap(), 1);
    app.counts("end_all", &["session_revocations_total by=application"]);
    let by_revocation = "session_tombstones_total of=revocation";
    app.fine("/read", &renewed, &[by_revocation, UNKNOWN, LOAD])
        .await;
    app.fine("/login", "", &[SAVED, SAVE]).await;
    let counts = [SAVED, SAVE, "session_revocations_total by=limit"];
    app.fine("/login", "", &counts).await;

    app.store.put(&format!("sid_{never}"), "garbage").await;
    app.fine("/read", never, &[UNREADABLE, UNKNOWN, LOAD]).await;

    // Outages.
    let fifth = app.fine("/set", "", &[NEW, LOAD, SAVED, SAVE]).await;
    let counts = [LOADED, LOAD, SAVE_FAILED, SAVE];
    let (status, _) = app.ask("/set-down", &fifth, &counts).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    let (status, _) = app.ask("/read", &fifth, &[LOAD_FAILED, LOAD]).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    app.store.come_back();
    // It connects about twenty times per second. A load past the adapter counts nothing.
    while app.storage.load(&["no-such-identity"]).await.is_err() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let sixth = app.fine("/set", "", &[NEW, LOAD, SAVED, SAVE]).await;
    let counts = [LOADED, LOAD, RETRY, END_FAILED, SAVE];
    let (status, _) = app.ask("/logout-down", &sixth, &counts).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
}

/// The first save is held after the store has carried it out, and the second one waits for it.
#[tokio::test]
async fn a_wait_for_another_save_is_timed() {
    for adapter in [Adapter::Hyper, Adapter::Axum] {
        let memory = Memory::new();
        let seen = Seen::default();
        let _guard = metrics::set_default_local_recorder(&seen);
        let app = App::start(adapter, Store::Memory(memory.clone()), seen.clone()).await;
        let cookie = app.fine("/set", "", &[NEW, LOAD, SAVED, SAVE]).await;
        let hold = memory.inner.inner().hold(Call::Update, When::After);
        let line = format!("sid={cookie}");
        let lines = [line.as_bytes()];
        let first = app.server.get("/set", &lines);
        let second = async {
            hold.reached().await;
            let second = app.server.get("/set", &lines);
            let opened = async {
                // Between the end of its load and its wait, the second request does not pause.
                while seen.count_of("session_loads_total{cookie=\"sid\",outcome=\"loaded\"}") < 2 {
                    tokio::task::yield_now().await;
                }
                hold.open();
            };
            tokio::join!(second, opened).0
        };
        let (first, second) = tokio::join!(first, second);
        assert_eq!(
            (first.status().as_u16(), second.status().as_u16()),
            (200, 200)
        );
        let wait = "session_save_wait_seconds";
        let twice = [LOADED, LOAD, SAVED, SAVE];
        app.counts("two saves", &[&twice[..], &twice[..], &[wait]].concat());
    }
}

/// Each storage of a service has its own label.
#[tokio::test]
async fn the_label_is_the_cookies_name() {
    let seen = Seen::default();
    let _guard = metrics::set_default_local_recorder(&seen);
    let storage = KeyedStorage::new(Memory::new());
    let cookie = session_core::CookieSettings::builder("cart").build();
    let storage = storage.with_cookie(cookie.unwrap());
    let read = async |request: Request<()>| {
        request.session().await?;
        Ok::<_, session_core::Error>(Response::new(String::new()))
    };
    for adapter in [Adapter::Hyper, Adapter::Axum] {
        let storage = KeyedStorage::new(storage.backend().clone())
            .with_cookie(storage.config().cookie().clone());
        let request = Request::new(());
        adapter.serve_once(storage, request, read).await.unwrap();
        let expected = [
            "session_load_duration_seconds{cookie=\"cart\"}",
            "session_loads_total{cookie=\"cart\",outcome=\"new\"}",
        ];
        assert!(seen.take().into_keys().eq(expected));
    }
}

/// The save at the end of the request is the only one: it restarts the lifetime.
#[tokio::test]
async fn an_explicit_save_of_a_read_is_no_save() {
    const HOUR: Duration = Duration::from_secs(3600);
    for adapter in [Adapter::Hyper, Adapter::Axum] {
        let clock = ManualClock::at(std::time::SystemTime::now());
        let cookie = CookieSettings::builder("sid").max_age(HOUR).rolling(true);
        let memory = MemoryBackend::new().with_clock(clock.clone());
        let storage = KeyedStorage::new(memory)
            .with_cookie(cookie.build().unwrap())
            .with_clock(clock.clone());
        let session = storage.load(&[]).await.unwrap();
        session.insert("k", 1).unwrap();
        storage.save(&session).await.unwrap();
        let cookie = format!("sid={}", session.identity().unwrap().as_str());
        clock.advance(HOUR / 2);
        let seen = Seen::default();
        let _guard = metrics::set_default_local_recorder(&seen);
        let mut request = Request::new(());
        let line = cookie.parse().unwrap();
        request.headers_mut().insert(http::header::COOKIE, line);
        let read = async |request: Request<()>| {
            request.session().await?.save().await?;
            Ok::<_, session_core::Error>(Response::new(String::new()))
        };
        adapter.serve_once(storage, request, read).await.unwrap();
        let saved = "session_saves_total{cookie=\"sid\",outcome=\"saved\"}";
        assert_eq!(seen.count_of(saved), 1);
    }
}
