//! P3, the other orders: the change reaches the store before the end does.

use crate::p3::{ENDS, next_keys};
use crate::pair::{A, B, Pair};

/// The change is saved while the end's command is on its way, and so meets a conflict.
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
            if (end, change) == ("/empty", "/set/slow/1") {
                // Taking out every key that one saw is no end where there is another: P2.
                assert_eq!(next.as_ref(), Some(&old));
                assert_eq!(pair.keys(next.as_ref()).await.unwrap(), ["slow"]);
            } else {
                assert_eq!(pair.session(&old).await, None, "{case}");
                let mut keys = next_keys(end);
                if (end, change) == ("/renew", "/set/slow/1") {
                    // It comes along.
                    keys.as_mut().unwrap().push("slow".to_owned());
                }
                assert_eq!(pair.keys(next.as_ref()).await, keys, "{case}");
            }
            pair.store.clear().await;
        }
    }
}

/// The change is saved, and its acknowledgement on the way back, when the session ends.
async fn p3_an_end_wins_over_a_change_whose_answer_is_late(pair: &Pair) {
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
        // It was saved, and then the session ended: the cookie that it sends stands for nothing.
        let told = request.await.unwrap();
        assert_eq!((told.status, told.cookie()), (200, Some(old.clone())));
        let seen = watch.take();
        assert_eq!((seen.commands, seen.writes), (0, 0), "{end}: {seen:?}");
        assert_eq!(pair.store.raw(&old).await, at_the_end, "{end}");
        assert_eq!(pair.session(&old).await, None, "{end}");
        pair.store.clear().await;
    }
}

/// Whoever logs out, or in anew, ends what the session became meanwhile, not only the identity it had.
async fn p3_an_end_follows_a_renewal_that_was_saved_just_before(pair: &Pair) {
    for end in ["/logout", "/restart", "/clear", "/login"] {
        let old = pair.client().await;
        pair.order(B, "/hold/saving").await;
        let request = pair.start(B, &old, end);
        pair.order(B, "/reached").await;
        // Twice, so that a mark leads to a mark.
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

in_both_stores! {
    p3_an_end_wins_over_a_change_that_was_saved_just_before,
    p3_an_end_wins_over_a_change_whose_answer_is_late,
    p3_an_end_follows_a_renewal_that_was_saved_just_before,
}
