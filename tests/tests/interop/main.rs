//! P1, live: clients wander between the real aiohttp_session and our parity program.
//!
//! `SESSION_TEST_SEED=N` walks other ways than the usual ones.

#![allow(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    missing_docs,
    reason = "tests"
)]

mod client;
mod keyed;
mod model;
mod random;
mod walk;

use client::Pair;
use session_tests::vectors::KINDS;

#[tokio::test]
async fn p1_simple_sessions_wander() {
    walk::walk("simple", None).await;
}

#[tokio::test]
async fn p1_simple_sessions_with_a_lifetime_wander() {
    walk::walk("simple", Some(3600)).await;
}

#[tokio::test]
async fn p1_fernet_sessions_wander() {
    walk::walk("fernet", None).await;
}

#[tokio::test]
async fn p1_fernet_sessions_with_a_lifetime_wander() {
    walk::walk("fernet", Some(3600)).await;
}

#[tokio::test]
async fn p1_nacl_sessions_wander() {
    walk::walk("nacl", None).await;
}

#[tokio::test]
async fn p1_nacl_sessions_with_a_lifetime_wander() {
    walk::walk("nacl", Some(3600)).await;
}

#[tokio::test]
async fn p1_redis_sessions_wander() {
    keyed::walk("redis", None).await;
}

#[tokio::test]
async fn p1_redis_sessions_with_a_lifetime_wander() {
    keyed::walk("redis", Some(3600)).await;
}

#[tokio::test]
async fn p1_memcached_sessions_wander() {
    keyed::walk("memcached", None).await;
}

#[tokio::test]
async fn p1_memcached_sessions_with_a_lifetime_wander() {
    keyed::walk("memcached", Some(3600)).await;
}

#[tokio::test]
async fn p1_memcached_sessions_with_a_lifetime_over_thirty_days_wander() {
    keyed::walk("memcached", Some(2_592_001)).await;
}

#[tokio::test]
async fn p1_what_no_rust_string_holds_survives_our_write() {
    for kind in KINDS {
        let pair = Pair::start(kind, None);
        let body = "{\"\\ud83d\": [\"\\udc00\"], \"n\": 1234567890123456789012345678901234567890}";
        let theirs = pair.oracle("POST", "/set", None, body).await;
        let ours = pair
            .parity("POST", "/set", theirs.pair(), "{\"w\": 1}")
            .await;
        let seen = pair.oracle("GET", "/get", ours.pair(), "").await;
        let wanted = body.replace('}', ", \"w\": 1}");
        assert_eq!(seen.data(), wanted, "{kind}");
    }
}

#[tokio::test]
async fn what_is_not_json_is_a_new_session_here_and_stays_one_there() {
    for kind in KINDS {
        let pair = Pair::start(kind, None);
        let theirs = pair.oracle("POST", "/set", None, "{\"a\": NaN}").await;
        let seen = pair.oracle("GET", "/get", theirs.pair(), "").await;
        assert_eq!(seen.data(), "{\"a\": NaN}", "{kind}");
        let ours = pair.parity("GET", "/get", theirs.pair(), "").await;
        assert_eq!((ours.status, &*ours.data()), (200, "{}"), "{kind}");
        assert!(ours.body.starts_with("{\"new\": true, "), "{kind}");
    }
}

#[tokio::test]
async fn the_two_programs_refuse_alike_what_they_do_not_serve() {
    let pair = Pair::start("simple", None);
    for (method, path, status) in [
        ("GET", "/", 404),
        ("GET", "/set", 405),
        ("POST", "/get", 405),
        ("GET", "/delete/a", 405),
        ("POST", "/delete/", 404),
        ("POST", "/delete/a/b", 404),
        ("HEAD", "/get", 200),
        ("POST", "/set", 500),
    ] {
        let theirs = pair.oracle(method, path, None, "").await;
        let ours = pair.parity(method, path, None, "").await;
        let parts = (theirs.status, &theirs.content_type, &theirs.allow);
        assert_eq!(parts.0, status, "{method} {path}");
        let parts_of_ours = (ours.status, &ours.content_type, &ours.allow);
        assert_eq!(parts_of_ours, parts, "{method} {path}");
    }
}
