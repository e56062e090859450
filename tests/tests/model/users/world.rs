//! Clients, their requests, support and a store, and the steps carried out among them.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use session_core::keyed::Backend;
use session_core::{Identity, KeyedStorage, ManualClock, UserIndex};

use crate::finish::Finish;
use crate::handle::{Check, Handle, must};
use crate::known::{Entry, Known};
use crate::request::Reply;
use crate::run::now;
use crate::seen::seen;
use crate::steps::{Fault, PROCESSES};
use crate::turns::{Came, Turn, Turns};
use crate::users::listed::{Index, index_key, user_of};
use crate::users::request::{Flight, Op, Request, Told};
use crate::users::steps::{CLIENTS, Call, Setup, Step, USERS};
use crate::world::NAME;

pub(crate) struct World<B> {
    pub(crate) setup: Setup,
    /// Each process has one, of the same store.
    pub(crate) storages: Vec<Arc<KeyedStorage<Turns<B>>>>,
    turn: Turn,
    clock: ManualClock,
    drawn: Arc<Mutex<Vec<String>>>,
    /// What each client's browser keeps.
    pub(crate) jars: [Option<String>; CLIENTS],
    pub(crate) requests: Vec<Request>,
    pub(crate) known: Vec<Known>,
    /// When clients were first given these known identities.
    pub(crate) issued_at: HashMap<usize, usize>,
    /// Where renewals moved sessions.
    pub(crate) moved_to: HashMap<usize, usize>,
    /// What the store holds for each user.
    pub(crate) indexes: BTreeMap<u64, Option<Index>>,
    /// Known identities whose entries went with an index that the store lost.
    pub(crate) lost: BTreeSet<usize>,
    /// The store has lost an index some time.
    pub(crate) has_lost: bool,
    /// The logins that were acknowledged, each with its user and its session's handle.
    pub(crate) acknowledged: BTreeMap<u64, (u64, String)>,
    /// The logins that an end has ended.
    pub(crate) dead: HashSet<u64>,
    /// Counts the turns.
    pub(crate) tick: usize,
    count: u64,
    pub(crate) seen: Seen,
}

seen! {
    saves,
    failed,
    logins,
    lists,
    ends,
    /// Sessions that ends ended.
    ended,
    /// Ends of others and of one that ended some.
    others,
    one,
    /// Ends of the request's own session.
    own,
    call_failed,
    /// Logins that ended an older session.
    limited,
    lost_indexes,
    cancelled,
}

impl<B: Backend> World<B> {
    /// `prefix` is that of all identities.
    pub(crate) fn new(backend: &Arc<B>, clock: ManualClock, setup: Setup, prefix: &str) -> Self {
        let cookie = setup.base.cookie();
        let turn = Turn::new(prefix);
        let drawn = Arc::new(Mutex::new(Vec::new()));
        let storage = || {
            let (drawn, prefix) = (drawn.clone(), prefix.to_owned());
            let index = UserIndex::new("user");
            let index = match setup.limit {
                Some(limit) => index.limit(limit),
                None => index,
            };
            let storage = KeyedStorage::new(Turns::new(backend.clone(), turn.clone()))
                .with_cookie(cookie.clone())
                .with_clock(clock.clone())
                .with_key_factory(move || {
                    let mut drawn = drawn.lock().unwrap();
                    let identity = format!("{prefix}_{:06}", drawn.len());
                    drawn.push(identity.clone());
                    Ok(Identity::parse(&identity).unwrap())
                })
                .hash_identities(setup.base.hash_identities)
                .with_user_index(index);
            Arc::new(storage)
        };
        Self {
            setup,
            storages: (0..PROCESSES).map(|_| storage()).collect(),
            turn,
            clock,
            drawn,
            jars: [const { None }; CLIENTS],
            requests: Vec::new(),
            known: Vec::new(),
            issued_at: HashMap::new(),
            moved_to: HashMap::new(),
            indexes: USERS.map(|user| (user, None)).collect(),
            lost: BTreeSet::new(),
            has_lost: false,
            acknowledged: BTreeMap::new(),
            dead: HashSet::new(),
            tick: 1,
            count: 0,
            seen: Seen::default(),
        }
    }

    pub(crate) fn now(&self) -> u64 {
        now(&self.clock)
    }

    pub(crate) fn index(&self, user: u64) -> Index {
        self.indexes[&user].clone().unwrap_or_default()
    }

    pub(crate) fn by_key(&self, key: &str) -> Option<usize> {
        let suffix = key.strip_prefix(NAME)?.strip_prefix('_')?;
        self.known.iter().position(|known| known.suffix == suffix)
    }

    pub(crate) fn find(&self, identity: &str) -> Option<usize> {
        let mut known = self.known.iter();
        known.position(|known| known.identity == identity)
    }

    /// What the store holds for a known identity.
    pub(crate) async fn raw(&self, at: usize) -> Entry {
        let key = format!("{NAME}_{}", self.known[at].suffix);
        let found = self.storages[0].backend().read(&key).await.unwrap();
        Entry::of(&found, &self.setup.base)
    }

    pub(crate) async fn run(&mut self, step: &Step) -> Check {
        match step {
            Step::Ask {
                client,
                sends,
                process,
                waits,
            } => {
                let id = self.ask(*client, *sends, *process)?;
                if !waits {
                    self.finish(id, Fault::None).await?;
                }
            }
            Step::Visit {
                client,
                sends,
                process,
                edits,
                call,
            } => {
                let id = self.ask(*client, *sends, *process)?;
                self.finish(id, Fault::None).await?;
                let at = self.place(id).expect("it was loaded");
                for edit in edits {
                    self.change(at, *edit)?;
                }
                if let Some(call) = call {
                    self.call(at, *call);
                    self.finish(id, Fault::None).await?;
                }
                if let Some(at) = self.place(id) {
                    self.save(at);
                    self.finish(id, Fault::None).await?;
                }
            }
            Step::Change { request, edit } => {
                if let Some(at) = self.at(*request) {
                    self.change(at, *edit)?;
                }
            }
            Step::Call { request, call } => {
                if let Some(at) = self.at(*request) {
                    self.call(at, *call);
                }
            }
            Step::Support {
                user,
                process,
                call,
                waits,
            } => {
                let id = self.support(*user, *process, *call);
                if !waits {
                    self.finish(id, Fault::None).await?;
                }
            }
            Step::Save { request } => {
                if let Some(at) = self.at(*request) {
                    self.save(at);
                }
            }
            Step::Go { request, fault } => {
                if let Some(at) = self.at(*request) {
                    self.go(at, *fault).await?;
                }
            }
            Step::Finish { request, fault } => {
                if let Some(at) = self.at(*request) {
                    self.finish(self.requests[at].id, *fault).await?;
                }
            }
            Step::Cancel { request } => {
                if let Some(at) = self.at(*request) {
                    self.cancel(at)?;
                }
            }
            Step::Wait(seconds) => {
                self.clock.advance(Duration::from_secs(*seconds));
                self.tick += 1;
                self.look_at_all().await?;
            }
            Step::Restart => {
                self.turn.wipe();
                self.tick += 1;
                for known in &mut self.known {
                    known.set(Entry::Missing, None, self.tick);
                }
                self.indexes = USERS.map(|user| (user, None)).collect();
                self.forget_wishes();
                self.look_at_all().await?;
            }
            Step::Lose(user) => self.lose(*user).await?,
        }
        Ok(())
    }

    /// What is on its way comes to its end. Then each user is logged out everywhere.
    pub(crate) async fn end(&mut self) -> Check {
        while let Some(request) = self.requests.first() {
            let id = request.id;
            self.finish(id, Fault::None).await?;
            if let Some(at) = self.place(id) {
                self.leave(at);
            }
        }
        self.look_at_all().await?;
        for user in USERS {
            for call in [Call::List, Call::EndAll, Call::List] {
                let id = self.support(user, 0, call);
                self.finish(id, Fault::None).await?;
            }
            let is_issued = |at: &usize| self.known[*at].is_issued && !self.lost.contains(at);
            let left = self.live(user).map(|(at, _)| at).find(is_issued);
            must!(left.is_none(), "P11: {left:?} lives after an end of all");
        }
        Ok(())
    }

    pub(crate) fn issued(&self) -> Vec<usize> {
        let all = 0..self.known.len();
        all.filter(|at| self.known[*at].is_issued).collect()
    }

    pub(crate) fn fresh(&mut self) -> u64 {
        self.count += 1;
        self.count
    }

    /// What waited begins.
    fn begins(&mut self, at: usize) {
        let (tick, now) = (self.tick, self.now());
        let op = match &self.requests[at].flight {
            Some(Flight::Save { op: None, .. }) => {
                let request = &mut self.requests[at];
                let handle = request.handle.as_mut().expect("it is loaded");
                handle.drafted = handle.done().len();
                handle.closed = request.served.is_some();
                Op {
                    delta: handle.done().to_vec(),
                    begun: handle.done().len(),
                    ..Op::default()
                }
            }
            Some(Flight::Call { op: None, .. }) => self.begin_call(at),
            _ => return,
        };
        let op = Op {
            tick,
            at: now,
            ..op
        };
        match &mut self.requests[at].flight {
            Some(Flight::Save { op: place, .. } | Flight::Call { op: place, .. }) => {
                *place = Some(op);
            }
            _ => unreachable!("it begins"),
        }
    }

    /// What a request waits for is dropped. Only a save can be tried again.
    fn cancel(&mut self, at: usize) -> Check {
        let request = &mut self.requests[at];
        let Some(flight) = request.flight.take() else {
            return Ok(());
        };
        let ends = request
            .handle
            .as_ref()
            .is_some_and(|handle| crate::handle::invalidates(handle.done()));
        let is_save = matches!(&flight, Flight::Save { .. });
        drop(flight);
        self.seen.cancelled += 1;
        if !is_save || ends || request.served.is_some() {
            self.leave(at);
            return Ok(());
        }
        let handle = request.handle.as_mut().expect("it is loaded");
        handle.drafted = 0;
        handle.check()
    }

    /// The client is gone.
    pub(crate) fn leave(&mut self, at: usize) {
        drop(self.requests.remove(at));
    }

    /// What runs may not have read the index yet that the store has lost.
    fn forget_wishes(&mut self) {
        for request in &mut self.requests {
            if let Some(Flight::Call { op: Some(op), .. }) = &mut request.flight {
                op.logins.clear();
                op.predicted.clear();
            }
        }
    }

    /// The store loses the index of a user, as one that evicts keys does.
    async fn lose(&mut self, user: u64) -> Check {
        if self.indexes[&user].is_none() {
            return Ok(());
        }
        self.tick += 1;
        self.turn.lose(&index_key(user));
        self.indexes.insert(user, None);
        let holds = |known: &Known| known.entry.record().and_then(user_of) == Some(user);
        let lost = self.known.iter().enumerate();
        let lost = lost.filter(|(_, known)| holds(known)).map(|(at, _)| at);
        self.lost.extend(lost);
        self.forget_wishes();
        self.has_lost = true;
        self.seen.lost_indexes += 1;
        self.look_at_all().await
    }
}

impl<B: Backend> Finish for World<B> {
    type Request = Request;

    // A store that goes on responding ends every call within this many calls.
    const MOST_CALLS: usize = 800;

    fn requests(&self) -> &[Request] {
        &self.requests
    }

    async fn go(&mut self, at: usize, fault: Fault) -> Check<bool> {
        if self.requests[at].flight.is_none() {
            return Ok(true);
        }
        self.begins(at);
        self.tick += 1;
        let drawn = self.drawn.lock().unwrap().len();
        let turn = self.turn.clone();
        let (is_blocked, done, calls) = match self.requests[at].flight.as_mut().unwrap() {
            Flight::Load { waiting, .. } => {
                let (came, calls) = turn.go(waiting, fault).await;
                let (is_blocked, done) = ended(came);
                (is_blocked, done.map(Done::Loaded), calls)
            }
            Flight::Save { waiting, .. } => {
                let (came, calls) = turn.go(waiting, fault).await;
                let (is_blocked, done) = ended(came);
                (is_blocked, done.map(Done::Saved), calls)
            }
            Flight::Call { waiting, .. } => {
                let (came, calls) = turn.go(waiting, fault).await;
                let (is_blocked, done) = ended(came);
                (is_blocked, done.map(Done::Called), calls)
            }
        };
        let owner = self.requests[at].id;
        let drawn = self.drawn.lock().unwrap()[drawn..].to_vec();
        for identity in drawn {
            let known = Known::new(identity, &self.setup.base, owner);
            self.known.push(known);
        }
        self.went_on(at, calls).await?;
        match done {
            None => {}
            Some(Done::Loaded(Err(error))) => {
                must!(self.requests[at].op().faults > 0, "P7: {error:?}");
                self.leave(at);
            }
            Some(Done::Loaded(Ok(session))) => {
                let usual = self.setup.base.max_age.map(Duration::from_secs);
                let identity = session.identity();
                let place = identity.and_then(|identity| self.find(identity.as_str()));
                let request = &mut self.requests[at];
                request.place = place;
                request.handle = Some(Handle::new(session, usual));
                request.flight = None;
            }
            Some(Done::Saved(reply)) => self.saved(at, &reply)?,
            Some(Done::Called(result)) => {
                self.called(at, result)?;
                self.requests[at].flight = None;
                if self.requests[at].client.is_none() {
                    self.leave(at);
                }
            }
        }
        Ok(!is_blocked)
    }
}

enum Done {
    Loaded(session_core::Result<session_core::Session>),
    Saved(Reply),
    Called(session_core::Result<Told>),
}

fn ended<T>(came: Came<T>) -> (bool, Option<T>) {
    match came {
        Came::Done(value) => (false, Some(value)),
        Came::On => (false, None),
        Came::Blocked => (true, None),
    }
}
