//! A login, a page for those who are logged in, a logout, and flash messages, on sessions in
//! memory: `cargo run --bin login`. The password of everybody is "open sesame".
//!
//! What to look at: a login is `new_session()`, so that whatever cookie the browser came with is
//! worthless afterwards; a logout is `invalidate()`, and no request that is still running brings
//! the session back; a flash message is a value that is taken out when it is shown.

use std::error::Error;
use std::time::Duration;

use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use session_core::{CookieSettings, MemoryStorage, Session};
use session_hyper::{RequestSession, SessionService};
use tokio::net::TcpListener;

type BoxError = Box<dyn Error + Send + Sync>;
type Answer = Result<Response<String>, BoxError>;

const MAX_FORM_BYTES: usize = 4096;

async fn handler(request: Request<Incoming>) -> Answer {
    match (request.method(), request.uri().path()) {
        (&Method::GET, "/") => home(&request.session().await?),
        (&Method::GET, "/private") => private(&request.session().await?),
        (&Method::POST, "/login") => login(request).await,
        (&Method::POST, "/logout") => logout(&request.session().await?),
        _ => Ok(page(StatusCode::NOT_FOUND, "<p>There is no such page.</p>")),
    }
}

fn home(session: &Session) -> Answer {
    let flash = take_flash(session)?;
    let body = match session.get::<String>("user")? {
        Some(user) => format!(
            "{flash}<p>You are <b>{}</b>. <a href=/private>The private page</a></p>
<form method=post action=/logout><button>Log out</button></form>",
            escape(&user)
        ),
        None => format!(
            "{flash}<form method=post action=/login>
<label>Name <input name=user autofocus required></label>
<label>Password <input name=password type=password required></label>
<button>Log in</button></form>"
        ),
    };
    Ok(page(StatusCode::OK, &body))
}

fn private(session: &Session) -> Answer {
    let Some(user) = session.get::<String>("user")? else {
        session.insert("flash", "Please log in first.")?;
        return Ok(see_other("/"));
    };
    let seen = session.update("seen", |seen: Option<u64>| seen.unwrap_or(0) + 1)?;
    let user = escape(&user);
    Ok(page(
        StatusCode::OK,
        &format!("<p>{user}, you were here {seen} times. <a href=/>Back</a></p>"),
    ))
}

async fn login(request: Request<Incoming>) -> Answer {
    let (parts, body) = request.into_parts();
    let Ok(form) = Limited::new(body, MAX_FORM_BYTES).collect().await else {
        return Ok(page(
            StatusCode::PAYLOAD_TOO_LARGE,
            "<p>That is too much for a login.</p>",
        ));
    };
    let form = form.to_bytes();
    let field = |name: &str| {
        let mut fields = form_urlencoded::parse(&form);
        fields
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.into_owned())
            .unwrap_or_default()
    };
    let user = field("user");
    if user.is_empty() || field("password") != "open sesame" {
        parts
            .session()
            .await?
            .insert("flash", "That is not the password.")?;
        return Ok(see_other("/"));
    }
    let session = parts.new_session()?;
    session.insert("flash", format!("Welcome, {user}."))?;
    session.insert("user", user)?;
    Ok(see_other("/private"))
}

fn logout(session: &Session) -> Answer {
    session.invalidate()?;
    Ok(see_other("/"))
}

fn take_flash(session: &Session) -> Result<String, BoxError> {
    let flash: Option<String> = session.get("flash")?;
    session.remove("flash")?;
    Ok(flash
        .map(|text| format!("<p role=status>{}</p>", escape(&text)))
        .unwrap_or_default())
}

fn see_other(place: &'static str) -> Response<String> {
    let mut response = Response::new(String::new());
    *response.status_mut() = StatusCode::SEE_OTHER;
    response
        .headers_mut()
        .insert(header::LOCATION, HeaderValue::from_static(place));
    response
}

fn page(status: StatusCode, body: &str) -> Response<String> {
    let head = "<!doctype html><html lang=en><meta charset=utf-8><title>Login</title>
<style>body { font: 1.1rem/1.6 system-ui, sans-serif; max-width: 32rem; margin: 4rem auto; color: #223 }
label, button { display: block; margin: .5rem 0 } [role=status] { background: #eef3ff; padding: .5rem 1rem }</style>";
    let mut response = Response::new(format!("{head}\n<h1>Login</h1>\n{body}\n"));
    *response.status_mut() = status;
    let html = HeaderValue::from_static("text/html; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, html);
    response
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let hour = Duration::from_secs(3600);
    let cookie = CookieSettings::builder("login")
        .max_age(hour)
        .rolling(true)
        .absolute_max_age(12 * hour)
        .secure(false) // only because this program speaks plain http
        .build()?;
    let service = SessionService::new(
        MemoryStorage::default().with_cookie(cookie),
        service_fn(handler),
    );

    let port = std::env::var("PORT").map_or(Ok(8080), |port| port.parse())?;
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    println!("Listening on http://{}", listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept().await?;
        let service = service.clone();
        tokio::spawn(async move {
            // A connection that breaks off concerns nobody but its client.
            let server = auto::Builder::new(TokioExecutor::new());
            let _ = server.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}
