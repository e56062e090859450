//! P11: what the index of users costs, and how long it lives.

use session_core::keyed::{Backend as _, Found};
use session_core::{Storage as _, UserSessions};
use session_tests::stores::{Call, Calls, When};

use crate::app::{HOUR, MINUTE, settings};
use crate::p11::{app, list, login, with};

pub(crate) const FREE: Calls = Calls {
    read: 0,
    create: 0,
    update: 0,
    end: 0,
};

#[tokio::test]
async fn p11_reads_and_ordinary_writes_cost_nothing_more() {
    let app = app();
    let cookie = login(&app, "alice").await;
    for (path, expected) in [
        ("/read", Calls { read: 1, ..FREE }),
        (
            "/set/k/1",
            Calls {
                read: 1,
                update: 1,
                ..FREE
            },
        ),
        (
            "/set/user/alice",
            Calls {
                read: 1,
                update: 1,
                ..FREE
            },
        ),
        (
            "/logout",
            Calls {
                read: 1,
                end: 1,
                ..FREE
            },
        ),
    ] {
        app.ask(Some(&cookie), path).await;
        assert_eq!(app.counts().take(), expected, "{path}");
    }
    // A session without a user is not listed.
    app.ask(None, "/set/k/1").await;
    assert_eq!(app.counts().take(), Calls { create: 1, ..FREE });
}

#[tokio::test]
async fn p11_a_login_costs_one_read_and_one_write_more() {
    let app = app();
    app.ask(None, "/login").await;
    let first = Calls {
        read: 1,
        create: 2,
        ..FREE
    };
    assert_eq!(app.counts().take(), first);
    let cookie = app.ask(None, "/login").await.cookie().unwrap();
    let second = Calls {
        read: 1,
        create: 1,
        update: 1,
        ..FREE
    };
    assert_eq!(app.counts().take(), second);
    app.ask(Some(&cookie), "/renew").await;
    let renewal = Calls {
        read: 2,
        create: 1,
        update: 1,
        end: 1,
    };
    assert_eq!(app.counts().take(), renewal);
}

/// And the index lives as long as the session, far beyond the first lifetime.
#[tokio::test]
async fn p11_a_session_that_lives_on_is_listed_anew_once_per_lifetime() {
    for rolling in [false, true] {
        let app = with(settings().rolling(rolling), "user");
        let cookie = login(&app, "alice").await;
        let path = if rolling { "/read" } else { "/set/k/1" };
        let mut writes = 0;
        for _ in 0..120 {
            app.clock.advance(MINUTE * 10);
            app.ask(Some(&cookie), path).await;
            let calls = app.counts().take();
            assert!(calls.read <= 2 && calls.update <= 2, "{calls:?}");
            writes += calls.update - 1;
            assert_eq!(list(&app, "alice").await.len(), 1);
            app.counts().take();
        }
        assert!((10..=20).contains(&writes), "{writes} in 20 lifetimes");
        app.clock.advance(MINUTE * 59);
        let ended = UserSessions::of_user(&app.storage, "alice").unwrap();
        assert_eq!(ended.end_all().await.unwrap(), 1);
    }
}

#[tokio::test]
async fn p11_the_index_outlives_a_session_with_a_lifetime_of_its_own() {
    for max_age in [Some(HOUR * 1000), None] {
        let app = app();
        let cookie = login(&app, "alice").await;
        let session = app.storage.load(&[&cookie]).await.unwrap();
        session.set_max_age(max_age).unwrap();
        app.storage.save(&session).await.unwrap();
        app.clock.advance(HOUR * 999);
        // Later logins do not shorten it.
        login(&app, "alice").await;
        assert_eq!(list(&app, "alice").await.len(), 2);
        assert_eq!(app.ask(Some(&cookie), "/end-all").await.body, "2");
    }
    let app = with(settings().absolute_max_age(HOUR * 3), "user");
    let cookie = login(&app, "alice").await;
    for _ in 0..5 {
        app.clock.advance(MINUTE * 30);
        app.ask(Some(&cookie), "/set/k/1").await;
    }
    assert_eq!(app.ask(Some(&cookie), "/end-all").await.body, "1");
}

/// Another request gives the session a longer life while it is renewed.
#[tokio::test]
async fn p11_a_renewal_that_takes_a_longer_life_along_is_listed_that_long() {
    let app = app();
    let cookie = login(&app, "alice").await;
    let hold = app.gate().hold(Call::End, When::Before);
    let renewal = app.another().start(&cookie, "/renew");
    hold.reached().await;
    let session = app.storage.load(&[&cookie]).await.unwrap();
    session.set_max_age(HOUR * 1000).unwrap();
    app.storage.save(&session).await.unwrap();
    hold.open();
    let new = renewal.await.unwrap().cookie().unwrap();
    app.clock.advance(HOUR * 999);
    // A login takes out what is over.
    login(&app, "alice").await;
    assert_eq!(list(&app, "alice").await.len(), 2);
    assert_eq!(app.ask(Some(&new), "/end-all").await.body, "2");
}

#[tokio::test]
async fn p11_every_key_has_a_time_to_live_where_sessions_have_one() {
    let app = app();
    for _ in 0..3 {
        let cookie = login(&app, "alice").await;
        app.ask(Some(&cookie), "/renew").await;
    }
    let keys = app.counts().created();
    app.clock.advance(HOUR * 3);
    for key in keys {
        let found = app.memory().read(&key).await.unwrap();
        assert_eq!(found, Found::Missing, "{key}");
    }
}
