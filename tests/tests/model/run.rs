//! Runs random sequences, and tells a failing one, made as short as it gets.

use std::cell::Cell;
use std::fmt::Debug;
use std::time::{Duration, UNIX_EPOCH};

use proptest::strategy::Strategy;
use proptest::test_runner::{Config, FileFailurePersistence, TestCaseError, TestError, TestRunner};
use session_core::{Clock as _, ManualClock};

use crate::handle::Check;

/// When everything begins, in Unix seconds.
const START: u64 = 1_700_000_000;

pub(crate) fn start() -> ManualClock {
    ManualClock::at(UNIX_EPOCH + Duration::from_secs(START))
}

/// In Unix seconds.
pub(crate) fn now(clock: &ManualClock) -> u64 {
    clock.now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// Runs this many sequences, or as many as the environment says. `file` keeps the seeds of those
/// that failed, which are run first. `one` gets a prefix for all identities of its sequence.
pub(crate) fn run<S: Copy + Debug, T: Debug>(
    usual: u32,
    file: &'static str,
    sequences: impl Strategy<Value = (S, Vec<T>)>,
    one: &impl AsyncFn(S, &[T], &str) -> Check,
) {
    let wanted = std::env::var("SESSION_TEST_RUNS");
    let cases = wanted.map_or(usual, |runs| runs.parse().unwrap());
    let mut runner = TestRunner::new(Config {
        cases,
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(file))),
        max_shrink_iters: 5_000,
        ..Config::default()
    });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let (count, total) = (Cell::new(0), Cell::new(0));
    let outcome = runner.run(&sequences, |(setup, steps)| {
        count.set(count.get() + 1);
        total.set(total.get() + steps.len());
        let prefix = format!("drawn_{:010}", count.get());
        runtime.block_on(one(setup, &steps, &prefix))
    });
    println!("{} sequences, {} steps", count.get(), total.get());
    match outcome {
        Ok(()) => {}
        Err(TestError::Fail(why, (setup, steps))) => {
            let steps = steps.iter().enumerate();
            let steps: Vec<_> = steps.map(|(n, step)| format!("{n}: {step:?}")).collect();
            panic!("{why}\n{setup:?}\n{}", steps.join("\n"));
        }
        Err(error) => panic!("{error}"),
    }
}

/// Says in which step it was.
pub(crate) fn at_step(number: usize, step: &impl Debug) -> impl Fn(TestCaseError) -> TestCaseError {
    move |error| TestCaseError::fail(format!("at step {number}, {step:?}: {error}"))
}
