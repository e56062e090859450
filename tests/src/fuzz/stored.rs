//! What a store holds, no matter which program wrote it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::mem;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::header::{COOKIE, SET_COOKIE};
use http::{HeaderValue, Request, Response, StatusCode};
use serde_json::value::RawValue;
use session_core::adapter::{DefaultErrorResponse, Storages};
use session_core::keyed::{Backend as _, Found, OnlyIf, Outcome, Write};
use session_core::{
    Clock as _, CookieSettings, DEFAULT_NAME, Error, ErrorKind, Identity, KeyedStorage,
    ManualClock, MemoryBackend, RequestSession as _, Result, Session, SessionConfig, Storage as _,
};

use super::input::Input;
use super::now;
use crate::vectors;

/// The identity in the cookie of both requests.
const IDENTITY: &str = "0a1b2c3d4e5f60718293a4b5c6d7e8f9";

/// The identity of another session, and its record. A tombstone in the input may lead to it.
const OTHER: &str = "fedcba9876543210";
const OTHERS: &str = r#"{"created": 1700000000, "session": {"o": 1}}"#;

const HOUR: Duration = Duration::from_secs(3600);
const SECOND: Duration = Duration::from_secs(1);

/// How long the store keeps a record after its session has expired.
const GRACE: Duration = Duration::from_secs(300);

/// How long the store keeps a tombstone.
const MINUTE: Duration = Duration::from_secs(60);

/// The input is two bytes that say what two requests do, and what the store holds at the key of
/// their cookie. 0x80 in the first byte gives sessions a lifetime of an hour. With 0x40 more than
/// an hour passes between the loads and the saves.
///
/// Both requests load before either of them saves. What each of them gets, and what the store holds
/// afterwards and how long, is exactly what DESIGN 3.1, 3.2 and 3.5 say. What is no session is
/// never adopted, and another program's data is never written over.
pub fn stored(data: &[u8]) {
    let mut input = Input::new(data);
    let does = [input.byte(), input.byte()];
    let text = Bytes::copy_from_slice(input.rest());
    let clock = vectors::clock();
    let max_age = (does[0] & 0x80 != 0).then_some(HOUR);
    let cookie = CookieSettings::builder(DEFAULT_NAME).max_age(max_age);
    let backend = MemoryBackend::new().with_clock(clock.clone());
    let storage = KeyedStorage::new(backend)
        .with_cookie(cookie.build().unwrap())
        .with_clock(clock.clone());
    let Some((held, loaded)) = held(&text, storage.config()) else {
        return;
    };
    let mut world = World {
        storage: Arc::new(storage),
        clock,
        texts: BTreeMap::new(),
        held: BTreeMap::new(),
        written: BTreeMap::new(),
    };
    world.put(IDENTITY, text, held);
    world.put(OTHER, OTHERS.into(), Held::Session(vec!["o".into()]));

    let mut requests = [0, 1].map(|at| InFlight::new(&world, at, does[at]));
    let [first, second] = requests.each_ref().map(InFlight::did);
    assert_eq!(first.before, second.before);
    check_loaded(&first, &loaded);
    check_loaded(&second, &loaded);
    if does[0] & 0x40 != 0 {
        world.clock.advance(HOUR + GRACE / 3);
    }
    for (request, did) in requests.iter_mut().zip([first, second]) {
        let expected = world.expect(&loaded, &did);
        let response = request.finish();
        world.check_response(expected, &did, &response);
        world.check_store();
        assert!(did.session.len() <= did.before.len() + 2);
        let late = did.session.insert("late", 1).unwrap_err();
        assert_eq!(late.kind(), ErrorKind::Committed);
    }
    world.check_times();
}

/// What a key holds.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Held {
    /// A session, live or expired, with these keys in alphabetical order.
    Session(Vec<String>),
    Tombstone(Tombstone),
    /// An empty object that is no tombstone: Python ended a session.
    Python,
    /// Another program's data.
    Foreign,
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum Tombstone {
    Moved(String),
    Replaced,
    Ended,
    Revoked,
}

/// What both requests loaded.
#[derive(Debug)]
enum Loaded {
    Live,
    /// A session without keys.
    Emptied,
    /// Nothing: an expired session, or none.
    Nothing,
    Ended(Tombstone),
}

/// Returns what a text is, and what a request loads from it. `None`: it is not said here.
fn held(text: &Bytes, config: &SessionConfig) -> Option<(Held, Loaded)> {
    if let Some(tombstone) = Tombstone::read(text) {
        return Some((Held::Tombstone(tombstone.clone()), Loaded::Ended(tombstone)));
    }
    let is_space = |b: &u8| SPACE.contains(char::from(*b));
    let dense: Vec<u8> = text.iter().filter(|b| !is_space(b)).copied().collect();
    if dense == b"{}" {
        return Some((Held::Python, Loaded::Nothing));
    }
    if let Some(session) = config.open(text.clone()) {
        let loaded = if session.is_empty() {
            Loaded::Emptied
        } else {
            Loaded::Live
        };
        return Some((Held::Session(sorted(session.keys())), loaded));
    }
    let held = if was_session(text)? {
        Held::Session(Vec::new())
    } else {
        Held::Foreign
    };
    Some((held, Loaded::Nothing))
}

/// Returns whether a text was a session once: it is one in 1970. `None`: it is not said here.
fn was_session(text: &Bytes) -> Option<bool> {
    let then = SessionConfig::default().with_clock(ManualClock::at(UNIX_EPOCH));
    if then.open(text.clone()).is_some() {
        return Some(true);
    }
    // A session from before 1970 may have been over even then.
    let Ok(mut members) = serde_json::from_slice::<BTreeMap<String, &RawValue>>(text) else {
        // Names that are not Unicode.
        let is_object =
            serde_json::from_slice::<&RawValue>(text).is_ok_and(|json| json.get().starts_with('{'));
        return (!is_object).then_some(false);
    };
    let Some(created) = members.get_mut("created") else {
        return Some(false);
    };
    if !created.get().starts_with('-') {
        return Some(false);
    }
    *created = serde_json::from_str("0").unwrap();
    let later = serde_json::to_string(&members).unwrap();
    Some(then.open(later).is_some())
}

/// JSON's white space, as digits to the base of four.
const SPACE: &str = " \t\n\r";

impl Tombstone {
    fn read(text: &[u8]) -> Option<Self> {
        match text {
            b"{ }" => return Some(Self::Ended),
            b"{\t}" => return Some(Self::Replaced),
            b"{\n}" => return Some(Self::Revoked),
            _ => {}
        }
        let inside = text.strip_prefix(b"{\r")?.strip_suffix(b"}")?;
        let digits = inside.iter().map(|b| SPACE.find(char::from(*b)));
        let digits: Vec<usize> = digits.collect::<Option<_>>()?;
        if digits.is_empty() || !digits.len().is_multiple_of(4) {
            return None;
        }
        let byte = |four: &[usize]| four.iter().fold(0, |byte, digit| byte * 4 + digit);
        let bytes = digits
            .chunks(4)
            .map(|four| u8::try_from(byte(four)).unwrap());
        String::from_utf8(bytes.collect()).ok().map(Self::Moved)
    }

    fn text(&self) -> String {
        match self {
            Self::Ended => "{ }".into(),
            Self::Replaced => "{\t}".into(),
            Self::Revoked => "{\n}".into(),
            Self::Moved(suffix) => {
                let digits = suffix.bytes().flat_map(|b| [b / 64, b / 16, b / 4, b]);
                let spaces =
                    digits.map(|digit| char::from(SPACE.as_bytes()[usize::from(digit % 4)]));
                format!("{{\r{}}}", spaces.collect::<String>())
            }
        }
    }
}

fn sorted(mut keys: Vec<String>) -> Vec<String> {
    keys.sort();
    keys
}

/// What a request did to its session, before it was saved.
#[derive(Clone)]
struct Did {
    what: u8,
    /// The key that it sets.
    name: String,
    /// The key that it removed.
    removed: Option<String>,
    session: Session,
    /// How long the session is to live after its last write.
    life: Option<Duration>,
    /// What it had loaded: the keys, and the flags of the session.
    before: Vec<String>,
    is_new: bool,
    is_known: bool,
    was_replaced: bool,
}

impl Did {
    /// Does it. Keeps the meaning of the numbers 0 to 5, which the corpus has.
    fn act(what: u8, at: usize, loaded: Session, request: &Request<()>) -> Result<Self> {
        let mut did = Self {
            what: (what & 0x3f) % 13,
            name: format!("of request {at}"),
            removed: None,
            before: loaded.keys(),
            is_new: loaded.is_new(),
            is_known: loaded.identity().is_some(),
            was_replaced: loaded.was_replaced(),
            life: None,
            session: loaded,
        };
        let (session, name) = (&did.session, &did.name);
        match did.what {
            0 => session.insert(name, 1)?,
            1 => session.changed()?,
            2 => {
                let first = did.before.first().cloned().unwrap_or_default();
                did.removed = session.remove(&first)?.then_some(first);
            }
            3 => {
                session.insert(name, 1)?;
                session.renew()?;
            }
            4 => session.invalidate()?,
            5 => {
                session.invalidate()?;
                session.insert(name, 2)?;
            }
            6 => session.clear()?,
            7 => {
                session.clear()?;
                session.insert(name, 3)?;
            }
            8 => session.renew()?,
            9 => {
                did.session = request.new_session()?;
                did.session.insert(name, 4)?;
            }
            10 => did.session = request.new_session()?,
            11 => {
                session.insert(name, 5)?;
                assert!(session.remove(name)?);
            }
            _ => {
                let first = did.before.first().cloned().unwrap_or_default();
                did.removed = session.remove(&first)?.then_some(first);
                session.renew()?;
            }
        }
        did.life = did.session.max_age();
        Ok(did)
    }

    fn sets(&self) -> bool {
        matches!(self.what, 0 | 3 | 5 | 7 | 9)
    }

    fn renews(&self) -> bool {
        matches!(self.what, 3 | 8 | 12)
    }

    /// Returns what it makes of a session with these keys.
    fn merged(&self, keys: &[String]) -> Vec<String> {
        let mut keys = keys.to_vec();
        match self.what {
            0 | 3 if !keys.contains(&self.name) => keys.push(self.name.clone()),
            7 => keys = vec![self.name.clone()],
            11 => keys.retain(|key| *key != self.name),
            _ => {}
        }
        let removed = self.removed.as_ref();
        if let Some(at) = keys.iter().position(|key| Some(key) == removed) {
            keys.remove(at);
        }
        sorted(keys)
    }
}

fn check_loaded(did: &Did, loaded: &Loaded) {
    let is_live = matches!(loaded, Loaded::Live);
    assert_eq!(did.is_new, !is_live);
    assert_eq!(did.is_known, is_live, "what is no session is not adopted");
    assert_eq!(did.before.is_empty(), !is_live);
    let was_replaced = matches!(
        loaded,
        Loaded::Ended(Tombstone::Moved(_) | Tombstone::Replaced)
    );
    assert_eq!(did.was_replaced, was_replaced);
}

/// A request whose handler has done what it does, and has not responded.
struct InFlight {
    serving: Pin<Box<dyn Future<Output = Result<Response<()>>>>>,
    did: Rc<RefCell<Option<Did>>>,
}

impl InFlight {
    fn new(world: &World, at: usize, what: u8) -> Self {
        let cookie = format!("a=1; {DEFAULT_NAME}={IDENTITY}");
        let mut request = Request::new(());
        let cookie = HeaderValue::try_from(cookie).unwrap();
        request.headers_mut().insert(COOKIE, cookie);
        let did = Rc::new(RefCell::new(None));
        let noted = did.clone();
        let handler = move |request: Request<()>| async move {
            let session = request.session().await?;
            *noted.borrow_mut() = Some(Did::act(what, at, session, &request)?);
            pause().await;
            Ok::<_, Error>(Response::new(()))
        };
        let storages = Storages::new(world.storage.clone());
        let mut serving = Box::pin(storages.serve(request, DefaultErrorResponse, handler));
        let mut context = Context::from_waker(Waker::noop());
        assert!(serving.as_mut().poll(&mut context).is_pending());
        Self { serving, did }
    }

    fn did(&self) -> Did {
        self.did.borrow().clone().unwrap()
    }

    fn finish(&mut self) -> Response<()> {
        now(self.serving.as_mut()).unwrap()
    }
}

/// Waits until it is polled again.
async fn pause() {
    let mut is_second = false;
    poll_fn(|_| {
        if mem::replace(&mut is_second, true) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
}

/// What a request should get.
#[derive(Debug)]
enum Expected {
    /// No Set-Cookie.
    Keep,
    /// The cookie that it has, if it has a Max-Age, else no Set-Cookie.
    Same,
    /// A new identity, under which the session has these keys.
    Fresh {
        keys: Vec<String>,
        moves: bool,
    },
    Remove,
    /// 409 and no Set-Cookie.
    Refused,
    /// 503 and no Set-Cookie.
    Unavailable,
}

/// What was found where a session was to be ended.
enum Was {
    Alive,
    Ended(Tombstone),
    Nothing,
    /// Tombstones lead in a circle, which only another program could write.
    Circle,
}

/// The store, and what it should hold.
struct World {
    storage: Arc<KeyedStorage<MemoryBackend>>,
    clock: ManualClock,
    /// The texts that were there at first.
    texts: BTreeMap<String, Bytes>,
    held: BTreeMap<String, Held>,
    /// What the requests wrote.
    written: BTreeMap<String, Written>,
}

struct Written {
    /// When the session expires, or the tombstone ends; `None`: never.
    ends: Option<SystemTime>,
    /// When the store has nothing any more.
    gone: Option<SystemTime>,
}

impl World {
    /// Puts a text into the store for good.
    fn put(&mut self, identity: &str, text: Bytes, held: Held) {
        let write = Write::record(text.clone(), None);
        let backend = self.storage.backend();
        let written = now(backend.write(&key(identity), write, OnlyIf::Missing));
        assert!(matches!(written, Ok(Outcome::Written(_))));
        self.texts.insert(identity.into(), text);
        self.held.insert(identity.into(), held);
    }

    fn bury(&mut self, identity: &str, tombstone: Tombstone) {
        let ends = Some(self.clock.now() + MINUTE);
        let written = Written { ends, gone: ends };
        self.written.insert(identity.into(), written);
        self.held
            .insert(identity.into(), Held::Tombstone(tombstone));
    }

    /// Notes that a request has stored its session.
    fn store(&mut self, identity: &str, keys: Vec<String>, did: &Did) {
        let known = did.session.identity();
        let expected = (!keys.is_empty()).then_some(identity);
        assert_eq!(known.as_ref().map(Identity::as_str), expected);
        assert_eq!(did.session.is_new(), keys.is_empty());
        let written = Written {
            ends: did.session.expires_at(),
            gone: did.life.map(|life| self.clock.now() + life + GRACE),
        };
        self.written.insert(identity.into(), written);
        self.held.insert(identity.into(), Held::Session(keys));
    }

    /// Returns what a request should get that loaded `loaded`, and ends what it ends.
    fn expect(&mut self, loaded: &Loaded, did: &Did) -> Expected {
        let held = self.held[IDENTITY].clone();
        let fresh = |keys: &[String], moves| Expected::Fresh {
            keys: did.merged(keys),
            moves,
        };
        let new = Expected::Fresh {
            keys: vec![did.name.clone()],
            moves: false,
        };
        if matches!(did.what, 4 | 5 | 9 | 10) {
            let is_login = did.what == 9;
            return match self.end(is_login) {
                Was::Circle => Expected::Unavailable,
                _ if is_login => new,
                Was::Ended(Tombstone::Replaced | Tombstone::Ended) if did.sets() => {
                    Expected::Refused
                }
                _ if did.sets() => new,
                Was::Ended(Tombstone::Replaced) => Expected::Keep,
                _ => Expected::Remove,
            };
        }
        let changes = did.what != 2 || did.removed.is_some();
        match (loaded, held) {
            (Loaded::Live, Held::Session(keys)) if changes => match did.what {
                _ if did.renews() => fresh(&keys, true),
                6 => {
                    self.bury(IDENTITY, Tombstone::Ended);
                    Expected::Remove
                }
                _ => Expected::Same,
            },
            (Loaded::Live, _) if changes => Expected::Refused,
            (Loaded::Emptied, Held::Session(_)) if did.sets() => fresh(&[], true),
            (Loaded::Emptied, _) if did.sets() => Expected::Refused,
            (Loaded::Ended(Tombstone::Revoked) | Loaded::Nothing, _) if did.sets() => new,
            (Loaded::Ended(Tombstone::Revoked), _) => Expected::Keep,
            (Loaded::Ended(_), _) if did.sets() || did.renews() => Expected::Refused,
            _ => Expected::Keep,
        }
    }

    /// Ends what the cookie stands for. A login leaves its tombstone also where no session is, and
    /// in place of each tombstone that it followed.
    fn end(&mut self, is_login: bool) -> Was {
        let mut at = IDENTITY.to_owned();
        let mut followed = Vec::new();
        for _ in 0..=self.held.len() {
            let was = match self.held.get(&at) {
                Some(Held::Foreign) => return Was::Nothing,
                Some(Held::Tombstone(Tombstone::Moved(to))) if Identity::parse(to).is_some() => {
                    followed.push(mem::replace(&mut at, to.clone()));
                    continue;
                }
                Some(Held::Tombstone(Tombstone::Moved(_)) | Held::Python) | None => Was::Nothing,
                Some(Held::Tombstone(tombstone)) => Was::Ended(tombstone.clone()),
                Some(Held::Session(_)) => Was::Alive,
            };
            if is_login {
                for at in followed.iter().chain([&at]) {
                    self.bury(at, Tombstone::Replaced);
                }
            } else if let Was::Alive = was {
                self.bury(&at, Tombstone::Ended);
            }
            return was;
        }
        Was::Circle
    }

    /// Compares what a request got with what it should get, and notes what it stored.
    fn check_response(&mut self, expected: Expected, did: &Did, response: &Response<()>) {
        let status = match expected {
            Expected::Refused => StatusCode::CONFLICT,
            Expected::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::OK,
        };
        assert_eq!(response.status(), status, "expected {expected:?}");
        let headers: Vec<&HeaderValue> = response.headers().get_all(SET_COOKIE).iter().collect();
        let life = did.life;
        match (expected, &headers[..]) {
            (Expected::Same, headers) => {
                let Held::Session(keys) = self.held[IDENTITY].clone() else {
                    panic!("only a session is updated");
                };
                assert_eq!(headers.len(), usize::from(life.is_some()));
                for header in headers {
                    assert_eq!(identity_of(header, life).as_str(), IDENTITY);
                }
                self.store(IDENTITY, did.merged(&keys), did);
            }
            (Expected::Fresh { keys, moves }, [header]) => {
                let identity = identity_of(header, life);
                let identity = identity.as_str();
                assert!(!self.held.contains_key(identity), "not adopted");
                assert_eq!(sorted(did.session.keys()), keys);
                self.store(identity, keys, did);
                if moves {
                    self.bury(IDENTITY, Tombstone::Moved(identity.into()));
                }
            }
            (Expected::Remove, [header]) => {
                let text = header.to_str().unwrap();
                assert!(text.starts_with(&format!("{DEFAULT_NAME}=\"\"; ")));
                assert!(text.contains("; Max-Age=0; "));
            }
            (Expected::Keep | Expected::Refused | Expected::Unavailable, []) => {}
            (expected, headers) => panic!("{headers:?}: expected {expected:?}"),
        }
    }

    /// Checks that the store holds what it should hold, and that a request loads that.
    fn check_store(&self) {
        for (identity, held) in &self.held {
            let text = self.read(identity).expect("it is still there");
            let session = now(self.storage.load(&[identity])).unwrap();
            let written = self.written.get(identity);
            match held {
                Held::Tombstone(tombstone) => assert_eq!(text, tombstone.text()),
                Held::Session(_) if written.is_some() => {}
                Held::Session(_) | Held::Python | Held::Foreign => {
                    assert_eq!(text, self.texts[identity], "it is left alone");
                }
            }
            let ends = written.and_then(|written| written.ends);
            match (held, written) {
                (Held::Session(keys), Some(_)) if !keys.is_empty() && !self.is_over(ends) => {
                    assert_eq!(session.identity().unwrap().as_str(), identity);
                    assert_eq!(sorted(session.keys()), *keys);
                }
                // What was there at first may have expired.
                (Held::Session(_), None) => {}
                _ => assert!(session.is_new() && session.is_empty()),
            }
        }
    }

    /// Checks how long the store keeps what the requests wrote, and how long sessions live.
    fn check_times(&self) {
        let day = 24 * HOUR;
        let saved = self.clock.now();
        for (identity, written) in &self.written {
            let Some(gone) = written.gone else {
                self.clock.set(saved + day);
                assert!(self.read(identity).is_some());
                continue;
            };
            if let Held::Session(_) = &self.held[identity] {
                self.clock.set(gone - GRACE + SECOND);
                assert!(self.read(identity).is_some(), "its grace");
                let session = now(self.storage.load(&[identity])).unwrap();
                // A date in the future lasts longer if no write has replaced it.
                if self.is_over(written.ends) {
                    assert!(session.is_new() && session.is_empty(), "it has expired");
                }
            }
            self.clock.set(gone - SECOND);
            assert!(self.read(identity).is_some());
            self.clock.set(gone);
            assert!(self.read(identity).is_none());
        }
    }

    fn read(&self, identity: &str) -> Option<Bytes> {
        match now(self.storage.backend().read(&key(identity))).unwrap() {
            Found::Record(stored) => Some(stored.value().clone()),
            Found::Missing => None,
            Found::Foreign => panic!("memory holds bytes only"),
        }
    }

    /// Returns whether the time is over. Sessions live to the end of their last second.
    fn is_over(&self, ends: Option<SystemTime>) -> bool {
        let now = self.clock.now().duration_since(UNIX_EPOCH).unwrap();
        let now = UNIX_EPOCH + Duration::from_secs(now.as_secs());
        ends.is_some_and(|ends| ends < now)
    }
}

fn key(identity: &str) -> String {
    format!("{DEFAULT_NAME}_{identity}")
}

/// Returns the identity in a Set-Cookie header, which has this Max-Age.
#[track_caller]
fn identity_of(header: &HeaderValue, life: Option<Duration>) -> Identity {
    let text = header.to_str().unwrap();
    let (value, attributes) = text.split_once("; ").unwrap();
    let value = value.strip_prefix(DEFAULT_NAME).unwrap();
    let age = attributes.split_once("; Max-Age=").map(|(_, age)| age);
    let age = age.map(|age| age.split(';').next().unwrap().parse().unwrap());
    assert_eq!(age, life.map(|life| life.as_secs()));
    Identity::parse(value.strip_prefix('=').unwrap()).unwrap()
}
