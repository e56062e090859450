//! P11 against everything else that runs at the same moment. Two requests of two processes are
//! interleaved at each of their await points, before and after each call of the store.

use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use session_core::{ErrorKind, Result, Storage as _, UserSessions};
use session_tests::stores::When;

use crate::app::{App, MINUTE, TestResponse};
use crate::p11::{app, list, login};

/// Polls a future a number of times; `Some` if it ends.
fn poll<T>(mut future: Pin<&mut impl Future<Output = T>>, times: usize) -> Option<T> {
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..times {
        if let Poll::Ready(value) = future.as_mut().poll(&mut context) {
            return Some(value);
        }
    }
    None
}

/// Runs two requests in all interleavings with two changes of turn: the first runs until some await
/// point, then the second until some, then both end, in both orders. `check` gets what each
/// returned, whether the first had returned before the second began, and a text about the turns.
async fn interleaved<A, B>(
    set_up: impl AsyncFn() -> (App, [String; 3]),
    first: impl AsyncFn(App, String) -> A,
    second: impl AsyncFn(App, String) -> B,
    check: impl AsyncFn(&App, &[String; 3], A, B, bool, String),
) {
    for first_polls in 0.. {
        let mut has_first_ended = false;
        for second_polls in 1.. {
            let mut has_second_ended = false;
            for second_ends_first in [true, false] {
                let turns =
                    format!("{first_polls} polls, {second_polls} polls, {second_ends_first}");
                let (app, cookies) = set_up().await;
                let mut one = pin!(first(app.another(), cookies[0].clone()));
                let mut two = pin!(second(app.another(), cookies[1].clone()));
                let ended = poll(one.as_mut(), first_polls);
                let is_first_done = ended.is_some();
                has_first_ended |= is_first_done;
                let other = poll(two.as_mut(), second_polls);
                has_second_ended |= other.is_some();
                let (a, b) = match (ended, other) {
                    (Some(a), Some(b)) => (a, b),
                    (Some(a), None) => (a, two.await),
                    (None, Some(b)) => (one.await, b),
                    (None, None) if second_ends_first => {
                        let b = two.await;
                        (one.await, b)
                    }
                    (None, None) => (one.await, two.await),
                };
                check(&app, &cookies, a, b, is_first_done, turns).await;
            }
            if has_second_ended {
                break;
            }
        }
        if has_first_ended {
            assert!(first_polls > 2, "there were await points");
            return;
        }
    }
}

/// Alice with two sessions that have the key `old`. The third cookie is bob's.
async fn two_sessions() -> (App, [String; 3]) {
    let app = app();
    let cookies = [
        login(&app, "alice").await,
        login(&app, "alice").await,
        login(&app, "bob").await,
    ];
    (app, cookies)
}

async fn end_all(app: &App) -> Result<usize> {
    let sessions = UserSessions::of_user(&app.storage, "alice")?;
    sessions.end_all().await
}

/// No session of alice that was acknowledged before is alive, and every live one is listed.
async fn all_old_are_dead(app: &App, what: &str) {
    let mut live = 0;
    for identity in app.live().await {
        let session = app.storage.load(&[&identity]).await.unwrap();
        if session.get::<String>("user").unwrap().as_deref() == Some("alice") {
            assert!(!session.contains_key("old"), "{what}: it lives");
            live += 1;
        }
    }
    assert_eq!(list(app, "alice").await.len(), live, "{what}: not listed");
    assert!(list(app, "bob").await.len() <= 2, "{what}");
}

#[tokio::test]
async fn p11_no_slower_request_brings_a_session_back() {
    for path in [
        "/set/k/1",
        "/touch",
        "/remove/old",
        "/cleared",
        "/renew",
        "/renewed",
        "/restart",
        "/logout",
        "/clear",
        "/empty",
        "/login/alice",
        "/relogin",
        "/set/user/alice",
        "/set/user/bob",
        "/remove/user",
        "/read",
        "/end-all",
        "/end-others",
    ] {
        // The slow request begins first.
        interleaved(
            two_sessions,
            async |app: App, cookie: String| app.ask(Some(&cookie), path).await,
            async |app: App, _| end_all(&app).await,
            async |app, _, slow: TestResponse, ended, is_slow_done, turns| {
                let what = format!("{path}: {turns}");
                let ended = ended.unwrap();
                assert!([200, 401, 409].contains(&slow.status.as_u16()), "{what}");
                assert!(ended <= 3, "{what}: {ended}");
                // What was acknowledged before is dead, a login too.
                if is_slow_done && let Some(cookie) = slow.cookie() {
                    let session = app.storage.load(&[&cookie]).await.unwrap();
                    let user: Option<String> = session.get("user").unwrap();
                    assert_ne!(user.as_deref(), Some("alice"), "{what}");
                }
                all_old_are_dead(app, &what).await;
            },
        )
        .await;
        // The end begins first.
        interleaved(
            two_sessions,
            async |app: App, _| end_all(&app).await,
            async |app: App, cookie: String| app.ask(Some(&cookie), path).await,
            async |app, _, ended, slow: TestResponse, _, turns| {
                let what = format!("end-all, {path}: {turns}");
                assert!(ended.unwrap() <= 3, "{what}");
                assert!([200, 401, 409].contains(&slow.status.as_u16()), "{what}");
                all_old_are_dead(app, &what).await;
            },
        )
        .await;
    }
}

/// Not while it is renewed or written at this moment, and wherever a tombstone leads.
#[tokio::test]
async fn p11_end_others_never_ends_the_session_that_is_kept() {
    for path in ["/renew", "/renewed", "/set/k/1", "/touch", "/read"] {
        for end_comes_first in [true, false] {
            // Both requests are of the first session.
            let set_up = async || {
                let (app, [kept, other, bob]) = two_sessions().await;
                // An old entry leads to the kept session.
                let kept = app.ask(Some(&kept), "/renew").await.cookie().unwrap();
                (app, [kept.clone(), kept, [other, bob].join(" ")])
            };
            if end_comes_first {
                interleaved(
                    set_up,
                    async |app: App, cookie: String| app.ask(Some(&cookie), "/end-others").await,
                    async |app: App, cookie: String| app.ask(Some(&cookie), path).await,
                    async |app, cookies, end, other, _, turns| {
                        let what = format!("end-others, {path}: {turns}");
                        is_kept(app, &cookies[0], &other, &end, &what).await;
                    },
                )
                .await;
            } else {
                interleaved(
                    set_up,
                    async |app: App, cookie: String| app.ask(Some(&cookie), path).await,
                    async |app: App, cookie: String| app.ask(Some(&cookie), "/end-others").await,
                    async |app, cookies, other, end, _, turns| {
                        let what = format!("{path}, end-others: {turns}");
                        is_kept(app, &cookies[0], &other, &end, &what).await;
                    },
                )
                .await;
            }
        }
    }
}

/// The session of `cookie`, for which `other` and `end` were acknowledged, lives. Alice has no
/// other.
async fn is_kept(app: &App, cookie: &str, other: &TestResponse, end: &TestResponse, what: &str) {
    assert_eq!(other.status, 200, "{what}");
    let kept = other.next_cookie(Some(cookie)).unwrap();
    let keys = app.keys(&kept).await.expect(what);
    assert!(keys.contains(&"old".to_owned()), "{what}");
    // If the session was renewed before it was loaded, it has no user and ends nothing.
    if end.status != 401 {
        assert_eq!((end.status.as_u16(), &*end.body), (200, "1"), "{what}");
        assert_eq!(list(app, "alice").await.len(), 1, "{what}");
    }
}

#[tokio::test]
async fn p11_two_ends_at_the_same_moment_end_each_session_once() {
    interleaved(
        two_sessions,
        async |app: App, _| end_all(&app).await,
        async |app: App, _| end_all(&app).await,
        async |app, _, one, other, _, turns| {
            assert_eq!(one.unwrap() + other.unwrap(), 2, "{turns}");
            all_old_are_dead(app, &turns).await;
        },
    )
    .await;
}

/// The requests that log in, renew or end, each with every call failing in both ways: whatever the
/// client was told is true, and a repetition completes it.
#[tokio::test]
async fn p11_a_failure_at_any_call_is_no_false_success() {
    for path in ["/end-all", "/end-others", "/write-end-all"] {
        let calls = {
            let (app, cookies) = two_sessions().await;
            app.failing().heal();
            app.ask(Some(&cookies[0]), path).await;
            app.failing().heal()
        };
        assert!(calls >= 5, "{calls}");
        for at in 0..calls {
            for when in [When::Before, When::After] {
                let (app, cookies) = two_sessions().await;
                app.failing().fail(at..=at, when);
                let response = app.ask(Some(&cookies[0]), path).await;
                app.failing().heal();
                let what = format!("{path}: call {at} of {calls} failed {when:?}");
                let kept = app.keys(&cookies[0]).await.is_some();
                let other = app.keys(&cookies[1]).await.is_some();
                if response.status == 200 {
                    assert!(!other, "{what}");
                    assert_eq!(kept, path == "/end-others", "{what}");
                } else {
                    assert_eq!(response.status, 503, "{what}");
                    // The own session ends last, so its user can try again.
                    assert!(kept || !other, "{what}");
                }
                if kept {
                    let again = app.ask(Some(&cookies[0]), path).await;
                    assert_eq!(again.status, 200, "{what}");
                }
                assert_eq!(app.keys(&cookies[1]).await, None, "{what}");
                let left = usize::from(path == "/end-others");
                assert_eq!(list(&app, "alice").await.len(), left, "{what}");
            }
        }
    }
}

#[tokio::test]
async fn p11_whatever_fails_a_session_that_a_client_knows_is_listed() {
    for path in ["/login/alice", "/renew", "/set/user/alice", "/set/user/bob"] {
        let start = async || {
            let (app, cookies) = two_sessions().await;
            let client = if path == "/set/user/alice" {
                app.client().await
            } else {
                cookies[0].clone()
            };
            app.failing().heal();
            (app, client)
        };
        let calls = {
            let (app, client) = start().await;
            app.ask(Some(&client), path).await;
            app.failing().heal()
        };
        assert!(calls >= 5, "{calls}");
        for at in 0..calls {
            for when in [When::Before, When::After] {
                let (app, client) = start().await;
                app.failing().fail(at..=at, when);
                let response = app.ask(Some(&client), path).await;
                app.failing().heal();
                let what = format!("{path}: call {at} of {calls} failed {when:?}");
                assert!([200, 503].contains(&response.status.as_u16()), "{what}");
                for user in ["alice", "bob"] {
                    let sessions = UserSessions::of_user(&app.storage, user).unwrap();
                    sessions.end_all().await.unwrap();
                }
                for cookie in [Some(client.clone()), response.cookie()]
                    .into_iter()
                    .flatten()
                {
                    let session = app.storage.load(&[&cookie]).await.unwrap();
                    assert!(!session.contains_key("user"), "{what}");
                }
                if response.status == 503 {
                    response.assert_refused(503);
                    // The next try of a client whose session was not ended meanwhile works.
                    let again = app.ask(None, "/login/alice").await;
                    assert_eq!(again.status, 200);
                }
            }
        }
    }
}

/// A session handle that is saved again after a failure ends as one session, and it is listed.
#[tokio::test]
async fn p11_a_save_that_is_repeated_lists_one_session() {
    for renews in [false, true] {
        let start = async || {
            let app = app();
            let cookie = login(&app, "alice").await;
            let cookies: &[&str] = if renews { &[&cookie] } else { &[] };
            let session = app.storage.load(cookies).await.unwrap();
            session.insert("user", "alice").unwrap();
            session.renew().unwrap();
            app.failing().heal();
            (app, session)
        };
        let calls = {
            let (app, session) = start().await;
            app.storage.save(&session).await.unwrap();
            app.failing().heal()
        };
        for at in 0..calls {
            for times in [1, 2] {
                for when in [When::Before, When::After] {
                    let (app, session) = start().await;
                    app.failing().fail(at..=at + times - 1, when);
                    let saved = app.storage.save(&session).await;
                    app.failing().heal();
                    if saved.is_err() {
                        app.storage.save(&session).await.unwrap();
                    }
                    let what = format!("call {at} of {calls} failed {times} times {when:?}");
                    let sessions = UserSessions::of_session(&app.storage, &session).unwrap();
                    let listed = sessions.unwrap().list().await.unwrap();
                    assert_eq!(listed.len(), 2 - usize::from(renews), "{what}");
                    let current = listed.iter().filter(|it| it.is_current()).count();
                    assert_eq!(current, 1, "{what}");
                }
            }
        }
    }
}

/// A request that is dropped at any await point leaves every session that a client knows in the
/// index, and an end that is dropped can be repeated.
#[tokio::test]
async fn p11_a_request_that_is_dropped_anywhere_leaves_no_unlisted_session() {
    for path in [
        "/login/alice",
        "/renew",
        "/set/user/bob",
        "/end-all",
        "/end-others",
    ] {
        for polls in 0.. {
            let (app, cookies) = two_sessions().await;
            let other = app.another();
            let ended = {
                let mut request = pin!(other.ask(Some(&cookies[0]), path));
                poll(request.as_mut(), polls).is_some()
            };
            for user in ["alice", "bob"] {
                let sessions = UserSessions::of_user(&app.storage, user).unwrap();
                sessions.end_all().await.unwrap();
            }
            for cookie in &cookies {
                assert_eq!(app.keys(cookie).await, None, "{path}: after {polls} polls");
            }
            if ended {
                assert!(polls > 4, "there were await points");
                break;
            }
        }
    }
}

/// Tombstones of renewals expire after a minute, and an end has to follow them.
#[tokio::test]
async fn p11_an_end_that_takes_too_long_is_an_error() {
    let (app, cookies) = two_sessions().await;
    let hold = app.gate().hold_on(
        &cookies[0],
        &[session_tests::stores::Call::End],
        When::After,
    );
    let slow = app.another();
    let ends = tokio::spawn(async move { end_all(&slow).await });
    hold.reached().await;
    app.clock.advance(MINUTE / 2);
    hold.open();
    let error = ends.await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert_eq!(end_all(&app).await.unwrap(), 1);
    all_old_are_dead(&app, "afterwards").await;
}
