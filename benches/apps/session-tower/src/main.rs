//! A small app on session-tower, with its sessions in Redis: a login with "remember me", a guard, a
//! flash message, a logout, an error page. The same app on tower-sessions is in
//! `../tower-sessions`.
//!
//! `REDIS_URL` is Redis's address, `ADDRESS` its own.

use std::env;
use std::time::Duration;

use axum::extract::Request;
use axum::middleware::{self, Next};
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use axum::{Form, Router};
use serde::Deserialize;
use session_redis::RedisStorage;
use session_tower::{Error, Session, SessionLayer, Sessions, status};
use tokio::net::TcpListener;

const MONTH: Duration = Duration::from_secs(30 * 24 * 3600);

#[derive(Deserialize)]
struct Login {
    name: String,
    password: String,
    remember: Option<String>,
}

/// In place of a table of users and of hashed passwords.
fn is_right(login: &Login) -> bool {
    login.name == "ada" && login.password == "open sesame"
}

async fn home(session: Session) -> Result<Html<String>, Error> {
    let flash: String = session.take("flash")?.unwrap_or_default();
    Ok(page(&format!("<p>{flash}</p>{LOGIN_FORM}")))
}

async fn log_in(sessions: Sessions, Form(login): Form<Login>) -> Result<Redirect, Error> {
    if !is_right(&login) {
        let session = sessions.session().await?;
        session.insert("flash", "That is not the password.")?;
        return Ok(Redirect::to("/"));
    }
    let session = sessions.new_session()?;
    if login.remember.is_some() {
        session.set_max_age(MONTH)?;
    }
    session.insert("user", &login.name)?;
    session.insert("flash", format!("Welcome, {}.", login.name))?;
    Ok(Redirect::to("/account"))
}

async fn log_out(session: Session) -> Result<Redirect, Error> {
    session.invalidate()?;
    Ok(Redirect::to("/"))
}

async fn account(session: Session) -> Result<Html<String>, Error> {
    let user: String = session.get("user")?.unwrap_or_default();
    let flash: String = session.take("flash")?.unwrap_or_default();
    Ok(page(&format!(
        "<p>{flash}</p><p>The account of {user}.</p>{LOGOUT_FORM}"
    )))
}

/// Lets only those in who are logged in.
async fn guard(session: Session, request: Request, next: Next) -> Result<Response, Error> {
    if session.contains_key("user") {
        return Ok(next.run(request).await);
    }
    session.insert("flash", "Please log in first.")?;
    Ok(Redirect::to("/").into_response())
}

fn error_page(error: &Error) -> Response {
    (status(error), page("<p>Please try again in a minute.</p>")).into_response()
}

fn page(body: &str) -> Html<String> {
    Html(format!("<!doctype html><title>A small app</title>{body}"))
}

const LOGIN_FORM: &str = "<form method=post action=/login>
<label>Name <input name=name required></label>
<label>Password <input name=password type=password required></label>
<label><input name=remember type=checkbox> Remember me</label>
<button>Log in</button></form>";

const LOGOUT_FORM: &str = "<form method=post action=/logout><button>Log out</button></form>";

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let storage = RedisStorage::connect(&env::var("REDIS_URL")?).await?;
    let app = Router::new()
        .route("/account", get(account))
        .route_layer(middleware::from_fn(guard))
        .route("/", get(home))
        .route("/login", post(log_in))
        .route("/logout", post(log_out))
        .layer(SessionLayer::new(storage).on_error(error_page));
    let listener = TcpListener::bind(env::var("ADDRESS")?).await?;
    axum::serve(listener, app).await?;
    Ok(())
}
