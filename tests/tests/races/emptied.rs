//! P2 where one request takes out the last key and another one adds a key: both keep their change.

use tokio::task::JoinHandle;

use crate::pair::{A, B, Pair, TestResponse};

/// Two requests have loaded a session that holds one key.
async fn both_have_loaded(pair: &Pair, remover: &str) -> (String, [JoinHandle<TestResponse>; 2]) {
    let cookie = pair.ask(A, None, "/set/k/1").await.cookie().unwrap();
    pair.order(A, "/hold/1").await;
    pair.order(B, "/hold/1").await;
    let requests = [
        pair.start(A, &cookie, remover),
        pair.start(B, &cookie, "/set/added/1"),
    ];
    pair.order(A, "/reached").await;
    pair.order(B, "/reached").await;
    (cookie, requests)
}

/// The two save in both orders. The processes load the record afresh at the end.
async fn p2_a_key_that_is_added_while_the_last_one_is_removed_stays(pair: &Pair) {
    for remover in ["/remove/k", "/empty"] {
        for order in [[A, B], [B, A]] {
            let case = format!("{remover}, saved in the order {order:?}");
            let (cookie, requests) = both_have_loaded(pair, remover).await;
            let mut requests = requests.map(Some);
            for process in order {
                pair.order(process, "/open").await;
                let response = requests[process].take().unwrap().await.unwrap();
                let told = (response.status, response.cookie());
                assert_eq!(told, (200, Some(cookie.clone())), "{case}");
            }
            assert_eq!(pair.keys(Some(&cookie)).await.unwrap(), ["added"], "{case}");
        }
    }
}

/// The same where each of the two meets the other one's save as a conflict.
async fn p2_a_removal_of_the_last_key_and_an_addition_merge_on_a_conflict(pair: &Pair) {
    for [held, other] in [["/remove/k", "/set/added/1"], ["/set/added/1", "/remove/k"]] {
        let cookie = pair.ask(A, None, "/set/k/1").await.cookie().unwrap();
        pair.order(A, "/hold/saving").await;
        let request = pair.start(A, &cookie, held);
        pair.order(A, "/reached").await;
        let saved = pair.ask(B, Some(&cookie), other).await;
        assert_eq!((saved.status, saved.cookie()), (200, Some(cookie.clone())));
        pair.order(A, "/open").await;
        let saved = request.await.unwrap();
        assert_eq!((saved.status, saved.cookie()), (200, Some(cookie.clone())));
        assert_eq!(pair.keys(Some(&cookie)).await.unwrap(), ["added"], "{held}");
    }
}

/// A request that loads the session without keys has a new session. If it writes, the session moves
/// to a fresh identity, so that no login uses the old one.
async fn p4_a_session_without_keys_is_new_and_moves_when_it_is_written(pair: &Pair) {
    let cookie = pair.ask(A, None, "/set/k/1").await.cookie().unwrap();
    assert_eq!(pair.ask(B, Some(&cookie), "/remove/k").await.status, 200);
    assert_eq!(pair.session(&cookie).await, None);
    let moved = pair.ask(A, Some(&cookie), "/set/user/alice").await;
    let fresh = moved.cookie().unwrap();
    assert_ne!(fresh, cookie);
    assert_eq!(pair.keys(Some(&fresh)).await.unwrap(), ["user"]);
    assert_eq!(pair.session(&cookie).await, None);
    for process in [A, B] {
        let late = pair.ask(process, Some(&cookie), "/set/late/1").await;
        late.assert_refused(409);
    }
    assert_eq!(pair.keys(Some(&fresh)).await.unwrap(), ["user"]);
}

/// A request that is older than the move adds a key while the session moves: the key comes along.
async fn p2_a_key_that_is_added_during_the_move_comes_along(pair: &Pair) {
    let cookie = pair.ask(A, None, "/set/k/1").await.cookie().unwrap();
    pair.order(B, "/hold/1").await;
    let older = pair.start(B, &cookie, "/set/added/1");
    pair.order(B, "/reached").await;
    assert_eq!(pair.ask(A, Some(&cookie), "/remove/k").await.status, 200);
    pair.order(A, "/hold/saving").await;
    let moving = pair.start(A, &cookie, "/set/user/alice");
    pair.order(A, "/reached").await;
    pair.order(B, "/open").await;
    let added = older.await.unwrap();
    assert_eq!((added.status, added.cookie()), (200, Some(cookie.clone())));
    pair.order(A, "/open").await;
    let fresh = moving.await.unwrap().cookie().unwrap();
    assert_ne!(fresh, cookie);
    let mut keys = pair.keys(Some(&fresh)).await.unwrap();
    keys.sort();
    assert_eq!(keys, ["added", "user"]);
    assert_eq!(pair.session(&cookie).await, None);
}

in_both_stores! {
    p2_a_key_that_is_added_while_the_last_one_is_removed_stays,
    p2_a_removal_of_the_last_key_and_an_addition_merge_on_a_conflict,
    p4_a_session_without_keys_is_new_and_moves_when_it_is_written,
    p2_a_key_that_is_added_during_the_move_comes_along,
}
