//! SameSite=Lax: which requests that begin on another site carry the session.
//!
//! A plain cookie with SameSite=None goes with all of them, which shows that cookies could.

use session_tests::browser::{Browser, until};

use crate::app::{App, ELSEWHERE, SHOP, Seen, fetch, sid};

/// Logs in at the shop, and goes to a page of another site.
async fn logged_in_and_elsewhere() -> (App, Browser) {
    let (app, browser) = (App::start(sid()).await, Browser::start().await);
    app.also_set("control=1; SameSite=None; Secure; Path=/");
    browser.open(&app.https(SHOP, "/login")).await;
    browser.open(&app.https(SHOP, "/page")).await;
    browser.open(&app.https(SHOP, "/who?own")).await;
    assert_eq!(browser.text().await, "ada");
    browser.open(&app.https(ELSEWHERE, "/page")).await;
    (app, browser)
}

#[track_caller]
fn assert_without_session(seen: &Seen) {
    assert!(seen.has("control"), "{seen:?}");
    assert!(!seen.has("sid"), "{seen:?}");
}

#[tokio::test]
async fn a_form_that_another_site_posts_does_not_carry_the_session() {
    let (app, browser) = logged_in_and_elsewhere().await;
    let form = format!(
        "document.body.innerHTML = '<form method=post action={:?}><button>Post</button></form>'",
        app.https(SHOP, "/who?form")
    );
    browser.run(&form).await;
    browser.click("button").await;
    let seen = app.seen("/who?form").await;
    assert_eq!(seen.method, "POST");
    assert_without_session(&seen);
    until("nobody is logged in", async || {
        browser.text().await == "nobody"
    })
    .await;
    // The session itself is as it was.
    browser.open(&app.https(SHOP, "/who?after")).await;
    assert_eq!(browser.text().await, "ada");
}

#[tokio::test]
async fn a_link_on_another_site_carries_the_session() {
    let (app, browser) = logged_in_and_elsewhere().await;
    let link = format!(
        "document.body.innerHTML = '<a href={:?}>To the shop</a>'",
        app.https(SHOP, "/who?link")
    );
    browser.run(&link).await;
    browser.click("a").await;
    let seen = app.seen("/who?link").await;
    assert!(seen.has("control") && seen.has("sid"), "{seen:?}");
    until("ada is logged in", async || browser.text().await == "ada").await;
}

#[tokio::test]
async fn what_another_site_fetches_and_embeds_does_not_carry_the_session() {
    let (app, browser) = logged_in_and_elsewhere().await;
    let url = |query: &str| app.https(SHOP, &format!("/who?{query}"));
    goes_without_session(&app, "fetch", async || {
        fetch(&browser, &url("fetch")).await;
    })
    .await;
    for (element, query) in [("img", "image"), ("iframe", "frame"), ("script", "script")] {
        let embed = format!(
            "const it = document.createElement({element:?}); it.src = {:?}; \
                     document.body.append(it)",
            url(query)
        );
        goes_without_session(&app, query, async || {
            browser.run(&embed).await;
        })
        .await;
    }
}

/// Asks until the control came along: a Chromium under load was seen to send such a request without
/// any cookie. None may carry the session.
async fn goes_without_session(app: &App, query: &str, mut ask: impl AsyncFnMut()) {
    until("the control came along", async || {
        ask().await;
        let seen = app.seen(&format!("/who?{query}")).await;
        assert!(!seen.has("sid"), "{seen:?}");
        seen.has("control")
    })
    .await;
}
