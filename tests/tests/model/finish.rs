//! Brings a request to its end, from one await point to the next. Requests that it waits for go on,
//! too.

use crate::handle::{Check, fail, must};
use crate::steps::Fault;

/// A request on its way.
pub(crate) trait InFlight {
    fn id(&self) -> usize;

    /// Returns whether a load or save of the request has begun and not ended.
    fn is_in_flight(&self) -> bool;
}

/// Requests that share a store.
pub(crate) trait Finish {
    type Request: InFlight;

    /// The most await points that a load or save passes.
    const MOST_CALLS: usize;

    fn requests(&self) -> &[Self::Request];

    /// Goes to the next await point. Returns false if the request waits for another one.
    async fn go(&mut self, at: usize, fault: Fault) -> Check<bool>;

    /// Chooses one of the present requests.
    fn at(&self, number: usize) -> Option<usize> {
        let count = self.requests().len();
        (count > 0).then(|| number % count)
    }

    fn place(&self, id: usize) -> Option<usize> {
        self.requests()
            .iter()
            .position(|request| request.id() == id)
    }

    /// Brings the request's load or save to its end.
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
            // The requests that it waits for go on.
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
