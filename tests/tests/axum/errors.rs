//! Session errors as responses: in handlers, in an application's own errors, in loads and in saves.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::extract::{Path, Request, State};
use axum::middleware::{self, Next};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use http::StatusCode;
use http::header::{CACHE_CONTROL, HeaderName};
use session_tests::logs::Logs;
use session_tests::stores::When;
use session_tower::{Error, ErrorKind, Session, SessionLayer, Sessions, Storage as _, status};

use crate::app::{self, Store, TestResponse, events, keys, store};

/// An application's own error.
#[derive(Debug)]
enum AppError {
    Session(Error),
    NotFound,
    Broken,
}

impl From<Error> for AppError {
    fn from(error: Error) -> Self {
        Self::Session(error)
    }
}

impl IntoResponse for AppError {
    fn into_response(self) -> Response {
        match self {
            Self::Session(error) => error.into_response(),
            Self::NotFound => (StatusCode::NOT_FOUND, "nothing here").into_response(),
            Self::Broken => (StatusCode::INTERNAL_SERVER_ERROR, "our page").into_response(),
        }
    }
}

/// Changes the session and fails as `what` says.
async fn work(what: &str, session: &Session, storage: &Store) -> Result<&'static str, Error> {
    session.insert("mine", 1)?;
    match what {
        "value" => session.get::<Vec<String>>("k").map(|_| ""),
        "kind" => Err(ErrorKind::Contended.into()),
        "ended" => {
            // By another request, which is faster.
            let identity = session.identity().unwrap();
            let other = storage.load(&[identity.as_str()]).await?;
            other.invalidate()?;
            storage.save(&other).await?;
            Ok("saved")
        }
        "down" => {
            storage.backend().inner().fail(0..=usize::MAX, When::Before);
            Ok("saved")
        }
        _ => Ok("saved"),
    }
}

type Arguments = (Path<String>, State<Arc<Store>>);

async fn plain(
    (Path(what), State(storage)): Arguments,
    session: Session,
) -> Result<([(HeaderName, &'static str); 1], &'static str), Error> {
    let said = work(&what, &session, &storage).await?;
    Ok(([(HeaderName::from_static("x-handler"), "1")], said))
}

async fn of_sessions(
    (Path(what), State(storage)): Arguments,
    sessions: Sessions,
) -> Result<&'static str, Error> {
    work(&what, &sessions.session().await?, &storage).await
}

async fn wrapped(
    (Path(what), State(storage)): Arguments,
    sessions: Sessions,
) -> Result<&'static str, AppError> {
    let said = work(&what, &sessions.session().await?, &storage).await?;
    match &*what {
        "not-found" => Err(AppError::NotFound),
        "broken" => Err(AppError::Broken),
        "logout-and-broken" => {
            sessions.session().await?.invalidate()?;
            Err(AppError::Broken)
        }
        _ => Ok(said),
    }
}

async fn load_first(_: Session, request: Request, next: Next) -> Response {
    next.run(request).await
}

/// A router, whose `on_error` writes a page and counts.
struct App {
    storage: Arc<Store>,
    cookie: String,
    router: Router,
    pages: Arc<AtomicUsize>,
}

impl App {
    async fn new() -> Self {
        let (storage, cookie) = store("sid").await;
        let pages = Arc::new(AtomicUsize::new(0));
        let counter = pages.clone();
        let page = move |error: &Error| {
            counter.fetch_add(1, Ordering::SeqCst);
            let text = format!("<h1>{:?}</h1>", error.kind());
            (status(error), Html(text)).into_response()
        };
        let guarded = Router::new()
            .route("/guarded/{what}", get(plain))
            .route_layer(middleware::from_fn(load_first));
        let router = Router::new()
            .route("/plain/{what}", get(plain))
            .route("/sessions/{what}", get(of_sessions))
            .route("/own/{what}", get(wrapped))
            .merge(guarded)
            .with_state(storage.clone())
            .layer(SessionLayer::new(storage.clone()).on_error(page));
        Self {
            storage,
            cookie,
            router,
            pages,
        }
    }

    async fn ask(&self, path: &str) -> TestResponse {
        app::get(&self.router, path, &self.cookie).await
    }

    async fn keys(&self) -> Option<Vec<String>> {
        keys(&self.storage, &self.cookie).await
    }
}

#[tokio::test]
async fn a_session_error_is_one_page_and_one_event_and_nothing_is_saved_wherever_it_comes_from() {
    for route in ["plain", "sessions", "own", "guarded"] {
        for (what, kind, code, target) in [
            ("load", ErrorKind::Unavailable, 503, "session::load"),
            ("value", ErrorKind::Value, 500, "session::request"),
            ("kind", ErrorKind::Contended, 503, "session::request"),
            ("down", ErrorKind::Unavailable, 503, "session::save"),
            ("ended", ErrorKind::Ended, 409, "session::save"),
        ] {
            let app = App::new().await;
            let failing = app.storage.backend().inner();
            if what == "load" {
                failing.fail(0..=0, When::Before);
            }
            let (logs, _capture) = Logs::capture();
            let response = app.ask(&format!("/{route}/{what}")).await;
            failing.heal();
            let what = format!("{route}, {what}: {response:?} {}", logs.text());
            assert_eq!(response.status.as_u16(), code, "{what}");
            assert_eq!(response.body, format!("<h1>{kind:?}</h1>"), "{what}");
            assert_eq!(response.header("cache-control"), Some("no-store"), "{what}");
            assert_eq!(response.header("vary"), Some("Cookie"), "{what}");
            assert_eq!(response.header("x-handler"), None, "{what}");
            assert!(response.cookies().is_empty(), "{what}");
            assert_eq!(app.pages.load(Ordering::SeqCst), 1, "{what}");
            let kept = (kind != ErrorKind::Ended).then(|| vec!["k".to_owned()]);
            assert_eq!(app.keys().await, kept, "{what}");
            // The end of a session by another request is no failure, so it is told as information.
            let levels = ["ERROR ", "WARN ", "INFO "];
            let told: Vec<String> = levels.iter().flat_map(|it| events(&logs, it)).collect();
            assert_eq!(told.len(), 1, "{what}");
            assert!(told[0].contains(target), "{what}");
        }
    }
}

#[tokio::test]
async fn an_error_of_the_application_is_a_response_like_any_other() {
    for (what, code, body, saved, dropped) in [
        ("fine", 200, "saved", Some("k mine"), 0),
        // Below 500 the handler's changes are kept.
        ("not-found", 404, "nothing here", Some("k mine"), 0),
        ("broken", 500, "our page", Some("k"), 1),
        ("logout-and-broken", 500, "our page", None, 0),
    ] {
        let app = App::new().await;
        let (logs, _capture) = Logs::capture();
        let response = app.ask(&format!("/own/{what}")).await;
        assert_eq!(
            (response.status.as_u16(), &*response.body),
            (code, body),
            "{what}"
        );
        assert_eq!(
            app.pages.load(Ordering::SeqCst),
            0,
            "it is no session error"
        );
        let keys = app.keys().await.map(|keys| keys.join(" "));
        assert_eq!(keys.as_deref(), saved, "{what}");
        let removed = usize::from(saved.is_none());
        assert_eq!(response.cookies(), ["sid=\"\""; 1][..removed], "{what}");
        assert!(events(&logs, "ERROR ").is_empty(), "{}", logs.text());
        assert_eq!(events(&logs, "changes dropped").len(), dropped, "{what}");
    }
}

#[tokio::test]
async fn a_layer_can_save_although_the_response_is_a_server_error() {
    for (saves, saved) in [(false, "k"), (true, "k mine")] {
        let app = App::new().await;
        let layer = SessionLayer::new(app.storage.clone()).save_server_errors(saves);
        let router = Router::new()
            .route("/{what}", get(wrapped))
            .with_state(app.storage.clone())
            .layer(layer);
        let response = app::get(&router, "/broken", &app.cookie).await;
        assert_eq!(
            (response.status.as_u16(), &*response.body),
            (500, "our page")
        );
        assert_eq!(app.keys().await.unwrap().join(" "), saved);
    }
}

#[tokio::test]
async fn without_on_error_the_response_is_empty_and_not_to_be_stored() {
    let app = App::new().await;
    let router = Router::new()
        .route("/{what}", get(wrapped))
        .with_state(app.storage.clone())
        .layer(SessionLayer::new(app.storage.clone()));
    for (what, code) in [("value", 500), ("kind", 503)] {
        let response = app::get(&router, &format!("/{what}"), &app.cookie).await;
        assert_eq!((response.status.as_u16(), &*response.body), (code, ""));
        assert_eq!(response.header("cache-control"), Some("no-store"));
    }
}

#[tokio::test]
async fn a_page_keeps_the_cache_control_that_it_sets_itself() {
    let (storage, cookie) = store("sid").await;
    let page = |error: &Error| (status(error), [(CACHE_CONTROL, "private")], "").into_response();
    let handler = async |session: Session| session.get::<Vec<String>>("k").map(|_| ());
    let app = Router::new()
        .route("/", get(handler))
        .layer(SessionLayer::new(storage).on_error(page));
    let response = app::get(&app, "/", &cookie).await;
    assert_eq!(response.status, 500);
    assert_eq!(response.header("cache-control"), Some("private"));
}

/// Without a layer around it, too: for a client, and for a middleware that writes the page itself.
#[tokio::test]
async fn a_session_error_is_an_empty_response_that_carries_it() {
    for kind in [ErrorKind::Unavailable, ErrorKind::Ended, ErrorKind::Value] {
        let error = Error::from(kind);
        let code = status(&error);
        let response = error.into_response();
        assert_eq!(response.status(), code);
        let carried = response.extensions().get::<Error>().unwrap();
        assert_eq!(carried.kind(), kind);
    }
}
