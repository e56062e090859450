//! A store whose calls stand still before and after they are carried out, until they are told to
//! go on, and fail on command.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::Poll;

use session_core::{Backend, Error, ErrorKind, Result};
use session_tests::stores::Call;
use session_tests::wrap_backend;

use crate::steps::Fault;

/// The store.
#[derive(Debug)]
pub(crate) struct Turns<B> {
    inner: Arc<B>,
    turn: Turn,
    created: Mutex<Vec<String>>,
}

/// Whose turn it is, and what came of it.
#[derive(Clone, Debug)]
pub(crate) struct Turn(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    /// Calls stand still. Those of the test's own, that look at what is there, do not.
    stepping: bool,
    standing: bool,
    fault: Fault,
    calls: Vec<Call>,
    faults: usize,
}

/// What was called while somebody had the turn, and how many of the calls failed.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    pub(crate) calls: Vec<Call>,
    pub(crate) faults: usize,
}

impl Calls {
    pub(crate) fn add(&mut self, more: Self) {
        self.calls.extend(more.calls);
        self.faults += more.faults;
    }
}

pub(crate) type Waiting<T> = Pin<Box<dyn Future<Output = T> + Send>>;

impl Turn {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Mutex::new(State {
            stepping: false,
            standing: false,
            fault: Fault::None,
            calls: Vec::new(),
            faults: 0,
        })))
    }

    /// Lets `waiting` go on up to the next await point; `None` if it stands there.
    pub(crate) async fn go<T>(&self, waiting: &mut Waiting<T>, fault: Fault) -> (Option<T>, Calls) {
        {
            let mut state = self.state();
            (state.stepping, state.standing, state.fault) = (true, false, fault);
        }
        let came = poll_fn(|cx| match waiting.as_mut().poll(cx) {
            Poll::Ready(value) => Poll::Ready(Some(value)),
            Poll::Pending if self.state().standing => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        });
        let came = came.await;
        let mut state = self.state();
        state.stepping = false;
        let calls = std::mem::take(&mut state.calls);
        let faults = std::mem::take(&mut state.faults);
        (came, Calls { calls, faults })
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

impl<B> Turns<B> {
    pub(crate) fn new(inner: Arc<B>, turn: Turn) -> Self {
        Self {
            inner,
            turn,
            created: Mutex::default(),
        }
    }

    async fn around<T>(
        &self,
        call: Call,
        key: &str,
        inner: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        if call == Call::Create {
            self.created.lock().unwrap().push(key.to_owned());
        }
        if !self.turn.state().stepping {
            return inner.await;
        }
        self.turn.stand().await;
        let fault = {
            let mut state = self.turn.state();
            state.calls.push(call);
            let fault = std::mem::replace(&mut state.fault, Fault::None);
            state.faults += usize::from(fault != Fault::None);
            fault
        };
        let down = || Error::new(ErrorKind::Unavailable, "the store is down, says the test");
        if fault == Fault::Refused {
            return Err(down());
        }
        let answer = inner.await;
        self.turn.stand().await;
        if fault == Fault::Unanswered {
            return Err(down());
        }
        answer
    }
}

wrap_backend!(Turns<B>, B);

impl<B: Backend> Turns<B> {
    /// Loses all that was stored.
    pub(crate) async fn wipe(&self) {
        let created = self.created.lock().unwrap().clone();
        for key in created {
            self.inner.delete(&key, None).await.unwrap();
        }
    }
}
