//! The storages that keep sessions on a server.

use std::cell::{Cell, OnceCell};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use session_core::keyed::Backend;
use session_core::{ManualClock, MemoryBackend};
use session_memcached::MemcachedBackend;
use session_redis::RedisBackend;
use session_tests::memcached::MemcachedServer;
use session_tests::redis::RedisServer;

use crate::run::{at_step, run, start};
use crate::steps::{Setup, Step, setup, steps};
use crate::world::{Seen, World};

pub(crate) static REDIS: LazyLock<RedisServer> = LazyLock::new(RedisServer::start);
pub(crate) static MEMCACHED: LazyLock<MemcachedServer> = LazyLock::new(MemcachedServer::start);

/// A busy machine is no failure.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn memory() {
    run_on(
        1_000,
        "tests/model/memory.regressions",
        true,
        async |clock| Arc::new(MemoryBackend::new().with_clock(clock)),
    );
}

#[test]
fn redis() {
    let backend = OnceCell::new();
    run_on(200, "tests/model/redis.regressions", false, async |_| {
        if backend.get().is_none() {
            let connection = REDIS.connection().await;
            let made = RedisBackend::new(connection).with_timeout(PATIENCE);
            backend.set(Arc::new(made)).unwrap();
        }
        backend.get().unwrap().clone()
    });
}

#[test]
fn memcached() {
    let backend = MemcachedBackend::open(&MEMCACHED.address()).unwrap();
    let backend = Arc::new(backend.with_timeout(PATIENCE));
    run_on(
        200,
        "tests/model/memcached.regressions",
        false,
        async |_| backend.clone(),
    );
}

/// `has_our_clock` tells whether the store takes the time from the clock that `make` gets.
fn run_on<B: Backend>(
    usual: u32,
    file: &'static str,
    has_our_clock: bool,
    make: impl AsyncFn(ManualClock) -> Arc<B>,
) {
    let total = Cell::new(Seen::default());
    let one = async |setup: Setup, steps: &[Step], prefix: &str| {
        let clock = start();
        let backend = make(clock.clone()).await;
        let mut world = World::new(backend, has_our_clock, clock, setup, prefix).await;
        world.log_in_all().await?;
        for (number, step) in steps.iter().enumerate() {
            world.run(step).await.map_err(at_step(number, step))?;
        }
        world.end().await?;
        total.set(total.get().with(&world.seen));
        Ok(())
    };
    run(usual, file, (setup(), steps()), &one);
    println!("{:?}", total.get());
    // In a few sequences the rare things may not happen.
    if total.get().saves >= 5_000 {
        total.get().check();
    }
}
