//! Once the headers have left, a session takes no change.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::SET_COOKIE;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::{Body, Frame, Incoming};
use session_core::{RequestSession, Storage};
use session_tests::server::TestResponse;
use tokio::sync::{mpsc, oneshot};

use crate::ADAPTER;
use crate::app::{one_cookie, storages, stored};

/// A body that a task feeds.
#[derive(Default)]
struct Stream(Option<mpsc::UnboundedReceiver<Bytes>>);

impl Body for Stream {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<std::result::Result<Frame<Bytes>, Infallible>>> {
        let Some(receiver) = &mut self.0 else {
            return Poll::Ready(None);
        };
        receiver
            .poll_recv(cx)
            .map(|chunk| chunk.map(|chunk| Ok(Frame::data(chunk))))
    }
}

/// Serves an endless response, and gives its request to `body` as soon as a client saw the headers.
async fn stream<F, Fut>(storage: Arc<dyn Storage>, asks_first: bool, body: F) -> TestResponse
where
    F: FnOnce(http::request::Parts) -> Fut + Send + 'static,
    Fut: Future<Output = String> + Send + 'static,
{
    let (headers_seen, seen) = oneshot::channel::<()>();
    let once = Arc::new(Mutex::new(Some((seen, body))));
    let server = ADAPTER
        .start(storage, move |request: Request<Incoming>| {
            let once = once.clone();
            async move {
                if asks_first {
                    request.session().await?.insert("n", 1)?;
                }
                let (send, receive) = mpsc::unbounded_channel();
                let (seen, body) = once.lock().unwrap().take().unwrap();
                let (parts, _) = request.into_parts();
                tokio::spawn(async move {
                    seen.await.unwrap();
                    send.send(Bytes::from(body(parts).await)).unwrap();
                });
                Ok(Response::new(Stream(Some(receive))))
            }
        })
        .await;
    // The headers must come although the body waits for them: no buffering, and no deadlock.
    let io = tokio::net::TcpStream::connect(server.address())
        .await
        .unwrap();
    let io = hyper_util::rt::TokioIo::new(io);
    let (mut client, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
    let connection = tokio::spawn(connection);
    let request = Request::builder()
        .header("host", "localhost")
        .body(Full::<Bytes>::default());
    let (parts, body) = client
        .send_request(request.unwrap())
        .await
        .unwrap()
        .into_parts();
    headers_seen.send(()).unwrap();
    let body = http_body_util::BodyExt::collect(body)
        .await
        .unwrap()
        .to_bytes();
    connection.abort();
    Response::from_parts(parts, body)
}

#[tokio::test]
async fn p8_a_streamed_response_is_committed_before_its_headers_and_takes_no_change_after() {
    for storage in storages() {
        let response = stream(storage.clone(), true, |parts| async move {
            let session = parts.session().await.unwrap();
            let changes = [
                session.insert("n", 2),
                session.remove("n").map(drop),
                session
                    .update("n", |n: Option<u64>| n.unwrap_or(0))
                    .map(drop),
                session.take::<u64>("n").map(drop),
                session.modify("n", |n: &mut u64| *n += 1),
                session.set_data(&BTreeMap::from([("n".to_owned(), 2)])),
                session.save().await,
                session.clear(),
                session.changed(),
                session.renew(),
                session.invalidate(),
                session.set_max_age(None),
                session.set_new_identity(session_core::Identity::random().unwrap()),
                parts.new_session().map(drop),
            ];
            assert_eq!(session.get::<u64>("n").unwrap(), Some(1), "reading goes on");
            changes
                .map(|change| format!("{:?} ", change.unwrap_err().kind()))
                .concat()
        })
        .await;
        assert_eq!(response.body(), "Committed ".repeat(14).as_str());
        assert_eq!(stored(&storage, &one_cookie(&response)).await, Some(1));
    }
}

#[tokio::test]
async fn p8_a_session_first_asked_for_after_the_headers_takes_no_change() {
    for storage in storages() {
        let response = stream(storage, false, |parts| async move {
            let session = parts.session().await.unwrap();
            format!("{:?}", session.insert("n", 1).map_err(|error| error.kind()))
        })
        .await;
        assert_eq!(response.body(), "Err(Committed)");
        assert!(!response.headers().contains_key(SET_COOKIE));
    }
}

#[tokio::test]
async fn p8_a_new_session_first_asked_for_after_the_headers_is_an_error() {
    for storage in storages() {
        let response = stream(storage, false, |parts| async move {
            format!(
                "{:?}",
                parts.new_session().map(drop).map_err(|error| error.kind())
            )
        })
        .await;
        assert_eq!(response.body(), "Err(Committed)");
    }
}

#[tokio::test]
async fn p8_a_session_whose_place_a_new_one_took_takes_no_change() {
    for storage in storages() {
        let server = ADAPTER
            .start(storage, |request: Request<Incoming>| async move {
                let old = request.session().await?;
                request.new_session()?.insert("n", 2)?;
                let change = old.insert("n", 3).map_err(|error| error.kind());
                Ok(Response::new(Full::<Bytes>::from(format!("{change:?}"))))
            })
            .await;
        let response = server.get("/", &[]).await;
        assert_eq!(response.body(), "Err(Committed)");
    }
}
