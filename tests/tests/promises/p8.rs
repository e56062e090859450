//! P8: nothing is lost silently.

use std::future::{Future as _, pending, ready};
use std::sync::{Arc, Mutex};
use std::task::{Context, Waker};

use http::{Request, Response};
use session_cookie::{EncryptedCookieStorage, Key, NaClCookieStorage, SimpleCookieStorage};
use session_core::{
    CookieChange, CookieSettings, Error, ErrorKind, Identity, MemoryStorage, RequestSession,
    Session, Storage,
};
use session_tests::stores::{Call, Calls, When};

use crate::ADAPTER;
use crate::app::App;

type Make = fn(CookieSettings) -> Arc<dyn Storage>;

const KINDS: [(&str, Make); 3] = [
    ("simple", |cookie| {
        Arc::new(SimpleCookieStorage::unprotected().with_cookie(cookie))
    }),
    ("fernet", |cookie| {
        Arc::new(EncryptedCookieStorage::new(key()).with_cookie(cookie))
    }),
    ("nacl", |cookie| {
        Arc::new(NaClCookieStorage::new(key()).with_cookie(cookie))
    }),
];

fn key() -> Key {
    Key::parse("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=").unwrap()
}

fn named(name: &str) -> CookieSettings {
    CookieSettings::builder(name.to_owned()).build().unwrap()
}

/// The bytes of the value in its header, quotes and escapes included.
async fn size(storage: &dyn Storage, filler: usize) -> usize {
    let session = storage.load(&[]).await.unwrap();
    session.insert("filler", "x".repeat(filler)).unwrap();
    let CookieChange::Set { value, .. } = storage.save(&session).await.unwrap() else {
        unreachable!()
    };
    let config = storage.config();
    let header = config
        .cookie()
        .set_cookie(&value, None, config.now())
        .unwrap();
    let pair = header.to_str().unwrap().split(';').next().unwrap();
    pair.len() - "n=".len()
}

#[tokio::test]
async fn p8_a_cookie_of_4096_bytes_is_kept_and_one_of_4097_is_an_error_before_anything_is_sent() {
    for (kind, make) in KINDS {
        // A filler with which the value leaves room for a name; the name then makes the sum.
        let probe = make(named("n"));
        let mut filler = 2500;
        while size(&*probe, filler).await < 4010 {
            filler += 10;
        }
        let value = size(&*probe, filler).await;
        for sum in [4095, 4096, 4097] {
            let name = "n".repeat(sum - value);
            let storage = make(named(&name));
            let session = storage.load(&[]).await.unwrap();
            session.insert("filler", "x".repeat(filler)).unwrap();
            let saved = storage.save(&session).await;
            if sum <= 4096 {
                let CookieChange::Set { value, .. } = saved.unwrap() else {
                    panic!("{kind}: {sum}");
                };
                let header =
                    storage
                        .config()
                        .cookie()
                        .set_cookie(&value, None, storage.config().now());
                let pair = header
                    .unwrap()
                    .to_str()
                    .unwrap()
                    .split(';')
                    .next()
                    .unwrap()
                    .len();
                assert_eq!(pair - "=".len(), sum, "{kind}");
                let loaded = storage.load(&[&value]).await.unwrap();
                assert_eq!(
                    loaded.get::<String>("filler").unwrap().unwrap().len(),
                    filler
                );
                continue;
            }
            assert_eq!(saved.unwrap_err().kind(), ErrorKind::TooLarge, "{kind}");
            assert!(session.is_changed() && session.is_new(), "{kind}");
            // A smaller session can be saved.
            session.insert("filler", "x").unwrap();
            let saved = storage.save(&session).await.unwrap();
            assert!(matches!(saved, CookieChange::Set { .. }));
        }
    }
}

#[tokio::test]
async fn p8_every_change_after_the_commit_is_an_error() {
    for path in ["/read", "/write"] {
        let kept: Arc<Mutex<Option<Session>>> = Arc::default();
        let keep = kept.clone();
        let handler = move |request: Request<String>| {
            let keep = keep.clone();
            async move {
                let session = request.session().await?;
                if request.uri() == "/write" {
                    session.insert("k", 1)?;
                }
                *keep.lock().unwrap() = Some(session);
                Ok::<_, Error>(Response::new(String::new()))
            }
        };
        let service = ADAPTER.service(MemoryStorage::default(), handler);
        let request = Request::builder().uri(path).body(String::new()).unwrap();
        service.call(request).await.unwrap();
        let session = kept.lock().unwrap().take().unwrap();
        let keys = session.keys();
        let refused = [
            session.save().await,
            session.modify("late", |late: &mut u8| *late += 1),
            session.set_data(&std::collections::BTreeMap::from([("late".to_owned(), 1)])),
            session.take::<u8>("k").map(drop),
            session.insert("late", 1),
            session.remove("k").map(drop),
            session.update("late", |_: Option<u8>| 1).map(drop),
            session.clear(),
            session.changed(),
            session.invalidate(),
            session.renew(),
            session.set_max_age(None),
            session.set_new_identity(Identity::random().unwrap()),
        ];
        for (at, refused) in refused.into_iter().enumerate() {
            assert_eq!(refused.unwrap_err().kind(), ErrorKind::Committed, "{at}");
        }
        assert_eq!(session.keys(), keys);
        assert!(!session.is_changed());
    }
}

/// Changes the session while its save is under way at one of `calls`, and saves what that left.
async fn changed_while_saving(
    before: impl Fn(&Session),
    calls: &[Call],
    meanwhile: impl Fn(&Session),
) -> (App, String, Session) {
    let app = App::new();
    let cookie = app.client().await;
    let session = app.storage.load(&[&cookie]).await.unwrap();
    before(&session);
    let hold = app.gate().hold_any(calls, When::After);
    let save = app.start_save(&session);
    hold.reached().await;
    meanwhile(&session);
    hold.open();
    save.await.unwrap().unwrap();
    assert!(session.is_changed(), "the change was forgotten");
    // Another request's change in between makes the next save merge.
    app.ask(Some(&cookie), "/set/other/1").await;
    app.storage.save(&session).await.unwrap();
    (app, cookie, session)
}

fn insert(session: &Session) {
    session.insert("mine", 1).unwrap();
}

fn insert_late(session: &Session) {
    session.insert("late", 1).unwrap();
}

#[tokio::test]
async fn p8_an_insertion_while_an_update_is_under_way_is_saved_next() {
    let (app, cookie, _) = changed_while_saving(insert, &[Call::Update], insert_late).await;
    let keys = app.keys(&cookie).await.unwrap();
    assert_eq!(keys, ["k", "mine", "other", "late"]);
}

#[tokio::test]
async fn p8_an_insertion_while_a_renewal_is_under_way_is_saved_next() {
    let before = |session: &Session| session.renew().unwrap();
    let (app, _, session) = changed_while_saving(before, &[Call::Create], insert_late).await;
    let new = session.identity().unwrap();
    assert!(
        app.keys(new.as_str())
            .await
            .unwrap()
            .contains(&"late".to_owned())
    );
}

#[tokio::test]
async fn p8_an_insertion_while_a_logout_is_under_way_is_saved_next() {
    for before in [Session::invalidate, Session::clear] {
        let before = |session: &Session| before(session).unwrap();
        let (app, cookie, session) = changed_while_saving(before, &[Call::End], insert_late).await;
        assert_eq!(app.keys(&cookie).await, None);
        let new = session.identity().unwrap();
        assert_eq!(app.keys(new.as_str()).await.unwrap(), ["late"]);
    }
}

#[tokio::test]
async fn p8_a_logout_while_an_update_is_under_way_is_carried_out_next() {
    let meanwhile = |session: &Session| session.invalidate().unwrap();
    let (app, cookie, _) = changed_while_saving(insert, &[Call::Update], meanwhile).await;
    assert_eq!(app.keys(&cookie).await, None);
    assert!(app.live().await.is_empty());
}

#[tokio::test]
async fn p8_a_renewal_while_an_update_is_under_way_is_carried_out_next() {
    let meanwhile = |session: &Session| session.renew().unwrap();
    let (app, cookie, session) = changed_while_saving(insert, &[Call::Update], meanwhile).await;
    let new = session.identity().unwrap();
    assert_ne!(new.as_str(), cookie);
    assert_eq!(app.keys(&cookie).await, None);
    assert_eq!(
        app.keys(new.as_str()).await.unwrap(),
        ["k", "mine", "other"]
    );
}

/// The merge that a conflict asks for must not bring back what was invalidated meanwhile.
#[tokio::test]
async fn p8_a_logout_while_a_conflicting_save_is_under_way_is_carried_out_next() {
    for renews in [false, true] {
        for restarts in [false, true] {
            let app = App::new();
            let cookie = app.client().await;
            let session = app.storage.load(&[&cookie]).await.unwrap();
            session.insert("mine", 1).unwrap();
            if renews {
                session.renew().unwrap();
            }
            let call = if renews { Call::End } else { Call::Update };
            let hold = app.gate().hold(call, When::Before);
            let save = app.start_save(&session);
            hold.reached().await;
            app.another().ask(Some(&cookie), "/set/other/1").await;
            session.invalidate().unwrap();
            if restarts {
                session.insert("next", 1).unwrap();
            }
            hold.open();
            save.await.unwrap().unwrap();
            app.storage.save(&session).await.unwrap();
            assert_eq!(app.keys(&cookie).await, None, "{renews} {restarts}");
            let live = app.live().await;
            assert_eq!(live.len(), usize::from(restarts), "{renews} {restarts}");
            for identity in live {
                assert_eq!(app.keys(&identity).await.unwrap(), ["next"]);
            }
        }
    }
}

/// The request that a handler gave away.
type Kept = Arc<Mutex<Option<Request<()>>>>;

/// A handler that gives away its request, and a response that has left.
#[tokio::test]
async fn p8_what_is_first_asked_for_after_the_response_takes_no_change() {
    let kept: Kept = Arc::default();
    let keep = kept.clone();
    let service = ADAPTER.service(MemoryStorage::default(), move |request: Request<()>| {
        *keep.lock().unwrap() = Some(request);
        ready(Ok::<_, Error>(Response::new(String::new())))
    });
    service.call(Request::new(())).await.unwrap();
    let request = kept.lock().unwrap().take().unwrap();
    refuses_changes(&request).await;
}

#[tokio::test]
async fn p8_a_request_that_ended_without_a_response_takes_no_change() {
    let kept: Kept = Arc::default();
    let keep = kept.clone();
    let service = ADAPTER.service(MemoryStorage::default(), move |request: Request<()>| {
        *keep.lock().unwrap() = Some(request);
        pending::<Result<Response<String>, Error>>()
    });
    let mut response = Box::pin(service.call(Request::new(())));
    let mut context = Context::from_waker(Waker::noop());
    assert!(response.as_mut().poll(&mut context).is_pending());
    let request = kept.lock().unwrap().take().unwrap();
    let held = request.session().await.unwrap();
    held.insert("k", 1).unwrap();
    drop(response);
    let refused = held.insert("k", 2).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Committed);
    refuses_changes(&request).await;
}

async fn refuses_changes(request: &Request<()>) {
    let refused = request.new_session().unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Committed);
    let late = request.session().await.unwrap();
    let refused = late.insert("k", 1).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Committed);
    let refused = late.save().await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Committed);
}

#[tokio::test]
async fn p8_an_identity_that_could_not_be_loaded_again_is_refused() {
    let wanted = "own_0123456789abcdef";
    for factory in [false, true] {
        let app = App::with(crate::app::settings(), move |storage| {
            if factory {
                storage.with_key_factory(|| unreachable!("the session has its own"))
            } else {
                storage
            }
        });
        let session = app.storage.load(&[]).await.unwrap();
        let identity = Identity::parse(wanted).unwrap();
        session.set_new_identity(identity).unwrap();
        session.insert("k", 1).unwrap();
        let saved = app.storage.save(&session).await;
        if factory {
            saved.unwrap();
            assert_eq!(app.keys(wanted).await.unwrap(), ["k"]);
        } else {
            assert_eq!(saved.unwrap_err().kind(), ErrorKind::Identity);
            assert!(app.memory().is_empty(), "nothing is stored");
        }
    }
}

/// F8: the session of one storage is not saved by another.
#[tokio::test]
async fn p8_a_session_of_another_storage_is_refused_and_nothing_is_stored() {
    let app = App::new();
    let cookie = app.client().await;
    let before = app.stored(&cookie).await;
    let other = App::new();
    let session = other.storage.load(&[&cookie]).await.unwrap();
    session.insert("mine", 1).unwrap();
    app.counts().take();
    for refused in [
        app.storage.save(&session).await.unwrap_err(),
        // A second process has the same settings, but its sessions are its own.
        other.another().storage.save(&session).await.unwrap_err(),
        app.storage.save(&Session::detached()).await.unwrap_err(),
    ] {
        assert_eq!(refused.kind(), ErrorKind::Settings);
    }
    for (kind, make) in KINDS {
        let refused = make(named("sid")).save(&session).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Settings, "{kind}");
        let theirs = make(named("sid")).load(&[]).await.unwrap();
        theirs.insert("k", 1).unwrap();
        let refused = app.storage.save(&theirs).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Settings, "{kind}");
    }
    assert_eq!(app.counts().take(), Calls::default());
    assert_eq!(app.stored(&cookie).await, before);
    assert!(session.is_changed(), "its own storage can still save it");
    other.storage.save(&session).await.unwrap();
}
