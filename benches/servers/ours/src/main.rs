//! The library's sessions around hyper: `bench-ours PORT STORAGE`, with the store's address in
//! `REDIS_URL` or `MEMCACHED`. STORAGE is fernet, nacl, memory, memory-users, redis, redis-users or
//! memcached.
//!
//! `/none` does not touch the session, `/read` returns its counter, `/write` increments it, first
//! setting what a logged-in user's session holds.

include!("../../ours_app.rs");

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use session_core::RequestSession;
use session_hyper::SessionService;

async fn handle(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, session_core::Error> {
    let body = match request.uri().path() {
        "/none" => Bytes::from_static(b"ok"),
        "/read" => {
            let counter: Option<i64> = request.session().await?.get("counter")?;
            counter.unwrap_or(0).to_string().into()
        }
        "/write" => increment(&request.session().await?)?.to_string().into(),
        _ => return Ok(response(Bytes::new(), StatusCode::NOT_FOUND)),
    };
    Ok(response(body, StatusCode::OK))
}

fn response(body: Bytes, status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    let text = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, text);
    response
}

async fn serve() -> Result<(), BoxError> {
    let service = SessionService::new(storage().await?, service_fn(handle));
    let listener = listen().await?;
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        let connection = http1::Builder::new();
        tokio::spawn(connection.serve_connection(TokioIo::new(stream), service.clone()));
    }
}

fn main() -> Result<(), BoxError> {
    bench_common::runtime().block_on(serve())
}
