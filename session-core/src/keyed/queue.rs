//! Lets savers of one session take turns, within a process.
//!
//! Without a queue every loser of a compare-and-swap retries at once, and n savers cost n²
//! commands. In the queue each saver hands the next one what it has just written, so that the next
//! compare-and-swap succeeds at once.
//!
//! The queue is an optimization, not a lock. Correctness comes from the compare-and-swap alone.

use std::collections::VecDeque;
use std::future::Future;
use std::hash::{BuildHasher, RandomState};
use std::mem;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use crate::record::stored::Stored;

/// The queues of all sessions that are being saved, by the suffix of their key.
#[derive(Default)]
pub(super) struct Queues {
    shards: [Shard; SHARDS],
    /// Spreads the suffixes over the shards. An application may choose identities of any alphabet.
    hash: RandomState,
}

/// The queues are sharded to reduce lock contention.
const SHARDS: usize = 16;

type Shard = Mutex<Vec<Line>>;

/// The savers of one session. It exists while one of them has the turn.
struct Line {
    suffix: Arc<str>,
    waiting: VecDeque<Arc<Ticket>>,
}

/// What a saver gets when it enters a queue.
pub(super) enum Entered<'a> {
    /// No other saver has the turn.
    Turn(Turn<'a>),
    /// Another saver has the turn.
    Wait(Wait<'a>),
}

/// The turn to save. Dropping it passes it to the next saver.
pub(super) struct Turn<'a> {
    queues: &'a Queues,
    suffix: Arc<str>,
    is_over: bool,
}

/// A wait for the turn. Dropping it leaves the queue.
pub(super) struct Wait<'a> {
    queues: &'a Queues,
    suffix: Arc<str>,
    ticket: Arc<Ticket>,
}

#[derive(Default)]
struct Ticket(Mutex<Signal>);

/// What a waiting saver was told.
#[derive(Default)]
enum Signal {
    #[default]
    Nothing,
    /// It waits, and this wakes it.
    Waker(Waker),
    /// It has the turn. The saver before it has written this, if it succeeded.
    Turn(Option<Stored>),
    /// The store failed for the saver before it: continue without a turn.
    Proceed,
    /// The saver has received its result.
    Done,
}

impl Queues {
    /// Enters the queue of a session.
    pub(super) fn enter(&self, suffix: &Arc<str>) -> Entered<'_> {
        let mut lines = self.shard(suffix);
        let ticket = match lines.iter_mut().find(|line| line.suffix == *suffix) {
            None => {
                lines.push(Line {
                    suffix: suffix.clone(),
                    waiting: VecDeque::new(),
                });
                return Entered::Turn(Turn::new(self, suffix));
            }
            Some(line) => {
                let ticket = Arc::new(Ticket::default());
                line.waiting.push_back(ticket.clone());
                ticket
            }
        };
        drop(lines);
        Entered::Wait(Wait {
            queues: self,
            suffix: suffix.clone(),
            ticket,
        })
    }

    /// Passes the turn to the next saver, together with what was written.
    fn pass_on(&self, suffix: &Arc<str>, written: Option<Stored>) {
        let mut lines = self.shard(suffix);
        let Some(at) = lines.iter().position(|line| line.suffix == *suffix) else {
            return;
        };
        let Some(next) = lines[at].waiting.pop_front() else {
            lines.swap_remove(at);
            return;
        };
        // Tell the waiter while the shard is locked, so that a waiter that leaves at the same time
        // passes the turn on.
        let waker = next.tell(Signal::Turn(written));
        drop(lines);
        waker.into_iter().for_each(Waker::wake);
    }

    /// Ends the queue of a session. Its savers continue without it.
    fn dissolve(&self, suffix: &Arc<str>) {
        let mut lines = self.shard(suffix);
        let Some(at) = lines.iter().position(|line| line.suffix == *suffix) else {
            return;
        };
        let line = lines.swap_remove(at);
        let told = line
            .waiting
            .iter()
            .map(|ticket| ticket.tell(Signal::Proceed));
        let wakers: Vec<Option<Waker>> = told.collect();
        drop(lines);
        wakers.into_iter().flatten().for_each(Waker::wake);
    }

    fn shard(&self, suffix: &str) -> MutexGuard<'_, Vec<Line>> {
        lock(&self.shards[self.shard_of(suffix)])
    }

    fn shard_of(&self, suffix: &str) -> usize {
        let [byte, ..] = self.hash.hash_one(suffix).to_le_bytes();
        usize::from(byte) % SHARDS
    }
}

impl<'a> Turn<'a> {
    fn new(queues: &'a Queues, suffix: &Arc<str>) -> Self {
        Self {
            queues,
            suffix: suffix.clone(),
            is_over: false,
        }
    }

    /// Passes the turn on, together with what this saver has written.
    pub(super) fn hand_on(mut self, written: Stored) {
        self.is_over = true;
        self.queues.pass_on(&self.suffix, Some(written));
    }

    /// Ends the queue because the store failed. Waiting in line would only add to the delay.
    pub(super) fn fail(mut self) {
        self.is_over = true;
        self.queues.dissolve(&self.suffix);
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            self.queues.pass_on(&self.suffix, None);
        }
    }
}

impl<'a> Future for Wait<'a> {
    /// The turn, and what the saver before has written; `None`: continue without a turn.
    type Output = Option<(Turn<'a>, Option<Stored>)>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut signal = lock(&self.ticket.0);
        match mem::replace(&mut *signal, Signal::Done) {
            Signal::Nothing | Signal::Waker(_) => {
                *signal = Signal::Waker(cx.waker().clone());
                Poll::Pending
            }
            Signal::Turn(written) => {
                Poll::Ready(Some((Turn::new(self.queues, &self.suffix), written)))
            }
            Signal::Proceed | Signal::Done => Poll::Ready(None),
        }
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        if matches!(*lock(&self.ticket.0), Signal::Done) {
            return;
        }
        let told = {
            let mut lines = self.queues.shard(&self.suffix);
            if let Some(line) = lines.iter_mut().find(|line| line.suffix == self.suffix) {
                line.waiting
                    .retain(|ticket| !Arc::ptr_eq(ticket, &self.ticket));
            }
            mem::replace(&mut *lock(&self.ticket.0), Signal::Done)
        };
        if let Signal::Turn(written) = told {
            self.queues.pass_on(&self.suffix, written);
        }
    }
}

impl Ticket {
    /// Tells the saver, and returns what wakes it.
    fn tell(&self, signal: Signal) -> Option<Waker> {
        match mem::replace(&mut *lock(&self.0), signal) {
            Signal::Waker(waker) => Some(waker),
            _ => None,
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // The critical sections above cannot panic halfway.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Identities are written in hexadecimal digits, and an application's own may be numbers.
    #[test]
    fn identities_use_all_shards() {
        let queues = Queues::default();
        let hexadecimal = |number: u32| format!("{number:032x}");
        let decimal = |number: u32| format!("session-{number:08}");
        for write in [hexadecimal, decimal] {
            let mut used = [0; SHARDS];
            for number in 0..1600 {
                used[queues.shard_of(&write(number))] += 1;
            }
            // Of 100 each; with a fair hash, fewer than 40 would be a miracle.
            assert!(used.iter().all(|used| *used > 40), "{used:?}");
        }
    }
}
