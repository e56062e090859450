//! Backends around a backend: one that waits on command, one that fails, one that counts.
//!
//! They nest: `KeyedStorage::new(Counting::new(Gate::new(MemoryBackend::new())))`.

use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use session_core::{Error, ErrorKind, Result};
use tokio::sync::Semaphore;

/// A primitive of [`Backend`](session_core::Backend).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(clippy::exhaustive_enums, reason = "there are four")]
pub enum Call {
    /// [`Backend::read`](session_core::Backend::read)
    Read,
    /// [`Backend::create`](session_core::Backend::create)
    Create,
    /// [`Backend::replace`](session_core::Backend::replace)
    Replace,
    /// [`Backend::delete`](session_core::Backend::delete)
    Delete,
}

/// Where in a call something happens to it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(clippy::exhaustive_enums, reason = "there are two sides to a call")]
pub enum When {
    /// Before the store sees it.
    Before,
    /// After the store carried it out, and before its answer arrives.
    After,
}

/// Implements [`Backend`](session_core::Backend) for a type that has an `inner` backend, by passing each call through
/// `self.around(call, key, inner call)`: `wrap_backend!(Mine)`, or `wrap_backend!(Mine<B>, B)` for one
/// around any backend.
#[macro_export]
macro_rules! wrap_backend {
    ($wrapper:ty $(, $backend:ident)?) => {
        impl$(<$backend: session_core::Backend>)? session_core::Backend for $wrapper {
            async fn read(
                &self,
                key: &str,
            ) -> session_core::Result<Option<session_core::Versioned>> {
                let call = $crate::stores::Call::Read;
                self.around(call, key, self.inner.read(key)).await
            }

            async fn create(
                &self,
                key: &str,
                value: session_core::Bytes,
                ttl: Option<std::time::Duration>,
            ) -> session_core::Result<session_core::Create> {
                let call = $crate::stores::Call::Create;
                self.around(call, key, self.inner.create(key, value, ttl)).await
            }

            async fn replace(
                &self,
                key: &str,
                value: session_core::Bytes,
                ttl: Option<std::time::Duration>,
                was: &session_core::Versioned,
            ) -> session_core::Result<session_core::Replace> {
                let call = $crate::stores::Call::Replace;
                self.around(call, key, self.inner.replace(key, value, ttl, was)).await
            }

            async fn delete(
                &self,
                key: &str,
                was: Option<&session_core::Versioned>,
            ) -> session_core::Result<session_core::Replace> {
                let call = $crate::stores::Call::Delete;
                self.around(call, key, self.inner.delete(key, was)).await
            }
        }
    };
}

/// Holds calls until a test lets them go on. All calls give way to other tasks on their way there
/// and back, as over a network.
#[derive(Debug)]
pub struct Gate<B> {
    inner: B,
    bars: Mutex<Vec<Bar>>,
}

#[derive(Debug)]
struct Bar {
    calls: Vec<Call>,
    /// How the key must end.
    key: String,
    when: When,
    hold: Hold,
}

/// A call that is held, or will be; or a handler that [`wait`](Hold::wait)s.
#[derive(Clone, Debug)]
pub struct Hold {
    reached: Arc<Semaphore>,
    open: Arc<Semaphore>,
}

impl<B> Gate<B> {
    /// Puts a gate, an open one, around `inner`.
    pub fn new(inner: B) -> Self {
        Self {
            inner,
            bars: Mutex::default(),
        }
    }

    /// Borrows what is wrapped.
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

    /// Holds the next call that is one of `calls`, on the record whose key ends with `key`, once.
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
        let hold = self.held(call, key);
        tokio::task::yield_now().await;
        if let Some((When::Before, hold)) = &hold {
            hold.wait().await;
        }
        let answer = inner.await;
        if let Some((When::After, hold)) = &hold {
            hold.wait().await;
        }
        tokio::task::yield_now().await;
        answer
    }

    fn held(&self, call: Call, key: &str) -> Option<(When, Hold)> {
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
    /// Waits until the call stands at the gate; a call that never comes is a failure, not a test
    /// that hangs.
    pub async fn reached(&self) {
        let reached = tokio::time::timeout(PATIENCE, self.reached.acquire()).await;
        reached.expect("no such call came").unwrap().forget();
    }

    /// Lets the call go on.
    pub fn open(&self) {
        self.open.add_permits(1);
    }

    /// Stands at the gate until it is opened.
    pub async fn wait(&self) {
        self.reached.add_permits(1);
        self.open.acquire().await.unwrap().forget();
    }
}

/// Far beyond what a call in memory takes.
const PATIENCE: Duration = Duration::from_secs(20);

wrap_backend!(Gate<B>, B);

/// Fails calls: [`When::Before`] is a store that never saw the call, [`When::After`] one whose
/// answer was lost.
#[derive(Debug)]
pub struct Failing<B> {
    inner: B,
    plan: Mutex<Plan>,
}

#[derive(Debug)]
struct Plan {
    calls: usize,
    failing: RangeInclusive<usize>,
    when: When,
}

impl<B> Failing<B> {
    /// Wraps `inner`; nothing fails yet.
    pub fn new(inner: B) -> Self {
        let plan = Plan {
            calls: 0,
            failing: RangeInclusive::new(1, 0),
            when: When::Before,
        };
        Self {
            inner,
            plan: Mutex::new(plan),
        }
    }

    /// Borrows what is wrapped.
    pub fn inner(&self) -> &B {
        &self.inner
    }

    /// From now on the calls with these numbers, counted from 0, fail.
    pub fn fail(&self, failing: RangeInclusive<usize>, when: When) {
        *lock(&self.plan) = Plan {
            calls: 0,
            failing,
            when,
        };
    }

    /// Ends all failures, and returns how many calls there were since [`fail`](Self::fail).
    pub fn heal(&self) -> usize {
        let calls = lock(&self.plan).calls;
        self.fail(RangeInclusive::new(1, 0), When::Before);
        calls
    }

    async fn around<T>(
        &self,
        _call: Call,
        _key: &str,
        inner: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let fails = {
            let mut plan = lock(&self.plan);
            let fails = plan.failing.contains(&plan.calls).then_some(plan.when);
            plan.calls += 1;
            fails
        };
        match fails {
            None => inner.await,
            Some(When::Before) => Err(down()),
            Some(When::After) => inner.await.and_then(|_| Err(down())),
        }
    }
}

fn down() -> Error {
    Error::new(ErrorKind::Unavailable, "the store is down, says the test")
}

wrap_backend!(Failing<B>, B);

/// Counts calls, and knows every key that was created.
#[derive(Debug)]
pub struct Counting<B> {
    inner: B,
    calls: Mutex<Calls>,
    created: Mutex<Vec<String>>,
}

/// How many calls of each primitive there were.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[expect(clippy::exhaustive_structs, reason = "tests write it down whole")]
pub struct Calls {
    /// [`Backend::read`](session_core::Backend::read)
    pub read: usize,
    /// [`Backend::create`](session_core::Backend::create)
    pub create: usize,
    /// [`Backend::replace`](session_core::Backend::replace)
    pub replace: usize,
    /// [`Backend::delete`](session_core::Backend::delete)
    pub delete: usize,
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

    /// Borrows what is wrapped.
    pub fn inner(&self) -> &B {
        &self.inner
    }

    /// Returns the calls since this was asked last.
    pub fn take(&self) -> Calls {
        std::mem::take(&mut lock(&self.calls))
    }

    /// Returns every key that somebody tried to create, in that order.
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
                Call::Replace => calls.replace += 1,
                Call::Delete => calls.delete += 1,
            }
        }
        if call == Call::Create {
            lock(&self.created).push(key.to_owned());
        }
        inner.await
    }
}

wrap_backend!(Counting<B>, B);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
