//! The walk through a Redis or a memcached that both programs share. A coin says which of them serves
//! each request; both must then see the same session under every cookie there ever was, and the store
//! must hold the records that the model says, under Python's keys, for as long as Python's would live.

use std::collections::BTreeMap;

use session_tests::real::Left;
use session_tests::vectors::NAME;
use session_tests::wire::canonical;

use crate::client::{Answer, Pair};
use crate::model::{Cookie, EMPTY, Model, Request, Saved, Setting, Side};
use crate::random::Random;
use crate::walk::{compare, next, now, seed, spelled};

const HOPS: usize = 250;

/// What lies under each identity that was ever given out; `None` is `{}`, which only Python leaves.
type Records = BTreeMap<String, Option<Saved>>;

struct Walk {
    pair: Pair,
    setting: Setting,
    records: Records,
    /// Every identity that was given out.
    given: Vec<String>,
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
        records: Records::new(),
        given: Vec::new(),
    };
    let mut random = Random::new(seed ^ max_age.unwrap_or(1));
    let (mut jar, mut model) = (None::<String>, EMPTY);
    let (mut served, mut handed_over, mut last) = ([0; 2], 0, Side::Python);
    for hop in 0..HOPS {
        if random.below(10) == 0 {
            // Another client, or one that a side has logged out meanwhile.
            (jar, model) = walk.someone(&mut random);
        }
        let request = next(&mut random, &model);
        let (method, path, body) = spelled(&request, &mut random);
        let side = [Side::Python, Side::Ours][random.below(2)];
        served[side as usize] += 1;
        handed_over += usize::from(side != last && model.saved.is_some());
        last = side;
        let sent = jar.as_ref().map(|identity| format!("{NAME}={identity}"));
        let before = now();
        let answer = walk.pair.ask(side, method, &path, sent, &body).await;
        let after = now();
        let fits = walk.step(&mut jar, &mut model, &request, side, &answer, before, after);
        let fits = match fits {
            Ok(()) => walk.check(&mut random, jar.as_ref()).await,
            failed => failed,
        };
        if let Err(difference) = fits {
            panic!(
                "SESSION_TEST_SEED={seed}, {kind}, max_age {max_age:?}, hop {hop}: {side:?}: \
                 {difference}\n{method} {path} {body}\njar: {jar:?}\nsession: {model:#?}\n\
                 answer: {} {}\n{:?}",
                answer.status, answer.body, answer.set_cookie
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
}

impl Walk {
    /// Returns a client that has some identity of the past, or none.
    fn someone(&self, random: &mut Random) -> (Option<String>, Model) {
        if self.given.is_empty() || random.below(4) == 0 {
            return (None, EMPTY);
        }
        let identity = self.given[random.below(self.given.len())].clone();
        let saved = self.records.get(&identity).cloned().flatten();
        (Some(identity), Model { sent: true, saved })
    }

    /// Holds an answer against the model, and makes of jar, model and records what the answer should
    /// have made of them.
    #[expect(clippy::too_many_arguments, reason = "it is the loop's body")]
    fn step(
        &mut self,
        jar: &mut Option<String>,
        model: &mut Model,
        request: &Request,
        side: Side,
        answer: &Answer,
        before: u64,
        after: u64,
    ) -> Result<(), String> {
        let expected = model.after(request, side, self.setting);
        compare(answer, &expected, before, after)?;
        let identity = jar.clone().filter(|_| model.saved.is_some());
        if let Some(view) = &expected.view {
            let shown = identity.clone().filter(|_| !view.new);
            if answer.identity() != shown {
                return Err(format!("identity, not {shown:?}"));
            }
        }
        let is_login = matches!(request, Request::Login(_) | Request::NewUntouched);
        let set = answer.pair().map(|pair| pair[NAME.len() + 1..].to_owned());
        // Where the session was before: Python's login leaves it, Python's logout empties it.
        if !matches!(expected.cookie, Cookie::None)
            && let Some(old) = &identity
            && set.as_ref() != Some(old)
        {
            match side {
                Side::Python if is_login => {}
                Side::Python => drop(self.records.insert(old.clone(), None)),
                Side::Ours => drop(self.records.remove(old)),
            }
        }
        if side == Side::Ours && is_login && set.is_some() | answer.set_cookie.is_some() {
            // Whatever the client's cookie stands for ends, Python's `{}` too.
            jar.as_ref().map(|old| self.records.remove(old));
        }
        *model = expected.then;
        if answer.set_cookie.is_some() {
            jar.clone_from(&set);
        }
        let Some(set) = set else { return Ok(()) };
        let fresh = !self.given.contains(&set);
        if fresh == (identity.is_some() && !is_login) {
            return Err(format!("an identity that is fresh: {fresh}"));
        }
        if fresh {
            self.given.push(set.clone());
        }
        let record = self.pair.store().get(&format!("{NAME}_{set}"));
        let record = String::from_utf8(record.ok_or("nothing is stored")?).unwrap();
        if model.is_written_now() {
            let written = record.strip_prefix("{\"created\": ").unwrap_or_default();
            let written = written.split(',').next().unwrap().parse().unwrap_or(0);
            if !(before..=after).contains(&written) {
                return Err(format!("created {written} in {record}"));
            }
            model.served_at(written);
        }
        let Cookie::Set { expires_in, .. } = expected.cookie else {
            return Err("a cookie".into());
        };
        let left = self.pair.store().left(&format!("{NAME}_{set}"));
        if !left.is_about(expires_in) {
            return Err(format!("{left:?}, not {expires_in:?}"));
        }
        self.records.insert(set, model.saved.clone());
        Ok(())
    }

    /// Compares what is stored with what should be, and what both programs see under the client's own
    /// identity and under one of the past.
    async fn check(&self, random: &mut Random, jar: Option<&String>) -> Result<(), String> {
        let wanted: Vec<_> = self
            .records
            .keys()
            .map(|id| format!("{NAME}_{id}"))
            .collect();
        let keys = self.pair.store().keys();
        if keys != wanted {
            return Err(format!("keys {keys:?}, not {wanted:?}"));
        }
        let past = (!self.given.is_empty()).then(|| &self.given[random.below(self.given.len())]);
        for identity in jar.into_iter().chain(past) {
            let saved = self.records.get(identity).cloned().flatten();
            let key = format!("{NAME}_{identity}");
            let stored = self.pair.store().get(&key);
            let text = stored.map(|bytes| canonical(&String::from_utf8(bytes).unwrap()));
            let fits = match (&saved, &text) {
                (Some(saved), Some(text)) => *text == saved.record(),
                (None, Some(text)) => text == "{}",
                (None, None) => self.pair.store().left(&key) == Left::Nothing,
                (Some(_), None) => false,
            };
            if !fits {
                return Err(format!("{text:?} is stored, not {saved:?}"));
            }
            for side in [Side::Python, Side::Ours] {
                let cookie = Some(format!("{NAME}={identity}"));
                let seen = self.pair.ask(side, "GET", "/get", cookie, "").await;
                let (new, created, data) = seen.view().ok_or("no view")?;
                let fits = match &saved {
                    None => new && data == "{}" && seen.identity().is_none(),
                    Some(saved) => {
                        let same = (created, &data) == (saved.created, &saved.data());
                        !new && same && seen.identity().as_ref() == Some(identity)
                    }
                };
                if !fits || seen.set_cookie.is_some() {
                    return Err(format!("{side:?} sees {}, not {saved:?}", seen.body));
                }
            }
        }
        Ok(())
    }
}

/// On both sides the cookie stands for no session, and a write begins another one.
pub(crate) async fn is_over(pair: &Pair, cookie: Option<&String>) {
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
        assert_eq!(written.data(), body, "{side:?}");
        assert!(written.pair().is_some() && written.pair().as_ref() != cookie);
    }
}
