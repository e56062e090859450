//! The Set-Cookie header of a write, an update, a removal and a login.

use std::sync::Arc;

use http::header::SET_COOKIE;
use http::{Request, StatusCode};
use hyper::body::Incoming;
use session_cookie::{EncryptedCookieStorage, Key, NaClCookieStorage, SimpleCookieStorage};
use session_core::{
    CookieSettings, DEFAULT_NAME, MemoryStorage, RequestSession, Result, SameSite, Session, Storage,
};
use session_tests::logs::Logs;
use session_tests::server::{TestResponse, pair, set_cookies};

use crate::ADAPTER;
use crate::app::{
    Headers, assert_bare, fill, one_cookie, page, read, saved, seconds, serve, storages,
    storages_and_updates, stored, values, write,
};

#[tokio::test]
async fn a_write_sets_one_cookie_beside_the_handlers_own() {
    let own: Headers = &[("set-cookie", "a=1; Path=/a"), ("set-cookie", "b=2")];
    for storage in storages() {
        let server = serve(storage, write, 200, own).await;
        for response in [server.get("/", &[]).await, server.get_http2("/", &[]).await] {
            one_cookie(&response);
            assert_eq!(
                values(&response, "set-cookie")[..2],
                ["a=1; Path=/a", "b=2"]
            );
            assert_eq!(values(&response, "set-cookie").len(), 3);
            assert_eq!(response.body(), "page");
        }
    }
}

#[tokio::test]
async fn a_write_replaces_a_cookie_of_our_name_that_the_handler_set() {
    let own: Headers = &[
        ("set-cookie", "AIOHTTP_SESSION=mine; Path=/"),
        ("set-cookie", "a=AIOHTTP_SESSION"),
        ("set-cookie", " AIOHTTP_SESSION = mine"),
        ("set-cookie", "AIOHTTP_SESSION_2=other"),
        ("set-cookie", "AIOHTTP_SESSION"),
    ];
    for storage in storages() {
        let server = serve(storage, write, 200, own).await;
        let response = server.get("/", &[]).await;
        let cookie = one_cookie(&response);
        let all = values(&response, "set-cookie");
        assert_eq!(all[..2], ["a=AIOHTTP_SESSION", "AIOHTTP_SESSION_2=other"]);
        assert_eq!(all.len(), 3);
        assert!(!cookie.contains("mine"));
    }
}

#[tokio::test]
async fn a_cookie_of_our_name_that_the_handler_set_stays_if_there_is_nothing_to_save() {
    let own: Headers = &[("set-cookie", "AIOHTTP_SESSION=mine")];
    for storage in storages() {
        let server = serve(storage, read, 200, own).await;
        assert_eq!(
            values(&server.get("/", &[]).await, "set-cookie"),
            ["AIOHTTP_SESSION=mine"]
        );
    }
}

#[tokio::test]
async fn a_removal_has_the_attributes_of_the_cookie() {
    let key = || Key::from([1; 32]);
    let plain = || CookieSettings::builder(DEFAULT_NAME);
    for settings in [
        plain(),
        plain()
            .secure(false)
            .http_only(false)
            .same_site(None)
            .path(""),
        plain()
            .domain("example.com")
            .path("/app")
            .same_site(SameSite::None)
            .partitioned(true),
        plain().max_age(seconds(60)).same_site(SameSite::Strict),
        plain().absolute_max_age(seconds(60)),
    ] {
        let cookie = settings.build().unwrap();
        let storages: [Arc<dyn Storage>; 4] = [
            Arc::new(SimpleCookieStorage::unprotected().with_cookie(cookie.clone())),
            Arc::new(EncryptedCookieStorage::new(key()).with_cookie(cookie.clone())),
            Arc::new(NaClCookieStorage::new(key()).with_cookie(cookie.clone())),
            Arc::new(MemoryStorage::default().with_cookie(cookie.clone())),
        ];
        for storage in storages {
            let set = serve(storage.clone(), write, 200, &[])
                .await
                .get("/", &[])
                .await;
            let value = one_cookie(&set);
            let server = serve(storage, Session::invalidate, 200, &[]).await;
            let removed = server.get("/", &[value.as_bytes()]).await;
            let parsed = [&set, &removed].map(|response| {
                let [text] = &set_cookies(response, DEFAULT_NAME)[..] else {
                    panic!("one cookie")
                };
                cookie::Cookie::parse(text.clone()).unwrap()
            });
            let attributes = parsed.each_ref().map(|c| {
                let flags = (c.secure(), c.http_only(), c.partitioned(), c.same_site());
                (
                    c.name().to_owned(),
                    c.domain().map(str::to_owned),
                    c.path().map(str::to_owned),
                    flags,
                )
            });
            assert_eq!(attributes[0], attributes[1]);
            let [set, removal] = parsed;
            assert_eq!(
                set.max_age().map(cookie::time::Duration::whole_seconds),
                cookie.max_age().map(|_| 60)
            );
            assert_eq!(removal.value_trimmed(), "");
            assert!(removal.max_age().unwrap().is_zero());
            assert_eq!(removal.expires_datetime().unwrap().unix_timestamp(), 0);
        }
    }
}

/// The browser keeps a cookie of a former domain or path beside the present one. It goes with the
/// next response that sets or removes the cookie.
#[tokio::test]
async fn a_cookie_of_a_former_place_is_removed_with_every_set_and_removal() {
    let settings = CookieSettings::builder(DEFAULT_NAME)
        .path("/app")
        .former("example.com", "/")
        .former("", "");
    let storage = MemoryStorage::default().with_cookie(settings.build().unwrap());
    let storage: Arc<dyn Storage> = Arc::new(storage);
    let sets = async |act: fn(&Session) -> Result<()>, cookie: &str| {
        let server = serve(storage.clone(), act, 200, &[]).await;
        set_cookies(&server.get("/", &[cookie.as_bytes()]).await, DEFAULT_NAME)
    };
    let removals = ["Path=/; Domain=example.com; ", ""].map(|place| {
        let expires = "Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT";
        format!("{DEFAULT_NAME}=\"\"; HttpOnly; SameSite=Lax; Secure; {place}{expires}")
    });
    let set = sets(write, "").await;
    // First the removals: without a Path, the browser may take the present place for the former.
    let (last, rest) = set.split_last().unwrap();
    assert!(last.ends_with("Path=/app"), "{last}");
    assert_eq!(rest, removals);
    let cookie = pair(last);
    assert_eq!(sets(read, cookie).await, [""; 0]);
    let set = sets(Session::invalidate, cookie).await;
    assert_eq!(set.len(), 3);
    assert_eq!(set[..2], removals);
}

#[tokio::test]
async fn an_update_sends_the_cookie_of_a_store_only_if_it_has_a_max_age() {
    for (storage, updates_set) in storages_and_updates() {
        let cookie = saved(&storage).await;
        let server = serve(storage.clone(), write, 200, &[]).await;
        let response = server.get("/", &[cookie.as_bytes()]).await;
        let sets = set_cookies(&response, DEFAULT_NAME).len();
        assert_eq!(sets, usize::from(updates_set), "{storage:?}");
        assert_eq!(values(&response, "vary"), ["Cookie"]);
        assert_eq!(stored(&storage, &cookie).await, Some(1));
    }
    for (max_age, own) in [(Some(60), None), (None, Some(()))] {
        let cookie = CookieSettings::builder(DEFAULT_NAME).max_age(max_age.map(seconds));
        let storage = MemoryStorage::default().with_cookie(cookie.build().unwrap());
        let storage: Arc<dyn Storage> = Arc::new(storage);
        let cookie = saved(&storage).await;
        let act: fn(&Session) -> Result<()> = match own {
            Some(()) => |session| session.set_max_age(seconds(60)),
            None => write,
        };
        let server = serve(storage.clone(), act, 200, &[]).await;
        let response = server.get("/", &[cookie.as_bytes()]).await;
        assert_eq!(one_cookie(&response), cookie);
        assert!(set_cookies(&response, DEFAULT_NAME)[0].contains("Max-Age=60"));
    }
}

#[tokio::test]
async fn p8_a_cookie_of_4096_bytes_is_sent_and_one_of_4097_is_a_500() {
    let (logs, _capture) = Logs::capture();
    // `{"created": 1700000000, "session": {"a": "x"}}` in quotes, with a backslash for each of
    // the eight inside and `\054` for the comma.
    let simple = r#"AIOHTTP_SESSION"{\"created\": 1700000000\054 \"session\": {\"a\": \"\"}}""#;
    for total in [4095, 4096, 4097] {
        let storage: Arc<dyn Storage> = Arc::new(SimpleCookieStorage::unprotected());
        let response = fill(storage.clone(), total - simple.len())
            .await
            .get("/", &[])
            .await;
        assert_size(&response, total, &storage).await;
    }
    // Base64 comes in steps of four characters and blocks of 16 bytes, so that the name makes up
    // the exact size.
    for total in [4095, 4096, 4097] {
        let probe = Arc::new(EncryptedCookieStorage::new(Key::from([1; 32])));
        let response = fill(probe, 2900).await.get("/", &[]).await;
        let value = one_cookie(&response).len() - DEFAULT_NAME.len() - 1;
        let name = "n".repeat(total - value);
        assert!(name.len() <= 100, "{value}");
        let settings = CookieSettings::builder(name).build().unwrap();
        let storage = EncryptedCookieStorage::new(Key::from([1; 32])).with_cookie(settings);
        let storage: Arc<dyn Storage> = Arc::new(storage);
        let response = fill(storage.clone(), 2900).await.get("/", &[]).await;
        assert_size(&response, total, &storage).await;
    }
    assert!(logs.text().contains("4097 bytes"), "{}", logs.text());
    logs.assert_without(&["xxxx"]);
}

async fn assert_size(response: &TestResponse, total: usize, storage: &Arc<dyn Storage>) {
    if total > 4096 {
        assert_bare(response, StatusCode::INTERNAL_SERVER_ERROR);
        return;
    }
    let name = storage.config().cookie().name();
    assert_eq!(response.status(), StatusCode::OK, "{total}");
    let [cookie] = &set_cookies(response, name)[..] else {
        panic!("one cookie")
    };
    let sent = pair(cookie);
    assert_eq!(
        sent.len() - 1,
        total,
        "name and value without the equals sign"
    );
    let server = serve(
        storage.clone(),
        |session| {
            assert_eq!(session.len(), 1, "it comes back");
            Ok(())
        },
        200,
        &[],
    )
    .await;
    assert_eq!(
        server.get("/", &[sent.as_bytes()]).await.status(),
        StatusCode::OK
    );
}

#[tokio::test]
async fn p8_a_session_that_outgrew_its_cookie_leaves_the_client_with_the_old_one() {
    for storage in &storages()[..3] {
        let cookie = saved(storage).await;
        let response = fill(storage.clone(), 5000)
            .await
            .get("/", &[cookie.as_bytes()])
            .await;
        assert_bare(&response, StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(stored(storage, &cookie).await, Some(1));
    }
}

#[tokio::test]
async fn new_session_takes_the_place_of_the_old_one() {
    for (storage, is_in_cookie) in storages_and_updates() {
        let cookie = saved(&storage).await;
        let server = ADAPTER
            .start(storage.clone(), |request: Request<Incoming>| async move {
                let session = request.new_session()?;
                assert!(session.is_new() && session.is_empty());
                if request.uri().path() == "/login" {
                    session.insert("n", 2)?;
                }
                assert_eq!(
                    request.session().await?.len(),
                    session.len(),
                    "the same session"
                );
                page(200, &[])
            })
            .await;
        // Written: a cookie of another value, even over one that is no session.
        for cookies in [&[][..], &[cookie.as_bytes()], &[b"AIOHTTP_SESSION=\xff"]] {
            let fresh = one_cookie(&server.get("/login", cookies).await);
            assert_ne!(fresh, cookie);
            assert_eq!(stored(&storage, &fresh).await, Some(2));
        }
        // A cookie that a login has just replaced is not removed: the browser may already have the
        // login's. A cookie storage cannot know.
        let response = server.get("/", &[cookie.as_bytes()]).await;
        let sets = usize::from(is_in_cookie);
        assert_eq!(set_cookies(&response, DEFAULT_NAME).len(), sets);
        // Not written: the client's session ends. Without one nothing happens.
        let cookie = saved(&storage).await;
        let response = server.get("/", &[cookie.as_bytes()]).await;
        assert_eq!(one_cookie(&response), "AIOHTTP_SESSION=\"\"");
        if !is_in_cookie {
            assert_eq!(stored(&storage, &cookie).await, None);
        }
        assert!(
            !server
                .get("/", &[])
                .await
                .headers()
                .contains_key(SET_COOKIE)
        );
    }
}
