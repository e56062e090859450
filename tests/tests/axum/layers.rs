//! The layer among other layers and services.

use std::convert::Infallible;
use std::future::{pending, ready};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use axum::routing::get;
use axum::{Extension, Router};
use http::{Request, StatusCode};
use session_core::MemoryStorage;
use session_tower::{
    Error, ErrorKind, RequestSession as _, Session, SessionLayer, SessionService, Sessions,
};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tower::limit::ConcurrencyLimit;
use tower::{Layer as _, Service, ServiceBuilder, ServiceExt as _, service_fn};
use tower_http::timeout::TimeoutLayer;

use crate::app::{self, NO_CALLS, keys, store};

#[tokio::test]
async fn a_layer_with_two_storages_saves_both_in_their_order() {
    let (user, user_cookie) = store("sid").await;
    let (cart, cart_cookie) = store("cart").await;
    let handler = async |sessions: Sessions, first: Session| -> Result<(), Error> {
        sessions.session_named("cart").await?.renew()?;
        sessions.session_named("sid").await?.renew()?;
        first.insert("first", 1)
    };
    let layer = SessionLayer::new(user.clone()).and(cart.clone()).unwrap();
    let app = Router::new().route("/", get(handler)).layer(layer);
    let response = app::get(&app, "/", &format!("{cart_cookie}; {user_cookie}")).await;
    let [of_user, of_cart] = response.cookies()[..] else {
        panic!("two cookies: {:?}", response.cookies())
    };
    assert_eq!(keys(&user, of_user).await.unwrap(), ["k", "first"]);
    assert_eq!(keys(&cart, of_cart).await.unwrap(), ["k"]);
}

#[tokio::test]
async fn two_storages_of_one_cookie_name_are_refused() {
    let (first, second) = (store("sid").await.0, store("sid").await.0);
    let error = SessionLayer::new(first).and(second).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Settings);
    assert!(error.to_string().contains("sid"), "{error}");
}

#[tokio::test]
async fn a_layer_inside_another_one_shadows_it() {
    let (outer, cookie) = store("sid").await;
    let (inner, inner_cookie) = store("cart").await;
    let handler = async |session: Session| session.insert("inner", 1);
    let admin = Router::new()
        .route("/admin", get(handler))
        .layer(SessionLayer::new(inner.clone()));
    let app = Router::new()
        .route("/", get(handler))
        .merge(admin)
        .layer(SessionLayer::new(outer.clone()));
    let both = format!("{cookie}; {inner_cookie}");
    assert_eq!(app::get(&app, "/admin", &both).await.status, 200);
    assert_eq!(outer.backend().take(), NO_CALLS);
    assert_eq!(keys(&inner, &inner_cookie).await.unwrap(), ["k", "inner"]);
    inner.backend().take();
    assert_eq!(app::get(&app, "/", &both).await.status, 200);
    assert_eq!(inner.backend().take(), NO_CALLS);
    assert_eq!(keys(&outer, &cookie).await.unwrap(), ["k", "inner"]);
}

#[tokio::test]
async fn a_layer_on_one_route_serves_that_route_alone() {
    let (storage, cookie) = store("sid").await;
    let handler = async |session: Option<Session>| session.is_some().to_string();
    let app = Router::new()
        .route("/with", get(handler).layer(SessionLayer::new(storage)))
        .route("/without", get(handler));
    assert_eq!(app::get(&app, "/with", &cookie).await.body, "true");
    assert_eq!(app::get(&app, "/without", &cookie).await.body, "false");
}

/// A layer can be one of a stack, and its sessions are there for the layers below it.
#[tokio::test]
async fn the_layer_is_one_of_a_stack() {
    let (storage, cookie) = store("sid").await;
    let stack = ServiceBuilder::new()
        .layer(Extension(5))
        .layer(SessionLayer::new(storage.clone()))
        .map_request(|request: Request<Body>| {
            drop(request.session());
            request
        });
    let handler = async |Extension(n): Extension<i32>| n.to_string();
    let app = Router::new().route("/", get(handler)).layer(stack);
    let response = app::get(&app, "/", &cookie).await;
    assert_eq!(
        (&*response.body, response.header("vary")),
        ("5", Some("Cookie"))
    );
    assert_eq!(storage.backend().take(), NO_CALLS);
}

/// A handler changes or ends its session, and then takes too long for a `TimeoutLayer` that
/// responds with `status`. Returns what the cookie stands for afterwards.
async fn after_a_timeout(path: &str, status: StatusCode) -> Option<Vec<String>> {
    let (storage, cookie) = store("sid").await;
    let change = async |session: Session| -> Result<(), Error> {
        session.insert("mine", 1)?;
        pending().await
    };
    let log_out = async |session: Session| -> Result<(), Error> {
        session.invalidate()?;
        pending().await
    };
    let limit = TimeoutLayer::with_status_code(status, Duration::from_secs(10));
    let app = Router::new()
        .route("/change", get(change))
        .route("/logout", get(log_out))
        .layer(limit)
        .layer(SessionLayer::new(storage.clone()));
    assert_eq!(app::get(&app, path, &cookie).await.status, status);
    keys(&storage, &cookie).await
}

#[tokio::test(start_paused = true)]
async fn a_time_limit_inside_the_layer_decides_by_its_status_what_is_saved() {
    let (server_error, client_error) =
        (StatusCode::SERVICE_UNAVAILABLE, StatusCode::REQUEST_TIMEOUT);
    let dropped = after_a_timeout("/change", server_error).await;
    assert_eq!(dropped.unwrap(), ["k"]);
    let saved = after_a_timeout("/change", client_error).await;
    assert_eq!(saved.unwrap(), ["k", "mine"]);
    assert_eq!(after_a_timeout("/logout", server_error).await, None);
}

fn poll_ready<S: Service<Request<String>>>(service: &mut S) -> Poll<Result<(), S::Error>> {
    service.poll_ready(&mut Context::from_waker(Waker::noop()))
}

fn request() -> Request<String> {
    Request::new(String::new())
}

#[tokio::test]
async fn the_service_is_ready_when_the_inner_one_is() {
    let handler = |_: Request<String>| ready(Ok::<_, Infallible>(Response::new(String::new())));
    let limited = ConcurrencyLimit::new(service_fn(handler), 1);
    let mut one = SessionLayer::new(MemoryStorage::default()).layer(limited);
    let mut two = one.clone();
    assert!(poll_ready(&mut one).is_ready());
    assert!(
        poll_ready(&mut two).is_pending(),
        "one holds the only permit"
    );
    let response = one.call(request());
    assert!(poll_ready(&mut two).is_pending(), "one is not done");
    response.await.unwrap();
    assert!(poll_ready(&mut two).is_ready());
    two.call(request()).await.unwrap();
}

/// A service that has broken down.
#[derive(Clone)]
struct Broken;

impl Service<Request<String>> for Broken {
    type Response = Response<String>;
    type Error = String;
    type Future = std::future::Ready<Result<Response<String>, String>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), String>> {
        Poll::Ready(Err("broken down".into()))
    }

    fn call(&mut self, _: Request<String>) -> Self::Future {
        ready(Err("called".into()))
    }
}

#[tokio::test]
async fn errors_of_the_inner_service_pass_through() {
    let service = SessionLayer::new(MemoryStorage::default()).layer(Broken);
    let error = service.clone().oneshot(request()).await.unwrap_err();
    assert_eq!(error, "broken down");
    let error = service.clone().call(request()).await.unwrap_err();
    assert_eq!(error, "called");
}

#[tokio::test]
async fn a_session_error_of_a_plain_tower_service_is_a_response() {
    let (storage, cookie) = store("sid").await;
    let handler = async |request: Request<String>| {
        let session = request.session().await?;
        session.insert("mine", 1)?;
        session.get::<Vec<String>>("k")?;
        Ok::<_, Error>(Response::new(String::from("never")))
    };
    let service = SessionLayer::new(storage.clone()).layer(service_fn(handler));
    let request = Request::get("/").header("cookie", &cookie);
    let request = request.body(String::new()).unwrap();
    let response = service.oneshot(request).await.unwrap();
    assert_eq!((response.status().as_u16(), &**response.body()), (500, ""));
    assert_eq!(keys(&storage, &cookie).await.unwrap(), ["k"]);
}

/// Tells when it is dropped.
struct Dropped(Option<oneshot::Sender<()>>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.take().map(|dropped| dropped.send(()));
    }
}

/// A client closes its connection to `axum::serve`.
#[tokio::test]
async fn a_client_that_goes_away_cancels_its_request() {
    let (storage, cookie) = store("sid").await;
    let (send, mut receive) = mpsc::unbounded_channel();
    let (dropped, is_dropped) = oneshot::channel();
    let dropped = Arc::new(Mutex::new(Some(dropped)));
    let handler = async move |session: Session| -> Result<(), Error> {
        let _dropped = Dropped(dropped.lock().unwrap().take());
        session.insert("mine", 1)?;
        send.send(session).unwrap();
        pending().await
    };
    let app = Router::new().route("/", get(handler));
    let app = app.layer(SessionLayer::new(storage.clone()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move { axum::serve(listener, app).await });
    let mut client = TcpStream::connect(address).await.unwrap();
    let head = format!("GET / HTTP/1.1\r\nHost: localhost\r\nCookie: {cookie}\r\n\r\n");
    client.write_all(head.as_bytes()).await.unwrap();
    let session = receive.recv().await.unwrap();
    drop(client);
    is_dropped.await.unwrap();
    let refused = session.insert("late", 1).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Committed);
    assert_eq!(keys(&storage, &cookie).await.unwrap(), ["k"]);
    server.abort();
}

#[test]
fn the_types_move_between_threads() {
    fn is<T: Clone + Send + Sync + 'static>() {}
    fn is_send<T: Send + 'static>(_: T) {}
    is::<SessionLayer>();
    is::<SessionService<Router>>();
    is::<Sessions>();
    let request = Request::new(std::cell::Cell::new(0));
    let sessions = Sessions::of(&request);
    is_send(sessions.session());
    is_send(sessions.session_named("sid"));
}

#[test]
fn debug_of_a_request_s_sessions_shows_no_cookie() {
    let request = Request::get("/").header("cookie", "sid=swordfish");
    let sessions = Sessions::of(&request.body(()).unwrap());
    let shown = format!("{sessions:?} {sessions:#?}");
    assert!(shown.starts_with("Sessions") && !shown.contains("swordfish"));
}
