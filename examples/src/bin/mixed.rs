//! Two sessions in one program: an encrypted cookie holds the cart, and Redis holds the login.
//!
//! ```text
//! REDIS_URL=redis://127.0.0.1/ cargo run --bin mixed
//! ```
//!
//! What to look at:
//!
//! - One service has both storages. `session()` is the login, `session_named("cart")` the cart.
//! - The cart needs no store. It outlives a logout, and it works while Redis is down.
//! - A logout ends the session at once, also for copies of its cookie.
//! - Each page loads only the sessions that it needs.

use std::collections::BTreeMap;
use std::time::Duration;

use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::service::service_fn;
use session_cookie::{EncryptedCookieStorage, Key};
use session_core::CookieSettings;
use session_examples::{BoxError, HandlerResult, escape, field, form, see_other, serve};
use session_hyper::{RequestSession, SessionService};
use session_redis::RedisStorage;

const CART: &str = "cart";
const LOGIN: &str = "login";

/// The list is short, so that the cart always fits into its cookie.
const GOODS: [&str; 3] = ["apples", "pears", "plums"];

async fn handler(request: Request<Incoming>) -> HandlerResult {
    match (request.method(), request.uri().path()) {
        (&Method::GET, "/") => shop(&request).await,
        (&Method::POST, "/cart") => add(request).await,
        (&Method::GET, "/account") => account(&request).await,
        (&Method::POST, "/login") => login(request).await,
        (&Method::POST, "/logout") => {
            request.session().await?.invalidate()?;
            Ok(see_other("/"))
        }
        _ => Ok(page(StatusCode::NOT_FOUND, "<p>There is no such page.</p>")),
    }
}

/// Does not load the login, so this page works without Redis.
async fn shop(request: &Request<Incoming>) -> HandlerResult {
    let cart: BTreeMap<String, u32> = request
        .session_named(CART)
        .await?
        .get("goods")?
        .unwrap_or_default();
    let row = |good| {
        let count = cart.get(good).copied().unwrap_or(0);
        format!(
            "<form method=post action=/cart><input type=hidden name=good value={good}>
<button>{good}: {count} in your cart. One more</button></form>\n"
        )
    };
    let rows = GOODS.map(row).concat() + "<p><a href=/account>Your account</a></p>";
    Ok(page(StatusCode::OK, &rows))
}

async fn add(request: Request<Incoming>) -> HandlerResult {
    let (parts, body) = request.into_parts();
    let form = form(body).await.unwrap_or_default();
    let wanted = field(&form, "good");
    if let Some(good) = GOODS.into_iter().find(|good| *good == wanted) {
        let cart = parts.session_named(CART).await?;
        cart.update("goods", |goods: Option<BTreeMap<String, u32>>| {
            let mut goods = goods.unwrap_or_default();
            let count = goods.entry(good.to_owned()).or_default();
            *count = count.saturating_add(1);
            goods
        })?;
    }
    Ok(see_other("/"))
}

async fn account(request: &Request<Incoming>) -> HandlerResult {
    let user: Option<String> = request.session().await?.get("user")?;
    let body = match user {
        Some(user) => format!(
            "<p>You are <b>{}</b>.</p>
<form method=post action=/logout><button>Log out</button></form>",
            escape(&user)
        ),
        None => "<form method=post action=/login>
<label>Name <input name=user autofocus required></label>
<label>Password <input name=password type=password required></label>
<button>Log in</button></form>"
            .to_owned(),
    };
    Ok(page(
        StatusCode::OK,
        &format!("{body}<p><a href=/>Back to the shop</a></p>"),
    ))
}

/// The password of every user is "open sesame".
async fn login(request: Request<Incoming>) -> HandlerResult {
    let (parts, body) = request.into_parts();
    let form = form(body).await.unwrap_or_default();
    let user = field(&form, "user");
    if !user.is_empty() && field(&form, "password") == "open sesame" {
        parts.new_session()?.insert("user", user)?;
    }
    Ok(see_other("/account"))
}

fn page(status: StatusCode, body: &str) -> Response<String> {
    session_examples::page(status, "Shop", body)
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    tracing_subscriber::fmt().init(); // says why a page is a 503
    let url = std::env::var("REDIS_URL").map_err(|_| "set REDIS_URL, to redis://127.0.0.1/ say")?;
    let cookie = |name: &'static str, days: u64| {
        CookieSettings::builder(name)
            .max_age(Duration::from_secs(days * 24 * 3600))
            .secure(false) // only because this program speaks plain http
            .build()
    };
    // A cart that must outlive this program needs a key that is stored.
    let cart = EncryptedCookieStorage::new(Key::generate()?).with_cookie(cookie(CART, 30)?);
    let login = RedisStorage::connect(&url)
        .await?
        .with_cookie(cookie(LOGIN, 1)?);
    let service = SessionService::new(login, service_fn(handler)).and(cart)?;
    match serve(service).await? {}
}
