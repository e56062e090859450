//! Shows what an axum service does with sessions: `DEVELOPMENT=1 cargo run --bin axum`. The
//! password of every user is "open sesame".
//!
//! `DEVELOPMENT=1` allows plain http. Otherwise the cookie is `__Host-sid`, for a server behind an
//! https proxy. Sessions are in memory, or in Redis with `REDIS_URL=redis://127.0.0.1/`. `PORT`
//! chooses the port (8080).
//!
//! What to look at:
//!
//! - `log_in`: a login is `new_session()`. "Remember me" is a lifetime of its own.
//! - `only_own_site`: forms and websockets of other sites are refused.
//! - `require_login`: a guard is a middleware function that takes the session as an argument.
//! - `Flash`: a message that is shown once. It is a value that is removed when it is read. Only
//!   logged-in users get one: a page that writes a session for every visitor lets anybody fill the
//!   store.
//! - `Preferences`: a struct that is read from the session and written back.
//! - `sessions`: the page of your active sessions, which ends one of them or all others. The
//!   storage keeps an index of users for it: `with_user_index("user")`.
//! - `check_out`: `save().await` before the browser leaves for the payment page.
//! - `notes`: a websocket outlives its response, so it loads and saves through the storage itself,
//!   and closes after a logout.
//! - `LONGEST_NAME` and others: nothing that a client sends makes a session grow without a limit.
//! - `sorry`: the page that is shown if the store does not respond.

use std::error::Error as StdError;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::{Message, WebSocket};
use axum::extract::{DefaultBodyLimit, Form, RawQuery, Request, State, WebSocketUpgrade};
use axum::http::header::{HOST, ORIGIN, UPGRADE, USER_AGENT};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use axum::{Router, serve};
use serde::{Deserialize, Serialize};
use session_examples::{escape, notice};
use session_redis::RedisStorage;
use session_tower::{
    CookieSettings, Error, ErrorKind, Identity, MemoryStorage, Session, SessionLayer, Sessions,
    Storage, UserSessions, status,
};
use tokio::net::TcpListener;
use tokio::signal;
use tokio::time::{MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

const HOUR: Duration = Duration::from_secs(3600);
const MONTH: Duration = Duration::from_secs(30 * 24 * 3600);

/// How often a websocket looks whether its user has logged out.
const LOGOUT_CHECK: Duration = Duration::from_secs(2);

/// How long the program waits for slow clients when it ends.
const LAST_REQUESTS: Duration = Duration::from_secs(10);

/// The most bytes of a form, and of a message on a websocket.
const MOST_BYTES: usize = 4096;
/// The most characters of a browser's name.
const LONGEST_NAME: usize = 200;
/// The most notes that a session keeps. Older ones are dropped.
const MOST_NOTES: usize = 100;
const THEMES: [&str; 2] = ["light", "dark"];

#[tokio::main]
async fn main() -> Result<(), Box<dyn StdError>> {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .init();
    let state = AppState {
        storage: storage().await?,
        sockets: TaskTracker::new(),
        stop: CancellationToken::new(),
    };
    let port = std::env::var("PORT").map_or(Ok(8080), |port| port.parse())?;
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    println!("Listening on http://{}", listener.local_addr()?);
    let stop = state.stop.clone();
    let shutdown = async move {
        shutdown().await;
        stop.cancel();
    };
    let served = async {
        // Waits for requests, but not for websockets.
        serve(listener, app(state.clone()))
            .with_graceful_shutdown(shutdown)
            .await?;
        state.sockets.close();
        state.sockets.wait().await;
        Ok(())
    };
    let late = async {
        state.stop.cancelled().await;
        sleep(LAST_REQUESTS).await;
    };
    // A client that neither reads nor writes must not keep the program from ending.
    tokio::select! {
        done = served => done,
        () = late => Ok(()),
    }
}

#[derive(Clone)]
struct AppState {
    storage: Arc<dyn Storage>,
    /// The websockets that are open.
    sockets: TaskTracker,
    /// Tells them to stop.
    stop: CancellationToken,
}

async fn storage() -> Result<Arc<dyn Storage>, Error> {
    let cookie = cookie()?;
    Ok(match std::env::var("REDIS_URL") {
        Ok(url) if !url.is_empty() => {
            let storage = RedisStorage::connect(&url).await?;
            Arc::new(storage.with_cookie(cookie).with_user_index("user"))
        }
        _ => {
            let storage = MemoryStorage::default();
            Arc::new(storage.with_cookie(cookie).with_user_index("user"))
        }
    })
}

fn cookie() -> Result<CookieSettings, Error> {
    let is_https = is_https();
    // A browser takes a `__Host-` cookie only from https, for one host and all paths. So no sibling
    // domain can set it.
    CookieSettings::builder(if is_https { "__Host-sid" } else { "sid" })
        .secure(is_https)
        .max_age(2 * HOUR)
        .persistent(false) // the browser forgets the cookie when it closes, unless "remember me"
        .rolling(true) // a visit restarts the two hours ..
        .absolute_max_age(MONTH) // but at most a month after the login
        .build()
}

/// https is the default, so production needs no setting, and cannot forget it.
fn is_https() -> bool {
    std::env::var("DEVELOPMENT").as_deref() != Ok("1")
}

fn app(state: AppState) -> Router {
    let layer = SessionLayer::new(state.storage.clone()).on_error(sorry);
    let members = Router::new()
        .route("/account", get(account))
        .route("/preferences", post(save_preferences))
        .route("/sessions", get(sessions))
        .route("/sessions/end", post(end_session))
        .route("/sessions/end-others", post(end_other_sessions))
        .route("/checkout", post(check_out))
        .route("/paid", get(paid))
        .layer(middleware::from_fn(require_login));
    Router::new()
        .route("/", get(home))
        .route("/login", post(log_in))
        .route("/logout", post(log_out))
        .route("/bank", get(bank))
        .route("/notes", get(notes)) // a websocket: it refuses, and does not redirect
        .merge(members)
        // The layer comes after all routes, and after the guard, which needs the session.
        .layer(layer)
        .layer(DefaultBodyLimit::max(MOST_BYTES))
        .layer(middleware::from_fn(only_own_site))
        .with_state(state)
}

/// Shows the page for a failed session.
fn sorry(error: &Error) -> Response {
    let status = status(error);
    let text = match status {
        StatusCode::CONFLICT => "Your login has changed in another window. Please reload the page.",
        StatusCode::SERVICE_UNAVAILABLE => "Please try again in a minute.",
        _ => "Something is wrong here. We have been told.",
    };
    (status, page(&format!("<p>{text}</p>"))).into_response()
}

/// Refuses forms and websockets of other sites. `SameSite` is not enough: it allows the pages of a
/// sibling subdomain, and a login needs no cookie.
async fn only_own_site(request: Request, next: Next) -> Result<Response, StatusCode> {
    // A websocket begins with a GET, and then it writes.
    let upgrade = request.headers().get(UPGRADE).map(HeaderValue::as_bytes);
    let is_websocket = upgrade.is_some_and(|it| it.eq_ignore_ascii_case(b"websocket"));
    let can_write = is_websocket || !request.method().is_safe();
    if can_write && !is_own_site(&request) {
        return Err(StatusCode::FORBIDDEN);
    }
    Ok(next.run(request).await)
}

/// Returns whether a page of this site sent the request. A browser sends `Origin` with every POST
/// and with every websocket. A proxy must leave `Host` as it is.
fn is_own_site(request: &Request) -> bool {
    let header = |name| request.headers().get(name).and_then(|it| it.to_str().ok());
    let authority = request.uri().authority(); // HTTP/2 has no Host header
    let host = authority.map(Authority::as_str).or(header(HOST));
    let scheme = if is_https() { "https" } else { "http" };
    let own = host.map(|host| format!("{scheme}://{host}"));
    own.is_some() && own.as_deref() == header(ORIGIN)
}

/// Lets only requests of logged-in users pass.
async fn require_login(session: Session, request: Request, next: Next) -> Result<Response, Error> {
    if session.contains_key("user") {
        return Ok(next.run(request).await);
    }
    if session.was_ended() {
        // The browser sent this before it had its newer cookie.
        return Err(ErrorKind::Ended.into());
    }
    Ok(Redirect::to("/?error=login").into_response())
}

#[derive(Deserialize)]
struct Login {
    user: String,
    password: String,
    /// The browser sends the field only if the box is ticked.
    remember: Option<String>,
}

async fn log_in(
    sessions: Sessions,
    headers: HeaderMap,
    Form(login): Form<Login>,
) -> Result<Redirect, Error> {
    if login.user.is_empty() || login.password != "open sesame" {
        return Ok(Redirect::to("/?error=password"));
    }
    let session = sessions.new_session()?; // the client's old cookie is worthless from now on
    session.insert("user", &login.user)?;
    let browser = headers.get(USER_AGENT).and_then(|it| it.to_str().ok());
    let browser = browser.unwrap_or("unknown").chars().take(LONGEST_NAME);
    session.insert("browser", browser.collect::<String>())?;
    if login.remember.is_some() {
        session.set_max_age(MONTH)?;
    }
    Flash::set(&session, &format!("Welcome, {}.", login.user))?;
    Ok(Redirect::to("/account"))
}

async fn log_out(session: Session) -> Result<Redirect, Error> {
    session.invalidate()?;
    Ok(Redirect::to("/"))
}

async fn home(session: Session, RawQuery(query): RawQuery) -> Result<Html<String>, Error> {
    let flash = Flash::take(&session)?;
    let notice = notice(query.as_deref());
    Ok(page(&match session.get::<String>("user")? {
        Some(user) => format!(
            "{flash}<p>You are <b>{}</b>. <a href=/account>Your account</a></p>",
            escape(&user)
        ),
        None => format!(
            "{notice}<form method=post action=/login>
<label>Name <input name=user autofocus required></label>
<label>Password <input name=password type=password required></label>
<label><input name=remember type=checkbox> Remember me for a month</label>
<button>Log in</button></form>"
        ),
    }))
}

/// The user's preferences, kept in the session. `serde(default)` lets it be read from a session
/// that does not have it yet.
#[derive(Default, Deserialize, Serialize)]
#[serde(default)]
struct Preferences {
    theme: String,
    page_size: u32,
}

async fn account(session: Session) -> Result<Html<String>, Error> {
    let flash = Flash::take(&session)?;
    let user: String = session.get("user")?.unwrap_or_default();
    let Preferences { theme, page_size } = session.data()?;
    let options = THEMES.map(|name| {
        let selected = if name == theme { " selected" } else { "" };
        format!("<option{selected}>{name}</option>")
    });
    Ok(page(&format!(
        "{flash}<p>This is the account of <b>{}</b>.</p>
<form method=post action=/preferences>
<label>Theme <select name=theme>{}</select></label>
<label>Lines on a page <input name=page_size type=number value={page_size}></label>
<button>Save</button></form>
<form method=post action=/checkout><button>Buy a lamp</button></form>
<p><a href=/sessions>Where you are logged in</a></p>
<form method=post action=/logout><button>Log out</button></form>",
        escape(&user),
        options.concat()
    )))
}

async fn save_preferences(
    session: Session,
    Form(preferences): Form<Preferences>,
) -> Result<Response, Error> {
    if !THEMES.contains(&preferences.theme.as_str()) {
        return Ok(StatusCode::BAD_REQUEST.into_response());
    }
    session.set_data(&preferences)?; // writes the fields that changed
    Flash::set(&session, "Saved.")?;
    Ok(Redirect::to("/account").into_response())
}

/// Shows where the user is logged in.
async fn sessions(session: Session, State(state): State<AppState>) -> Result<Html<String>, Error> {
    let flash = Flash::take(&session)?;
    let mut rows = Vec::new();
    if let Some(of_user) = UserSessions::of_session(&*state.storage, &session)? {
        for it in of_user.list().await? {
            let browser: String = it.get("browser")?.unwrap_or_default();
            let end = if it.is_current() {
                "this browser".to_owned()
            } else {
                format!(
                    "<form method=post action=/sessions/end>
<button name=id value={}>Log out there</button></form>",
                    it.handle() // public: it ends a session of this user, and nothing else
                )
            };
            rows.push(format!("<li>{} {end}</li>", escape(&browser)));
        }
    }
    Ok(page(&format!(
        "{flash}<ul>{}</ul>
<form method=post action=/sessions/end-others><button>Log out everywhere else</button></form>",
        rows.concat()
    )))
}

#[derive(Deserialize)]
struct EndSession {
    id: String,
}

async fn end_session(
    session: Session,
    State(state): State<AppState>,
    Form(EndSession { id }): Form<EndSession>,
) -> Result<Redirect, Error> {
    if let Some(of_user) = UserSessions::of_session(&*state.storage, &session)? {
        of_user.end(&id).await?;
    }
    Ok(Redirect::to("/sessions"))
}

async fn end_other_sessions(
    session: Session,
    State(state): State<AppState>,
) -> Result<Redirect, Error> {
    if let Some(of_user) = UserSessions::of_session(&*state.storage, &session)? {
        let ended = of_user.end_others().await?;
        Flash::set(&session, &format!("Logged out in {ended} other places."))?;
    }
    Ok(Redirect::to("/sessions"))
}

async fn check_out(session: Session) -> Result<Redirect, Error> {
    session.insert("order", "a lamp")?;
    // The bank may send the browser back at once. The order must be there by then.
    session.save().await?;
    Ok(Redirect::to("/bank"))
}

/// Stands for the payment page of a bank.
async fn bank() -> Html<String> {
    page("<p>This is your bank. <a href=/paid>Pay</a></p>")
}

async fn paid(session: Session) -> Result<Response, Error> {
    let Some(order) = session.take::<String>("order")? else {
        return Ok((StatusCode::NOT_FOUND, page("<p>There is no order.</p>")).into_response());
    };
    Ok(page(&format!("<p>You have paid for {}.</p>", escape(&order))).into_response())
}

/// Upgrades to a websocket that adds each line to the session's notes.
async fn notes(
    session: Session,
    State(state): State<AppState>,
    upgrade: WebSocketUpgrade,
) -> Response {
    // The response leaves now, so `session` cannot be changed any more. Its identity is how the
    // socket finds it in the store.
    let identity = session.identity().filter(|_| session.contains_key("user"));
    let Some(identity) = identity else {
        return StatusCode::UNAUTHORIZED.into_response();
    };
    let sockets = state.sockets.clone();
    let upgrade = upgrade
        .max_message_size(MOST_BYTES)
        .max_frame_size(MOST_BYTES);
    upgrade.on_upgrade(move |socket| sockets.track_future(take_notes(socket, state, identity)))
}

async fn take_notes(mut socket: WebSocket, state: AppState, identity: Identity) {
    let mut check = interval(LOGOUT_CHECK);
    check.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let note = tokio::select! {
            () = state.stop.cancelled() => break,
            _ = check.tick() => None,
            message = socket.recv() => match message {
                Some(Ok(Message::Text(text))) => Some(text.to_string()),
                Some(Ok(Message::Close(_)) | Err(_)) | None => return,
                Some(Ok(_)) => continue,
            },
        };
        // This is not inside `select`, so that a note that was received is saved.
        let reply = match take_note(&*state.storage, &identity, note).await {
            Ok(Some(reply)) => reply,
            Ok(None) => break,
            Err(error) => {
                tracing::error!(?error, "note not taken"); // the cause, and no secret
                break;
            }
        };
        if let Some(reply) = reply
            && socket.send(reply.into()).await.is_err()
        {
            return;
        }
    }
    let _ = socket.send(Message::Close(None)).await;
}

/// Adds a note, if there is one, and returns the reply; `None` if the user has logged out.
async fn take_note(
    storage: &dyn Storage,
    identity: &Identity,
    note: Option<String>,
) -> Result<Option<Option<String>>, Error> {
    let session = storage.load(&[identity.as_str()]).await?;
    if session.is_new() {
        return Ok(None);
    }
    let Some(note) = note else {
        return Ok(Some(None));
    };
    let count = session.modify("notes", |notes: &mut Vec<String>| {
        notes.push(note);
        notes.drain(..notes.len().saturating_sub(MOST_NOTES));
        notes.len()
    })?;
    match storage.save(&session).await {
        Ok(_) => Ok(Some(Some(format!("note {count}")))),
        Err(error) if error.kind() == ErrorKind::Ended => Ok(None),
        Err(error) => Err(error),
    }
}

/// A message that is shown once.
struct Flash;

impl Flash {
    fn set(session: &Session, text: &str) -> Result<(), Error> {
        session.insert("flash", text)
    }

    fn take(session: &Session) -> Result<String, Error> {
        let text = session.take::<String>("flash")?.unwrap_or_default();
        Ok(if text.is_empty() {
            text
        } else {
            format!("<p role=status>{}</p>", escape(&text))
        })
    }
}

fn page(body: &str) -> Html<String> {
    Html(session_examples::page(StatusCode::OK, "Lamps", body).into_body())
}

/// Waits for Ctrl-C or, as sent by a service manager, SIGTERM.
async fn shutdown() {
    let terminated = async {
        match signal::unix::signal(signal::unix::SignalKind::terminate()) {
            Ok(mut signals) => _ = signals.recv().await,
            Err(error) => {
                tracing::error!(%error, "no handler for SIGTERM, only for Ctrl-C");
                pending::<()>().await;
            }
        }
    };
    tokio::select! {
        _ = signal::ctrl_c() => {}
        () = terminated => {}
    }
}
