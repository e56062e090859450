//! Which calls cookies cost in the store, and cookies whose session has ended there.

use http::StatusCode;
use session_core::{DEFAULT_NAME, Identity};
use session_tests::server::{pair, set_cookies};
use session_tests::stores::Calls;

use crate::subject::{Kind, Subject, reads};
use crate::suite::{
    UNKNOWN, assert_found, assert_is_over, assert_new, assert_stands_for_none, get_value, login,
    sha256,
};

/// How many distinct identities of a request are looked up.
const MAX_CANDIDATES: usize = 8;

#[tokio::test]
async fn p12_a_session_that_was_logged_out_or_renewed_is_empty_and_takes_no_write() {
    for kind in Kind::KEYED {
        for path in ["/logout", "/renew", "/login"] {
            let server = Subject::new(kind).await.serve().await;
            let stale = login(&server).await;
            let response = server.get(path, &[stale.as_bytes()]).await;
            assert_found(&response, path);
            assert_is_over(&server, path, &[stale.as_bytes()]).await;
            if path != "/logout" {
                let next = pair(&set_cookies(&response, DEFAULT_NAME)[0]).to_owned();
                assert_found(&server.get("/read", &[next.as_bytes()]).await, path);
                let both = format!("{stale}; {next}");
                assert_found(&server.get("/read", &[both.as_bytes()]).await, path);
            }
        }
    }
}

/// The documented limit of a session that lives in its cookie: a copy cannot be recalled.
#[tokio::test]
async fn a_copy_of_a_cookie_that_holds_its_session_outlives_the_logout() {
    for kind in [Kind::simple, Kind::fernet, Kind::nacl] {
        let server = Subject::new(kind).await.serve().await;
        let copy = login(&server).await;
        let response = server.get("/logout", &[copy.as_bytes()]).await;
        assert_eq!(set_cookies(&response, DEFAULT_NAME).len(), 1);
        assert_found(&server.get("/read", &[copy.as_bytes()]).await, "a copy");
    }
}

#[tokio::test]
async fn p7_a_malformed_identity_costs_no_backend_call_and_an_unknown_one_a_read() {
    for kind in Kind::KEYED {
        let subject = Subject::new(kind).await;
        let server = subject.serve().await;
        for malformed in [
            "",
            "a",
            "a b",
            "../../etc/passwd",
            "null",
            "{}",
            "[]",
            "1e999",
            "é☃",
            "0123456789abcde",
            "0011223344556677 8899aabbccddeeff",
            "00112233445566778899aabbccddeef\r\nflush_all\r\n",
            "00112233445566778899aabbccddeef\0",
            "*00112233445566778899aabbccddee",
            &"0".repeat(129),
            &"[".repeat(65536),
            // One with a `_` could be the end of another cookie name.
            "prefs_00112233445566778899aabbccddeeff",
            &"_".repeat(128),
        ] {
            assert_new(&get_value(&server, malformed).await, malformed);
            assert_eq!(subject.take_calls(), reads(0), "{malformed:?}");
        }
        for unknown in [
            UNKNOWN,
            &UNKNOWN.to_uppercase(),
            "----------------",
            &"-".repeat(128),
        ] {
            assert_new(&get_value(&server, unknown).await, unknown);
            assert_eq!(subject.take_calls(), reads(1), "{unknown}");
        }
    }
}

#[tokio::test]
async fn p4_identities_that_clients_make_up_leave_nothing_in_the_store() {
    for kind in Kind::KEYED {
        let subject = Subject::new(kind).await;
        let server = subject.serve().await;
        for _ in 0..3 {
            login(&server).await;
        }
        subject.take_calls();
        for _ in 0..1000 {
            let made_up = Identity::random().unwrap();
            assert_new(&get_value(&server, made_up.as_str()).await, "made up");
        }
        assert_eq!(subject.take_calls(), reads(1000));
        assert_eq!(subject.keys(), 3);
    }
}

#[tokio::test]
async fn p7_more_than_eight_cookies_of_the_name_cost_at_most_eight_reads() {
    for kind in Kind::KEYED {
        let subject = Subject::new(kind).await;
        let server = subject.serve().await;
        let cookie = |at: usize| format!("{DEFAULT_NAME}={at:032x}");
        let all: Vec<String> = (0..100).map(cookie).collect();
        let joined = all.join("; ");
        let lines: Vec<&[u8]> = all.iter().take(50).map(String::as_bytes).collect();
        let most = reads(MAX_CANDIDATES);
        assert_new(&server.get("/read", &[joined.as_bytes()]).await, "one line");
        assert_eq!(subject.take_calls(), most);
        assert_new(&server.get("/read", &lines).await, "lines");
        assert_eq!(subject.take_calls(), most);
        assert_new(&server.get_http2("/read", &lines).await, "crumbs");
        assert_eq!(subject.take_calls(), most);
        let response = server.get("/login", &lines).await;
        assert_eq!(response.status(), StatusCode::OK);
        // The handler loads before it logs in. The login then leaves a tombstone for each of the
        // eight. A real server counts those as creates.
        let is_real = matches!(kind, Kind::redis | Kind::memcached);
        let end = if is_real { 0 } else { MAX_CANDIDATES };
        let expected = Calls {
            read: 2 * MAX_CANDIDATES,
            create: 1 + MAX_CANDIDATES - end,
            update: 0,
            end,
        };
        assert_eq!(subject.take_calls(), expected, "{kind:?}");
    }
}

/// A reader of the store has the digests. They do not work as cookies.
#[tokio::test]
async fn p7_the_digest_of_an_identity_is_not_an_identity() {
    let subject = Subject::new(Kind::hashed).await;
    let server = subject.serve().await;
    let good = login(&server).await;
    let digest = sha256(good.split_once('=').unwrap().1);
    assert_stands_for_none(
        &server,
        "digest",
        &[format!("{DEFAULT_NAME}={digest}").as_bytes()],
    )
    .await;
}
