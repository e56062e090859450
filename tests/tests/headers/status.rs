//! What is saved, by the status of the response and by how the handler fails.

use std::sync::Arc;

use http::header::SET_COOKIE;
use http::{Request, StatusCode};
use hyper::body::Incoming;
use session_core::{
    DEFAULT_NAME, Error, ErrorKind, KeyedStorage, MemoryStorage, RequestSession, Result, Session,
    Storage,
};
use session_tests::adapter::Adapter;
use session_tests::logs::Logs;
use session_tests::server::{pair, set_cookies};

use crate::ADAPTER;
use crate::app::{
    Page, Switch, assert_bare, one_cookie, overwrite, page, read, saved, serve, storages,
    storages_and_updates, stored, values, write,
};

#[tokio::test]
async fn a_response_of_any_status_but_a_server_error_saves() {
    for storage in storages() {
        for status in [201, 204, 302, 303, 304, 400, 401, 403, 404, 418, 499] {
            let server = serve(storage.clone(), write, status, &[]).await;
            let response = server.get("/", &[]).await;
            assert_eq!(response.status().as_u16(), status);
            let cookie = one_cookie(&response);
            assert_eq!(stored(&storage, &cookie).await, Some(1), "{status}");
        }
    }
}

/// The handler failed half-way, so its changes are not kept. The log says so.
#[tokio::test]
async fn p8_a_server_error_saves_nothing_and_the_log_says_so() {
    for storage in storages() {
        for status in [500, 503, 599] {
            let cookie = saved(&storage).await;
            for (act, is_logged) in [
                (overwrite as fn(&Session) -> Result<()>, true),
                (Session::renew, true),
                (read, false),
            ] {
                let (logs, _capture) = Logs::capture();
                let server = serve(storage.clone(), act, status, &[("x-own", "1")]).await;
                let response = server.get("/", &[cookie.as_bytes()]).await;
                assert_eq!(response.status().as_u16(), status);
                // The response is the handler's own.
                assert_eq!(values(&response, "x-own"), ["1"]);
                assert_eq!(response.body(), "page");
                assert!(!response.headers().contains_key(SET_COOKIE));
                assert_eq!(values(&response, "vary"), ["Cookie"]);
                let text = logs.text();
                let dropped = text.contains("session changes dropped");
                assert_eq!(dropped, is_logged, "{text}");
                assert!(
                    !dropped || text.contains(" WARN session::request"),
                    "{text}"
                );
                logs.assert_without(&[cookie.split_once('=').unwrap().1]);
                assert_eq!(stored(&storage, &cookie).await, Some(1), "{status}");
            }
        }
    }
}

/// Also of a session that the handler changed before, and one that a login was to replace.
#[tokio::test]
async fn p3_a_logout_is_carried_out_although_the_response_is_a_server_error() {
    for (storage, is_in_cookie) in storages_and_updates() {
        for path in ["/500", "/error", "/login"] {
            let cookie = saved(&storage).await;
            let server = ADAPTER
                .start(storage.clone(), |request: Request<Incoming>| async move {
                    let session = request.session().await?;
                    session.insert("n", 2)?;
                    session.invalidate()?;
                    match request.uri().path() {
                        "/error" => return Err(Error::from(ErrorKind::Value).into()),
                        "/login" => request.new_session()?.insert("n", 3)?,
                        _ => {}
                    }
                    page(500, &[])
                })
                .await;
            let response = server.get(path, &[cookie.as_bytes()]).await;
            assert_eq!(response.status(), 500);
            assert_eq!(one_cookie(&response), "AIOHTTP_SESSION=\"\"", "{path}");
            if !is_in_cookie {
                assert_eq!(stored(&storage, &cookie).await, None, "{path}");
            }
        }
    }
}

#[tokio::test]
async fn a_login_is_dropped_with_a_server_error_and_the_old_session_stays() {
    for storage in storages() {
        let cookie = saved(&storage).await;
        for writes in [true, false] {
            let server = ADAPTER
                .start(
                    storage.clone(),
                    move |request: Request<Incoming>| async move {
                        let session = request.new_session()?;
                        if writes {
                            session.insert("n", 2)?;
                        }
                        page(500, &[])
                    },
                )
                .await;
            let response = server.get("/", &[cookie.as_bytes()]).await;
            assert!(!response.headers().contains_key(SET_COOKIE));
            assert_eq!(stored(&storage, &cookie).await, Some(1));
        }
    }
}

#[tokio::test]
async fn a_service_that_saves_server_errors_saves_them() {
    for (storage, updates_set) in storages_and_updates() {
        let handler = |request: Request<Incoming>| async move {
            request.session().await?.insert("n", 2)?;
            page(500, &[])
        };
        let service = ADAPTER
            .service(storage.clone(), handler)
            .save_server_errors(true);
        let server = service.serve().await;
        let cookie = one_cookie(&server.get("/", &[]).await);
        assert_eq!(stored(&storage, &cookie).await, Some(2));

        let cookie = saved(&storage).await;
        let response = server.get("/", &[cookie.as_bytes()]).await;
        let set = set_cookies(&response, DEFAULT_NAME);
        assert_eq!(set.len(), usize::from(updates_set));
        let cookie = set.first().map_or(&*cookie, |set| pair(set));
        assert_eq!(stored(&storage, cookie).await, Some(2));
    }
}

/// Another service of the framework, such as axum's `IntoResponse`, makes such responses.
#[tokio::test]
async fn a_session_error_in_a_response_ends_like_one_that_is_returned() {
    let (logs, _capture) = Logs::capture();
    for storage in storages() {
        let cookie = saved(&storage).await;
        let server = ADAPTER
            .start(storage.clone(), |request: Request<Incoming>| async move {
                let session = request.session().await?;
                session.insert("n", 2)?;
                let error = session.get::<Vec<String>>("n").unwrap_err();
                let mut response = page(200, &[("set-cookie", "a=1")])?;
                response.extensions_mut().insert(error);
                Ok(response)
            })
            .await;
        let response = server.get("/", &[cookie.as_bytes()]).await;
        assert_bare(&response, StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(stored(&storage, &cookie).await, Some(1), "nothing is saved");
    }
    let events = logs
        .text()
        .matches("handler failed with a session error")
        .count();
    assert_eq!(events, storages().len(), "one event for each");
}

/// The identity of an acknowledged save is the only one that still works.
#[tokio::test]
async fn the_cookie_of_an_explicit_save_travels_with_every_response() {
    for storage in storages() {
        for path in ["/200", "/500", "/error", "/more"] {
            let cookie = saved(&storage).await;
            let server = ADAPTER
                .start(storage.clone(), |request: Request<Incoming>| async move {
                    let session = request.session().await?;
                    session.insert("n", 2)?;
                    session.renew()?;
                    session.save().await?;
                    match request.uri().path() {
                        "/error" => Err(Error::from(ErrorKind::Value).into()),
                        "/500" => page(500, &[]),
                        "/more" => {
                            session.insert("n", 3)?;
                            page(500, &[])
                        }
                        _ => page(200, &[]),
                    }
                })
                .await;
            let response = server.get(path, &[cookie.as_bytes()]).await;
            let status = if path == "/200" { 200 } else { 500 };
            assert_eq!(response.status(), status, "{path}");
            assert_eq!(values(&response, "cache-control"), ["no-store"]);
            let next = one_cookie(&response);
            assert_eq!(stored(&storage, &next).await, Some(2), "{path} {storage:?}");
        }
    }
}

#[tokio::test]
async fn a_handler_that_returns_an_error_saves_nothing() {
    // Whatever an axum handler returns is a response. `axum/errors.rs` tests an application's
    // error.
    if ADAPTER == Adapter::Axum {
        return;
    }
    let storage: Arc<KeyedStorage<Switch>> = Arc::new(KeyedStorage::new(Switch::default()));
    let server = ADAPTER
        .start(storage.clone(), |request: Request<Incoming>| async move {
            request.session().await?.insert("n", 1)?;
            Page::Err("swordfish-4711".into())
        })
        .await;
    // hyper closes the connection: the error is the application's, and nothing of it leaves.
    let response = server.exchange(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(response.is_empty(), "{}", response.escape_ascii());
    assert!(storage.backend().inner.is_empty());
}

#[tokio::test]
async fn a_value_of_another_type_is_a_500_by_a_plain_question_mark() {
    let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::default());
    let cookie = saved(&storage).await;
    let boxed = ADAPTER
        .start(storage.clone(), async |request: Request<Incoming>| {
            let session = request.session().await?;
            session.insert("n", 2)?;
            session.get::<Vec<String>>("n")?;
            page(200, &[("set-cookie", "a=1")])
        })
        .await;
    let plain = async |request: Request<Incoming>| {
        let session = request.session().await?;
        session.insert("n", 2)?;
        session.get::<Vec<String>>("n")?;
        Ok::<_, Error>(page(200, &[]).unwrap())
    };
    let plain = ADAPTER.service(storage.clone(), plain).serve().await;
    for server in [boxed, plain] {
        assert_bare(
            &server.get("/", &[cookie.as_bytes()]).await,
            StatusCode::INTERNAL_SERVER_ERROR,
        );
        assert_eq!(stored(&storage, &cookie).await, Some(1), "nothing is saved");
    }
}
