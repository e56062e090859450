//! P12: a login stays. A request with the cookie that a login or a renewal has just replaced cannot
//! replace the new cookie.

use std::sync::{Arc, Mutex};

use tokio::task::JoinSet;

use crate::pair::{A, B, Pair, TestResponse};
use crate::runs;

/// What gives the client another cookie.
const REPLACEMENTS: [&str; 2] = ["/login", "/renew"];

/// The keys of the client's session after a replacement.
fn keys_after(replacement: &str) -> &'static [&'static str] {
    match replacement {
        "/login" => &["user"],
        _ => &["k", "other"],
    }
}

/// A request with the old cookie loads after the new one was acknowledged, through either process.
async fn p12_a_write_with_a_replaced_cookie_is_refused(pair: &Pair) {
    for replacement in REPLACEMENTS {
        for [first, second] in [[A, A], [A, B]] {
            let old = pair.client().await;
            let replaced = pair.ask(first, Some(&old), replacement).await;
            let new = replaced.cookie().unwrap();
            for poll in ["/set/poll/1", "/renew"] {
                let response = pair.ask(second, Some(&old), poll).await;
                println!("{poll} after {replacement}: {response:?}");
                response.assert_refused(409);
            }
            // What writes nothing sees an empty session and leaves the cookie alone.
            for poll in ["/read", "/touch", "/remove/k", "/clear", "/empty"] {
                let response = pair.ask(second, Some(&old), poll).await;
                assert_eq!(response.session(), None, "{poll} after {replacement}");
            }
            let keys = pair.keys(Some(&new)).await.unwrap();
            assert_eq!(keys, keys_after(replacement));
        }
    }
}

/// A request that had loaded the session when the replacement was acknowledged, and saves after it.
async fn p12_a_write_that_loaded_before_the_replacement_is_refused(pair: &Pair) {
    for replacement in REPLACEMENTS {
        for gate in ["/hold/1", "/hold/saving"] {
            let old = pair.client().await;
            pair.order(A, gate).await;
            let poll = pair.start(A, &old, "/set/poll/1");
            pair.order(A, "/reached").await;
            let new = pair.ask(B, Some(&old), replacement).await.cookie().unwrap();
            pair.order(A, "/open").await;
            poll.await.unwrap().assert_refused(409);
            let keys = pair.keys(Some(&new)).await.unwrap();
            assert_eq!(keys, keys_after(replacement));
        }
    }
}

/// A logout with the old cookie leaves a login alone, and ends a renewed session, which is the one
/// that it was meant for.
async fn p12_a_logout_with_a_replaced_cookie_ends_only_its_own_session(pair: &Pair) {
    for process in [A, B] {
        let old = pair.client().await;
        let new = pair.ask(A, Some(&old), "/login").await.cookie().unwrap();
        let logout = pair.ask(process, Some(&old), "/logout").await;
        assert_eq!((logout.status, logout.set_cookie), (200, None));
        assert_eq!(pair.keys(Some(&new)).await.unwrap(), ["user"]);
        let restart = pair.ask(process, Some(&old), "/restart").await;
        restart.assert_refused(409);
        assert_eq!(pair.keys(Some(&new)).await.unwrap(), ["user"]);

        let old = pair.client().await;
        let new = pair.ask(A, Some(&old), "/renew").await.cookie().unwrap();
        let logout = pair.ask(process, Some(&old), "/logout").await;
        assert_eq!((logout.status, logout.cookie()), (200, None));
        assert!(logout.set_cookie.is_some(), "the cookie is removed");
        assert_eq!(pair.session(&new).await, None);
    }
}

/// A login with a cookie that was replaced before is a login. It ends what the cookie leads to.
async fn p12_a_login_with_a_replaced_cookie_is_a_login(pair: &Pair) {
    for replacement in REPLACEMENTS {
        let old = pair.client().await;
        let first = pair.ask(A, Some(&old), replacement).await.cookie().unwrap();
        let second = pair.ask(B, Some(&old), "/login").await.cookie().unwrap();
        assert_eq!(pair.keys(Some(&second)).await.unwrap(), ["user"]);
        match replacement {
            "/renew" => assert_eq!(pair.session(&first).await, None),
            // Nothing leads from the old cookie to the other login.
            _ => assert_eq!(pair.keys(Some(&first)).await.unwrap(), ["user"]),
        }
        pair.ask(A, Some(&old), "/set/poll/1")
            .await
            .assert_refused(409);
    }
}

/// One cookie, which every response with a Set-Cookie replaces.
#[derive(Clone)]
struct Browser {
    pair: Pair,
    jar: Arc<Mutex<String>>,
}

impl Browser {
    /// Sends a request with the cookie that the jar holds now.
    async fn ask(&self, process: usize, path: &str) -> TestResponse {
        let cookie = self.cookie();
        let response = self.pair.ask(process, Some(&cookie), path).await;
        if response.set_cookie.is_some() {
            *self.jar.lock().unwrap() = response.cookie().expect("a removal");
        }
        response
    }

    fn cookie(&self) -> String {
        self.jar.lock().unwrap().clone()
    }

    /// Polls twice, each time with a write. Waits for `delay` other requests before that.
    async fn poll(self, process: usize, delay: usize, name: String) -> Vec<u16> {
        for _ in 0..delay {
            self.pair.order(process, "/none").await;
        }
        let mut statuses = Vec::new();
        for turn in 0..2 {
            let response = self.ask(process, &format!("/set/{name}-{turn}/1")).await;
            statuses.push(response.status);
        }
        statuses
    }
}

/// A page polls while the user logs in, or while the session is renewed. The cookies have no
/// Max-Age, so an update does not send them. (With a Max-Age, a response that is on its way when
/// the login is acknowledged still sends the old cookie. No server can prevent that.)
async fn no_login_is_lost(pair: &Pair, replacement: &'static str) {
    let pair = pair.without_max_age();
    let first = pair.ask(A, None, "/set/k/1").await.cookie().unwrap();
    let browser = Browser {
        pair: pair.clone(),
        jar: Arc::new(Mutex::new(first)),
    };
    if replacement == "/renew" {
        assert_eq!(browser.ask(A, "/login").await.status, 200);
    }
    let (mut refused, mut saved) = (0, 0);
    for round in 0..runs(100) {
        let mut polls = JoinSet::new();
        for poll in 0..6 {
            let name = format!("poll-{round}-{poll}");
            polls.spawn(browser.clone().poll([A, B][poll % 2], poll, name));
        }
        for _ in 0..round % 4 {
            pair.order(A, "/none").await;
        }
        let response = browser.ask([B, A][round % 2], replacement).await;
        let new = response.cookie().unwrap();
        let statuses = polls.join_all().await.into_iter().flatten();
        for status in statuses {
            match status {
                200 => saved += 1,
                409 => refused += 1,
                other => panic!("round {round}: {other}"),
            }
        }
        assert_eq!(browser.cookie(), new, "round {round}: the login is lost");
        let keys = pair.keys(Some(&new)).await.unwrap();
        assert!(
            keys.iter().any(|key| key == "user"),
            "round {round}: {keys:?}"
        );
    }
    println!("{replacement}: {saved} polls were saved, {refused} were refused");
    assert!(saved > 0 && refused > 0, "they never met");
}

async fn p12_a_page_that_polls_loses_no_login(pair: &Pair) {
    no_login_is_lost(pair, "/login").await;
}

async fn p12_a_page_that_polls_loses_no_renewal(pair: &Pair) {
    no_login_is_lost(pair, "/renew").await;
}

in_both_stores! {
    p12_a_write_with_a_replaced_cookie_is_refused,
    p12_a_write_that_loaded_before_the_replacement_is_refused,
    p12_a_logout_with_a_replaced_cookie_ends_only_its_own_session,
    p12_a_login_with_a_replaced_cookie_is_a_login,
    p12_a_page_that_polls_loses_no_login,
    p12_a_page_that_polls_loses_no_renewal,
}
