//! The one compare-and-swap loop.

use std::future::Future;
use std::time::Instant;

use crate::error::{ErrorKind, Result};
use crate::keyed::backend::{Backend, Found, OnlyIf, Outcome, Write};
use crate::keyed::queue::{Entered, Turn};
use crate::keyed::{Address, KeyedStorage};
use crate::metrics::Counter;
use crate::record::stored::Stored;

/// How often a conflicting write is tried again. In each round some writer succeeds.
const ROUNDS: usize = 128;

/// How many times the backend's limit for one call a write may take after its first call.
pub(super) const RETRY_TIMEOUTS: u32 = 4;

/// A change of one key.
pub(super) trait Change: Send {
    /// The reason not to write.
    type Stop: Send;

    /// Decides what to write in place of `found`.
    fn next(&mut self, found: &Found) -> impl Future<Output = Result<Next<Self::Stop>>> + Send;
}

/// What a [`Change`] decided.
pub(super) enum Next<T> {
    Write(Write),
    Stop(T),
}

/// How a change ended.
pub(super) enum Swapped<T> {
    Written(Stored),
    Stopped(T),
}

enum Attempt<'a, T> {
    Done(Swapped<T>),
    Conflict(Option<Turn<'a>>, Found),
}

impl<B: Backend> KeyedStorage<B> {
    /// Carries out `change` on one key. `seen` is what the caller expects the key to hold. Without
    /// it, the key is read first.
    ///
    /// It waits for other savers of the key in this process. See the module `queue`.
    pub(super) async fn swap<C: Change>(
        &self,
        address: &Address,
        seen: Option<Stored>,
        change: &mut C,
    ) -> Result<Swapped<C::Stop>> {
        let found = match seen {
            Some(seen) => Found::Value(seen),
            None => self.backend.read(&address.key).await?,
        };
        let entered = self.queues.enter(&address.suffix);
        let entered = match entered {
            Entered::Wait(_) => Ok((entered, found)),
            // The usual case: no other saver, and one call is enough.
            Entered::Turn(turn) => match self.attempt(address, found, change, Some(turn)).await? {
                Attempt::Done(done) => return Ok(done),
                Attempt::Conflict(turn, found) => {
                    self.log_conflict(0);
                    Err((turn, found))
                }
            },
        };
        let competing = Box::pin(async {
            let (turn, found) = match entered {
                Err(conflict) => conflict,
                Ok((Entered::Turn(turn), found)) => (Some(turn), found),
                Ok((Entered::Wait(wait), found)) => {
                    let (began, stopwatch) = (Instant::now(), self.config.metrics().start());
                    let told = wait.await;
                    stopwatch.waited();
                    self.log_wait(began);
                    match told {
                        Some((turn, written)) => (Some(turn), written.map_or(found, Found::Value)),
                        None => (None, found),
                    }
                }
            };
            self.compete(address, found, change, turn).await
        });
        self.backend.bound(competing, RETRY_TIMEOUTS).await?
    }

    async fn compete<C: Change>(
        &self,
        address: &Address,
        mut found: Found,
        change: &mut C,
        mut turn: Option<Turn<'_>>,
    ) -> Result<Swapped<C::Stop>> {
        for round in 1..=ROUNDS {
            match self.attempt(address, found, change, turn).await? {
                Attempt::Done(done) => return Ok(done),
                Attempt::Conflict(kept, now) => (turn, found) = (kept, now),
            }
            self.log_conflict(round);
        }
        Err(ErrorKind::Contended.into())
    }

    fn log_conflict(&self, round: usize) {
        self.config.metrics().count(Counter::Conflict);
        tracing::debug!(
            target: "session::save",
            cookie = self.config.cookie().name(),
            op = "save",
            round,
            "session save conflicts"
        );
    }

    fn log_wait(&self, began: Instant) {
        tracing::debug!(
            target: "session::save",
            cookie = self.config.cookie().name(),
            op = "save",
            elapsed_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
            "session save waited for other saves of the session"
        );
    }

    /// Tries once.
    async fn attempt<'a, C: Change>(
        &self,
        address: &Address,
        found: Found,
        change: &mut C,
        turn: Option<Turn<'a>>,
    ) -> Result<Attempt<'a, C::Stop>> {
        let write = match change.next(&found).await? {
            Next::Write(write) => write,
            Next::Stop(stop) => return Ok(Attempt::Done(Swapped::Stopped(stop))),
        };
        let only_if = match &found {
            Found::Missing => OnlyIf::Missing,
            Found::Value(stored) => OnlyIf::Unchanged(stored),
            Found::Foreign => {
                return Err(Self::unavailable("another program's data is in the way"));
            }
        };
        match self.backend.write(&address.key, write, only_if).await {
            Ok(Outcome::Written(stored)) => {
                if let Some(turn) = turn {
                    turn.hand_on(stored.clone());
                }
                Ok(Attempt::Done(Swapped::Written(stored)))
            }
            Ok(Outcome::Found(now)) => Ok(Attempt::Conflict(turn, now)),
            Err(error) => {
                // Any other error concerns this save alone, such as a record that is too large.
                if let Some(turn) = turn
                    && error.kind() == ErrorKind::Unavailable
                {
                    turn.fail();
                }
                Err(error)
            }
        }
    }
}
