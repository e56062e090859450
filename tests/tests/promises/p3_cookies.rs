//! P3 for clients that send an old cookie, or several: a logout and a login end them all.

use session_core::{CookieChange, ErrorKind, Storage};
use session_tests::stores::{Call, When};

use crate::app::{App, SECOND, settings};

#[tokio::test]
async fn p3_a_logout_with_the_cookie_that_a_renewal_replaced_ends_the_session() {
    let app = App::new();
    let old = app.client().await;
    // The response is still on its way.
    let new = app.ask(Some(&old), "/renew").await.cookie().unwrap();
    assert_eq!(app.ask(Some(&old), "/logout").await.status, 200);
    assert_eq!(app.keys(&new).await, None);
    assert_eq!(app.live().await, [""; 0]);
}

#[tokio::test]
async fn p3_a_login_with_the_cookie_that_a_renewal_replaced_ends_the_session() {
    let app = App::new();
    let old = app.client().await;
    let renewed = app.ask(Some(&old), "/renew").await.cookie().unwrap();
    let new = app.ask(Some(&old), "/login").await.cookie().unwrap();
    assert_eq!(app.keys(&renewed).await, None);
    assert_eq!(app.live().await, [new]);
}

#[tokio::test]
async fn p3_a_logout_ends_every_session_that_the_client_sent_a_cookie_of() {
    let app = App::new();
    let (one, two) = (app.client().await, app.client().await);
    let both = format!("{one}; sid={two}");
    assert_eq!(app.ask(Some(&both), "/logout").await.status, 200);
    assert_eq!(app.ask(Some(&both), "/read").await.body, "");
    assert_eq!(app.live().await, [""; 0]);
}

#[tokio::test]
async fn p3_a_login_ends_every_session_that_the_client_sent_a_cookie_of() {
    let app = App::new();
    let (one, two) = (app.client().await, app.client().await);
    let both = format!("{one}; sid={two}");
    let new = app.ask(Some(&both), "/login").await.cookie().unwrap();
    for old in [one, two] {
        assert_eq!(app.stored(&old).await.unwrap(), &b"{\t}"[..]);
    }
    assert_eq!(app.live().await, [new]);
}

#[tokio::test]
async fn p3_a_logout_with_two_cookies_that_renewals_replaced_ends_both_sessions() {
    let app = App::new();
    let mut old = Vec::new();
    for _ in 0..2 {
        let cookie = app.client().await;
        app.ask(Some(&cookie), "/renew").await.cookie().unwrap();
        old.push(cookie);
    }
    assert_eq!(app.live().await.len(), 2);
    let response = app.ask(Some(&old.join("; sid=")), "/logout").await;
    assert_eq!((response.status.as_u16(), response.cookie()), (200, None));
    assert_eq!(app.live().await, [""; 0]);
}

#[tokio::test]
async fn p3_a_logout_ends_a_session_that_expired_while_a_slower_request_had_it() {
    let app = App::with(settings().max_age(SECOND * 100), |storage| storage);
    let cookie = app.client().await;
    app.clock.advance(SECOND * 90);
    assert_eq!(app.ask(Some(&cookie), "/touch").await.status, 200);
    let slow = app.storage.load(&[&cookie]).await.unwrap();
    slow.insert("k", 2).unwrap();
    app.clock.advance(SECOND * 20);
    let logout = app.storage.load(&[&cookie]).await.unwrap();
    assert!(logout.is_new());
    logout.invalidate().unwrap();
    let saved = app.storage.save(&logout).await.unwrap();
    assert_eq!(saved, CookieChange::Remove);
    let told = app.storage.save(&slow).await.unwrap_err();
    assert_eq!(told.kind(), ErrorKind::Ended);
}

/// The handle invalidates its session while its save finds that another request has ended it.
#[tokio::test]
async fn p3_a_logout_during_a_save_of_what_another_ended_is_no_error() {
    for renews in [false, true] {
        let app = App::new();
        let cookie = app.client().await;
        let session = app.storage.load(&[&cookie]).await.unwrap();
        if renews {
            session.renew().unwrap();
        }
        session.insert("k", 2).unwrap();
        app.ask(Some(&cookie), "/logout").await;
        let call = if renews { Call::End } else { Call::Update };
        let hold = app.gate().hold(call, When::Before);
        let save = app.start_save(&session);
        hold.reached().await;
        session.invalidate().unwrap();
        hold.open();
        let told = save.await.unwrap().unwrap_err();
        assert_eq!(told.kind(), ErrorKind::Ended);
        // The end that was asked for meanwhile is carried out next, and what the failed save was to
        // store does not come back.
        app.storage.save(&session).await.unwrap();
        assert_eq!(app.live().await, [""; 0]);
        session.insert("next", 1).unwrap();
        let CookieChange::Set { value, .. } = app.storage.save(&session).await.unwrap() else {
            panic!("a new session");
        };
        assert_eq!(app.keys(&value).await.unwrap(), ["next"]);
    }
}

#[tokio::test]
async fn p3_a_handler_that_logs_in_twice_leaves_one_session() {
    let app = App::new();
    let cookie = app.client().await;
    let response = app.ask(Some(&cookie), "/relogin").await;
    assert_eq!(response.status, 200);
    assert_eq!(app.live().await, Vec::from_iter(response.cookie()));
}
