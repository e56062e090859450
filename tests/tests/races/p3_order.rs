//! P3, the other orders: the change reaches the store before the end does.

use session_tests::ends::{ENDS, next_keys};

use crate::pair::{A, B, Pair};

/// The change is saved while the command of the end is on its way, so the end meets a conflict.
async fn p3_an_end_wins_over_a_change_that_was_saved_just_before(pair: &Pair) {
    for end in ENDS {
        for change in ["/set/slow/1", "/touch"] {
            let case = format!("{end} after {change}");
            let old = pair.client().await;
            pair.order(B, "/hold/saving").await;
            let request = pair.start(B, &old, end);
            pair.order(B, "/reached").await;
            let saved = pair.ask(A, Some(&old), change).await;
            assert_eq!((saved.status, saved.cookie()), (200, Some(old.clone())));
            pair.order(B, "/open").await;
            let ended = request.await.unwrap();
            assert_eq!(ended.status, 200, "{case}");
            let next = ended.cookie();
            assert_eq!(pair.session(&old).await, None, "{case}");
            let mut keys = next_keys(end);
            if (end, change) == ("/renew", "/set/slow/1") {
                // It comes along.
                keys.as_mut().unwrap().push("slow".to_owned());
            }
            assert_eq!(pair.keys(next.as_ref()).await, keys, "{case}");
            pair.store.clear().await;
        }
    }
}

/// The change is saved, and its acknowledgement is on the way back when the session ends.
async fn p3_an_end_wins_over_a_change_whose_reply_is_late(pair: &Pair) {
    for end in ENDS {
        let old = pair.client().await;
        pair.order(A, "/hold/saved").await;
        let request = pair.start(A, &old, "/set/slow/1");
        pair.order(A, "/reached").await;
        let ended = pair.ask(B, Some(&old), end).await;
        assert_eq!(ended.status, 200, "{end}");
        let at_the_end = pair.store.raw(&old).await;
        let mut watch = pair.store.watch();
        pair.order(A, "/open").await;
        // It was saved before the session ended. The cookie that it sends stands for no session.
        let told = request.await.unwrap();
        assert_eq!((told.status, told.cookie()), (200, Some(old.clone())));
        let seen = watch.take();
        assert_eq!((seen.commands, seen.writes), (0, 0), "{end}: {seen:?}");
        assert_eq!(pair.store.raw(&old).await, at_the_end, "{end}");
        assert_eq!(pair.session(&old).await, None, "{end}");
        pair.store.clear().await;
    }
}

/// A logout and a login end the session also under the identity that it has by then.
async fn p3_an_end_follows_a_renewal_that_was_saved_just_before(pair: &Pair) {
    for end in ["/logout", "/restart", "/login"] {
        let old = pair.client().await;
        pair.order(B, "/hold/saving").await;
        let request = pair.start(B, &old, end);
        pair.order(B, "/reached").await;
        // Twice, so that a tombstone leads to a tombstone.
        let once = pair.ask(A, Some(&old), "/renew").await.cookie().unwrap();
        let twice = pair.ask(A, Some(&once), "/renew").await.cookie().unwrap();
        pair.order(B, "/open").await;
        let ended = request.await.unwrap();
        assert_eq!(ended.status, 200, "{end}");
        for cookie in [&old, &once, &twice] {
            assert_eq!(pair.session(cookie).await, None, "{end}");
        }
        let records = pair.store.records().await;
        assert!(!records.values().any(|record| record.contains("secret")));
        assert_eq!(ended.cookie().is_some(), next_keys(end).is_some());
        pair.store.clear().await;
    }
}

/// `clear()` is a change, not a logout: it does not follow a renewal, and the client is told.
async fn p3_clearing_loses_to_a_renewal_that_was_saved_just_before(pair: &Pair) {
    let old = pair.client().await;
    pair.order(B, "/hold/saving").await;
    let request = pair.start(B, &old, "/clear");
    pair.order(B, "/reached").await;
    let renewed = pair.ask(A, Some(&old), "/renew").await.cookie().unwrap();
    pair.order(B, "/open").await;
    request.await.unwrap().assert_refused(409);
    assert_eq!(pair.session(&old).await, None);
    assert_eq!(pair.keys(Some(&renewed)).await.unwrap(), ["k", "other"]);
}

in_both_stores! {
    p3_an_end_wins_over_a_change_that_was_saved_just_before,
    p3_an_end_wins_over_a_change_whose_reply_is_late,
    p3_an_end_follows_a_renewal_that_was_saved_just_before,
    p3_clearing_loses_to_a_renewal_that_was_saved_just_before,
}
