//! Shows a login, a page for logged-in users, a logout, and flash messages, with sessions in
//! memory: `cargo run --bin login`. The password of every user is "open sesame".
//!
//! What to look at:
//!
//! - A login is `new_session()`. The browser's old cookie is invalid afterwards.
//! - A logout is `invalidate()`. No request that is still running brings the session back.
//! - A flash message is a value that the handler removes when it shows it.
//! - Forms of other sites are not refused, so another site can log a user in. The example `axum`
//!   checks `Origin`.
//! - A visitor who is not logged in has no session. A page that writes a session for every visitor
//!   lets anybody fill the store, and then no user can log in.

use std::time::Duration;

use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::service::service_fn;
use session_core::{CookieSettings, MemoryStorage, Session};
use session_examples::{BoxError, HandlerResult, escape, field, form, notice, see_other, serve};
use session_hyper::{RequestSession, SessionService};

async fn handler(request: Request<Incoming>) -> HandlerResult {
    match (request.method(), request.uri().path()) {
        (&Method::GET, "/") => home(&request.session().await?, request.uri().query()),
        (&Method::GET, "/private") => private(&request.session().await?),
        (&Method::POST, "/login") => login(request).await,
        (&Method::POST, "/logout") => logout(&request.session().await?),
        _ => Ok(page(StatusCode::NOT_FOUND, "<p>There is no such page.</p>")),
    }
}

fn home(session: &Session, query: Option<&str>) -> HandlerResult {
    let flash = take_flash(session)?;
    let notice = notice(query);
    let body = match session.get::<String>("user")? {
        Some(user) => format!(
            "{flash}<p>You are <b>{}</b>. <a href=/private>The private page</a></p>
<form method=post action=/logout><button>Log out</button></form>",
            escape(&user)
        ),
        None => format!(
            "{notice}<form method=post action=/login>
<label>Name <input name=user autofocus required></label>
<label>Password <input name=password type=password required></label>
<button>Log in</button></form>"
        ),
    };
    Ok(page(StatusCode::OK, &body))
}

fn private(session: &Session) -> HandlerResult {
    let Some(user) = session.get::<String>("user")? else {
        return Ok(see_other("/?error=login"));
    };
    let seen = session.update("seen", |seen: Option<u64>| seen.unwrap_or(0) + 1)?;
    let user = escape(&user);
    Ok(page(
        StatusCode::OK,
        &format!("<p>{user}, you were here {seen} times. <a href=/>Back</a></p>"),
    ))
}

async fn login(request: Request<Incoming>) -> HandlerResult {
    let (parts, body) = request.into_parts();
    let Some(form) = form(body).await else {
        return Ok(page(
            StatusCode::PAYLOAD_TOO_LARGE,
            "<p>That is too much for a login.</p>",
        ));
    };
    let user = field(&form, "user");
    if user.is_empty() || field(&form, "password") != "open sesame" {
        return Ok(see_other("/?error=password"));
    }
    let session = parts.new_session()?;
    session.insert("flash", format!("Welcome, {user}."))?;
    session.insert("user", user)?;
    Ok(see_other("/private"))
}

fn logout(session: &Session) -> HandlerResult {
    session.invalidate()?;
    Ok(see_other("/"))
}

fn take_flash(session: &Session) -> Result<String, BoxError> {
    let flash: Option<String> = session.take("flash")?;
    Ok(flash
        .map(|text| format!("<p role=status>{}</p>", escape(&text)))
        .unwrap_or_default())
}

fn page(status: StatusCode, body: &str) -> Response<String> {
    session_examples::page(status, "Login", body)
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
    match serve(service).await? {}
}
