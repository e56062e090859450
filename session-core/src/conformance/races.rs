//! Lets rules write in parallel, often enough that a store whose writes are not atomic fails.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::yield_now;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::task::JoinSet;

/// Runs a task on a thread of its own. A worker of the runtime may run several tasks in turns.
pub(super) fn parallel<T: Send + 'static>(
    tasks: &mut JoinSet<T>,
    task: impl Future<Output = T> + Send + 'static,
) {
    let runtime = Handle::current();
    tasks.spawn_blocking(move || runtime.block_on(task));
}

/// The common start of parallel tasks.
pub(super) struct Start {
    missing: AtomicUsize,
}

impl Start {
    pub(super) fn of(tasks: usize) -> Self {
        Self {
            missing: AtomicUsize::new(tasks),
        }
    }

    /// Blocks the thread until all tasks are here. It stays awake, because a thread that must wake
    /// up first comes too late.
    pub(super) fn wait(&self) {
        self.missing.fetch_sub(1, Ordering::AcqRel);
        while self.missing.load(Ordering::Acquire) > 0 {
            yield_now();
        }
    }
}

/// How often a race is repeated. The writes of a fast store meet only by chance, so they race for
/// half a second. A slow store gets few races.
pub(super) struct Rounds {
    since: Instant,
    round: u32,
}

impl Rounds {
    const TIME: Duration = Duration::from_millis(500);
    /// Limits the keys, to 64,000 in all.
    const MOST: u32 = 10;

    pub(super) fn start() -> Self {
        Self {
            since: Instant::now(),
            round: 0,
        }
    }

    pub(super) fn is_time_up(&self) -> bool {
        self.since.elapsed() > Self::TIME
    }

    /// Returns the number of writers in the next round, and of the keys for which they race. The
    /// first round is for slow stores: all its writers wait for the store at the same time.
    pub(super) fn next(&mut self) -> Option<(usize, usize)> {
        self.round += 1;
        match self.round {
            1 => Some((32, 4)),
            round => (round <= Self::MOST && !self.is_time_up()).then_some((4, 32 << round)),
        }
    }
}
