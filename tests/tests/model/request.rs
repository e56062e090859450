//! A request on its way, and what its save may do.

use std::sync::Arc;

use session_core::{Result, Session, SessionContext};

use crate::handle::{Done, Handle, What, has, invalidates};
use crate::turns::{Calls, Waiting};

/// What came of a save, for the client's cookie.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Answer {
    Keep,
    Set(String),
    Remove,
}

pub(crate) struct Request {
    pub(crate) id: usize,
    pub(crate) client: usize,
    /// The session cookies that it came with, the first four of them.
    pub(crate) cookies: Vec<String>,
    /// It came with a cookie of the name, whichever.
    pub(crate) sent: bool,
    /// Of those other than its session's, a logout ends all. (Not after its session was saved.)
    pub(crate) ends_cookies: bool,
    pub(crate) login: bool,
    pub(crate) context: Option<SessionContext>,
    pub(crate) handle: Option<Handle>,
    pub(crate) identity: Option<String>,
    /// It was loaded when so much of its life was gone that a read restarts it.
    pub(crate) rolls: bool,
    /// It was told that the session had ended.
    pub(crate) told: bool,
    /// A logout came through its renewal.
    pub(crate) overtaken: bool,
    pub(crate) flight: Option<Flight>,
    pub(crate) born: u64,
}

pub(crate) enum Flight {
    Load {
        waiting: Waiting<Result<Session>>,
        since: usize,
        calls: Calls,
    },
    Save {
        waiting: Waiting<Result<Answer>>,
        save: Save,
    },
}

/// A save that runs.
#[derive(Debug, Default)]
pub(crate) struct Save {
    /// How many of the handle's changes there were when it began.
    pub(crate) begun: usize,
    pub(crate) at: u64,
    pub(crate) calls: Calls,
    /// How often it was seen to change its own record.
    pub(crate) effects: usize,
    /// It was seen to take its own record away, as nothing was left in it.
    pub(crate) took: bool,
    /// Its changes, up to this one, were seen to be in the store after its call.
    pub(crate) seen: Option<usize>,
}

/// What a save is to do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Plan {
    Nothing,
    /// To end the session, and start another if there is anything in it.
    Start,
    Renew,
    Update,
}

impl Request {
    pub(crate) fn handle(&self) -> &Handle {
        self.handle.as_ref().expect("it is loaded")
    }

    /// What a save does after this much was done, and of that these changes for the first time.
    pub(crate) fn plan(&self, until: usize, done: &[Done]) -> Plan {
        let emptied = self.handle().local(until).is_empty() && has(done, &What::Cleared);
        if done.is_empty() && !self.login {
            Plan::Nothing
        } else if self.identity.is_none() || invalidates(done) || emptied {
            Plan::Start
        } else if has(done, &What::Renewed) {
            Plan::Renew
        } else {
            Plan::Update
        }
    }

    /// All that the save which began at `begun` may do: what was done meanwhile is in it or not.
    pub(crate) fn plans(&self, begun: usize) -> impl Iterator<Item = (usize, &[Done], Plan)> {
        let handle = self.handle();
        (begun..=handle.len()).flat_map(move |until| {
            let pending = handle.pending(until);
            pending.map(move |done| (until, done, self.plan(until, done)))
        })
    }

    /// Whether its save ends what other cookies stand for.
    pub(crate) fn is_logout(&self, done: &[Done]) -> bool {
        self.login || invalidates(done)
    }

    pub(crate) fn save(&self) -> Option<&Save> {
        match &self.flight {
            Some(Flight::Save { save, .. }) => Some(save),
            _ => None,
        }
    }

    pub(crate) fn save_mut(&mut self) -> &mut Save {
        match &mut self.flight {
            Some(Flight::Save { save, .. }) => save,
            _ => unreachable!("a save runs"),
        }
    }
}

pub(crate) type Storage = Arc<dyn session_core::Storage>;
