//! hyper without a session: what the responses themselves cost.

use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

static COUNTER: AtomicU64 = AtomicU64::new(0);

async fn handle(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let body = match request.uri().path() {
        "/none" => Bytes::from_static(b"ok"),
        "/read" => COUNTER.load(Ordering::Relaxed).to_string().into(),
        "/write" => (COUNTER.fetch_add(1, Ordering::Relaxed) + 1)
            .to_string()
            .into(),
        _ => return Ok(response(Bytes::new(), StatusCode::NOT_FOUND)),
    };
    Ok(response(body, StatusCode::OK))
}

fn response(body: Bytes, status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    let text = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, text);
    response
}

fn main() {
    bench_common::runtime().block_on(async {
        let listener = TcpListener::bind(("127.0.0.1", bench_common::port()))
            .await
            .expect("the port is free");
        loop {
            let Ok((stream, _)) = listener.accept().await else {
                continue;
            };
            // Without a timer, as in axum::serve: no timeout for the headers.
            let connection = http1::Builder::new();
            tokio::spawn(connection.serve_connection(TokioIo::new(stream), service_fn(handle)));
        }
    });
}
