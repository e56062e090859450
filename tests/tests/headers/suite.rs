//! What a session does to the headers of a response, over TCP, and the responses to its failures.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, HeaderValue, SET_COOKIE, VARY};
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::{Body, Frame, Incoming};
use session_cookie::{EncryptedCookieStorage, Key, NaClCookieStorage, SimpleCookieStorage};
use session_core::adapter::status;
use session_core::{
    CookieSettings, DEFAULT_NAME, Error, ErrorKind, KeyedStorage, MemoryBackend, MemoryStorage,
    RequestSession, Result, SameSite, Session, Storage,
};
use session_tests::adapter::Adapter;
use session_tests::logs::Logs;
use session_tests::server::{BoxError, Server, TestResponse, pair, set_cookies};
use session_tests::stores::Call;
use session_tests::wrap_backend;
use tokio::sync::{mpsc, oneshot};

use crate::ADAPTER;

type Page = std::result::Result<Response<Full<Bytes>>, BoxError>;

/// What a handler under test sets itself, and with which status it responds.
type Headers = &'static [(&'static str, &'static str)];

fn page(status: u16, headers: Headers) -> Page {
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(*name, *value);
    }
    Ok(response.body(Full::from("page"))?)
}

/// A server whose handler does `act` to the session, then responds with `headers`.
async fn serve(
    storage: Arc<dyn Storage>,
    act: fn(&Session) -> Result<()>,
    status: u16,
    headers: Headers,
) -> Server {
    ADAPTER
        .start(storage, move |request: Request<Incoming>| async move {
            act(&request.session().await?)?;
            page(status, headers)
        })
        .await
}

fn storages() -> [Arc<dyn Storage>; 5] {
    [
        Arc::new(SimpleCookieStorage::unprotected()),
        Arc::new(EncryptedCookieStorage::new(Key::from([1; 32]))),
        Arc::new(NaClCookieStorage::new(Key::from([1; 32]))),
        Arc::new(MemoryStorage::default()),
        Arc::new(KeyedStorage::new(MemoryBackend::new()).hash_identities(true)),
    ]
}

/// Returns the storages of [`storages`], and whether an update sends the cookie. It does not if the
/// cookie is only an identity and has no Max-Age to restart.
fn storages_and_updates() -> impl Iterator<Item = (Arc<dyn Storage>, bool)> {
    storages().into_iter().zip([true, true, true, false, false])
}

fn read(session: &Session) -> Result<()> {
    session.get::<u64>("n").map(drop)
}

fn write(session: &Session) -> Result<()> {
    session.insert("n", 1)
}

/// Saves a session and returns what a browser would send from then on.
async fn saved(storage: &Arc<dyn Storage>) -> String {
    let server = serve(storage.clone(), write, 200, &[]).await;
    one_cookie(&server.get("/", &[]).await)
}

/// Returns the one session cookie that a response sets.
#[track_caller]
fn one_cookie(response: &TestResponse) -> String {
    let set = set_cookies(response, DEFAULT_NAME);
    assert_eq!(set.len(), 1, "{:?}", response.headers());
    pair(&set[0]).to_owned()
}

#[track_caller]
fn values<'a>(response: &'a TestResponse, name: &str) -> Vec<&'a str> {
    let all = response.headers().get_all(name).iter();
    all.map(|value| value.to_str().unwrap()).collect()
}

#[tokio::test]
async fn a_write_sets_one_cookie_beside_the_handlers_own() {
    let own: Headers = &[("set-cookie", "a=1; Path=/a"), ("set-cookie", "b=2")];
    for storage in storages() {
        let server = serve(storage, write, 200, own).await;
        for response in [server.get("/", &[]).await, server.get_http2("/", &[]).await] {
            one_cookie(&response);
            assert_eq!(
                values(&response, "set-cookie")[..2],
                ["a=1; Path=/a", "b=2"]
            );
            assert_eq!(values(&response, "set-cookie").len(), 3);
            assert_eq!(response.body(), "page");
        }
    }
}

#[tokio::test]
async fn a_write_replaces_a_cookie_of_our_name_that_the_handler_set() {
    let own: Headers = &[
        ("set-cookie", "AIOHTTP_SESSION=mine; Path=/"),
        ("set-cookie", "a=AIOHTTP_SESSION"),
        ("set-cookie", " AIOHTTP_SESSION = mine"),
        ("set-cookie", "AIOHTTP_SESSION_2=other"),
        ("set-cookie", "AIOHTTP_SESSION"),
    ];
    for storage in storages() {
        let server = serve(storage, write, 200, own).await;
        let response = server.get("/", &[]).await;
        let cookie = one_cookie(&response);
        let all = values(&response, "set-cookie");
        assert_eq!(all[..2], ["a=AIOHTTP_SESSION", "AIOHTTP_SESSION_2=other"]);
        assert_eq!(all.len(), 3);
        assert!(!cookie.contains("mine"));
    }
}

#[tokio::test]
async fn a_cookie_of_our_name_that_the_handler_set_stays_if_there_is_nothing_to_save() {
    let own: Headers = &[("set-cookie", "AIOHTTP_SESSION=mine")];
    for storage in storages() {
        let server = serve(storage, read, 200, own).await;
        assert_eq!(
            values(&server.get("/", &[]).await, "set-cookie"),
            ["AIOHTTP_SESSION=mine"]
        );
    }
}

#[tokio::test]
async fn a_removal_has_the_attributes_of_the_cookie() {
    let key = || Key::from([1; 32]);
    let plain = || CookieSettings::builder(DEFAULT_NAME);
    for settings in [
        plain(),
        plain()
            .secure(false)
            .http_only(false)
            .same_site(None)
            .path(""),
        plain()
            .domain("example.com")
            .path("/app")
            .same_site(SameSite::None)
            .partitioned(true),
        plain()
            .max_age(Duration::from_secs(60))
            .same_site(SameSite::Strict),
        plain().absolute_max_age(Duration::from_secs(60)),
    ] {
        let cookie = settings.build().unwrap();
        let storages: [Arc<dyn Storage>; 4] = [
            Arc::new(SimpleCookieStorage::unprotected().with_cookie(cookie.clone())),
            Arc::new(EncryptedCookieStorage::new(key()).with_cookie(cookie.clone())),
            Arc::new(NaClCookieStorage::new(key()).with_cookie(cookie.clone())),
            Arc::new(MemoryStorage::default().with_cookie(cookie.clone())),
        ];
        for storage in storages {
            let set = serve(storage.clone(), write, 200, &[])
                .await
                .get("/", &[])
                .await;
            let value = one_cookie(&set);
            let server = serve(storage, Session::invalidate, 200, &[]).await;
            let removed = server.get("/", &[value.as_bytes()]).await;
            let parsed = [&set, &removed].map(|response| {
                let [text] = &set_cookies(response, DEFAULT_NAME)[..] else {
                    panic!("one cookie")
                };
                cookie::Cookie::parse(text.clone()).unwrap()
            });
            let attributes = parsed.each_ref().map(|c| {
                let flags = (c.secure(), c.http_only(), c.partitioned(), c.same_site());
                (
                    c.name().to_owned(),
                    c.domain().map(str::to_owned),
                    c.path().map(str::to_owned),
                    flags,
                )
            });
            assert_eq!(attributes[0], attributes[1]);
            let [set, removal] = parsed;
            assert_eq!(
                set.max_age().map(cookie::time::Duration::whole_seconds),
                cookie.max_age().map(|_| 60)
            );
            assert_eq!(removal.value_trimmed(), "");
            assert!(removal.max_age().unwrap().is_zero());
            assert_eq!(removal.expires_datetime().unwrap().unix_timestamp(), 0);
        }
    }
}

#[tokio::test]
async fn vary_names_the_cookie_once_whatever_the_handler_said() {
    for (own, expected) in [
        (&[][..], &["Cookie"][..]),
        (&[("vary", "Accept")], &["Accept", "Cookie"]),
        (&[("vary", "accept, cookie")], &["accept, cookie"]),
        (
            &[("vary", "Accept"), ("vary", "COOKIE")],
            &["Accept", "COOKIE"],
        ),
        (&[("vary", "*")], &["*"]),
        (&[("vary", "Cookie-Consent")], &["Cookie-Consent", "Cookie"]),
        (&[("vary", "")], &["", "Cookie"]),
    ] {
        for act in [read, write] {
            let server = serve(Arc::new(MemoryStorage::default()), act, 200, own).await;
            assert_eq!(values(&server.get("/", &[]).await, "vary"), expected);
        }
    }
}

#[tokio::test]
async fn a_response_that_sets_the_cookie_is_not_stored_unless_the_handler_allows_it() {
    let quiet: Headers = &[];
    let private: Headers = &[("cache-control", "private, max-age=60")];
    let set: &[&str] = &["no-store"];
    for (storage, updates_set) in storages_and_updates() {
        for (own, act, is_logged_in, expected) in [
            (quiet, write as fn(&Session) -> Result<()>, false, set),
            // If the update does not send the cookie, a cache may store the response.
            (quiet, write, true, if updates_set { set } else { &[] }),
            (quiet, read, true, &[]),
            (private, write, false, &["private, max-age=60"]),
            (private, write, true, &["private, max-age=60"]),
            (private, read, true, &["private, max-age=60"]),
            // Also if the cookie is removed, or gets another value.
            (quiet, Session::invalidate, true, set),
        ] {
            let cookie = saved(&storage).await;
            let cookies = [cookie.as_bytes()];
            let server = serve(storage.clone(), act, 200, own).await;
            let response = server.get("/", &cookies[..usize::from(is_logged_in)]).await;
            assert_eq!(values(&response, "cache-control"), expected, "{storage:?}");
        }
    }
}

#[tokio::test]
async fn an_update_sends_the_cookie_of_a_store_only_if_it_has_a_max_age() {
    for (storage, updates_set) in storages_and_updates() {
        let cookie = saved(&storage).await;
        let server = serve(storage.clone(), write, 200, &[]).await;
        let response = server.get("/", &[cookie.as_bytes()]).await;
        let sets = set_cookies(&response, DEFAULT_NAME).len();
        assert_eq!(sets, usize::from(updates_set), "{storage:?}");
        assert_eq!(values(&response, "vary"), ["Cookie"]);
        assert_eq!(stored(&storage, &cookie).await, Some(1));
    }
    for (max_age, own) in [(Some(60), None), (None, Some(()))] {
        let cookie = CookieSettings::builder(DEFAULT_NAME).max_age(max_age.map(seconds));
        let storage = MemoryStorage::default().with_cookie(cookie.build().unwrap());
        let storage: Arc<dyn Storage> = Arc::new(storage);
        let cookie = saved(&storage).await;
        let act: fn(&Session) -> Result<()> = match own {
            Some(()) => |session| session.set_max_age(seconds(60)),
            None => write,
        };
        let server = serve(storage.clone(), act, 200, &[]).await;
        let response = server.get("/", &[cookie.as_bytes()]).await;
        assert_eq!(one_cookie(&response), cookie);
        assert!(set_cookies(&response, DEFAULT_NAME)[0].contains("Max-Age=60"));
    }
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[tokio::test]
async fn p9_a_request_that_does_not_ask_for_its_session_has_no_header_of_it() {
    for storage in storages() {
        let cookie = saved(&storage).await;
        let server = ADAPTER.start(storage, |_| async { page(200, &[]) }).await;
        for cookies in [&[][..], &[cookie.as_bytes()], &[b"AIOHTTP_SESSION=\xff"]] {
            let response = server.get("/", cookies).await;
            for name in [SET_COOKIE, VARY, CACHE_CONTROL] {
                assert!(!response.headers().contains_key(&name), "{name}");
            }
        }
    }
}

#[tokio::test]
async fn p9_a_request_that_only_reads_sets_no_cookie() {
    for storage in storages() {
        let cookie = saved(&storage).await;
        let server = serve(storage, read, 200, &[]).await;
        for cookies in [&[][..], &[cookie.as_bytes()], &[b"AIOHTTP_SESSION=bad"]] {
            let response = server.get("/", cookies).await;
            assert!(!response.headers().contains_key(SET_COOKIE));
            assert_eq!(values(&response, "vary"), ["Cookie"]);
        }
    }
}

#[tokio::test]
async fn a_response_of_any_status_but_a_server_error_saves() {
    for storage in storages() {
        for status in [201, 204, 302, 303, 304, 400, 401, 403, 404, 418, 499] {
            let server = serve(storage.clone(), write, status, &[]).await;
            let response = server.get("/", &[]).await;
            assert_eq!(response.status().as_u16(), status);
            let cookie = one_cookie(&response);
            assert_eq!(stored(&storage, &cookie).await, Some(1), "{status}");
        }
    }
}

fn overwrite(session: &Session) -> Result<()> {
    session.insert("n", 2)
}

/// The handler failed half-way, so its changes are not kept. The log says so.
#[tokio::test]
async fn p8_a_server_error_saves_nothing_and_the_log_says_so() {
    for storage in storages() {
        for status in [500, 503, 599] {
            let cookie = saved(&storage).await;
            for (act, is_logged) in [
                (overwrite as fn(&Session) -> Result<()>, true),
                (Session::renew, true),
                (read, false),
            ] {
                let (logs, _capture) = Logs::capture();
                let server = serve(storage.clone(), act, status, &[("x-own", "1")]).await;
                let response = server.get("/", &[cookie.as_bytes()]).await;
                assert_eq!(response.status().as_u16(), status);
                // The response is the handler's own.
                assert_eq!(values(&response, "x-own"), ["1"]);
                assert_eq!(response.body(), "page");
                assert!(!response.headers().contains_key(SET_COOKIE));
                assert_eq!(values(&response, "vary"), ["Cookie"]);
                let text = logs.text();
                let dropped = text.contains("session changes dropped");
                assert_eq!(dropped, is_logged, "{text}");
                assert!(
                    !dropped || text.contains(" WARN session::request"),
                    "{text}"
                );
                logs.assert_without(&[cookie.split_once('=').unwrap().1]);
                assert_eq!(stored(&storage, &cookie).await, Some(1), "{status}");
            }
        }
    }
}

/// Also of a session that the handler changed before, and one that a login was to replace.
#[tokio::test]
async fn p3_a_logout_is_carried_out_although_the_response_is_a_server_error() {
    for (storage, is_in_cookie) in storages_and_updates() {
        for path in ["/500", "/error", "/login"] {
            let cookie = saved(&storage).await;
            let server = ADAPTER
                .start(storage.clone(), |request: Request<Incoming>| async move {
                    let session = request.session().await?;
                    session.insert("n", 2)?;
                    session.invalidate()?;
                    match request.uri().path() {
                        "/error" => return Err(Error::from(ErrorKind::Value).into()),
                        "/login" => request.new_session()?.insert("n", 3)?,
                        _ => {}
                    }
                    page(500, &[])
                })
                .await;
            let response = server.get(path, &[cookie.as_bytes()]).await;
            assert_eq!(response.status(), 500);
            assert_eq!(one_cookie(&response), "AIOHTTP_SESSION=\"\"", "{path}");
            if !is_in_cookie {
                assert_eq!(stored(&storage, &cookie).await, None, "{path}");
            }
        }
    }
}

#[tokio::test]
async fn a_login_is_dropped_with_a_server_error_and_the_old_session_stays() {
    for storage in storages() {
        let cookie = saved(&storage).await;
        for writes in [true, false] {
            let server = ADAPTER
                .start(
                    storage.clone(),
                    move |request: Request<Incoming>| async move {
                        let session = request.new_session()?;
                        if writes {
                            session.insert("n", 2)?;
                        }
                        page(500, &[])
                    },
                )
                .await;
            let response = server.get("/", &[cookie.as_bytes()]).await;
            assert!(!response.headers().contains_key(SET_COOKIE));
            assert_eq!(stored(&storage, &cookie).await, Some(1));
        }
    }
}

#[tokio::test]
async fn a_service_that_saves_server_errors_saves_them() {
    for (storage, updates_set) in storages_and_updates() {
        let handler = |request: Request<Incoming>| async move {
            request.session().await?.insert("n", 2)?;
            page(500, &[])
        };
        let service = ADAPTER
            .service(storage.clone(), handler)
            .save_server_errors(true);
        let server = service.serve().await;
        let cookie = one_cookie(&server.get("/", &[]).await);
        assert_eq!(stored(&storage, &cookie).await, Some(2));

        let cookie = saved(&storage).await;
        let response = server.get("/", &[cookie.as_bytes()]).await;
        let set = set_cookies(&response, DEFAULT_NAME);
        assert_eq!(set.len(), usize::from(updates_set));
        let cookie = set.first().map_or(&*cookie, |set| pair(set));
        assert_eq!(stored(&storage, cookie).await, Some(2));
    }
}

/// Another service of the framework, such as axum's `IntoResponse`, makes such responses.
#[tokio::test]
async fn a_session_error_in_a_response_ends_like_one_that_is_returned() {
    let (logs, _capture) = Logs::capture();
    for storage in storages() {
        let cookie = saved(&storage).await;
        let server = ADAPTER
            .start(storage.clone(), |request: Request<Incoming>| async move {
                let session = request.session().await?;
                session.insert("n", 2)?;
                let error = session.get::<Vec<String>>("n").unwrap_err();
                let mut response = page(200, &[("set-cookie", "a=1")])?;
                response.extensions_mut().insert(error);
                Ok(response)
            })
            .await;
        let response = server.get("/", &[cookie.as_bytes()]).await;
        assert_bare(&response, StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(stored(&storage, &cookie).await, Some(1), "nothing is saved");
    }
    let events = logs
        .text()
        .matches("handler failed with a session error")
        .count();
    assert_eq!(events, storages().len(), "one event for each");
}

/// The identity of an acknowledged save is the only one that still works.
#[tokio::test]
async fn the_cookie_of_an_explicit_save_travels_with_every_response() {
    for storage in storages() {
        for path in ["/200", "/500", "/error", "/more"] {
            let cookie = saved(&storage).await;
            let server = ADAPTER
                .start(storage.clone(), |request: Request<Incoming>| async move {
                    let session = request.session().await?;
                    session.insert("n", 2)?;
                    session.renew()?;
                    session.save().await?;
                    match request.uri().path() {
                        "/error" => Err(Error::from(ErrorKind::Value).into()),
                        "/500" => page(500, &[]),
                        "/more" => {
                            session.insert("n", 3)?;
                            page(500, &[])
                        }
                        _ => page(200, &[]),
                    }
                })
                .await;
            let response = server.get(path, &[cookie.as_bytes()]).await;
            let status = if path == "/200" { 200 } else { 500 };
            assert_eq!(response.status(), status, "{path}");
            assert_eq!(values(&response, "cache-control"), ["no-store"]);
            let next = one_cookie(&response);
            assert_eq!(stored(&storage, &next).await, Some(2), "{path} {storage:?}");
        }
    }
}

/// The handler has asked for its session, so the response depends on the cookie.
#[tokio::test]
async fn a_load_that_the_handler_gave_up_on_still_varies() {
    let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::default());
    let server = ADAPTER
        .start(storage, |request: Request<Incoming>| async move {
            drop(request.session());
            page(200, &[])
        })
        .await;
    assert_eq!(values(&server.get("/", &[]).await, "vary"), ["Cookie"]);
}

/// Returns what a request with `cookie` finds under `n`.
async fn stored(storage: &Arc<dyn Storage>, cookie: &str) -> Option<u64> {
    let (send, mut receive) = mpsc::unbounded_channel();
    let server = ADAPTER
        .start(storage.clone(), move |request: Request<Incoming>| {
            let send = send.clone();
            async move {
                send.send(request.session().await?.get::<u64>("n")?)?;
                page(200, &[])
            }
        })
        .await;
    assert_eq!(server.get("/", &[cookie.as_bytes()]).await.status(), 200);
    receive.recv().await.unwrap()
}

#[tokio::test]
async fn a_handler_that_returns_an_error_saves_nothing() {
    // Whatever an axum handler returns is a response. `axum/errors.rs` tests an application's
    // error.
    if ADAPTER == Adapter::Axum {
        return;
    }
    let storage: Arc<KeyedStorage<Switch>> = Arc::new(KeyedStorage::new(Switch::default()));
    let server = ADAPTER
        .start(storage.clone(), |request: Request<Incoming>| async move {
            request.session().await?.insert("n", 1)?;
            Page::Err("swordfish-4711".into())
        })
        .await;
    // hyper closes the connection: the error is the application's, and nothing of it leaves.
    let response = server.exchange(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(response.is_empty(), "{}", response.escape_ascii());
    assert!(storage.backend().inner.is_empty());
}

/// A body that a task feeds.
#[derive(Default)]
struct Stream(Option<mpsc::UnboundedReceiver<Bytes>>);

impl Body for Stream {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<std::result::Result<Frame<Bytes>, Infallible>>> {
        let Some(receiver) = &mut self.0 else {
            return Poll::Ready(None);
        };
        receiver
            .poll_recv(cx)
            .map(|chunk| chunk.map(|chunk| Ok(Frame::data(chunk))))
    }
}

/// Serves an endless response, and gives its request to `body` as soon as a client saw the headers.
async fn stream<F, Fut>(storage: Arc<dyn Storage>, asks_first: bool, body: F) -> TestResponse
where
    F: FnOnce(http::request::Parts) -> Fut + Send + 'static,
    Fut: Future<Output = String> + Send + 'static,
{
    let (headers_seen, seen) = oneshot::channel::<()>();
    let once = Arc::new(Mutex::new(Some((seen, body))));
    let server = ADAPTER
        .start(storage, move |request: Request<Incoming>| {
            let once = once.clone();
            async move {
                if asks_first {
                    request.session().await?.insert("n", 1)?;
                }
                let (send, receive) = mpsc::unbounded_channel();
                let (seen, body) = once.lock().unwrap().take().unwrap();
                let (parts, _) = request.into_parts();
                tokio::spawn(async move {
                    seen.await.unwrap();
                    send.send(Bytes::from(body(parts).await)).unwrap();
                });
                Ok(Response::new(Stream(Some(receive))))
            }
        })
        .await;
    // The headers must come although the body waits for them: no buffering, and no deadlock.
    let io = tokio::net::TcpStream::connect(server.address())
        .await
        .unwrap();
    let io = hyper_util::rt::TokioIo::new(io);
    let (mut client, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
    let connection = tokio::spawn(connection);
    let request = Request::builder()
        .header("host", "localhost")
        .body(Full::<Bytes>::default());
    let (parts, body) = client
        .send_request(request.unwrap())
        .await
        .unwrap()
        .into_parts();
    headers_seen.send(()).unwrap();
    let body = http_body_util::BodyExt::collect(body)
        .await
        .unwrap()
        .to_bytes();
    connection.abort();
    Response::from_parts(parts, body)
}

#[tokio::test]
async fn p8_a_streamed_response_is_committed_before_its_headers_and_takes_no_change_after() {
    for storage in storages() {
        let response = stream(storage.clone(), true, |parts| async move {
            let session = parts.session().await.unwrap();
            let changes = [
                session.insert("n", 2),
                session.remove("n").map(drop),
                session
                    .update("n", |n: Option<u64>| n.unwrap_or(0))
                    .map(drop),
                session.take::<u64>("n").map(drop),
                session.modify("n", |n: &mut u64| *n += 1),
                session.set_data(&BTreeMap::from([("n".to_owned(), 2)])),
                session.save().await,
                session.clear(),
                session.changed(),
                session.renew(),
                session.invalidate(),
                session.set_max_age(None),
                session.set_new_identity(session_core::Identity::random().unwrap()),
                parts.new_session().map(drop),
            ];
            assert_eq!(session.get::<u64>("n").unwrap(), Some(1), "reading goes on");
            changes
                .map(|change| format!("{:?} ", change.unwrap_err().kind()))
                .concat()
        })
        .await;
        assert_eq!(response.body(), "Committed ".repeat(14).as_str());
        assert_eq!(stored(&storage, &one_cookie(&response)).await, Some(1));
    }
}

#[tokio::test]
async fn p8_a_session_first_asked_for_after_the_headers_takes_no_change() {
    for storage in storages() {
        let response = stream(storage, false, |parts| async move {
            let session = parts.session().await.unwrap();
            format!("{:?}", session.insert("n", 1).map_err(|error| error.kind()))
        })
        .await;
        assert_eq!(response.body(), "Err(Committed)");
        assert!(!response.headers().contains_key(SET_COOKIE));
    }
}

#[tokio::test]
async fn p8_a_new_session_first_asked_for_after_the_headers_is_an_error() {
    for storage in storages() {
        let response = stream(storage, false, |parts| async move {
            format!(
                "{:?}",
                parts.new_session().map(drop).map_err(|error| error.kind())
            )
        })
        .await;
        assert_eq!(response.body(), "Err(Committed)");
    }
}

#[tokio::test]
async fn p8_a_session_whose_place_a_new_one_took_takes_no_change() {
    for storage in storages() {
        let server = ADAPTER
            .start(storage, |request: Request<Incoming>| async move {
                let old = request.session().await?;
                request.new_session()?.insert("n", 2)?;
                let change = old.insert("n", 3).map_err(|error| error.kind());
                Ok(Response::new(Full::<Bytes>::from(format!("{change:?}"))))
            })
            .await;
        let response = server.get("/", &[]).await;
        assert_eq!(response.body(), "Err(Committed)");
    }
}

#[tokio::test]
async fn each_storage_of_a_service_has_a_session() {
    let of = |name: &'static str| CookieSettings::builder(name).build().unwrap();
    let user = EncryptedCookieStorage::new(Key::from([2; 32])).with_cookie(of("USER"));
    let cart = MemoryStorage::default().with_cookie(of("CART"));
    let handler = |request: Request<Incoming>| async move {
        let (user, cart) = (
            request.session_named("USER").await?,
            request.session_named("CART").await?,
        );
        let path = request.uri().path();
        if path.contains("user") {
            // Without a name it is the session of the first storage.
            let first = request.session().await?;
            first.update("n", |n: Option<u64>| n.unwrap_or(0) + 1)?;
        }
        if path.contains("cart") {
            cart.update("n", |n: Option<u64>| n.unwrap_or(10) + 1)?;
        }
        if path.contains("renew") {
            cart.renew()?;
        }
        let other = request.session_named("OTHER").await;
        let other = other.map_err(|error| error.kind());
        assert_eq!(other.map(drop), Err(ErrorKind::Settings));
        let seen = format!("{:?} {:?}", user.get::<u64>("n")?, cart.get::<u64>("n")?);
        Ok::<_, BoxError>(Response::new(Full::<Bytes>::from(seen)))
    };
    let service = ADAPTER.service(user, handler).and(cart).unwrap();
    let server = service.serve().await;
    let both = server.get("/user/cart", &[]).await;
    let jar = |responses: [&TestResponse; 2]| {
        let pairs = ["USER", "CART"].into_iter().zip(responses);
        let pairs = pairs.map(|(name, response)| pair(&set_cookies(response, name)[0]).to_owned());
        pairs.collect::<Vec<_>>().join("; ")
    };
    let first_jar = jar([&both, &both]);
    assert_eq!(values(&both, "set-cookie").len(), 2);
    assert_eq!(
        (values(&both, "vary"), values(&both, "cache-control")),
        (vec!["Cookie"], vec!["no-store"])
    );
    for (path, names, seen) in [
        ("/", &[][..], "Some(1) Some(11)"),
        // The store has the change. The cookie has no Max-Age, so it is not sent again.
        ("/cart", &[], "Some(1) Some(12)"),
        ("/user", &["USER"], "Some(2) Some(12)"),
        ("/cart/renew", &["CART"], "Some(1) Some(13)"),
    ] {
        let response = server.get(path, &[first_jar.as_bytes()]).await;
        assert_eq!(response.body(), seen, "{path}");
        let set = values(&response, "set-cookie");
        let set = set.iter().map(|cookie| cookie.split('=').next().unwrap());
        assert_eq!(set.collect::<Vec<_>>(), names, "{path}");
        if path == "/cart/renew" {
            let jar = jar([&both, &response]);
            let next = server.get("/", &[jar.as_bytes()]).await;
            assert_eq!(next.body(), "Some(1) Some(13)");
        }
    }
}

#[tokio::test]
async fn new_session_takes_the_place_of_the_old_one() {
    for (storage, is_in_cookie) in storages_and_updates() {
        let cookie = saved(&storage).await;
        let server = ADAPTER
            .start(storage.clone(), |request: Request<Incoming>| async move {
                let session = request.new_session()?;
                assert!(session.is_new() && session.is_empty());
                if request.uri().path() == "/login" {
                    session.insert("n", 2)?;
                }
                assert_eq!(
                    request.session().await?.len(),
                    session.len(),
                    "the same session"
                );
                page(200, &[])
            })
            .await;
        // Written: a cookie of another value, even over one that is no session.
        for cookies in [&[][..], &[cookie.as_bytes()], &[b"AIOHTTP_SESSION=\xff"]] {
            let fresh = one_cookie(&server.get("/login", cookies).await);
            assert_ne!(fresh, cookie);
            assert_eq!(stored(&storage, &fresh).await, Some(2));
        }
        // A cookie that a login has just replaced is not removed: the browser may already have the
        // login's. A cookie storage cannot know.
        let response = server.get("/", &[cookie.as_bytes()]).await;
        let sets = usize::from(is_in_cookie);
        assert_eq!(set_cookies(&response, DEFAULT_NAME).len(), sets);
        // Not written: the client's session ends. Without one nothing happens.
        let cookie = saved(&storage).await;
        let response = server.get("/", &[cookie.as_bytes()]).await;
        assert_eq!(one_cookie(&response), "AIOHTTP_SESSION=\"\"");
        assert!(
            !server
                .get("/", &[])
                .await
                .headers()
                .contains_key(SET_COOKIE)
        );
    }
}

/// A backend in memory that can be switched off. Every call is then an error, whose text must not
/// leave the server.
#[derive(Clone, Debug, Default)]
struct Switch {
    inner: Arc<MemoryBackend>,
    off: Arc<AtomicBool>,
}

const INSIDE: &str = "password=swordfish at 10.0.0.1";

impl Switch {
    fn turn(&self, on: bool) {
        self.off.store(!on, Ordering::SeqCst);
    }

    async fn around<T>(
        &self,
        _: Call,
        _: &str,
        inner: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        if self.off.load(Ordering::SeqCst) {
            return Err(Error::new(ErrorKind::Unavailable, INSIDE));
        }
        inner.await
    }
}

wrap_backend!(Switch);

/// The response to a failure says what it must and no more.
#[track_caller]
fn assert_bare(response: &TestResponse, status: StatusCode) {
    assert_eq!(response.status(), status);
    assert!(response.body().is_empty(), "{:?}", response.body());
    assert_eq!(values(response, "cache-control"), ["no-store"]);
    assert!(!response.headers().contains_key(SET_COOKIE));
    let own = [
        "cache-control",
        "content-length",
        "date",
        "connection",
        "vary",
    ];
    for name in response.headers().keys() {
        assert!(own.contains(&name.as_str()), "{name}");
    }
}

#[tokio::test]
async fn p6_a_load_that_fails_is_a_503_by_a_plain_question_mark() {
    let switch = Switch::default();
    let storage: Arc<dyn Storage> = Arc::new(KeyedStorage::new(switch.clone()));
    let cookie = saved(&storage).await;
    for act in [read, write, Session::invalidate, Session::renew] {
        switch.turn(true);
        let server = serve(storage.clone(), act, 200, &[("set-cookie", "a=1")]).await;
        switch.turn(false);
        assert_bare(
            &server.get("/", &[cookie.as_bytes()]).await,
            StatusCode::SERVICE_UNAVAILABLE,
        );
        // The client's cookie is as good as before.
        switch.turn(true);
        assert_eq!(stored(&storage, &cookie).await, Some(1));
    }
}

#[tokio::test]
async fn p6_a_save_that_fails_is_a_503_and_not_the_handlers_response() {
    let switch = Switch::default();
    let storage: Arc<dyn Storage> = Arc::new(KeyedStorage::new(switch.clone()));
    let cookie = saved(&storage).await;
    for path in ["/write", "/renew", "/logout", "/login"] {
        let breaks = switch.clone();
        let server = ADAPTER
            .start(storage.clone(), move |request: Request<Incoming>| {
                let breaks = breaks.clone();
                async move {
                    let session = request.session().await?;
                    match request.uri().path() {
                        "/write" => session.insert("n", 2)?,
                        "/renew" => session.renew()?,
                        "/logout" => session.invalidate()?,
                        _ => request.new_session()?.insert("n", 3)?,
                    }
                    breaks.turn(false);
                    page(200, &[("set-cookie", "a=1"), ("x-secret", "swordfish")])
                }
            })
            .await;
        assert_bare(
            &server.get(path, &[cookie.as_bytes()]).await,
            StatusCode::SERVICE_UNAVAILABLE,
        );
        switch.turn(true);
        assert_eq!(stored(&storage, &cookie).await, Some(1), "{path}");
    }
}

#[tokio::test]
async fn p6_a_failed_load_of_one_storage_is_a_503_and_saves_nothing_in_the_other() {
    let of = |name: &'static str| CookieSettings::builder(name).build().unwrap();
    for is_first in [true, false] {
        let (down, up) = (Switch::default(), Switch::default());
        down.turn(false);
        let user = KeyedStorage::new(down).with_cookie(of("USER"));
        let cart = KeyedStorage::new(up.clone()).with_cookie(of("CART"));
        let handler = |request: Request<Incoming>| async move {
            request.session_named("CART").await?.insert("n", 1)?;
            request.session_named("USER").await?;
            page(200, &[])
        };
        let service = if is_first {
            ADAPTER.service(user, handler).and(cart)
        } else {
            ADAPTER.service(cart, handler).and(user)
        };
        let server = service.unwrap().serve().await;
        let line = format!("USER={}", "0".repeat(32));
        assert_bare(
            &server.get("/", &[line.as_bytes()]).await,
            StatusCode::SERVICE_UNAVAILABLE,
        );
        assert!(up.inner.is_empty(), "the handler failed");
    }
}

#[tokio::test]
async fn on_error_writes_the_response_for_each_storage_of_a_service() {
    let switch = Switch::default();
    switch.turn(false);
    let of = |name: &'static str| CookieSettings::builder(name).build().unwrap();
    let cart = MemoryStorage::default().with_cookie(of("CART"));
    let user = KeyedStorage::new(switch).with_cookie(of("USER"));
    let handler = |request: Request<Incoming>| async move {
        request.session().await?;
        if request.uri().path() == "/user" {
            request.session_named("USER").await?;
        }
        let missing = request.session_named("NOBODY").await;
        missing.map(|_| page(200, &[]).unwrap())
    };
    let service = ADAPTER.service(cart, handler).and(user).unwrap();
    let service = service.on_error(|error| {
        let response = Response::builder().status(status(error));
        response.body(Full::<Bytes>::from("ours")).unwrap()
    });
    let server = service.serve().await;
    let line = format!("USER={}", "0".repeat(32));
    for (path, status) in [("/user", 503), ("/", 500)] {
        let response = server.get(path, &[line.as_bytes()]).await;
        assert_eq!(response.status(), status, "{path}");
        assert_eq!(response.body(), "ours", "{path}");
    }
}

#[tokio::test]
async fn a_value_of_another_type_is_a_500_by_a_plain_question_mark() {
    let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::default());
    let cookie = saved(&storage).await;
    let boxed = ADAPTER
        .start(storage.clone(), async |request: Request<Incoming>| {
            let session = request.session().await?;
            session.insert("n", 2)?;
            session.get::<Vec<String>>("n")?;
            page(200, &[("set-cookie", "a=1")])
        })
        .await;
    let plain = async |request: Request<Incoming>| {
        let session = request.session().await?;
        session.insert("n", 2)?;
        session.get::<Vec<String>>("n")?;
        Ok::<_, Error>(page(200, &[]).unwrap())
    };
    let plain = ADAPTER.service(storage.clone(), plain).serve().await;
    for server in [boxed, plain] {
        assert_bare(
            &server.get("/", &[cookie.as_bytes()]).await,
            StatusCode::INTERNAL_SERVER_ERROR,
        );
        assert_eq!(stored(&storage, &cookie).await, Some(1), "nothing is saved");
    }
}

#[tokio::test]
async fn p6_a_handler_that_lives_without_its_session_responds_as_it_likes() {
    let switch = Switch::default();
    switch.turn(false);
    let server = ADAPTER
        .start(
            Arc::new(KeyedStorage::new(switch)),
            |request: Request<Incoming>| async move {
                assert_eq!(
                    request.session().await.unwrap_err().kind(),
                    ErrorKind::Unavailable
                );
                page(200, &[])
            },
        )
        .await;
    let line = format!("{DEFAULT_NAME}={}", "0".repeat(32));
    let response = server.get("/", &[line.as_bytes()]).await;
    assert_eq!(
        (response.status(), &response.body()[..]),
        (StatusCode::OK, &b"page"[..])
    );
    assert!(!response.headers().contains_key(SET_COOKIE));
}

#[tokio::test]
async fn on_error_writes_the_response_in_place_of_ours() {
    let switch = Switch::default();
    let storage: Arc<dyn Storage> = Arc::new(KeyedStorage::new(switch.clone()));
    let cookie = saved(&storage).await;
    let breaks = switch.clone();
    let handler = move |request: Request<Incoming>| {
        let breaks = breaks.clone();
        async move {
            request.session().await?.insert("n", 2)?;
            breaks.turn(false);
            page(200, &[("set-cookie", "a=1")])
        }
    };
    let service = ADAPTER.service(storage, handler).on_error(|error: &Error| {
        let mut response = Response::new(Full::<Bytes>::from("come back later"));
        *response.status_mut() = status(error);
        response
            .headers_mut()
            .insert("retry-after", HeaderValue::from_static("5"));
        response
    });
    let server = service.serve().await;
    // The first fails when it saves, the second when it loads.
    for _ in 0..2 {
        let response = server.get("/", &[cookie.as_bytes()]).await;
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(response.body(), "come back later");
        assert_eq!(values(&response, "retry-after"), ["5"]);
        assert!(!response.headers().contains_key(SET_COOKIE));
    }
}

/// Serves a handler that fills the session up to `len` characters under one key.
async fn fill(storage: Arc<dyn Storage>, len: usize) -> Server {
    ADAPTER
        .start(storage, move |request: Request<Incoming>| async move {
            request.session().await?.insert("a", "x".repeat(len))?;
            page(200, &[])
        })
        .await
}

#[tokio::test]
async fn p8_a_cookie_of_4096_bytes_is_sent_and_one_of_4097_is_a_500() {
    let (logs, _capture) = Logs::capture();
    // `{"created": 1700000000, "session": {"a": "x"}}` in quotes, with a backslash for each of
    // the eight inside and `\054` for the comma.
    let simple = r#"AIOHTTP_SESSION"{\"created\": 1700000000\054 \"session\": {\"a\": \"\"}}""#;
    for total in [4095, 4096, 4097] {
        let storage: Arc<dyn Storage> = Arc::new(SimpleCookieStorage::unprotected());
        let response = fill(storage.clone(), total - simple.len())
            .await
            .get("/", &[])
            .await;
        assert_size(&response, total, &storage).await;
    }
    // Base64 comes in steps of four characters and blocks of 16 bytes, so that the name makes up
    // the exact size.
    for total in [4095, 4096, 4097] {
        let probe = Arc::new(EncryptedCookieStorage::new(Key::from([1; 32])));
        let response = fill(probe, 2900).await.get("/", &[]).await;
        let value = one_cookie(&response).len() - DEFAULT_NAME.len() - 1;
        let name = "n".repeat(total - value);
        assert!(name.len() <= 100, "{value}");
        let settings = CookieSettings::builder(name).build().unwrap();
        let storage = EncryptedCookieStorage::new(Key::from([1; 32])).with_cookie(settings);
        let storage: Arc<dyn Storage> = Arc::new(storage);
        let response = fill(storage.clone(), 2900).await.get("/", &[]).await;
        assert_size(&response, total, &storage).await;
    }
    assert!(logs.text().contains("4097 bytes"), "{}", logs.text());
    logs.assert_without(&["xxxx"]);
}

async fn assert_size(response: &TestResponse, total: usize, storage: &Arc<dyn Storage>) {
    if total > 4096 {
        assert_bare(response, StatusCode::INTERNAL_SERVER_ERROR);
        return;
    }
    let name = storage.config().cookie().name();
    assert_eq!(response.status(), StatusCode::OK, "{total}");
    let [cookie] = &set_cookies(response, name)[..] else {
        panic!("one cookie")
    };
    let sent = pair(cookie);
    assert_eq!(
        sent.len() - 1,
        total,
        "name and value without the equals sign"
    );
    let server = serve(
        storage.clone(),
        |session| {
            assert_eq!(session.len(), 1, "it comes back");
            Ok(())
        },
        200,
        &[],
    )
    .await;
    assert_eq!(
        server.get("/", &[sent.as_bytes()]).await.status(),
        StatusCode::OK
    );
}

#[tokio::test]
async fn p8_a_session_that_outgrew_its_cookie_leaves_the_client_with_the_old_one() {
    for storage in &storages()[..3] {
        let cookie = saved(storage).await;
        let response = fill(storage.clone(), 5000)
            .await
            .get("/", &[cookie.as_bytes()])
            .await;
        assert_bare(&response, StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(stored(storage, &cookie).await, Some(1));
    }
}

#[tokio::test]
async fn p3_a_change_to_a_session_that_ended_meanwhile_is_a_409() {
    for hash in [false, true] {
        let storage = Arc::new(KeyedStorage::new(Switch::default()).hash_identities(hash));
        let shared: Arc<dyn Storage> = storage.clone();
        let cookie = saved(&shared).await;
        let logout = serve(shared.clone(), Session::invalidate, 200, &[]).await;
        let (loaded, mut has_loaded) = mpsc::unbounded_channel();
        let gate = Arc::new(tokio::sync::Notify::new());
        let open = gate.clone();
        let slow = ADAPTER
            .start(shared.clone(), move |request: Request<Incoming>| {
                let (loaded, gate) = (loaded.clone(), gate.clone());
                async move {
                    let session = request.session().await?;
                    loaded.send(())?;
                    gate.notified().await;
                    session.insert("n", 2)?;
                    page(200, &[("set-cookie", "a=1")])
                }
            })
            .await;
        let cookies = [cookie.as_bytes()];
        let slow_request = slow.get("/", &cookies);
        let race = async {
            has_loaded.recv().await.unwrap();
            let response = logout.get("/", &[cookie.as_bytes()]).await;
            assert_eq!(one_cookie(&response), "AIOHTTP_SESSION=\"\"");
            open.notify_one();
        };
        let (response, ()) = tokio::join!(slow_request, race);
        assert_bare(&response, StatusCode::CONFLICT);
        // A tombstone is in its place, and the session stays ended.
        assert_eq!(storage.backend().inner.len(), 1);
        assert_eq!(stored(&shared, cookie.as_str()).await, None);
    }
}

#[tokio::test]
async fn p10_no_response_carries_an_errors_text() {
    let switch = Switch::default();
    let storage: Arc<dyn Storage> = Arc::new(KeyedStorage::new(switch.clone()));
    let cookie = saved(&storage).await;
    switch.turn(false);
    let down = serve(storage, read, 200, &[])
        .await
        .get("/", &[cookie.as_bytes()])
        .await;
    let too_large = fill(Arc::new(SimpleCookieStorage::unprotected()), 9000)
        .await
        .get("/", &[])
        .await;
    for response in [down, too_large] {
        let shown = format!("{response:?}").to_lowercase();
        for text in [
            "swordfish",
            "10.0.0.1",
            "backend",
            "bytes,",
            "4096",
            "session cookie",
        ] {
            assert!(!shown.contains(text), "{text} in {shown}");
        }
    }
}
