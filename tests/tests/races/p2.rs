//! P2: no lost update.

use std::collections::BTreeMap;

use crate::pair::{A, B, Pair};
use crate::runs;
use crate::store::Store;

/// Lets `writers` set a key each at the same time, half of them through each process, `runs` times.
/// In every second run all of them have loaded before the first save, so that the processes
/// conflict.
async fn all_keep_theirs(pair: &Pair, writers: usize, runs: usize) {
    pair.client().await; // so that Redis has its script
    let before = pair.store.counters().await;
    for run in 0..runs {
        let cookie = pair.ask(A, None, "/set/first/1").await.cookie().unwrap();
        let meet = run % 2 == 1;
        if meet {
            for process in [A, B] {
                pair.order(process, &format!("/hold/{}", writers / 2)).await;
            }
        }
        let value = |writer: usize| format!("{run}-{writer}");
        let requests: Vec<_> = (0..writers)
            .map(|writer| {
                let path = format!("/set/k{writer}/{}", value(writer));
                pair.start([A, B][writer % 2], &cookie, &path)
            })
            .collect();
        if meet {
            tokio::join!(pair.order(A, "/reached"), pair.order(B, "/reached"));
            tokio::join!(pair.order(A, "/open"), pair.order(B, "/open"));
        }
        for request in requests {
            let response = request.await.unwrap();
            assert_eq!(
                (response.status, response.cookie()),
                (200, Some(cookie.clone()))
            );
        }
        let keys = (0..writers).map(|writer| (format!("k{writer}"), value(writer)));
        let all: BTreeMap<_, _> = keys.chain([("first".into(), "1".into())]).collect();
        assert_eq!(pair.session(&cookie).await, Some(all), "run {run}");
    }
    count(pair, writers, runs, &before).await;
}

/// Checks the cost by the store's own counters, and prints it.
///
/// In each process the savers of a session take turns. A save conflicts at most once because its
/// own request loaded early. Each further conflict needs another write of the other process. So
/// there are at most two conflicts for each save.
async fn count(pair: &Pair, writers: usize, runs: usize, before: &BTreeMap<String, u64>) {
    let now = pair.store.counters().await;
    let of = |name: &str| {
        let count = |counters: &BTreeMap<String, u64>| counters.get(name).copied();
        usize::try_from(count(&now).unwrap_or(0) - count(before).unwrap_or(0)).unwrap()
    };
    let (saves, reads) = (runs * writers, runs * (writers + 2)); // two look at the result
    let (store, conflicts) = match &*pair.store {
        // The server compares. A conflict costs one command, which returns the record.
        Store::Redis(_) if of("evalsha") == 0 => {
            let conflicts = of("set") - runs - saves;
            assert_eq!(of("get"), reads);
            assert_eq!((of("eval"), of("del"), of("set_failed")), (0, 0, 0));
            ("Redis", conflicts)
        }
        Store::Redis(_) => {
            let conflicts = of("evalsha") - saves;
            // A script begins with a GET. A conflict costs one command, which returns the record.
            assert_eq!(of("get"), reads + saves + conflicts);
            assert_eq!(of("set") - of("set_failed"), runs + saves);
            assert_eq!((of("eval"), of("del")), (0, 0));
            ("Redis", conflicts)
        }
        Store::Memcached(_) => {
            let refused = of("cas_badval");
            assert_eq!(of("cmd_set"), runs + saves + refused);
            assert_eq!((of("cas_hits"), of("cas_misses")), (saves, 0));
            // A refused cas is followed by a gets. After another saver of the process, a gets comes
            // before the cas, because memcached does not tell the version of a write. It may find a
            // conflict, too.
            let gets = of("cmd_get") - reads;
            assert!((refused..=refused + 3 * saves).contains(&gets), "{gets}");
            ("memcached", refused)
        }
    };
    assert!(conflicts <= 2 * saves, "{conflicts}");
    println!("{store}: {runs} runs of {writers} writers: {saves} saves, {conflicts} conflicts");
    // In each held run the second process to write had loaded before the first one wrote.
    assert!(conflicts >= runs / 2, "{conflicts}");
}

async fn p2_eight_writers_through_two_processes_keep_all_their_keys(pair: &Pair) {
    all_keep_theirs(pair, 8, runs(300)).await;
}

async fn p2_sixty_four_writers_through_two_processes_keep_all_their_keys(pair: &Pair) {
    all_keep_theirs(pair, 64, runs(30)).await;
}

in_both_stores! {
    p2_eight_writers_through_two_processes_keep_all_their_keys,
    p2_sixty_four_writers_through_two_processes_keep_all_their_keys,
}
