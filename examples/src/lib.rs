//! Code that the larger examples share and that is not about sessions: pages, forms, a server loop.

#[cfg(feature = "sqlite")]
pub mod sqlite;

use std::convert::Infallible;
use std::error::Error;
use std::time::Duration;

use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::{Body, Incoming};
use hyper::service::Service;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;

/// Any error.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// What a handler returns.
pub type HandlerResult = Result<Response<String>, BoxError>;

const MAX_FORM_BYTES: usize = 4096;

/// Reads the fields of a small form; `None` if it is larger.
pub async fn form(body: Incoming) -> Option<Vec<(String, String)>> {
    let bytes = Limited::new(body, MAX_FORM_BYTES).collect().await.ok()?;
    let bytes = bytes.to_bytes();
    Some(form_urlencoded::parse(&bytes).into_owned().collect())
}

/// Returns the value of the first field called `name`, or an empty text.
pub fn field<'a>(form: &'a [(String, String)], name: &str) -> &'a str {
    let mut fields = form.iter().filter(|(key, _)| key == name);
    fields.next().map_or("", |(_, value)| value)
}

/// Sends the browser to another page.
pub fn see_other(place: &'static str) -> Response<String> {
    let mut response = Response::new(String::new());
    *response.status_mut() = StatusCode::SEE_OTHER;
    response
        .headers_mut()
        .insert(header::LOCATION, HeaderValue::from_static(place));
    response
}

/// Returns what the query of a page says, as HTML: `error=login` or `error=password`.
///
/// A message to somebody who is not logged in comes in the address, and not in the session. So such
/// visitors store nothing. Anybody can write an address, so it chooses one of these texts and has
/// none of its own.
pub fn notice(query: Option<&str>) -> &'static str {
    match query {
        Some("error=login") => "<p role=status>Please log in first.</p>",
        Some("error=password") => "<p role=status>That is not the password.</p>",
        _ => "",
    }
}

/// Makes a page of `body`, which is HTML.
pub fn page(status: StatusCode, title: &str, body: &str) -> Response<String> {
    let style = "body { font: 1.1rem/1.6 system-ui, sans-serif; max-width: 32rem; \
                 margin: 4rem auto; color: #223 }
label, button { display: block; margin: .5rem 0 }
[role=status] { background: #eef3ff; padding: .5rem 1rem }";
    let head = format!("<meta charset=utf-8><title>{title}</title>\n<style>{style}</style>");
    let html = format!("<!doctype html><html lang=en>{head}\n<h1>{title}</h1>\n{body}\n");
    let mut response = Response::new(html);
    *response.status_mut() = status;
    let html = HeaderValue::from_static("text/html; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, html);
    response
}

/// Makes text safe to put into HTML.
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

/// Serves HTTP/1 and HTTP/2 on 127.0.0.1, on the port in PORT, or 8080.
///
/// # Errors
///
/// If it cannot listen there.
pub async fn serve<S, B>(service: S) -> Result<Infallible, BoxError>
where
    S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Into<BoxError>,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    let port = std::env::var("PORT").map_or(Ok(8080), |port| port.parse())?;
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    println!("Listening on http://{}", listener.local_addr()?);
    loop {
        let stream = accept(&listener).await;
        let service = service.clone();
        tokio::spawn(async move {
            // A connection that breaks off affects only its client.
            let server = auto::Builder::new(TokioExecutor::new());
            let _ = server.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

/// Waits for the next connection.
pub async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            Err(error) => {
                // Too many open files, say. The next attempt may succeed.
                eprintln!("{error}");
                sleep(Duration::from_millis(50)).await;
            }
        }
    }
}
