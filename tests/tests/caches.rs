//! A response that sets a session cookie is not for shared caches.
#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::{Request, Response};
use hyper::service::{Service as _, service_fn};
use session_core::{
    CookieSettings, Error, ManualClock, MemoryBackend, MemoryStorage, RequestSession, Storage,
};
use session_hyper::SessionService;
use session_tests::logs::Logs;

const REMOVED: &str = "Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT";

const HOUR: Duration = Duration::from_secs(3600);

async fn page(request: Request<String>) -> Result<Response<String>, Error> {
    let session = request.session().await?;
    match request.uri().path() {
        "/write" => session.insert("n", 1)?,
        "/logout" => session.invalidate()?,
        _ => {}
    }
    let response = Response::builder().header("cache-control", "public, max-age=60");
    Ok(response.body(String::new()).unwrap())
}

async fn ask(storage: &Arc<MemoryStorage>, path: &str, cookie: &str) -> (Option<String>, String) {
    let request = Request::builder().uri(path).header("cookie", cookie);
    let service = SessionService::new(storage.clone(), service_fn(page));
    let response = service
        .call(request.body(String::new()).unwrap())
        .await
        .unwrap();
    let text = |name| {
        let value = response.headers().get(name);
        value.map(|value| value.to_str().unwrap().to_owned())
    };
    (text("set-cookie"), text("cache-control").unwrap())
}

#[tokio::test]
async fn a_public_response_becomes_private_where_the_session_is_written() {
    let (logs, _capture) = Logs::capture();
    let storage = Arc::new(MemoryStorage::default());
    let (cookie, caching) = ask(&storage, "/write", "").await;
    assert_eq!(caching, "private, max-age=60");
    let cookie = cookie.unwrap().split(';').next().unwrap().to_owned();
    assert!(logs.text().contains("response is private now"));
    let (set, caching) = ask(&storage, "/read", &cookie).await;
    assert_eq!((set, &*caching), (None, "public, max-age=60"));
    let (set, caching) = ask(&storage, "/logout", &cookie).await;
    assert!(set.unwrap().contains("Max-Age=0"));
    assert_eq!(caching, "private, max-age=60");
}

#[tokio::test]
async fn a_read_with_a_public_response_does_not_restart_the_lifetime() {
    let clock = ManualClock::at(SystemTime::now());
    let settings = CookieSettings::builder("sid").max_age(HOUR).rolling(true);
    let storage = MemoryStorage::new(MemoryBackend::new().with_clock(clock.clone()))
        .with_cookie(settings.build().unwrap())
        .with_clock(clock.clone());
    let storage = Arc::new(storage);
    let (cookie, _) = ask(&storage, "/write", "").await;
    let cookie = cookie.unwrap().split(';').next().unwrap().to_owned();
    clock.advance(HOUR / 2);
    let (set, caching) = ask(&storage, "/read", &cookie).await;
    assert_eq!((set, &*caching), (None, "public, max-age=60"));
    clock.advance(HOUR / 2 + Duration::from_secs(1));
    let identity = cookie.strip_prefix("sid=").unwrap();
    assert!(storage.load(&[identity]).await.unwrap().is_new());
}

/// The browser keeps a cookie of a former domain or path beside the present one. It goes with the
/// next response that sets or removes the cookie.
#[tokio::test]
async fn a_cookie_of_a_former_place_is_removed_with_every_set_and_removal() {
    let settings = CookieSettings::builder("sid")
        .path("/app")
        .former("example.com", "/")
        .former("", "");
    let storage = MemoryStorage::default().with_cookie(settings.build().unwrap());
    let storage = Arc::new(storage);
    let set_cookies = async |path: &str, cookie: &str| -> Vec<String> {
        let request = Request::builder().uri(path).header("cookie", cookie);
        let service = SessionService::new(storage.clone(), service_fn(page));
        let response = service
            .call(request.body(String::new()).unwrap())
            .await
            .unwrap();
        let all = response.headers().get_all("set-cookie").iter();
        all.map(|value| value.to_str().unwrap().to_owned())
            .collect()
    };
    let removals = [
        format!("sid=\"\"; HttpOnly; SameSite=Lax; Secure; Path=/; Domain=example.com; {REMOVED}"),
        format!("sid=\"\"; HttpOnly; SameSite=Lax; Secure; {REMOVED}"),
    ];
    let set = set_cookies("/write", "").await;
    // First the removals: without a Path, the browser may take the present place for the former.
    let (last, rest) = set.split_last().unwrap();
    assert!(last.ends_with("Path=/app"), "{last}");
    assert_eq!(rest, removals);
    let cookie = last.split(';').next().unwrap();
    assert_eq!(set_cookies("/read", cookie).await, [""; 0]);
    let set = set_cookies("/logout", cookie).await;
    assert_eq!(set.len(), 3);
    assert_eq!(set[..2], removals);
}
