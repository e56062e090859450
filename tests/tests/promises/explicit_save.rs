//! `save().await` in a handler, and a session that changes while it is saved.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::task::Poll;

use http::header::{COOKIE, SET_COOKIE};
use http::{Request, Response};
use session_cookie::{EncryptedCookieStorage, Key, NaClCookieStorage, SimpleCookieStorage};
use session_core::keyed::{Backend, Found, OnlyIf, Outcome, Write};
use session_core::{
    CookieChange, CookieSettings, Error, ErrorKind, Identity, KeyedStorage, MemoryBackend,
    RequestSession, Result, Session, Storage,
};
use session_tests::logs::Logs;
use session_tests::server::BoxError;
use session_tests::stores::{Call, Calls, When};
use tokio::sync::Notify;

use crate::ADAPTER;
use crate::app::{App, HOUR};

type Handled = Result<Response<String>, BoxError>;

/// Serves one request.
async fn serve<F: Future<Output = Handled>>(
    storage: impl Storage,
    cookie: Option<&str>,
    handler: impl FnOnce(Request<()>) -> F,
) -> Handled {
    let mut request = Request::builder();
    if let Some(cookie) = cookie {
        request = request.header(COOKIE, format!("sid={cookie}"));
    }
    let request = request.body(()).unwrap();
    ADAPTER.serve_once(storage, request, handler).await
}

/// The value of the one cookie that a response sets.
#[track_caller]
fn cookie_of(response: &Response<String>) -> Option<&str> {
    let mut headers = response.headers().get_all(SET_COOKIE).iter();
    let header = headers.next()?.to_str().unwrap();
    assert!(headers.next().is_none(), "two cookies");
    header.strip_prefix("sid=")?.split(';').next()
}

fn with_status(status: u16) -> Response<String> {
    Response::builder()
        .status(status)
        .body(String::new())
        .unwrap()
}

#[tokio::test]
async fn p6_a_save_in_a_handler_has_stored_the_record_when_it_returns() {
    let app = App::new();
    let response = serve(app.storage.clone(), None, async |request| {
        let session = request.session().await?;
        session.insert("k", 1)?;
        assert!(session.identity().is_none() && session.is_new());
        session.save().await?;
        assert!(!session.is_changed() && !session.is_new());
        let identity = session.identity().unwrap();
        // Before the response, and for everybody.
        assert_eq!(app.another().keys(identity.as_str()).await.unwrap(), ["k"]);
        Ok(with_status(200))
    })
    .await
    .unwrap();
    let cookie = cookie_of(&response).unwrap().to_owned();
    assert_eq!(app.live().await, [cookie]);
    let once = Calls {
        create: 1,
        ..Calls::default()
    };
    let calls = app.counts().take();
    assert_eq!((calls.create, calls.update, calls.end), (once.create, 0, 0));
}

/// The store failed, so an operator must see it, also if the handler responds as if nothing was.
#[tokio::test]
async fn p6_a_save_in_a_handler_that_fails_is_logged_once() {
    for swallows in [false, true] {
        let app = &App::new();
        let cookie = app.client().await;
        let (logs, _capture) = Logs::capture();
        let response = serve(app.storage.clone(), Some(&cookie), async move |request| {
            let session = request.session().await?;
            session.insert("k", 2)?;
            app.failing().fail(0..=usize::MAX, When::Before);
            let failed = session.save().await;
            app.failing().heal();
            match failed {
                Err(error) if !swallows => Err(error.into()),
                Err(_) => Ok(with_status(500)),
                Ok(()) => panic!("the store has failed"),
            }
        });
        let status = response.await.unwrap().status();
        assert_eq!(status, if swallows { 500 } else { 503 });
        let text = logs.text();
        let errors: Vec<&str> = text.lines().filter(|it| it.contains("ERROR ")).collect();
        assert_eq!(errors.len(), 1, "{errors:?}");
        assert!(errors[0].contains("session not saved"), "{errors:?}");
    }
}

/// How a handler ends after its save.
#[derive(Clone, Copy, Debug)]
enum Ending {
    Status(u16),
    SessionError,
    ErrorInExtensions,
}

impl Ending {
    fn handled(self) -> Handled {
        match self {
            Self::Status(status) => Ok(with_status(status)),
            Self::SessionError => Err(Error::from(ErrorKind::Value).into()),
            Self::ErrorInExtensions => {
                let mut response = Response::new(String::new());
                response
                    .extensions_mut()
                    .insert(Error::from(ErrorKind::Value));
                Ok(response)
            }
        }
    }
}

/// Without it the client would keep a cookie that stands for nothing.
#[tokio::test]
async fn p4_the_cookie_of_a_saved_session_travels_with_every_response() {
    for (ending, status) in [
        (Ending::Status(200), 200),
        (Ending::Status(404), 404),
        (Ending::Status(500), 500),
        (Ending::Status(503), 503),
        (Ending::SessionError, 500),
        (Ending::ErrorInExtensions, 500),
    ] {
        for change in ["set", "renew", "login", "logout", "restart"] {
            for changes_again in [false, true] {
                let app = App::new();
                let old = app.client().await;
                let response = serve(app.storage.clone(), Some(&old), async |request| {
                    let session = match change {
                        "login" => request.new_session()?,
                        _ => request.session().await?,
                    };
                    match change {
                        "renew" => session.renew()?,
                        "logout" => session.invalidate()?,
                        "restart" => {
                            session.invalidate()?;
                            session.insert("mine", 1)?;
                        }
                        _ => session.insert("mine", 1)?,
                    }
                    session.save().await?;
                    if changes_again {
                        session.insert("again", 1)?;
                    }
                    ending.handled()
                })
                .await
                .unwrap();
                let what = format!("{change}, {ending:?}, {changes_again}");
                assert_eq!(response.status().as_u16(), status, "{what}");
                let cookie = cookie_of(&response).expect(&what);
                let is_saved = changes_again && status < 500;
                if change == "logout" && !is_saved {
                    assert_eq!(cookie, "\"\"", "{what}");
                    assert_eq!(app.live().await, [""; 0], "{what}");
                    continue;
                }
                assert_eq!(app.live().await, [cookie.to_owned()], "{what}");
                let keys = app.keys(cookie).await.unwrap();
                assert_eq!(keys.contains(&"again".to_owned()), is_saved, "{what}");
            }
        }
    }
}

#[tokio::test]
async fn p8_changes_after_a_save_are_saved_with_the_response() {
    let app = App::new();
    let response = serve(app.storage.clone(), None, async |request| {
        let session = request.session().await?;
        for key in ["a", "b", "c"] {
            session.insert(key, 1)?;
            session.save().await?;
        }
        // Nothing has changed since: no call.
        session.save().await?;
        session.insert("d", 1)?;
        Ok(with_status(200))
    })
    .await
    .unwrap();
    let expected = Calls {
        create: 1,
        update: 3,
        ..Calls::default()
    };
    assert_eq!(app.counts().take(), expected);
    let keys = app.keys(cookie_of(&response).unwrap()).await.unwrap();
    assert_eq!(keys, ["a", "b", "c", "d"]);
}

#[tokio::test]
async fn p6_a_save_in_a_handler_is_a_503_when_the_store_is_down() {
    for when in [When::Before, When::After] {
        let app = App::new();
        let cookie = app.client().await;
        let response = serve(app.storage.clone(), Some(&cookie), async |request| {
            let session = request.session().await?;
            session.insert("mine", 1)?;
            app.failing().fail(0..=usize::MAX, when);
            let told = session.save().await.unwrap_err();
            assert_eq!(told.kind(), ErrorKind::Unavailable);
            assert!(session.is_changed(), "the change is still there");
            Err(told.into())
        })
        .await
        .unwrap();
        assert_eq!(
            (response.status().as_u16(), cookie_of(&response)),
            (503, None)
        );
    }
}

/// The handler catches the error, and the store is back when it responds.
#[tokio::test]
async fn p8_a_change_whose_save_failed_is_saved_with_the_response() {
    for when in [When::Before, When::After] {
        let app = App::new();
        let response = serve(app.storage.clone(), None, async |request| {
            let session = request.session().await?;
            session.insert("mine", 1)?;
            app.failing().fail(0..=0, when);
            session.save().await.unwrap_err();
            session.insert("more", 1)?;
            Ok(with_status(200))
        })
        .await
        .unwrap();
        let cookie = cookie_of(&response).unwrap().to_owned();
        assert_eq!(app.keys(&cookie).await.unwrap(), ["mine", "more"]);
        assert_eq!(app.live().await, [cookie]);
    }
}

#[tokio::test]
async fn p3_a_save_in_a_handler_of_what_another_request_ended_is_a_409() {
    let app = App::new();
    let cookie = app.client().await;
    let response = serve(app.storage.clone(), Some(&cookie), async |request| {
        let session = request.session().await?;
        session.insert("mine", 1)?;
        app.ask(Some(&cookie), "/logout").await;
        session.save().await?;
        unreachable!("it was ended");
    })
    .await
    .unwrap();
    assert_eq!(
        (response.status().as_u16(), cookie_of(&response)),
        (409, None)
    );
    assert_eq!(app.live().await, [""; 0]);
}

fn cookie_storages() -> [(&'static str, Arc<dyn Storage>); 3] {
    let key = || Key::from([7; 32]);
    let cookie = || crate::app::settings().build().unwrap();
    [
        (
            "simple",
            Arc::new(SimpleCookieStorage::unprotected().with_cookie(cookie())),
        ),
        (
            "fernet",
            Arc::new(EncryptedCookieStorage::new(key()).with_cookie(cookie())),
        ),
        (
            "nacl",
            Arc::new(NaClCookieStorage::new(key()).with_cookie(cookie())),
        ),
    ]
}

#[tokio::test]
async fn p8_a_save_of_a_session_that_is_too_large_for_its_cookie_is_an_error() {
    for (kind, storage) in cookie_storages() {
        let response = serve(storage.clone(), None, async |request| {
            let session = request.session().await?;
            session.insert("filler", "x".repeat(5000))?;
            let told = session.save().await.unwrap_err();
            assert_eq!(told.kind(), ErrorKind::TooLarge);
            assert!(session.is_changed() && session.is_new());
            session.insert("filler", "small")?;
            session.save().await?;
            assert!(!session.is_changed() && !session.is_new());
            Ok(with_status(500))
        })
        .await
        .unwrap();
        let cookie = session_tests::wire::unquoted(cookie_of(&response).expect(kind));
        let session = storage.load(&[&cookie]).await.unwrap();
        assert_eq!(session.get::<String>("filler").unwrap().unwrap(), "small");
    }
}

/// Polls a future once.
async fn poll_once<F: Future>(mut future: Pin<&mut F>) -> Poll<F::Output> {
    poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await
}

#[tokio::test]
async fn p2_two_saves_of_one_handle_wait_for_each_other_and_make_one_record() {
    let app = App::new();
    let response = serve(app.storage.clone(), None, async |request| {
        let session = request.session().await?;
        let clone = request.session().await?;
        session.insert("a", 1)?;
        let hold = app.gate().hold(Call::Create, When::Before);
        let mut first = pin!(session.save());
        assert!(poll_once(first.as_mut()).await.is_pending());
        clone.insert("b", 1)?;
        let mut second = pin!(clone.save());
        assert!(poll_once(second.as_mut()).await.is_pending());
        hold.open();
        let (first, second) = tokio::join!(first, second);
        first?;
        second?;
        assert!(!session.is_changed());
        Ok(with_status(200))
    })
    .await
    .unwrap();
    let expected = Calls {
        create: 1,
        update: 1,
        ..Calls::default()
    };
    assert_eq!(app.counts().take(), expected);
    let cookie = cookie_of(&response).unwrap().to_owned();
    assert_eq!(app.keys(&cookie).await.unwrap(), ["a", "b"]);
    assert_eq!(app.live().await, [cookie]);
}

#[tokio::test]
async fn p5_a_cancelled_save_gives_its_changes_back() {
    for signed_in in [false, true] {
        for when in [When::Before, When::After] {
            let app = App::new();
            let old = app.client().await;
            let sent = signed_in.then_some(&*old);
            let response = serve(app.storage.clone(), sent, async |request| {
                let session = request.session().await?;
                session.insert("mine", 1)?;
                let calls = [Call::Create, Call::Update];
                let hold = app.gate().hold_any(&calls, when);
                {
                    // Its own time is up.
                    let mut save = pin!(session.save());
                    tokio::select! {
                        _ = &mut save => panic!("it is held"),
                        () = hold.reached() => {}
                    }
                }
                assert!(session.is_changed());
                session.insert("more", 1)?;
                Ok(with_status(200))
            })
            .await
            .unwrap();
            let cookie = cookie_of(&response).unwrap().to_owned();
            let keys = app.keys(&cookie).await.unwrap();
            assert_eq!(keys[keys.len() - 2..], ["mine", "more"], "{when:?}");
            assert_eq!(cookie == old, signed_in);
            assert_eq!(app.live().await.len(), 1 + usize::from(!signed_in));
        }
    }
}

/// What a request does to its session.
type Edit = fn(&Session) -> Result<()>;

/// The keys that are left, and their values.
type Kept = &'static [(&'static str, u32)];

/// The edits before a save and during it, and the keys after both.
const EDITS: [(Edit, Edit, Kept); 10] = [
    (set_a, set_b, &[("k", 0), ("a", 1), ("b", 1)]),
    (set_a, set_a_again, &[("k", 0), ("a", 2)]),
    (set_a, remove_a, &[("k", 0)]),
    (remove_k, set_k, &[("k", 2)]),
    (remove_k, set_b, &[("b", 1)]),
    (set_a, clear, &[]),
    (set_a, clear_and_set_b, &[("b", 1)]),
    (clear_and_set_b, set_a, &[("b", 1), ("a", 1)]),
    (set_a, invalidate, &[]),
    (set_a, restart, &[("b", 1)]),
];

fn set_a(session: &Session) -> Result<()> {
    session.insert("a", 1)
}

fn set_a_again(session: &Session) -> Result<()> {
    session.insert("a", 2)
}

fn set_b(session: &Session) -> Result<()> {
    session.insert("b", 1)
}

fn set_k(session: &Session) -> Result<()> {
    session.insert("k", 2)
}

fn remove_a(session: &Session) -> Result<()> {
    session.remove("a").map(drop)
}

fn remove_k(session: &Session) -> Result<()> {
    session.remove("k").map(drop)
}

fn clear(session: &Session) -> Result<()> {
    session.clear()
}

fn clear_and_set_b(session: &Session) -> Result<()> {
    session.clear()?;
    session.insert("b", 1)
}

fn invalidate(session: &Session) -> Result<()> {
    session.invalidate()
}

fn restart(session: &Session) -> Result<()> {
    session.invalidate()?;
    session.insert("b", 1)
}

/// How the save ends during which the second edit happens.
#[derive(Clone, Copy, Debug, PartialEq)]
enum First {
    Succeeds,
    Fails(When),
    IsDropped(When),
    /// Another request's change makes it merge.
    Conflicts,
}

#[tokio::test]
async fn p8_edits_during_a_save_are_kept_however_it_ends() {
    for first in [
        First::Succeeds,
        First::Fails(When::Before),
        First::Fails(When::After),
        First::IsDropped(When::Before),
        First::IsDropped(When::After),
        First::Conflicts,
    ] {
        for (at, (before, during, expected)) in EDITS.into_iter().enumerate() {
            let what = format!("{first:?}, edits {at}");
            println!("{what}");
            let app = App::new();
            let cookie = app.client().await;
            let session = app.storage.load(&[&cookie]).await.unwrap();
            session.insert("k", 0).unwrap();
            app.storage.save(&session).await.unwrap();
            before(&session).unwrap();
            if first == First::Conflicts {
                app.ask(Some(&cookie), "/set/other/1").await;
            }
            let when = match first {
                First::Fails(when) | First::IsDropped(when) => when,
                First::Succeeds | First::Conflicts => When::Before,
            };
            let hold = app.gate().hold(Call::Update, when);
            if let First::Fails(when) = first {
                app.failing().fail(0..=0, when);
            }
            if matches!(first, First::Fails(When::Before)) {
                // It never reaches the gate.
                app.storage.save(&session).await.unwrap_err();
                during(&session).unwrap();
            } else {
                let mut save = Box::pin(app.storage.save(&session));
                tokio::select! {
                    saved = &mut save => panic!("{what}: {saved:?}"),
                    () = hold.reached() => {}
                }
                during(&session).unwrap();
                if let First::IsDropped(_) = first {
                    drop(save);
                } else {
                    hold.open();
                    assert_eq!(save.await.is_err(), matches!(first, First::Fails(_)));
                }
            }
            app.failing().heal();
            // The hold that was not reached holds nothing below.
            hold.open();
            app.storage.save(&session).await.expect(&what);
            assert!(!session.is_changed(), "{what}");
            let client = session.identity();
            let mut keys: Vec<(String, u32)> = Vec::new();
            if let Some(client) = &client {
                let stored = app.storage.load(&[client.as_str()]).await.unwrap();
                for key in stored.keys().into_iter().filter(|key| key != "other") {
                    keys.push((key.clone(), stored.get(&key).unwrap().unwrap()));
                }
            }
            let mut expected: Vec<(String, u32)> = expected
                .iter()
                .map(|(key, value)| ((*key).to_owned(), *value))
                .collect();
            keys.sort();
            expected.sort();
            assert_eq!(keys, expected, "{what}");
            // No other session is left, under whatever identity.
            assert_eq!(
                app.live().await.len(),
                usize::from(client.is_some()),
                "{what}"
            );
        }
    }
}

#[tokio::test]
async fn p8_a_lifetime_and_a_renewal_that_are_asked_for_during_a_save_are_kept() {
    for fails in [false, true] {
        let app = App::new();
        let cookie = app.client().await;
        let session = app.storage.load(&[&cookie]).await.unwrap();
        session.insert("a", 1).unwrap();
        let hold = app.gate().hold(Call::Update, When::After);
        if fails {
            app.failing().fail(0..=0, When::After);
        }
        let mut save = Box::pin(app.storage.save(&session));
        tokio::select! {
            saved = &mut save => panic!("{saved:?}"),
            () = hold.reached() => {}
        }
        session.set_max_age(HOUR * 2).unwrap();
        session.renew().unwrap();
        hold.open();
        assert_eq!(save.await.is_err(), fails);
        app.failing().heal();
        let saved = app.storage.save(&session).await.unwrap();
        let CookieChange::Set { value, max_age, .. } = saved else {
            panic!("{saved:?}");
        };
        assert_eq!(max_age, Some(HOUR * 2));
        assert_ne!(value, cookie);
        assert_eq!(app.keys(&value).await.unwrap(), ["k", "a"]);
        assert_eq!(app.live().await, [value]);
    }
}

#[tokio::test]
async fn a_detached_session_works_and_belongs_to_no_storage() {
    let session = Session::detached();
    assert!(session.is_new() && session.is_empty() && !session.is_changed());
    assert!(!session.was_replaced() && session.identity().is_none());
    session.insert("name", "Ada").unwrap();
    session.modify("n", |n: &mut u32| *n += 1).unwrap();
    assert_eq!(session.keys(), ["name", "n"]);
    session.renew().unwrap();
    session.invalidate().unwrap();
    assert!(session.is_empty() && session.is_changed());
    assert_eq!(
        session.save().await.unwrap_err().kind(),
        ErrorKind::Settings
    );
    let app = App::new();
    let told = app.storage.save(&session).await.unwrap_err();
    assert_eq!(told.kind(), ErrorKind::Settings);
}

/// Its storage can save it, so the error names the way.
#[tokio::test]
async fn a_session_without_a_service_is_saved_by_its_storage() {
    let app = App::new();
    let session = app.storage.load(&[]).await.unwrap();
    session.insert("k", 1).unwrap();
    let told = session.save().await.unwrap_err();
    assert_eq!(told.kind(), ErrorKind::Settings);
    assert!(told.to_string().contains("Storage::save"), "{told}");
    app.storage.save(&session).await.unwrap();
}

/// The reply to the creation is lost, so the save that failed may have stored its record.
#[tokio::test]
async fn p4_a_login_ends_the_record_of_a_save_that_failed_before() {
    for is_login in [false, true] {
        let app = App::new();
        app.failing().fail(0..=0, When::After);
        let response = serve(app.storage.clone(), None, async |request| {
            let session = if is_login {
                request.new_session()?
            } else {
                request.session().await?
            };
            session.insert("k", 1)?;
            session.save().await.unwrap_err();
            request.new_session()?.insert("user", 1)?;
            let refused = session.insert("late", 1).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::Committed);
            Ok(with_status(200))
        });
        let response = response.await.unwrap();
        let cookie = cookie_of(&response).unwrap();
        assert_eq!(app.live().await, [cookie], "{is_login}");
        assert_eq!(app.keys(cookie).await.unwrap(), ["user"]);
    }
}

/// And not the cookie of the session that it replaced, which was saved explicitly.
#[tokio::test]
async fn an_empty_login_removes_the_cookie() {
    let cookie = CookieSettings::builder("sid").build().unwrap();
    let simple = SimpleCookieStorage::unprotected().with_cookie(cookie);
    let store = App::new().storage;
    let storages: [(&str, Arc<dyn Storage>); 2] = [("store", store), ("cookie", Arc::new(simple))];
    for (name, storage) in storages {
        let response = serve(storage, None, async |request| {
            let session = request.session().await?;
            session.insert("k", 1)?;
            session.save().await?;
            request.new_session()?;
            Ok(with_status(200))
        });
        let response = response.await.unwrap();
        assert_eq!(cookie_of(&response), Some("\"\""), "{name}: it is removed");
    }
}

#[tokio::test]
async fn p3_a_login_that_a_handler_logged_out_sends_no_cookie_when_a_second_one_fails() {
    let app = App::new();
    let response = serve(app.storage.clone(), None, async |request| {
        let first = request.new_session()?;
        first.insert("user", 1)?;
        first.save().await?;
        first.invalidate()?;
        request.new_session()?.insert("user", 2)?;
        Ok(with_status(500))
    });
    assert_eq!(cookie_of(&response.await.unwrap()), None);
}

/// The identity that an application chose may belong to another session by now.
#[tokio::test]
async fn a_login_leaves_an_identity_alone_that_a_failed_save_had_chosen() {
    let app = App::new();
    let cookie = app.client().await;
    app.failing().fail(0..=0, When::Before);
    let response = serve(app.storage.clone(), None, async |request| {
        let session = request.session().await?;
        session.set_new_identity(Identity::parse(&cookie).unwrap())?;
        session.insert("mine", 1)?;
        session.save().await.unwrap_err();
        request.new_session()?.insert("user", 1)?;
        Ok(with_status(200))
    });
    assert!(cookie_of(&response.await.unwrap()).is_some());
    assert_eq!(app.keys(&cookie).await.unwrap(), ["k"]);
}

/// A task saves the session while the handler logs in. The login waits for that save, so that it
/// ends what it stores. If the login is dropped, the response carries the cookie of that save.
#[tokio::test]
async fn p4_a_login_ends_the_record_of_a_save_in_progress() {
    for (status, when, is_login) in [
        (200, When::Before, false),
        (200, When::After, true),
        (500, When::Before, true),
        (500, When::After, false),
    ] {
        let app = App::new();
        let create = app.gate().hold(Call::Create, when);
        let has_responded = AtomicBool::new(false);
        let mut response = pin!(serve(app.storage.clone(), None, async |request| {
            let session = if is_login {
                request.new_session()?
            } else {
                request.session().await?
            };
            session.insert("k", 1)?;
            tokio::spawn(async move { session.save().await });
            create.reached().await;
            request.new_session()?.insert("user", 1)?;
            // A second login takes over what the first one has to end.
            request.new_session()?.insert("user", 2)?;
            has_responded.store(true, Ordering::SeqCst);
            Ok(with_status(status))
        }));
        let mut polls_after = 0;
        while polls_after < 20 {
            polls_after += usize::from(has_responded.load(Ordering::SeqCst));
            let polled = poll_fn(|cx| Poll::Ready(response.as_mut().poll(cx))).await;
            assert!(polled.is_pending(), "it does not wait: {polled:?}");
            tokio::task::yield_now().await;
        }
        create.open();
        let response = response.await.unwrap();
        assert_eq!(response.status().as_u16(), status);
        let cookie = cookie_of(&response).unwrap();
        assert_eq!(app.live().await, [cookie], "{status} {when:?}");
        let expected = if status == 200 { "user" } else { "k" };
        assert_eq!(app.keys(cookie).await.unwrap(), [expected]);
    }
}

/// A store in memory whose timer returns late: it holds the thread of the first wait that is over.
#[derive(Debug)]
struct LateTimer {
    inner: MemoryBackend,
    is_over: Notify,
    held: Mutex<Option<Receiver<()>>>,
}

impl Backend for LateTimer {
    async fn read(&self, key: &str) -> Result<Found> {
        self.inner.read(key).await
    }

    async fn write(&self, key: &str, write: Write, only_if: OnlyIf<'_>) -> Result<Outcome> {
        self.inner.write(key, write, only_if).await
    }

    async fn bound<F: Future + Send>(&self, waiting: F, _times: u32) -> Result<F::Output> {
        let returned = waiting.await;
        let held = self.held.lock().unwrap().take();
        if let Some(held) = held {
            self.is_over.notify_one();
            held.recv().unwrap();
        }
        Ok(returned)
    }
}

/// On another thread, a save has stored the record but has not returned when the handler responds.
/// The response waits for it, because it must carry the cookie.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_response_carries_the_cookie_of_a_save_that_is_just_ending() {
    let (go_on, held) = channel();
    let backend = LateTimer {
        inner: MemoryBackend::new(),
        is_over: Notify::new(),
        held: Mutex::new(Some(held)),
    };
    let cookie = CookieSettings::builder("sid").build().unwrap();
    let storage = Arc::new(KeyedStorage::new(backend).with_cookie(cookie));
    let has_responded = AtomicBool::new(false);
    let mut response = pin!(serve(storage.clone(), None, async |request| {
        let session = request.session().await?;
        session.insert("k", 1)?;
        tokio::spawn(async move { session.save().await });
        storage.backend().is_over.notified().await;
        has_responded.store(true, Ordering::SeqCst);
        Ok(with_status(200))
    }));
    let mut polls_after = 0;
    while polls_after < 20 {
        polls_after += usize::from(has_responded.load(Ordering::SeqCst));
        let polled = poll_fn(|cx| Poll::Ready(response.as_mut().poll(cx))).await;
        assert!(polled.is_pending(), "it does not wait: {polled:?}");
        tokio::task::yield_now().await;
    }
    assert_eq!(storage.backend().inner.len(), 1, "the record is stored");
    go_on.send(()).unwrap();
    let response = response.await.unwrap();
    let cookie = cookie_of(&response).unwrap();
    assert_eq!(storage.load(&[cookie]).await.unwrap().keys(), ["k"]);
}
