//! Which changes are kept: by the response that the handler makes, and with several storages.

use std::future::{Future, pending};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Waker};

use http::header::{CACHE_CONTROL, COOKIE, SET_COOKIE, VARY};
use http::{Request, Response};
use session_core::adapter::status;
use session_core::{
    CookieSettings, Error, ErrorKind, KeyedStorage, MemoryStorage, RequestSession, Result,
};
use session_tests::adapter::{Adapter, Service};
use session_tests::logs::Logs;
use session_tests::server::BoxError;
use session_tests::stores::{Call, Calls, When};
use tokio::sync::Notify;

use crate::ADAPTER;
use crate::app::{App, Shared};

type Handled = Result<Response<String>, BoxError>;

fn request(cookies: &str) -> Request<()> {
    Request::builder().header(COOKIE, cookies).body(()).unwrap()
}

fn with_status(status: u16) -> Response<String> {
    Response::builder()
        .status(status)
        .body(String::new())
        .unwrap()
}

/// How a handler ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Ending {
    Status(u16),
    /// `Err` of a session error in a box, as `?` makes it.
    SessionError,
    /// A response that was made from a session error.
    ErrorInExtensions,
    /// `Err` of any other kind. An axum handler has none: what it returns is a response.
    OtherError,
    /// The client has gone.
    Cancelled,
}

use Ending::{Cancelled, ErrorInExtensions, OtherError, SessionError, Status};

/// What a handler does before that.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Change {
    Read,
    Set,
    Touch,
    Renew,
    Clear,
    Login,
    /// Loads the session, and then logs in.
    Relogin,
    Invalidate,
    Restart,
    /// Invalidates the session, and then logs in.
    InvalidateAndLogin,
}

use Change::{
    Clear, Invalidate, InvalidateAndLogin, Login, Read, Relogin, Renew, Restart, Set, Touch,
};

impl Change {
    async fn carry_out(self, request: &Request<()>) -> Result<()> {
        if self == Login {
            return request.new_session()?.insert("user", 1);
        }
        let session = request.session().await?;
        match self {
            Read | Login => Ok(()),
            Set => session.insert("mine", 1),
            Touch => session.changed(),
            Renew => session.renew(),
            Clear => session.clear(),
            Relogin => request.new_session()?.insert("user", 1),
            Invalidate => session.invalidate(),
            Restart => {
                session.invalidate()?;
                session.insert("mine", 1)
            }
            InvalidateAndLogin => {
                session.invalidate()?;
                request.new_session()?.insert("user", 1)
            }
        }
    }

    fn ends(self) -> bool {
        matches!(self, Invalidate | Restart | InvalidateAndLogin)
    }
}

const CHANGES: [Change; 10] = [
    Read,
    Set,
    Touch,
    Renew,
    Clear,
    Login,
    Relogin,
    Invalidate,
    Restart,
    InvalidateAndLogin,
];

/// Serves one request; `None` if it was cancelled.
async fn served(
    app: &App,
    saves_server_errors: bool,
    cookie: &str,
    change: Change,
    ending: Ending,
) -> Option<Handled> {
    let done = Arc::new(Notify::new());
    let is_done = done.clone();
    let handler = move |request: Request<()>| {
        let done = done.clone();
        async move {
            change.carry_out(&request).await?;
            done.notify_one();
            match ending {
                Status(status) => Ok(with_status(status)),
                SessionError => Err(Error::from(ErrorKind::Value).into()),
                ErrorInExtensions => {
                    let mut response = with_status(200);
                    response
                        .extensions_mut()
                        .insert(Error::from(ErrorKind::Value));
                    Ok(response)
                }
                OtherError => Handled::Err("the application's own".into()),
                Cancelled => pending().await,
            }
        }
    };
    let service = ADAPTER.service(app.storage.clone(), handler);
    let service = service.save_server_errors(saves_server_errors);
    let mut response = Box::pin(service.call(request(&format!("sid={cookie}"))));
    tokio::select! {
        biased;
        response = &mut response => Some(response),
        () = is_done.notified(), if ending == Cancelled => None,
    }
}

fn lines(logs: &Logs, level: &str) -> Vec<String> {
    let text = logs.text();
    let lines = text.lines().filter(|line| line.contains(level));
    lines.map(str::to_owned).collect()
}

#[tokio::test]
async fn p8_only_an_end_survives_a_server_error_a_session_error_and_no_other_end_of_a_request() {
    for ending in [
        Status(500),
        Status(503),
        Status(599),
        SessionError,
        ErrorInExtensions,
        OtherError,
        Cancelled,
    ] {
        if ending == OtherError && ADAPTER == Adapter::Axum {
            continue;
        }
        for change in CHANGES {
            let what = format!("{change:?}, {ending:?}");
            println!("{what}");
            let app = App::new();
            let cookie = app.client().await;
            let before = app.stored(&cookie).await;
            let (logs, _capture) = Logs::capture();
            let response = served(&app, false, &cookie, change, ending).await;
            let responds = !matches!(ending, OtherError | Cancelled);
            let is_ended = change.ends() && responds;
            let after = app.stored(&cookie).await;
            if is_ended {
                assert_eq!(after.unwrap(), &b"{ }"[..], "{what}");
                assert_eq!(app.live().await, [""; 0], "{what}");
            } else {
                assert_eq!(after, before, "{what}");
                assert_eq!(app.live().await, [cookie], "{what}");
            }
            match response {
                None => assert_eq!(ending, Cancelled),
                Some(Err(error)) => {
                    assert_eq!(ending, OtherError);
                    assert_eq!(error.to_string(), "the application's own");
                }
                Some(Ok(response)) => {
                    let expected = match ending {
                        Status(status) => status,
                        _ => 500,
                    };
                    assert_eq!(response.status().as_u16(), expected, "{what}");
                    let cookie = response.headers().get(SET_COOKIE);
                    assert_eq!(cookie.is_some(), is_ended, "{what}");
                    if let Some(cookie) = cookie {
                        assert!(cookie.to_str().unwrap().contains("Max-Age=0"), "{what}");
                    }
                    assert_eq!(response.headers()[VARY], "Cookie", "{what}");
                }
            }
            // A server error is told of once, if anything was dropped; a session error once.
            let dropped = lines(&logs, "session changes dropped");
            let is_dropped = matches!(ending, Status(_)) && change != Read && !change.ends();
            // The login beside an invalidation is dropped, too.
            let is_dropped =
                is_dropped || (matches!(ending, Status(_)) && change == InvalidateAndLogin);
            assert_eq!(
                dropped.len(),
                usize::from(is_dropped),
                "{what}: {dropped:?}"
            );
            for line in dropped {
                assert!(line.contains("WARN session::request"), "{line}");
                assert!(line.contains("cookie=\"sid\""), "{line}");
            }
            let errors = lines(&logs, "ERROR ");
            let is_error = matches!(ending, SessionError | ErrorInExtensions);
            assert_eq!(errors.len(), usize::from(is_error), "{what}: {errors:?}");
        }
    }
}

/// Statuses below 500 save, and so do server errors if the service says so.
#[tokio::test]
async fn p8_other_responses_save_and_a_service_can_save_server_errors() {
    for (saves_errors, statuses) in [(false, [200, 302, 404]), (true, [404, 500, 503])] {
        for code in statuses {
            for change in [Set, Renew, Login, Clear, Invalidate] {
                let app = App::new();
                let cookie = app.client().await;
                let (logs, _capture) = Logs::capture();
                let response = served(&app, saves_errors, &cookie, change, Status(code)).await;
                let response = response.unwrap().unwrap();
                let what = format!("{change:?}, {code}");
                assert_eq!(response.status().as_u16(), code);
                assert!(response.headers().contains_key(SET_COOKIE), "{what}");
                let alive = usize::from(!matches!(change, Clear | Invalidate));
                assert_eq!(app.live().await.len(), alive, "{what}");
                let is_kept = app.keys(&cookie).await.is_some();
                assert_eq!(is_kept, change == Set, "{what}");
                assert!(lines(&logs, "dropped").is_empty(), "{what}");
            }
        }
    }
}

/// A session error is not the handler's decision, so `save_server_errors` does not save it.
#[tokio::test]
async fn p8_a_session_error_saves_nothing_whatever_the_service_says() {
    for ending in [SessionError, ErrorInExtensions] {
        let app = App::new();
        let cookie = app.client().await;
        let response = served(&app, true, &cookie, Set, ending).await;
        assert_eq!(response.unwrap().unwrap().status(), 500);
        assert_eq!(app.keys(&cookie).await.unwrap(), ["k"]);
    }
}

/// The page and the status are `on_error`'s, whichever way the error comes back.
#[tokio::test]
async fn a_session_error_ends_in_one_response_however_it_comes_back() {
    for in_extensions in [false, true] {
        for kind in [ErrorKind::Unavailable, ErrorKind::Ended, ErrorKind::Value] {
            let calls = Arc::new(AtomicUsize::new(0));
            let counter = calls.clone();
            let handler = move |request: Request<String>| async move {
                request.session().await?.insert("k", 1)?;
                if !in_extensions {
                    return Err(kind.into());
                }
                let mut response = with_status(204);
                response.extensions_mut().insert(Error::from(kind));
                response
                    .headers_mut()
                    .insert("x-handler", "1".parse().unwrap());
                Ok::<_, Error>(response)
            };
            let service = ADAPTER.service(MemoryStorage::default(), handler);
            let service = service.on_error(move |error| {
                counter.fetch_add(1, Ordering::SeqCst);
                let mut response = with_status(status(error).as_u16());
                *response.body_mut() = format!("{:?}", error.kind());
                response
            });
            let (logs, _capture) = Logs::capture();
            let response = service.call(Request::new(String::new())).await.unwrap();
            assert_eq!(response.status(), status(&kind.into()));
            assert_eq!(*response.body(), format!("{kind:?}"));
            assert_eq!(response.headers()[CACHE_CONTROL], "no-store");
            assert!(!response.headers().contains_key(SET_COOKIE));
            assert!(!response.headers().contains_key("x-handler"));
            assert!(response.extensions().get::<Error>().is_none());
            assert_eq!(calls.load(Ordering::SeqCst), 1);
            let [event] = &lines(&logs, "session::request")[..] else {
                panic!("one event: {}", logs.text())
            };
            // Clients can cause the one with their old cookies.
            let is_ended = kind == ErrorKind::Ended;
            assert!(event.contains(if is_ended { "INFO " } else { "ERROR " }));
        }
    }
}

/// It was logged where it happened.
#[tokio::test]
async fn a_failed_load_or_save_is_logged_once() {
    for in_save in [false, true] {
        for in_extensions in [false, true] {
            let app = App::new();
            let cookie = app.client().await;
            let at = usize::from(in_save);
            app.failing().fail(at..=usize::MAX, When::Before);
            let (logs, _capture) = Logs::capture();
            let handler = move |request: Request<()>| async move {
                match request.session().await {
                    Ok(session) => session.insert("mine", 1)?,
                    Err(error) if in_extensions => {
                        let mut response = with_status(200);
                        response.extensions_mut().insert(error);
                        return Ok(response);
                    }
                    Err(error) => return Err(error.into()),
                }
                Handled::Ok(with_status(200))
            };
            let service = ADAPTER.service(app.storage.clone(), handler);
            let response = service.call(request(&format!("sid={cookie}"))).await;
            let response = response.unwrap();
            assert_eq!(response.status(), 503);
            let errors = lines(&logs, "ERROR ");
            assert_eq!(errors.len(), 1, "{errors:?}");
            let target = if in_save {
                "session::save"
            } else {
                "session::load"
            };
            assert!(errors[0].contains(target), "{errors:?}");
        }
    }
}

/// A guard returns it for every request with an old cookie, as often as the client likes.
#[tokio::test]
async fn a_session_that_has_ended_is_no_error_in_the_log() {
    for in_extensions in [false, true] {
        let app = App::new();
        let cookie = app.client().await;
        app.ask(Some(&cookie), "/logout").await;
        let (logs, _capture) = Logs::capture();
        let request = request(&format!("sid={cookie}"));
        let response = ADAPTER.serve_once(app.storage.clone(), request, async move |request| {
            assert!(request.session().await?.was_ended());
            let error = Error::from(ErrorKind::Ended);
            if !in_extensions {
                return Err(error.into());
            }
            let mut response = with_status(200);
            response.extensions_mut().insert(error);
            Handled::Ok(response)
        });
        let response = response.await.unwrap();
        assert_eq!(response.status(), 409);
        assert_eq!(lines(&logs, "ERROR "), [""; 0]);
        let told = lines(&logs, "session::request");
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].contains("INFO"), "{told:?}");
    }
}

#[tokio::test]
async fn a_request_without_a_service_is_an_error_of_settings_and_one_event() {
    let request = Request::new(());
    for which in 0..4 {
        let (logs, _capture) = Logs::capture();
        let told = match which {
            0 => request.session().await.unwrap_err(),
            1 => request.session_named("sid").await.unwrap_err(),
            2 => request.new_session().unwrap_err(),
            _ => request.new_session_named("sid").unwrap_err(),
        };
        assert_eq!(told.kind(), ErrorKind::Settings);
        let errors = lines(&logs, "ERROR ");
        assert_eq!(errors.len(), 1, "{errors:?}");
        assert!(errors[0].contains("session::request"), "{errors:?}");
        assert!(
            errors[0].contains("SessionService"),
            "it names the remedy: {errors:?}"
        );
        assert!(errors[0].contains("no session service"), "{errors:?}");
    }
}

/// Also when the handler returns it to another service.
#[tokio::test]
async fn a_storage_that_the_service_does_not_have_is_an_error_of_settings_and_one_event() {
    let (logs, _capture) = Logs::capture();
    let handler = async |request: Request<()>| -> Handled {
        request.session_named("cart").await?;
        unreachable!("there is no such storage");
    };
    let service = ADAPTER.service(App::new().storage, handler);
    let response = service.call(request("")).await.unwrap();
    assert_eq!(response.status(), 500);
    let errors = lines(&logs, "ERROR ");
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(errors[0].contains("cart"), "{errors:?}");
    let event = "no storage has this cookie name";
    assert!(errors[0].contains(event), "{errors:?}");
}

/// F6: the handler gave the load up, so the response depends on the cookie all the same.
#[tokio::test]
async fn a_response_after_a_load_that_was_given_up_varies_by_cookie() {
    for fails in [false, true] {
        let app = App::new();
        let cookie = app.client().await;
        let load = app.gate().hold(Call::Read, When::Before);
        let handler = move |request: Request<()>| async move {
            let mut session = pin!(request.session());
            let mut context = Context::from_waker(Waker::noop());
            for _ in 0..3 {
                assert!(session.as_mut().poll(&mut context).is_pending());
            }
            let code = if fails { 504 } else { 200 };
            Handled::Ok(with_status(code))
        };
        let service = ADAPTER.service(app.storage.clone(), handler);
        let response = service.call(request(&format!("sid={cookie}"))).await;
        let response = response.unwrap();
        load.reached().await;
        assert_eq!(response.headers()[VARY], "Cookie");
        assert!(!response.headers().contains_key(SET_COOKIE));
    }
    // One that never asked does not.
    let handler = async |_: Request<()>| -> Handled { Ok(with_status(200)) };
    let service = ADAPTER.service(App::new().storage, handler);
    let response = service.call(request("")).await.unwrap();
    assert!(response.headers().is_empty());
}

fn named(app: &App, name: &'static str) -> KeyedStorage<Shared> {
    let cookie = CookieSettings::builder(name).build().unwrap();
    KeyedStorage::new(app.storage.backend().clone()).with_cookie(cookie)
}

/// A service of two storages, whose handler is [`change_both`].
fn both(app: &App) -> Service<impl Fn(Request<()>) -> Changing + Clone + Send + Sync + 'static> {
    let handler = |request| Box::pin(change_both(request)) as Changing;
    let service = ADAPTER.service(app.storage.clone(), handler);
    service.and(named(app, "cart")).unwrap()
}

type Changing = Pin<Box<dyn Future<Output = Handled> + Send>>;

/// The names of the cookies that a response sets.
fn cookies(response: &Response<String>) -> Vec<&str> {
    let headers = response.headers().get_all(SET_COOKIE).iter();
    let names = headers.map(|header| header.to_str().unwrap().split('=').next().unwrap());
    names.collect()
}

/// Changes both sessions, the second one first.
async fn change_both(request: Request<()>) -> Handled {
    request.session_named("cart").await?.insert("cart", 1)?;
    request.session().await?.insert("mine", 1)?;
    assert!(request.session_named("sid").await?.contains_key("mine"));
    Ok(with_status(200))
}

#[tokio::test]
async fn several_storages_are_saved_in_their_order() {
    let app = App::new();
    let response = both(&app).call(request("")).await.unwrap();
    assert_eq!(cookies(&response), ["sid", "cart"]);
    let created = app.counts().created();
    assert!(created[0].starts_with("sid_") && created[1].starts_with("cart_"));
    assert_eq!(created.len(), 2);
    assert_eq!(response.headers().get_all(VARY).iter().count(), 1);
}

/// What was acknowledged before travels with the error page.
#[tokio::test]
async fn if_one_storage_fails_its_error_is_the_response_and_acknowledged_cookies_travel() {
    for (failing, saved) in [(0, &[][..]), (1, &["sid"])] {
        let app = App::new();
        app.failing().fail(failing..=failing, When::Before);
        let (logs, _capture) = Logs::capture();
        let response = both(&app).call(request("")).await.unwrap();
        assert_eq!(response.status(), 503);
        assert_eq!(cookies(&response), saved);
        // After the failure nothing is saved any more.
        assert_eq!(app.failing().heal(), failing + 1);
        assert_eq!(lines(&logs, "ERROR ").len(), 1);
    }
}

#[tokio::test]
async fn p3_the_end_of_the_second_session_is_carried_out_although_the_first_was_not_saved() {
    let app = App::new();
    let cookie = app.client().await;
    // The second storage's session is ended.
    let handler = async |request: Request<()>| -> Handled {
        request.session().await?.insert("cart", 1)?;
        request.session_named("sid").await?.invalidate()?;
        Ok(with_status(200))
    };
    // The load of the second session, and then the save of the first.
    app.failing().fail(1..=1, When::Before);
    let service = ADAPTER.service(named(&app, "cart"), handler);
    let service = service.and(app.storage.clone()).unwrap();
    let response = service.call(request(&format!("sid={cookie}"))).await;
    let response = response.unwrap();
    assert_eq!(response.status(), 503);
    assert_eq!(cookies(&response), ["sid"]);
    assert_eq!(app.stored(&cookie).await.unwrap(), &b"{ }"[..]);
}

#[tokio::test]
async fn two_storages_of_one_cookie_name_are_refused() {
    let app = App::new();
    let told = both(&app).and(named(&app, "cart")).unwrap_err();
    assert_eq!(told.kind(), ErrorKind::Settings);
    assert!(told.to_string().contains("cart"));
    let service = ADAPTER.service(named(&app, "sid"), change_both);
    let told = service.and(named(&app, "sid")).unwrap_err();
    assert_eq!(told.kind(), ErrorKind::Settings);
}

/// A service inside another one shadows it.
#[tokio::test]
async fn a_service_inside_another_one_shadows_it() {
    let (inner, outer) = (App::new(), App::new());
    let storage = inner.storage.clone();
    let handler = move |request: Request<()>| {
        let storage = storage.clone();
        async move {
            let inside = async |request: Request<()>| -> Result<Response<String>> {
                request.session().await?.insert("k", 1)?;
                Ok(with_status(200))
            };
            ADAPTER.service(storage, inside).call(request).await
        }
    };
    let service = ADAPTER.service(outer.storage.clone(), handler);
    let response = service.call(request("")).await.unwrap();
    assert_eq!(cookies(&response), ["sid"]);
    assert_eq!(inner.counts().take().create, 1);
    assert_eq!(outer.counts().take(), Calls::default());
}
