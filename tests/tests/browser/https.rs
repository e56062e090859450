//! Secure, and the prefixes of cookie names that browsers check.

use session_core::CookieSettings;
use session_tests::browser::Browser;

use crate::app::{App, HOUR, SHOP, sid};

#[tokio::test]
async fn a_secure_cookie_is_kept_on_https_and_sent_there_only() {
    let (app, browser) = (App::start(sid()).await, Browser::start().await);
    app.also_set("control=1; Path=/");
    browser.open(&app.https(SHOP, "/login")).await;
    assert!(browser.cookie("sid").await.is("secure"));
    browser.open(&app.https(SHOP, "/page")).await;
    browser.open(&app.https(SHOP, "/who?https")).await;
    assert_eq!(browser.text().await, "ada");

    // A cookie knows no port: only the scheme differs.
    browser.open(&app.http(SHOP, "/who?http")).await;
    assert_eq!(browser.text().await, "nobody");
    assert_eq!(app.seen("/who?http").await.cookies, ["control=1"]);
}

#[tokio::test]
async fn a_secure_cookie_that_comes_over_plain_http_is_dropped() {
    let (app, browser) = (App::start(sid()).await, Browser::start().await);
    app.also_set("control=1");
    browser.open(&app.http(SHOP, "/page")).await;
    browser.open(&app.http(SHOP, "/login")).await;
    let jar = browser.jar().await;
    let names: Vec<_> = jar.iter().map(|cookie| cookie.text("name")).collect();
    assert_eq!(names, ["control"]);
}

#[tokio::test]
async fn a_host_cookie_is_kept_on_https_and_dropped_on_plain_http() {
    let cookie = CookieSettings::builder("__Host-sid").max_age(HOUR);
    let (app, browser) = (App::start(cookie).await, Browser::start().await);
    browser.open(&app.http(SHOP, "/login")).await;
    assert_eq!(browser.jar().await.len(), 0);

    browser.open(&app.https(SHOP, "/login")).await;
    assert_eq!(browser.cookie("__Host-sid").await.text("domain"), SHOP);
    browser.open(&app.https(SHOP, "/who")).await;
    assert_eq!(browser.text().await, "ada");
    // Not even of a host below it.
    browser.open(&app.https("www.shop.test", "/who")).await;
    assert_eq!(browser.text().await, "nobody");
}

/// Each of these but the last, a host name that is another site's, is an error of
/// `CookieBuilder::build`; the browser would say nothing.
#[tokio::test]
async fn what_our_settings_refuse_the_browser_drops() {
    let (app, browser) = (App::start(sid()).await, Browser::start().await);
    let refused = [
        "__Host-domain=1; Secure; Path=/; Domain=shop.test",
        "__Host-path=1; Secure; Path=/page",
        "__Host-plain=1; Path=/",
        "__host-small=1; Path=/",
        "__Secure-plain=1; Path=/",
        "none=1; SameSite=None",
        "parted=1; Partitioned",
        "foreign=1; Secure; Domain=elsewhere.test",
    ];
    let kept = [
        "__Host-sound=1; Secure; Path=/",
        "__Secure-sound=1; Secure; Path=/page; Domain=shop.test",
        "none-sound=1; Secure; SameSite=None",
        "parted-sound=1; Secure; Partitioned",
    ];
    for cookie in refused.iter().chain(&kept) {
        app.also_set(cookie);
    }
    browser.open(&app.https(SHOP, "/page")).await;
    let jar = browser.jar().await;
    let mut names: Vec<_> = jar.iter().map(|cookie| cookie.text("name")).collect();
    names.sort_unstable();
    let sound = [
        "__Host-sound",
        "__Secure-sound",
        "none-sound",
        "parted-sound",
    ];
    assert_eq!(names, sound);
}
