//! What a sibling domain, or a client that names what is not its own, gets out of the library. Each
//! test is an attack that once got through.
#![allow(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "these are tests"
)]

use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use session_core::{
    CookieSettings, DEFAULT_NAME, KeyedStorage, MemoryBackend, MemoryStorage, RequestSession as _,
    Storage,
};
use session_tests::redis::RedisServer;
use session_tests::server::{BoxError, Server, pair, set_cookies};
use session_tests::stores::{Failing, When};

async fn handler(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, BoxError> {
    let nobody = || "nobody".to_owned();
    let user = match request.uri().path() {
        "/login" => {
            let user = request.uri().query().unwrap_or_default().to_owned();
            request.new_session()?.insert("user", &user)?;
            user
        }
        "/logout" => {
            request.session().await?.invalidate()?;
            nobody()
        }
        "/swallow" => match request.session().await {
            Ok(session) => session.get("user")?.unwrap_or_else(nobody),
            Err(_) => nobody(),
        },
        _ => request.session().await?.get("user")?.unwrap_or_else(nobody),
    };
    Ok(Response::new(Full::from(user)))
}

fn named(name: &'static str) -> Arc<dyn Storage> {
    let cookie = CookieSettings::builder(name)
        .max_age(Duration::from_secs(3600))
        .build()
        .unwrap();
    Arc::new(MemoryStorage::default().with_cookie(cookie))
}

async fn ask(server: &Server, path: &str, cookies: &str) -> String {
    let response = server.get(path, &[cookies.as_bytes()]).await;
    assert_eq!(response.status(), 200, "{path}");
    String::from_utf8(response.body().to_vec()).unwrap()
}

/// The `name=value` that a login as `user` gives.
async fn login(server: &Server, name: &str, user: &str, cookies: &str) -> String {
    let response = server
        .get(&format!("/login?{user}"), &[cookies.as_bytes()])
        .await;
    pair(&set_cookies(&response, name)[0]).to_owned()
}

/// White space ends no value: what a sibling set as one cookie of another name is one.
#[tokio::test]
async fn a_host_cookie_is_not_found_inside_the_value_of_another_cookie() {
    let server = Server::start(named("__Host-sid"), handler).await;
    let evil = login(&server, "__Host-sid", "attacker", "").await;
    // Set by evil.example.com: `lang=en __Host-sid=..; Domain=example.com`, one cookie called
    // `lang`.
    for planted in [
        format!("lang=en {evil}"),
        format!("lang=\"en\" {evil}"),
        format!("lang {evil}"),
    ] {
        assert_eq!(ask(&server, "/read", &planted).await, "nobody", "{planted}");
    }
}

#[tokio::test]
async fn a_host_cookie_that_was_planted_inside_another_does_not_win_over_the_real_one() {
    let server = Server::start(named("__Host-sid"), handler).await;
    let evil = login(&server, "__Host-sid", "attacker", "").await;
    let real = login(&server, "__Host-sid", "victim", "").await;
    // A cookie of a longer path comes first.
    assert_eq!(
        ask(&server, "/account", &format!("lang=en {evil}; {real}")).await,
        "victim"
    );
}

/// Two cookies of a sibling, `a="` and `z="`, around the session's: RFC 6265 knows no such quotes.
#[tokio::test]
async fn quotes_in_other_cookies_do_not_hide_the_session() {
    let server = Server::start(named("__Host-sid"), handler).await;
    let real = login(&server, "__Host-sid", "victim", "").await;
    assert_eq!(
        ask(&server, "/read", &format!("a=\"; {real}; z=\"")).await,
        "victim"
    );
}

#[tokio::test]
async fn p3_quotes_in_other_cookies_do_not_keep_a_session_from_its_logout() {
    let server = Server::start(named("__Host-sid"), handler).await;
    let real = login(&server, "__Host-sid", "victim", "").await;
    ask(&server, "/logout", &format!("a=\"; {real}; z=\"")).await;
    assert_eq!(
        ask(&server, "/read", &real).await,
        "nobody",
        "200 for a logout that ended nothing"
    );
}

/// Also the page that lived without its session is another one with it.
#[tokio::test]
async fn a_response_after_a_failed_load_varies_by_cookie() {
    let failing = Failing::new(MemoryBackend::new());
    failing.fail(0..=9, When::Before);
    let server = Server::start(Arc::new(KeyedStorage::new(failing)), handler).await;
    let cookie = format!("{DEFAULT_NAME}=0123456789abcdef0123456789abcdef");
    let response = server.get("/swallow", &[cookie.as_bytes()]).await;
    assert_eq!(response.status(), 200);
    assert!(
        response.headers().contains_key("vary"),
        "{:?}",
        response.headers()
    );
}

/// A client may name any key that begins like a session's.
#[tokio::test]
async fn a_value_of_another_program_in_redis_stays_at_a_login() {
    let (redis, server, key) = foreign().await;
    login(&server, "shop", "victim", "shop=articles-by-country").await;
    assert!(exists(&redis, key).await, "a client deleted it");
}

#[tokio::test]
async fn a_value_of_another_program_in_redis_stays_at_a_logout() {
    let (redis, server, key) = foreign().await;
    let own = login(&server, "shop", "mallory", "").await;
    ask(
        &server,
        "/logout",
        &format!("{own}; shop=articles-by-country"),
    )
    .await;
    assert!(exists(&redis, key).await, "a client deleted it");
}

async fn foreign() -> (RedisServer, Server, &'static str) {
    let redis = RedisServer::start();
    let cookie = CookieSettings::builder("shop").build().unwrap();
    let storage = session_redis::RedisStorage::connect(&redis.url())
        .await
        .unwrap()
        .with_cookie(cookie);
    let server = Server::start(Arc::new(storage), handler).await;
    let key = "shop_articles-by-country";
    let _: String = redis.ask(&format!("SET {key} 12345")).await;
    assert_eq!(
        ask(&server, "/logout", "shop=articles-by-country").await,
        "nobody"
    );
    assert!(exists(&redis, key).await, "alone it does stay");
    (redis, server, key)
}

async fn exists(redis: &RedisServer, key: &str) -> bool {
    redis.ask(&format!("EXISTS {key}")).await
}
