//! F3: a session that expires while a request runs. The store keeps its record five minutes longer.

use session_core::{CookieChange, ErrorKind, Result, Session, Storage};

use crate::app::{App, HOUR, MINUTE, SECOND, settings};

#[tokio::test]
async fn p8_a_request_whose_session_expires_while_it_runs_saves_it() {
    let app = App::new();
    let cookie = app.client().await;
    let slow = app.storage.load(&[&cookie]).await.unwrap();
    slow.insert("slow", 1).unwrap();
    app.clock.advance(HOUR + SECOND);
    // A request that loads now finds the session expired.
    let late = app.ask(Some(&cookie), "/read").await;
    assert_eq!(
        (late.status.as_u16(), &*late.body, late.set_cookie()),
        (200, "", None)
    );
    slow.insert("slower", 1).unwrap();
    app.storage.save(&slow).await.unwrap();
    assert_eq!(app.keys(&cookie).await.unwrap(), ["k", "slow", "slower"]);
    // The write has restarted the lifetime.
    app.clock.advance(HOUR);
    assert!(app.keys(&cookie).await.is_some());
    app.clock.advance(SECOND);
    assert_eq!(app.keys(&cookie).await, None);
}

#[tokio::test]
async fn p8_every_change_is_saved_to_the_end_of_the_grace() {
    let changes: [fn(&Session) -> Result<()>; 5] = [
        |session| session.insert("slow", 1),
        |session| session.remove("k").map(drop),
        Session::renew,
        Session::clear,
        Session::changed,
    ];
    for (at, change) in changes.into_iter().enumerate() {
        for (late, is_saved) in [(SECOND * 299, true), (SECOND * 300, false)] {
            let app = App::new();
            let cookie = app.client().await;
            app.ask(Some(&cookie), "/set/other/1").await;
            let session = app.storage.load(&[&cookie]).await.unwrap();
            app.clock.advance(HOUR + late);
            change(&session).unwrap();
            let saved = app.storage.save(&session).await;
            if is_saved {
                assert_ne!(saved.unwrap(), CookieChange::Keep, "{at}");
            } else {
                assert_eq!(saved.unwrap_err().kind(), ErrorKind::Ended, "{at}");
                assert_eq!(app.live().await, [""; 0]);
            }
        }
    }
}

#[tokio::test]
async fn p8_the_store_keeps_a_record_five_minutes_longer_than_its_session_lives() {
    for write in ["/set/k/v", "/touch", "/renew", "/restart", "/login"] {
        let app = App::new();
        let cookie = app.client().await;
        let response = app.ask(Some(&cookie), write).await;
        let cookie = response.next_cookie(Some(&cookie)).unwrap();
        app.clock.advance(HOUR + SECOND * 299);
        assert!(app.stored(&cookie).await.is_some(), "{write}");
        app.clock.advance(SECOND);
        assert_eq!(app.stored(&cookie).await, None, "{write}");
    }
}

/// The expired session and the new one are two.
#[tokio::test]
async fn p8_a_request_that_loads_in_the_grace_starts_another_session() {
    let app = App::new();
    let cookie = app.client().await;
    let slow = app.storage.load(&[&cookie]).await.unwrap();
    app.clock.advance(HOUR + SECOND);
    let other = app
        .ask(Some(&cookie), "/set/other/1")
        .await
        .cookie()
        .unwrap();
    assert_ne!(other, cookie);
    slow.insert("slow", 1).unwrap();
    app.storage.save(&slow).await.unwrap();
    assert_eq!(app.keys(&other).await.unwrap(), ["other"]);
    assert_eq!(app.keys(&cookie).await.unwrap(), ["k", "slow"]);
}

/// A login or logout ends what a slow request could still revive.
#[tokio::test]
async fn p3_a_logout_or_login_in_the_grace_ends_the_session() {
    for path in ["/logout", "/login", "/restart", "/anonymous"] {
        let app = App::new();
        let cookie = app.client().await;
        let slow = app.storage.load(&[&cookie]).await.unwrap();
        slow.insert("slow", 1).unwrap();
        app.clock.advance(HOUR + SECOND);
        let response = app.ask(Some(&cookie), path).await;
        assert_eq!(response.status, 200, "{path}");
        let told = app.storage.save(&slow).await.unwrap_err();
        assert_eq!(told.kind(), ErrorKind::Ended, "{path}");
        assert_eq!(
            app.live().await,
            Vec::from_iter(response.cookie()),
            "{path}"
        );
    }
}

#[tokio::test]
async fn p8_an_absolute_lifetime_has_the_grace_as_well() {
    let app = App::with(settings().absolute_max_age(MINUTE * 10), |storage| storage);
    let cookie = app.client().await;
    let slow = app.storage.load(&[&cookie]).await.unwrap();
    slow.insert("slow", 1).unwrap();
    app.clock.advance(MINUTE * 10 + SECOND);
    assert_eq!(app.keys(&cookie).await, None);
    app.storage.save(&slow).await.unwrap();
    // It is saved, but no write makes such a session live longer.
    assert_eq!(app.keys(&cookie).await, None);
}
