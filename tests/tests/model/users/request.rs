//! A request on its way, and what it has done to the store so far.

use session_core::{Result, Session, UserSession};

use crate::finish::InFlight;
use crate::handle::{Done, Handle};
use crate::known::{Entry, Record};
use crate::request::{Reply, Served};
use crate::turns::Waiting;
use crate::users::steps::Call;

pub(crate) struct Request {
    pub(crate) id: usize,
    /// `None`: support, which has no session.
    pub(crate) client: Option<usize>,
    pub(crate) process: usize,
    /// The known identities that its cookies name.
    pub(crate) cookies: Vec<usize>,
    /// Where its session is.
    pub(crate) place: Option<usize>,
    pub(crate) served: Option<Served>,
    pub(crate) handle: Option<Handle>,
    pub(crate) flight: Option<Flight>,
}

pub(crate) enum Flight {
    Load {
        waiting: Waiting<Result<Session>>,
        op: Op,
    },
    Save {
        waiting: Waiting<Reply>,
        /// `None`: it has not begun.
        op: Option<Op>,
    },
    Call {
        waiting: Waiting<Result<Told>>,
        /// `None`: it has not begun.
        op: Option<Op>,
        call: Call,
        user: u64,
        /// The handle that it is to end, if it is to end one.
        handle: String,
    },
}

/// What a call returned.
pub(crate) enum Told {
    Listed(Vec<UserSession>),
    Ended(usize),
}

/// What runs, and what it has done.
#[derive(Debug, Default)]
pub(crate) struct Op {
    /// When it began: the tick and the time.
    pub(crate) tick: usize,
    pub(crate) at: u64,
    /// How many of the ticks since then were its own.
    pub(crate) turns: usize,
    pub(crate) faults: usize,
    /// The changes that it saves.
    pub(crate) delta: Vec<Done>,
    pub(crate) begun: usize,
    /// The record that it wrote last, and where.
    pub(crate) stored: Option<(usize, Record)>,
    /// What it wrote over its session's record, or over that of another.
    pub(crate) left: Vec<(usize, Entry)>,
    /// What it revoked: the key, the handle, and whether the store's response came.
    pub(crate) revoked: Vec<(usize, String, bool)>,
    /// It gave a user a session that the user did not have.
    pub(crate) has_listed: bool,
    /// The keys that it is to revoke, if no other request interferes.
    pub(crate) predicted: Vec<usize>,
    /// The logins that it is to end.
    pub(crate) logins: Vec<u64>,
    /// The caller's session cannot be found in the index, and should be.
    pub(crate) is_lost: bool,
}

impl InFlight for Request {
    fn id(&self) -> usize {
        self.id
    }

    fn is_in_flight(&self) -> bool {
        self.flight.is_some()
    }
}

impl Request {
    pub(crate) fn handle(&self) -> &Handle {
        self.handle.as_ref().expect("it is loaded")
    }

    pub(crate) fn op_mut(&mut self) -> &mut Op {
        match &mut self.flight {
            Some(
                Flight::Load { op, .. }
                | Flight::Save { op: Some(op), .. }
                | Flight::Call { op: Some(op), .. },
            ) => op,
            _ => unreachable!("it runs"),
        }
    }

    pub(crate) fn op(&self) -> &Op {
        match &self.flight {
            Some(
                Flight::Load { op, .. }
                | Flight::Save { op: Some(op), .. }
                | Flight::Call { op: Some(op), .. },
            ) => op,
            _ => unreachable!("it runs"),
        }
    }
}
