//! How large a cookie may be: what a browser drops without a word we refuse before.

use session_cookie::SimpleCookieStorage;
use session_core::MAX_COOKIE_BYTES;
use session_tests::browser::Browser;

use crate::app::{App, SHOP, fetch, sid};

/// The limit that we rely on, of name and value together.
#[tokio::test]
async fn the_browser_keeps_a_cookie_of_4096_bytes_and_drops_one_of_4097() {
    let (app, browser) = (App::start(sid()).await, Browser::start().await);
    for (name, size) in [
        ("kept", MAX_COOKIE_BYTES),
        ("dropped", MAX_COOKIE_BYTES + 1),
    ] {
        let value = "x".repeat(size - name.len());
        app.also_set(&format!(
            "{name}={value}; HttpOnly; SameSite=Lax; Secure; Path=/"
        ));
    }
    browser.open(&app.https(SHOP, "/page")).await;
    assert_eq!(browser.cookie("kept").await.size(), 4096);
    assert_eq!(browser.jar().await.len(), 1);
}

#[tokio::test]
async fn a_session_that_just_fits_is_kept_and_one_byte_more_is_refused() {
    let storage = SimpleCookieStorage::unprotected().with_cookie(sid().build().unwrap());
    let (app, browser) = (App::with(storage).await, Browser::start().await);
    browser.open(&app.https(SHOP, "/fill/1000")).await;
    let rest = MAX_COOKIE_BYTES - browser.cookie("sid").await.size();
    let fits = 1000 + rest;

    assert_eq!(fetch(&browser, &format!("/fill/{fits}")).await, 200);
    let kept = browser.cookie("sid").await;
    assert_eq!(kept.size(), MAX_COOKIE_BYTES);
    let refused = fetch(&browser, &format!("/fill/{}", fits + 1)).await;
    assert_eq!(refused, 500);
    assert_eq!(
        browser.cookie("sid").await.text("value"),
        kept.text("value")
    );
    // And the server gets all of it back.
    browser.open(&app.https(SHOP, "/keys")).await;
    assert_eq!(browser.text().await, "fill");
}
