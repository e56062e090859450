//! Futures that are dropped before they are done.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use session_tests::proxy::Dice;

/// When a future is dropped.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Limit {
    Never,
    /// After so many polls, each for a reason: something came that it waited for.
    Polls(usize),
    /// After so many microseconds.
    Micros(u64),
}

impl Limit {
    pub(crate) fn any(dice: &mut Dice) -> Self {
        match dice.below(4) {
            0 => Self::Never,
            1 => Self::Micros(dice.below(4000)),
            _ => Self::Polls(1 + dice.index(12)),
        }
    }

    /// Runs `future` up to the limit; `None` if it was dropped.
    pub(crate) async fn run<F: Future>(self, future: F) -> Option<F::Output> {
        match self {
            Self::Never => Some(future.await),
            Self::Polls(left) => {
                let inner = Box::pin(future);
                Polled { inner, left }.await
            }
            Self::Micros(micros) => tokio::time::timeout(Duration::from_micros(micros), future)
                .await
                .ok(),
        }
    }
}

struct Polled<F> {
    inner: Pin<Box<F>>,
    left: usize,
}

impl<F: Future> Future for Polled<F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.left -= 1;
        match self.inner.as_mut().poll(context) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending if self.left == 0 => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    }
}
