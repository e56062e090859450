//! Every identity that there ever was, and what its cookie yields.

use std::time::{Duration, UNIX_EPOCH};

use session_core::Session;

use crate::handle::Dict;
use crate::steps::Setup;

/// What a cookie yields, to whoever asks now.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct View {
    pub(crate) dict: Dict,
    /// When it was written last, in Unix seconds.
    pub(crate) created: u64,
}

impl View {
    /// `None` if it is a new session's.
    pub(crate) fn of(session: &Session) -> Option<Self> {
        let created = session.created().duration_since(UNIX_EPOCH).unwrap();
        (!session.is_new()).then(|| Self {
            dict: Dict::of(session),
            created: created.as_secs(),
        })
    }
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Status {
    Alive(View),
    /// It yields a new session since its time is over. Who loaded it before may still write it.
    Expired(View),
    /// It yields a new session, for ever.
    Gone,
}

impl Status {
    pub(crate) fn alive(&self) -> Option<&View> {
        match self {
            Self::Alive(view) => Some(view),
            _ => None,
        }
    }

    pub(crate) fn last(&self) -> Option<&View> {
        match self {
            Self::Alive(view) | Self::Expired(view) => Some(view),
            Self::Gone => None,
        }
    }
}

/// An identity that was drawn.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) identity: String,
    /// The request that drew it.
    pub(crate) owner: usize,
    /// A client got it. Until then nobody but its owner knows it.
    pub(crate) issued: bool,
    pub(crate) status: Status,
    /// What it yielded, from which step on.
    pub(crate) history: Vec<(usize, Option<Dict>)>,
    /// A renewal ended it.
    pub(crate) moved: Option<Moved>,
    /// Somebody else than its owner ended it before it was issued, or time did.
    pub(crate) killed: bool,
    /// When the session began, from and to: what an absolute lifetime counts from.
    pub(crate) started: (u64, u64),
}

#[derive(Clone, Debug)]
pub(crate) struct Moved {
    pub(crate) at: u64,
    pub(crate) by: usize,
    /// What the session was then.
    pub(crate) view: View,
    /// The identity it has now, once that was issued.
    pub(crate) to: Option<String>,
}

impl Known {
    pub(crate) fn new(identity: String, owner: usize, started: (u64, u64)) -> Self {
        Self {
            identity,
            owner,
            issued: false,
            status: Status::Gone,
            history: vec![(0, None)],
            moved: None,
            killed: false,
            started,
        }
    }

    pub(crate) fn set(&mut self, status: Status, step: usize) {
        let yields = status.alive().map(|view| view.dict.clone());
        if self.history.last().is_none_or(|(_, last)| *last != yields) {
            self.history.push((step, yields));
        }
        self.status = status;
    }

    /// Whether it yielded that at some time since this step.
    pub(crate) fn yielded(&self, what: Option<&Dict>, since: usize) -> bool {
        let before = self.history.iter().rposition(|(step, _)| *step <= since);
        self.history[before.unwrap_or(0)..]
            .iter()
            .any(|(_, dict)| dict.as_ref() == what)
    }

    /// Whether a session like this is over at that time, if that is certain. To the second there
    /// is no promise.
    pub(crate) fn is_over(&self, view: &View, setup: &Setup, now: u64) -> Option<bool> {
        let max_age = view.dict.max_age.as_ref().map(Duration::as_secs);
        let ends_after = |from: u64, age: Option<u64>| age.map(|age| from + age);
        let latest = [
            ends_after(view.created, max_age),
            ends_after(self.started.1, setup.absolute),
        ];
        let earliest = [
            ends_after(view.created, max_age),
            ends_after(self.started.0, setup.absolute),
        ];
        if latest.iter().flatten().any(|end| now > *end) {
            return Some(true);
        }
        if earliest.iter().flatten().all(|end| now < *end) {
            return Some(false);
        }
        None
    }
}
