//! Thousands of requests over HTTP whose clients go away, or whose handlers are dropped.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Empty, Full};
use hyper::body::Incoming;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client};
use session_core::{DEFAULT_NAME, RequestSession, Storage};
use session_hyper::SessionService;
use session_memcached::{MemcachedBackend, MemcachedStorage};
use session_redis::{RedisBackend, RedisStorage};
use session_tests::memcached::MemcachedServer;
use session_tests::proxy::{Dice, Proxy};
use session_tests::redis::RedisServer;
use session_tests::server::{BoxError, Server, pair, set_cookies};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::backend::{PATIENT, until};
use crate::cancel::Limit;

const SESSIONS: usize = 12;
const TASKS: usize = 24;
const TURNS: usize = 60;

/// A connection that waits for its responses as long as our own bound lets it.
pub(crate) async fn multiplexed(port: u16) -> MultiplexedConnection {
    let client = Client::open(format!("redis://127.0.0.1:{port}/")).unwrap();
    let config = AsyncConnectionConfig::new().set_response_timeout(None);
    let connected = client.get_multiplexed_async_connection_with_config(&config);
    connected.await.unwrap()
}

/// `/start/MARKER`, `/read`, `/write`: each responds with the session's marker.
async fn handler(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, BoxError> {
    let session = request.session().await?;
    let path = request.uri().path();
    if let Some(marker) = path.strip_prefix("/start/") {
        session.insert("marker", marker)?;
    }
    if path == "/write" {
        let marker: Option<String> = session.get("marker")?;
        session.insert("again", marker)?;
        session.update("count", |count: Option<u64>| count.unwrap_or(0) + 1)?;
    }
    let (marker, again): (Option<String>, Option<String>) =
        (session.get("marker")?, session.get("again")?);
    assert!(again.is_none() || again == marker, "two sessions in one");
    Ok(Response::new(Full::from(marker.unwrap_or_default())))
}

/// Serves it; a header says when handler, load and save are dropped.
async fn serve(storage: Arc<dyn Storage>) -> Server {
    let sessions = SessionService::new(storage, service_fn(handler));
    let limited = service_fn(move |request: Request<Incoming>| {
        let number = |name: &str| {
            let header = request.headers().get(name)?;
            header.to_str().ok()?.parse::<u64>().ok()
        };
        let limit = match (number("x-polls"), number("x-micros")) {
            (Some(polls), _) => Limit::Polls(usize::try_from(polls).unwrap()),
            (_, Some(micros)) => Limit::Micros(micros),
            _ => Limit::Never,
        };
        let response = sessions.call(request);
        async move {
            let response = limit.run(response).await;
            response.unwrap_or_else(|| {
                let mut late = Response::new(Full::default());
                *late.status_mut() = StatusCode::GATEWAY_TIMEOUT;
                Ok(late)
            })
        }
    });
    Server::serve(limited).await
}

/// What became of the requests.
#[derive(Debug, Default)]
struct Seen {
    responded: usize,
    dropped: usize,
    left: usize,
}

async fn requests_cancelled_at_random(storage: Arc<dyn Storage>, proxy: &Proxy) -> Arc<Server> {
    let server = Arc::new(serve(storage).await);
    let mut cookies = Vec::new();
    for number in 0..SESSIONS {
        let response = server.get(&format!("/start/{}", marker(number)), &[]).await;
        cookies.push(pair(&set_cookies(&response, DEFAULT_NAME)[0]).to_owned());
    }
    proxy.split(60, Duration::from_millis(2));
    let mut tasks = JoinSet::new();
    for task in 0..TASKS {
        let (server, cookies) = (server.clone(), cookies.clone());
        tasks.spawn(async move {
            let mut dice = Dice::new(1000 + task as u64);
            let mut seen = Seen::default();
            for _ in 0..TURNS {
                let number = dice.index(SESSIONS);
                one_request(&server, number, &cookies[number], &mut dice, &mut seen).await;
            }
            seen
        });
    }
    let mut total = Seen::default();
    while let Some(seen) = tasks.join_next().await {
        let seen = seen.unwrap();
        total.responded += seen.responded;
        total.dropped += seen.dropped;
        total.left += seen.left;
    }
    println!("{total:?}");
    let all = TASKS * TURNS;
    assert!(total.responded > all / 8 && total.dropped > all / 30 && total.left > all / 10);
    // Sooner or later, for what was cancelled last still ends.
    for (number, cookie) in cookies.iter().enumerate() {
        let response = server.get("/read", &[cookie.as_bytes()]).await;
        assert_eq!(
            (response.status(), &**response.body()),
            (StatusCode::OK, marker(number).as_bytes())
        );
    }
    server
}

fn marker(number: usize) -> String {
    format!("marker-of-session-{number:04}")
}

async fn one_request(
    server: &Server,
    number: usize,
    cookie: &str,
    dice: &mut Dice,
    seen: &mut Seen,
) {
    let path = ["/read", "/write"][dice.index(2)];
    let leaves = Duration::from_micros(dice.below(4000));
    let limit = if dice.below(2) == 0 {
        Limit::any(dice)
    } else {
        Limit::Never
    };
    let extra = match limit {
        Limit::Never => String::new(),
        Limit::Polls(polls) => format!("X-Polls: {polls}\r\n"),
        Limit::Micros(micros) => format!("X-Micros: {micros}\r\n"),
    };
    match dice.below(10) {
        0..3 => {
            // The client goes away.
            let mut stream = TcpStream::connect(server.address()).await.unwrap();
            let request =
                format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nCookie: {cookie}\r\n\r\n");
            stream.write_all(request.as_bytes()).await.unwrap();
            tokio::time::sleep(leaves).await;
            seen.left += 1;
        }
        3 => match http2(server, path, cookie, leaves).await {
            Some((status, body)) => {
                assert_eq!(
                    (status, &*body),
                    (StatusCode::OK, marker(number).as_bytes())
                );
                seen.responded += 1;
            }
            None => seen.left += 1,
        },
        _ => {
            let request = format!(
                "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
                 Cookie: {cookie}\r\n{extra}\r\n"
            );
            let response = server.raw(request.as_bytes()).await;
            if response.status() == StatusCode::GATEWAY_TIMEOUT && !extra.is_empty() {
                seen.dropped += 1;
                return;
            }
            assert_eq!(
                (response.status(), &**response.body()),
                (StatusCode::OK, marker(number).as_bytes())
            );
            seen.responded += 1;
        }
    }
}

/// Asks over HTTP/2 and resets the stream after `leaves`, the connection staying up a little.
async fn http2(
    server: &Server,
    path: &str,
    cookie: &str,
    leaves: Duration,
) -> Option<(StatusCode, Bytes)> {
    let io = TokioIo::new(TcpStream::connect(server.address()).await.unwrap());
    let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), io);
    let (mut client, connection) = handshake.await.unwrap();
    let connection = tokio::spawn(connection);
    let request = Request::builder()
        .uri(format!("http://{}{path}", server.address()))
        .header("cookie", cookie)
        .body(Empty::<Bytes>::new());
    let asked = client.send_request(request.unwrap());
    let response = tokio::time::timeout(leaves, asked).await;
    let response = match response {
        Ok(response) => {
            let (head, body) = response.unwrap().into_parts();
            Some((head.status, body.collect().await.unwrap().to_bytes()))
        }
        Err(_) => None,
    };
    tokio::task::yield_now().await;
    connection.abort();
    response
}

#[tokio::test]
async fn p5_cancelled_requests_on_redis_get_no_other_users_session() {
    let server = RedisServer::start();
    let proxy = Proxy::start(server.port()).await;
    let url = format!("redis://127.0.0.1:{}/", proxy.port());
    let backend = RedisBackend::connect(&url).await.unwrap();
    let storage = RedisStorage::new(backend.with_timeout(PATIENT));
    requests_cancelled_at_random(Arc::new(storage), &proxy).await;
    assert_eq!(proxy.accepted(), 1, "connected once");
}

#[tokio::test]
async fn p5_cancelled_requests_on_a_multiplexed_connection_get_no_other_users_session() {
    let server = RedisServer::start();
    let proxy = Proxy::start(server.port()).await;
    let connection = multiplexed(proxy.port()).await;
    let storage = RedisStorage::new(RedisBackend::new(connection).with_timeout(PATIENT));
    requests_cancelled_at_random(Arc::new(storage), &proxy).await;
    assert_eq!(proxy.accepted(), 1);
}

#[tokio::test]
async fn p5_cancelled_requests_on_memcached_get_no_other_users_session() {
    const MOST: usize = 8;
    let server = MemcachedServer::start();
    let own = server.own_connections();
    let proxy = Proxy::start(server.port()).await;
    let backend = MemcachedBackend::open(&format!("127.0.0.1:{}", proxy.port())).unwrap();
    let backend = backend.with_timeout(PATIENT).with_max_connections(MOST);
    let storage: Arc<dyn Storage> = Arc::new(MemcachedStorage::new(backend));
    let web = requests_cancelled_at_random(storage.clone(), &proxy).await;

    // As many at a time as there may be connections, each of which waits for its response.
    let response = web.get("/start/last", &[]).await;
    let cookie = pair(&set_cookies(&response, DEFAULT_NAME)[0]).to_owned();
    proxy.hold_replies();
    let mut asked = JoinSet::new();
    for _ in 0..MOST {
        let (web, cookie) = (web.clone(), cookie.clone());
        asked.spawn(async move { web.get("/read", &[cookie.as_bytes()]).await });
    }
    until(|| proxy.held(), MOST).await;
    let text = format!("{storage:?}");
    assert!(
        text.contains("connections: 8, max_connections: 8"),
        "{text}"
    );
    proxy.pass();
    while let Some(response) = asked.join_next().await {
        assert_eq!(response.unwrap().body(), "last");
    }
    until(|| server.stats()["curr_connections"], own + MOST as u64).await;
}
