//! The sessions of a user, with the real aiohttp_session beside us on one store.

use serde_json::Value;
use session_tests::real::KINDS;

use crate::client::Pair;

async fn listed(pair: &Pair, cookie: &str) -> usize {
    let cookie = Some(cookie.to_owned());
    let response = pair.parity("GET", "/sessions", cookie, "").await;
    assert_eq!(response.status, 200, "{}", response.body);
    let body: Value = serde_json::from_str(&response.body).unwrap();
    body["sessions"].as_array().unwrap().len()
}

/// A session that Python created is listed from its first save here. A write of Python does not
/// unlist it. Ended here, it is ended there.
#[tokio::test]
async fn p11_a_session_of_python_is_listed_and_ended() {
    for kind in KINDS {
        let pair = Pair::start_with(kind, Some(3600), &["--user-index", "user"]);
        let ours = pair.parity("POST", "/login", None, "").await;
        let theirs = pair.oracle("POST", "/login", None, "").await;
        let (ours, theirs) = (ours.pair().unwrap(), theirs.pair().unwrap());
        assert_eq!(listed(&pair, &ours).await, 1, "{kind}: not saved here yet");

        let body = "{\"here\": 1}";
        let saved = pair.parity("POST", "/set", Some(theirs.clone()), body);
        assert_eq!(saved.await.status, 200, "{kind}");
        assert_eq!(listed(&pair, &ours).await, 2, "{kind}: saved here");
        let body = "{\"there\": 2}";
        let saved = pair.oracle("POST", "/set", Some(theirs.clone()), body);
        let wanted = "{\"user\": \"alice\", \"here\": 1, \"there\": 2}";
        assert_eq!(saved.await.data(), wanted, "{kind}");
        assert_eq!(listed(&pair, &ours).await, 2, "{kind}: Python wrote it");

        let ended = pair.parity("POST", "/sessions/end-others", Some(ours.clone()), "");
        assert_eq!(ended.await.body, "{\"ended\": 1}", "{kind}");
        let seen = pair.oracle("GET", "/get", Some(theirs.clone()), "").await;
        assert_eq!(seen.data(), "{}", "{kind}: ended there too");
        let seen = pair.parity("GET", "/get", Some(theirs), "").await;
        assert_eq!(seen.data(), "{}", "{kind}");
        assert_eq!(listed(&pair, &ours).await, 1, "{kind}");
    }
}

/// A logout in Python is no session any more in the list here.
#[tokio::test]
async fn a_logout_in_python_takes_the_session_off_the_list() {
    for kind in KINDS {
        let pair = Pair::start_with(kind, Some(3600), &["--user-index", "user"]);
        let one = pair
            .parity("POST", "/login", None, "")
            .await
            .pair()
            .unwrap();
        let other = pair
            .parity("POST", "/login", None, "")
            .await
            .pair()
            .unwrap();
        assert_eq!(listed(&pair, &one).await, 2, "{kind}");
        pair.oracle("POST", "/invalidate", Some(other), "").await;
        assert_eq!(listed(&pair, &one).await, 1, "{kind}");
    }
}
