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
    /// The operating system may limit threads. Far longer than starting them takes.
    const PATIENCE: Duration = Duration::from_secs(60);

    pub(super) fn of(tasks: usize) -> Self {
        Self {
            missing: AtomicUsize::new(tasks),
        }
    }

    /// Blocks the thread until all tasks are here. It stays awake, because a thread that must wake
    /// up first comes too late.
    #[track_caller]
    pub(super) fn wait(&self) {
        let since = Instant::now();
        self.missing.fetch_sub(1, Ordering::AcqRel);
        while self.missing.load(Ordering::Acquire) > 0 {
            assert!(since.elapsed() < Self::PATIENCE, "not all threads start");
            yield_now();
        }
    }
}

/// A race.
pub(super) struct Round {
    pub(super) writers: usize,
    /// The keys for which they race, one after the other.
    pub(super) keys: usize,
    /// A writer that was held up goes on at the key where the others are, so that writes meet
    /// again. Otherwise every writer writes every key.
    pub(super) skips: bool,
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

    /// Returns the next round. The first one is for slow stores: all its writers wait for the store
    /// at the same time.
    pub(super) fn next(&mut self) -> Option<Round> {
        self.round += 1;
        match self.round {
            1 => Some(Round {
                writers: 32,
                keys: 4,
                skips: false,
            }),
            round => (round <= Self::MOST && !self.is_time_up()).then_some(Round {
                writers: 4,
                keys: 32 << round,
                skips: true,
            }),
        }
    }
}
