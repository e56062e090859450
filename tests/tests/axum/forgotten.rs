//! A route without a layer.

use axum::Router;
use axum::extract::Request;
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::get;
use session_core::MemoryStorage;
use session_tests::logs::Logs;
use session_tower::{Error, Session, SessionLayer, Sessions};

use crate::app::{self, events};

async fn argument(_: Session) {
    unreachable!("there is no session");
}

async fn load(sessions: Sessions) -> Result<(), Error> {
    sessions.session().await.map(drop)
}

async fn load_named(sessions: Sessions) -> Result<(), Error> {
    sessions.session_named("sid").await.map(drop)
}

async fn log_in(sessions: Sessions) -> Result<(), Error> {
    sessions.new_session().map(drop)
}

async fn log_in_named(sessions: Sessions) -> Result<(), Error> {
    sessions.new_session_named("sid").map(drop)
}

async fn guard(_: Session, request: Request, next: Next) -> Response {
    next.run(request).await
}

/// The routes that come after the layer have no session: a mistake that is made easily.
#[tokio::test]
async fn a_route_without_a_layer_responds_with_500_and_one_event_names_the_remedy() {
    let guarded = Router::new()
        .route("/guarded", get(async || "home"))
        .layer(middleware::from_fn(guard));
    let app = Router::new()
        .layer(SessionLayer::new(MemoryStorage::default()))
        .route("/argument", get(argument))
        .route("/load", get(load))
        .route("/load-named", get(load_named))
        .route("/login", get(log_in))
        .route("/login-named", get(log_in_named))
        .merge(guarded);
    for path in [
        "/argument",
        "/load",
        "/load-named",
        "/login",
        "/login-named",
        "/guarded",
    ] {
        let (logs, _capture) = Logs::capture();
        let response = app::get(&app, path, "sid=0123456789abcdef0123456789abcdef").await;
        assert_eq!(
            (response.status.as_u16(), &*response.body),
            (500, ""),
            "{path}"
        );
        assert!(response.cookies().is_empty());
        let errors = events(&logs, "ERROR ");
        assert_eq!(errors.len(), 1, "{path}: {errors:?}");
        let remedy = "add a session_tower::SessionLayer to the router after its routes";
        assert!(errors[0].contains(remedy), "{path}: {errors:?}");
        assert!(errors[0].contains("session::request"), "{errors:?}");
    }
}

#[tokio::test]
async fn sessions_alone_need_no_layer() {
    let (logs, _capture) = Logs::capture();
    let app = Router::new().route("/", get(async |_: Sessions| "fine"));
    let response = app::get(&app, "/", "").await;
    assert_eq!((response.status.as_u16(), &*response.body), (200, "fine"));
    assert!(events(&logs, "session").is_empty(), "{}", logs.text());
}
