//! The responses to a session that could not be loaded or saved.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{HeaderValue, SET_COOKIE};
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use session_cookie::SimpleCookieStorage;
use session_core::adapter::status;
use session_core::{
    DEFAULT_NAME, Error, ErrorKind, KeyedStorage, RequestSession, Session, Storage,
};

use crate::ADAPTER;
use crate::app::{Switch, assert_bare, fill, page, read, saved, serve, stored, values, write};

#[tokio::test]
async fn p6_a_load_that_fails_is_a_503_by_a_plain_question_mark() {
    let switch = Switch::default();
    let storage: Arc<dyn Storage> = Arc::new(KeyedStorage::new(switch.clone()));
    let cookie = saved(&storage).await;
    for act in [read, write, Session::invalidate, Session::renew] {
        switch.turn(true);
        let server = serve(storage.clone(), act, 200, &[("set-cookie", "a=1")]).await;
        switch.turn(false);
        assert_bare(
            &server.get("/", &[cookie.as_bytes()]).await,
            StatusCode::SERVICE_UNAVAILABLE,
        );
        // The client's cookie is as good as before.
        switch.turn(true);
        assert_eq!(stored(&storage, &cookie).await, Some(1));
    }
}

#[tokio::test]
async fn p6_a_save_that_fails_is_a_503_and_not_the_handlers_response() {
    let switch = Switch::default();
    let storage: Arc<dyn Storage> = Arc::new(KeyedStorage::new(switch.clone()));
    let cookie = saved(&storage).await;
    for path in ["/write", "/renew", "/logout", "/login"] {
        let breaks = switch.clone();
        let server = ADAPTER
            .start(storage.clone(), move |request: Request<Incoming>| {
                let breaks = breaks.clone();
                async move {
                    let session = request.session().await?;
                    match request.uri().path() {
                        "/write" => session.insert("n", 2)?,
                        "/renew" => session.renew()?,
                        "/logout" => session.invalidate()?,
                        _ => request.new_session()?.insert("n", 3)?,
                    }
                    breaks.turn(false);
                    page(200, &[("set-cookie", "a=1"), ("x-secret", "swordfish")])
                }
            })
            .await;
        assert_bare(
            &server.get(path, &[cookie.as_bytes()]).await,
            StatusCode::SERVICE_UNAVAILABLE,
        );
        switch.turn(true);
        assert_eq!(stored(&storage, &cookie).await, Some(1), "{path}");
    }
}

#[tokio::test]
async fn p6_a_handler_that_lives_without_its_session_responds_as_it_likes() {
    let switch = Switch::default();
    switch.turn(false);
    let server = ADAPTER
        .start(
            Arc::new(KeyedStorage::new(switch)),
            |request: Request<Incoming>| async move {
                assert_eq!(
                    request.session().await.unwrap_err().kind(),
                    ErrorKind::Unavailable
                );
                page(200, &[])
            },
        )
        .await;
    let line = format!("{DEFAULT_NAME}={}", "0".repeat(32));
    let response = server.get("/", &[line.as_bytes()]).await;
    assert_eq!(
        (response.status(), &response.body()[..]),
        (StatusCode::OK, &b"page"[..])
    );
    assert!(!response.headers().contains_key(SET_COOKIE));
    // With its session the page would be another one.
    assert_eq!(values(&response, "vary"), ["Cookie"]);
}

#[tokio::test]
async fn on_error_writes_the_response_in_place_of_ours() {
    let switch = Switch::default();
    let storage: Arc<dyn Storage> = Arc::new(KeyedStorage::new(switch.clone()));
    let cookie = saved(&storage).await;
    let breaks = switch.clone();
    let handler = move |request: Request<Incoming>| {
        let breaks = breaks.clone();
        async move {
            request.session().await?.insert("n", 2)?;
            breaks.turn(false);
            page(200, &[("set-cookie", "a=1")])
        }
    };
    let service = ADAPTER.service(storage, handler).on_error(|error: &Error| {
        let mut response = Response::new(Full::<Bytes>::from("come back later"));
        *response.status_mut() = status(error);
        response
            .headers_mut()
            .insert("retry-after", HeaderValue::from_static("5"));
        response
    });
    let server = service.serve().await;
    // The first fails when it saves, the second when it loads.
    for _ in 0..2 {
        let response = server.get("/", &[cookie.as_bytes()]).await;
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(response.body(), "come back later");
        assert_eq!(values(&response, "retry-after"), ["5"]);
        assert!(!response.headers().contains_key(SET_COOKIE));
    }
}

#[tokio::test]
async fn p10_no_response_carries_an_errors_text() {
    let switch = Switch::default();
    let storage: Arc<dyn Storage> = Arc::new(KeyedStorage::new(switch.clone()));
    let cookie = saved(&storage).await;
    switch.turn(false);
    let down = serve(storage, read, 200, &[])
        .await
        .get("/", &[cookie.as_bytes()])
        .await;
    let too_large = fill(Arc::new(SimpleCookieStorage::unprotected()), 9000)
        .await
        .get("/", &[])
        .await;
    for response in [down, too_large] {
        let shown = format!("{response:?}").to_lowercase();
        for text in [
            "swordfish",
            "10.0.0.1",
            "backend",
            "bytes,",
            "4096",
            "session cookie",
        ] {
            assert!(!shown.contains(text), "{text} in {shown}");
        }
    }
}
