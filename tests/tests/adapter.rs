//! The per-request half: who loads, how often, and which session a handler gets.
#![allow(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "these are tests"
)]

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use http::header::{COOKIE, SET_COOKIE};
use http::{Request, Response, StatusCode};
use hyper::service::{Service, service_fn};
use hyper_util::service::TowerToHyperService;
use session_core::{
    CookieChange, CookieSettings, Error, ErrorKind, KeyedStorage, MemoryBackend, RequestSession,
    Session, Storage,
};
use session_hyper::SessionService;
use session_tests::logs::Logs;
use session_tests::stores::{Call, Calls, Counting, Failing, Gate, When};

type Store = KeyedStorage<Counting<Failing<Gate<MemoryBackend>>>>;

/// A storage whose cookie is called `name`, and a session's cookie in it: `k` is 1.
async fn store(name: &'static str) -> (Arc<Store>, String) {
    let backend = Counting::new(Failing::new(Gate::new(MemoryBackend::new())));
    let cookie = CookieSettings::builder(name).build().unwrap();
    let storage = Arc::new(KeyedStorage::new(backend).with_cookie(cookie));
    let session = storage.load(None).await.unwrap();
    session.insert("k", 1).unwrap();
    let CookieChange::Set { value, .. } = storage.save(&session).await.unwrap() else {
        unreachable!()
    };
    storage.backend().take();
    (storage, value)
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
    let read = storage
        .backend()
        .inner()
        .inner()
        .hold(Call::Read, When::Before);
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
    assert!(response.headers().contains_key(SET_COOKIE));
    let calls = storage.backend().take();
    assert_eq!((calls.read, calls.replace), (0, 1));
    assert_eq!(storage.load(Some(&cookie)).await.unwrap().len(), 3);
}

#[tokio::test]
async fn one_who_asks_and_gives_up_lets_the_next_one_load() {
    let (storage, cookie) = store("sid").await;
    let gate = storage.backend().inner().inner();
    for when in [When::Before, When::After] {
        let read = gate.hold(Call::Read, when);
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
    let read = storage
        .backend()
        .inner()
        .inner()
        .hold(Call::Read, When::Before);
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
async fn a_failed_load_is_the_answer_to_everybody_who_asks() {
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
    assert_eq!(storage.load(Some(&next)).await.unwrap().keys(), ["user"]);
    assert!(storage.load(Some(&cookie)).await.unwrap().is_new());
}

#[tokio::test]
async fn a_load_that_is_overtaken_by_a_login_yields_the_logins_session() {
    let (storage, cookie) = store("sid").await;
    let read = storage
        .backend()
        .inner()
        .inner()
        .hold(Call::Read, When::After);
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
async fn a_login_without_a_write_removes_the_cookie_and_the_old_session() {
    let (storage, cookie) = store("sid").await;
    let response = serve(&storage, &cookie, async |request| {
        request.new_session()?;
        ok()
    })
    .await;
    assert!(response.headers().contains_key(SET_COOKIE));
    assert_eq!(new_cookie(&response, "sid"), None);
    assert!(storage.load(Some(&cookie)).await.unwrap().is_new());
}

#[tokio::test]
async fn a_handler_that_fails_saves_nothing() {
    let (storage, cookie) = store("sid").await;
    let unchanged = async || {
        let session = storage.load(Some(&cookie)).await.unwrap();
        session.get::<i32>("k").unwrap() == Some(1)
    };

    let of_its_own = service_fn(async |request: Request<String>| {
        let session = request.session().await.unwrap();
        session.insert("k", 2).unwrap();
        Err::<Response<String>, _>(std::io::Error::other("the handler's own"))
    });
    let service = SessionService::new(storage.clone(), of_its_own);
    let failed = service.call(request(&[("sid", &cookie)])).await;
    assert_eq!(failed.unwrap_err().to_string(), "the handler's own");
    assert!(unchanged().await);

    let of_a_session = service_fn(async |request: Request<String>| {
        request.session().await?.insert("k", 2)?;
        Err::<Response<String>, Error>(ErrorKind::Value.into())
    });
    let service = SessionService::new(storage.clone(), of_a_session);
    let answered = service.call(request(&[("sid", &cookie)])).await.unwrap();
    assert_eq!(answered.status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert!(!answered.headers().contains_key(SET_COOKIE));
    assert!(unchanged().await);
}

#[tokio::test]
async fn a_request_outside_of_every_service_says_what_is_missing() {
    let request = request(&[]);
    let asked = request.session().await.unwrap_err();
    assert_eq!(asked.kind(), ErrorKind::Settings);
    assert_eq!(
        request.new_session().unwrap_err().kind(),
        ErrorKind::Settings
    );
}

/// What a test of nested services needs: both stores, both cookies, and the response.
async fn nested<F>(
    stores: (&Arc<Store>, &Arc<Store>),
    cookies: &[(&str, &str)],
    handler: impl Fn(Request<String>) -> F,
) -> Response<String>
where
    F: Future<Output = Result<Response<String>, Error>>,
{
    let cart = SessionService::new(stores.1.clone(), service_fn(handler));
    let both = SessionService::new(stores.0.clone(), cart);
    both.call(request(cookies)).await.unwrap()
}

#[tokio::test]
async fn nested_services_keep_a_session_each() {
    let (user, user_cookie) = store("sid").await;
    let (cart, cart_cookie) = store("CART").await;
    let cookies = [("CART", &*cart_cookie), ("sid", &*user_cookie)];
    let response = nested((&user, &cart), &cookies, async |request| {
        // The innermost one is the one without a name.
        request.session().await?.insert("in", "cart")?;
        request.session_named("CART").await?.insert("same", true)?;
        let outer = request.session_named("sid").await?;
        outer.insert("in", "user")?;
        outer.renew()?;
        let unknown = request.session_named("other").await.unwrap_err();
        assert_eq!(unknown.kind(), ErrorKind::Settings);
        ok()
    })
    .await;
    assert_eq!(response.headers().get_all(SET_COOKIE).iter().count(), 2);
    assert_eq!(new_cookie(&response, "CART").unwrap(), cart_cookie);
    let cart = cart.load(Some(&cart_cookie)).await.unwrap();
    assert_eq!(cart.keys(), ["k", "in", "same"]);
    let renewed = new_cookie(&response, "sid").unwrap();
    assert_ne!(renewed, user_cookie);
    let user = user.load(Some(&renewed)).await.unwrap();
    assert_eq!(user.get::<String>("in").unwrap().unwrap(), "user");
}

#[tokio::test]
async fn of_nested_services_only_the_one_that_is_asked_works() {
    let (user, user_cookie) = store("sid").await;
    let (cart, cart_cookie) = store("CART").await;
    let cookies = [("CART", &*cart_cookie), ("sid", &*user_cookie)];
    let response = nested((&user, &cart), &cookies, async |request| {
        request.new_session_named("sid")?.insert("user", "alice")?;
        ok()
    })
    .await;
    assert_eq!(cart.backend().take(), Calls::default());
    assert_eq!(user.backend().take().read, 0);
    assert!(new_cookie(&response, "sid").is_some());
    assert_eq!(new_cookie(&response, "CART"), None);
}

/// The inner session was renewed before the outer one failed: its client must learn of it, or it
/// would have lost that session to a failure of another.
#[tokio::test]
async fn an_outer_session_that_fails_does_not_cost_the_client_the_inner_one() {
    let (user, user_cookie) = store("sid").await;
    let (cart, cart_cookie) = store("CART").await;
    user.backend().inner().fail(1..=1, When::Before);
    let cookies = [("CART", &*cart_cookie), ("sid", &*user_cookie)];
    let response = nested((&user, &cart), &cookies, async |request| {
        request.session_named("sid").await?.insert("in", "user")?;
        request.session().await?.renew()?;
        ok()
    })
    .await;
    assert_eq!(response.status(), 503);
    assert_eq!(new_cookie(&response, "sid"), None);
    let next = new_cookie(&response, "CART").unwrap_or(cart_cookie);
    assert!(!cart.load(Some(&next)).await.unwrap().is_new());
}

/// The innermost service answers for a handler's error. What lives around it is not saved either.
#[tokio::test]
async fn a_handler_that_fails_saves_nothing_in_the_services_around() {
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
        let response = nested((&user, &cart), &cookies, async |request| {
            request.session_named("sid").await?.insert("k", 2)?;
            request.session().await?;
            Err(ErrorKind::Value.into())
        })
        .await;
        failing.heal();
        assert_eq!(response.status(), status);
        assert!(!response.headers().contains_key(SET_COOKIE));
        assert_eq!(response.headers()["vary"], "Cookie");
        let kept = user.load(Some(&user_cookie)).await.unwrap();
        assert_eq!(kept.get::<i32>("k").unwrap(), Some(1), "{status}");
    }
}

/// It would never be asked, and nobody would know.
#[tokio::test]
async fn two_nested_services_of_one_cookie_name_are_told_to_the_operator() {
    let (logs, _capture) = Logs::capture();
    let (outer, outer_cookie) = store("sid").await;
    let (inner, inner_cookie) = store("sid").await;
    let cookies = [("sid", &*outer_cookie), ("sid", &*inner_cookie)];
    nested((&outer, &inner), &cookies, async |request| {
        request.session_named("sid").await?.insert("k", 2)?;
        ok()
    })
    .await;
    assert!(
        logs.text()
            .contains("two session services have one cookie name")
    );
    assert_eq!(outer.backend().take(), Calls::default());
    logs.assert_without(&[outer_cookie, inner_cookie]);
}

/// As axum's router is one.
#[derive(Clone)]
struct Tower;

impl tower_service::Service<Request<String>> for Tower {
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
    assert_eq!(new_cookie(&response, "sid").unwrap(), cookie);
    let saved = storage.load(Some(&cookie)).await.unwrap();
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
    is::<session_core::SessionContext>();
    is::<session_core::Save>();
    is::<session_core::Saved>();
    is::<session_core::Records>();
    is::<session_core::Pending>();
    is::<session_core::Pending>();
    is::<session_core::Identity>();
    is::<session_core::CookieSettings>();
    is::<session_core::CookieBuilder>();
    is::<session_core::CookieChange>();
    is::<session_core::Versioned>();
    is::<session_core::Create>();
    is::<session_core::Replace>();
    is::<session_core::ManualClock>();
    is::<session_core::SystemClock>();
    is::<Error>();
    is::<ErrorKind>();
    is::<session_core::MemoryStorage>();
    is::<Arc<dyn Storage>>();
    is::<session_cookie::Key>();
    is::<session_cookie::FernetKey>();
    is::<session_cookie::EncryptedCookieStorage>();
    is::<session_cookie::NaClCookieStorage>();
    is::<session_cookie::SimpleCookieStorage>();
    is::<SessionService<()>>();
}

/// What is awaited may move between threads, also where the request's body may not be shared.
#[test]
fn futures_are_send() {
    fn is<T: Send>(_: T) {}
    let request = Request::new(std::cell::Cell::new(0));
    is(request.session());
    is(request.session_named("sid"));
    let handler = service_fn(async |_: Request<String>| ok());
    let service = SessionService::new(session_core::MemoryStorage::default(), handler);
    is(service.call(Request::new(String::new())));
}
