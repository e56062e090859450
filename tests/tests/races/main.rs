//! P2, P3, P11 and P12 on real Redis and memcached, through two server processes that share the
//! store: concurrent requests lose nothing, what has ended stays ended, and a login stays.
//!
//! The processes run this program with other arguments, see [`app`]. `SESSION_TEST_RUNS=N` runs
//! each race N times in place of the usual number.
#![allow(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "these are tests"
)]

/// Makes a test of each function for each store, in a module of the store's name.
macro_rules! in_both_stores {
    ($($rule:ident,)+) => {
        crate::in_store! { redis, $($rule,)+ }
        crate::in_store! { memcached, $($rule,)+ }
    };
}

macro_rules! in_store {
    ($store:ident, $($rule:ident,)+) => {
        mod $store {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $rule() {
                    super::$rule(&crate::pair::Pair::$store()).await;
                }
            )+
        }
    };
}
use in_store;

/// Returns how often a race is run. One run finds a fault only by chance.
fn runs(usual: usize) -> usize {
    let wanted = std::env::var("SESSION_TEST_RUNS");
    wanted.map_or(usual, |runs| runs.parse().unwrap())
}

mod app;
mod emptied;
mod p11;
mod p12;
mod p2;
mod p3;
mod p3_free;
mod p3_order;
mod pair;
mod queue;
mod silent;
mod store;
mod table;
