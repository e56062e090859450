//! P3: a logout wins every race, and so do a renewal, a clear and a login.

use session_core::{ErrorKind, Result, Session, Storage};
use session_tests::ends::{At, CHANGES, ENDS, ENDS_AND_EMPTY, next_keys};
use session_tests::stores::{Call, When};

use crate::app::{App, Compact, HOUR, MINUTE, TestResponse, settings};

/// The writes that change a record in the store.
const ENDING: [Call; 2] = [Call::Update, Call::End];

/// Returns the sessions that are alive after `end`.
fn left_by(end: &str, response: &TestResponse) -> Vec<String> {
    match end {
        "/empty" => Vec::new(),
        _ => Vec::from_iter(response.cookie()),
    }
}

/// Lets the session end while a request on `slow` stands at `at`; that one's response, the store
/// and the response that ended it must be right.
async fn ended_meanwhile(end: &str, slow: &str, at: At) {
    let app = App::new();
    let cookie = app.client().await;
    app.ask(Some(&cookie), "/set/other/1").await;
    let hold = match at {
        At::Loaded => app.gate().hold(Call::Read, When::After),
        At::Saving => app.gate().hold_any(&ENDING, When::Before),
    };
    let request = app.another().start(&cookie, slow);
    hold.reached().await;
    let response = app.ask(Some(&cookie), end).await;
    assert_eq!(response.status, 200);
    hold.open();
    let told = request.await.unwrap();
    println!("{end} while {slow} stood at {at:?}: {told:?}");
    told.assert_refused(409);
    // No record is left but the one that the other request handed on.
    assert_eq!(app.live().await, Vec::from_iter(response.cookie()));
    if let Some(next) = response.cookie() {
        assert_eq!(app.keys(&next).await, next_keys(end));
    }
}

async fn every_slow_change_loses_to(end: &str) {
    for slow in CHANGES {
        for at in At::ALL {
            // Removing one of two keys, so that something is left to be brought back.
            ended_meanwhile(end, slow, at).await;
        }
    }
}

#[tokio::test]
async fn p3_a_logout_wins_over_every_slower_change() {
    every_slow_change_loses_to("/logout").await;
}

#[tokio::test]
async fn p3_a_logout_that_starts_a_new_session_wins_over_every_slower_change() {
    every_slow_change_loses_to("/restart").await;
}

#[tokio::test]
async fn p3_a_renewal_wins_over_every_slower_change() {
    every_slow_change_loses_to("/renew").await;
}

#[tokio::test]
async fn p3_a_clear_wins_over_every_slower_change() {
    every_slow_change_loses_to("/clear").await;
}

#[tokio::test]
async fn p3_a_login_wins_over_every_slower_change() {
    every_slow_change_loses_to("/login").await;
}

#[tokio::test]
async fn p3_a_slower_reader_succeeds_and_brings_nothing_back() {
    for rolling in [false, true] {
        for end in ENDS_AND_EMPTY {
            let app = App::with(settings().rolling(rolling), |storage| storage);
            let cookie = app.client().await;
            app.clock.advance(MINUTE * 30);
            let load = app.gate().hold(Call::Read, When::After);
            let request = app.start(&cookie, "/read");
            load.reached().await;
            let response = app.ask(Some(&cookie), end).await;
            load.open();
            let read = request.await.unwrap();
            assert_eq!((read.status.as_u16(), &*read.body), (200, "k"));
            assert_eq!(read.set_cookie(), None, "{end}");
            assert_eq!(app.live().await, left_by(end, &response));
        }
    }
}

#[tokio::test]
async fn p3_a_rolling_read_that_is_about_to_be_saved_brings_nothing_back() {
    for end in ENDS_AND_EMPTY {
        let app = App::with(settings().rolling(true), |storage| storage);
        let cookie = app.client().await;
        app.clock.advance(MINUTE * 30);
        let save = app.gate().hold(Call::Update, When::Before);
        let request = app.another().start(&cookie, "/read");
        save.reached().await;
        let response = app.ask(Some(&cookie), end).await;
        save.open();
        let read = request.await.unwrap();
        assert_eq!((read.status.as_u16(), read.set_cookie()), (200, None));
        assert_eq!(app.live().await, left_by(end, &response));
    }
}

/// The other order: the change is saved first, while the end is on its way.
#[tokio::test]
async fn p3_an_end_wins_over_a_change_that_was_saved_just_before() {
    for end in ENDS_AND_EMPTY {
        for change in ["/set/slow/1", "/touch", "/read"] {
            let app = App::with(settings().max_age(HOUR).rolling(true), |storage| storage);
            let cookie = app.client().await;
            app.clock.advance(MINUTE * 30);
            let ending = app.gate().hold_any(&ENDING, When::Before);
            let request = app.another().start(&cookie, end);
            ending.reached().await;
            let saved = app.ask(Some(&cookie), change).await;
            assert_eq!(saved.status, 200);
            assert_eq!(saved.cookie().as_ref(), Some(&cookie));
            ending.open();
            let response = request.await.unwrap();
            assert_eq!(response.status, 200, "{end} after {change}");
            if (end, change) == ("/empty", "/set/slow/1") {
                // Taking out every key that one saw is no end where there is another: P2.
                assert_eq!(app.keys(&cookie).await.unwrap(), ["slow"]);
                continue;
            }
            assert_eq!(app.keys(&cookie).await, None, "{end} after {change}");
            assert_eq!(app.live().await, left_by(end, &response));
            if (end, change) == ("/renew", "/set/slow/1") {
                let next = response.cookie().unwrap();
                assert_eq!(app.keys(&next).await.unwrap(), ["k", "slow"]);
            }
        }
    }
}

/// A change whose acknowledgement is on its way back when the session ends.
#[tokio::test]
async fn p3_an_end_wins_over_a_change_whose_reply_is_late() {
    for end in ENDS_AND_EMPTY {
        let app = App::new();
        let cookie = app.client().await;
        let saved = app.gate().hold(Call::Update, When::After);
        let request = app.another().start(&cookie, "/set/slow/1");
        saved.reached().await;
        let response = app.ask(Some(&cookie), end).await;
        assert_eq!(response.status, 200);
        saved.open();
        // It was saved, and then the session ended: the cookie that it sends stands for nothing.
        assert_eq!(request.await.unwrap().status, 200);
        assert_eq!(app.keys(&cookie).await, None, "{end}");
        assert_eq!(app.live().await, left_by(end, &response));
    }
}

#[tokio::test]
async fn p3_a_renewal_that_loses_leaves_no_record_under_its_new_identity() {
    for end in ENDS {
        let app = App::new();
        let cookie = app.client().await;
        let marking = app.gate().hold(Call::End, When::Before);
        let request = app.another().start(&cookie, "/renew");
        marking.reached().await;
        let made = app.counts().created().pop().unwrap();
        let made = made.strip_prefix("sid_").unwrap().to_owned();
        assert_eq!(app.keys(&made).await.unwrap(), ["k"]);
        let response = app.ask(Some(&cookie), end).await;
        marking.open();
        request.await.unwrap().assert_refused(409);
        assert_eq!(app.keys(&made).await, None, "{end}");
        assert_eq!(app.live().await, Vec::from_iter(response.cookie()));
    }
}

/// A logout ends the session where it is now, not only under the identity that it had.
#[tokio::test]
async fn p3_a_logout_wins_over_a_renewal_that_was_saved_just_before() {
    for end in ["/logout", "/clear"] {
        let app = App::new();
        let cookie = app.client().await;
        let ending = app.gate().hold_any(&ENDING, When::Before);
        let request = app.another().start(&cookie, end);
        ending.reached().await;
        let renewed = app.ask(Some(&cookie), "/renew").await.cookie().unwrap();
        ending.open();
        let response = request.await.unwrap();
        if response.status == 409 {
            // Told that it was renewed: nothing claims to be logged out.
            assert_eq!(response.set_cookie(), None);
            continue;
        }
        assert_eq!((response.status.as_u16(), response.cookie()), (200, None));
        assert_eq!(
            app.keys(&renewed).await,
            None,
            "{end}: the session lives on"
        );
    }
}

#[tokio::test]
async fn p3_of_two_renewals_one_wins_through_any_codec() {
    for compact in [false, true] {
        let app = App::with(settings(), move |storage| {
            if compact {
                storage.with_codec(Compact)
            } else {
                storage
            }
        });
        let cookie = app.client().await;
        let marking = app.gate().hold(Call::End, When::Before);
        let slow = app.another().start(&cookie, "/renew");
        marking.reached().await;
        let won = app.ask(Some(&cookie), "/renew").await;
        marking.open();
        slow.await.unwrap().assert_refused(409);
        assert_eq!(app.live().await, Vec::from_iter(won.cookie()));
        assert_eq!(app.live().await.len(), 1);
    }
}

/// "Not under a new identity, not partly": nor by what the same handler does after it was told.
#[tokio::test]
async fn p3_a_handle_that_was_told_brings_nothing_back_whatever_it_does_next() {
    let next: [fn(&Session) -> Result<()>; 4] = [
        |slow| slow.insert("slow", 2),
        Session::renew,
        Session::clear,
        |slow| slow.invalidate().and_then(|()| slow.insert("slow", 2)),
    ];
    for next in next {
        let app = App::new();
        let cookie = app.client().await;
        let slow = app.storage.load(&[&cookie]).await.unwrap();
        app.ask(Some(&cookie), "/logout").await;
        slow.insert("slow", 1).unwrap();
        app.storage.save(&slow).await.unwrap_err();
        next(&slow).unwrap();
        let told = app.storage.save(&slow).await.unwrap_err();
        assert_eq!(told.kind(), ErrorKind::Ended);
        assert!(app.live().await.is_empty());
    }
}
