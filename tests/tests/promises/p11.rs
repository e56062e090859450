//! P11: log out everywhere. What lists and ends the sessions of a user, in memory.

use serde_json::{Value, json};
use session_core::keyed::{Backend as _, Found};
use session_core::{
    CookieBuilder, CookieChange, ErrorKind, Storage, UserIndex, UserSession, UserSessions,
};

use crate::app::{App, HOUR, MINUTE, SECOND, settings};

/// An identity as Python draws it.
pub(crate) const PYTHON: &str = "0123456789abcdef0123456789abcdef";

/// An app whose storage keeps an index of users.
pub(crate) fn app() -> App {
    with(settings(), "user")
}

pub(crate) fn with(cookie: CookieBuilder, index: impl Into<UserIndex>) -> App {
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
        Found::Value(stored) => serde_json::from_slice(stored.value()).unwrap(),
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
        Found::Value(stored) => serde_json::from_slice(stored.value()).unwrap(),
        other => panic!("{other:?}"),
    }
}
