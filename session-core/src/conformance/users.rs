//! The rules of a server-side storage with an index of users, whose session key is `user`.

use std::sync::Arc;

use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::{Client, HOUR, MINUTE, Maker, fresh, settings, timed};
use crate::cookie::change::CookieChange;
use crate::error::{ErrorKind, Result};
use crate::session::Session;
use crate::session::identity::Identity;
use crate::storage::Storage;
use crate::users::{UserSession, UserSessions};

#[doc(hidden)]
#[macro_export]
macro_rules! __users_storage {
    ($maker:ident) => {
        use $crate::conformance::users as users_storage;
        $crate::__rules! { $maker, users_storage,
            every_login_is_listed,
            a_list_shows_what_the_sessions_hold,
            ending_all_ends_the_sessions_of_one_user,
            ending_the_others_keeps_the_current_session,
            one_session_ends_by_its_handle,
            a_renewed_session_keeps_its_handle,
            a_save_that_changes_the_user_moves_the_session,
            any_json_value_is_a_user,
            a_slow_request_brings_no_session_back,
            a_session_lives_on_and_is_listed,
            simultaneous_logins_are_all_listed,
            simultaneous_ends_end_each_session_once,
        }
    };
}

/// A user that no other rule knows.
fn user() -> String {
    Identity::random().unwrap().as_str().to_owned()
}

async fn login(storage: &dyn Storage, user: &str) -> Client {
    Client::with(storage, "user", user).await
}

fn sessions<'a>(storage: &'a dyn Storage, user: &str) -> UserSessions<'a> {
    UserSessions::of_user(storage, user).unwrap()
}

async fn list(storage: &dyn Storage, user: &str) -> Vec<UserSession> {
    sessions(storage, user).list().await.unwrap()
}

async fn is_alive(storage: &dyn Storage, client: &Client) -> bool {
    !client.load(storage).await.is_new()
}

/// Each login is listed, the oldest first. A logout is not.
pub async fn every_login_is_listed(make: impl Maker) {
    let storage = fresh(&make).await;
    let user = user();
    assert!(list(&storage, &user).await.is_empty());
    let mut clients = Vec::new();
    for count in 1..=20 {
        clients.push(login(&storage, &user).await);
        assert_eq!(list(&storage, &user).await.len(), count);
    }
    for client in clients.iter_mut().step_by(2) {
        let session = client.load(&storage).await;
        session.invalidate().unwrap();
        client.save(&storage, &session).await;
    }
    assert_eq!(list(&storage, &user).await.len(), 10);
}

/// A list has the values of the sessions, their dates, and which one is the current.
pub async fn a_list_shows_what_the_sessions_hold(make: impl Maker) {
    let (storage, clock) = timed(&make, settings()).await;
    let user = user();
    let mut phone = login(&storage, &user).await;
    login(&storage, &user).await;
    let began = crate::clock::Clock::now(&clock);
    clock.advance(MINUTE);
    let session = phone.load(&storage).await;
    session.insert("device", "phone").unwrap();
    phone.save(&storage, &session).await;
    let session = phone.load(&storage).await;
    let of_user = UserSessions::of_session(&storage, &session).unwrap();
    let listed = of_user.unwrap().list().await.unwrap();
    let current: Vec<bool> = listed.iter().map(UserSession::is_current).collect();
    assert_eq!(current, [true, false]);
    assert_eq!(listed[0].get("device").unwrap(), Some("phone".to_owned()));
    assert_eq!(listed[0].started(), began);
    assert_eq!(listed[0].created(), began + MINUTE);
    assert_eq!(listed[1].get::<String>("device").unwrap(), None);
    assert_eq!(listed[1].data::<Value>().unwrap(), json!({"user": user}));
    for shown in [format!("{listed:?}"), format!("{storage:?}")] {
        assert!(!shown.contains(&user) && !shown.contains("phone"));
    }
}

/// Ending all sessions of a user ends these, also the current one, and no others.
pub async fn ending_all_ends_the_sessions_of_one_user(make: impl Maker) {
    let storage = fresh(&make).await;
    let (alice, bob) = (user(), user());
    let mut one = login(&storage, &alice).await;
    let other = login(&storage, &alice).await;
    let bobs = login(&storage, &bob).await;
    let session = one.load(&storage).await;
    session.insert("dropped", 1).unwrap();
    let of_user = UserSessions::of_session(&storage, &session).unwrap();
    assert_eq!(of_user.unwrap().end_all().await.unwrap(), 2);
    assert!(session.is_empty());
    assert_eq!(one.save(&storage, &session).await, CookieChange::Remove);
    assert!(!is_alive(&storage, &other).await);
    assert!(is_alive(&storage, &bobs).await);
    assert!(list(&storage, &alice).await.is_empty());
    assert_eq!(sessions(&storage, &alice).end_all().await.unwrap(), 0);
    assert_eq!(sessions(&storage, &bob).end_all().await.unwrap(), 1);
}

/// Ending the others keeps the current session and what its request changes.
pub async fn ending_the_others_keeps_the_current_session(make: impl Maker) {
    let storage = fresh(&make).await;
    let user = user();
    let other = login(&storage, &user).await;
    let mut kept = login(&storage, &user).await;
    let late = login(&storage, &user).await;
    let session = kept.load(&storage).await;
    session.renew().unwrap();
    kept.save(&storage, &session).await;
    let session = kept.load(&storage).await;
    session.insert("changed", 1).unwrap();
    let of_user = UserSessions::of_session(&storage, &session).unwrap();
    assert_eq!(of_user.unwrap().end_others().await.unwrap(), 2);
    kept.save(&storage, &session).await;
    assert_eq!(kept.load(&storage).await.keys(), ["user", "changed"]);
    assert!(!is_alive(&storage, &other).await && !is_alive(&storage, &late).await);
}

/// One session ends by its handle, and only for its own user.
pub async fn one_session_ends_by_its_handle(make: impl Maker) {
    let storage = fresh(&make).await;
    let (alice, bob) = (user(), user());
    let client = login(&storage, &alice).await;
    login(&storage, &alice).await;
    let handle = list(&storage, &alice).await[0].handle().to_owned();
    assert!(!handle.contains(client.identity()));
    for (user, handle) in [
        (&alice, "none"),
        (&alice, client.identity()),
        (&bob, &handle),
    ] {
        assert_eq!(sessions(&storage, user).end(handle).await.unwrap(), 0);
    }
    assert!(is_alive(&storage, &client).await);
    assert_eq!(sessions(&storage, &alice).end(&handle).await.unwrap(), 1);
    assert!(!is_alive(&storage, &client).await);
    assert_eq!(list(&storage, &alice).await.len(), 1);
}

/// A renewal carries the handle along, and the session is listed once.
pub async fn a_renewed_session_keeps_its_handle(make: impl Maker) {
    let storage = fresh(&make).await;
    let user = user();
    let mut client = login(&storage, &user).await;
    let handle = list(&storage, &user).await[0].handle().to_owned();
    for _ in 0..3 {
        let session = client.load(&storage).await;
        session.renew().unwrap();
        client.save(&storage, &session).await;
        let listed = list(&storage, &user).await;
        assert_eq!(listed.len(), 1);
        assert_eq!(listed[0].handle(), handle);
    }
    assert_eq!(sessions(&storage, &user).end(&handle).await.unwrap(), 1);
    assert!(!is_alive(&storage, &client).await);
}

/// A login by a plain `insert` gets a fresh identity. So does any change of the user.
pub async fn a_save_that_changes_the_user_moves_the_session(make: impl Maker) {
    let storage = fresh(&make).await;
    let mut client = Client::with(&storage, "k", 1).await;
    let users = [user(), user()];
    for user in &users {
        let old = client.identity().to_owned();
        let session = client.load(&storage).await;
        session.insert("user", user).unwrap();
        client.save(&storage, &session).await;
        assert_ne!(client.identity(), old);
        assert!(storage.load(&[&old]).await.unwrap().is_new());
        assert_eq!(client.load(&storage).await.keys(), ["k", "user"]);
        assert_eq!(list(&storage, user).await.len(), 1);
    }
    assert!(list(&storage, &users[0]).await.is_empty());
    assert_eq!(sessions(&storage, &users[0]).end_all().await.unwrap(), 0);
    assert!(is_alive(&storage, &client).await);
}

/// Numbers, texts of any length and objects are users. Null is none.
pub async fn any_json_value_is_a_user(make: impl Maker) {
    let storage = fresh(&make).await;
    let own = user();
    let users = [
        json!([own, 1]),
        json!([own, "1"]),
        json!([own, 1.5]),
        json!({"id": own, "tenant": {"b": "é", "a": null}}),
        json!(own.repeat(100)),
    ];
    for user in &users {
        let session = storage.load(&[]).await.unwrap();
        session.insert("user", user).unwrap();
        storage.save(&session).await.unwrap();
    }
    for user in &users {
        let of_user = UserSessions::of_user(&storage, user).unwrap();
        assert_eq!(of_user.list().await.unwrap().len(), 1);
        assert_eq!(of_user.end_all().await.unwrap(), 1);
    }
    let nobody = Client::with(&storage, "user", Value::Null).await;
    let session = nobody.load(&storage).await;
    let of_user = UserSessions::of_session(&storage, &session).unwrap();
    assert!(of_user.is_none());
}

/// A slow writer, toucher or renewer of a session that ended gets an error, and nothing comes back.
pub async fn a_slow_request_brings_no_session_back(make: impl Maker) {
    let changes: [fn(&Session) -> Result<()>; 3] = [
        |session| session.insert("slow", 1),
        Session::changed,
        Session::renew,
    ];
    let storage = fresh(&make).await;
    let user = user();
    for change in changes {
        let client = login(&storage, &user).await;
        let slow = client.load(&storage).await;
        change(&slow).unwrap();
        assert_eq!(sessions(&storage, &user).end_all().await.unwrap(), 1);
        let refused = storage.save(&slow).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Ended);
        assert!(!is_alive(&storage, &client).await);
        assert!(list(&storage, &user).await.is_empty());
    }
}

/// A session that is written again and again is listed far beyond its first lifetime.
pub async fn a_session_lives_on_and_is_listed(make: impl Maker) {
    let (storage, clock) = timed(&make, settings().max_age(HOUR)).await;
    let user = user();
    let mut client = login(&storage, &user).await;
    for turn in 0..10 {
        clock.advance(MINUTE * 59);
        let session = client.load(&storage).await;
        session.insert("turn", turn).unwrap();
        client.save(&storage, &session).await;
    }
    login(&storage, &user).await;
    assert_eq!(sessions(&storage, &user).end_all().await.unwrap(), 2);
    assert!(!is_alive(&storage, &client).await);
}

/// Logins of one user at the same moment are all listed.
pub async fn simultaneous_logins_are_all_listed(make: impl Maker) {
    const LOGINS: usize = 32;
    let storage: Arc<dyn Storage> = Arc::new(fresh(&make).await);
    let user = user();
    let mut saves = JoinSet::new();
    for _ in 0..LOGINS {
        let session = storage.load(&[]).await.unwrap();
        session.insert("user", &user).unwrap();
        let storage = storage.clone();
        saves.spawn(async move { storage.save(&session).await });
    }
    for saved in saves.join_all().await {
        saved.unwrap();
    }
    assert_eq!(list(&*storage, &user).await.len(), LOGINS);
    assert_eq!(sessions(&*storage, &user).end_all().await.unwrap(), LOGINS);
}

/// Two ends at the same moment end each session once.
pub async fn simultaneous_ends_end_each_session_once(make: impl Maker) {
    let storage: Arc<dyn Storage> = Arc::new(fresh(&make).await);
    let user = user();
    for _ in 0..8 {
        login(&*storage, &user).await;
    }
    let mut ends = JoinSet::new();
    for _ in 0..4 {
        let (storage, user) = (storage.clone(), user.clone());
        ends.spawn(async move { sessions(&*storage, &user).end_all().await });
    }
    let ended: usize = ends.join_all().await.into_iter().map(Result::unwrap).sum();
    assert_eq!(ended, 8);
    assert!(list(&*storage, &user).await.is_empty());
}
