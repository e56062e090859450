//! Clients, their requests and a store, and the steps carried out among them.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::header::{COOKIE, SET_COOKIE, VARY};
use http::{HeaderMap, HeaderValue, Request as Head, Response, StatusCode};
use session_core::adapter::Storages;
use session_core::keyed::{Backend, OnlyIf, Write};
use session_core::{
    CookieChange, CookieSettings, Error, ErrorKind, Identity, KeyedStorage, ManualClock,
    RequestSession, Result, Session, Storage as _,
};
use session_tests::server::pair;
use tokio::sync::oneshot;

use crate::handle::{Check, Handle, fail, must};
use crate::known::{Entry, Known};
use crate::request::{ClientCookie, Flight, Load, Place, Reply, Request, Served};
use crate::run::now;
use crate::steps::{CLIENTS, Edit, End, Fault, PROCESSES, Plant, Sends, Setup, Step};
use crate::turns::{Came, Turn, Turns, Waiting};

/// More requests than this are not on their way at a time.
const MOST: usize = 4;

const NAME: &str = "sid";

/// What was never a cookie. `true`: it has the shape of an identity.
const GARBAGE: [(&str, bool); 6] = [
    ("", false),
    ("never-issued-and-unknown", true),
    ("0123456789abcdef0123456789abcdef", true),
    ("../../../../etc/passwd", false),
    ("\"a b\\073\"", false),
    ("drawn_0000000000000000x", true),
];

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
    jars: [Option<String>; CLIENTS],
    pub(crate) requests: Vec<Request>,
    /// A request of which the model does not know how far it came.
    pub(crate) unclear: Option<usize>,
    pub(crate) known: Vec<Known>,
    /// Counts the turns.
    pub(crate) tick: usize,
    /// Unique values and numbers.
    count: usize,
    pub(crate) seen: Seen,
}

/// Defines the counters of what was met on the way.
macro_rules! seen {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {
        /// What was met on the way: a test that never meets it shows nothing.
        #[derive(Clone, Copy, Debug, Default)]
        pub(crate) struct Seen {
            $($(#[$doc])* pub(crate) $name: usize,)+
        }

        impl Seen {
            pub(crate) fn with(mut self, more: &Self) -> Self {
                $(self.$name += more.$name;)+
                self
            }

            /// Each of it was met.
            pub(crate) fn check(&self) {
                let all = [$(self.$name),+];
                assert!(!all.contains(&0), "these sequences show nothing: {self:?}");
            }
        }
    };
}
pub(crate) use seen;

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

/// The key factory's side.
#[derive(Default)]
struct Draws {
    prefix: String,
    drawn: Vec<String>,
    repeat: bool,
    repeated: usize,
}

impl Draws {
    fn draw(&mut self) -> Identity {
        let identity = if std::mem::take(&mut self.repeat) {
            self.repeated += 1;
            self.reserved()
        } else {
            let identity = format!("{}_{:06}", self.prefix, self.drawn.len());
            self.drawn.push(identity.clone());
            identity
        };
        Identity::parse(&identity).unwrap()
    }

    /// An identity that is always taken.
    fn reserved(&self) -> String {
        format!("{}_reserved", self.prefix)
    }
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
        let cookie = CookieSettings::builder(NAME)
            .max_age(setup.max_age.map(Duration::from_secs))
            .rolling(setup.rolling)
            .absolute_max_age(setup.absolute.map(Duration::from_secs))
            .build()
            .unwrap();
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

    fn usual_max_age(&self) -> Option<Duration> {
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

    async fn finish(&mut self, id: usize, mut fault: Fault) -> Check {
        // A store that goes on responding ends every save within this many calls.
        for _ in 0..400 {
            let Some(at) = self.place(id) else {
                return Ok(());
            };
            if self.requests[at].flight.is_none() {
                return Ok(());
            }
            if self.go(at, fault).await? {
                fault = Fault::None;
                continue;
            }
            // Those that it waits for go on.
            let others = self.requests.iter();
            let others = others.filter(|other| other.id != id && other.flight.is_some());
            let others: Vec<usize> = others.map(|other| other.id).collect();
            let mut went_on = false;
            for other in others {
                if let Some(at) = self.place(other) {
                    went_on |= self.go(at, Fault::None).await?;
                }
            }
            must!(went_on, "saves wait for each other for ever");
        }
        fail!("it never ends");
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

    fn at(&self, request: usize) -> Option<usize> {
        (!self.requests.is_empty()).then(|| request % self.requests.len())
    }

    fn place(&self, id: usize) -> Option<usize> {
        self.requests.iter().position(|request| request.id == id)
    }

    fn issued(&self) -> Vec<usize> {
        let all = 0..self.known.len();
        all.filter(|at| self.known[*at].is_issued).collect()
    }

    /// A cookie that somebody was given some time.
    fn any_cookie(&self, number: usize) -> String {
        let issued = self.issued();
        match issued.len() {
            0 => garbage(number),
            len => self.known[issued[number % len]].identity.clone(),
        }
    }

    fn ask(&mut self, client: usize, sends: &Sends, process: usize) -> usize {
        if self.requests.len() == MOST {
            self.requests.remove(0);
        }
        let own = self.jars[client].clone();
        let cookies: Vec<String> = match sends {
            Sends::Cookie | Sends::Direct | Sends::Login => own.into_iter().collect(),
            Sends::Any(number) | Sends::AnyDirect(number) => vec![self.any_cookie(*number)],
            Sends::Garbage(number) => vec![garbage(*number)],
            Sends::Several(one, two) | Sends::SeveralDirect(one, two) => {
                let old = [garbage(*two), self.any_cookie(*one), self.any_cookie(*two)];
                let mut cookies: Vec<_> = old.into_iter().chain(own).collect();
                let start = two % cookies.len();
                cookies.rotate_left(start);
                cookies
            }
            Sends::LoginWith(number) => [self.any_cookie(*number)].into_iter().chain(own).collect(),
        };
        self.count += 1;
        let mut request = Request {
            id: self.count,
            client,
            process,
            sent: !cookies.is_empty(),
            others: Vec::new(),
            login: false,
            is_forbidden: false,
            rolls: false,
            told: false,
            place: Place::New,
            served: None,
            handle: None,
            flight: None,
            born: self.now(),
            has_failed: false,
            may_leave: false,
            ended: Vec::new(),
            cookies,
        };
        let storage = self.storages[process].clone();
        let is_direct = matches!(
            sends,
            Sends::Direct | Sends::AnyDirect(_) | Sends::SeveralDirect(..)
        );
        if is_direct {
            let cookies = request.cookies.clone();
            request.flight = Some(loading(async move {
                let cookies: Vec<&str> = cookies.iter().map(String::as_str).collect();
                storage.load(&cookies).await
            }));
        } else {
            let served = serve(&Storages::new(storage), &request.cookies);
            if matches!(sends, Sends::Login | Sends::LoginWith(_)) {
                let session = served.head.new_session().unwrap();
                request.handle = Some(Handle::new(session, self.usual_max_age()));
                request.login = true;
                request.others = self.candidates(&request.cookies);
            } else {
                request.flight = Some(loading(served.head.session()));
            }
            request.served = Some(served);
        }
        self.requests.push(request);
        self.count
    }

    fn change(&mut self, at: usize, edit: &Edit) -> Check {
        let now = self.now();
        self.count += 1;
        let request = &mut self.requests[at];
        let Some(handle) = &mut request.handle else {
            return Ok(());
        };
        if matches!(edit, Edit::Invalidate) && !handle.closed {
            request.rolls = false;
        }
        handle.change(edit, self.count as u64, now)
    }

    fn save(&mut self, at: usize) {
        let request = &mut self.requests[at];
        let (Some(handle), None) = (&request.handle, &request.flight) else {
            return;
        };
        let session = handle.session.clone();
        let storage = self.storages[request.process].clone();
        let waiting: Waiting<Reply> = if request.served.is_some() {
            Box::pin(async move {
                let failed = session.save().await.err();
                Reply {
                    cookie: None,
                    failed: failed.map(|error| error.kind()),
                }
            })
        } else {
            Box::pin(async move {
                let saved = storage.save(&session).await;
                let failed = saved.as_ref().err().map(Error::kind);
                let cookie = match saved.unwrap_or(CookieChange::Keep) {
                    CookieChange::Keep => ClientCookie::Keep,
                    CookieChange::Set { value, max_age, .. } => ClientCookie::Set {
                        cookie: value,
                        max_age: max_age.as_ref().map(Duration::as_secs),
                    },
                    CookieChange::Remove => ClientCookie::Remove,
                };
                Reply {
                    cookie: Some(cookie),
                    failed,
                }
            })
        };
        request.flight = Some(Flight::Save {
            waiting,
            save: None,
            end: None,
        });
        self.seen.saves += 1;
    }

    /// The handler responds. There is no response without a server.
    fn respond(&mut self, at: usize, end: End) {
        let request = &mut self.requests[at];
        if request.handle.is_none() || request.flight.is_some() {
            return;
        }
        let Some(served) = &mut request.served else {
            self.save(at);
            return;
        };
        served.respond.take().unwrap().send(end).unwrap();
        request.flight = Some(Flight::Save {
            waiting: served.future.take().unwrap(),
            save: None,
            end: Some(end),
        });
        self.seen.saves += 1;
    }

    /// One await point further; false if it waits for another request.
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

    /// The identities that a request drew are known from now on.
    fn note_draws(&mut self, before: usize, at: usize) {
        let owner = self.requests[at].id;
        let drawn = self.draws.lock().unwrap().drawn[before..].to_vec();
        let drawn = drawn.into_iter();
        let known = drawn.map(|identity| Known::new(identity, &self.setup, owner));
        self.known.extend(known);
    }

    /// The client gets its response.
    fn deliver(&mut self, at: usize, reply: &Reply, end: Option<End>) {
        let request = &mut self.requests[at];
        request.flight = None;
        let jar = &mut self.jars[request.client];
        match &reply.cookie {
            Some(ClientCookie::Set { cookie, .. }) => *jar = Some(cookie.clone()),
            Some(ClientCookie::Remove) => *jar = None,
            Some(ClientCookie::Keep) | None => {}
        }
        if end.is_some() {
            self.requests.remove(at);
        }
    }

    fn cancel(&mut self, at: usize) -> Check {
        match &self.requests[at].flight {
            None => {}
            Some(Flight::Save {
                save: Some(_),
                end: None,
                ..
            }) => {
                self.seen.cancelled += 1;
                // Dropped first, so that the session has its changes back.
                if let Some(Flight::Save { waiting, .. }) = &mut self.requests[at].flight {
                    *waiting = Box::pin(std::future::pending());
                }
                self.was_failed(at, false)?;
                self.requests[at].flight = None;
                self.drop_unclear();
            }
            Some(Flight::Save {
                save: None,
                end: None,
                ..
            }) => self.requests[at].flight = None,
            // The request is over.
            Some(Flight::Load { .. } | Flight::Save { .. }) => self.leave(at)?,
        }
        Ok(())
    }

    fn drop_unclear(&mut self) {
        if let Some(id) = self.unclear.take() {
            self.requests.retain(|request| request.id != id);
        }
    }

    /// The client is gone.
    fn leave(&mut self, at: usize) -> Check {
        let request = self.requests.remove(at);
        drop((request.flight, request.served.as_ref().map(|_| ())));
        let Some(served) = request.served else {
            return Ok(());
        };
        drop(served);
        if let Some(mut handle) = request.handle {
            handle.closed = true;
            handle.change(&Edit::Insert(0), 0, 0)?;
        }
        Ok(())
    }

    async fn plant(&mut self, cookie: usize, plant: Plant) -> Check {
        let issued = self.issued();
        if issued.is_empty() {
            return Ok(());
        }
        let at = issued[cookie % issued.len()];
        let is_session = self.known[at].entry.record().is_some();
        if !is_session && plant != Plant::Foreign {
            return Ok(());
        }
        self.tick += 1;
        let (key, backend) = (self.key(at), self.storages[0].backend());
        let found = backend.read(&key).await.unwrap();
        let minute = Duration::from_secs(60);
        let (write, until) = match plant {
            Plant::Revoked => (Write::tombstone("{\n}", minute), Some(self.now() + 60)),
            Plant::Python => (Write::record("{}", None), None),
            Plant::Foreign => (Write::record("[\"another program's\"]", None), None),
        };
        let only_if = match &found {
            session_core::keyed::Found::Record(stored) => OnlyIf::Unchanged(stored),
            _ => OnlyIf::Missing,
        };
        backend.write(&key, write, only_if).await.unwrap();
        let entry = self.raw(at).await;
        self.known[at].set(entry, until, self.tick);
        self.seen.planted += 1;
        self.look(at).await
    }
}

fn garbage(number: usize) -> String {
    GARBAGE[number % GARBAGE.len()].0.to_owned()
}

fn loading(load: impl Future<Output = Result<Session>> + Send + 'static) -> Flight {
    Flight::Load {
        waiting: Box::pin(load),
        load: Load::default(),
    }
}

/// Gives a request to a handler that responds when it is told to.
pub(crate) fn serve(storages: &Storages, cookies: &[String]) -> Served {
    let mut head = Head::new(());
    for cookie in cookies {
        let line = HeaderValue::from_str(&format!("{NAME}={cookie}")).unwrap();
        head.headers_mut().append(COOKIE, line);
    }
    let (respond, responds) = oneshot::channel();
    let mut came = None;
    let error_response = |error: &Error| {
        let mut response = Response::new(());
        response.extensions_mut().insert(error.kind());
        response
    };
    let future = storages.serve(head, error_response, |head| {
        came = Some(head);
        async move {
            let mut response = Response::new(());
            match responds.await.unwrap() {
                End::Well => {}
                End::ServerError => *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR,
                End::SessionError => {
                    let error = Error::new(ErrorKind::Value, "says the test's handler");
                    response.extensions_mut().insert(error);
                }
            }
            Ok::<_, Infallible>(response)
        }
    });
    let future = Box::pin(async move {
        let response = future.await.unwrap();
        let vary = response.headers().get(VARY);
        assert_eq!(vary.unwrap(), "Cookie");
        Reply {
            cookie: Some(cookie_of(response.headers())),
            failed: response.extensions().get().copied(),
        }
    });
    Served {
        head: came.unwrap(),
        respond: Some(respond),
        future: Some(future),
        unsent: Vec::new(),
    }
}

/// What a browser makes of the response.
fn cookie_of(headers: &HeaderMap) -> ClientCookie {
    let headers: Vec<_> = headers.get_all(SET_COOKIE).iter().collect();
    assert!(headers.len() <= 1, "two cookies");
    let Some(header) = headers.first() else {
        return ClientCookie::Keep;
    };
    let header = header.to_str().unwrap();
    let (name, value) = pair(header).split_once('=').unwrap();
    assert_eq!(name, NAME);
    let max_age = header
        .split("; ")
        .find_map(|attribute| attribute.strip_prefix("Max-Age="));
    match value {
        "\"\"" => ClientCookie::Remove,
        value => ClientCookie::Set {
            cookie: value.to_owned(),
            max_age: max_age.map(|age| age.parse().unwrap()),
        },
    }
}
