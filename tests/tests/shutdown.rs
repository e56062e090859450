//! The server loop of the guide's page on deploying: a server that is told to stop finishes what it
//! has begun, and a client that closes its sending side is served.

#![allow(clippy::unwrap_used)]

use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use http::{Request, Response};
use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use session_core::{MemoryStorage, RequestSession};
use session_hyper::SessionService;
use session_tower::SessionLayer;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

type BoxError = Box<dyn Error + Send + Sync>;

async fn serve<S, B>(
    listener: TcpListener,
    service: S,
    stop: impl Future<Output = ()>,
) -> std::io::Result<()>
where
    S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Into<BoxError>,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    let mut http = auto::Builder::new(TokioExecutor::new()); // HTTP/1 and HTTP/2
    http.http1()
        .timer(TokioTimer::new()) // a client has 30 seconds to send the head of a request
        .half_close(true); // serve a client that closes its sending side early
    let connections = GracefulShutdown::new();
    let mut stop = std::pin::pin!(stop);
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let stream = match accepted {
                    Ok((stream, _)) => stream,
                    Err(error) => {
                        // Too many open files, say. The next attempt may succeed.
                        eprintln!("{error}");
                        tokio::time::sleep(Duration::from_millis(50)).await;
                        continue;
                    }
                };
                let _ = stream.set_nodelay(true);
                let connection = http
                    .serve_connection_with_upgrades(TokioIo::new(stream), service.clone())
                    .into_owned();
                let connection = connections.watch(connection);
                tokio::spawn(async move {
                    if let Err(error) = connection.await {
                        eprintln!("{error:?}");
                    }
                });
            }
            () = &mut stop => break,
        }
    }
    drop(listener);
    let _ = tokio::time::timeout(Duration::from_secs(10), connections.shutdown()).await;
    Ok(())
}

#[test]
fn the_page_has_this_function() {
    let function = |text: &str| {
        let (_, rest) = text.split_once("\nasync fn serve<S, B>(").unwrap();
        rest.split_once("\n}\n").unwrap().0.to_owned()
    };
    let page = include_str!("../../session-hyper/src/guide/deploying.md");
    assert_eq!(function(page), function(include_str!("shutdown.rs")));
}

/// What the loop serves.
#[derive(Clone, Copy)]
enum Framework {
    Hyper,
    /// A router, as the guide's page on axum wraps it.
    Axum,
}

const BOTH: [Framework; 2] = [Framework::Hyper, Framework::Axum];

/// A server whose handler begins, and then waits.
struct App {
    storage: Arc<MemoryStorage>,
    address: SocketAddr,
    signals: Arc<Signals>,
    server: JoinHandle<std::io::Result<()>>,
}

#[derive(Default)]
struct Signals {
    has_begun: Notify,
    go_on: Notify,
    stop: Notify,
    is_dropped: Notify,
}

/// Tells that a handler ended, or was dropped.
struct OnDrop(Arc<Signals>);

impl Drop for OnDrop {
    fn drop(&mut self) {
        self.0.is_dropped.notify_one();
    }
}

async fn handler<B>(
    request: Request<B>,
    signals: Arc<Signals>,
) -> Result<Response<String>, BoxError> {
    let _guard = OnDrop(signals.clone());
    signals.has_begun.notify_one();
    signals.go_on.notified().await;
    request.session().await?.insert("k", 1)?;
    Ok(Response::new("done".to_owned()))
}

impl App {
    async fn start(framework: Framework) -> Self {
        let storage = Arc::new(MemoryStorage::default());
        let signals = Arc::new(Signals::default());
        let of_handler = signals.clone();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let of_server = signals.clone();
        let stop = async move { of_server.stop.notified().await };
        let server = match framework {
            Framework::Hyper => {
                let handler = move |request| handler(request, of_handler.clone());
                let service = SessionService::new(storage.clone(), service_fn(handler));
                tokio::spawn(serve(listener, service, stop))
            }
            Framework::Axum => {
                let handler = move |request: axum::extract::Request| {
                    let response = handler(request, of_handler.clone());
                    async { response.await.unwrap() }
                };
                let router = Router::new().route("/", get(handler));
                let router = router.layer(SessionLayer::new(storage.clone()));
                let service = TowerToHyperService::new(router);
                tokio::spawn(serve(listener, service, stop))
            }
        };
        Self {
            storage,
            address,
            signals,
            server,
        }
    }

    /// Tells the server to stop while a request runs, and then lets the request go on.
    async fn stop_during_a_request(&self) {
        self.signals.has_begun.notified().await;
        self.signals.stop.notify_one();
        while TcpStream::connect(self.address).await.is_ok() {
            tokio::task::yield_now().await; // until the listener is closed
        }
        assert!(self.storage.backend().is_empty() && !self.server.is_finished());
        self.signals.go_on.notify_one();
    }
}

/// The response to [`REQUEST`] sets the cookie of a session that is stored.
async fn assert_saved(app: &App, mut client: TcpStream) {
    let mut response = String::new();
    client.read_to_string(&mut response).await.unwrap();
    assert!(response.starts_with("HTTP/1.1 200"), "{response}");
    let cookie = "set-cookie: AIOHTTP_SESSION=";
    assert!(response.contains(cookie), "{response}");
    assert_eq!(app.storage.backend().len(), 1);
}

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n";

#[tokio::test]
async fn a_request_that_is_running_when_the_server_stops_is_saved_and_gets_its_response() {
    for framework in BOTH {
        let app = App::start(framework).await;
        let mut client = TcpStream::connect(app.address).await.unwrap();
        client.write_all(REQUEST).await.unwrap();
        app.stop_during_a_request().await;
        assert_saved(&app, client).await;
        app.server.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn over_http2_too_a_running_request_is_saved_and_gets_its_response() {
    let app = App::start(Framework::Hyper).await;
    let stream = TokioIo::new(TcpStream::connect(app.address).await.unwrap());
    let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), stream);
    let (mut client, connection) = handshake.await.unwrap();
    let connection = tokio::spawn(connection);
    let request = Request::get(format!("http://{}/", app.address));
    let response = client.send_request(request.body(String::new()).unwrap());
    let (response, ()) = tokio::join!(response, app.stop_during_a_request());
    let response = response.unwrap();
    assert_eq!(response.status(), 200);
    assert!(response.headers().contains_key("set-cookie"));
    assert_eq!(app.storage.backend().len(), 1);
    drop((client, response));
    app.server.await.unwrap().unwrap();
    connection.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_client_that_closes_its_sending_side_is_served() {
    for framework in BOTH {
        let app = App::start(framework).await;
        let mut client = TcpStream::connect(app.address).await.unwrap();
        client.write_all(REQUEST).await.unwrap();
        client.shutdown().await.unwrap();
        tokio::select! {
            () = app.signals.has_begun.notified() => {}
            read = client.read_u8() => panic!("the connection ends without a response: {read:?}"),
        }
        app.signals.go_on.notify_one();
        assert_saved(&app, client).await;
    }
}

/// What hyper does without `half_close`.
#[tokio::test]
async fn without_half_close_hyper_drops_the_handler_of_such_a_client() {
    let storage = Arc::new(MemoryStorage::default());
    let signals = Arc::new(Signals::default());
    let of_handler = signals.clone();
    let handler = move |request| handler(request, of_handler.clone());
    let service = SessionService::new(storage.clone(), service_fn(handler));
    let (mut client, stream) = tokio::io::duplex(1024);
    let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    let connection = tokio::spawn(connection);
    client.write_all(REQUEST).await.unwrap();
    signals.has_begun.notified().await;
    client.shutdown().await.unwrap();
    signals.is_dropped.notified().await;
    assert!(connection.await.unwrap().is_err());
    let mut response = String::new();
    client.read_to_string(&mut response).await.unwrap();
    assert_eq!(response, "");
    assert!(storage.backend().is_empty());
}
