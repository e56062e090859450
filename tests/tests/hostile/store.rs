//! What the store is asked, and what is stale there.

use http::StatusCode;
use session_core::{DEFAULT_NAME, Identity, MAX_CANDIDATES};
use session_tests::server::{pair, set_cookies};

use crate::subject::{Kind, Subject};
use crate::{UNKNOWN, assert_found, assert_new, assert_stands_for_none, get_value, login, sha256};

#[tokio::test]
async fn p7_a_session_that_was_logged_out_or_renewed_is_an_empty_new_one() {
    for kind in Kind::KEYED {
        for path in ["/logout", "/renew", "/login"] {
            let server = Subject::new(kind).await.serve().await;
            let stale = login(&server).await;
            let answer = server.get(path, &[stale.as_bytes()]).await;
            assert_found(&answer, path);
            assert_stands_for_none(&server, path, &[stale.as_bytes()]).await;
            if path != "/logout" {
                let next = pair(&set_cookies(&answer, DEFAULT_NAME)[0]).to_owned();
                assert_found(&server.get("/read", &[next.as_bytes()]).await, path);
                let both = format!("{stale}; {next}");
                assert_found(&server.get("/read", &[both.as_bytes()]).await, path);
            }
        }
    }
}

/// The documented limit of a session that lives in its cookie: nothing can recall a copy.
#[tokio::test]
async fn a_copy_of_a_cookie_that_holds_its_session_outlives_the_logout() {
    for kind in [Kind::simple, Kind::fernet, Kind::nacl] {
        let server = Subject::new(kind).await.serve().await;
        let copy = login(&server).await;
        let answer = server.get("/logout", &[copy.as_bytes()]).await;
        assert_eq!(set_cookies(&answer, DEFAULT_NAME).len(), 1);
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
            assert_eq!(subject.take_counts(), [0, 0, 0, 0], "{malformed:?}");
        }
        for unknown in [
            UNKNOWN,
            &UNKNOWN.to_uppercase(),
            "----------------",
            &"-".repeat(128),
        ] {
            assert_new(&get_value(&server, unknown).await, unknown);
            assert_eq!(subject.take_counts(), [1, 0, 0, 0], "{unknown}");
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
        subject.take_counts();
        for _ in 0..1000 {
            let made_up = Identity::random().unwrap();
            assert_new(&get_value(&server, made_up.as_str()).await, "made up");
        }
        assert_eq!(subject.take_counts(), [1000, 0, 0, 0]);
        assert_eq!(subject.records(), 3);
    }
}

#[tokio::test]
async fn p7_more_than_four_cookies_of_the_name_cost_at_most_four_reads() {
    for kind in Kind::KEYED {
        let subject = Subject::new(kind).await;
        let server = subject.serve().await;
        let cookie = |at: usize| format!("{DEFAULT_NAME}={at:032x}");
        let all: Vec<String> = (0..100).map(cookie).collect();
        let joined = all.join("; ");
        let lines: Vec<&[u8]> = all.iter().take(50).map(String::as_bytes).collect();
        let most = [MAX_CANDIDATES, 0, 0, 0];
        assert_new(&server.get("/read", &[joined.as_bytes()]).await, "one line");
        assert_eq!(subject.take_counts(), most);
        assert_new(&server.get("/read", &lines).await, "lines");
        assert_eq!(subject.take_counts(), most);
        assert_new(&server.get_http2("/read", &lines).await, "crumbs");
        assert_eq!(subject.take_counts(), most);
        let answer = server.get("/login", &lines).await;
        assert_eq!(answer.status(), StatusCode::OK);
        let [reads, creates, replaces, deletes] = subject.take_counts();
        assert_eq!(creates, 1);
        // The handler loads before it logs in. A compare-and-delete is to Redis what a
        // compare-and-set is, to memcached a read, as there is nothing.
        assert!(
            reads + replaces + deletes <= 2 * MAX_CANDIDATES,
            "a login ends what the client had: {reads}, {replaces}, {deletes}"
        );
    }
}

/// Whoever reads the store has the digests, and they open nothing.
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
