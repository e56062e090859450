//! P11: sessions that Python, or a process without the index, has written.

use session_core::{CookieChange, KeyedStorage, Session, Storage as _, UserSessions};
use session_tests::stores::Calls;

use crate::app::{SECOND, Shared};
use crate::p11::{PYTHON, app, list, login};
use crate::p11_costs::FREE;

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
