//! A store whose calls stand still before and after they are carried out, until they are told to
//! go on, and fail on command.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::Poll;
use std::time::Duration;

use session_core::keyed::{Backend, Found, OnlyIf, Outcome, Write};
use session_core::{Error, ErrorKind, Result};
use session_tests::stores::Call;

use crate::steps::Fault;

/// The store.
#[derive(Debug)]
pub(crate) struct Turns<B> {
    inner: Arc<B>,
    turn: Turn,
}

/// Whose turn it is, and what came of it.
#[derive(Clone, Debug)]
pub(crate) struct Turn(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    /// Ends every key in the store, so that a new era begins with an empty store.
    era: String,
    eras: usize,
    /// The keys that the store has lost in this era, once for each time.
    lost: Vec<String>,
    /// Calls stand still. Those of the test's own, that look at what is there, do not.
    stepping: bool,
    standing: bool,
    /// How many calls the inner store works on.
    busy: usize,
    /// The call that stands still before it is carried out.
    next: Option<Made>,
    fault: Fault,
    made: Vec<Made>,
    faults: usize,
}

/// A call of the store.
#[derive(Clone, Debug)]
pub(crate) struct Made {
    pub(crate) call: Call,
    pub(crate) key: String,
    pub(crate) time_to_live: Option<Duration>,
    /// The store has stored something.
    pub(crate) is_written: bool,
}

/// What was called while somebody had the turn.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    pub(crate) made: Vec<Made>,
    /// How many of them failed.
    pub(crate) faults: usize,
    /// The call that comes next, if it is known already.
    pub(crate) next: Option<Made>,
}

/// How far somebody who had the turn came.
#[derive(Debug)]
pub(crate) enum Came<T> {
    /// To the end.
    Done(T),
    /// To the next await point.
    On,
    /// It waits for another save.
    Blocked,
}

pub(crate) type Waiting<T> = Pin<Box<dyn Future<Output = T> + Send>>;

impl Turn {
    /// `name` ends all keys in the store.
    pub(crate) fn new(name: &str) -> Self {
        Self(Arc::new(Mutex::new(State {
            era: format!("-{name}"),
            eras: 0,
            lost: Vec::new(),
            stepping: false,
            standing: false,
            busy: 0,
            next: None,
            fault: Fault::None,
            made: Vec::new(),
            faults: 0,
        })))
    }

    /// Lets `waiting` go on up to the next await point.
    pub(crate) async fn go<T>(&self, waiting: &mut Waiting<T>, fault: Fault) -> (Came<T>, Calls) {
        {
            let mut state = self.state();
            (state.stepping, state.standing, state.fault) = (true, false, fault);
            state.next = None;
        }
        let came = poll_fn(|cx| match waiting.as_mut().poll(cx) {
            Poll::Ready(value) => Poll::Ready(Came::Done(value)),
            Poll::Pending if self.state().standing => Poll::Ready(Came::On),
            Poll::Pending if self.state().busy > 0 => Poll::Pending,
            Poll::Pending => Poll::Ready(Came::Blocked),
        });
        let came = tokio::task::unconstrained(came).await;
        let mut state = self.state();
        state.stepping = false;
        let calls = Calls {
            made: std::mem::take(&mut state.made),
            faults: std::mem::take(&mut state.faults),
            next: state.next.take(),
        };
        (came, calls)
    }

    /// The store loses all it had.
    pub(crate) fn wipe(&self) {
        let mut state = self.state();
        state.eras += 1;
        state.era = format!("{}-{}", state.era, state.eras);
    }

    /// The store loses one key, as one that evicts keys does.
    pub(crate) fn lose(&self, key: &str) {
        self.state().lost.push(key.to_owned());
    }

    async fn stand(&self) {
        let mut stood = false;
        let stand = poll_fn(|_| {
            if stood {
                return Poll::Ready(());
            }
            stood = true;
            self.state().standing = true;
            Poll::Pending
        });
        stand.await;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }
}

/// A call that the inner store works on, until it is dropped.
struct Busy<'a>(&'a Turn);

impl<'a> Busy<'a> {
    fn new(turn: &'a Turn) -> Self {
        turn.state().busy += 1;
        Self(turn)
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.state().busy -= 1;
    }
}

impl<B> Turns<B> {
    pub(crate) fn new(inner: Arc<B>, turn: Turn) -> Self {
        Self { inner, turn }
    }

    fn stored_key(&self, key: &str) -> String {
        let state = self.turn.state();
        let lost = state.lost.iter().filter(|lost| *lost == key).count();
        match lost {
            0 => format!("{key}{}", state.era),
            times => format!("{key}{}-lost-{times}", state.era),
        }
    }

    async fn around<T>(
        &self,
        mut made: Made,
        inner: impl Future<Output = Result<T>>,
        is_written: impl FnOnce(&T) -> bool,
    ) -> Result<T> {
        if !self.turn.state().stepping {
            return inner.await;
        }
        self.turn.state().next = Some(made.clone());
        self.turn.stand().await;
        let fault = {
            let mut state = self.turn.state();
            let fault = std::mem::replace(&mut state.fault, Fault::None);
            state.faults += usize::from(fault != Fault::None);
            fault
        };
        let down = || Error::new(ErrorKind::Unavailable, "the store is down, says the test");
        if fault == Fault::Refused {
            self.turn.state().made.push(made);
            return Err(down());
        }
        let busy = Busy::new(&self.turn);
        let reply = inner.await;
        drop(busy);
        {
            let mut state = self.turn.state();
            made.is_written = reply.as_ref().is_ok_and(is_written);
            state.made.push(made);
        }
        self.turn.stand().await;
        if fault == Fault::ReplyLost {
            return Err(down());
        }
        reply
    }
}

impl<B: Backend> Backend for Turns<B> {
    async fn read(&self, key: &str) -> Result<Found> {
        let made = Made {
            call: Call::Read,
            key: key.to_owned(),
            time_to_live: None,
            is_written: false,
        };
        let read = async { self.inner.read(&self.stored_key(key)).await };
        self.around(made, read, |_| false).await
    }

    async fn write(&self, key: &str, write: Write, only_if: OnlyIf<'_>) -> Result<Outcome> {
        let made = Made {
            call: Call::of(&write, only_if),
            key: key.to_owned(),
            time_to_live: write.time_to_live(),
            is_written: false,
        };
        let write = async {
            let key = self.stored_key(key);
            self.inner.write(&key, write, only_if).await
        };
        let is_written = |outcome: &Outcome| matches!(outcome, Outcome::Written(_));
        self.around(made, write, is_written).await
    }

    async fn bound<F: Future + Send>(&self, waiting: F, times: u32) -> Result<F::Output> {
        self.inner.bound(waiting, times).await
    }
}
