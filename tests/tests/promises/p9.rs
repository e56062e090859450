//! P9: free when unused, cheap when used. What a request costs, in backend calls.

use session_core::{CookieChange, Storage};
use session_tests::stores::Calls;

use crate::app::{App, HOUR, MINUTE, settings};

const FREE: Calls = Calls {
    read: 0,
    create: 0,
    update: 0,
    end: 0,
};

/// The calls of one request by a client that has a session.
async fn cost(path: &str) -> Calls {
    let app = App::new();
    let cookie = app.client().await;
    app.ask(Some(&cookie), path).await;
    app.counts().take()
}

#[tokio::test]
async fn p9_a_request_that_does_not_ask_costs_nothing() {
    assert_eq!(cost("/none").await, FREE);
    let app = App::new();
    let response = app.ask(Some("0123456789abcdef"), "/none").await;
    assert_eq!(response.headers, http::HeaderMap::new());
}

#[tokio::test]
async fn p9_a_load_is_one_read_and_a_read_never_writes() {
    assert_eq!(cost("/read").await, Calls { read: 1, ..FREE });
    assert_eq!(cost("/remove/missing").await, Calls { read: 1, ..FREE });
    let app = App::new();
    let cookie = app.client().await;
    for _ in 0..59 {
        app.clock.advance(MINUTE);
        app.ask(Some(&cookie), "/read").await;
    }
    assert_eq!(app.counts().take(), Calls { read: 59, ..FREE });
}

#[tokio::test]
async fn p9_no_cookie_and_a_malformed_one_cost_no_call() {
    let app = App::new();
    for cookie in [
        None,
        Some("short"),
        Some("../../../../etc/passwd"),
        Some("a\u{e9}bcdefghijklmnop"),
    ] {
        app.ask(cookie, "/read").await;
    }
    assert_eq!(app.counts().take(), FREE);
}

#[tokio::test]
async fn p9_a_changed_session_is_saved_by_one_call() {
    let update = Calls {
        read: 1,
        update: 1,
        ..FREE
    };
    for path in ["/set/new/1", "/touch"] {
        assert_eq!(cost(path).await, update, "{path}");
    }
    for path in ["/logout", "/clear", "/empty", "/remove/k"] {
        let calls = cost(path).await;
        let (update, end) = match path {
            "/logout" | "/clear" => (0, 1),
            _ => (1, 0),
        };
        let expected = Calls {
            read: 1,
            update,
            end,
            ..FREE
        };
        assert_eq!(calls, expected, "{path}");
    }
}

#[tokio::test]
async fn p9_a_new_session_is_one_call() {
    let app = App::new();
    app.ask(None, "/set/k/v").await;
    assert_eq!(app.counts().take(), Calls { create: 1, ..FREE });
    app.ask(None, "/login").await;
    assert_eq!(app.counts().take(), Calls { create: 1, ..FREE });
}

#[tokio::test]
async fn p9_a_login_is_a_creation_and_a_read_and_an_end_of_what_it_replaces() {
    let expected = Calls {
        read: 1,
        create: 1,
        end: 1,
        ..FREE
    };
    assert_eq!(cost("/login").await, expected);
}

#[tokio::test]
async fn p9_a_renewal_is_a_creation_and_an_end() {
    let expected = Calls {
        read: 1,
        create: 1,
        end: 1,
        ..FREE
    };
    assert_eq!(cost("/renew").await, expected);
}

#[tokio::test]
async fn p9_a_conflict_costs_one_more_call_and_no_read() {
    let app = App::new();
    let cookie = app.client().await;
    let slow = app.storage.load(&[&cookie]).await.unwrap();
    slow.insert("slow", 1).unwrap();
    app.ask(Some(&cookie), "/set/fast/1").await;
    app.counts().take();
    app.storage.save(&slow).await.unwrap();
    assert_eq!(app.counts().take(), Calls { update: 2, ..FREE });
}

#[tokio::test]
async fn p9_rolling_reads_write_once_per_tenth_of_the_lifetime() {
    let app = App::with(settings().max_age(HOUR).rolling(true), |storage| storage);
    let cookie = app.client().await;
    for minute in 1..=60 {
        app.clock.advance(MINUTE);
        let response = app.ask(Some(&cookie), "/read").await;
        assert_eq!(response.set_cookie().is_some(), minute % 6 == 0, "{minute}");
    }
    let expected = Calls {
        read: 60,
        update: 10,
        ..FREE
    };
    assert_eq!(app.counts().take(), expected);
}

#[tokio::test]
async fn p9_every_further_save_of_one_handle_is_one_call() {
    let app = App::new();
    let cookie = app.client().await;
    let session = app.storage.load(&[&cookie]).await.unwrap();
    app.counts().take();
    for turn in 0..3 {
        session.insert("turn", turn).unwrap();
        app.storage.save(&session).await.unwrap();
        assert_eq!(app.counts().take(), Calls { update: 1, ..FREE });
    }
    session.renew().unwrap();
    app.storage.save(&session).await.unwrap();
    let renewal = Calls {
        create: 1,
        end: 1,
        ..FREE
    };
    assert_eq!(app.counts().take(), renewal);
    assert_eq!(
        app.storage.save(&session).await.unwrap(),
        CookieChange::Keep
    );
    assert_eq!(app.counts().take(), FREE);
}
