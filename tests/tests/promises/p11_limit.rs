//! P11: the limit of sessions of a user.

use session_core::{Storage as _, UserIndex};
use session_tests::stores::{Call, When};

use crate::app::{HOUR, settings};
use crate::p11::{index_key, list, login, with};

#[tokio::test]
async fn p11_a_login_beyond_the_limit_ends_the_oldest() {
    let app = with(settings(), UserIndex::new("user").limit(3));
    let mut cookies = Vec::new();
    for _ in 0..3 {
        cookies.push(login(&app, "alice").await);
    }
    // A renewal is no login, and the oldest session stays the oldest.
    cookies[0] = app.ask(Some(&cookies[0]), "/renew").await.cookie().unwrap();
    assert_eq!(list(&app, "alice").await.len(), 3);
    let other = login(&app, "bob").await;
    for round in 0..5 {
        cookies.push(login(&app, "alice").await);
        let oldest = cookies.remove(0);
        assert_eq!(&*app.stored(&oldest).await.unwrap(), b"{\n}", "{round}");
        for cookie in &cookies {
            assert!(app.keys(cookie).await.is_some(), "{round}");
        }
        assert_eq!(list(&app, "alice").await.len(), 3);
    }
    assert!(app.keys(&other).await.is_some());
    // Sessions that ended make room.
    app.ask(Some(&cookies[2]), "/logout").await;
    cookies[2] = login(&app, "alice").await;
    // So does the session that a login replaces.
    let again = app.ask(Some(&cookies[1]), "/login").await;
    cookies[1] = again.cookie().unwrap();
    // A plain insert is a login, too.
    for cookie in &cookies {
        assert!(app.keys(cookie).await.is_some());
    }
    let anonymous = app.client().await;
    app.ask(Some(&anonymous), "/set/user/alice").await;
    assert_eq!(app.keys(&cookies[0]).await, None);
    assert_eq!(list(&app, "alice").await.len(), 3);
}

/// Another request gives the session a longer life meanwhile, so that the login lists it twice.
#[tokio::test]
async fn p11_the_limit_holds_for_a_login_that_takes_a_longer_life_along() {
    let app = with(settings(), UserIndex::new("user").limit(1));
    let first = login(&app, "alice").await;
    let client = app.client().await;
    let logs_in = app.storage.load(&[&client]).await.unwrap();
    let other = app.storage.load(&[&client]).await.unwrap();
    other.set_max_age(HOUR * 1000).unwrap();
    app.storage.save(&other).await.unwrap();
    logs_in.insert("user", "alice").unwrap();
    app.storage.save(&logs_in).await.unwrap();
    assert_eq!(app.keys(&first).await, None);
    assert_eq!(list(&app, "alice").await.len(), 1);
}

/// Its old entry is still in the index.
#[tokio::test]
async fn p11_the_limit_holds_for_a_session_that_comes_back_to_its_user() {
    let app = with(settings(), UserIndex::new("user").limit(1));
    let mut back = login(&app, "alice").await;
    back = app
        .ask(Some(&back), "/set/user/bob")
        .await
        .cookie()
        .unwrap();
    let other = login(&app, "alice").await;
    back = app
        .ask(Some(&back), "/set/user/alice")
        .await
        .cookie()
        .unwrap();
    assert_eq!(app.keys(&other).await, None);
    assert!(app.keys(&back).await.is_some());
    assert_eq!(list(&app, "alice").await.len(), 1);
}

/// The session lost its user after the request had loaded it.
#[tokio::test]
async fn p11_the_limit_holds_for_a_user_that_a_slow_request_sets_again() {
    for renews in [false, true] {
        let app = with(settings(), UserIndex::new("user").limit(1));
        let cookie = login(&app, "alice").await;
        let slow = app.storage.load(&[&cookie]).await.unwrap();
        app.ask(Some(&cookie), "/remove/user").await;
        let other = login(&app, "alice").await;
        slow.insert("user", "alice").unwrap();
        if renews {
            slow.renew().unwrap();
        }
        app.storage.save(&slow).await.unwrap();
        assert_eq!(app.keys(&other).await, None, "{renews}");
        assert_eq!(list(&app, "alice").await.len(), 1, "{renews}");
    }
}

/// A session that was emptied goes on as a new one. The tombstone leads from the one to the other.
#[tokio::test]
async fn p11_the_limit_counts_a_session_that_was_emptied_and_its_successor_once() {
    let app = with(settings(), UserIndex::new("user").limit(2));
    let oldest = login(&app, "alice").await;
    let emptied = login(&app, "alice").await;
    app.ask(Some(&emptied), "/empty").await;
    let response = app.ask(Some(&emptied), "/set/user/alice").await;
    let next = response.cookie().unwrap();
    assert!(app.keys(&oldest).await.is_some());
    assert!(app.keys(&next).await.is_some());
    assert_eq!(list(&app, "alice").await.len(), 2);
}

/// The renewal is listed after the login has read the index.
#[tokio::test]
async fn p11_the_limit_ends_a_session_that_is_renewed_at_that_moment() {
    let app = with(settings(), UserIndex::new("user").limit(1));
    let oldest = login(&app, "alice").await;
    let index = index_key(&app);
    let hold = app.gate().hold_on(&index, &[Call::Update], When::After);
    let other = app.another();
    let logs_in = tokio::spawn(async move { other.ask(None, "/login").await });
    hold.reached().await;
    let renewed = app.ask(Some(&oldest), "/renew").await.cookie().unwrap();
    hold.open();
    let new = logs_in.await.unwrap().cookie().unwrap();
    assert_eq!(app.keys(&oldest).await, None);
    assert_eq!(app.keys(&renewed).await, None);
    assert_eq!(app.keys(&new).await.unwrap(), ["user"]);
}

#[tokio::test]
async fn p11_a_failure_at_the_limit_costs_no_login() {
    let start = async || {
        let app = with(settings(), UserIndex::new("user").limit(1));
        let first = login(&app, "alice").await;
        app.failing().heal();
        (app, first)
    };
    let calls = {
        let (app, _) = start().await;
        app.ask(None, "/login").await;
        app.failing().heal()
    };
    assert_eq!(calls, 6, "create, read and write the index, read and end");
    for at in 3..calls {
        for when in [When::Before, When::After] {
            let (app, first) = start().await;
            app.failing().fail(at..=at, when);
            let response = app.ask(None, "/login").await;
            app.failing().heal();
            assert_eq!(response.status, 200);
            assert!(app.keys(&response.cookie().unwrap()).await.is_some());
            login(&app, "alice").await;
            assert_eq!(app.keys(&first).await, None);
            assert_eq!(list(&app, "alice").await.len(), 1);
        }
    }
}
