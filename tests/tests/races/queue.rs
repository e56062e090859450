//! Many writers of one session: all succeed, at a cost that is linear in their number.

use std::collections::{BTreeMap, BTreeSet};

use crate::pair::{A, B, Pair};
use crate::store::Store;

/// As many streams as hyper's server accepts at once on a connection.
const WRITERS: usize = 200;

/// What the store counted for the writers.
#[derive(Debug)]
struct Cost {
    /// Commands that load a session.
    loads: usize,
    /// Commands that save one.
    saves: usize,
}

/// Lets `WRITERS` requests on one HTTP/2 connection to each of `processes` set a key each, after
/// all of them have loaded the session. All must succeed.
async fn all_succeed(pair: &Pair, processes: &[usize]) -> Cost {
    let cookie = pair.client().await; // Redis knows the script afterwards
    for process in processes {
        pair.order(*process, &format!("/hold/{WRITERS}")).await;
    }
    let before = pair.store.counters().await;
    let mut requests = Vec::new();
    for process in processes {
        let paths = (0..WRITERS).map(|writer| format!("/set/k-{process}-{writer}/1"));
        requests.extend(pair.start_http2(*process, &cookie, paths).await);
    }
    for process in processes {
        pair.order(*process, "/reached").await;
    }
    for process in processes {
        pair.order(*process, "/open").await;
    }
    let mut statuses: BTreeMap<u16, usize> = BTreeMap::new();
    for request in requests {
        let status = request.await.unwrap().status;
        *statuses.entry(status).or_default() += 1;
    }
    let writers = processes.len() * WRITERS;
    assert_eq!(statuses, BTreeMap::from([(200, writers)]));
    let cost = cost(pair, writers, &before).await;
    let keys: BTreeSet<String> = pair
        .keys(Some(&cookie))
        .await
        .unwrap()
        .into_iter()
        .collect();
    let of = |process: &usize| {
        let process = *process;
        (0..WRITERS).map(move |writer| format!("k-{process}-{writer}"))
    };
    let all = processes.iter().flat_map(of);
    let all: BTreeSet<String> = all.chain(["k".into(), "other".into()]).collect();
    assert_eq!(keys, all);
    println!("{writers} writers, {} processes: {cost:?}", processes.len());
    cost
}

async fn cost(pair: &Pair, writers: usize, before: &BTreeMap<String, u64>) -> Cost {
    let now = pair.store.counters().await;
    let of = |name: &str| {
        let count = |counters: &BTreeMap<String, u64>| counters.get(name).copied();
        usize::try_from(count(&now).unwrap_or(0) - count(before).unwrap_or(0)).unwrap()
    };
    let commands = match &*pair.store {
        Store::Redis(_) if of("evalsha") == 0 => of("get") + of("set"), // the server compares
        // A script reads, and its read counts as a GET.
        Store::Redis(_) => of("get") + of("eval"),
        Store::Memcached(_) => of("cmd_get") + of("cmd_set"),
    };
    Cost {
        loads: writers,
        saves: commands - writers,
    }
}

/// The most commands that `writers` may need in one process, their loads included.
fn limit(pair: &Pair, writers: usize) -> usize {
    match &*pair.store {
        Store::Redis(_) => 3 * writers,
        Store::Memcached(_) => 4 * writers,
    }
}

async fn p2_two_hundred_writers_on_one_connection_all_succeed_at_a_linear_cost(pair: &Pair) {
    let Cost { loads, saves } = all_succeed(pair, &[A]).await;
    assert!(saves >= WRITERS);
    assert!(loads + saves <= limit(pair, WRITERS), "{saves} commands");
}

/// In each process one saver at a time competes, so each write makes at most one saver of the other
/// process repeat.
async fn p2_two_hundred_writers_in_each_of_two_processes_all_succeed(pair: &Pair) {
    let Cost { loads, saves } = all_succeed(pair, &[A, B]).await;
    assert!(saves >= 2 * WRITERS);
    let repeats = 2 * 2 * WRITERS * 2; // two commands a conflict in memcached
    assert!(
        loads + saves <= limit(pair, 2 * WRITERS) + repeats,
        "{saves} commands"
    );
}

in_both_stores! {
    p2_two_hundred_writers_on_one_connection_all_succeed_at_a_linear_cost,
    p2_two_hundred_writers_in_each_of_two_processes_all_succeed,
}
