//! A small app on tower-sessions, with its sessions in Redis: a login with "remember me", a guard,
//! a flash message, a logout, an error page. The same app on session-tower is in
//! `../session-tower`.
//!
//! `REDIS_URL` is Redis's address, `ADDRESS` its own.

use std::env;

use axum::extract::Request;
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use axum::{Form, Router};
use serde::Deserialize;
use time::Duration;
use tokio::net::TcpListener;
use tower_sessions::{Expiry, Session, SessionManagerLayer, session};
use tower_sessions_redis_store::RedisStore;
use tower_sessions_redis_store::fred::prelude::{ClientLike, Config, Pool};

const MONTH: Duration = Duration::days(30);

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
    let flash: String = session.remove("flash").await?.unwrap_or_default();
    Ok(page(&format!("<p>{flash}</p>{LOGIN_FORM}")))
}

async fn log_in(session: Session, Form(login): Form<Login>) -> Result<Redirect, Error> {
    if !is_right(&login) {
        session.insert("flash", "That is not the password.").await?;
        return Ok(Redirect::to("/"));
    }
    session.cycle_id().await?;
    session.insert("remember", login.remember.is_some()).await?;
    session.insert("user", &login.name).await?;
    let flash = format!("Welcome, {}.", login.name);
    session.insert("flash", flash).await?;
    Ok(Redirect::to("/account"))
}

async fn log_out(session: Session) -> Result<Redirect, Error> {
    session.flush().await?;
    Ok(Redirect::to("/"))
}

async fn account(session: Session) -> Result<Html<String>, Error> {
    let user: String = session.get("user").await?.unwrap_or_default();
    let flash: String = session.remove("flash").await?.unwrap_or_default();
    Ok(page(&format!(
        "<p>{flash}</p><p>The account of {user}.</p>{LOGOUT_FORM}"
    )))
}

/// Lets only those in who are logged in.
async fn guard(session: Session, request: Request, next: Next) -> Result<Response, Error> {
    if session.get::<String>("user").await?.is_some() {
        return Ok(next.run(request).await);
    }
    session.insert("flash", "Please log in first.").await?;
    Ok(Redirect::to("/").into_response())
}

/// Gives a session that is to be remembered its lifetime, which the store does not keep, with every
/// change again.
async fn remember(session: Session, request: Request, next: Next) -> Result<Response, Error> {
    let response = next.run(request).await;
    if session.is_modified() && session.get("remember").await? == Some(true) {
        session.set_expiry(Some(Expiry::OnInactivity(MONTH)));
    }
    Ok(response)
}

/// An error of the session, as a page. If the save after the handler fails, the layer itself
/// responds with an empty 500.
struct Error(session::Error);

impl From<session::Error> for Error {
    fn from(error: session::Error) -> Self {
        Self(error)
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        eprintln!("{}", self.0);
        let status = match self.0 {
            session::Error::Store(_) => StatusCode::SERVICE_UNAVAILABLE,
            session::Error::SerdeJson(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        (status, page("<p>Please try again in a minute.</p>")).into_response()
    }
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
    let config = Config::from_url(&env::var("REDIS_URL")?)?;
    let pool = Pool::new(config, None, None, None, 6)?;
    let connections = pool.connect();
    pool.wait_for_connect().await?;
    let app = Router::new()
        .route("/account", get(account))
        .route_layer(middleware::from_fn(guard))
        .route("/", get(home))
        .route("/login", post(log_in))
        .route("/logout", post(log_out))
        .layer(middleware::from_fn(remember))
        .layer(SessionManagerLayer::new(RedisStore::new(pool)));
    let listener = TcpListener::bind(env::var("ADDRESS")?).await?;
    axum::serve(listener, app).await?;
    connections.await??;
    Ok(())
}
