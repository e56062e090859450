//! Partitioned cookies (CHIPS): one session for each site that embeds us.

use session_core::SameSite;
use session_tests::browser::{Browser, until};

use crate::app::{App, ELSEWHERE, SHOP, sid};

const THIRD: &str = "third.test";

#[tokio::test]
async fn a_partitioned_session_is_one_for_each_site_that_embeds_us() {
    let cookie = sid().same_site(SameSite::None).partitioned(true);
    let (app, browser) = (App::start(cookie).await, Browser::start().await);
    embed(&app, &browser, ELSEWHERE, "/login").await;
    let kept = browser.cookie("sid").await;
    assert_eq!(kept.partition(), Some("https://elsewhere.test"));

    assert_eq!(embed(&app, &browser, ELSEWHERE, "/who").await, "ada");
    assert_eq!(embed(&app, &browser, THIRD, "/who").await, "nobody");
    browser.open(&app.https(SHOP, "/who")).await;
    assert_eq!(browser.text().await, "nobody");

    // A logout on one site is one there alone.
    embed(&app, &browser, THIRD, "/login").await;
    assert_eq!(browser.cookies("sid").await.len(), 2);
    embed(&app, &browser, THIRD, "/logout").await;
    assert_eq!(embed(&app, &browser, ELSEWHERE, "/who").await, "ada");
    assert_eq!(browser.cookies("sid").await.len(), 1);
}

/// Goes to a page of `site` that shows a page of the shop in a frame; returns what stands in that.
async fn embed(app: &App, browser: &Browser, site: &str, path: &str) -> String {
    browser.open(&app.https(site, "/page")).await;
    let frame = format!(
        "const frame = document.createElement('iframe');
        frame.src = {:?};
        const loaded = new Promise(done => frame.onload = () => done(null));
        document.body.append(frame);
        return loaded",
        app.https(SHOP, path)
    );
    browser.run(&frame).await;
    browser.enter_frame(0).await.unwrap();
    until("the frame has its page", async || {
        !browser.text().await.is_empty()
    })
    .await;
    let text = browser.text().await;
    browser.enter_parent_frame().await.unwrap();
    text
}
