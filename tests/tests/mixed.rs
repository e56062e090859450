//! The example with two sessions: a cart in an encrypted cookie, a login in Redis.
#![allow(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "these are tests"
)]

use std::collections::BTreeMap;
use std::process::Command;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use session_tests::examples::program;
use session_tests::python::Process;
use session_tests::redis::RedisServer;
use session_tests::wire::SetCookie;

/// A browser that can only keep cookies.
struct Browser {
    shop: Process,
    cookies: BTreeMap<String, String>,
}

impl Browser {
    async fn ask(&mut self, method: &str, path: &str, form: &'static str) -> Response<Bytes> {
        let cookies = self
            .cookies
            .iter()
            .map(|(name, raw)| format!("{name}={raw}"));
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "shop")
            .header("cookie", cookies.collect::<Vec<_>>().join("; "))
            .body(Full::from(form));
        let response = self.shop.send(request.unwrap()).await;
        for header in response.headers().get_all("set-cookie") {
            let cookie = SetCookie::parse(header.to_str().unwrap());
            if cookie.is_removal() {
                self.cookies.remove(&cookie.name);
            } else {
                self.cookies.insert(cookie.name, cookie.raw);
            }
        }
        response
    }

    async fn page(&mut self, path: &str) -> String {
        let response = self.ask("GET", path, "").await;
        assert_eq!(response.status(), 200);
        String::from_utf8(response.body().to_vec()).unwrap()
    }
}

#[tokio::test]
async fn a_cart_in_its_cookie_and_a_login_in_redis_do_not_touch_each_other() {
    let mut redis = RedisServer::start();
    let mut shop = Command::new(program("mixed"));
    shop.env("REDIS_URL", redis.url()).env("PORT", "0");
    let mut browser = Browser {
        shop: Process::start(&mut shop),
        cookies: BTreeMap::new(),
    };

    browser.ask("POST", "/cart", "good=apples").await;
    let keys: usize = redis.ask("DBSIZE").await;
    assert_eq!(keys, 0, "the cart is in its cookie alone");
    browser
        .ask("POST", "/login", "user=ada&password=wrong")
        .await;
    assert!(browser.page("/account").await.contains("Log in"));
    browser
        .ask("POST", "/login", "user=ada&password=open+sesame")
        .await;
    assert!(browser.page("/account").await.contains("<b>ada</b>"));
    let login = browser.cookies["login"].clone();
    browser.ask("POST", "/logout", "").await;
    assert!(!browser.cookies.contains_key("login"));
    // A tombstone is in place of the login, for a minute.
    let key = format!("login_{login}");
    let left: String = redis.ask(&format!("GET {key}")).await;
    assert_eq!(left, "{ }");
    let seconds: u64 = redis.ask(&format!("TTL {key}")).await;
    assert!((1..=60).contains(&seconds), "{seconds}");
    let keys: usize = redis.ask("DBSIZE").await;
    assert_eq!(keys, 1);
    browser.cookies.insert("login".into(), login);
    assert!(
        browser.page("/account").await.contains("Log in"),
        "a stolen cookie"
    );
    assert!(browser.page("/").await.contains("apples: 1 in"));

    redis.kill();
    browser.ask("POST", "/cart", "good=apples").await;
    assert!(browser.page("/").await.contains("apples: 2 in"));
    assert_eq!(browser.ask("GET", "/account", "").await.status(), 503);
}
