//! The example `login`, used as a person would.

use std::process::Command;

use fantoccini::Locator;
use session_tests::browser::{Browser, until};
use session_tests::examples::program;
use session_tests::python::Process;

const WRONG: &str = "That is not the password.";

/// Fills the form in and sends it.
pub(crate) async fn log_in(browser: &Browser, password: &str) {
    for (field, text) in [("user", "ada"), ("password", password)] {
        let css = format!("input[name={field}]");
        let input = browser.find(Locator::Css(&css)).await.unwrap();
        input.send_keys(text).await.unwrap();
    }
    browser.click("button").await;
}

/// Waits until the page that a click led to shows a text.
pub(crate) async fn shows(browser: &Browser, text: &str) {
    // Between two pages there may be none, or an element of the last one.
    let visible = async || {
        let shown = browser.run("return document.body && document.body.innerText");
        shown.await.as_str().is_some_and(|page| page.contains(text))
    };
    until(text, visible).await;
}

#[tokio::test]
async fn the_login_example_is_used_as_a_person_would() {
    let mut example = Command::new(program("login"));
    let example = Process::start(example.env("PORT", "0"));
    let home = format!("http://{}", example.address());
    let browser = Browser::start().await;

    browser.open(&format!("{home}/private")).await;
    shows(&browser, "Please log in first.").await;
    log_in(&browser, "open says me").await;
    shows(&browser, WRONG).await;
    assert_eq!(browser.jar().await.len(), 0, "a stranger has no session");

    log_in(&browser, "open sesame").await;
    shows(&browser, "ada, you were here 1 times.").await;
    browser.refresh().await.unwrap();
    shows(&browser, "ada, you were here 2 times.").await;
    browser.click("a").await;
    shows(&browser, "You are ada.").await;
    assert!(browser.text().await.contains("Welcome, ada."));
    browser.refresh().await.unwrap();
    assert!(!browser.text().await.contains("Welcome"), "shown once");

    browser.click("button").await;
    shows(&browser, "Password").await;
    assert_eq!(browser.jar().await.len(), 0);
    browser.open(&format!("{home}/private")).await;
    shows(&browser, "Please log in first.").await;
}
