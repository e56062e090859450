//! Clients, their requests and a store, and the steps carried out among them.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::header::{COOKIE, SET_COOKIE};
use http::{HeaderMap, HeaderValue, Response};
use session_core::{
    Backend, CookieChange, CookieSettings, Identity, KeyedStorage, ManualClock, RequestSession,
    SessionContext,
};
use session_tests::server::pair;

use crate::handle::{Check, Handle, fail, must};
use crate::known::Known;
use crate::request::{Answer, Flight, Request, Save, Storage};
use crate::run::now;
use crate::steps::{CLIENTS, Edit, Fault, Sends, Setup, Step};
use crate::turns::{Calls, Turn, Turns};

/// More requests than this are not on their way at a time.
const MOST: usize = 4;

const NAME: &str = "sid";

/// What was never a cookie.
const GARBAGE: [&str; 6] = [
    "",
    "never-issued-and-unknown",
    "0123456789abcdef0123456789abcdef",
    "../../../../etc/passwd",
    "\"a b\\073\"",
    "drawn_0000000000000000x",
];

pub(crate) struct World<B> {
    pub(crate) setup: Setup,
    pub(crate) storage: Arc<KeyedStorage<Turns<B>>>,
    pub(crate) turn: Turn,
    clock: ManualClock,
    draws: Arc<Mutex<Draws>>,
    /// The same store, for a session that is always there.
    reserved: KeyedStorage<Turns<B>>,
    /// What each client's browser keeps.
    jars: [Option<String>; CLIENTS],
    pub(crate) requests: Vec<Request>,
    pub(crate) known: Vec<Known>,
    pub(crate) step: usize,
    /// Unique values and numbers.
    count: usize,
    pub(crate) seen: Seen,
}

/// What was met on the way: a test that never meets it shows nothing.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) saves: usize,
    pub(crate) failed: usize,
    pub(crate) told: usize,
    pub(crate) merged: usize,
    pub(crate) moved: usize,
    pub(crate) ended: usize,
    pub(crate) overtaken: usize,
    pub(crate) expired: usize,
    pub(crate) taken: usize,
}

impl Seen {
    pub(crate) fn with(mut self, more: &Self) -> Self {
        self.saves += more.saves;
        self.failed += more.failed;
        self.told += more.told;
        self.merged += more.merged;
        self.moved += more.moved;
        self.ended += more.ended;
        self.overtaken += more.overtaken;
        self.expired += more.expired;
        self.taken += more.taken;
        self
    }

    /// Each of it was met.
    pub(crate) fn check(&self) {
        let rare = [self.failed, self.told, self.merged, self.moved, self.ended];
        let all = [self.saves, self.expired, self.taken];
        let met = rare.iter().chain(&all).all(|count| *count > 0);
        assert!(met, "these sequences show nothing: {self:?}");
    }
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
    fn draw(&mut self) -> String {
        if std::mem::take(&mut self.repeat) {
            self.repeated += 1;
            return self.reserved();
        }
        let identity = format!("{}_{:06}", self.prefix, self.drawn.len());
        self.drawn.push(identity.clone());
        identity
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
        clock: ManualClock,
        setup: Setup,
        prefix: &str,
    ) -> Self {
        let cookie = CookieSettings::builder(NAME)
            .max_age(setup.max_age.map(Duration::from_secs))
            .rolling(setup.rolling)
            .absolute_max_age(setup.absolute.map(Duration::from_secs));
        let turn = Turn::new();
        let draws = Arc::new(Mutex::new(Draws {
            prefix: prefix.to_owned(),
            ..Draws::default()
        }));
        let draw = draws.clone();
        let reserved = KeyedStorage::new(Turns::new(backend.clone(), turn.clone()))
            .with_cookie(CookieSettings::builder(NAME).build().unwrap())
            .with_clock(clock.clone())
            .with_key_factory(String::new)
            .hash_identities(setup.hash_identities);
        let storage = KeyedStorage::new(Turns::new(backend, turn.clone()))
            .with_cookie(cookie.build().unwrap())
            .with_clock(clock.clone())
            .with_key_factory(move || draw.lock().unwrap().draw())
            .hash_identities(setup.hash_identities);
        let world = Self {
            setup,
            storage: Arc::new(storage),
            turn,
            clock,
            draws,
            reserved,
            jars: [const { None }; CLIENTS],
            requests: Vec::new(),
            known: Vec::new(),
            step: 0,
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

    /// Stores the session of the reserved identity. It has no end.
    async fn reserve(&self) {
        use session_core::Storage as _;
        let reserved = self.draws.lock().unwrap().reserved();
        let session = self.reserved.load(None).await.unwrap();
        let identity = Identity::parse(&reserved).unwrap();
        session.set_new_identity(identity).unwrap();
        session.insert("is", RESERVED).unwrap();
        self.reserved.save(&session).await.unwrap();
    }

    /// Whatever happened, nobody changed the session of the reserved identity.
    async fn check_reserved(&self) -> Check {
        use session_core::Storage as _;
        let reserved = self.draws.lock().unwrap().reserved();
        let session = self.reserved.load(Some(&reserved)).await.unwrap();
        let is = session.get::<String>("is").unwrap();
        must!(
            is.as_deref() == Some(RESERVED) && session.len() == 1,
            "P4: a creation wrote over a session"
        );
        Ok(())
    }

    pub(crate) async fn run(&mut self, step: &Step) -> Check {
        self.step += 1;
        match step {
            Step::Ask {
                client,
                sends,
                waits,
            } => {
                self.ask(*client, sends);
                if !waits {
                    self.finish(self.requests.len() - 1, Fault::None).await?;
                }
            }
            Step::Visit {
                client,
                sends,
                edit,
            } => {
                self.ask(*client, sends);
                let last = self.requests.len() - 1;
                self.finish(last, Fault::None).await?;
                self.change(last, edit)?;
                self.save(last)?;
                self.finish(last, Fault::None).await?;
            }
            Step::Change { request, edit } => self.change(*request, edit)?,
            Step::Save { request } => {
                let Some(at) = self.at(*request) else {
                    return Ok(());
                };
                if self.requests[at].flight.is_none() && self.requests[at].handle.is_some() {
                    self.save(at)?;
                }
            }
            Step::Go { request, fault } => {
                if let Some(at) = self.at(*request) {
                    self.go(at, *fault).await?;
                }
            }
            Step::Finish { request, fault } => {
                if let Some(at) = self.at(*request) {
                    self.finish(at, *fault).await?;
                }
            }
            Step::Cancel { request } => {
                if let Some(at) = self.at(*request) {
                    self.cancel(at)?;
                }
            }
            Step::Leave { request } => {
                if let Some(at) = self.at(*request) {
                    self.requests.remove(at);
                }
            }
            Step::Wait(seconds) => {
                self.clock.advance(Duration::from_secs(*seconds));
                self.time_passed().await?;
            }
            Step::Restart => {
                self.check_reserved().await?;
                self.storage.backend().wipe().await;
                self.reserved.backend().wipe().await;
                self.all_gone().await?;
                self.reserve().await;
            }
            Step::Repeat => self.draws.lock().unwrap().repeat = true,
        }
        Ok(())
    }

    /// Every client gets a session to begin with.
    pub(crate) async fn log_in_all(&mut self) -> Check {
        for client in 0..CLIENTS {
            let sends = Sends::Direct;
            for step in [
                Step::Ask {
                    client,
                    sends,
                    waits: false,
                },
                Step::Change {
                    request: 0,
                    edit: Edit::Insert(client),
                },
                Step::Save { request: 0 },
                Step::Finish {
                    request: 0,
                    fault: Fault::None,
                },
                Step::Leave { request: 0 },
            ] {
                self.run(&step).await?;
            }
        }
        Ok(())
    }

    async fn finish(&mut self, at: usize, mut fault: Fault) -> Check {
        // A store that goes on answering ends every save within this many calls.
        for _ in 0..200 {
            let in_flight = |request: &Request| request.flight.is_some();
            if !self.requests.get(at).is_some_and(in_flight) || self.go(at, fault).await? {
                return Ok(());
            }
            fault = Fault::None;
            self.step += 1;
        }
        fail!("it never ends");
    }

    /// What is on its way comes to its end, and everything is looked at once more.
    pub(crate) async fn end(&mut self) -> Check {
        while !self.requests.is_empty() {
            self.run(&Step::Finish {
                request: 0,
                fault: Fault::None,
            })
            .await?;
            if !self.requests.is_empty() {
                self.requests.remove(0);
            }
        }
        self.nothing_happened().await?;
        self.check_reserved().await?;
        self.seen.taken = self.draws.lock().unwrap().repeated;
        Ok(())
    }

    fn at(&self, request: usize) -> Option<usize> {
        (!self.requests.is_empty()).then(|| request % self.requests.len())
    }

    /// A cookie that somebody was given some time.
    fn any_cookie(&self, number: usize) -> String {
        let issued: Vec<_> = self.known.iter().filter(|known| known.issued).collect();
        match issued.len() {
            0 => GARBAGE[number % GARBAGE.len()].to_owned(),
            len => issued[number % len].identity.clone(),
        }
    }

    fn ask(&mut self, client: usize, sends: &Sends) {
        if self.requests.len() == MOST {
            self.requests.remove(0);
        }
        let own = self.jars[client].clone();
        let garbage = |number: usize| GARBAGE[number % GARBAGE.len()].to_owned();
        let cookies: Vec<String> = match sends {
            Sends::Cookie | Sends::Direct | Sends::Login => own.into_iter().collect(),
            Sends::Any(number) | Sends::AnyDirect(number) => vec![self.any_cookie(*number)],
            Sends::Garbage(number) => vec![garbage(*number)],
            Sends::Several(one, two) => {
                let old = [garbage(*two), self.any_cookie(*one), self.any_cookie(*two)];
                let mut cookies: Vec<_> = old.into_iter().chain(own).collect();
                let start = two % cookies.len();
                cookies.rotate_left(start);
                cookies
            }
            Sends::LoginWith(number) => [self.any_cookie(*number)].into_iter().chain(own).collect(),
        };
        self.count += 1;
        let login = matches!(sends, Sends::Login | Sends::LoginWith(_));
        let mut request = Request {
            id: self.count,
            client,
            sent: !cookies.is_empty(),
            ends_cookies: true,
            login,
            context: None,
            handle: None,
            identity: None,
            rolls: false,
            told: false,
            overtaken: false,
            flight: None,
            born: self.now(),
            cookies,
        };
        if matches!(sends, Sends::Direct | Sends::AnyDirect(_)) {
            let storage = self.storage.clone();
            let cookie = request.cookies.first().cloned();
            request.flight = Some(self.load(async move {
                use session_core::Storage as _;
                storage.load(cookie.as_deref()).await
            }));
        } else {
            let mut head = http::Request::new(());
            for cookie in &request.cookies {
                let line = HeaderValue::from_str(&format!("{NAME}={cookie}")).unwrap();
                head.headers_mut().append(COOKIE, line);
            }
            let storage: Storage = self.storage.clone();
            request.context = Some(SessionContext::attach(&storage, head.extensions_mut()));
            if login {
                let session = head.new_session().unwrap();
                request.handle = Some(Handle::new(session, self.usual_max_age()));
            } else {
                request.flight = Some(self.load(head.session()));
            }
        }
        self.requests.push(request);
    }

    fn load(
        &self,
        load: impl Future<Output = session_core::Result<session_core::Session>> + Send + 'static,
    ) -> Flight {
        Flight::Load {
            waiting: Box::pin(load),
            since: self.step,
            calls: Calls::default(),
        }
    }

    fn change(&mut self, request: usize, edit: &Edit) -> Check {
        let (now, Some(at)) = (self.now(), self.at(request)) else {
            return Ok(());
        };
        self.count += 1;
        match &mut self.requests[at].handle {
            Some(handle) => handle.change(edit, self.count as u64, now),
            None => Ok(()),
        }
    }

    fn save(&mut self, at: usize) -> Check {
        let (now, storage) = (self.now(), self.storage.clone());
        let request = &mut self.requests[at];
        let handle = request.handle.as_mut().unwrap();
        let save = Save {
            begun: handle.len(),
            at: now,
            ..Save::default()
        };
        let begun = save.begun;
        if let Some(context) = request.context.take() {
            handle.closed = true;
            let Some(left) = context.close(&mut HeaderMap::new()) else {
                let due = request.login || request.handle().len() > 0;
                must!(!due, "P8: a change is not saved");
                self.requests.remove(at);
                return Ok(());
            };
            let waiting = Box::pin(async move {
                let saved = left.run().await?;
                let mut response = Response::new(());
                saved.apply(&mut response);
                Ok(cookie_of(&response))
            });
            request.flight = Some(Flight::Save { waiting, save });
        } else {
            let session = handle.session.clone();
            let waiting = Box::pin(async move {
                use session_core::Storage as _;
                storage.save(&session).await.map(|change| match change {
                    CookieChange::Keep => Answer::Keep,
                    CookieChange::Set { value, .. } => Answer::Set(value),
                    CookieChange::Remove => Answer::Remove,
                })
            });
            request.flight = Some(Flight::Save { waiting, save });
        }
        self.seen.saves += 1;
        debug_assert_eq!(self.requests[at].save().unwrap().begun, begun);
        Ok(())
    }

    /// One await point further; true if the request is gone after it.
    async fn go(&mut self, at: usize, fault: Fault) -> Check<bool> {
        let drawn = self.draws.lock().unwrap().drawn.len();
        let count = self.requests.len();
        match self.requests[at].flight.take() {
            None => {}
            Some(Flight::Load {
                mut waiting,
                since,
                mut calls,
            }) => {
                let (came, more) = self.turn.go(&mut waiting, fault).await;
                calls.add(more);
                match came {
                    None => {
                        self.requests[at].flight = Some(Flight::Load {
                            waiting,
                            since,
                            calls,
                        });
                    }
                    Some(loaded) => self.loaded(at, loaded, since, &calls)?,
                }
                self.nothing_happened().await?;
            }
            Some(Flight::Save {
                mut waiting,
                mut save,
            }) => {
                let (came, more) = self.turn.go(&mut waiting, fault).await;
                save.calls.add(more);
                self.requests[at].flight = Some(Flight::Save { waiting, save });
                self.note_draws(drawn, at);
                self.save_went_on(at).await?;
                if let Some(came) = came {
                    let answer = self.saved(at, came)?;
                    self.answer(at, answer.as_ref());
                }
            }
        }
        Ok(self.requests.len() < count)
    }

    /// The identities that a request drew are known from now on.
    fn note_draws(&mut self, before: usize, at: usize) {
        let request = &self.requests[at];
        let drawn = self.draws.lock().unwrap().drawn[before..].to_vec();
        let started = (request.born, self.now());
        for identity in drawn {
            self.known.push(Known::new(identity, request.id, started));
        }
    }

    /// The client gets its answer, `None` if that is an error's.
    fn answer(&mut self, at: usize, answer: Option<&Answer>) {
        let request = &mut self.requests[at];
        request.flight = None;
        let jar = &mut self.jars[request.client];
        match answer {
            Some(Answer::Set(cookie)) => *jar = Some(cookie.clone()),
            Some(Answer::Remove) => *jar = None,
            Some(Answer::Keep) | None => {}
        }
        if answer.is_some() && request.handle().closed {
            self.requests.remove(at);
        }
    }

    fn cancel(&mut self, at: usize) -> Check {
        match self.requests[at].flight.take() {
            None => {}
            Some(Flight::Load { .. }) => {
                self.requests.remove(at);
            }
            Some(Flight::Save { waiting, .. }) => {
                drop(waiting);
                self.requests[at].handle.as_mut().unwrap().refresh()?;
            }
        }
        Ok(())
    }
}

/// What a browser makes of the response.
fn cookie_of(response: &Response<()>) -> Answer {
    let headers: Vec<_> = response.headers().get_all(SET_COOKIE).iter().collect();
    assert!(headers.len() <= 1, "two cookies");
    let Some(header) = headers.first() else {
        return Answer::Keep;
    };
    let (name, value) = pair(header.to_str().unwrap()).split_once('=').unwrap();
    assert_eq!(name, NAME);
    match value {
        "\"\"" => Answer::Remove,
        value => Answer::Set(value.to_owned()),
    }
}
