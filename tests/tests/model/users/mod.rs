//! The sessions of users, under random sequences: logins, users that change, lists and ends, in two
//! processes on one store. [`steps`] lists what can happen.
//!
//! Requests go on from one call of the store to the next, in any order. Calls fail before or after
//! the store has carried them out, and requests are dropped at any await point.
//!
//! - [`effects`]: what each call may write.
//! - [`calls`]: what a list or an end must return.
//! - [`saves`]: what a save must return.
//! - [`listed`]: what holds after each call, which is P11.

mod begin;
mod calls;
mod effects;
mod listed;
mod request;
mod saves;
mod steps;
mod world;

use std::cell::{Cell, OnceCell};
use std::sync::Arc;

use session_core::keyed::Backend;
use session_core::{ManualClock, MemoryBackend};
use session_memcached::MemcachedBackend;
use session_redis::RedisBackend;

use self::steps::{Setup, Step, sequences};
use self::world::{Seen, World};
use crate::keyed::{MEMCACHED, PATIENCE, REDIS};
use crate::run::{at_step, run, start};

#[test]
fn users_in_memory() {
    let file = "tests/model/users_in_memory.regressions";
    run_on(400, file, async |clock| {
        Arc::new(MemoryBackend::new().with_clock(clock))
    });
}

#[test]
fn users_in_redis() {
    let backend = OnceCell::new();
    let file = "tests/model/users_in_redis.regressions";
    run_on(100, file, async |_| {
        if backend.get().is_none() {
            let made = RedisBackend::new(REDIS.connection().await).with_timeout(PATIENCE);
            backend.set(Arc::new(made)).unwrap();
        }
        backend.get().unwrap().clone()
    });
}

#[test]
fn users_in_memcached() {
    let backend = MemcachedBackend::open(&MEMCACHED.address()).unwrap();
    let backend = Arc::new(backend.with_timeout(PATIENCE));
    let file = "tests/model/users_in_memcached.regressions";
    run_on(100, file, async |_| backend.clone());
}

/// `make` gets the clock of the storages.
fn run_on<B: Backend>(usual: u32, file: &'static str, make: impl AsyncFn(ManualClock) -> Arc<B>) {
    let total = Cell::new(Seen::default());
    let one = async |setup: Setup, steps: &[Step], prefix: &str| {
        let clock = start();
        let backend = make(clock.clone()).await;
        // The other sequences use the same servers.
        let prefix = format!("users_{prefix}");
        let mut world = World::new(&backend, clock, setup, &prefix);
        for (number, step) in steps.iter().enumerate() {
            world.run(step).await.map_err(at_step(number, step))?;
        }
        world.end().await?;
        total.set(total.get().with(&world.seen));
        Ok(())
    };
    run(usual, file, sequences(), &one);
    println!("{:?}", total.get());
    // In a few sequences the rare things may not happen.
    if total.get().saves >= 5_000 {
        total.get().check();
    }
}
