//! A session whose last key is removed: its record stays, for the requests that are in flight.

use session_core::Storage;
use session_tests::stores::{Call, Calls, When};

use crate::app::{App, settings};

/// F1: one request takes the only key out, another one adds a key. Both have loaded the session.
async fn both_are_kept(first: &str, second: &str, elsewhere: bool) {
    let app = App::new();
    let cookie = app.client().await;
    let mut requests = Vec::new();
    for path in [first, second] {
        let app = if elsewhere {
            app.another()
        } else {
            app.clone()
        };
        let load = app.gate().hold(Call::Read, When::After);
        requests.push((app.start(&cookie, path), load.clone()));
        load.reached().await;
    }
    for (request, load) in requests {
        load.open();
        let response = request.await.unwrap();
        assert_eq!(response.status, 200, "{first}, then {second}");
        assert_eq!(response.cookie().as_ref(), Some(&cookie));
    }
    let session = app.storage.load(&[&cookie]).await.unwrap();
    assert_eq!(session.keys(), ["added"], "{first}, then {second}");
    assert_eq!(session.get::<String>("added").unwrap().unwrap(), "1");
    assert_eq!(app.live().await, [cookie]);
}

#[tokio::test]
async fn p2_a_removal_of_the_last_key_and_an_insertion_are_both_kept_in_both_orders() {
    for elsewhere in [false, true] {
        for emptying in ["/remove/k", "/empty"] {
            both_are_kept(emptying, "/set/added/1", elsewhere).await;
            both_are_kept("/set/added/1", emptying, elsewhere).await;
        }
    }
}

/// Every change but an end comes through, before its save and during it.
#[tokio::test]
async fn p2_an_emptying_lets_every_slower_change_through() {
    for (slow, keys) in [
        ("/set/slow/1", Some("slow")),
        ("/remove/k", None),
        ("/touch", None),
        ("/lifetime", None),
        ("/renew", None),
        ("/renewed", Some("mine")),
        ("/empty", None),
        ("/cleared", Some("next")),
    ] {
        for calls in [&[Call::Read][..], &[Call::Update, Call::End]] {
            let app = App::new();
            let cookie = app.client().await;
            app.ask(Some(&cookie), "/set/other/1").await;
            let when = match calls {
                [Call::Read] => When::After,
                _ => When::Before,
            };
            let hold = app.gate().hold_any(calls, when);
            let request = app.another().start(&cookie, slow);
            hold.reached().await;
            assert_eq!(app.ask(Some(&cookie), "/empty").await.status, 200);
            assert_eq!(app.keys(&cookie).await, None);
            hold.open();
            let response = request.await.unwrap();
            assert_eq!(response.status, 200, "{slow} at {calls:?}");
            let client = response.next_cookie(Some(&cookie)).unwrap();
            assert_eq!(client != cookie, slow.starts_with("/renew"), "{slow}");
            let expected = keys.map(|key| vec![key.to_owned()]);
            assert_eq!(app.keys(&client).await, expected, "{slow} at {calls:?}");
        }
    }
}

#[tokio::test]
async fn p2_an_emptied_record_stays_with_its_cookie() {
    let app = App::new();
    let cookie = app.client().await;
    let response = app.ask(Some(&cookie), "/remove/k").await;
    assert_eq!(
        (response.status.as_u16(), response.cookie()),
        (200, Some(cookie.clone()))
    );
    let emptied = &b"{\"created\": 1700000000, \"session\": {}}"[..];
    assert_eq!(app.stored(&cookie).await.unwrap(), emptied);
    // It is a new session for who loads it, and reading it changes nothing.
    for path in ["/read", "/touch", "/passing", "/renew", "/clear", "/empty"] {
        let response = app.ask(Some(&cookie), path).await;
        assert_eq!(
            (response.status.as_u16(), response.set_cookie()),
            (200, None)
        );
        assert_eq!(app.stored(&cookie).await.unwrap(), emptied, "{path}");
    }
    assert_eq!(app.ask(Some(&cookie), "/replaced").await.body, "false");
    let session = app.storage.load(&[&cookie]).await.unwrap();
    assert!(session.is_new() && session.identity().is_none());
}

/// A cookie without a Max-Age has nothing to refresh.
#[tokio::test]
async fn p2_an_emptying_sends_the_cookie_only_if_it_has_a_max_age() {
    let cookie = session_core::CookieSettings::builder("sid");
    let app = App::with(cookie, |storage| storage);
    let cookie = app.client().await;
    let response = app.ask(Some(&cookie), "/remove/k").await;
    assert_eq!(
        (response.status.as_u16(), response.set_cookie()),
        (200, None)
    );
    assert!(app.stored(&cookie).await.is_some());
}

/// No login uses the identity of an emptied session, so knowing that identity gives no access.
#[tokio::test]
async fn p4_a_write_to_an_emptied_session_moves_it_to_a_fresh_identity() {
    for path in ["/set/mine/1", "/renewed", "/cleared", "/restart", "/login"] {
        let app = App::new();
        let cookie = app.client().await;
        app.ask(Some(&cookie), "/empty").await;
        app.counts().take();
        let response = app.ask(Some(&cookie), path).await;
        assert_eq!(response.status, 200, "{path}");
        let moved = response.cookie().unwrap();
        assert_ne!(moved, cookie, "{path}");
        assert_eq!(app.keys(&cookie).await, None);
        assert_eq!(app.keys(&moved).await.unwrap().len(), 1);
        assert_eq!(app.live().await, [moved], "{path}");
    }
    let app = App::new();
    let cookie = app.client().await;
    app.ask(Some(&cookie), "/empty").await;
    app.counts().take();
    app.ask(Some(&cookie), "/set/mine/1").await;
    let as_a_renewal = Calls {
        read: 1,
        create: 1,
        end: 1,
        ..Calls::default()
    };
    assert_eq!(app.counts().take(), as_a_renewal);
}

/// What an older request writes while the emptied session moves comes along. One that is overtaken
/// by the move gets 409.
#[tokio::test]
async fn p2_what_an_older_request_writes_during_the_move_comes_along() {
    let app = App::new();
    let cookie = app.client().await;
    let older = app.storage.load(&[&cookie]).await.unwrap();
    let overtaken = app.storage.load(&[&cookie]).await.unwrap();
    app.ask(Some(&cookie), "/empty").await;
    let ending = app.gate().hold_on(&cookie, &[Call::End], When::Before);
    let moving = app.another().start(&cookie, "/set/mine/1");
    ending.reached().await;
    older.insert("older", 1).unwrap();
    app.storage.save(&older).await.unwrap();
    ending.open();
    let response = moving.await.unwrap();
    let moved = response.cookie().unwrap();
    assert_eq!(app.keys(&moved).await.unwrap(), ["older", "mine"]);
    overtaken.insert("late", 1).unwrap();
    let told = app.storage.save(&overtaken).await.unwrap_err();
    assert_eq!(told.kind(), session_core::ErrorKind::Ended);
    assert_eq!(app.live().await, [moved]);
}

/// Two requests find the session empty and write: one of them moves it.
#[tokio::test]
async fn p4_of_two_writers_of_an_emptied_session_one_moves_it_and_one_gets_409() {
    let app = App::new();
    let cookie = app.client().await;
    app.ask(Some(&cookie), "/empty").await;
    let load = app.gate().hold(Call::Read, When::After);
    let slow = app.start(&cookie, "/set/slow/1");
    load.reached().await;
    let moved = app
        .ask(Some(&cookie), "/set/fast/1")
        .await
        .cookie()
        .unwrap();
    load.open();
    slow.await.unwrap().assert_refused(409);
    assert_eq!(app.keys(&moved).await.unwrap(), ["fast"]);
    assert_eq!(app.live().await, [moved]);
}

/// The handle that a renewal left empty, because the merge found its keys removed.
#[tokio::test]
async fn p4_a_renewal_that_ends_up_empty_moves_again_when_its_handle_writes() {
    let app = App::new();
    let cookie = app.client().await;
    let session = app.storage.load(&[&cookie]).await.unwrap();
    session.renew().unwrap();
    app.ask(Some(&cookie), "/empty").await;
    app.storage.save(&session).await.unwrap();
    assert!(session.is_new(), "the record is empty");
    let empty = app.counts().created().pop().unwrap();
    session.insert("mine", 1).unwrap();
    app.storage.save(&session).await.unwrap();
    let moved = session.identity().unwrap();
    assert_ne!(format!("sid_{}", moved.as_str()), empty);
    assert_eq!(app.live().await, [moved.as_str()]);
}

#[tokio::test]
async fn p3_a_logout_of_an_emptied_session_ends_it() {
    let app = App::new();
    let cookie = app.client().await;
    let slow = app.storage.load(&[&cookie]).await.unwrap();
    slow.insert("slow", 1).unwrap();
    app.ask(Some(&cookie), "/empty").await;
    let response = app.ask(Some(&cookie), "/logout").await;
    assert_eq!((response.status.as_u16(), response.cookie()), (200, None));
    assert!(response.set_cookie().is_some(), "the cookie is removed");
    assert_eq!(app.stored(&cookie).await.unwrap(), &b"{ }"[..]);
    app.storage.save(&slow).await.unwrap_err();
    assert_eq!(app.live().await, [""; 0]);
}

#[tokio::test]
async fn p3_a_clear_with_nothing_set_after_it_is_an_end_and_otherwise_keeps_the_identity() {
    let app = App::new();
    let cookie = app.client().await;
    let response = app.ask(Some(&cookie), "/cleared").await;
    assert_eq!(response.cookie(), Some(cookie.clone()));
    assert_eq!(app.keys(&cookie).await.unwrap(), ["next"]);
    let response = app.ask(Some(&cookie), "/clear").await;
    assert!(response.set_cookie().is_some() && response.cookie().is_none());
    assert_eq!(app.stored(&cookie).await.unwrap(), &b"{ }"[..]);
}

/// It is like any other record, so it expires.
#[tokio::test]
async fn p2_an_emptied_record_goes_with_its_time_to_live() {
    let app = App::with(settings(), |storage| storage);
    let cookie = app.client().await;
    app.ask(Some(&cookie), "/empty").await;
    app.clock.advance(crate::app::HOUR + crate::app::MINUTE * 5);
    assert_eq!(app.stored(&cookie).await, None);
}
