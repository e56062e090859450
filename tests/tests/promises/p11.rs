//! P11: log out everywhere. What lists and ends the sessions of a user, in memory: what it does,
//! what it costs, and what fails.

use serde_json::{Value, json};
use session_core::keyed::{Backend as _, Found};
use session_core::{
    CookieBuilder, CookieChange, ErrorKind, KeyedStorage, Session, Storage, UserIndex, UserSession,
    UserSessions,
};
use session_tests::stores::{Call, Calls, When};

use crate::app::{App, HOUR, MINUTE, SECOND, Shared, settings};

/// An app whose storage keeps an index of users.
pub(crate) fn app() -> App {
    with(settings(), "user")
}

fn with(cookie: CookieBuilder, index: impl Into<UserIndex>) -> App {
    let index = index.into();
    App::with(cookie, move |storage| {
        storage.with_user_index(index.clone())
    })
}

/// Logs a user in with the key `old`; returns the cookie.
pub(crate) async fn login(app: &App, user: &str) -> String {
    let response = app.ask(None, &format!("/login/{user}")).await;
    let cookie = response.cookie().unwrap();
    let response = app.ask(Some(&cookie), "/set/old/1").await;
    assert_eq!(response.status, 200);
    app.counts().take();
    cookie
}

pub(crate) async fn list(app: &App, user: &str) -> Vec<UserSession> {
    let sessions = UserSessions::of_user(&app.storage, user).unwrap();
    sessions.list().await.unwrap()
}

async fn handle_of(app: &App, cookie: &str) -> String {
    let session = app.storage.load(&[cookie]).await.unwrap();
    let sessions = UserSessions::of_session(&app.storage, &session).unwrap();
    let listed = sessions.unwrap().list().await.unwrap();
    let current: Vec<_> = listed.iter().filter(|it| it.is_current()).collect();
    assert_eq!(current.len(), 1);
    current[0].handle().to_owned()
}

/// The key of the index that was created last.
pub(crate) fn index_key(app: &App) -> String {
    let created = app.counts().created();
    let key = created.iter().rfind(|key| key.starts_with('@'));
    key.unwrap().clone()
}

/// The JSON of the index that was created last.
pub(crate) async fn index(app: &App) -> Value {
    match app.memory().read(&index_key(app)).await.unwrap() {
        Found::Record(stored) => serde_json::from_slice(stored.value()).unwrap(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn p11_end_all_ends_every_session_of_the_user_and_of_no_other() {
    let app = app();
    let alice = [login(&app, "alice").await, login(&app, "alice").await];
    let bob = login(&app, "bob").await;
    assert_eq!(list(&app, "alice").await.len(), 2);
    let response = app.ask(Some(&alice[0]), "/end-all").await;
    assert_eq!((response.status.as_u16(), &*response.body), (200, "2"));
    assert!(response.set_cookie().unwrap().contains("Max-Age=0"));
    for cookie in &alice {
        assert_eq!(app.keys(cookie).await, None);
        assert_eq!(&*app.stored(cookie).await.unwrap(), b"{\n}");
    }
    assert!(app.keys(&bob).await.is_some());
    assert_eq!(list(&app, "alice").await.len(), 0);
    assert_eq!(app.ask(Some(&bob), "/end-all").await.body, "1");
    assert_eq!(app.ask(Some(&bob), "/end-all").await.status, 401);
    assert_eq!(app.ask(None, "/sessions").await.status, 401);
}

#[tokio::test]
async fn p11_end_others_keeps_the_current_session() {
    let app = app();
    let cookies = [
        login(&app, "alice").await,
        login(&app, "alice").await,
        login(&app, "alice").await,
    ];
    let response = app.ask(Some(&cookies[1]), "/write-end-others").await;
    assert_eq!((response.status.as_u16(), &*response.body), (200, "2"));
    assert_eq!(app.keys(&cookies[0]).await, None);
    assert_eq!(app.keys(&cookies[2]).await, None);
    let kept = app.keys(&cookies[1]).await.unwrap();
    assert_eq!(kept, ["user", "old", "written"]);
    assert_eq!(app.ask(Some(&cookies[1]), "/end-others").await.body, "0");
}

#[tokio::test]
async fn p11_one_session_ends_by_its_handle_and_only_for_its_user() {
    let app = app();
    let (phone, laptop) = (login(&app, "alice").await, login(&app, "alice").await);
    let bob = login(&app, "bob").await;
    let handle = handle_of(&app, &phone).await;
    assert_eq!(handle.len(), 32);
    assert!(!handle.contains(&phone) && !phone.contains(&handle));
    for other in ["", "x", "@", &phone, &"0".repeat(32), &handle[1..]] {
        let response = app.ask(Some(&laptop), &format!("/end/{other}")).await;
        assert_eq!((response.status.as_u16(), &*response.body), (200, "0"));
    }
    let path = format!("/end/{handle}");
    assert_eq!(app.ask(Some(&bob), &path).await.body, "0");
    assert!(app.keys(&phone).await.is_some());
    let response = app.ask(Some(&laptop), &path).await;
    assert_eq!((&*response.body, response.set_cookie()), ("1", None));
    assert_eq!(app.keys(&phone).await, None);
    assert_eq!(app.ask(Some(&laptop), &path).await.body, "0");
}

#[tokio::test]
async fn p11_ending_the_own_session_drops_its_changes_and_its_cookie() {
    for all in [true, false] {
        let app = app();
        let cookie = login(&app, "alice").await;
        let handle = handle_of(&app, &cookie).await;
        let path = if all {
            "/write-end-all".to_owned()
        } else {
            format!("/write-end/{handle}")
        };
        let response = app.ask(Some(&cookie), &path).await;
        assert_eq!(
            (response.status.as_u16(), &*response.body),
            (200, "1"),
            "{path}"
        );
        assert!(response.set_cookie().unwrap().contains("Max-Age=0"));
        assert_eq!(app.keys(&cookie).await, None);
        assert!(app.live().await.is_empty());
    }
}

#[tokio::test]
async fn p11_a_session_that_ended_here_lets_its_client_start_again() {
    let app = app();
    let cookie = login(&app, "alice").await;
    UserSessions::of_user(&app.storage, "alice")
        .unwrap()
        .end_all()
        .await
        .unwrap();
    let response = app.ask(Some(&cookie), "/set/k/1").await;
    assert_eq!(response.status, 200);
    assert_eq!(app.keys(&response.cookie().unwrap()).await.unwrap(), ["k"]);
}

#[tokio::test]
async fn p11_the_handle_and_the_place_in_the_list_survive_renewals() {
    let app = app();
    let mut cookie = login(&app, "alice").await;
    let other = login(&app, "alice").await;
    let handle = handle_of(&app, &cookie).await;
    for _ in 0..5 {
        let response = app.ask(Some(&cookie), "/renew").await;
        let next = response.cookie().unwrap();
        assert_ne!(next, cookie);
        cookie = next;
        app.clock.advance(MINUTE * 2);
        assert_eq!(handle_of(&app, &cookie).await, handle);
    }
    let listed = list(&app, "alice").await;
    assert_eq!(listed.len(), 2);
    assert_eq!(listed[0].handle(), handle);
    let path = format!("/end/{handle}");
    assert_eq!(app.ask(Some(&other), &path).await.body, "1");
    assert_eq!(app.keys(&cookie).await, None);
}

#[tokio::test]
async fn p11_a_list_tells_what_the_application_keeps_and_when() {
    let app = app();
    let began = app.storage.config().now();
    let cookie = login(&app, "alice").await;
    app.clock.advance(MINUTE);
    app.ask(Some(&cookie), "/set/device/phone").await;
    let session = app.storage.load(&[&cookie]).await.unwrap();
    let sessions = UserSessions::of_session(&app.storage, &session).unwrap();
    let listed = sessions.unwrap().list().await.unwrap();
    let [one] = &listed[..] else {
        panic!("{listed:?}")
    };
    assert!(one.is_current());
    assert_eq!(one.started(), began);
    assert_eq!(one.created(), began + MINUTE);
    assert_eq!(one.keys(), ["user", "old", "device"]);
    assert_eq!(one.get::<String>("device").unwrap().unwrap(), "phone");
    assert_eq!(one.get::<u8>("none").unwrap(), None);
    assert_eq!(one.data::<Value>().unwrap()["user"], "alice");
    // An expired session, and one without a user any more, are left out.
    let away = login(&app, "alice").await;
    app.ask(Some(&away), "/remove/user").await;
    assert_eq!(list(&app, "alice").await.len(), 1);
    app.clock.advance(HOUR + SECOND);
    assert_eq!(list(&app, "alice").await.len(), 0);
}

/// A login where a session was emptied begins a new one, also if an older request wrote meanwhile.
#[tokio::test]
async fn p11_a_session_that_begins_in_an_emptied_one_tells_when() {
    for writes_meanwhile in [false, true] {
        let app = app();
        let old = app.client().await;
        let slow = app.storage.load(&[&old]).await.unwrap();
        app.ask(Some(&old), "/empty").await;
        app.clock.advance(MINUTE);
        let began = app.storage.config().now();
        let login = app.storage.load(&[&old]).await.unwrap();
        login.insert("user", "alice").unwrap();
        if writes_meanwhile {
            slow.insert("slow", 1).unwrap();
            app.storage.save(&slow).await.unwrap();
        }
        let saved = app.storage.save(&login).await.unwrap();
        let CookieChange::Set { value, .. } = saved else {
            panic!("{saved:?}")
        };
        app.clock.advance(MINUTE);
        app.ask(Some(&value), "/set/late/1").await;
        let listed = list(&app, "alice").await;
        assert_eq!(listed[0].keys().contains(&"slow".into()), writes_meanwhile);
        assert_eq!(listed[0].started(), began, "{writes_meanwhile}");
    }
}

/// A login by a plain `insert` is no fixation, and listed for certain.
#[tokio::test]
async fn p11_a_save_that_changes_the_user_moves_the_session() {
    let app = app();
    let anonymous = app.client().await;
    let response = app.ask(Some(&anonymous), "/set/user/alice").await;
    let alice = response.cookie().unwrap();
    assert_ne!(alice, anonymous);
    assert_eq!(app.keys(&anonymous).await, None);
    assert_eq!(app.keys(&alice).await.unwrap(), ["k", "user"]);
    assert_eq!(list(&app, "alice").await.len(), 1);
    // The same user again stays.
    let response = app.ask(Some(&alice), "/set/user/alice").await;
    assert_eq!(response.cookie().unwrap(), alice);
    let response = app.ask(Some(&alice), "/set/user/bob").await;
    let bob = response.cookie().unwrap();
    assert_ne!(bob, alice);
    assert_eq!(list(&app, "alice").await.len(), 0);
    assert_eq!(list(&app, "bob").await.len(), 1);
    // The old entry leads to another user's session by now.
    let ended = UserSessions::of_user(&app.storage, "alice").unwrap();
    assert_eq!(ended.end_all().await.unwrap(), 0);
    assert!(app.keys(&bob).await.is_some());
}

/// A slow request sets the user that the session had when it was loaded. Meanwhile the session got
/// another one, or none.
#[tokio::test]
async fn p11_a_user_that_a_slow_request_sets_again_moves_the_session() {
    const BOBS: &[u8] = br#"{"created": 1700000000, "session": {"user": "bob", "n": 1}}"#;
    for is_removed in [true, false] {
        let app = app();
        let cookie = login(&app, "alice").await;
        let slow = app.storage.load(&[&cookie]).await.unwrap();
        slow.insert("user", "alice").unwrap();
        if is_removed {
            app.ask(Some(&cookie), "/remove/user").await;
        } else {
            app.plant(&cookie, BOBS).await;
        }
        let saved = app.storage.save(&slow).await.unwrap();
        let CookieChange::Set { value, .. } = saved else {
            panic!("{saved:?}")
        };
        assert_ne!(value, cookie);
        assert_eq!(app.keys(&cookie).await, None);
        assert_eq!(list(&app, "alice").await.len(), 1);
        assert_eq!(list(&app, "bob").await.len(), 0);
        assert_eq!(app.ask(Some(&value), "/end-all").await.body, "1");
    }
}

#[tokio::test]
async fn p11_any_json_value_is_a_user() {
    let long = "x".repeat(3000);
    let users = [
        json!(1),
        json!("1"),
        json!(1.5),
        json!(true),
        json!(""),
        json!([]),
        json!({"tenant": 1, "id": "é"}),
        json!(long),
        json!(u64::MAX),
    ];
    let app = app();
    for user in &users {
        let session = app.storage.load(&[]).await.unwrap();
        session.insert("user", user).unwrap();
        app.storage.save(&session).await.unwrap();
    }
    for user in &users {
        let sessions = UserSessions::of_user(&app.storage, user).unwrap();
        let listed = sessions.list().await.unwrap();
        assert_eq!(listed.len(), 1, "{user}");
        let value: Value = listed[0].get("user").unwrap().unwrap();
        assert_eq!(&value, user);
        assert_eq!(sessions.end_all().await.unwrap(), 1);
    }
    // Null is none.
    let session = app.storage.load(&[]).await.unwrap();
    session.insert("user", Value::Null).unwrap();
    app.storage.save(&session).await.unwrap();
    let sessions = UserSessions::of_session(&app.storage, &session).unwrap();
    assert!(sessions.is_none());
    let error = UserSessions::of_user(&app.storage, &Value::Null).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Value);
}

#[tokio::test]
async fn p11_a_storage_without_an_index_says_so() {
    let app = App::new();
    let session = app.storage.load(&[]).await.unwrap();
    let error = UserSessions::of_session(&app.storage, &session).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Settings);
    let error = UserSessions::of_user(&app.storage, &1).unwrap_err();
    assert!(error.to_string().contains("with_user_index"));
    // And another storage's session is refused.
    let other = self::app();
    let error = UserSessions::of_session(&other.storage, &session).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Settings);
}

#[tokio::test]
async fn p11_nothing_secret_is_in_keys_values_or_debug() {
    let app = App::with(settings(), |storage| {
        storage.with_user_index("user").hash_identities(true)
    });
    let cookie = login(&app, "alice-the-user").await;
    let key = index_key(&app);
    let digits = key.strip_prefix("@sid_").unwrap();
    assert_eq!(digits.len(), 64);
    assert!(digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
    let value = index(&app).await.to_string();
    let session = app.storage.load(&[&cookie]).await.unwrap();
    let sessions = UserSessions::of_session(&app.storage, &session).unwrap();
    let sessions = sessions.unwrap();
    let listed = sessions.list().await.unwrap();
    let shown = format!("{:?} {listed:?} {sessions:?}", app.storage);
    for text in [&key, &value, &shown] {
        assert!(!text.contains(&cookie), "{text}");
        assert!(!text.contains("alice"), "{text}");
    }
    assert!(!listed[0].handle().contains(&cookie));
    // No cookie names the index.
    for value in [key.clone(), format!("_{digits}"), digits.to_owned()] {
        assert!(app.storage.load(&[&value]).await.unwrap().is_new());
    }
}

const FREE: Calls = Calls {
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
    let answer = app.ask(Some(&emptied), "/set/user/alice").await;
    let next = answer.cookie().unwrap();
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

/// Takes the index out of the store, as eviction would.
async fn lose_index(app: &App) {
    let key = index_key(app);
    app.take_away(&key).await;
}

#[tokio::test]
async fn p11_a_missing_index_is_an_error_where_the_callers_session_is_covered() {
    let app = app();
    let (one, other) = (login(&app, "alice").await, login(&app, "alice").await);
    lose_index(&app).await;
    for path in ["/sessions", "/end-all", "/end-others", "/end/x"] {
        app.ask(Some(&one), path).await.assert_refused(503);
    }
    // A later login makes an index that does not know the others.
    login(&app, "alice").await;
    for path in ["/sessions", "/end-all", "/end-others", "/end/x"] {
        app.ask(Some(&one), path).await.assert_refused(503);
    }
    assert!(app.keys(&one).await.is_some() && app.keys(&other).await.is_some());
    // Each session is listed again within a lifetime.
    for _ in 0..2 {
        app.clock.advance(MINUTE * 50);
        for cookie in [&one, &other] {
            app.ask(Some(cookie), "/set/k/1").await;
        }
    }
    assert_eq!(app.ask(Some(&one), "/end-all").await.body, "2");
}

#[tokio::test]
async fn p11_an_unreadable_index_is_an_error_and_is_left_alone() {
    let app = app();
    let cookie = login(&app, "alice").await;
    let key = index_key(&app);
    app.plant_at(&key, b"{\"another\": \"program\"}").await;
    app.ask(None, "/login").await.assert_refused(503);
    assert_eq!(app.live().await.len(), 1, "what was stored is taken back");
    for path in ["/sessions", "/end-all", "/end-others", "/end/x", "/renew"] {
        app.ask(Some(&cookie), path).await.assert_refused(503);
    }
    assert_eq!(app.ask(Some(&cookie), "/set/k/1").await.status, 200);
    assert_eq!(app.ask(None, "/login/bob").await.status, 200);
    assert_eq!(index_at(&app, &key).await["another"], "program");
    // Once the key is deleted, the user can log in. For the old session it is no false 0.
    app.take_away(&key).await;
    assert_eq!(app.ask(None, "/login").await.status, 200);
    app.ask(Some(&cookie), "/end-all").await.assert_refused(503);
}

async fn index_at(app: &App, key: &str) -> Value {
    match app.memory().read(key).await.unwrap() {
        Found::Record(stored) => serde_json::from_slice(stored.value()).unwrap(),
        other => panic!("{other:?}"),
    }
}

pub(crate) const PYTHON: &str = "0123456789abcdef0123456789abcdef";

#[tokio::test]
async fn p11_a_session_of_python_is_listed_from_its_first_save_here() {
    let app = app();
    let record = br#"{"created": 1700000000, "session": {"user": "alice", "n": 1}}"#;
    app.plant(PYTHON, record).await;
    assert_eq!(app.ask(Some(PYTHON), "/read").await.body, "user n");
    assert_eq!(list(&app, "alice").await.len(), 0);
    // It is not covered, so this is no error.
    assert_eq!(app.ask(Some(PYTHON), "/end-all").await.body, "0");
    let response = app.ask(Some(PYTHON), "/set/here/1").await;
    assert_eq!(response.cookie().as_deref(), Some(PYTHON));
    assert_eq!(list(&app, "alice").await.len(), 1);
    // A write of Python's drops what the record says about the index, and does not unlist it.
    app.plant(PYTHON, record).await;
    assert_eq!(list(&app, "alice").await.len(), 1);
    app.counts().take();
    app.ask(Some(PYTHON), "/set/here/1").await;
    let calls = Calls {
        read: 2,
        update: 1,
        ..FREE
    };
    assert_eq!(app.counts().take(), calls, "it is listed already");
    app.plant(PYTHON, record).await;
    let ended = UserSessions::of_user(&app.storage, "alice").unwrap();
    assert_eq!(ended.end_all().await.unwrap(), 1);
    assert_eq!(&*app.stored(PYTHON).await.unwrap(), b"{\n}");
    // A slow write of Python's revives it. It is still listed.
    app.plant(PYTHON, record).await;
    for _ in 0..40 {
        login(&app, "alice").await;
    }
    assert_eq!(list(&app, "alice").await.len(), 41);
    assert_eq!(ended.end_all().await.unwrap(), 41);
    // Also if the list is checked for sessions that are gone while the tombstone is there.
    for _ in 0..120 {
        login(&app, "alice").await;
    }
    app.plant(PYTHON, record).await;
    assert_eq!(list(&app, "alice").await.len(), 121);
    assert_eq!(ended.end_all().await.unwrap(), 121);
}

/// Python drops the handle of a session that was renewed. End-others keeps it all the same.
#[tokio::test]
async fn p11_end_others_keeps_a_renewed_session_that_python_has_written() {
    let record = br#"{"created": 1700000000, "session": {"user": "alice"}}"#;
    for writes_here in [false, true] {
        for late in [false, true] {
            let app = app();
            let old = login(&app, "alice").await;
            let other = login(&app, "alice").await;
            let loaded = app.storage.load(&[&old]).await.unwrap();
            let new = app.ask(Some(&old), "/renew").await.cookie().unwrap();
            app.plant(&new, record).await;
            if writes_here {
                // It is listed anew, with the handle that it has since Python's write.
                app.clock.advance(SECOND);
                app.ask(Some(&new), "/set/k/1").await;
            }
            let session = if late {
                loaded
            } else {
                app.storage.load(&[&new]).await.unwrap()
            };
            let sessions = UserSessions::of_session(&app.storage, &session).unwrap();
            let sessions = sessions.unwrap();
            let listed = sessions.list().await.unwrap();
            assert_eq!(listed.iter().filter(|it| it.is_current()).count(), 1);
            assert_eq!(sessions.end_others().await.unwrap(), 1);
            assert!(app.keys(&new).await.is_some());
            assert_eq!(app.keys(&other).await, None);
        }
    }
}

/// A process that does not know the index writes a session: it is listed again here.
#[tokio::test]
async fn p11_a_process_without_the_index_unlists_nothing() {
    let app = app();
    let plain = |storage: &KeyedStorage<Shared>| {
        KeyedStorage::new(storage.backend().clone())
            .with_cookie(storage.config().cookie().clone())
            .with_clock(app.clock.clone())
    };
    let other = plain(&app.storage);
    let cookie = login(&app, "alice").await;
    for change in [Session::changed, Session::renew] {
        let listed = login(&app, "alice").await;
        let session = other.load(&[&listed]).await.unwrap();
        change(&session).unwrap();
        session.insert("there", 1).unwrap();
        let saved = other.save(&session).await.unwrap();
        let CookieChange::Set { value, .. } = saved else {
            panic!("{saved:?}")
        };
        let stored = app.stored(&value).await.unwrap();
        assert!(!String::from_utf8_lossy(&stored).contains("listed"));
        app.ask(Some(&value), "/set/here/1").await;
    }
    assert_eq!(list(&app, "alice").await.len(), 3);
    assert_eq!(app.ask(Some(&cookie), "/end-all").await.body, "3");
}
