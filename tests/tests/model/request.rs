//! A request on its way, and what its save has to do.

use std::collections::HashMap;
use std::time::Duration;

use http::Request as Head;
use session_core::{CookieChange, Error, ErrorKind, Result, Session};
use tokio::sync::oneshot::Sender;

use crate::finish::InFlight;
use crate::handle::{Done, Handle, What, has, invalidates};
use crate::known::{Entry, Record};
use crate::steps::End;
use crate::turns::{Made, Waiting};

/// What came of a save, for the client's cookie.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum ClientCookie {
    Keep,
    Set {
        cookie: String,
        max_age: Option<u64>,
    },
    Remove,
}

/// What a save returned.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Reply {
    /// `None`: the handler does not see it.
    pub(crate) cookie: Option<ClientCookie>,
    pub(crate) failed: Option<ErrorKind>,
}

impl Reply {
    /// What a storage returned.
    pub(crate) fn of(saved: Result<CookieChange>) -> Self {
        let failed = saved.as_ref().err().map(Error::kind);
        let cookie = match saved.unwrap_or(CookieChange::Keep) {
            CookieChange::Keep => ClientCookie::Keep,
            CookieChange::Set { value, max_age, .. } => ClientCookie::Set {
                cookie: value,
                max_age: max_age.as_ref().map(Duration::as_secs),
            },
            CookieChange::Remove => ClientCookie::Remove,
        };
        Self {
            cookie: Some(cookie),
            failed,
        }
    }
}

/// Where a request's session is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Place {
    New,
    /// At this known identity.
    Stored {
        own: usize,
        /// What the record was when it was loaded or last saved.
        record: Record,
    },
}

impl Place {
    pub(crate) fn own(&self) -> Option<usize> {
        match self {
            Self::New => None,
            Self::Stored { own, .. } => Some(*own),
        }
    }

    pub(crate) fn is_emptied(&self) -> bool {
        matches!(self, Self::Stored { record, .. } if record.is_empty())
    }
}

#[expect(
    clippy::struct_excessive_bools,
    reason = "a model says what is true, each fact for itself"
)]
pub(crate) struct Request {
    pub(crate) id: usize,
    pub(crate) client: usize,
    pub(crate) process: usize,
    /// The session cookies that it came with.
    pub(crate) cookies: Vec<String>,
    /// It came with a cookie of the name, whichever.
    pub(crate) sent: bool,
    /// Known identities, other than its session's, that an end ends too.
    pub(crate) others: Vec<usize>,
    pub(crate) login: bool,
    /// A newer cookie is on its way to the client: nothing may be written.
    pub(crate) is_forbidden: bool,
    /// It was loaded when so much of its life was gone that a read restarts it.
    pub(crate) rolls: bool,
    /// It was told that the session had ended.
    pub(crate) told: bool,
    pub(crate) place: Place,
    pub(crate) served: Option<Served>,
    pub(crate) handle: Option<Handle>,
    pub(crate) flight: Option<Flight>,
    pub(crate) born: u64,
    /// A save of it failed or was cancelled.
    pub(crate) has_failed: bool,
    /// It may have left a record behind that no client knows, as it failed to take it back.
    pub(crate) may_leave: bool,
    /// The keys whose sessions its saves ended, acknowledged or not.
    pub(crate) ended: Vec<usize>,
}

/// A request to a handler behind a server.
pub(crate) struct Served {
    pub(crate) head: Head<()>,
    pub(crate) respond: Option<Sender<End>>,
    /// Runs the handler.
    pub(crate) future: Option<Waiting<Reply>>,
    /// What the handler's own saves did to the cookie.
    pub(crate) unsent: Vec<ClientCookie>,
}

pub(crate) enum Flight {
    Load {
        waiting: Waiting<Result<Session>>,
        load: Load,
    },
    Save {
        waiting: Waiting<Reply>,
        /// `None`: it has not begun.
        save: Option<Box<Save>>,
        /// The handler has responded.
        end: Option<End>,
    },
}

/// A load that runs.
#[derive(Debug, Default)]
pub(crate) struct Load {
    pub(crate) faults: usize,
    /// What it has read, of which key.
    pub(crate) read: Vec<(String, Entry)>,
    /// What it made of it when it went on.
    pub(crate) found: Vec<(usize, Entry, u64)>,
}

/// A save that runs.
#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "a model says what is true, each fact for itself"
)]
pub(crate) struct Save {
    pub(crate) plan: Plan,
    /// The changes that it saves.
    pub(crate) delta: Vec<Done>,
    /// How many of the handle's changes there were when it began.
    pub(crate) begun: usize,
    /// What the session held then.
    pub(crate) local: crate::handle::Dict,
    pub(crate) at: u64,
    pub(crate) tick: usize,
    /// It restarts the lifetime.
    pub(crate) rolls: bool,
    /// The response does not save its changes.
    pub(crate) is_dropped: bool,
    pub(crate) calls: usize,
    pub(crate) faults: usize,
    /// The keys for which it got a response, and when last.
    pub(crate) replied: HashMap<usize, usize>,
    /// The keys that it called, with or without a response.
    pub(crate) tried: Vec<usize>,
    /// It began to take back the record that it had stored.
    pub(crate) takes_back: bool,
    /// It tried to store a new record.
    pub(crate) creates: bool,
    pub(crate) next: Option<Made>,
    /// When it prepared that call.
    pub(crate) prepared: u64,
    /// What it left of its own record.
    pub(crate) updated: Option<Record>,
    /// The identity that it drew or goes on with, and what it stored there.
    pub(crate) hidden: Option<(usize, Record)>,
    /// It put a tombstone over its own record: it moved or cleared it.
    pub(crate) is_over: bool,
    /// The keys whose sessions it ended.
    pub(crate) ended: Vec<usize>,
    /// Where it left the tombstone of a login, whatever was there.
    pub(crate) replaced: Vec<usize>,
}

/// What a save is to do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Plan {
    Nothing,
    Update,
    /// To restart the lifetime of a session that was only read.
    Refresh,
    /// To move the session to a fresh identity.
    Move,
    Create,
    Login,
    /// To end the session, and start another if there is anything in it.
    End,
    Clear,
    /// To be told that there is a newer session, or none any more.
    Refuse,
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

    pub(crate) fn handle_mut(&mut self) -> &mut Handle {
        self.handle.as_mut().expect("it is loaded")
    }

    /// Begins a save.
    pub(crate) fn begin(&mut self, end: Option<End>, now: u64, tick: usize) {
        let handle = self.handle.as_ref().expect("it is loaded");
        let mut delta = handle.done().to_vec();
        let mut local = handle.local().clone();
        let begun = delta.len();
        let mut is_dropped = false;
        if end.is_some_and(|end| end != End::Well) {
            is_dropped = self.login || !delta.is_empty();
            // Only an end is kept.
            let ends = |done: &Done| matches!(done.what, What::Invalidated(_));
            delta = delta.into_iter().rfind(ends).into_iter().collect();
            local = handle.empty();
            self.rolls = false;
            self.login &= !delta.is_empty();
        }
        // Before the response it is unknown whether a read counts as activity. So an explicit save
        // of a served session leaves the refresh to the end, unless it writes.
        let is_explicit = self.served.is_some() && end.is_none();
        let rolls = self.rolls && (!is_explicit || delta.iter().any(Done::writes) || self.login);
        let plan = self.plan(&delta, local.is_empty(), rolls);
        let save = Save {
            plan,
            delta,
            begun,
            local,
            at: now,
            tick,
            rolls,
            is_dropped,
            calls: 0,
            faults: 0,
            replied: HashMap::new(),
            tried: Vec::new(),
            takes_back: false,
            creates: false,
            next: None,
            prepared: now,
            updated: None,
            hidden: None,
            is_over: false,
            ended: Vec::new(),
            replaced: Vec::new(),
        };
        match &mut self.flight {
            Some(Flight::Save { save: none, .. }) => *none = Some(Box::new(save)),
            _ => unreachable!("a save runs"),
        }
        let handle = self.handle_mut();
        handle.closed = end.is_some();
        handle.drafted = begun;
    }

    fn plan(&self, delta: &[Done], is_empty: bool, rolls: bool) -> Plan {
        let (ends, renews) = (invalidates(delta), has(delta, &What::Renewed));
        let is_due = !delta.is_empty() || self.login || rolls;
        if !is_due {
            return Plan::Nothing;
        }
        if self.told && !ends {
            return Plan::Refuse;
        }
        if self.login {
            return if is_empty { Plan::End } else { Plan::Login };
        }
        if ends {
            return Plan::End;
        }
        let is_stored = self.place.own().is_some();
        if is_stored && !self.place.is_emptied() {
            return if has(delta, &What::Cleared) && is_empty {
                Plan::Clear
            } else if renews {
                // Another request may have set a key, which then moves along.
                Plan::Move
            } else if delta.is_empty() {
                Plan::Refresh
            } else {
                Plan::Update
            };
        }
        let renews = renews && !is_stored;
        if self.is_forbidden && (renews || !is_empty) {
            Plan::Refuse
        } else if is_empty {
            Plan::Nothing
        } else if is_stored {
            Plan::Move
        } else {
            Plan::Create
        }
    }

    /// Where a save's ends begin: the known identities.
    pub(crate) fn starts(&self, save: &Save) -> Vec<usize> {
        let own = self.place.own();
        match save.plan {
            Plan::End => own.into_iter().chain(self.others.iter().copied()).collect(),
            Plan::Login => self.others.clone(),
            Plan::Clear => own.into_iter().collect(),
            _ => Vec::new(),
        }
    }

    pub(crate) fn save(&self) -> &Save {
        match &self.flight {
            Some(Flight::Save {
                save: Some(save), ..
            }) => save,
            _ => unreachable!("a save runs"),
        }
    }

    pub(crate) fn save_mut(&mut self) -> &mut Save {
        match &mut self.flight {
            Some(Flight::Save {
                save: Some(save), ..
            }) => save,
            _ => unreachable!("a save runs"),
        }
    }
}
