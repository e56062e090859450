//! P6: an outage harms no session.

use session_core::{CookieChange, ErrorKind, Identity, RequestSession, Session, Storage};
use session_tests::stores::{Calls, When};

use crate::ADAPTER;
use crate::app::App;

const ALL: std::ops::RangeInclusive<usize> = 0..=usize::MAX;

#[tokio::test]
async fn p6_a_failed_load_is_a_503_that_touches_neither_cookie_nor_store() {
    for when in [When::Before, When::After] {
        for path in [
            "/read",
            "/set/k/new",
            "/renew",
            "/logout",
            "/restart",
            "/clear",
        ] {
            let app = App::new();
            let cookie = app.client().await;
            app.failing().fail(0..=0, when);
            app.ask(Some(&cookie), path).await.assert_refused(503);
            assert_eq!(
                app.counts().take(),
                Calls {
                    read: 1,
                    ..Calls::default()
                }
            );
            let session = app.storage.load(&[&cookie]).await.unwrap();
            assert_eq!(session.get::<String>("k").unwrap().unwrap(), "first");
            assert_eq!(app.live().await, [cookie]);
        }
    }
}

/// A handler that carries on without its session writes nothing, and its response goes out.
#[tokio::test]
async fn p6_nothing_is_written_after_a_failed_load_that_the_handler_swallowed() {
    let app = App::new();
    let cookie = app.client().await;
    let handler = async |request: http::Request<String>| {
        for _ in 0..3 {
            let failed = request.session().await.unwrap_err();
            assert_eq!(failed.kind(), ErrorKind::Unavailable);
        }
        Ok::<_, std::convert::Infallible>(http::Response::new(String::from("without")))
    };
    let service = ADAPTER.service(app.storage.clone(), handler);
    app.failing().fail(0..=0, When::Before);
    let request = http::Request::builder().header("cookie", format!("sid={cookie}"));
    let response = service
        .call(request.body(String::new()).unwrap())
        .await
        .unwrap();
    assert_eq!(
        (response.status().as_u16(), &**response.body()),
        (200, "without")
    );
    assert!(!response.headers().contains_key("set-cookie"));
    // Asked once, however often the handler asks: a store that is down is not asked again.
    assert_eq!(
        app.counts().take(),
        Calls {
            read: 1,
            ..Calls::default()
        }
    );
}

#[tokio::test]
async fn p6_a_save_that_was_not_acknowledged_is_never_a_success() {
    for when in [When::Before, When::After] {
        for path in [
            "/set/new/1",
            "/touch",
            "/renew",
            "/logout",
            "/restart",
            "/clear",
            "/empty",
            "/login",
        ] {
            let app = App::new();
            let cookie = app.client().await;
            let from = usize::from(path != "/login");
            app.failing().fail(from..=usize::MAX, when);
            app.ask(Some(&cookie), path).await.assert_refused(503);
            app.failing().heal();
        }
        let app = App::new();
        app.failing().fail(ALL, when);
        app.ask(None, "/set/k/v").await.assert_refused(503);
    }
}

#[tokio::test]
async fn p6_after_an_outage_the_same_cookie_works_as_before() {
    let app = App::new();
    let cookie = app.client().await;
    app.failing().fail(ALL, When::Before);
    for path in ["/read", "/set/new/1", "/renew", "/logout", "/login"] {
        app.ask(Some(&cookie), path).await.assert_refused(503);
    }
    app.failing().heal();
    let response = app.ask(Some(&cookie), "/set/after/1").await;
    assert_eq!(response.cookie(), Some(cookie.clone()));
    assert_eq!(app.keys(&cookie).await.unwrap(), ["k", "after"]);
    assert_eq!(app.live().await, [cookie]);
}

/// Fails each call of a save in turn, for `many` calls; the same handle then saves what it holds.
async fn saved_again(signed_in: bool, many: usize, change: impl Fn(&Session), keys: &[&str]) {
    for at in 0..4 {
        for when in [When::Before, When::After] {
            let app = App::new();
            let (old, session) = app.loaded(signed_in).await;
            change(&session);
            app.failing().fail(at..=at + many - 1, when);
            let first = app.storage.save(&session).await;
            app.failing().heal();
            let saved = match first {
                Ok(change) => Ok(change),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Unavailable);
                    assert!(session.is_changed());
                    app.storage.save(&session).await
                }
            };
            let what = format!("{many} from call {at} on failed {when:?}: {saved:?}");
            let Ok(CookieChange::Set { value, .. }) = saved else {
                panic!("{what}");
            };
            assert_eq!(app.keys(&value).await.unwrap(), keys, "{what}");
            assert!(!session.is_changed());
            if let Some(old) = old.filter(|old| *old != value) {
                assert_eq!(app.keys(&old).await, None, "{what}");
            }
        }
    }
}

#[tokio::test]
async fn p6_a_first_save_that_failed_is_made_up_for_by_the_same_handle() {
    let change = |session: &Session| session.insert("k", 1).unwrap();
    saved_again(false, 1, change, &["k"]).await;
}

#[tokio::test]
async fn p6_an_update_that_failed_keeps_its_delta() {
    let change = |session: &Session| {
        session.insert("new", 1).unwrap();
        session.remove("k").unwrap();
    };
    saved_again(true, 1, change, &["new"]).await;
}

#[tokio::test]
async fn p6_a_renewal_that_failed_is_made_up_for_by_the_same_handle() {
    let change = |session: &Session| {
        session.insert("new", 1).unwrap();
        session.renew().unwrap();
    };
    saved_again(true, 1, change, &["k", "new"]).await;
}

/// Both attempts at ending the old identity got no response.
#[tokio::test]
async fn p6_a_renewal_that_failed_twice_is_made_up_for_by_the_same_handle() {
    let change = |session: &Session| {
        session.insert("new", 1).unwrap();
        session.renew().unwrap();
    };
    saved_again(true, 2, change, &["k", "new"]).await;
}

#[tokio::test]
async fn p6_a_restart_that_failed_is_made_up_for_by_the_same_handle() {
    let change = |session: &Session| {
        session.invalidate().unwrap();
        session.insert("new", 1).unwrap();
    };
    saved_again(true, 1, change, &["new"]).await;
    saved_again(true, 2, change, &["new"]).await;
}

/// What another request saved after the response was lost is merged like any other change.
#[tokio::test]
async fn p6_a_retry_after_a_lost_reply_overwrites_no_other_change() {
    let app = App::new();
    let cookie = app.client().await;
    let session = app.storage.load(&[&cookie]).await.unwrap();
    session.insert("mine", 1).unwrap();
    app.failing().fail(0..=0, When::After);
    app.storage.save(&session).await.unwrap_err();
    app.failing().heal();
    app.ask(Some(&cookie), "/set/other/1").await;
    app.storage.save(&session).await.unwrap();
    assert_eq!(app.keys(&cookie).await.unwrap(), ["k", "mine", "other"]);
}

#[tokio::test]
async fn p6_a_creation_that_failed_twice_can_be_saved_again() {
    let app = App::new();
    let identity = Identity::random().unwrap();
    let session = app.storage.load(&[]).await.unwrap();
    session.set_new_identity(identity.clone()).unwrap();
    session.insert("k", 1).unwrap();
    app.failing().fail(0..=0, When::After);
    app.storage.save(&session).await.unwrap_err();
    session.insert("j", 1).unwrap();
    // The second write of the second try: it finds what the first one wrote.
    app.failing().fail(1..=1, When::Before);
    app.storage.save(&session).await.unwrap_err();
    app.failing().heal();
    app.storage.save(&session).await.unwrap();
    assert_eq!(app.keys(identity.as_str()).await.unwrap(), ["k", "j"]);
}

/// Logs in with the cookie of a session and with an unknown one, while calls fail. Returns the
/// client's cookie, and checks that it has a session.
async fn log_in_with_two(app: &App, cookie: &str, case: &str) -> String {
    let both = format!("{cookie}; sid=0123456789abcdef0123456789abcdef");
    let response = app.ask(Some(&both), "/login").await;
    app.failing().heal();
    let client = response.next_cookie(Some(cookie)).unwrap();
    let keys = app.keys(&client).await;
    assert!(
        keys.is_some(),
        "{case}: {}, and no session",
        response.status
    );
    client
}

/// Whichever two calls in a row fail.
#[tokio::test]
async fn p6_a_login_that_ends_one_of_two_sessions_leaves_the_client_with_one() {
    for at in 0..6 {
        let app = App::new();
        let cookie = app.client().await;
        app.failing().fail(at..=at + 1, When::Before);
        let case = format!("calls {at} and the next failed");
        let client = log_in_with_two(&app, &cookie, &case).await;
        assert_eq!(app.live().await, [client], "{case}");
    }
}

/// One reply is lost. The next call fails, or later two calls in a row.
#[tokio::test]
async fn p6_a_login_that_ends_one_of_two_sessions_leaves_the_client_with_one_if_a_reply_is_lost() {
    for lost in 0..8 {
        for at in lost + 1..10 {
            let last = if at == lost + 1 { at } else { at + 1 };
            let case = format!("the reply to call {lost} was lost, calls {at} to {last} failed");
            let app = App::new();
            let cookie = app.client().await;
            app.failing().fail(lost..=lost, When::After);
            app.failing().also_fail(at..=last, When::Before);
            log_in_with_two(&app, &cookie, &case).await;
        }
    }
}

#[tokio::test]
async fn p6_a_logout_that_ended_one_of_two_sessions_is_an_error() {
    let app = App::new();
    let (one, two) = (app.client().await, app.client().await);
    let session = app.storage.load(&[&one, &two]).await.unwrap();
    session.invalidate().unwrap();
    app.failing().fail(1..=2, When::Before);
    let saved = app.storage.save(&session).await;
    app.failing().heal();
    assert_eq!(saved.unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(app.live().await, [two]);
    app.storage.save(&session).await.unwrap();
    assert_eq!(app.live().await, [""; 0], "saved again, it is done");
}
