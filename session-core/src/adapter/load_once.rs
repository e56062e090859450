//! A value that one task loads while the others wait.

use std::mem;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// A value that is loaded at most once, however many tasks ask for it. If the loading task is
/// cancelled, one of the waiting tasks loads.
#[derive(Debug)]
pub(super) struct LoadOnce<T>(Mutex<Slot<T>>);

#[derive(Debug)]
enum Slot<T> {
    Empty,
    /// One task loads; these wait.
    Loading(Vec<Waker>),
    Ready(T),
}

impl<T> Default for LoadOnce<T> {
    fn default() -> Self {
        Self(Mutex::new(Slot::Empty))
    }
}

impl<T: Clone> LoadOnce<T> {
    /// Returns the value if it is loaded.
    pub(super) fn get(&self) -> Option<T> {
        self.inspect(T::clone)
    }

    /// Waits for the value, or for the turn to load it.
    pub(super) async fn turn(&self) -> Turn<'_, T> {
        match std::future::poll_fn(|cx| self.wait(cx)).await {
            Some(ready) => Turn::Ready(ready),
            None => Turn::Load(Loading(self)),
        }
    }

    /// Waits for the value; `None` if this task must load it.
    fn wait(&self, cx: &mut Context<'_>) -> Poll<Option<T>> {
        let mut slot = self.slot();
        match &mut *slot {
            Slot::Ready(value) => Poll::Ready(Some(value.clone())),
            Slot::Empty => {
                *slot = Slot::Loading(Vec::new());
                Poll::Ready(None)
            }
            Slot::Loading(waiting) => {
                if !waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
                    waiting.push(cx.waker().clone());
                }
                Poll::Pending
            }
        }
    }
}

impl<T> LoadOnce<T> {
    /// Lets `look` see the value if it is loaded.
    pub(super) fn inspect<R>(&self, look: impl FnOnce(&T) -> R) -> Option<R> {
        match &*self.slot() {
            Slot::Ready(value) => Some(look(value)),
            Slot::Empty | Slot::Loading(_) => None,
        }
    }

    fn slot(&self) -> MutexGuard<'_, Slot<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Slot<T> {
    /// Returns the tasks to wake once the slot is unlocked.
    fn waiting(self) -> Vec<Waker> {
        match self {
            Self::Loading(waiting) => waiting,
            Self::Empty | Self::Ready(_) => Vec::new(),
        }
    }
}

fn wake(waiting: Vec<Waker>) {
    waiting.into_iter().for_each(Waker::wake);
}

/// What a task gets when it requests the value.
pub(super) enum Turn<'a, T: Clone> {
    /// The value is there.
    Ready(T),
    /// This task must load it.
    Load(Loading<'a, T>),
}

/// The turn to load. Dropped before the value is there, it passes to the next task.
pub(super) struct Loading<'a, T>(&'a LoadOnce<T>);

impl<T: Clone> Loading<'_, T> {
    /// Gives the value to all tasks. `inspect` runs under the lock, before other tasks can see the
    /// value.
    pub(super) fn finish(self, value: &T, inspect: impl FnOnce(&T)) {
        let waiting = {
            let mut slot = self.0.slot();
            inspect(value);
            mem::replace(&mut *slot, Slot::Ready(value.clone())).waiting()
        };
        wake(waiting);
    }
}

impl<T> Drop for Loading<'_, T> {
    fn drop(&mut self) {
        let mut slot = self.0.slot();
        if matches!(*slot, Slot::Loading(_)) {
            let waiting = mem::replace(&mut *slot, Slot::Empty).waiting();
            drop(slot);
            wake(waiting);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::future::Future;
    use std::pin::{Pin, pin};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Counter(AtomicUsize);

    impl Wake for Counter {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn poll<T>(future: Pin<&mut impl Future<Output = T>>, waker: &Waker) -> Poll<T> {
        future.poll(&mut Context::from_waker(waker))
    }

    async fn get_or_load<T: Clone>(once: &LoadOnce<T>, load: impl Future<Output = T>) -> T {
        match once.turn().await {
            Turn::Ready(value) => value,
            Turn::Load(turn) => {
                let value = load.await;
                turn.finish(&value, |_| ());
                value
            }
        }
    }

    #[test]
    fn one_task_loads_and_the_others_get_its_value() {
        let once = LoadOnce::default();
        let (open, loads) = (Cell::new(false), Cell::new(0));
        let load = || async {
            loads.set(loads.get() + 1);
            std::future::poll_fn(|_| {
                if open.get() {
                    Poll::Ready(7)
                } else {
                    Poll::Pending
                }
            })
            .await
        };
        let count = Arc::new(Counter::default());
        let waker = Waker::from(count.clone());
        let mut first = pin!(get_or_load(&once, load()));
        let mut second = pin!(get_or_load(&once, load()));
        assert!(poll(first.as_mut(), Waker::noop()).is_pending());
        assert!(poll(second.as_mut(), &waker).is_pending());
        assert_eq!(once.get(), None);
        open.set(true);
        assert_eq!(poll(first, Waker::noop()), Poll::Ready(7));
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
        assert_eq!(poll(second, &waker), Poll::Ready(7));
        assert_eq!((once.get(), loads.get()), (Some(7), 1));
    }

    #[test]
    fn a_cancelled_load_passes_to_the_next_task() {
        let once = LoadOnce::default();
        let count = Arc::new(Counter::default());
        let waker = Waker::from(count.clone());
        let mut second = pin!(get_or_load(&once, std::future::ready(2)));
        {
            let mut first = pin!(get_or_load(&once, std::future::pending()));
            assert!(poll(first.as_mut(), Waker::noop()).is_pending());
            assert!(poll(second.as_mut(), &waker).is_pending());
        }
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
        assert_eq!(poll(second, &waker), Poll::Ready(2));
    }
}
