//! P3: a logout, a renewal, a login and `clear()` win over a slower request, which a gate holds.
//! The store shows it, by `MONITOR` or by memcached's counters.

use std::collections::BTreeMap;

use session_tests::ends::{At, CHANGES, ENDS_AND_EMPTY, next_keys};
use session_tests::redis::compares;

use crate::pair::{A, B, Pair};
use crate::store::Seen;

/// Checks that the store holds what the end left, and no more: the next session if there is one,
/// and a tombstone under the old identity that says why the session ended. A slower renewal has
/// made a record and taken it back, so it leaves a tombstone of its own.
fn assert_left(
    mut records: BTreeMap<String, String>,
    end: &str,
    old: &str,
    next: Option<&String>,
    slow: &str,
) {
    let tombstone = records.remove(old).unwrap();
    let json: serde_json::Value = serde_json::from_str(&tombstone).unwrap();
    assert_eq!(json, serde_json::json!({}), "what Python reads");
    match end {
        "/renew" => assert!(tombstone.starts_with("{\r") && tombstone.len() > 3),
        "/login" => assert_eq!(tombstone, "{\t}"),
        _ => assert_eq!(tombstone, "{ }"),
    }
    if let Some(next) = next {
        assert!(records.remove(next).is_some(), "{records:?}");
    }
    let rest: Vec<&str> = records.values().map(|record| &**record).collect();
    let expected: &[&str] = if slow == "/renew" { &["{ }"] } else { &[] };
    assert_eq!(rest, expected, "{records:?}");
}

/// Lets a session end while a request on `slow` stands at `at`; that one's response, the store and
/// all that comes later must be right.
async fn ended_meanwhile(pair: &Pair, end: &str, slow: &str, at: At) {
    let case = format!("{end} while {slow} stood at {at:?}");
    let old = pair.client().await;
    let gate = match at {
        At::Loaded => "/hold/1",
        At::Saving => "/hold/saving",
    };
    pair.order(A, gate).await;
    let request = pair.start(A, &old, slow);
    pair.order(A, "/reached").await;

    let ended = pair.ask(B, Some(&old), end).await;
    assert_eq!(ended.status, 200, "{case}");
    let next = ended.cookie();
    assert_eq!(next.is_some(), next_keys(end).is_some(), "{case}");
    let at_the_end = pair.store.raw(&old).await;
    let mut watch = pair.store.watch();

    pair.order(A, "/open").await;
    let told = request.await.unwrap();
    let seen = watch.take();
    println!("{case}: {told:?}, {seen:?}");
    told.assert_refused(409);
    // The tombstone was not touched. A renewal makes the new record first, and takes it back.
    assert_eq!(pair.store.raw(&old).await, at_the_end, "{case}");
    let writes = match (slow, at) {
        ("/renew", At::Loaded) => 2,
        ("/renew", At::Saving) => 1,
        _ => 0,
    };
    assert_eq!(seen.writes, writes, "{case}");
    assert_no_write_of(&seen, &old);

    let records = pair.store.records().await;
    assert_left(records, end, &old, next.as_ref(), slow);
    assert_eq!(pair.session(&old).await, None, "{case}");
    assert_eq!(pair.keys(next.as_ref()).await, next_keys(end), "{case}");

    // It stays dead: a later write with the old cookie is refused as long as the tombstone is
    // there.
    for process in [A, B] {
        let again = pair.ask(process, Some(&old), "/set/again/1").await;
        again.assert_refused(409);
    }
    assert_eq!(pair.keys(next.as_ref()).await, next_keys(end), "{case}");
    // Then it starts another session.
    pair.store.clear().await;
    let again = pair.ask(A, Some(&old), "/set/again/1").await;
    let fresh = again.cookie().unwrap();
    assert!(fresh != old && Some(&fresh) != next.as_ref());
    assert_eq!(pair.keys(Some(&fresh)).await.unwrap(), ["again"]);
    assert_eq!(pair.session(&old).await, None, "{case}");
    pair.store.clear().await;
}

/// Where a command compares, only the number of writes and the record say that it wrote nothing.
fn assert_no_write_of(seen: &Seen, identity: &str) {
    let key = format!("sid_{identity}");
    for line in seen.lines.iter().filter(|line| line.contains(&key)) {
        let reads = ["\"EVALSHA\" ", "lua \"GET\" ", "\"GET\" "];
        let is_read = reads.iter().any(|read| line.starts_with(read));
        assert!(is_read || compares(line), "{line}");
    }
}

async fn every_slower_change_loses_to(pair: &Pair, end: &str) {
    for slow in CHANGES {
        for at in At::ALL {
            ended_meanwhile(pair, end, slow, at).await;
        }
    }
}

async fn p3_a_logout_wins_over_every_slower_change(pair: &Pair) {
    every_slower_change_loses_to(pair, "/logout").await;
}

async fn p3_a_logout_that_starts_a_new_session_wins_over_every_slower_change(pair: &Pair) {
    every_slower_change_loses_to(pair, "/restart").await;
}

async fn p3_a_renewal_wins_over_every_slower_change(pair: &Pair) {
    every_slower_change_loses_to(pair, "/renew").await;
}

async fn p3_a_login_wins_over_every_slower_change(pair: &Pair) {
    every_slower_change_loses_to(pair, "/login").await;
}

async fn p3_clearing_wins_over_every_slower_change(pair: &Pair) {
    every_slower_change_loses_to(pair, "/clear").await;
}

/// A read, and a read that restarts the lifetime of the session. The last row is no end: it takes
/// out all keys, and leaves the record without keys.
async fn p3_a_slower_reader_succeeds_and_writes_nothing(pair: &Pair) {
    for rolls in [false, true] {
        for end in ENDS_AND_EMPTY {
            let old = pair.client().await;
            if rolls {
                for process in [A, B] {
                    pair.order(process, "/advance/1800").await;
                }
            }
            pair.order(A, "/hold/1").await;
            let request = pair.start(A, &old, "/read");
            pair.order(A, "/reached").await;
            let ended = pair.ask(B, Some(&old), end).await;
            assert_eq!(ended.status, 200);
            let at_the_end = pair.store.raw(&old).await;
            let mut watch = pair.store.watch();

            pair.order(A, "/open").await;
            let read = request.await.unwrap();
            let seen = watch.take();
            let keys: Vec<String> = read.session().unwrap().into_keys().collect();
            assert_eq!(keys, ["k", "other"]);
            assert_eq!(seen.writes, 0, "{end}: {seen:?}");
            assert_no_write_of(&seen, &old);
            assert_eq!(seen.commands > 0, rolls, "{end}: {seen:?}");
            assert_eq!(pair.store.raw(&old).await, at_the_end, "{end}");
            let records = pair.store.records().await;
            if end == "/empty" {
                assert_eq!(ended.cookie().as_ref(), Some(&old));
                let left: Vec<_> = records.into_iter().collect();
                let [(identity, record)] = &left[..] else {
                    panic!("{left:?}")
                };
                assert_eq!(identity, &old);
                assert!(record.contains("\"session\": {}"), "{record}");
            } else {
                assert_left(records, end, &old, ended.cookie().as_ref(), "/read");
            }
            assert_eq!(pair.session(&old).await, None, "{end}");
            pair.store.clear().await;
        }
    }
}

in_both_stores! {
    p3_a_logout_wins_over_every_slower_change,
    p3_a_logout_that_starts_a_new_session_wins_over_every_slower_change,
    p3_a_renewal_wins_over_every_slower_change,
    p3_a_login_wins_over_every_slower_change,
    p3_clearing_wins_over_every_slower_change,
    p3_a_slower_reader_succeeds_and_writes_nothing,
}
