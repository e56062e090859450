//! P3 without gates: a writer, a renewer and a logout run at the same time, through both processes.

use std::collections::BTreeMap;

use session_tests::ends::next_keys;

use crate::pair::{A, B, Pair, TestResponse};
use crate::runs;

/// Sends `paths` one after the other as one client does, each with the cookie that the response
/// before it set. First it sends `delay` requests that need no session.
async fn client(
    pair: Pair,
    process: usize,
    delay: usize,
    mut cookie: String,
    paths: &'static [&'static str],
) -> Vec<TestResponse> {
    let mut responses = Vec::new();
    for _ in 0..delay {
        pair.order(process, "/none").await;
    }
    for path in paths {
        let response = pair.ask(process, Some(&cookie), path).await;
        if response.set_cookie.is_some() {
            match response.cookie() {
                Some(next) => cookie = next,
                // Only a logout removes a cookie, and a client sends it last.
                None => assert_eq!(path, paths.last().unwrap()),
            }
        }
        responses.push(response);
    }
    responses
}

async fn race(pair: &Pair, end: &'static [&'static str], round: usize) -> String {
    let old = pair.client().await;
    // Who starts first, and where, differs from round to round.
    let delays = [round % 3, round / 3 % 3, round / 9 % 3];
    let sides = if round.is_multiple_of(2) {
        [A, B]
    } else {
        [B, A]
    };
    let start = |at: usize, process, paths| {
        let client = client(pair.clone(), process, delays[at], old.clone(), paths);
        tokio::spawn(client)
    };
    let writer = start(0, sides[0], &["/set/w/1", "/set/x/1"]);
    let renewer = start(1, sides[1], &["/renew", "/renew"]);
    let ender = start(2, sides[0], end);
    let (writer, renewer, ender) = (
        writer.await.unwrap(),
        renewer.await.unwrap(),
        ender.await.unwrap().remove(0),
    );
    let statuses = |responses: &[TestResponse]| -> Vec<u16> {
        responses.iter().map(|response| response.status).collect()
    };
    let outcome = format!(
        "write {:?}, renew {:?} to {} cookies",
        statuses(&writer),
        statuses(&renewer),
        renewer.iter().filter_map(TestResponse::cookie).count()
    );
    let case = format!("{end:?}, round {round}: {outcome}");

    assert_eq!(ender.status, 200, "{case}");
    assert!(ender.set_cookie.is_some(), "{case}");
    for response in writer.iter().chain(&renewer) {
        assert!([200, 409].contains(&response.status), "{case}");
        assert!(
            response.status == 200 || response.set_cookie.is_none(),
            "{case}"
        );
    }
    // No cookie that a client holds leads to the old data, and no record holds them.
    let records = pair.store.records().await;
    let secret = records.values().any(|record| record.contains("secret"));
    assert!(!secret, "{case}: {records:?}");
    assert_eq!(pair.session(&old).await, None, "{case}");
    let mine = ender.cookie();
    for cookie in writer
        .iter()
        .chain(&renewer)
        .filter_map(TestResponse::cookie)
    {
        // A write that came after the end was refused, so it began no session of its own.
        assert_eq!(pair.session(&cookie).await, None, "{case}");
        assert!(Some(cookie) != mine, "{case}");
    }
    assert_eq!(pair.keys(mine.as_ref()).await, next_keys(end[0]), "{case}");
    pair.store.clear().await;
    outcome
}

async fn rounds(pair: &Pair, end: &'static [&'static str]) {
    let mut outcomes: BTreeMap<String, usize> = BTreeMap::new();
    for round in 0..runs(300) {
        *outcomes.entry(race(pair, end, round).await).or_default() += 1;
    }
    println!("{end:?}: {outcomes:#?}");
    assert!(outcomes.len() > 1, "they never met: {outcomes:?}");
}

async fn p3_a_logout_wins_the_race_with_a_writer_and_a_renewer(pair: &Pair) {
    rounds(pair, &["/logout"]).await;
}

async fn p3_a_logout_that_starts_a_new_session_wins_the_race(pair: &Pair) {
    rounds(pair, &["/restart"]).await;
}

async fn p3_a_login_wins_the_race_with_a_writer_and_a_renewer(pair: &Pair) {
    rounds(pair, &["/login"]).await;
}

in_both_stores! {
    p3_a_logout_wins_the_race_with_a_writer_and_a_renewer,
    p3_a_logout_that_starts_a_new_session_wins_the_race,
    p3_a_login_wins_the_race_with_a_writer_and_a_renewer,
}
