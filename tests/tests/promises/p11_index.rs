//! P11: what the index of a user holds, when entries leave it, and where they lead.

use serde_json::json;
use session_core::{Storage as _, UserSessions};
use session_tests::stores::{Call, When};

use crate::app::{App, HOUR, MINUTE, SECOND};
use crate::p11::{PYTHON, app, index, list, login};

async fn entries(app: &App) -> usize {
    index(app).await["sessions"].as_array().unwrap().len()
}

#[tokio::test]
async fn p11_a_thousand_logins_leave_a_small_index() {
    let app = app();
    let (mut most, mut reads) = (0, 0);
    for _ in 0..1000 {
        let cookie = login(&app, "alice").await;
        app.ask(Some(&cookie), "/logout").await;
        app.clock.advance(SECOND * 5);
        most = most.max(index(&app).await["sessions"].as_array().unwrap().len());
        reads += app.counts().take().read;
    }
    // A tombstone stays for a minute, so at most 12 of the sessions are not gone yet.
    assert!(most <= 32, "{most} entries");
    assert!(reads < 4000, "{reads} reads");
    // Without a chance to check, entries go when their time is over.
    let other = login(&app, "alice").await;
    app.clock.advance(HOUR * 2 + MINUTE * 6);
    assert_eq!(app.keys(&other).await, None);
    login(&app, "alice").await;
    assert_eq!(index(&app).await["sessions"].as_array().unwrap().len(), 1);
}

/// No session that is over is read for that.
#[tokio::test]
async fn p11_a_login_takes_out_the_entries_whose_time_is_over() {
    let app = app();
    let long = login(&app, "alice").await;
    let session = app.storage.load(&[&long]).await.unwrap();
    session.set_max_age(HOUR * 1000).unwrap();
    app.storage.save(&session).await.unwrap();
    for _ in 0..5 {
        login(&app, "alice").await;
    }
    assert_eq!(entries(&app).await, 6);
    app.clock.advance(HOUR * 3);
    app.counts().take();
    app.ask(None, "/login").await;
    assert_eq!(app.counts().take().read, 1);
    assert_eq!(entries(&app).await, 2);
    assert_eq!(list(&app, "alice").await.len(), 2);
}

#[tokio::test]
async fn p11_an_end_takes_out_the_entries_whose_sessions_are_gone() {
    let app = app();
    for _ in 0..3 {
        login(&app, "alice").await;
    }
    let sessions = UserSessions::of_user(&app.storage, "alice").unwrap();
    assert_eq!(sessions.end_all().await.unwrap(), 3);
    assert_eq!(entries(&app).await, 3, "a tombstone may be written over");
    app.clock.advance(MINUTE * 2);
    let kept = login(&app, "alice").await;
    assert_eq!(sessions.end("none").await.unwrap(), 0);
    assert_eq!(entries(&app).await, 4);
    assert_eq!(app.ask(Some(&kept), "/end-others").await.body, "0");
    assert_eq!(entries(&app).await, 1);
}

/// While a session is renewed it has two records.
#[tokio::test]
async fn p11_a_session_that_is_renewed_at_that_moment_is_listed_and_counted_once() {
    let app = app();
    let cookie = login(&app, "alice").await;
    let hold = app.gate().hold(Call::End, When::Before);
    let renewal = app.another().start(&cookie, "/renew");
    hold.reached().await;
    assert_eq!(app.live().await.len(), 2);
    assert_eq!(list(&app, "alice").await.len(), 1);
    let sessions = UserSessions::of_user(&app.storage, "alice").unwrap();
    assert_eq!(sessions.end_all().await.unwrap(), 1);
    hold.open();
    renewal.await.unwrap().assert_refused(409);
    assert!(app.live().await.is_empty());
}

/// Each renewal leaves a tombstone, and an end follows them all. It goes to each key once.
#[tokio::test]
async fn p11_many_renewals_within_a_minute_stop_neither_a_logout_nor_an_end() {
    const RENEWALS: usize = 150;
    for ends_all in [false, true] {
        let app = app();
        let first = login(&app, "alice").await;
        let mut last = first.clone();
        for _ in 0..RENEWALS {
            last = app.ask(Some(&last), "/renew").await.cookie().unwrap();
        }
        assert_eq!(list(&app, "alice").await.len(), 1);
        app.counts().take();
        if ends_all {
            let sessions = UserSessions::of_user(&app.storage, "alice").unwrap();
            assert_eq!(sessions.end_all().await.unwrap(), 1);
        } else {
            let response = app.ask(Some(&first), "/logout").await;
            assert_eq!(response.status, 200);
        }
        let calls = app.counts().take();
        assert!(calls.read <= RENEWALS + 3, "{calls:?}");
        assert_eq!(app.keys(&last).await, None);
        assert_eq!(list(&app, "alice").await.len(), 0);
    }
}

#[tokio::test]
async fn p11_a_user_is_the_same_however_python_has_written_it() {
    let app = app();
    let record =
        br#"{"created": 1700000000, "session": {"user": {"b":  1, "a": ["\u00e9",null]}}}"#;
    app.plant(PYTHON, record).await;
    app.ask(Some(PYTHON), "/touch").await;
    let user = json!({"a": ["é", null], "b": 1});
    let sessions = UserSessions::of_user(&app.storage, &user).unwrap();
    assert_eq!(sessions.list().await.unwrap().len(), 1);
    assert_eq!(sessions.end_all().await.unwrap(), 1);
}
