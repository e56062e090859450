//! A service with several storages.

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use session_cookie::{EncryptedCookieStorage, Key};
use session_core::adapter::status;
use session_core::{CookieSettings, ErrorKind, KeyedStorage, MemoryStorage, RequestSession};
use session_tests::server::{BoxError, TestResponse, pair, set_cookies};

use crate::ADAPTER;
use crate::app::{Switch, assert_bare, page, values};

#[tokio::test]
async fn each_storage_of_a_service_has_a_session() {
    let of = |name: &'static str| CookieSettings::builder(name).build().unwrap();
    let user = EncryptedCookieStorage::new(Key::from([2; 32])).with_cookie(of("USER"));
    let cart = MemoryStorage::default().with_cookie(of("CART"));
    let handler = |request: Request<Incoming>| async move {
        let (user, cart) = (
            request.session_named("USER").await?,
            request.session_named("CART").await?,
        );
        let path = request.uri().path();
        if path.contains("user") {
            // Without a name it is the session of the first storage.
            let first = request.session().await?;
            first.update("n", |n: Option<u64>| n.unwrap_or(0) + 1)?;
        }
        if path.contains("cart") {
            cart.update("n", |n: Option<u64>| n.unwrap_or(10) + 1)?;
        }
        if path.contains("renew") {
            cart.renew()?;
        }
        let other = request.session_named("OTHER").await;
        let other = other.map_err(|error| error.kind());
        assert_eq!(other.map(drop), Err(ErrorKind::Settings));
        let seen = format!("{:?} {:?}", user.get::<u64>("n")?, cart.get::<u64>("n")?);
        Ok::<_, BoxError>(Response::new(Full::<Bytes>::from(seen)))
    };
    let service = ADAPTER.service(user, handler).and(cart).unwrap();
    let server = service.serve().await;
    let both = server.get("/user/cart", &[]).await;
    let jar = |responses: [&TestResponse; 2]| {
        let pairs = ["USER", "CART"].into_iter().zip(responses);
        let pairs = pairs.map(|(name, response)| pair(&set_cookies(response, name)[0]).to_owned());
        pairs.collect::<Vec<_>>().join("; ")
    };
    let first_jar = jar([&both, &both]);
    assert_eq!(values(&both, "set-cookie").len(), 2);
    assert_eq!(
        (values(&both, "vary"), values(&both, "cache-control")),
        (vec!["Cookie"], vec!["no-store"])
    );
    for (path, names, seen) in [
        ("/", &[][..], "Some(1) Some(11)"),
        // The store has the change. The cookie has no Max-Age, so it is not sent again.
        ("/cart", &[], "Some(1) Some(12)"),
        ("/user", &["USER"], "Some(2) Some(12)"),
        ("/cart/renew", &["CART"], "Some(1) Some(13)"),
    ] {
        let response = server.get(path, &[first_jar.as_bytes()]).await;
        assert_eq!(response.body(), seen, "{path}");
        let set = values(&response, "set-cookie");
        let set = set.iter().map(|cookie| cookie.split('=').next().unwrap());
        assert_eq!(set.collect::<Vec<_>>(), names, "{path}");
        if path == "/cart/renew" {
            let jar = jar([&both, &response]);
            let next = server.get("/", &[jar.as_bytes()]).await;
            assert_eq!(next.body(), "Some(1) Some(13)");
        }
    }
}

#[tokio::test]
async fn p6_a_failed_load_of_one_storage_is_a_503_and_saves_nothing_in_the_other() {
    let of = |name: &'static str| CookieSettings::builder(name).build().unwrap();
    for is_first in [true, false] {
        let (down, up) = (Switch::default(), Switch::default());
        down.turn(false);
        let user = KeyedStorage::new(down).with_cookie(of("USER"));
        let cart = KeyedStorage::new(up.clone()).with_cookie(of("CART"));
        let handler = |request: Request<Incoming>| async move {
            request.session_named("CART").await?.insert("n", 1)?;
            request.session_named("USER").await?;
            page(200, &[])
        };
        let service = if is_first {
            ADAPTER.service(user, handler).and(cart)
        } else {
            ADAPTER.service(cart, handler).and(user)
        };
        let server = service.unwrap().serve().await;
        let line = format!("USER={}", "0".repeat(32));
        assert_bare(
            &server.get("/", &[line.as_bytes()]).await,
            StatusCode::SERVICE_UNAVAILABLE,
        );
        assert!(up.inner.is_empty(), "the handler failed");
    }
}

#[tokio::test]
async fn on_error_writes_the_response_for_each_storage_of_a_service() {
    let switch = Switch::default();
    switch.turn(false);
    let of = |name: &'static str| CookieSettings::builder(name).build().unwrap();
    let cart = MemoryStorage::default().with_cookie(of("CART"));
    let user = KeyedStorage::new(switch).with_cookie(of("USER"));
    let handler = |request: Request<Incoming>| async move {
        request.session().await?;
        if request.uri().path() == "/user" {
            request.session_named("USER").await?;
        }
        let missing = request.session_named("NOBODY").await;
        missing.map(|_| page(200, &[]).unwrap())
    };
    let service = ADAPTER.service(cart, handler).and(user).unwrap();
    let service = service.on_error(|error| {
        let response = Response::builder().status(status(error));
        response.body(Full::<Bytes>::from("ours")).unwrap()
    });
    let server = service.serve().await;
    let line = format!("USER={}", "0".repeat(32));
    for (path, status) in [("/user", 503), ("/", 500)] {
        let response = server.get(path, &[line.as_bytes()]).await;
        assert_eq!(response.status(), status, "{path}");
        assert_eq!(response.body(), "ours", "{path}");
    }
}
