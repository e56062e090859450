//! A server that is told to stop finishes what it has begun: the loop of the guide's page on
//! deploying.

#![allow(clippy::unwrap_used)]

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use hyper_util::server::graceful::GracefulShutdown;
use session_core::{MemoryStorage, RequestSession};
use session_hyper::SessionService;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

#[tokio::test]
async fn a_request_that_is_running_when_the_server_stops_is_saved_and_gets_its_response() {
    let storage = Arc::new(MemoryStorage::default());
    let (begun, go, stop) = (Notify::new(), Notify::new(), Notify::new());
    let signals = Arc::new((begun, go, stop));
    let of_handler = signals.clone();
    let handler = move |request: Request<Incoming>| {
        let signals = of_handler.clone();
        async move {
            signals.0.notify_one();
            signals.1.notified().await;
            request.session().await.unwrap().insert("k", 1).unwrap();
            Ok::<_, Infallible>(Response::new("done".to_owned()))
        }
    };
    let service = SessionService::new(storage.clone(), service_fn(handler));

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let of_server = signals.clone();
    let server = tokio::spawn(async move {
        let connections = GracefulShutdown::new();
        loop {
            tokio::select! {
                accepted = listener.accept() => {
                    let stream = TokioIo::new(accepted.unwrap().0);
                    let connection =
                        http1::Builder::new().serve_connection(stream, service.clone());
                    tokio::spawn(connections.watch(connection));
                }
                () = of_server.2.notified() => break,
            }
        }
        drop(listener);
        tokio::time::timeout(Duration::from_secs(10), connections.shutdown()).await
    });

    let mut client = TcpStream::connect(address).await.unwrap();
    let request = b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n";
    client.write_all(request).await.unwrap();
    signals.0.notified().await;
    signals.2.notify_one();
    while TcpStream::connect(address).await.is_ok() {
        tokio::task::yield_now().await; // until the server has stopped listening
    }
    assert!(storage.backend().is_empty() && !server.is_finished());
    signals.1.notify_one();

    let mut response = String::new();
    client.read_to_string(&mut response).await.unwrap();
    assert!(response.starts_with("HTTP/1.1 200"), "{response}");
    assert!(
        response.contains("set-cookie: AIOHTTP_SESSION="),
        "{response}"
    );
    assert_eq!(storage.backend().len(), 1);
    server.await.unwrap().expect("ended in time");
}
