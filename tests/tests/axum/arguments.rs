//! Sessions as arguments of handlers and of middleware.

use axum::Router;
use axum::extract::{Path, Request, State};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::get;
use http::HeaderValue;
use session_tests::stores::{Calls, When};
use session_tower::{Error, RequestSession as _, Session, SessionLayer, Sessions};

use crate::app::{self, NO_CALLS, ONE_READ, keys, store};

/// Adds `State` to a counter of the session, which has the name of the path.
async fn count(
    State(step): State<u32>,
    Path(name): Path<String>,
    session: Session,
) -> Result<String, Error> {
    let count = session.update(&name, |n: Option<u32>| n.unwrap_or(0) + step)?;
    Ok(count.to_string())
}

#[tokio::test]
async fn a_session_is_an_argument_beside_the_state_and_the_path_in_nested_routers_too() {
    let (storage, cookie) = store("sid").await;
    let inner = Router::new().route("/count/{name}", get(count));
    let app = Router::new()
        .route("/count/{name}", get(count))
        .nest("/shop", inner.clone())
        .merge(Router::new().nest("/a/b", inner))
        .with_state(5)
        .layer(SessionLayer::new(storage.clone()));
    for (path, seen) in [
        ("/count/n", "5"),
        ("/shop/count/n", "10"),
        ("/a/b/count/n", "15"),
        ("/count/m", "5"),
    ] {
        let response = app::get(&app, path, &cookie).await;
        assert_eq!(
            (response.status.as_u16(), &*response.body),
            (200, seen),
            "{path}"
        );
        assert_eq!(response.header("vary"), Some("Cookie"));
    }
    assert_eq!(keys(&storage, &cookie).await.unwrap(), ["k", "n", "m"]);
}

#[tokio::test]
async fn a_client_without_a_session_gets_one() {
    let (storage, _) = store("sid").await;
    let app = Router::new()
        .route("/{name}", get(count))
        .with_state(1)
        .layer(SessionLayer::new(storage.clone()));
    let response = app::get(&app, "/n", "").await;
    let [cookie] = response.cookies()[..] else {
        panic!("one cookie")
    };
    assert_eq!(response.header("cache-control"), Some("no-store"));
    assert_eq!(keys(&storage, cookie).await.unwrap(), ["n"]);
    assert_eq!(app::get(&app, "/n", cookie).await.body, "2");
}

/// Changes the session before the handler and after it.
async fn around(session: Session, request: Request, next: Next) -> Result<Response, Error> {
    session.insert("before", 1)?;
    let mut response = next.run(request).await;
    let seen = HeaderValue::from_str(&session.keys().join(" ")).unwrap();
    response.headers_mut().insert("x-seen", seen);
    session.insert("after", 1)?;
    Ok(response)
}

/// Asks twice more: by the request's parts, and by `Sessions`.
async fn within(session: Session, sessions: Sessions, request: Request) -> Result<String, Error> {
    let seen = session.keys().join(" ");
    session.insert("argument", 1)?;
    sessions.session().await?.insert("sessions", 1)?;
    let (parts, _) = request.into_parts();
    parts.session().await?.insert("parts", 1)?;
    Ok(seen)
}

#[tokio::test]
async fn middleware_and_handler_of_a_request_get_the_same_session_and_it_is_loaded_once() {
    let (storage, cookie) = store("sid").await;
    let app = Router::new()
        .route("/", get(within))
        .layer(middleware::from_fn(around))
        .layer(SessionLayer::new(storage.clone()));
    let response = app::get(&app, "/", &cookie).await;
    assert_eq!(response.body, "k before");
    let seen = response.header("x-seen").unwrap();
    assert_eq!(seen, "k before argument sessions parts");
    let once = Calls {
        update: 1,
        ..ONE_READ
    };
    assert_eq!(storage.backend().take(), once);
    let saved = keys(&storage, &cookie).await.unwrap().join(" ");
    assert_eq!(saved, format!("{seen} after"));
}

/// A guard: the handler runs only if somebody has logged in.
async fn guard(session: Session, request: Request, next: Next) -> Result<Response, Error> {
    if session.contains_key("user") {
        return Ok(next.run(request).await);
    }
    let response = Response::builder().status(403);
    Ok(response.body("log in first".into()).unwrap())
}

#[tokio::test]
async fn a_guard_stands_before_the_routes_of_its_router_only() {
    let (storage, cookie) = store("sid").await;
    let log_in = async |sessions: Sessions| -> Result<(), Error> {
        sessions.new_session()?.insert("user", 42)
    };
    let app = Router::new()
        .route("/home", get(async || "home"))
        .route_layer(middleware::from_fn(guard))
        .route("/login", get(log_in))
        .layer(SessionLayer::new(storage.clone()));
    let refused = app::get(&app, "/home", &cookie).await;
    assert_eq!(
        (refused.status.as_u16(), &*refused.body),
        (403, "log in first")
    );
    let login = app::get(&app, "/login", &cookie).await;
    assert_eq!(login.status, 200);
    let home = app::get(&app, "/home", login.cookies()[0]).await;
    assert_eq!((home.status.as_u16(), &*home.body), (200, "home"));
    assert_eq!(keys(&storage, &cookie).await, None, "the login replaced it");
}

async fn perhaps(session: Option<Session>) -> Result<String, Error> {
    let Some(session) = session else {
        return Ok("no layer".into());
    };
    Ok(session.keys().join(" "))
}

#[tokio::test]
async fn an_optional_session_is_none_only_where_no_layer_is() {
    let (storage, cookie) = store("sid").await;
    let app = Router::new()
        .route("/with", get(perhaps))
        .layer(SessionLayer::new(storage.clone()))
        .route("/without", get(perhaps));
    assert_eq!(app::get(&app, "/with", &cookie).await.body, "k");
    assert_eq!(app::get(&app, "/with", "").await.body, "");
    let without = app::get(&app, "/without", &cookie).await;
    assert_eq!(without.body, "no layer");
    assert_eq!(without.header("vary"), None);
    // A store that is down is no missing layer.
    storage.backend().inner().fail(0..=0, When::Before);
    assert_eq!(app::get(&app, "/with", &cookie).await.status, 503);
}

/// Does what the path says with two storages.
async fn through_sessions(Path(what): Path<String>, sessions: Sessions) -> Result<String, Error> {
    let session = match &*what {
        "session" => sessions.session().await?,
        "named" => sessions.session_named("cart").await?,
        "new" => sessions.new_session()?,
        "new-named" => sessions.new_session_named("cart")?,
        "unknown" => sessions.session_named("nobody").await?,
        "unknown-new" => sessions.new_session_named("nobody")?,
        "dropped" => {
            drop(sessions.session());
            return Ok(String::new());
        }
        _ => return Ok("nothing".into()),
    };
    let seen = session.keys().join(" ");
    session.insert("mine", 1)?;
    Ok(seen)
}

#[tokio::test]
async fn sessions_loads_nothing_until_a_session_is_asked_for() {
    let written = |read, create, update, end| Calls {
        read,
        create,
        update,
        end,
    };
    let none = NO_CALLS;
    // A login loads nothing. The read is that of the old session's end.
    let (update, login) = (written(1, 0, 1, 0), written(1, 1, 0, 1));
    for (path, status, body, of_user, of_cart) in [
        ("/nothing", 200, "nothing", none, none),
        ("/session", 200, "k", update, none),
        ("/named", 200, "k", none, update),
        ("/new", 200, "", login, none),
        ("/new-named", 200, "", none, login),
        ("/unknown", 500, "", none, none),
        ("/unknown-new", 500, "", none, none),
        ("/dropped", 200, "", none, none),
    ] {
        let (user, user_cookie) = store("sid").await;
        let (cart, cart_cookie) = store("cart").await;
        let layer = SessionLayer::new(user.clone()).and(cart.clone()).unwrap();
        let app = Router::new().route("/{what}", get(through_sessions));
        let app = app.layer(layer);
        let response = app::get(&app, path, &format!("{cart_cookie}; {user_cookie}")).await;
        assert_eq!(
            (response.status.as_u16(), &*response.body),
            (status, body),
            "{path}"
        );
        assert_eq!(user.backend().take(), of_user, "{path}");
        assert_eq!(cart.backend().take(), of_cart, "{path}");
        let is_asked = !matches!(path, "/nothing" | "/unknown" | "/unknown-new");
        assert_eq!(
            response.header("vary"),
            is_asked.then_some("Cookie"),
            "{path}"
        );
        let set = response.cookies();
        match path {
            "/new" => {
                assert!(set[0].starts_with("sid="), "{set:?}");
                assert_eq!(keys(&user, set[0]).await.unwrap(), ["mine"]);
                assert_eq!(keys(&user, &user_cookie).await, None);
            }
            "/new-named" => {
                assert!(set[0].starts_with("cart="), "{set:?}");
                assert_eq!(keys(&cart, set[0]).await.unwrap(), ["mine"]);
                assert_eq!(keys(&user, &user_cookie).await.unwrap(), ["k"]);
            }
            _ => assert!(set.is_empty(), "{path}: {set:?}"),
        }
    }
}

/// An extractor would have started the new session before the password is checked.
#[tokio::test]
async fn a_login_that_is_refused_leaves_the_old_session_alone() {
    let (storage, cookie) = store("sid").await;
    let log_in = async |sessions: Sessions, Path(password): Path<String>| {
        if password != "right" {
            return Ok::<_, Error>("wrong");
        }
        sessions.new_session()?.insert("user", 42)?;
        Ok("welcome")
    };
    let app = Router::new().route("/{password}", get(log_in));
    let app = app.layer(SessionLayer::new(storage.clone()));
    let refused = app::get(&app, "/guessed", &cookie).await;
    assert_eq!((&*refused.body, refused.cookies()), ("wrong", vec![]));
    assert_eq!(storage.backend().take(), NO_CALLS);
    assert_eq!(app::get(&app, "/right", &cookie).await.body, "welcome");
    assert_eq!(keys(&storage, &cookie).await, None);
}

/// They borrow nothing of the request, so that a task can have them.
#[tokio::test]
async fn clones_of_sessions_give_the_same_session_to_another_task() {
    let (storage, cookie) = store("sid").await;
    let handler = async |sessions: Sessions| -> Result<String, Error> {
        let of_task = sessions.clone();
        let task = tokio::spawn(async move { of_task.session().await?.insert("task", 1) });
        let future = sessions.session();
        drop(sessions);
        let session = future.await?;
        task.await.unwrap()?;
        Ok(session.keys().join(" "))
    };
    let app = Router::new().route("/", get(handler));
    let app = app.layer(SessionLayer::new(storage.clone()));
    assert_eq!(app::get(&app, "/", &cookie).await.body, "k task");
    assert_eq!(storage.backend().take().read, 1);
}
