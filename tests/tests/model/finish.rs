//! Requests go on, each from one await point to the next, and those that wait for others too.

use crate::handle::{Check, fail, must};
use crate::steps::Fault;

/// A request on its way.
pub(crate) trait InFlight {
    fn id(&self) -> usize;

    /// It waits for something.
    fn is_in_flight(&self) -> bool;
}

/// Requests that share a store.
pub(crate) trait Finish {
    type Request: InFlight;

    /// So often at most a request goes on until what it waits for is at its end.
    const MOST_CALLS: usize;

    fn requests(&self) -> &[Self::Request];

    /// One await point further; false if it waits for another request.
    async fn go(&mut self, at: usize, fault: Fault) -> Check<bool>;

    /// Chooses among the requests that there are now.
    fn at(&self, number: usize) -> Option<usize> {
        let count = self.requests().len();
        (count > 0).then(|| number % count)
    }

    fn place(&self, id: usize) -> Option<usize> {
        self.requests()
            .iter()
            .position(|request| request.id() == id)
    }

    /// What the request waits for comes to its end.
    async fn finish(&mut self, id: usize, mut fault: Fault) -> Check {
        for _ in 0..Self::MOST_CALLS {
            let Some(at) = self.place(id) else {
                return Ok(());
            };
            if !self.requests()[at].is_in_flight() {
                return Ok(());
            }
            if self.go(at, fault).await? {
                fault = Fault::None;
                continue;
            }
            // Those that it waits for go on.
            let others = self.requests().iter();
            let others = others.filter(|other| other.id() != id && other.is_in_flight());
            let others: Vec<usize> = others.map(InFlight::id).collect();
            let mut went_on = false;
            for other in others {
                if let Some(at) = self.place(other) {
                    went_on |= self.go(at, Fault::None).await?;
                }
            }
            must!(went_on, "requests wait for each other for ever");
        }
        fail!("it never ends");
    }
}
