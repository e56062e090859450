//! Several cookies of one name: a browser keeps one for each path and domain, and sends them all.

use session_tests::browser::Browser;

use crate::app::{App, SHOP, sid};

/// What no store knows, but what looks like it.
const DEAD: &str = "0123456789abcdef0123456789abcdef";

#[tokio::test]
async fn the_session_is_found_among_cookies_of_its_name() {
    let (app, browser) = (App::start(sid()).await, Browser::start().await);
    browser.open(&app.https(SHOP, "/login")).await;
    let live = browser.cookie("sid").await.text("value").to_owned();
    app.also_set("sid=no session; Secure; Path=/app");
    app.also_set(&format!("sid={DEAD}; Secure; Path=/app/who"));
    app.also_set("sid=of the domain; Secure; Path=/; Domain=shop.test");
    browser.open(&app.https(SHOP, "/page")).await;

    browser.open(&app.https(SHOP, "/app/who")).await;
    assert_eq!(browser.text().await, "ada");
    let sent = app.seen("/app/who").await.cookies;
    assert_eq!(sent.len(), 4);
    // Those of longer paths come first, and then the older one.
    let first = [format!("sid={DEAD}"), "sid=no session".to_owned()];
    assert_eq!(sent[..2], first);
    assert!(sent.contains(&format!("sid={live}")), "{sent:?}");
}

#[tokio::test]
async fn a_logout_ends_the_session_beside_cookies_of_its_name() {
    let (app, browser) = (App::start(sid()).await, Browser::start().await);
    app.also_set(&format!("sid={DEAD}; Secure; Path=/app"));
    browser.open(&app.https(SHOP, "/page")).await;
    browser.open(&app.https(SHOP, "/login")).await;
    browser.open(&app.https(SHOP, "/app/logout")).await;
    // Ours is gone, and what we did not set is left alone.
    assert_eq!(browser.cookie("sid").await.text("value"), DEAD);
    browser.open(&app.https(SHOP, "/app/who")).await;
    assert_eq!(browser.text().await, "nobody");
}
