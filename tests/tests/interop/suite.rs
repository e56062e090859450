//! The walks, and what both programs make of certain requests.

use session_core::{CookieChange, CookieSettings};
use session_tests::real;
use session_tests::vectors::{KINDS, NAME};

use crate::client::Pair;
use crate::model::Side;
use crate::{keyed, walk};

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
async fn p3_a_logout_on_either_side_is_a_new_session_on_the_other() {
    for kind in real::KINDS {
        let pair = Pair::start(kind, Some(3600));
        for (there, here) in [(Side::Python, Side::Ours), (Side::Ours, Side::Python)] {
            let login = pair.ask(there, "POST", "/login", None, "").await.pair();
            let seen = pair.ask(here, "GET", "/get", login.clone(), "").await;
            assert_eq!(seen.data(), "{\"user\": \"alice\"}", "{kind}");
            let out = pair
                .ask(there, "POST", "/invalidate", login.clone(), "")
                .await;
            assert!(out.set_cookie.is_some_and(|cookie| cookie.is_removal()));
            // Our own logout is remembered for a minute, Python's is not.
            let ours = if there == Side::Ours { 409 } else { 200 };
            keyed::is_over(&pair, login.as_ref(), ours).await;
        }
    }
}

/// What we leave in place of a session that moved is an ended session to Python, too.
#[tokio::test]
async fn p4_a_session_that_we_renewed_is_over_for_python_under_its_old_identity() {
    for kind in real::KINDS {
        let pair = Pair::start(kind, Some(3600));
        let old = pair.oracle("POST", "/login", None, "").await.pair();
        let hour = std::time::Duration::from_secs(3600);
        let cookie = CookieSettings::builder(NAME).max_age(hour).build().unwrap();
        let storage = pair.store().storage(cookie, None, false).await;
        let value = |pair: &Option<String>| pair.as_ref().unwrap()[NAME.len() + 1..].to_owned();
        let session = storage.load(&[&value(&old)]).await.unwrap();
        session.renew().unwrap();
        let CookieChange::Set { value: new, .. } = storage.save(&session).await.unwrap() else {
            panic!("a renewal sets the cookie")
        };
        keyed::is_over(&pair, old.as_ref(), 409).await;
        let moved = pair
            .oracle("GET", "/get", Some(format!("{NAME}={new}")), "")
            .await;
        assert_eq!(moved.data(), "{\"user\": \"alice\"}", "{kind}");
    }
}

/// The last key is removed here. Python goes on with the session, if it writes. Here it is a new
/// one.
#[tokio::test]
async fn a_session_that_we_emptied_goes_on_in_python_and_moves_with_us() {
    for kind in real::KINDS {
        for side in [Side::Python, Side::Ours] {
            let pair = Pair::start(kind, Some(3600));
            let cookie = pair.oracle("POST", "/login", None, "").await.pair();
            let emptied = pair
                .parity("POST", "/delete/user", cookie.clone(), "")
                .await;
            assert_eq!(emptied.pair(), cookie, "{kind}: the cookie stays");
            let seen = pair.oracle("GET", "/get", cookie.clone(), "").await;
            assert_eq!((&*seen.data(), seen.view().unwrap().0), ("{}", false));
            let seen = pair.parity("GET", "/get", cookie.clone(), "").await;
            assert_eq!((&*seen.data(), seen.view().unwrap().0), ("{}", true));

            let body = "{\"a\": 1}";
            let written = pair.ask(side, "POST", "/set", cookie.clone(), body).await;
            assert_eq!(written.data(), body);
            assert_eq!(written.pair() == cookie, side == Side::Python, "{kind}");
            let seen = pair.oracle("GET", "/get", written.pair(), "").await;
            assert_eq!(seen.data(), body, "{kind}");
            if side == Side::Ours {
                keyed::is_over(&pair, cookie.as_ref(), 409).await;
            }
        }
    }
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
        assert_eq!(ours.status, 200, "{kind}");
        // In a store an update without Max-Age does not send the cookie again.
        let is_quiet = real::KINDS.contains(&kind);
        assert_eq!(ours.pair().is_none(), is_quiet, "{kind}");
        let cookie = ours.pair().or(theirs.pair());
        let seen = pair.oracle("GET", "/get", cookie, "").await;
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
