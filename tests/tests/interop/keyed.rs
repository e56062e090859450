//! The walk through a Redis or a memcached that both programs share. A coin decides which of them
//! serves a request. Both must then see the same session under every cookie there ever was, and the
//! store must hold what the model says, under Python's keys, for as long as the model says.

use std::collections::BTreeMap;

use session_tests::real::Left;
use session_tests::vectors::NAME;
use session_tests::wire::canonical;
use sha2::Digest as _;

use crate::client::{Pair, TestResponse};
use crate::model::{EMPTY, Model, Request, Saved, Setting, Side, Stored, Tombstone};
use crate::random::Random;
use crate::walk::{compare, deletable, next, now, seed, spelled};

const HOPS: usize = 400;

/// How many seconds a tombstone stays.
const TOMBSTONE: u64 = 60;

/// Tombstones that are older than this are left alone: they expire at any moment.
const CERTAIN: u64 = 45;

/// What lies at a key.
#[derive(Clone, Debug)]
enum Held {
    /// A session, perhaps an emptied one.
    Session(Saved),
    /// `{}`, which only Python leaves.
    PythonsEnd,
    /// A tombstone, which only our program leaves, and when it was written.
    Tombstone(Grave, u64),
}

#[derive(Clone, Debug)]
enum Grave {
    Ended,
    Replaced,
    /// The session moved to this identity.
    Moved(String),
    /// The same, but a login has followed it since, and may have replaced the tombstone.
    Followed(String),
}

/// How often a walk came to the places that are ours alone.
#[derive(Debug, Default)]
struct Visits {
    refused: usize,
    emptied: usize,
    revived: usize,
    moved: usize,
    quiet: usize,
    kept_by_a_logout: usize,
}

struct Walk {
    pair: Pair,
    setting: Setting,
    records: BTreeMap<String, Held>,
    /// Every identity that was given out.
    given: Vec<String>,
    visits: Visits,
}

pub(crate) async fn walk(kind: &str, max_age: Option<u64>) {
    let seed = seed();
    println!("{kind}, max_age {max_age:?}, SESSION_TEST_SEED={seed}");
    let mut walk = Walk {
        pair: Pair::start(kind, max_age),
        setting: Setting {
            is_simple: false,
            is_keyed: true,
            max_age,
        },
        records: BTreeMap::new(),
        given: Vec::new(),
        visits: Visits::default(),
    };
    let mut random = Random::new(seed ^ max_age.unwrap_or(1));
    let mut jar = None::<String>;
    let (mut served, mut handed_over, mut last) = ([0; 2], 0, Side::Python);
    for hop in 0..HOPS {
        if random.below(10) == 0 || !jar.iter().all(|identity| walk.is_certain(identity)) {
            // Another client, or one whose session has ended meanwhile.
            jar = walk.someone(&mut random);
        }
        let model = walk.model(jar.as_ref());
        let mut side = [Side::Python, Side::Ours][random.below(2)];
        let mut request = next(&mut random, &model);
        if random.below(12) == 0 {
            side = Side::Ours;
            request = [Request::Renew, Request::Clear][random.below(2)].clone();
        }
        // The places that chance alone would seldom lead to.
        match model.saved.as_ref().map(|saved| saved.members.len()) {
            Some(0) if random.below(3) == 0 => {
                side = Side::Ours;
                request = Request::Forbidden;
            }
            Some(1) if random.below(5) == 0 => {
                side = Side::Ours;
                request = Request::Delete(deletable(&model, &mut random));
            }
            _ => {}
        }
        if model.tombstone.is_some() && random.below(4) == 0 {
            let ends = [
                Request::Invalidate,
                Request::NewUntouched,
                Request::Login(None),
            ];
            request = ends[random.below(3)].clone();
        }
        let (method, path, body) = spelled(&request, &mut random);
        served[side as usize] += 1;
        handed_over += usize::from(side != last && model.saved.is_some());
        last = side;
        let sent = jar.as_ref().map(|identity| format!("{NAME}={identity}"));
        let before = now();
        let response = walk.pair.ask(side, method, &path, sent, &body).await;
        let after = now();
        let shown_jar = jar.clone();
        let fits = walk.step(&mut jar, &model, &request, side, &response, before, after);
        let fits = match fits {
            Ok(()) => walk.check(&mut random, jar.as_ref()).await,
            failed => failed,
        };
        if let Err(difference) = fits {
            panic!(
                "SESSION_TEST_SEED={seed}, {kind}, max_age {max_age:?}, hop {hop}: {side:?}: \
                 {difference}\n{method} {path} {body}\njar: {shown_jar:?}\nsession: {model:#?}\n\
                 response: {} {}\n{:?}",
                response.status, response.body, response.set_cookie
            );
        }
    }
    assert!(served.iter().all(|count| *count > HOPS / 3), "{served:?}");
    assert!(
        handed_over > HOPS / 5,
        "{handed_over} sessions were handed over"
    );
    assert!(
        walk.given.len() > HOPS / 20,
        "{} identities",
        walk.given.len()
    );
    println!("{:?}", walk.visits);
    if std::env::var_os("SESSION_TEST_SEED").is_none() {
        let Visits {
            refused,
            emptied,
            revived,
            moved,
            quiet,
            kept_by_a_logout,
        } = walk.visits;
        let visits = [refused, emptied, revived, moved, kept_by_a_logout];
        assert!(visits.iter().all(|count| *count > 0), "{visits:?}");
        assert!(max_age.is_some() || quiet > 0, "no update was quiet");
    }
}

impl Walk {
    /// Returns the cookie of a client that has some identity of the past, or none. Every third one
    /// has a cookie that we have just replaced, if there is one.
    fn someone(&self, random: &mut Random) -> Option<String> {
        let is_replaced = |identity: &String| {
            let held = self.records.get(identity);
            matches!(held, Some(Held::Tombstone(grave, _)) if !matches!(grave, Grave::Ended))
        };
        let certain = || {
            self.given
                .iter()
                .filter(|identity| self.is_certain(identity))
        };
        let replaced: Vec<&String> = certain().filter(|identity| is_replaced(identity)).collect();
        if !replaced.is_empty() && random.below(3) == 0 {
            return Some(replaced[random.below(replaced.len())].clone());
        }
        let certain: Vec<&String> = certain().collect();
        let nobody = certain.is_empty() || random.below(6) == 0;
        (!nobody).then(|| certain[random.below(certain.len())].clone())
    }

    /// Returns what a cookie stands for.
    fn model(&self, jar: Option<&String>) -> Model {
        let Some(identity) = jar else { return EMPTY };
        let mut model = Model {
            sent: true,
            ..EMPTY
        };
        match self.records.get(identity) {
            None | Some(Held::PythonsEnd) => {}
            Some(Held::Session(saved)) => model.saved = Some(saved.clone()),
            Some(Held::Tombstone(grave, _)) => {
                model.tombstone = Some(match grave {
                    Grave::Ended => Tombstone::Ended,
                    Grave::Replaced => Tombstone::Replaced,
                    Grave::Moved(_) | Grave::Followed(_) => {
                        let end = self.records.get(self.chain(identity).last().unwrap());
                        Tombstone::Moved {
                            to_replaced: matches!(end, Some(Held::Tombstone(Grave::Replaced, _))),
                        }
                    }
                });
            }
        }
        model
    }

    /// Returns the identity and those to which its session moved one after the other.
    fn chain(&self, identity: &str) -> Vec<String> {
        let mut chain = vec![identity.to_owned()];
        while let Some(Held::Tombstone(Grave::Moved(to) | Grave::Followed(to), _)) =
            self.records.get(chain.last().unwrap())
        {
            chain.push(to.clone());
        }
        chain
    }

    /// Returns whether no tombstone that a request with this identity meets is about to expire.
    fn is_certain(&self, identity: &str) -> bool {
        self.chain(identity)
            .iter()
            .all(|identity| match self.records.get(identity) {
                Some(Held::Tombstone(_, at)) => now() - at < CERTAIN,
                _ => true,
            })
    }

    /// Compares a response with the model, and makes of jar and records what it should have made.
    #[expect(clippy::too_many_arguments, reason = "it is the loop's body")]
    fn step(
        &mut self,
        jar: &mut Option<String>,
        model: &Model,
        request: &Request,
        side: Side,
        response: &TestResponse,
        before: u64,
        after: u64,
    ) -> Result<(), String> {
        let expected = model.after(request, side, self.setting);
        compare(response, &expected, before, after)?;
        if let Some(view) = &expected.view {
            let shown = jar.clone().filter(|_| !view.new);
            if response.identity() != shown {
                return Err(format!("identity, not {shown:?}"));
            }
        }
        let old = jar.clone();
        let set = response
            .pair()
            .map(|pair| pair[NAME.len() + 1..].to_owned());
        if response.set_cookie.is_some() {
            jar.clone_from(&set);
        }
        self.count(model, &expected.record, response);
        let (identity, lives) = match expected.record {
            Stored::Nothing | Stored::End => (None, None),
            Stored::Update(lives) => (old.clone(), lives),
            Stored::Create(lives) | Stored::Move(lives) | Stored::Login(lives) => {
                let fresh = set.clone().filter(|set| !self.given.contains(set));
                self.given.push(fresh.clone().ok_or("an old identity")?);
                (fresh, lives)
            }
        };
        if set.is_some() && set != identity {
            return Err(format!("the identity, not {identity:?}"));
        }
        if let Some(identity) = &identity {
            let mut then = expected.then;
            self.is_stored(identity, &mut then, lives, before, after)?;
            if let (Request::Renew, Some(saved), Some(old)) = (request, &mut then.saved, &old) {
                let handle = model.saved.as_ref().and_then(|saved| saved.handle.clone());
                saved.handle = handle.or_else(|| Some(hash(old)));
            }
            let held = then.saved.map_or(Held::PythonsEnd, Held::Session);
            self.records.insert(identity.clone(), held);
        }
        let Some(old) = old else { return Ok(()) };
        match (expected.record, side) {
            (Stored::Move(_), _) => {
                let to = identity.ok_or("a fresh identity")?;
                self.bury(old, Grave::Moved(to), before)
            }
            (Stored::Login(_), _) => {
                let mut chain = self.chain(&old);
                let end = chain.pop().unwrap();
                for identity in chain {
                    if let Some(Held::Tombstone(grave, _)) = self.records.get_mut(&identity)
                        && let Grave::Moved(to) = grave
                    {
                        *grave = Grave::Followed(std::mem::take(to));
                    }
                }
                self.bury(end, Grave::Replaced, before)
            }
            (Stored::End, Side::Python) => {
                self.records.insert(old, Held::PythonsEnd);
                Ok(())
            }
            (Stored::End, Side::Ours) => {
                let end = self.chain(&old).pop().unwrap();
                match self.records.get(&end) {
                    Some(Held::Session(_)) => self.bury(end, Grave::Ended, before),
                    _ => Ok(()),
                }
            }
            _ => Ok(()),
        }
    }

    fn count(&mut self, model: &Model, record: &Stored, response: &TestResponse) {
        let is_emptied = (model.saved.as_ref()).is_some_and(|saved| saved.members.is_empty());
        let visits = &mut self.visits;
        visits.refused += usize::from(response.status == 409);
        visits.emptied += usize::from(is_emptied);
        let is_quiet = response.set_cookie.is_none();
        match record {
            Stored::Move(_) if is_emptied => visits.revived += 1,
            Stored::Move(_) => visits.moved += 1,
            Stored::Update(_) if is_quiet => visits.quiet += 1,
            Stored::End if is_quiet => visits.kept_by_a_logout += 1,
            _ => {}
        }
    }

    /// Checks the record at an identity that was just written.
    fn is_stored(
        &self,
        identity: &str,
        then: &mut Model,
        lives: Option<u64>,
        before: u64,
        after: u64,
    ) -> Result<(), String> {
        let key = format!("{NAME}_{identity}");
        let record = self.pair.store().get(&key).ok_or("nothing is stored")?;
        let record = String::from_utf8(record).unwrap();
        if then.is_written_now() {
            let written = record.strip_prefix("{\"created\": ").unwrap_or_default();
            let written = written.split(',').next().unwrap().parse().unwrap_or(0);
            if !(before..=after).contains(&written) {
                return Err(format!("created {written} in {record}"));
            }
            then.served_at(written);
        }
        let left = self.pair.store().left(&key);
        if left.is_about(lives) {
            return Ok(());
        }
        Err(format!("{left:?}, not {lives:?}"))
    }

    /// Notes a tombstone that was just written.
    fn bury(&mut self, identity: String, grave: Grave, at: u64) -> Result<(), String> {
        let left = self.pair.store().left(&format!("{NAME}_{identity}"));
        self.records.insert(identity, Held::Tombstone(grave, at));
        if left.is_about(Some(TOMBSTONE)) {
            return Ok(());
        }
        Err(format!("the tombstone has {left:?}"))
    }

    /// Compares what is stored with what should be, and what both programs see under the client's
    /// own identity and under one of the past.
    async fn check(&self, random: &mut Random, jar: Option<&String>) -> Result<(), String> {
        let keys = self.pair.store().keys();
        let key_of = |identity: &String| format!("{NAME}_{identity}");
        let known: Vec<String> = self.records.keys().map(key_of).collect();
        let certain = self.records.iter().filter(|(_, held)| match held {
            Held::Tombstone(_, at) => now() - at < TOMBSTONE - 5,
            _ => true,
        });
        let certain: Vec<String> = certain.map(|(identity, _)| key_of(identity)).collect();
        if !certain.iter().all(|key| keys.contains(key)) {
            return Err(format!("keys {keys:?} lack some of {certain:?}"));
        }
        if !keys.iter().all(|key| known.contains(key)) {
            return Err(format!("keys {keys:?}, not {known:?}"));
        }
        let past = (!self.given.is_empty()).then(|| &self.given[random.below(self.given.len())]);
        let identities = jar.into_iter().chain(past);
        for identity in identities.filter(|identity| self.is_certain(identity)) {
            let held = self.records.get(identity);
            self.is_held(identity, held)?;
            for side in [Side::Python, Side::Ours] {
                let cookie = Some(format!("{NAME}={identity}"));
                let seen = self.pair.ask(side, "GET", "/get", cookie, "").await;
                let (new, created, data) = seen.view().ok_or("no view")?;
                let fits = match held {
                    // An emptied session is none to us, but one to Python.
                    Some(Held::Session(saved))
                        if side == Side::Python || !saved.members.is_empty() =>
                    {
                        let same = (created, &data) == (saved.created, &saved.data());
                        !new && same && seen.identity().as_ref() == Some(identity)
                    }
                    _ => new && data == "{}" && seen.identity().is_none(),
                };
                if !fits || seen.set_cookie.is_some() {
                    return Err(format!("{side:?} sees {}, not {held:?}", seen.body));
                }
            }
        }
        Ok(())
    }

    /// Checks the text at an identity's key.
    fn is_held(&self, identity: &str, held: Option<&Held>) -> Result<(), String> {
        let key = format!("{NAME}_{identity}");
        let text = self.pair.store().get(&key);
        let text = text.map(|bytes| String::from_utf8(bytes).unwrap());
        let is = |wanted: &str| text.as_deref() == Some(wanted);
        let fits = match held {
            None => text.is_none() && self.pair.store().left(&key) == Left::Nothing,
            Some(Held::PythonsEnd) => is("{}"),
            Some(Held::Session(saved)) => text.as_deref().map(canonical) == Some(saved.record()),
            Some(Held::Tombstone(Grave::Ended, _)) => is("{ }"),
            Some(Held::Tombstone(Grave::Replaced, _)) => is("{\t}"),
            Some(Held::Tombstone(Grave::Moved(to), _)) => is(&moved(to)),
            Some(Held::Tombstone(Grave::Followed(to), _)) => is(&moved(to)) || is("{\t}"),
        };
        if fits {
            return Ok(());
        }
        Err(format!("{text:?} is stored under {identity}, not {held:?}"))
    }
}

/// Returns the tombstone of a session that moved: the identity in white space, four for each byte.
fn moved(to: &str) -> String {
    let digits = to
        .bytes()
        .flat_map(|byte| [byte >> 6, byte >> 4, byte >> 2, byte])
        .map(|digit| [' ', '\t', '\n', '\r'][usize::from(digit & 3)]);
    format!("{{\r{}}}", digits.collect::<String>())
}

/// Returns the public handle of a session that began under this identity.
fn hash(identity: &str) -> String {
    use std::fmt::Write as _;
    let digest = sha2::Sha256::digest(identity);
    digest[..16].iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// On both sides the cookie stands for no session. A write begins another one in Python. `ours` is
/// the status of a write in our program: 409 for a minute after it ended the session itself.
pub(crate) async fn is_over(pair: &Pair, cookie: Option<&String>, ours: u16) {
    for side in [Side::Python, Side::Ours] {
        let seen = pair.ask(side, "GET", "/get", cookie.cloned(), "").await;
        let (new, _, data) = seen.view().unwrap();
        assert_eq!(
            (new, &*data, seen.identity()),
            (true, "{}", None),
            "{side:?}"
        );
        let body = "{\"a\": 1}";
        let written = pair.ask(side, "POST", "/set", cookie.cloned(), body).await;
        if side == Side::Ours && ours != 200 {
            assert_eq!((written.status, written.pair()), (ours, None));
            continue;
        }
        assert_eq!(written.data(), body, "{side:?}");
        assert!(written.pair().is_some() && written.pair().as_ref() != cookie);
    }
}
