//! Two tabs of one browser, which share one session.

use fantoccini::wd::WindowHandle;
use serde_json::json;
use session_core::CookieSettings;
use session_tests::browser::Browser;

use crate::app::{App, HOUR, SHOP, fetch, sid};

/// Logs in, and opens a page in two tabs; the second is in front.
async fn logged_in_with_two_tabs(app: &App) -> (Browser, [WindowHandle; 2]) {
    let browser = Browser::start().await;
    browser.open(&app.https(SHOP, "/login")).await;
    let first = browser.window().await.unwrap();
    browser.open(&app.https(SHOP, "/page")).await;
    let second = browser.new_window(true).await.unwrap().handle;
    browser.switch_to_window(second.clone()).await.unwrap();
    browser.open(&app.https(SHOP, "/page")).await;
    (browser, [first, second])
}

/// The server responds to no request before that of the other tab has loaded the session too.
#[tokio::test]
async fn two_tabs_that_write_at_the_same_time_lose_nothing() {
    const ROUNDS: usize = 25;
    let app = App::start(sid()).await;
    let (browser, tabs) = logged_in_with_two_tabs(&app).await;
    for (tab, name) in tabs.iter().zip(["a", "b"]) {
        browser.switch_to_window(tab.clone()).await.unwrap();
        let rounds = format!(
            "window.done = (async () => {{
                const statuses = new Set();
                for (let round = 0; round < {ROUNDS}; round++)
                    statuses.add((await fetch(`/add/{name}${{round}}`)).status);
                return [...statuses];
            }})(); return null"
        );
        browser.run(&rounds).await;
    }
    for tab in &tabs {
        browser.switch_to_window(tab.clone()).await.unwrap();
        assert_eq!(browser.run("return window.done").await, json!([200]));
    }
    browser.open(&app.https(SHOP, "/keys")).await;
    let text = browser.text().await;
    let mut keys: Vec<&str> = text.split(' ').collect();
    keys.sort_unstable();
    let rounds = 0..ROUNDS;
    let mut all: Vec<String> = rounds
        .flat_map(|n| [format!("a{n}"), format!("b{n}")])
        .collect();
    all.push("user".to_owned());
    all.sort_unstable();
    assert_eq!(keys, all);
}

#[tokio::test]
async fn a_logout_in_one_tab_ends_the_other() {
    let app = App::start(sid()).await;
    let (browser, [first, second]) = logged_in_with_two_tabs(&app).await;
    browser.switch_to_window(first).await.unwrap();
    browser.open(&app.https(SHOP, "/logout")).await;
    browser.switch_to_window(second).await.unwrap();
    browser.open(&app.https(SHOP, "/who")).await;
    assert_eq!(browser.text().await, "nobody");
}

#[tokio::test]
async fn a_request_that_a_logout_overtakes_is_a_409_and_brings_nothing_back() {
    // With a lifetime that each write restarts, so that a save would set the cookie again.
    let cookie = CookieSettings::builder("sid").max_age(HOUR).rolling(true);
    let app = App::start(cookie).await;
    let (browser, [first, second]) = logged_in_with_two_tabs(&app).await;
    browser
        .run("window.slow = fetch('/slow/late').then(response => response.status); return null")
        .await;
    app.slow().reached().await;

    browser.switch_to_window(first).await.unwrap();
    browser.open(&app.https(SHOP, "/logout")).await;
    assert_eq!(browser.jar().await.len(), 0);
    app.slow().open();
    browser.switch_to_window(second).await.unwrap();
    assert_eq!(browser.run("return window.slow").await, 409);
    assert_eq!(browser.jar().await.len(), 0);
    browser.open(&app.https(SHOP, "/keys")).await;
    assert_eq!(browser.text().await, "");

    // As if nothing had been.
    browser.open(&app.https(SHOP, "/login")).await;
    assert_eq!(fetch(&browser, "/who").await, 200);
    browser.open(&app.https(SHOP, "/keys")).await;
    assert_eq!(browser.text().await, "user");
}
