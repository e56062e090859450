//! How long a cookie and its session live, and which requests count as activity.
#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::{Request, Response};
use hyper::service::{Service as _, service_fn};
use session_cookie::{EncryptedCookieStorage, Key};
use session_core::{
    CookieBuilder, CookieChange, CookieSettings, Error, ManualClock, MemoryBackend, MemoryStorage,
    RequestSession, Storage,
};
use session_hyper::SessionService;

const HOUR: Duration = Duration::from_secs(3600);
const MONTH: Duration = Duration::from_secs(30 * 24 * 3600);

fn settings() -> CookieBuilder {
    CookieSettings::builder("sid").max_age(HOUR)
}

fn storages(cookie: &CookieBuilder, clock: &ManualClock) -> [Arc<dyn Storage>; 2] {
    let cookie = cookie.clone().build().unwrap();
    let memory = MemoryStorage::new(MemoryBackend::new().with_clock(clock.clone()));
    let sealed = EncryptedCookieStorage::new(Key::from([7; 32]));
    [
        Arc::new(memory.with_cookie(cookie.clone()).with_clock(clock.clone())),
        Arc::new(sealed.with_cookie(cookie).with_clock(clock.clone())),
    ]
}

/// A cookie that ends with the browser, and a session that ends an hour after its last write.
#[tokio::test]
async fn a_cookie_that_ends_with_the_browser_has_a_limit_on_the_server() {
    let clock = ManualClock::at(SystemTime::now());
    for storage in storages(&settings().persistent(false), &clock) {
        let session = storage.load(&[]).await.unwrap();
        session.insert("user", "ada").unwrap();
        assert_eq!(session.max_age(), Some(HOUR));
        let CookieChange::Set { value, max_age, .. } = storage.save(&session).await.unwrap() else {
            panic!("it is set")
        };
        assert_eq!(max_age, None, "it ends with the browser");
        clock.advance(HOUR);
        assert!(!storage.load(&[&value]).await.unwrap().is_new());
        clock.advance(Duration::from_secs(1));
        assert!(storage.load(&[&value]).await.unwrap().is_new());
    }
}

/// "Remember me": the session has a lifetime of its own, and its cookie survives the browser.
#[tokio::test]
async fn a_session_with_a_lifetime_of_its_own_has_a_cookie_that_survives() {
    let clock = ManualClock::at(SystemTime::now());
    for storage in storages(&settings().persistent(false), &clock) {
        let session = storage.load(&[]).await.unwrap();
        session.insert("user", "ada").unwrap();
        session.set_max_age(MONTH).unwrap();
        let CookieChange::Set { value, max_age, .. } = storage.save(&session).await.unwrap() else {
            panic!("it is set")
        };
        assert_eq!(max_age, Some(MONTH));
        let session = storage.load(&[&value]).await.unwrap();
        session.insert("more", 1).unwrap();
        let CookieChange::Set { max_age, .. } = storage.save(&session).await.unwrap() else {
            panic!("it is set again")
        };
        assert_eq!(max_age, Some(MONTH), "a later write keeps it");
    }
}

async fn page(request: Request<String>) -> Result<Response<String>, Error> {
    match request.uri().path() {
        "/news" => request.passive_session().await.map(drop)?,
        "/news-and-read" => {
            request.passive_session().await?;
            request.session().await?;
        }
        "/read-and-news" => {
            request.session().await?;
            request.passive_session().await?;
        }
        "/news-and-write" => request.passive_session().await?.insert("n", 2)?,
        _ => request.session().await?.insert("n", 1)?,
    }
    Ok(Response::default())
}

/// Polling does not keep a rolling session alive. Any other read and any write does.
#[tokio::test]
async fn a_passive_read_does_not_restart_the_lifetime() {
    for (path, restarts) in [
        ("/news", false),
        ("/news-and-read", true),
        ("/read-and-news", true),
        ("/news-and-write", true),
    ] {
        let clock = ManualClock::at(SystemTime::now());
        for storage in storages(&settings().rolling(true), &clock) {
            let service = SessionService::new(storage.clone(), service_fn(page));
            let ask = async |path: &str, cookie: &str| {
                let request = Request::builder().uri(path).header("cookie", cookie);
                let response = service
                    .call(request.body(String::new()).unwrap())
                    .await
                    .unwrap();
                let set = response.headers().get("set-cookie")?;
                let pair = set.to_str().unwrap().split(';').next().unwrap();
                Some(pair.to_owned())
            };
            let cookie = ask("/write", "").await.unwrap();
            clock.advance(HOUR / 2);
            let set = ask(path, &cookie).await;
            assert_eq!(set.is_some(), restarts, "{path}");
            let cookie = set.unwrap_or(cookie);
            clock.advance(HOUR / 2 + Duration::from_secs(1));
            let value = cookie.strip_prefix("sid=").unwrap().trim_matches('"');
            let session = storage.load(&[value]).await.unwrap();
            assert_eq!(session.is_new(), !restarts, "{path}");
        }
    }
}
