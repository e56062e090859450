//! Two server processes on one store, and their clients.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::header::{COOKIE, SET_COOKIE};
use http::{Request, Response};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::Value;
use session_tests::memcached::MemcachedServer;
use session_tests::processes::{Process, new_folder, wait_for};
use session_tests::redis::RedisServer;
use session_tests::server::pair as name_and_value;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use crate::app::{NO_MAX_AGE, SERVING, STORE};
use crate::store::Store;

/// The two processes.
pub(crate) const A: usize = 0;
pub(crate) const B: usize = 1;

/// The processes and what they share.
#[derive(Clone)]
pub(crate) struct Pair {
    pub(crate) store: Arc<Store>,
    servers: [Arc<Remote>; 2],
}

struct Remote {
    address: SocketAddr,
    /// Connections that wait for their next request.
    idle: Mutex<Vec<SendRequest<Empty<Bytes>>>>,
    _process: Process,
}

/// What the client sees of a response.
#[derive(Debug)]
pub(crate) struct TestResponse {
    pub(crate) status: u16,
    pub(crate) set_cookie: Option<String>,
    pub(crate) body: String,
}

impl Pair {
    pub(crate) fn redis() -> Self {
        Self::on(Store::Redis(RedisServer::start()))
    }

    pub(crate) fn memcached() -> Self {
        // Its own walks through the items would turn the tests' away.
        let server = MemcachedServer::start_with(&["-o", "no_lru_maintainer"]);
        Self::on(Store::Memcached(server))
    }

    fn on(store: Store) -> Self {
        let servers = [(); 2].map(|()| Arc::new(Remote::start(&store.address(), &[])));
        Self {
            store: Arc::new(store),
            servers,
        }
    }

    /// Starts two more processes on the same store, whose cookies have no Max-Age.
    pub(crate) fn without_max_age(&self) -> Self {
        let settings = [format!("{NO_MAX_AGE}=1")];
        let start = || Arc::new(Remote::start(&self.store.address(), &settings));
        Self {
            store: self.store.clone(),
            servers: [start(), start()],
        }
    }

    /// Asks a process; `cookie` is the session cookie's value.
    pub(crate) async fn ask(
        &self,
        process: usize,
        cookie: Option<&str>,
        path: &str,
    ) -> TestResponse {
        self.servers[process].ask(cookie, path).await
    }

    /// Sends a request that the test will wait for later.
    pub(crate) fn start(
        &self,
        process: usize,
        cookie: &str,
        path: &str,
    ) -> JoinHandle<TestResponse> {
        let server = self.servers[process].clone();
        let (cookie, path) = (cookie.to_owned(), path.to_owned());
        tokio::spawn(async move { server.ask(Some(&cookie), &path).await })
    }

    /// Sends requests at the same time, each in a stream of one HTTP/2 connection.
    pub(crate) async fn start_http2(
        &self,
        process: usize,
        cookie: &str,
        paths: impl IntoIterator<Item = String>,
    ) -> Vec<JoinHandle<TestResponse>> {
        let server = &self.servers[process];
        let stream = TcpStream::connect(server.address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let handshake = http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
        let (client, driver) = handshake.await.unwrap();
        tokio::spawn(driver);
        let requests = paths.into_iter().map(|path| {
            let mut client = client.clone();
            let request = Request::builder()
                .uri(format!("http://{}{path}", server.address))
                .header(COOKIE, format!("sid={cookie}"))
                .body(Empty::<Bytes>::new());
            tokio::spawn(async move {
                let response = client.send_request(request.unwrap()).await.unwrap();
                TestResponse::read(response).await
            })
        });
        requests.collect()
    }

    /// Asks a process for something that concerns no session.
    pub(crate) async fn order(&self, process: usize, path: &str) {
        assert_eq!(self.ask(process, None, path).await.status, 200, "{path}");
    }

    /// A client's session with `k` = `secret` and `other` = 1; returns its cookie.
    pub(crate) async fn client(&self) -> String {
        let response = self.ask(A, None, "/set/k/secret").await;
        let cookie = response.cookie().unwrap();
        let response = self.ask(B, Some(&cookie), "/set/other/1").await;
        assert_eq!(
            (response.status, response.cookie()),
            (200, Some(cookie.clone()))
        );
        cookie
    }

    /// The session that a cookie stands for, of which both processes must say the same; `None` if
    /// it stands for none.
    pub(crate) async fn session(&self, cookie: &str) -> Option<BTreeMap<String, String>> {
        let [of_a, of_b] = [
            self.ask(A, Some(cookie), "/read").await.session(),
            self.ask(B, Some(cookie), "/read").await.session(),
        ];
        assert_eq!(of_a, of_b);
        of_a
    }

    /// The names in the session that a cookie stands for, if it stands for one.
    pub(crate) async fn keys(&self, cookie: Option<&String>) -> Option<Vec<String>> {
        let session = self.session(cookie?).await?;
        Some(session.into_keys().collect())
    }
}

impl Remote {
    fn start(store: &str, settings: &[String]) -> Self {
        let program = std::env::current_exe().unwrap().display().to_string();
        let mut arguments = settings.to_vec();
        arguments.extend([format!("{STORE}={store}"), program]);
        arguments.extend(["app::serve", "--exact", "--ignored", "--nocapture"].map(str::to_owned));
        let folder = new_folder();
        let process = Process::start("env", &arguments, &folder);
        let log = folder.join("log");
        let address = wait_for(&process, || {
            let log = std::fs::read_to_string(&log).ok()?;
            let (address, _) = log.split_once(SERVING)?.1.split_once('\n')?;
            address.parse().ok()
        });
        Self {
            address: address.expect("the process ended"),
            idle: Mutex::default(),
            _process: process,
        }
    }

    async fn ask(&self, cookie: Option<&str>, path: &str) -> TestResponse {
        let idle = self.idle.lock().unwrap().pop();
        let mut connection = match idle {
            Some(connection) => connection,
            None => self.connect().await,
        };
        let mut request = Request::builder().uri(path).header("host", "localhost");
        if let Some(cookie) = cookie {
            request = request.header(COOKIE, format!("sid={cookie}"));
        }
        let exchange = async {
            let response = connection.send_request(request.body(Empty::new()).unwrap());
            let response = TestResponse::read(response.await.unwrap()).await;
            connection.ready().await.unwrap();
            response
        };
        let exchange = tokio::time::timeout(Duration::from_secs(60), exchange).await;
        let response = exchange.unwrap_or_else(|_| panic!("no response to {path}"));
        self.idle.lock().unwrap().push(connection);
        response
    }

    async fn connect(&self) -> SendRequest<Empty<Bytes>> {
        let stream = TcpStream::connect(self.address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let (connection, driver) = handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(driver);
        connection
    }
}

impl TestResponse {
    async fn read(response: Response<Incoming>) -> Self {
        let (head, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let mut cookies = head.headers.get_all(SET_COOKIE).iter();
        let set_cookie = cookies.next().map(|value| value.to_str().unwrap().into());
        assert!(cookies.next().is_none(), "two cookies");
        Self {
            status: head.status.as_u16(),
            set_cookie,
            body: String::from_utf8(body.into()).unwrap(),
        }
    }

    /// The cookie's new value, if it is set to one.
    pub(crate) fn cookie(&self) -> Option<String> {
        let (_, value) = name_and_value(self.set_cookie.as_ref()?).split_once('=')?;
        (value != "\"\"").then(|| value.to_owned())
    }

    /// The session as the handler saw it; `None` if it was a new, empty one.
    pub(crate) fn session(&self) -> Option<BTreeMap<String, String>> {
        assert_eq!((self.status, self.set_cookie.as_ref()), (200, None));
        let view: Value = serde_json::from_str(&self.body).unwrap();
        let data = view["data"].as_object().unwrap();
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), Into::into);
        let data = data.iter().map(|(key, value)| (key.clone(), text(value)));
        let data: BTreeMap<_, _> = data.collect();
        assert!(view["new"] == false || data.is_empty());
        (view["new"] == false).then_some(data)
    }

    /// It is an error's response: empty, and the client keeps the cookie that it has.
    #[track_caller]
    pub(crate) fn assert_refused(&self, status: u16) {
        let told = (self.status, self.set_cookie.as_deref(), &*self.body);
        assert_eq!(told, (status, None, ""));
    }
}
