//! P3 and P12: what each request does that finds a tombstone when it loads.

use crate::pair::{A, B, Pair, TestResponse};

/// What the client's cookie leads to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Found {
    /// A tombstone of a renewal. The session lives under another identity.
    Moved,
    /// A tombstone of a login.
    Replaced,
    /// A tombstone of a logout.
    Ended,
    /// A tombstone of somebody else, such as "log out everywhere".
    Revoked,
    /// What Python leaves of an ended session.
    Python,
    /// Nothing.
    Missing,
}

use Found::{Ended, Missing, Moved, Python, Replaced, Revoked};

const ALL: [Found; 6] = [Moved, Replaced, Ended, Revoked, Python, Missing];

/// Prepares a cookie, and returns it with that of the session which took the old one's place.
async fn cookies(pair: &Pair, found: Found) -> (String, Option<String>) {
    let old = pair.client().await;
    let change = match found {
        Moved => "/renew",
        Replaced => "/login",
        Ended => "/logout",
        Revoked | Python | Missing => {
            let value = match found {
                Revoked => Some("{\n}"),
                Python => Some("{}"),
                _ => None,
            };
            pair.store.put(&old, value).await;
            return (old, None);
        }
    };
    let response = pair.ask(A, Some(&old), change).await;
    assert_eq!(response.status, 200);
    let next = response.cookie();
    (old, next)
}

/// Sends one request with the old cookie through the other process.
async fn request(pair: &Pair, found: Found, path: &str) -> (TestResponse, String, Option<String>) {
    let (old, next) = cookies(pair, found).await;
    let response = pair.ask(B, Some(&old), path).await;
    println!("{path} finds {found:?}: {response:?}");
    (response, old, next)
}

/// Checks that the response starts another session, which holds `keys`.
async fn assert_new_session(pair: &Pair, response: &TestResponse, old: &str, keys: &[&str]) {
    assert_eq!(response.status, 200);
    let new = response.cookie().unwrap();
    assert_ne!(new, old);
    assert_eq!(pair.keys(Some(&new)).await.unwrap(), keys);
    assert_eq!(pair.session(old).await, None);
}

/// The session that took the place of the old one is as it was.
async fn assert_untouched(pair: &Pair, found: Found, next: Option<&String>) {
    let keys: Option<&[&str]> = match found {
        Moved => Some(&["k", "other"]),
        Replaced => Some(&["user"]),
        _ => None,
    };
    let keys = keys.map(|keys| keys.iter().map(ToString::to_string).collect());
    assert_eq!(pair.keys(next).await, keys, "{found:?}");
}

async fn p3_a_request_that_writes_nothing_sees_an_empty_session(pair: &Pair) {
    for found in ALL {
        for path in ["/read", "/touch", "/pass/k", "/remove/k", "/clear"] {
            let (response, old, next) = request(pair, found, path).await;
            assert_eq!(response.session(), None);
            assert_untouched(pair, found, next.as_ref()).await;
            assert_eq!(pair.session(&old).await, None);
        }
    }
}

async fn p12_a_write_and_a_renewal_are_refused_where_a_request_of_the_client_ended_it(pair: &Pair) {
    for found in ALL {
        let is_refused = [Moved, Replaced, Ended].contains(&found);
        let (response, old, next) = request(pair, found, "/set/k/1").await;
        if is_refused {
            response.assert_refused(409);
        } else {
            assert_new_session(pair, &response, &old, &["k"]).await;
        }
        assert_untouched(pair, found, next.as_ref()).await;
        let (response, _, next) = request(pair, found, "/renew").await;
        if is_refused {
            response.assert_refused(409);
        } else {
            // There is nothing to renew.
            assert_eq!(response.session(), None);
        }
        assert_untouched(pair, found, next.as_ref()).await;
    }
}

async fn p3_a_logout_follows_a_renewal_and_leaves_a_login_alone(pair: &Pair) {
    for found in ALL {
        let (response, _, next) = request(pair, found, "/logout").await;
        assert_eq!((response.status, response.cookie()), (200, None));
        assert_eq!(
            response.set_cookie.is_some(),
            found != Replaced,
            "a removal"
        );
        match found {
            Moved => assert_eq!(pair.session(&next.unwrap()).await, None),
            _ => assert_untouched(pair, found, next.as_ref()).await,
        }
    }
}

async fn p3_a_logout_that_starts_a_new_session_follows_a_renewal(pair: &Pair) {
    for found in ALL {
        let (response, old, next) = request(pair, found, "/restart").await;
        match found {
            Replaced | Ended => response.assert_refused(409),
            _ => assert_new_session(pair, &response, &old, &["restarted"]).await,
        }
        match found {
            Moved => assert_eq!(pair.session(&next.unwrap()).await, None),
            _ => assert_untouched(pair, found, next.as_ref()).await,
        }
    }
}

/// A login leaves its tombstone at the key that the cookie names, whatever was there, so that a
/// late request with that cookie cannot replace the login.
async fn p12_a_login_is_a_login_whatever_its_cookie_leads_to(pair: &Pair) {
    for found in ALL {
        let (response, old, next) = request(pair, found, "/login").await;
        assert_new_session(pair, &response, &old, &["user"]).await;
        match found {
            Moved => assert_eq!(pair.session(&next.unwrap()).await, None),
            _ => assert_untouched(pair, found, next.as_ref()).await,
        }
        assert_eq!(pair.store.records().await[&old], "{\t}");
        let late = pair.ask(A, Some(&old), "/set/k/1").await;
        late.assert_refused(409);
        pair.store.clear().await;
    }
}

in_both_stores! {
    p3_a_request_that_writes_nothing_sees_an_empty_session,
    p12_a_write_and_a_renewal_are_refused_where_a_request_of_the_client_ended_it,
    p3_a_logout_follows_a_renewal_and_leaves_a_login_alone,
    p3_a_logout_that_starts_a_new_session_follows_a_renewal,
    p12_a_login_is_a_login_whatever_its_cookie_leads_to,
}
