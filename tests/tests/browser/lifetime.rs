//! A cookie's lifetime, and the end of the browser.

use session_core::CookieSettings;
use session_tests::browser::Browser;

use crate::app::{App, HOUR, SHOP};

#[tokio::test]
async fn a_max_age_outlives_the_browser_and_a_session_without_one_does_not() {
    let kept = App::start(CookieSettings::builder("kept").max_age(HOUR)).await;
    let brief = App::start(CookieSettings::builder("brief")).await;
    let browser = Browser::start().await;
    for app in [&kept, &brief] {
        browser.open(&app.https(SHOP, "/login")).await;
        browser.open(&app.https(SHOP, "/who")).await;
        assert_eq!(browser.text().await, "ada");
    }
    assert!(!browser.cookie("kept").await.is("session"));
    assert!(browser.cookie("brief").await.is("session"));

    let browser = browser.restart().await;
    browser.open(&kept.https(SHOP, "/who")).await;
    assert_eq!(browser.text().await, "ada");
    browser.open(&brief.https(SHOP, "/who")).await;
    assert_eq!(browser.text().await, "nobody");
    let jar = browser.jar().await;
    let names: Vec<_> = jar.iter().map(|cookie| cookie.text("name")).collect();
    assert_eq!(names, ["kept"]);
}
