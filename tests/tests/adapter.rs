//! The sessions of a request: how often they are loaded, and which one a handler gets.
#![allow(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "these are tests"
)]

use std::ops::RangeInclusive;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use http::header::{COOKIE, SET_COOKIE};
use http::{Request, Response, StatusCode};
use hyper::service::{Service, service_fn};
use hyper_util::service::TowerToHyperService;
use session_core::adapter::{DefaultErrorResponse, SessionFuture, Storages};
use session_core::{
    CookieChange, CookieSettings, Error, ErrorKind, KeyedStorage, MemoryBackend, RequestSession,
    Session, Sessions, Storage, keyed,
};
use session_hyper::SessionService;
use session_tests::logs::Logs;
use session_tests::server::BoxError;
use session_tests::stores::{Call, Calls, Counting, Failing, Gate, Hold, When};

type Store = KeyedStorage<Counting<Failing<Gate<MemoryBackend>>>>;

/// A storage whose cookie is called `name`, and a session's cookie in it: `k` is 1.
async fn store(name: &'static str) -> (Arc<Store>, String) {
    let backend = Counting::new(Failing::new(Gate::new(MemoryBackend::new())));
    let cookie = CookieSettings::builder(name).build().unwrap();
    let storage = Arc::new(KeyedStorage::new(backend).with_cookie(cookie));
    let session = storage.load(&[]).await.unwrap();
    session.insert("k", 1).unwrap();
    let CookieChange::Set { value, .. } = storage.save(&session).await.unwrap() else {
        unreachable!()
    };
    storage.backend().take();
    (storage, value)
}

/// Holds the next load of the store.
fn hold_load(storage: &Store, when: When) -> Hold {
    let gate = storage.backend().inner().inner();
    gate.hold(Call::Read, when)
}

fn request(cookies: &[(&str, &str)]) -> Request<String> {
    let pairs: Vec<String> = cookies
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let request = Request::builder().header(COOKIE, pairs.join("; "));
    request.body(String::new()).unwrap()
}

/// Runs `handler` inside a session service.
async fn serve<F>(
    storage: &Arc<Store>,
    cookie: &str,
    handler: impl Fn(Request<String>) -> F,
) -> Response<String>
where
    F: Future<Output = Result<Response<String>, Error>>,
{
    let service = SessionService::new(storage.clone(), service_fn(handler));
    service.call(request(&[("sid", cookie)])).await.unwrap()
}

#[expect(clippy::unnecessary_wraps, reason = "what a handler returns")]
fn ok() -> Result<Response<String>, Error> {
    Ok(Response::new(String::new()))
}

#[tokio::test]
async fn two_that_ask_at_the_same_time_load_once_and_share_the_session() {
    let (storage, cookie) = store("sid").await;
    let read = hold_load(&storage, When::Before);
    let (held, response) = tokio::join!(
        async {
            read.reached().await;
            let calls = storage.backend().take();
            read.open();
            calls
        },
        serve(&storage, &cookie, async |request| {
            let (one, two) = tokio::join!(request.session(), request.session());
            let (one, two, three) = (one?, two?, request.session().await?);
            one.insert("one", 1)?;
            two.insert("two", 2)?;
            assert_eq!(three.keys(), ["k", "one", "two"]);
            ok()
        })
    );
    assert_eq!(held.read, 1);
    // The cookie has no Max-Age, so an update does not send it again.
    assert!(!response.headers().contains_key(SET_COOKIE));
    let calls = storage.backend().take();
    let saved = Calls {
        update: 1,
        ..Calls::default()
    };
    assert_eq!(calls, saved);
    assert_eq!(storage.load(&[&cookie]).await.unwrap().len(), 3);
}

#[tokio::test]
async fn one_who_asks_and_gives_up_lets_the_next_one_load() {
    let (storage, cookie) = store("sid").await;
    for when in [When::Before, When::After] {
        let read = hold_load(&storage, when);
        serve(&storage, &cookie, async |request| {
            {
                let mut first = pin!(request.session());
                let mut second = pin!(request.session());
                tokio::select! {
                    biased;
                    () = read.reached() => {}
                    _ = &mut first => panic!("the read is held"),
                    _ = &mut second => panic!("the read is held"),
                }
            }
            let session = request.session().await?;
            assert_eq!(session.keys(), ["k"]);
            ok()
        })
        .await;
        assert_eq!(storage.backend().take().read, 2, "{when:?}");
    }
}

#[tokio::test]
async fn a_waiting_one_takes_over_when_the_one_who_loads_gives_up() {
    let (storage, cookie) = store("sid").await;
    let read = hold_load(&storage, When::Before);
    serve(&storage, &cookie, async |request| {
        let loads = Box::pin(request.session());
        let mut loads = Some(tokio::spawn(loads));
        read.reached().await;
        let waits = tokio::spawn(request.session());
        tokio::task::yield_now().await;
        loads.take().unwrap().abort();
        let session = waits.await.unwrap()?;
        assert_eq!(session.keys(), ["k"]);
        ok()
    })
    .await;
}

#[tokio::test]
async fn a_failed_load_gives_every_caller_the_same_error() {
    let (storage, cookie) = store("sid").await;
    let failing = storage.backend().inner();
    failing.fail(0..=0, When::Before);
    let response = serve(&storage, &cookie, async |request| {
        let (one, two) = tokio::join!(request.session(), request.session());
        for failed in [one, two, request.session().await] {
            assert_eq!(failed.unwrap_err().kind(), ErrorKind::Unavailable);
        }
        ok()
    })
    .await;
    assert_eq!(response.status(), 200);
    let expected = Calls {
        read: 1,
        ..Calls::default()
    };
    assert_eq!(storage.backend().take(), expected);
}

/// An error of an application. It may have a session error as its source.
#[derive(Debug)]
struct Failure(Option<Error>);

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the database is down")
    }
}

impl std::error::Error for Failure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.as_ref().map(|error| error as _)
    }
}

/// It cannot be inspected. Most likely it wraps the failure.
#[tokio::test]
async fn after_a_failed_load_an_error_of_an_own_type_is_a_503() {
    let (storage, cookie) = store("sid").await;
    let own = async |request: Request<String>| -> Result<Response<String>, Failure> {
        request
            .session()
            .await
            .map_err(|error| Failure(Some(error)))?;
        Err(Failure(None))
    };
    let service = SessionService::new(storage.clone(), service_fn(own));
    storage.backend().inner().fail(0..=0, When::Before);
    let (logs, _capture) = Logs::capture();
    let response = service.call(request(&[("sid", &cookie)])).await.unwrap();
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(logs.text().matches("ERROR ").count(), 1, "{}", logs.text());
    let error = service.call(request(&[("sid", &cookie)])).await;
    assert_eq!(error.unwrap_err().to_string(), "the database is down");
}

/// The handler goes on without its session, and then fails for another reason.
#[tokio::test]
async fn a_boxed_error_of_the_application_goes_to_the_server_also_after_a_failed_load() {
    let (storage, cookie) = store("sid").await;
    let load_fails = || {
        storage.backend().inner().fail(0..=0, When::Before);
        request(&[("sid", &cookie)])
    };
    let boxed = async |request: Request<String>| {
        request.session().await.unwrap_err();
        Err::<Response<String>, BoxError>(Failure(None).into())
    };
    let service = SessionService::new(storage.clone(), service_fn(boxed));
    let error = service.call(load_fails()).await.unwrap_err();
    assert!(error.is::<Failure>());
}

#[tokio::test]
async fn a_session_error_inside_a_boxed_error_of_the_application_is_a_response() {
    let (storage, cookie) = store("sid").await;
    let handler = async |request: Request<String>| -> Result<Response<String>, BoxError> {
        let wrap = |error| Failure(Some(error));
        let session = request.session().await.map_err(wrap)?;
        session.insert("k", 2)?;
        session.get::<Vec<String>>("k").map_err(wrap)?;
        unreachable!("it is a number")
    };
    let service = SessionService::new(storage.clone(), service_fn(handler));
    for status in [
        StatusCode::SERVICE_UNAVAILABLE,
        StatusCode::INTERNAL_SERVER_ERROR,
    ] {
        let is_load = status == StatusCode::SERVICE_UNAVAILABLE;
        let failing = RangeInclusive::new(usize::from(!is_load), 0);
        storage.backend().inner().fail(failing, When::Before);
        let (logs, _capture) = Logs::capture();
        let response = service.call(request(&[("sid", &cookie)])).await.unwrap();
        assert_eq!(response.status(), status);
        assert_eq!(logs.text().matches("ERROR ").count(), 1, "{}", logs.text());
    }
    let session = storage.load(&[&cookie]).await.unwrap();
    assert_eq!(
        session.get::<i32>("k").unwrap(),
        Some(1),
        "nothing is saved"
    );
}

#[tokio::test]
async fn a_login_after_a_failed_load_is_saved_and_ends_the_old_session() {
    let (storage, cookie) = store("sid").await;
    storage.backend().inner().fail(0..=0, When::Before);
    let response = serve(&storage, &cookie, async |request| {
        request.session().await.unwrap_err();
        request.new_session()?.insert("user", "alice")?;
        // From now on that is the request's session.
        assert_eq!(request.session().await?.keys(), ["user"]);
        ok()
    })
    .await;
    assert_eq!(response.status(), 200);
    let next = new_cookie(&response, "sid").unwrap();
    assert_eq!(storage.load(&[&next]).await.unwrap().keys(), ["user"]);
    let old = storage.load(&[&cookie]).await.unwrap();
    assert!(old.is_new() && old.was_replaced());
}

#[tokio::test]
async fn a_load_that_is_overtaken_by_a_login_yields_the_logins_session() {
    let (storage, cookie) = store("sid").await;
    let read = hold_load(&storage, When::After);
    serve(&storage, &cookie, async |request| {
        let loads = tokio::spawn(request.session());
        read.reached().await;
        request.new_session()?.insert("user", "alice")?;
        read.open();
        assert_eq!(loads.await.unwrap()?.keys(), ["user"]);
        ok()
    })
    .await;
}

#[tokio::test]
async fn a_future_from_before_a_login_yields_the_logins_session() {
    let (storage, cookie) = store("sid").await;
    for is_loaded in [false, true] {
        let response = serve(&storage, &cookie, async |request| {
            if is_loaded {
                request.session().await?;
            }
            let (first, second) = (request.session(), Sessions::of(&request).session());
            request.new_session()?.insert("user", "alice")?;
            first.await?.insert("first", 1)?;
            let session = second.await?;
            assert_eq!(session.keys(), ["user", "first"], "{is_loaded}");
            ok()
        })
        .await;
        assert_eq!(response.status(), 200);
    }
}

/// The error names the remedy, and so does one event in the log for each call.
#[tokio::test]
async fn a_request_without_a_session_service_is_an_error_that_names_the_remedy() {
    let (logs, _capture) = Logs::capture();
    let request = request(&[]);
    for error in [
        request.session().await.unwrap_err(),
        request.session_named("sid").await.unwrap_err(),
        request.new_session().unwrap_err(),
        request.new_session_named("sid").unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Settings);
        assert!(error.to_string().contains("SessionService"), "{error}");
    }
    let text = logs.text();
    let events: Vec<&str> = text.lines().collect();
    assert_eq!(events.len(), 4, "{text}");
    for event in events {
        assert!(event.contains("ERROR session::request"), "{event}");
        assert!(event.contains("wrap the handler in a"), "{event}");
    }
}

/// Runs `handler` in a service with two storages. The first one is `user`.
async fn with_both<F>(
    (user, cart): (&Arc<Store>, &Arc<Store>),
    cookies: &[(&str, &str)],
    handler: impl Fn(Request<String>) -> F,
) -> Response<String>
where
    F: Future<Output = Result<Response<String>, Error>>,
{
    let service = SessionService::new(user.clone(), service_fn(handler));
    let service = service.and(cart.clone()).unwrap();
    service.call(request(cookies)).await.unwrap()
}

#[tokio::test]
async fn of_several_storages_only_the_one_that_is_asked_for_works() {
    let (user, user_cookie) = store("sid").await;
    let (cart, cart_cookie) = store("CART").await;
    let cookies = [("CART", &*cart_cookie), ("sid", &*user_cookie)];
    let response = with_both((&user, &cart), &cookies, async |request| {
        request.session_named("CART").await?.renew()?;
        ok()
    })
    .await;
    assert_eq!(user.backend().take(), Calls::default());
    assert_eq!(cart.backend().take().read, 1);
    assert!(new_cookie(&response, "CART").is_some());
    assert_eq!(new_cookie(&response, "sid"), None);

    let response = with_both((&user, &cart), &cookies, async |request| {
        request.new_session_named("sid")?.insert("user", "alice")?;
        ok()
    })
    .await;
    assert_eq!(cart.backend().take(), Calls::default());
    let calls = user.backend().take();
    // A login loads nothing. The read is that of the old session's end.
    assert_eq!((calls.create, calls.read, calls.end), (1, 1, 1));
    assert!(new_cookie(&response, "sid").is_some());
    assert_eq!(new_cookie(&response, "CART"), None);
}

/// The first session was renewed before the second one failed. Without the new cookie the client
/// would have lost that session to the failure of another.
#[tokio::test]
async fn the_cookie_of_a_save_travels_with_the_response_to_a_later_save_that_failed() {
    let (user, user_cookie) = store("sid").await;
    let (cart, cart_cookie) = store("CART").await;
    cart.backend().inner().fail(1..=1, When::Before);
    let cookies = [("CART", &*cart_cookie), ("sid", &*user_cookie)];
    let response = with_both((&user, &cart), &cookies, async |request| {
        request.session_named("CART").await?.insert("in", "cart")?;
        request.session().await?.renew()?;
        ok()
    })
    .await;
    assert_eq!(response.status(), 503);
    assert_eq!(new_cookie(&response, "CART"), None);
    let next = new_cookie(&response, "sid").unwrap();
    assert_ne!(next, user_cookie);
    assert!(!user.load(&[&next]).await.unwrap().is_new());
}

/// After a failed save the changes of later storages are dropped, but their logouts are not.
#[tokio::test]
async fn after_a_save_that_failed_only_ends_are_carried_out() {
    for ends in [false, true] {
        let (user, user_cookie) = store("sid").await;
        let (cart, cart_cookie) = store("CART").await;
        user.backend().inner().fail(1..=1, When::Before);
        let cookies = [("CART", &*cart_cookie), ("sid", &*user_cookie)];
        let response = with_both((&user, &cart), &cookies, async |request| {
            request.session().await?.insert("in", "user")?;
            let cart = request.session_named("CART").await?;
            if ends {
                cart.invalidate()?;
            } else {
                cart.renew()?;
            }
            ok()
        })
        .await;
        assert_eq!(response.status(), 503);
        let sets = response.headers().get_all(SET_COOKIE).iter().count();
        assert_eq!(sets, usize::from(ends), "the removal of the cart's cookie");
        assert_eq!(new_cookie(&response, "CART"), None);
        assert_eq!(cart.load(&[&cart_cookie]).await.unwrap().is_new(), ends);
        assert!(!user.load(&[&user_cookie]).await.unwrap().is_new());
    }
}

#[tokio::test]
async fn a_handler_that_fails_saves_nothing_in_any_storage() {
    let (user, user_cookie) = store("sid").await;
    let (cart, cart_cookie) = store("CART").await;
    let cookies = [("CART", &*cart_cookie), ("sid", &*user_cookie)];
    for status in [
        StatusCode::SERVICE_UNAVAILABLE,
        StatusCode::INTERNAL_SERVER_ERROR,
    ] {
        let failing = cart.backend().inner();
        if status == StatusCode::SERVICE_UNAVAILABLE {
            failing.fail(0..=0, When::Before);
        }
        let response = with_both((&user, &cart), &cookies, async |request| {
            request.session().await?.insert("k", 2)?;
            request.session_named("CART").await?.insert("k", 2)?;
            Err(ErrorKind::Value.into())
        })
        .await;
        failing.heal();
        assert_eq!(response.status(), status);
        assert!(!response.headers().contains_key(SET_COOKIE));
        assert_eq!(response.headers()["vary"], "Cookie");
        for (storage, cookie) in [(&user, &user_cookie), (&cart, &cart_cookie)] {
            let kept = storage.load(&[cookie]).await.unwrap();
            assert_eq!(kept.get::<i32>("k").unwrap(), Some(1), "{status}");
        }
    }
}

/// The second one would never be asked for.
#[tokio::test]
async fn two_storages_of_one_cookie_name_are_refused() {
    let (first, _) = store("sid").await;
    let (second, _) = store("sid").await;
    let handler = service_fn(async |_: Request<String>| ok());
    let refused = SessionService::new(first.clone(), handler).and(second.clone());
    let error = refused.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Settings);
    assert!(error.to_string().contains("sid"), "{error}");
    let storages = Storages::new(first).and(second);
    assert_eq!(storages.unwrap_err().kind(), ErrorKind::Settings);
}

#[tokio::test]
async fn a_service_inside_another_one_shadows_it() {
    let (outer, outer_cookie) = store("sid").await;
    let (inner, inner_cookie) = store("CART").await;
    let cookies = [("CART", &*inner_cookie), ("sid", &*outer_cookie)];
    let handler = service_fn(async |request: Request<String>| {
        let hidden = request.session_named("sid").await.unwrap_err();
        assert_eq!(hidden.kind(), ErrorKind::Settings);
        let session = request.session().await?;
        session.insert("in", "CART")?;
        session.renew()?;
        ok()
    });
    let service = SessionService::new(inner.clone(), handler);
    let service = SessionService::new(outer.clone(), service);
    let response = service.call(request(&cookies)).await.unwrap();
    assert_eq!(outer.backend().take(), Calls::default());
    assert_eq!(response.headers().get_all(SET_COOKIE).iter().count(), 1);
    let next = new_cookie(&response, "CART").unwrap();
    assert_eq!(inner.load(&[&next]).await.unwrap().keys(), ["k", "in"]);

    // Of one cookie name too: the inner service serves the request.
    let (outer, cookie) = store("sid").await;
    let (inner, _) = store("sid").await;
    let handler = service_fn(async |request: Request<String>| {
        assert!(request.session_named("sid").await?.is_new());
        ok()
    });
    let service = SessionService::new(outer.clone(), SessionService::new(inner.clone(), handler));
    service.call(request(&[("sid", &cookie)])).await.unwrap();
    assert_eq!(outer.backend().take(), Calls::default());
    assert_eq!(inner.backend().take().read, 1);
}

/// A tower service, as axum's router is one.
#[derive(Clone)]
struct Tower;

impl tower::Service<Request<String>> for Tower {
    type Response = Response<String>;
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<String>, Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<String>) -> Self::Future {
        Box::pin(async move {
            let (parts, _) = request.into_parts();
            parts.session().await?.insert("k", 2)?;
            ok()
        })
    }
}

#[tokio::test]
async fn a_tower_service_is_a_handler() {
    let (storage, cookie) = store("sid").await;
    let service = SessionService::new(storage.clone(), TowerToHyperService::new(Tower));
    let response = service.call(request(&[("sid", &cookie)])).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let saved = storage.load(&[&cookie]).await.unwrap();
    assert_eq!(saved.get::<i32>("k").unwrap(), Some(2));
}

/// The value that a response gives the cookie of this name.
fn new_cookie(response: &Response<String>, name: &str) -> Option<String> {
    let mut values = response
        .headers()
        .get_all(SET_COOKIE)
        .iter()
        .map(|value| value.to_str());
    values.find_map(|header| {
        let pair = header.unwrap().split(';').next()?;
        let value = pair.strip_prefix(name)?.strip_prefix('=')?;
        (value != "\"\"").then(|| value.to_owned())
    })
}

#[test]
fn public_types_are_send_and_sync() {
    fn is<T: Send + Sync + 'static>() {}
    is::<Session>();
    is::<Storages>();
    is::<DefaultErrorResponse>();
    is::<session_core::SessionConfig>();
    is::<session_core::Staged>();
    is::<session_core::Identity>();
    is::<session_core::CookieSettings>();
    is::<session_core::CookieBuilder>();
    is::<CookieChange>();
    is::<keyed::Found>();
    is::<keyed::Write>();
    is::<keyed::OnlyIf<'static>>();
    is::<keyed::Outcome>();
    is::<keyed::Stored>();
    is::<session_core::ManualClock>();
    is::<session_core::SystemClock>();
    is::<Error>();
    is::<ErrorKind>();
    is::<session_core::MemoryStorage>();
    is::<KeyedStorage<MemoryBackend>>();
    is::<session_redis::RedisStorage>();
    is::<session_memcached::MemcachedStorage>();
    is::<Arc<dyn Storage>>();
    is::<session_cookie::Key>();
    is::<session_cookie::EncryptedCookieStorage>();
    is::<session_cookie::NaClCookieStorage>();
    is::<session_cookie::SimpleCookieStorage>();
    is::<SessionService<()>>();
}

/// Futures may move between threads, also if the request's body may not be shared.
#[test]
fn futures_are_send() {
    fn is<T: Send>(_: T) {}
    fn is_type<T: Send>() {}
    is_type::<SessionFuture<std::future::Ready<()>, DefaultErrorResponse, String>>();
    let request = Request::new(std::cell::Cell::new(0));
    is(request.session());
    is(request.session_named("sid"));
    is(Session::detached().save());
    let handler = service_fn(async |_: Request<String>| ok());
    let service = SessionService::new(session_core::MemoryStorage::default(), handler);
    is(service.call(Request::new(String::new())));
}
