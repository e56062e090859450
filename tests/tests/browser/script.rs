//! HttpOnly: what a script in the page sees.

use session_tests::browser::Browser;

use crate::app::{App, SHOP, sid};

#[tokio::test]
async fn a_script_does_not_see_the_session_cookie_that_the_server_gets() {
    let (app, browser) = (App::start(sid()).await, Browser::start().await);
    app.also_set("control=1");
    browser.open(&app.https(SHOP, "/login")).await;
    browser.open(&app.https(SHOP, "/page")).await;
    assert_eq!(browser.run("return document.cookie").await, "control=1");
    let kept = browser.run("return cookieStore.getAll().then(all => all.map(c => c.name).join())");
    assert_eq!(kept.await, "control");
    browser.open(&app.https(SHOP, "/who")).await;
    assert_eq!(browser.text().await, "ada");
    assert!(app.seen("/who").await.has("sid"));
    assert!(browser.cookie("sid").await.is("httpOnly"));
}

#[tokio::test]
async fn a_script_can_neither_change_nor_remove_the_session_cookie() {
    let (app, browser) = (App::start(sid()).await, Browser::start().await);
    browser.open(&app.https(SHOP, "/login")).await;
    let before = browser.cookie("sid").await.text("value").to_owned();
    for attempt in [
        "sid=mine",
        "sid=mine; Secure; Path=/",
        "sid=; Path=/; Max-Age=0",
    ] {
        browser.run(&format!("document.cookie = {attempt:?}")).await;
    }
    assert_eq!(browser.cookie("sid").await.text("value"), before);
    browser.open(&app.https(SHOP, "/who")).await;
    assert_eq!(browser.text().await, "ada");
}
