//! A logout, and what is left in the browser.

use session_core::{CookieBuilder, CookieSettings, SameSite};
use session_tests::browser::Browser;

use crate::app::{App, HOUR, sid};

/// The host that logs in and out: below the domain that some of the cookies are for.
const HOST: &str = "www.shop.test";

#[tokio::test]
async fn a_logout_leaves_no_cookie_whatever_its_attributes() {
    let browser = Browser::start().await;
    let cookies: [(&str, CookieBuilder); 9] = [
        ("by default", sid()),
        ("without a lifetime", sid().max_age(None)),
        ("with a domain", sid().domain("shop.test")),
        ("with a path", sid().path("/app")),
        ("with both", sid().domain("shop.test").path("/app/")),
        ("partitioned", sid().partitioned(true)),
        (
            "partitioned, with both",
            sid()
                .same_site(SameSite::None)
                .partitioned(true)
                .domain("shop.test")
                .path("/app"),
        ),
        ("strict", sid().same_site(SameSite::Strict)),
        ("open to scripts", sid().http_only(false).same_site(None)),
    ];
    for (what, cookie) in cookies {
        let app = App::start(cookie).await;
        app.also_set("control=1; Secure; Path=/; Max-Age=60");
        browser.open(&app.https(HOST, "/app/page")).await;
        browser.open(&app.https(HOST, "/app/login")).await;
        assert_eq!(browser.cookies("sid").await.len(), 1, "{what}");
        browser.open(&app.https(HOST, "/app/who")).await;
        assert_eq!(browser.text().await, "ada", "{what}");

        browser.open(&app.https(HOST, "/app/logout")).await;
        let left = browser.jar().await;
        let names: Vec<_> = left.iter().map(|cookie| cookie.text("name")).collect();
        assert_eq!(names, ["control"], "{what}");
    }
}

#[tokio::test]
async fn a_logout_leaves_no_host_cookie() {
    let cookie = CookieSettings::builder("__Host-sid").max_age(HOUR);
    let (app, browser) = (App::start(cookie).await, Browser::start().await);
    browser.open(&app.https(HOST, "/login")).await;
    assert_eq!(browser.jar().await.len(), 1);
    browser.open(&app.https(HOST, "/logout")).await;
    assert_eq!(browser.jar().await.len(), 0);
}
