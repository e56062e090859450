//! The storages that keep sessions on a server.

use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use proptest::test_runner::{Config, FileFailurePersistence, TestCaseError, TestError, TestRunner};
use session_core::{Backend, ManualClock, MemoryBackend};
use session_memcached::MemcachedBackend;
use session_redis::RedisBackend;
use session_tests::memcached::MemcachedServer;
use session_tests::redis::RedisServer;

use crate::handle::Check;
use crate::steps::{Setup, Step, setup, steps};
use crate::world::{Seen, World};

static REDIS: LazyLock<RedisServer> = LazyLock::new(RedisServer::start);
static MEMCACHED: LazyLock<MemcachedServer> = LazyLock::new(MemcachedServer::start);

/// A busy machine is no failure.
const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn memory() {
    run(1000, "tests/model/memory.regressions", |clock| async {
        MemoryBackend::new().with_clock(clock).into()
    });
}

#[test]
fn redis() {
    let shared = Mutex::new(None);
    run(60, "tests/model/redis.regressions", |_| async {
        let known: Option<Arc<_>> = shared.lock().unwrap().clone();
        match known {
            Some(backend) => backend,
            None => {
                let connection = REDIS.connection().await;
                let backend = Arc::new(RedisBackend::new(connection).with_timeout(PATIENCE));
                *shared.lock().unwrap() = Some(backend.clone());
                backend
            }
        }
    });
}

#[test]
fn memcached() {
    let backend = MemcachedBackend::new(&MEMCACHED.address()).unwrap();
    let backend = Arc::new(backend.with_timeout(PATIENCE));
    run(60, "tests/model/memcached.regressions", |_| async {
        backend.clone()
    });
}

/// Runs this many sequences, or as many as the environment says.
fn run<B: Backend, F: Future<Output = Arc<B>>>(
    usual: u32,
    file: &'static str,
    make: impl Fn(ManualClock) -> F,
) {
    let wanted = std::env::var("SESSION_TEST_RUNS");
    let cases = wanted.map_or(usual, |runs| runs.parse().unwrap());
    let mut runner = TestRunner::new(Config {
        cases,
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(file))),
        max_shrink_iters: 20_000,
        ..Config::default()
    });
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.enable_all().build().unwrap();
    let (count, total) = (Mutex::new(0), Mutex::new((0, Seen::default())));
    let outcome = runner.run(&(setup(), steps()), |(setup, steps)| {
        let prefix = {
            let mut count = count.lock().unwrap();
            *count += 1;
            format!("drawn_{count:010}")
        };
        let clock = World::<B>::clock();
        let seen = runtime.block_on(async {
            let backend = make(clock.clone()).await;
            one(backend, clock, setup, &steps, &prefix).await
        })?;
        let mut total = total.lock().unwrap();
        total.0 += steps.len();
        total.1.add(&seen);
        Ok(())
    });
    let total = total.lock().unwrap();
    println!("{cases} sequences, {} steps: {:?}", total.0, total.1);
    match outcome {
        Ok(()) => {}
        Err(TestError::Fail(why, (setup, steps))) => {
            let steps: Vec<_> = steps.iter().enumerate().collect();
            let steps: Vec<_> = steps
                .iter()
                .map(|(n, step)| format!("{n}: {step:?}"))
                .collect();
            panic!("{why}\n{setup:?}\n{}", steps.join("\n"));
        }
        Err(error) => panic!("{error}"),
    }
}

async fn one<B: Backend>(
    backend: Arc<B>,
    clock: ManualClock,
    setup: Setup,
    steps: &[Step],
    prefix: &str,
) -> Check<Seen> {
    let mut world = World::new(backend, clock, setup, prefix).await;
    world.log_in_all().await?;
    for (number, step) in steps.iter().enumerate() {
        let told = |error: TestCaseError| {
            TestCaseError::fail(format!("at step {number}, {step:?}: {error}"))
        };
        world.run(step).await.map_err(told)?;
    }
    world.end().await?;
    Ok(world.seen)
}
