//! A cookie inside the value of another.

use session_core::CookieSettings;
use session_tests::browser::Browser;

use crate::app::{App, SHOP, sid};

/// What a sibling domain may set: a cookie of another name, for the domain that both have.
#[tokio::test]
async fn a_sibling_plants_no_host_cookie_inside_the_value_of_its_own() {
    let settings = CookieSettings::builder("__Host-sid");
    let (app, evil) = (App::start(settings).await, Browser::start().await);
    evil.open(&app.https(SHOP, "/login")).await;
    let planted = evil.cookie("__Host-sid").await.text("value").to_owned();
    drop(evil);
    let victim = Browser::start().await;
    app.also_set(&format!("lang=en __Host-sid={planted}; Domain=shop.test"));
    victim.open(&app.https("evil.shop.test", "/page")).await;
    victim.open(&app.https(SHOP, "/who")).await;
    assert!(victim.cookies("__Host-sid").await.is_empty());
    assert_eq!(victim.text().await, "nobody");
}

/// Over HTTP/1, or through a proxy that makes one line of the browser's HTTP/2.
#[tokio::test]
async fn a_logout_ends_the_session_between_two_quotes_of_a_sibling() {
    let (app, browser) = (
        App::start(sid().secure(false)).await,
        Browser::start().await,
    );
    app.also_set("a=\"; Path=/app; Domain=shop.test");
    app.also_set("z=\"; Domain=shop.test");
    browser.open(&app.http(SHOP, "/login")).await;
    browser.open(&app.http("evil.shop.test", "/page")).await;
    browser.open(&app.http(SHOP, "/app/logout")).await;
    let left = browser.cookies("sid").await.len();
    browser.open(&app.http(SHOP, "/who")).await;
    assert_eq!((browser.text().await.as_str(), left), ("nobody", 0));
}
