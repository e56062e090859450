//! Backends around a backend, for tests: one that holds calls, one that fails them, one that counts
//! them, and one with a timer.
//!
//! They nest: `KeyedStorage::new(Counting::new(Gate::new(MemoryBackend::new())))`.

use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use session_core::keyed::{Backend, Found, OnlyIf, Outcome, Write};
use session_core::{Error, ErrorKind, Result};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

/// A kind of call to a [`Backend`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(clippy::exhaustive_enums, reason = "tests match on all four")]
pub enum Call {
    /// [`Backend::read`].
    Read,
    /// [`Backend::write`] of a record with [`OnlyIf::Missing`].
    Create,
    /// [`Backend::write`] of a record with [`OnlyIf::Unchanged`].
    Update,
    /// [`Backend::write`] of a tombstone, with either condition.
    End,
}

impl Call {
    /// Returns the kind of a [`Backend::write`].
    pub fn of(write: &Write, only_if: OnlyIf<'_>) -> Self {
        match only_if {
            _ if write.is_tombstone() => Self::End,
            OnlyIf::Missing => Self::Create,
            OnlyIf::Unchanged(_) => Self::Update,
        }
    }
}

/// The side of a call on which a test interferes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(clippy::exhaustive_enums, reason = "a call has two sides")]
pub enum When {
    /// Before the store receives the call.
    Before,
    /// After the store has carried out the call, and before the caller has the response.
    After,
}

/// Implements [`Backend`] for a type that has an `inner` backend.
///
/// Each call goes through `self.around(call, key, inner_future)`, which the type defines: an async
/// method that takes a [`Call`], a `&str` and a future, and returns what the future returns.
/// [`Backend::bound`] goes to the inner backend directly.
///
/// Write `wrap_backend!(Mine)` for a type around one backend, and `wrap_backend!(Mine<B>, B)` for a
/// type around any backend. `Mine` may hold its inner backend in an `Arc`; the trait `Backend` must
/// then be in scope.
#[macro_export]
macro_rules! wrap_backend {
    ($wrapper:ty $(, $backend:ident)?) => {
        impl$(<$backend: session_core::keyed::Backend>)? session_core::keyed::Backend for $wrapper {
            async fn read(
                &self,
                key: &str,
            ) -> session_core::Result<session_core::keyed::Found> {
                let call = $crate::stores::Call::Read;
                self.around(call, key, self.inner.read(key)).await
            }

            async fn write(
                &self,
                key: &str,
                write: session_core::keyed::Write,
                only_if: session_core::keyed::OnlyIf<'_>,
            ) -> session_core::Result<session_core::keyed::Outcome> {
                let call = $crate::stores::Call::of(&write, only_if);
                self.around(call, key, self.inner.write(key, write, only_if)).await
            }

            async fn bound<F: ::core::future::Future + Send>(
                &self,
                waiting: F,
                times: u32,
            ) -> session_core::Result<F::Output> {
                self.inner.bound(waiting, times).await
            }
        }
    };
}

/// Holds calls until a test lets them continue. Every call also yields to other tasks before and
/// after it, as a call over a network does.
#[derive(Debug)]
pub struct Gate<B> {
    inner: B,
    bars: Mutex<Vec<Bar>>,
}

/// The next call to hold.
#[derive(Debug)]
struct Bar {
    calls: Vec<Call>,
    /// How the key must end.
    key: String,
    when: When,
    hold: Hold,
}

/// Controls a call that a [`Gate`] holds. A handler of a test can [`wait`](Self::wait) on it, too.
#[derive(Clone, Debug)]
pub struct Hold {
    reached: Arc<Semaphore>,
    open: Arc<Semaphore>,
}

impl<B> Gate<B> {
    /// Wraps `inner`. No call is held yet.
    pub fn new(inner: B) -> Self {
        Self {
            inner,
            bars: Mutex::default(),
        }
    }

    /// Borrows the wrapped backend.
    pub fn inner(&self) -> &B {
        &self.inner
    }

    /// Holds the next `call`, once.
    pub fn hold(&self, call: Call, when: When) -> Hold {
        self.hold_any(&[call], when)
    }

    /// Holds the next call that is one of `calls`, once.
    pub fn hold_any(&self, calls: &[Call], when: When) -> Hold {
        self.hold_on("", calls, when)
    }

    /// Holds the next call that is one of `calls` and whose key ends with `key`, once.
    pub fn hold_on(&self, key: &str, calls: &[Call], when: When) -> Hold {
        let hold = Hold::default();
        lock(&self.bars).push(Bar {
            calls: calls.to_vec(),
            key: key.to_owned(),
            when,
            hold: hold.clone(),
        });
        hold
    }

    async fn around<T>(
        &self,
        call: Call,
        key: &str,
        inner: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let hold = self.take_hold(call, key);
        tokio::task::yield_now().await;
        if let Some((When::Before, hold)) = &hold {
            hold.wait().await;
        }
        let reply = inner.await;
        if let Some((When::After, hold)) = &hold {
            hold.wait().await;
        }
        tokio::task::yield_now().await;
        reply
    }

    fn take_hold(&self, call: Call, key: &str) -> Option<(When, Hold)> {
        let mut bars = lock(&self.bars);
        let fits = |bar: &Bar| bar.calls.contains(&call) && key.ends_with(&bar.key);
        let found = bars.iter().position(fits);
        found
            .map(|at| bars.remove(at))
            .map(|bar| (bar.when, bar.hold))
    }
}

impl Default for Hold {
    fn default() -> Self {
        Self {
            reached: Arc::new(Semaphore::new(0)),
            open: Arc::new(Semaphore::new(0)),
        }
    }
}

impl Hold {
    /// Waits until the call is held. If the call never comes, the test fails instead of hanging.
    pub async fn reached(&self) {
        let reached = timeout(PATIENCE, self.reached.acquire()).await;
        reached.expect("no such call came").unwrap().forget();
    }

    /// Lets the call continue.
    pub fn open(&self) {
        self.open.add_permits(1);
    }

    /// Waits until the test calls [`open`](Self::open).
    pub async fn wait(&self) {
        self.reached.add_permits(1);
        self.open.acquire().await.unwrap().forget();
    }
}

/// Far longer than a call in memory takes.
const PATIENCE: Duration = Duration::from_secs(20);

wrap_backend!(Gate<B>, B);

/// Fails calls. With [`When::Before`] the store never receives the call; with [`When::After`] it
/// carries out the call, and its response is lost.
#[derive(Debug)]
pub struct Failing<B> {
    inner: B,
    plan: Mutex<Plan>,
}

#[derive(Debug)]
struct Plan {
    calls: usize,
    failing: Vec<(RangeInclusive<usize>, When)>,
}

impl<B> Failing<B> {
    /// Wraps `inner`. No call fails yet.
    pub fn new(inner: B) -> Self {
        let plan = Plan {
            calls: 0,
            failing: Vec::new(),
        };
        Self {
            inner,
            plan: Mutex::new(plan),
        }
    }

    /// Borrows the wrapped backend.
    pub fn inner(&self) -> &B {
        &self.inner
    }

    /// Fails the calls with these numbers. The next call has the number 0.
    pub fn fail(&self, failing: RangeInclusive<usize>, when: When) {
        *lock(&self.plan) = Plan {
            calls: 0,
            failing: vec![(failing, when)],
        };
    }

    /// Fails these calls too, counted from the same call as those of [`fail`](Self::fail).
    pub fn also_fail(&self, failing: RangeInclusive<usize>, when: When) {
        lock(&self.plan).failing.push((failing, when));
    }

    /// Ends all failures, and returns how many calls there were since [`fail`](Self::fail).
    pub fn heal(&self) -> usize {
        let mut plan = lock(&self.plan);
        plan.failing.clear();
        std::mem::take(&mut plan.calls)
    }

    async fn around<T>(
        &self,
        _call: Call,
        _key: &str,
        inner: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let fails = {
            let mut plan = lock(&self.plan);
            let number = plan.calls;
            plan.calls += 1;
            let fails = plan
                .failing
                .iter()
                .find(|(calls, _)| calls.contains(&number));
            fails.map(|(_, when)| *when)
        };
        match fails {
            None => inner.await,
            Some(When::Before) => Err(down()),
            Some(When::After) => inner.await.and_then(|_| Err(down())),
        }
    }
}

fn down() -> Error {
    Error::new(ErrorKind::Unavailable, "the test has failed this call")
}

wrap_backend!(Failing<B>, B);

/// Delays each call. With [`When::Before`] it is carried out after the delay: a call that is
/// dropped before that never reaches the store. With [`When::After`] its response is late.
#[derive(Debug)]
pub struct Slow<B> {
    inner: B,
    delay: Mutex<(Duration, When)>,
}

impl<B> Slow<B> {
    /// Wraps `inner`. No call is delayed yet.
    pub fn new(inner: B) -> Self {
        Self {
            inner,
            delay: Mutex::new((Duration::ZERO, When::Before)),
        }
    }

    /// Delays each call from now on.
    pub fn delay(&self, delay: Duration, when: When) {
        *lock(&self.delay) = (delay, when);
    }

    async fn around<T>(&self, _call: Call, _key: &str, inner: impl Future<Output = T>) -> T {
        let delay = *lock(&self.delay);
        match delay {
            (Duration::ZERO, _) => inner.await,
            (delay, When::Before) => {
                sleep(delay).await;
                inner.await
            }
            (delay, When::After) => {
                let response = inner.await;
                sleep(delay).await;
                response
            }
        }
    }
}

wrap_backend!(Slow<B>, B);

/// Counts calls, and records the keys of all creates.
#[derive(Debug)]
pub struct Counting<B> {
    inner: B,
    calls: Mutex<Calls>,
    created: Mutex<Vec<String>>,
}

/// How many calls of each kind there were.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[expect(clippy::exhaustive_structs, reason = "tests write it as a literal")]
pub struct Calls {
    /// Calls of the kind [`Call::Read`].
    pub read: usize,
    /// Calls of the kind [`Call::Create`].
    pub create: usize,
    /// Calls of the kind [`Call::Update`].
    pub update: usize,
    /// Calls of the kind [`Call::End`].
    pub end: usize,
}

impl<B> Counting<B> {
    /// Wraps `inner`.
    pub fn new(inner: B) -> Self {
        Self {
            inner,
            calls: Mutex::default(),
            created: Mutex::default(),
        }
    }

    /// Borrows the wrapped backend.
    pub fn inner(&self) -> &B {
        &self.inner
    }

    /// Returns the calls since the last `take`.
    pub fn take(&self) -> Calls {
        std::mem::take(&mut lock(&self.calls))
    }

    /// Returns the key of each [`Call::Create`] so far, in their order. The create may have failed.
    pub fn created(&self) -> Vec<String> {
        lock(&self.created).clone()
    }

    async fn around<T>(
        &self,
        call: Call,
        key: &str,
        inner: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        {
            let mut calls = lock(&self.calls);
            match call {
                Call::Read => calls.read += 1,
                Call::Create => calls.create += 1,
                Call::Update => calls.update += 1,
                Call::End => calls.end += 1,
            }
        }
        if call == Call::Create {
            lock(&self.created).push(key.to_owned());
        }
        inner.await
    }
}

wrap_backend!(Counting<B>, B);

/// Ends waits with a tokio timer, as a backend over a network does: each call after `timeout`, and
/// [`Backend::bound`] after `times` times as long. Both are then errors of kind
/// [`Unavailable`](ErrorKind::Unavailable).
///
/// It bounds what it wraps: in `Timed::new(Gate::new(..), timeout)` also the calls that the gate
/// holds. A call whose time is up is dropped. If the gate holds it [`When::Before`], the store
/// never receives it. If the gate holds it [`When::After`], the store has carried it out.
#[derive(Debug)]
pub struct Timed<B> {
    inner: B,
    timeout: Duration,
}

impl<B> Timed<B> {
    /// Wraps `inner`.
    pub fn new(inner: B, timeout: Duration) -> Self {
        Self { inner, timeout }
    }

    /// Borrows the wrapped backend.
    pub fn inner(&self) -> &B {
        &self.inner
    }
}

impl<B: Backend> Backend for Timed<B> {
    async fn read(&self, key: &str) -> Result<Found> {
        self.bound(self.inner.read(key), 1).await?
    }

    async fn write(&self, key: &str, write: Write, only_if: OnlyIf<'_>) -> Result<Outcome> {
        let call = self.inner.write(key, write, only_if);
        self.bound(call, 1).await?
    }

    async fn bound<F: Future + Send>(&self, waiting: F, times: u32) -> Result<F::Output> {
        let ended = timeout(self.timeout.saturating_mul(times), waiting).await;
        ended.map_err(|elapsed| Error::new(ErrorKind::Unavailable, elapsed))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use session_core::MemoryBackend;
    use session_core::keyed::Stored;

    use super::*;

    const KEY: &str = "sid_0a1b2c3d4e5f60718293a4b5c6d7e8f9";
    const MINUTE: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn each_call_counts_by_its_kind() {
        let store = Counting::new(MemoryBackend::new());
        let record = || Write::record("{}", None);
        let end = Write::tombstone("{ }", MINUTE);
        let was = Stored::new("{}");
        store.read(KEY).await.unwrap();
        store.write(KEY, record(), OnlyIf::Missing).await.unwrap();
        let update = OnlyIf::Unchanged(&was);
        store.write(KEY, record(), update).await.unwrap();
        store.write(KEY, record(), update).await.unwrap();
        for only_if in [OnlyIf::Missing, update, update] {
            store.write(KEY, end.clone(), only_if).await.unwrap();
        }
        let expected = Calls {
            read: 1,
            create: 1,
            update: 2,
            end: 3,
        };
        assert_eq!(store.take(), expected);
        assert_eq!(store.take(), Calls::default());
        assert_eq!(store.created(), [KEY]);
    }

    #[tokio::test]
    async fn a_timed_backend_gives_up_on_calls_and_waits() {
        let store = Timed::new(Gate::new(MemoryBackend::new()), Duration::from_millis(10));
        let memory = store.inner().inner();
        for (when, is_stored) in [(When::Before, false), (When::After, true)] {
            let _hold = store.inner().hold(Call::Create, when);
            let record = Write::record("{}", None);
            let error = store.write(KEY, record, OnlyIf::Missing).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unavailable);
            let found = memory.read(KEY).await.unwrap();
            assert_eq!(found != Found::Missing, is_stored, "{when:?}");
        }
        let never = store.bound(std::future::pending::<()>(), 2).await;
        assert_eq!(never.unwrap_err().kind(), ErrorKind::Unavailable);
        assert_eq!(store.bound(async { 7 }, 2).await.unwrap(), 7);
    }
}
