//! P11: no slower request of another process brings back a session that ended with all others of
//! its user. A gate holds the slower request.

use tokio::task::JoinSet;

use crate::pair::{A, B, Pair, TestResponse};

/// What a slower request does. A login is no slower request of an old session.
const CHANGES: [&str; 6] = [
    "/set/slow/1",
    "/remove/k",
    "/touch",
    "/renew",
    "/clear",
    "/set/account/other",
];

/// Logs `account` in; returns the cookie.
async fn log_in(pair: &Pair, account: &str) -> String {
    let response = pair.ask(A, None, &format!("/login-as/{account}")).await;
    let cookie = response.cookie().unwrap();
    let response = pair.ask(B, Some(&cookie), "/set/k/1").await;
    assert_eq!(response.status, 200);
    cookie
}

async fn number(pair: &Pair, cookie: &str, path: &str) -> usize {
    let response = pair.ask(B, Some(cookie), path).await;
    assert_eq!(response.status, 200, "{path}");
    response.body.parse().unwrap()
}

in_both_stores! {
    p11_an_end_of_all_wins_over_every_slower_request,
    p11_the_kept_session_stays_although_it_is_renewed,
    p11_an_end_of_all_wins_whatever_runs_at_that_moment,
}

async fn p11_an_end_of_all_wins_over_every_slower_request(pair: &Pair) {
    for gate in ["/hold/1", "/hold/saving", "/hold/saved"] {
        for slow in CHANGES {
            let case = format!("{slow} stood at {gate}");
            let (old, other) = (log_in(pair, "alice").await, log_in(pair, "alice").await);
            pair.order(A, gate).await;
            let request = pair.start(A, &old, slow);
            pair.order(A, "/reached").await;
            let ended = number(pair, &other, "/end-all").await;
            pair.order(A, "/open").await;
            let told = request.await.unwrap();
            if told.status == 409 {
                told.assert_refused(409);
            } else {
                // It was saved before the end, and its response came after it.
                assert_eq!((told.status, gate), (200, "/hold/saved"), "{case}");
            }
            println!("{case}: {ended} ended, {}", told.status);
            for cookie in [Some(&old), Some(&other), told.cookie().as_ref()] {
                let keys = pair.keys(cookie).await;
                let is_of_another = slow == "/set/account/other" && keys.is_some();
                assert!(keys.is_none() || is_of_another, "{case}: {keys:?}");
            }
            let next = log_in(pair, "alice").await;
            assert_eq!(number(pair, &next, "/list").await, 1, "{case}");
            assert_eq!(number(pair, &next, "/end-all").await, 1, "{case}");
        }
    }
}

async fn p11_the_kept_session_stays_although_it_is_renewed(pair: &Pair) {
    for gate in ["/hold/1", "/hold/saving", "/hold/saved"] {
        let (kept, other) = (log_in(pair, "alice").await, log_in(pair, "alice").await);
        // Loaded before the renewal.
        pair.order(B, "/hold/1").await;
        let ends = pair.start(B, &kept, "/end-others");
        pair.order(B, "/reached").await;
        pair.order(A, gate).await;
        let renewal = pair.start(A, &kept, "/renew");
        pair.order(A, "/reached").await;
        pair.order(B, "/open").await;
        let ended = ends.await.unwrap();
        assert_eq!((ended.status, &*ended.body), (200, "1"), "{gate}");
        pair.order(A, "/open").await;
        let renewed = renewal.await.unwrap();
        assert_eq!(renewed.status, 200, "{gate}");
        let next = renewed.cookie().unwrap();
        assert_eq!(pair.keys(Some(&next)).await.unwrap(), ["account", "k"]);
        assert_eq!(pair.keys(Some(&other)).await, None);
        assert_eq!(number(pair, &next, "/end-all").await, 1, "{gate}");
    }
}

/// Nothing is held: writers and renewals of many sessions, and logins, through both processes.
async fn p11_an_end_of_all_wins_whatever_runs_at_that_moment(pair: &Pair) {
    for run in 0..crate::runs(5) {
        let mut cookies = Vec::new();
        for _ in 0..6 {
            cookies.push(log_in(pair, "alice").await);
        }
        let mut requests = JoinSet::new();
        for (at, cookie) in cookies.iter().enumerate() {
            for (process, path) in [(A, "/renew"), (B, "/set/slow/1"), (A, "/touch")] {
                let (pair, cookie) = (pair.clone(), cookie.clone());
                let process = (process + at) % 2;
                requests.spawn(async move { pair.ask(process, Some(&cookie), path).await });
            }
        }
        let admin = log_in(pair, "alice").await;
        let ends = pair.start(B, &admin, "/end-all");
        for process in [A, B] {
            let pair = pair.clone();
            requests.spawn(async move { pair.ask(process, None, "/login-as/alice").await });
        }
        let responses = requests.join_all().await;
        assert_eq!(ends.await.unwrap().status, 200);
        cookies.extend(responses.iter().filter_map(TestResponse::cookie));
        cookies.sort();
        cookies.dedup();
        let mut live = 0;
        for cookie in &cookies {
            let keys = pair.keys(Some(cookie)).await.unwrap_or_default();
            // Only a login at that moment may have come after the end.
            assert!(!keys.contains(&"k".to_owned()), "run {run}: {keys:?}");
            live += usize::from(!keys.is_empty());
        }
        let next = log_in(pair, "alice").await;
        assert_eq!(number(pair, &next, "/list").await, live + 1, "run {run}");
        assert_eq!(number(pair, &next, "/end-all").await, live + 1, "run {run}");
    }
}
