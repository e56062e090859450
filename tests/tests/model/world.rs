//! Clients, their requests and a store, and the steps carried out among them.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use session_core::keyed::Backend;
use session_core::{CookieSettings, Identity, KeyedStorage, ManualClock, Storage as _};

use crate::acts::GARBAGE;
use crate::draws::Draws;
use crate::finish::Finish;
use crate::handle::{Check, fail, must};
use crate::known::{Entry, Known};
use crate::request::{Flight, Request};
use crate::run::now;
use crate::seen::seen;
use crate::steps::{CLIENTS, Edit, End, Fault, PROCESSES, Sends, Setup, Step};
use crate::turns::{Came, Turn, Turns};

pub(crate) const NAME: &str = "sid";

pub(crate) struct World<B> {
    pub(crate) setup: Setup,
    /// Each process has one, of the same store.
    pub(crate) storages: Vec<Arc<KeyedStorage<Turns<B>>>>,
    turn: Turn,
    /// The store takes the time from the test's clock.
    pub(crate) has_our_clock: bool,
    clock: ManualClock,
    draws: Arc<Mutex<Draws>>,
    /// The same store, for a session that is always there.
    reserved: KeyedStorage<Turns<B>>,
    /// What each client's browser keeps.
    pub(crate) jars: [Option<String>; CLIENTS],
    pub(crate) requests: Vec<Request>,
    /// A request of which the model does not know how far it came.
    pub(crate) unclear: Option<usize>,
    pub(crate) known: Vec<Known>,
    /// Counts the turns.
    pub(crate) tick: usize,
    /// Unique values and numbers.
    pub(crate) count: usize,
    pub(crate) seen: Seen,
}

seen! {
    saves,
    failed,
    /// Saves that were dropped where they stood.
    cancelled,
    /// Saves of a session whose earlier save had failed.
    again,
    told,
    merged,
    moved,
    ended,
    /// Ends that followed a renewal.
    followed,
    /// Loads that found an expired record.
    expired,
    /// Saves of a session that had expired meanwhile.
    late,
    /// Sessions whose last key was removed.
    emptied,
    emptied_moves,
    /// Updates that left the cookie alone.
    quiet,
    /// Times that a save waited for another.
    queued,
    /// Responses that did not save what was changed.
    dropped,
    planted,
    /// Identities that were drawn and were taken.
    taken,
}

/// The value in the session that has the reserved identity.
const RESERVED: &str = "somebody else's";

impl<B: Backend> World<B> {
    /// `prefix` is that of all identities.
    pub(crate) async fn new(
        backend: Arc<B>,
        has_our_clock: bool,
        clock: ManualClock,
        setup: Setup,
        prefix: &str,
    ) -> Self {
        let cookie = setup.cookie();
        let turn = Turn::new(prefix);
        let draws = Arc::new(Mutex::new(Draws {
            prefix: prefix.to_owned(),
            ..Draws::default()
        }));
        let storage = |cookie| {
            let draw = draws.clone();
            KeyedStorage::new(Turns::new(backend.clone(), turn.clone()))
                .with_cookie(cookie)
                .with_clock(clock.clone())
                .with_key_factory(move || Ok(draw.lock().unwrap().draw()))
                .hash_identities(setup.hash_identities)
        };
        let storages = (0..PROCESSES).map(|_| Arc::new(storage(cookie.clone())));
        let shaped = GARBAGE.iter().filter(|(_, is_shaped)| *is_shaped);
        let known = shaped.map(|(garbage, _)| Known::new((*garbage).to_owned(), &setup, 0));
        let world = Self {
            setup,
            storages: storages.collect(),
            reserved: storage(CookieSettings::builder(NAME).build().unwrap()),
            turn,
            has_our_clock,
            clock,
            draws,
            jars: [const { None }; CLIENTS],
            requests: Vec::new(),
            unclear: None,
            known: known.collect(),
            tick: 1,
            count: 0,
            seen: Seen::default(),
        };
        world.reserve().await;
        world
    }

    pub(crate) fn now(&self) -> u64 {
        now(&self.clock)
    }

    pub(crate) fn usual_max_age(&self) -> Option<Duration> {
        self.setup.max_age.map(Duration::from_secs)
    }

    /// The key of a known identity.
    pub(crate) fn key(&self, at: usize) -> String {
        format!("{NAME}_{}", self.known[at].suffix)
    }

    pub(crate) fn by_key(&self, key: &str) -> Option<usize> {
        let suffix = key.strip_prefix(NAME)?.strip_prefix('_')?;
        self.known.iter().position(|known| known.suffix == suffix)
    }

    /// What the key of the reserved identity ends with.
    pub(crate) fn reserved_suffix(&self) -> String {
        let reserved = self.draws.lock().unwrap().reserved();
        Known::new(reserved, &self.setup, 0).suffix
    }

    /// Stores the session of the reserved identity. It has no end.
    async fn reserve(&self) {
        let reserved = self.draws.lock().unwrap().reserved();
        let session = self.reserved.load(&[]).await.unwrap();
        let identity = Identity::parse(&reserved).unwrap();
        session.set_new_identity(identity).unwrap();
        session.insert("is", RESERVED).unwrap();
        self.reserved.save(&session).await.unwrap();
    }

    /// Whatever happened, the session of the reserved identity is unchanged.
    async fn check_reserved(&self) -> Check {
        let reserved = self.draws.lock().unwrap().reserved();
        let session = self.reserved.load(&[&reserved]).await.unwrap();
        let is = session.get::<String>("is").unwrap();
        must!(
            is.as_deref() == Some(RESERVED) && session.len() == 1,
            "P4: a creation wrote over a session"
        );
        Ok(())
    }

    pub(crate) async fn run(&mut self, step: &Step) -> Check {
        match step {
            Step::Ask {
                client,
                sends,
                process,
                waits,
            } => {
                let id = self.ask(*client, sends, *process);
                if !waits {
                    self.finish(id, Fault::None).await?;
                }
            }
            Step::Visit {
                client,
                sends,
                process,
                edit,
                end,
            } => {
                let id = self.ask(*client, sends, *process);
                self.finish(id, Fault::None).await?;
                let at = self.place(id).expect("it was loaded");
                self.change(at, edit)?;
                self.respond(at, *end);
                self.finish(id, Fault::None).await?;
            }
            Step::Change { request, edit } => {
                if let Some(at) = self.at(*request) {
                    self.change(at, edit)?;
                }
            }
            Step::Save { request } => {
                if let Some(at) = self.at(*request) {
                    self.save(at);
                }
            }
            Step::Respond { request, end } => {
                if let Some(at) = self.at(*request) {
                    self.respond(at, *end);
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
            Step::Leave { request } => {
                if let Some(at) = self.at(*request) {
                    self.leave(at)?;
                }
            }
            Step::Wait(seconds) => {
                self.clock.advance(Duration::from_secs(*seconds));
                self.tick += 1;
                self.look_at_all().await?;
            }
            Step::Restart => {
                self.check_reserved().await?;
                self.turn.wipe();
                self.tick += 1;
                self.all_gone();
                self.look_at_all().await?;
                self.reserve().await;
            }
            Step::Repeat => self.draws.lock().unwrap().repeat = true,
            Step::Plant { cookie, plant } => self.plant(*cookie, *plant).await?,
        }
        Ok(())
    }

    /// Every client gets a session to begin with.
    pub(crate) async fn log_in_all(&mut self) -> Check {
        for client in 0..CLIENTS {
            self.run(&Step::Visit {
                client,
                sends: Sends::Direct,
                process: 0,
                edit: Edit::Insert(client),
                end: End::Well,
            })
            .await?;
            self.requests.clear();
        }
        Ok(())
    }

    /// What is on its way comes to its end, and everything is looked at once more.
    pub(crate) async fn end(&mut self) -> Check {
        while let Some(request) = self.requests.first() {
            let id = request.id;
            self.finish(id, Fault::None).await?;
            if let Some(at) = self.place(id) {
                self.leave(at)?;
            }
        }
        self.look_at_all().await?;
        self.check_reserved().await?;
        self.seen.taken = self.draws.lock().unwrap().repeated;
        Ok(())
    }

    pub(crate) fn issued(&self) -> Vec<usize> {
        let all = 0..self.known.len();
        all.filter(|at| self.known[*at].is_issued).collect()
    }

    /// The identities that a request drew are known from now on.
    fn note_draws(&mut self, before: usize, at: usize) {
        let owner = self.requests[at].id;
        let drawn = self.draws.lock().unwrap().drawn[before..].to_vec();
        let drawn = drawn.into_iter();
        let known = drawn.map(|identity| Known::new(identity, &self.setup, owner));
        self.known.extend(known);
    }
}

impl<B: Backend> Finish for World<B> {
    type Request = Request;

    // A store that goes on responding ends every save within this many calls.
    const MOST_CALLS: usize = 400;

    fn requests(&self) -> &[Request] {
        &self.requests
    }

    async fn go(&mut self, at: usize, fault: Fault) -> Check<bool> {
        self.tick += 1;
        let (now, tick) = (self.now(), self.tick);
        let drawn = self.draws.lock().unwrap().drawn.len();
        match self.requests[at].flight.take() {
            None => Ok(true),
            Some(Flight::Load {
                mut waiting,
                mut load,
            }) => {
                for (key, entry) in std::mem::take(&mut load.read) {
                    let Some(key) = self.by_key(&key) else {
                        fail!("P4: it read {key}");
                    };
                    load.found.push((key, entry, now));
                }
                let (came, calls) = self.turn.go(&mut waiting, fault).await;
                load.faults += calls.faults;
                for made in calls.made {
                    let known = self.by_key(&made.key);
                    must!(
                        made.call == session_tests::stores::Call::Read && known.is_some(),
                        "P9: a load called {made:?}"
                    );
                    let entry = known.map_or(Entry::Missing, |at| self.known[at].entry.clone());
                    load.read.push((made.key, entry));
                }
                match came {
                    Came::Done(loaded) => self.loaded(at, loaded, &load)?,
                    Came::On => self.requests[at].flight = Some(Flight::Load { waiting, load }),
                    Came::Blocked => fail!("a load waits for a save"),
                }
                Ok(true)
            }
            Some(Flight::Save {
                mut waiting,
                save,
                end,
            }) => {
                let begins = save.is_none();
                self.requests[at].flight = Some(Flight::Save {
                    // In its place, while it goes on.
                    waiting: Box::pin(std::future::pending()),
                    save,
                    end,
                });
                if begins {
                    self.requests[at].begin(end, now, tick);
                }
                let (came, calls) = self.turn.go(&mut waiting, fault).await;
                self.note_draws(drawn, at);
                self.save_went_on(at, calls).await?;
                if let Came::Done(reply) = came {
                    self.saved(at, &reply, end)?;
                    self.deliver(at, &reply, end);
                    self.drop_unclear();
                    return Ok(true);
                }
                if let Some(Flight::Save { waiting: place, .. }) = &mut self.requests[at].flight {
                    *place = waiting;
                }
                let is_blocked = matches!(came, Came::Blocked);
                self.seen.queued += usize::from(is_blocked);
                Ok(!is_blocked)
            }
        }
    }
}
