//! The example `mixed`: a cart in its cookie, a login in Redis, and Redis out of order.

use std::process::Command;

use session_tests::browser::{Browser, until};
use session_tests::examples::program;
use session_tests::python::Process;
use session_tests::redis::RedisServer;

use crate::app::fetch;
use crate::login::{log_in, shows};

#[tokio::test]
async fn the_mixed_example_keeps_its_cart_through_a_logout_and_its_login_through_an_outage() {
    let redis = RedisServer::start();
    let mut example = Command::new(program("mixed"));
    let example = Process::start(example.env("PORT", "0").env("REDIS_URL", redis.url()));
    let home = format!("http://{}", example.address());
    let browser = Browser::start().await;

    browser.open(&home).await;
    browser.click("button").await;
    shows(&browser, "apples: 1 in your cart").await;
    browser.click("a").await;
    shows(&browser, "Password").await;
    log_in(&browser, "open sesame").await;
    shows(&browser, "You are ada.").await;
    browser.click("button").await;
    shows(&browser, "apples: 1 in your cart").await;
    assert_eq!(browser.cookies("login").await.len(), 0);

    browser.open(&format!("{home}/account")).await;
    log_in(&browser, "open sesame").await;
    shows(&browser, "You are ada.").await;
    let login = browser.cookie("login").await;
    browser.open(&home).await;

    redis.process().stop();
    assert_eq!(fetch(&browser, "/account").await, 503);
    assert_eq!(
        browser.cookie("login").await.text("value"),
        login.text("value")
    );
    browser.click("button").await;
    shows(&browser, "apples: 2 in your cart").await;

    redis.process().signal("CONT");
    until("Redis is back", async || {
        fetch(&browser, "/account").await == 200
    })
    .await;
    browser.click("a").await;
    shows(&browser, "You are ada.").await;
    assert_eq!(
        browser.cookie("login").await.text("value"),
        login.text("value")
    );
}
