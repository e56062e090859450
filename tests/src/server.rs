//! A hyper server on a free loopback port, and clients that write to it what no browser would.

use std::error::Error as StdError;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::header::{HeaderName, HeaderValue};
use http::{Request, Response};
use http_body_util::{BodyExt, Empty};
use hyper::body::{Body, Incoming};
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use session_core::Storage;
use session_hyper::SessionService;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};

/// An error of any kind, as handlers return it.
pub type BoxError = Box<dyn StdError + Send + Sync>;

/// What a client read: a name that came more than once is in the headers as often.
pub type TestResponse = Response<Bytes>;

/// Returns the Set-Cookie headers for the cookie `name`, whole.
pub fn set_cookies(response: &TestResponse, name: &str) -> Vec<String> {
    let headers = response.headers().get_all("set-cookie").iter();
    let texts = headers.map(|header| header.to_str().unwrap().to_owned());
    texts
        .filter(|text| text.split('=').next() == Some(name))
        .collect()
}

/// Returns what a browser sends back for a Set-Cookie header: `name=value`, quotes and all.
pub fn pair(set_cookie: &str) -> &str {
    set_cookie.split(';').next().unwrap_or_default()
}

/// Serves HTTP/1 and HTTP/2 (with prior knowledge) on 127.0.0.1 until it is dropped.
///
/// A panic in a handler or in a connection makes the drop panic, and with it the test.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    panics: Arc<AtomicUsize>,
    accepting: AbortHandle,
}

impl Server {
    /// Serves `handler` with sessions of `storage` around it.
    pub async fn start<H, F, B>(storage: Arc<dyn Storage>, handler: H) -> Self
    where
        H: Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Result<Response<B>, BoxError>> + Send + 'static,
        B: Body<Data = Bytes, Error: Into<BoxError>> + Default + Send + 'static,
    {
        Self::serve(SessionService::new(storage, service_fn(handler))).await
    }

    /// Serves `service` as it is.
    pub async fn serve<S, B>(service: S) -> Self
    where
        S: Service<Request<Incoming>, Response = Response<B>, Error: Into<BoxError>>
            + Clone
            + Send
            + Sync
            + 'static,
        S::Future: Send + 'static,
        B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let panics = Arc::new(AtomicUsize::new(0));
        let counter = panics.clone();
        let accepting = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(connection(stream, service.clone(), counter.clone()));
                while connections.try_join_next().is_some() {}
            }
        });
        Self {
            address,
            panics,
            accepting: accepting.abort_handle(),
        }
    }

    /// Returns where the server listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns how many handlers and connections panicked.
    pub fn panics(&self) -> usize {
        self.panics.load(Ordering::SeqCst)
    }

    /// Writes `request` as it is over HTTP/1, and reads the response until the server closes: the
    /// request should say `Connection: close`, unless it is one that the server refuses.
    pub async fn raw(&self, request: &[u8]) -> TestResponse {
        let response = self.exchange(request).await;
        assert!(!response.is_empty(), "the server closed without a response");
        parse(&response)
    }

    /// Writes `request` and returns all bytes that come back until the server closes.
    pub async fn exchange(&self, request: &[u8]) -> Vec<u8> {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        // A server that refuses the head may close before all of it is written or read.
        let _ = stream.write_all(request).await;
        let mut response = Vec::new();
        let _ = stream.read_to_end(&mut response).await;
        response
    }

    /// Sends `GET path` over HTTP/1 with a Cookie header line for each of `cookies`.
    pub async fn get(&self, path: &str, cookies: &[&[u8]]) -> TestResponse {
        let head = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n");
        let mut request = head.into_bytes();
        for cookie in cookies {
            request.extend_from_slice(b"Cookie: ");
            request.extend_from_slice(cookie);
            request.extend_from_slice(b"\r\n");
        }
        request.extend_from_slice(b"\r\n");
        self.raw(&request).await
    }

    /// Sends `GET path` over HTTP/2, each of `cookies` in a header field of its own: the crumbs
    /// of RFC 9113, section 8.2.3.
    pub async fn get_http2(&self, path: &str, cookies: &[&[u8]]) -> TestResponse {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let io = TokioIo::new(stream);
        let (mut client, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), io)
                .await
                .unwrap();
        let connection = tokio::spawn(connection);
        let mut request = Request::builder().uri(format!("http://{}{path}", self.address));
        for cookie in cookies {
            request = request.header("cookie", HeaderValue::from_bytes(cookie).unwrap());
        }
        let request = request.body(Empty::<Bytes>::new()).unwrap();
        let (parts, body) = client.send_request(request).await.unwrap().into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        connection.abort();
        Response::from_parts(parts, body)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.abort();
        if !std::thread::panicking() {
            assert_eq!(self.panics(), 0, "handlers or connections panicked");
        }
    }
}

async fn connection<S, B>(stream: TcpStream, service: S, panics: Arc<AtomicUsize>)
where
    S: Service<Request<Incoming>, Response = Response<B>, Error: Into<BoxError>>,
    S::Future: Send + 'static,
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    let counter = panics.clone();
    // HTTP/2 runs each request in a task of its own, so that the handlers are watched apart.
    let service = service_fn(move |request| {
        let response = service.call(request);
        let watch = Watch(counter.clone());
        async move {
            let response = response.await;
            drop(watch);
            response
        }
    });
    let builder = auto::Builder::new(TokioExecutor::new());
    let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
    // Declared last, dropped first: counted before the client sees the connection close.
    let _watch = Watch(panics);
    // A client that goes away, or sends what is no HTTP, is no failure of the server.
    let _ = connection.as_mut().await;
}

/// Counts when it is dropped by a panic.
struct Watch(Arc<AtomicUsize>);

impl Drop for Watch {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
}

/// Takes an HTTP/1 response apart.
fn parse(response: &[u8]) -> TestResponse {
    let end = find(response, b"\r\n\r\n").expect("a response has a head");
    let (head, body) = (&response[..end + 2], &response[end + 4..]);
    let mut lines = head.split_inclusive(|b| *b == b'\n');
    let status = lines.next().unwrap_or_default();
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = status
        .get(9..12)
        .and_then(|code| code.try_into().ok())
        .expect("a response begins with a status line");
    for line in lines {
        let line = line
            .strip_suffix(b"\r\n")
            .expect("a line ends with CR and LF");
        let colon = find(line, b":").expect("a header line has a colon");
        response.headers_mut().append(
            HeaderName::from_bytes(&line[..colon]).unwrap(),
            HeaderValue::from_bytes(line[colon + 1..].trim_ascii()).unwrap(),
        );
    }
    let chunked = response
        .headers()
        .get("transfer-encoding")
        .is_some_and(|coding| coding == "chunked");
    *response.body_mut() = if chunked {
        unchunk(body)
    } else {
        Bytes::copy_from_slice(body)
    };
    response
}

/// Puts a body together that came in chunks (RFC 9112, section 7.1).
fn unchunk(mut body: &[u8]) -> Bytes {
    let mut whole = Vec::new();
    loop {
        let end = find(body, b"\r\n").expect("a chunk has a size");
        let size = std::str::from_utf8(&body[..end]).unwrap();
        let size = usize::from_str_radix(size, 16).unwrap();
        if size == 0 {
            return whole.into();
        }
        whole.extend_from_slice(&body[end + 2..end + 2 + size]);
        body = &body[end + 4 + size..];
    }
}

fn find(text: &[u8], piece: &[u8]) -> Option<usize> {
    text.windows(piece.len()).position(|window| window == piece)
}
