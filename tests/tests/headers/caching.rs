//! What a shared cache learns from a response: `Vary` and `Cache-Control`.

use std::sync::Arc;
use std::time::SystemTime;

use http::Request;
use http::header::{CACHE_CONTROL, SET_COOKIE, VARY};
use hyper::body::Incoming;
use session_core::{
    CookieSettings, DEFAULT_NAME, ManualClock, MemoryBackend, MemoryStorage, RequestSession,
    Result, Session, Storage,
};
use session_tests::logs::Logs;
use session_tests::server::TestResponse;

use crate::ADAPTER;
use crate::app::{
    Headers, one_cookie, page, read, saved, seconds, serve, storages, storages_and_updates, stored,
    values, write,
};

#[tokio::test]
async fn vary_names_the_cookie_once_whatever_the_handler_said() {
    for (own, expected) in [
        (&[][..], &["Cookie"][..]),
        (&[("vary", "Accept")], &["Accept", "Cookie"]),
        (&[("vary", "accept, cookie")], &["accept, cookie"]),
        (
            &[("vary", "Accept"), ("vary", "COOKIE")],
            &["Accept", "COOKIE"],
        ),
        (&[("vary", "*")], &["*"]),
        (&[("vary", "Cookie-Consent")], &["Cookie-Consent", "Cookie"]),
        (&[("vary", "")], &["", "Cookie"]),
    ] {
        for act in [read, write] {
            let server = serve(Arc::new(MemoryStorage::default()), act, 200, own).await;
            assert_eq!(values(&server.get("/", &[]).await, "vary"), expected);
        }
    }
}

#[tokio::test]
async fn a_response_that_sets_the_cookie_is_not_stored_unless_the_handler_allows_it() {
    let quiet: Headers = &[];
    let private: Headers = &[("cache-control", "private, max-age=60")];
    let set: &[&str] = &["no-store"];
    for (storage, updates_set) in storages_and_updates() {
        for (own, act, is_logged_in, expected) in [
            (quiet, write as fn(&Session) -> Result<()>, false, set),
            // If the update does not send the cookie, a cache may store the response.
            (quiet, write, true, if updates_set { set } else { &[] }),
            (quiet, read, true, &[]),
            (private, write, false, &["private, max-age=60"]),
            (private, write, true, &["private, max-age=60"]),
            (private, read, true, &["private, max-age=60"]),
            // Also if the cookie is removed, or gets another value.
            (quiet, Session::invalidate, true, set),
        ] {
            let cookie = saved(&storage).await;
            let cookies = [cookie.as_bytes()];
            let server = serve(storage.clone(), act, 200, own).await;
            let response = server.get("/", &cookies[..usize::from(is_logged_in)]).await;
            assert_eq!(values(&response, "cache-control"), expected, "{storage:?}");
        }
    }
}

/// Sends one request to a handler that does `act` and sets `headers`.
async fn respond(
    storage: &Arc<dyn Storage>,
    act: fn(&Session) -> Result<()>,
    headers: Headers,
    cookie: String,
) -> TestResponse {
    let server = serve(storage.clone(), act, 200, headers).await;
    server.get("/", &[cookie.as_bytes()]).await
}

/// What a handler sets that lets every cache store the response.
const PUBLIC: Headers = &[("cache-control", "public, max-age=60")];

#[tokio::test]
async fn a_public_response_becomes_private_where_the_session_is_written() {
    for storage in storages() {
        let (logs, _capture) = Logs::capture();
        let respond = |act, cookie| respond(&storage, act, PUBLIC, cookie);
        let written = respond(write, String::new()).await;
        assert_eq!(values(&written, "cache-control"), ["private, max-age=60"]);
        assert!(logs.text().contains("response is private now"));
        let cookie = one_cookie(&written);
        let was_read = respond(read, cookie.clone()).await;
        assert!(!was_read.headers().contains_key(SET_COOKIE));
        assert_eq!(values(&was_read, "cache-control"), ["public, max-age=60"]);
        let ended = respond(Session::invalidate, cookie).await;
        assert_eq!(one_cookie(&ended), "AIOHTTP_SESSION=\"\"");
        assert_eq!(values(&ended, "cache-control"), ["private, max-age=60"]);
    }
}

/// A content delivery network obeys this one, whatever Cache-Control says (RFC 9213).
const FOR_A_CDN: Headers = &[
    ("cache-control", "no-store"),
    ("cdn-cache-control", "max-age=60"),
];

#[tokio::test]
async fn a_response_for_a_cdn_is_not_stored_there_where_the_session_is_written() {
    for storage in storages() {
        let (logs, _capture) = Logs::capture();
        let respond = |act, cookie| respond(&storage, act, FOR_A_CDN, cookie);
        let written = respond(write, String::new()).await;
        assert_eq!(values(&written, "cdn-cache-control"), ["no-store"]);
        assert_eq!(values(&written, "cache-control"), ["no-store"]);
        assert!(logs.text().contains("response is private now"));
        let was_read = respond(read, one_cookie(&written)).await;
        assert_eq!(values(&was_read, "cdn-cache-control"), ["max-age=60"]);
    }
}

#[tokio::test]
async fn a_read_with_a_public_response_does_not_restart_the_lifetime() {
    let clock = ManualClock::at(SystemTime::now());
    let settings = CookieSettings::builder(DEFAULT_NAME)
        .max_age(seconds(60))
        .rolling(true);
    let storage = MemoryStorage::new(MemoryBackend::new().with_clock(clock.clone()))
        .with_cookie(settings.build().unwrap())
        .with_clock(clock.clone());
    let storage: Arc<dyn Storage> = Arc::new(storage);
    for headers in [PUBLIC, FOR_A_CDN] {
        let cookie = saved(&storage).await;
        clock.advance(seconds(30));
        let server = serve(storage.clone(), read, 200, headers).await;
        let response = server.get("/", &[cookie.as_bytes()]).await;
        assert!(!response.headers().contains_key(SET_COOKIE));
        for (name, value) in headers {
            assert_eq!(values(&response, name), [*value]);
        }
        clock.advance(seconds(31));
        assert_eq!(stored(&storage, &cookie).await, None);
    }
}

#[tokio::test]
async fn p9_a_request_that_does_not_ask_for_its_session_has_no_header_of_it() {
    for storage in storages() {
        let cookie = saved(&storage).await;
        let server = ADAPTER.start(storage, |_| async { page(200, &[]) }).await;
        for cookies in [&[][..], &[cookie.as_bytes()], &[b"AIOHTTP_SESSION=\xff"]] {
            let response = server.get("/", cookies).await;
            for name in [SET_COOKIE, VARY, CACHE_CONTROL] {
                assert!(!response.headers().contains_key(&name), "{name}");
            }
        }
    }
}

#[tokio::test]
async fn p9_a_request_that_only_reads_sets_no_cookie() {
    for storage in storages() {
        let cookie = saved(&storage).await;
        let server = serve(storage, read, 200, &[]).await;
        for cookies in [&[][..], &[cookie.as_bytes()], &[b"AIOHTTP_SESSION=bad"]] {
            let response = server.get("/", cookies).await;
            assert!(!response.headers().contains_key(SET_COOKIE));
            assert_eq!(values(&response, "vary"), ["Cookie"]);
        }
    }
}

/// The handler has asked for its session, so the response depends on the cookie.
#[tokio::test]
async fn a_load_that_the_handler_gave_up_on_still_varies() {
    let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::default());
    let server = ADAPTER
        .start(storage, |request: Request<Incoming>| async move {
            drop(request.session());
            page(200, &[])
        })
        .await;
    assert_eq!(values(&server.get("/", &[]).await, "vary"), ["Cookie"]);
}
