//! A seeded random walk. Each request goes to both programs with the same cookie. Both responses
//! are compared with the model, and a coin decides with whose cookie the client continues.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::client::{Pair, TestResponse};
use crate::model::{Cookie, EMPTY, Expected, Model, Request, Setting, Side};
use crate::random::Random;

const HOPS: usize = 250;

/// A cookie longer than this is invalidated before another write could pass the browsers' limit.
const LONG: usize = 1800;

pub(crate) async fn walk(kind: &str, max_age: Option<u64>) {
    let seed = seed();
    println!("{kind}, max_age {max_age:?}, SESSION_TEST_SEED={seed}");
    let pair = Pair::start(kind, max_age);
    let setting = Setting {
        is_simple: kind == "simple",
        is_keyed: false,
        max_age,
    };
    let mut random = Random::new(seed);
    let mut jar: Option<String> = None;
    let mut model = EMPTY;
    let mut hops = [0; 2];
    for hop in 0..HOPS {
        let request = if jar.as_ref().is_some_and(|cookie| cookie.len() > LONG) {
            Request::Invalidate
        } else {
            next(&mut random, &model)
        };
        let (method, path, body) = spelled(&request, &mut random);
        let before = now();
        let theirs = pair.oracle(method, &path, jar.clone(), &body).await;
        let ours = pair.parity(method, &path, jar.clone(), &body).await;
        let after = now();
        let mut ways = Vec::new();
        for (side, response) in [(Side::Python, theirs), (Side::Ours, ours)] {
            let expected = model.after(&request, side, setting);
            if let Err(difference) = compare(&response, &expected, before, after) {
                panic!(
                    "SESSION_TEST_SEED={seed}, {kind}, max_age {max_age:?}, hop {hop}: {side:?}: \
                     {difference}\n{method} {path} {body}\nCookie: {jar:?}\nsession: {model:#?}\n\
                     response: {} {}\n{:?}",
                    response.status, response.body, response.set_cookie
                );
            }
            assert_eq!(response.identity(), None, "the session is in the cookie");
            ways.push((response, expected.then));
        }
        let same_head = ways[0].0.content_type == ways[1].0.content_type
            && ways[0].0.location == ways[1].0.location;
        assert!(same_head, "{method} {path}");
        let way = random.below(2);
        hops[way] += 1;
        let (response, then) = ways.swap_remove(way);
        if response.set_cookie.is_some() {
            jar = response.pair();
        }
        let written = then.is_written_now();
        model = then;
        assert_eq!(model.sent, jar.is_some());
        if written {
            // Which second it was, the server knows; both must then read the same.
            let seen = pair.oracle("GET", "/get", jar.clone(), "").await;
            let (_, created, _) = seen.view().unwrap();
            assert!((before..=after).contains(&created), "created {created}");
            model.served_at(created);
        }
    }
    assert!(hops[0] > HOPS / 3 && hops[1] > HOPS / 3, "{hops:?}");
}

pub(crate) fn seed() -> u64 {
    match std::env::var("SESSION_TEST_SEED") {
        Ok(seed) => seed.parse().unwrap(),
        Err(_) => 20_251_122,
    }
}

pub(crate) fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs()
}

pub(crate) fn next(random: &mut Random, model: &Model) -> Request {
    let known = |random: &mut Random| deletable(model, random);
    match random.below(24) {
        0..=2 => Request::Get,
        3 => Request::Noop,
        4..=10 => {
            let mut members = Vec::new();
            for _ in 0..random.below(4) {
                let name = if random.below(3) == 0 {
                    known(random)
                } else {
                    random.text()
                };
                members.push((name, random.value(2)));
            }
            Request::Set(members)
        }
        11..=13 => Request::Delete(known(random)),
        14 => Request::Delete("missing".to_owned()),
        15 => Request::Invalidate,
        16 => Request::Login(random.coin().then(|| random.value(1))),
        17 => Request::NewUntouched,
        18 => Request::Touch,
        19 => Request::Redirect,
        20 => Request::Forbidden,
        21 => Request::Error,
        22 => Request::Stream,
        _ => Request::MaxAge([None, Some(600), Some(3600), Some(7200)][random.below(4)]),
    }
}

/// Returns a key of the session that the programs have a route for. Neither has one for an empty
/// key, aiohttp has none for braces, and paths normalize dots.
pub(crate) fn deletable(model: &Model, random: &mut Random) -> String {
    let names = model.names();
    let name = (!names.is_empty()).then(|| names[random.below(names.len())].clone());
    name.filter(|name| !name.contains(['{', '}']) && !name.trim_matches('.').is_empty())
        .unwrap_or("missing".to_owned())
}

pub(crate) fn spelled(request: &Request, random: &mut Random) -> (&'static str, String, String) {
    let (method, path, body) = match request {
        Request::Get => ("GET", "/get", String::new()),
        Request::Noop => ("GET", "/noop", String::new()),
        Request::Set(members) => {
            let member =
                |(name, value): &(String, String)| format!("{}: {value}", random.spell(name));
            let members: Vec<_> = members.iter().map(member).collect();
            ("POST", "/set", format!("{{{}}}", members.join(", ")))
        }
        Request::Delete(name) => {
            let mut path = String::from("/delete/");
            for byte in name.bytes() {
                write!(path, "%{byte:02X}").unwrap();
            }
            return ("POST", path, String::new());
        }
        Request::Invalidate => ("POST", "/invalidate", String::new()),
        Request::Login(None) => ("POST", "/login", String::new()),
        Request::Login(Some(user)) => ("POST", "/login", format!("{{\"user\": {user}}}")),
        Request::NewUntouched => ("POST", "/new-untouched", String::new()),
        Request::Touch => ("GET", "/touch", String::new()),
        Request::Redirect => ("GET", "/raise-redirect", String::new()),
        Request::Forbidden => ("GET", "/forbidden", String::new()),
        Request::Error => ("GET", "/error", String::new()),
        Request::Stream => ("GET", "/stream", String::new()),
        Request::Clear => ("POST", "/clear", String::new()),
        Request::Renew => ("POST", "/renew", String::new()),
        Request::MaxAge(seconds) => {
            let seconds = seconds.map_or("null".to_owned(), |seconds| seconds.to_string());
            ("POST", "/max-age", format!("{{\"max_age\": {seconds}}}"))
        }
    };
    (method, path.to_owned(), body)
}

pub(crate) fn compare(
    response: &TestResponse,
    expected: &Expected,
    before: u64,
    after: u64,
) -> Result<(), String> {
    if response.status != expected.status {
        return Err(format!("status, not {}", expected.status));
    }
    if let Some(wanted) = &expected.view {
        let (new, created, data) = response.view().ok_or("no view")?;
        if new != wanted.new {
            return Err(format!("new, not {}", wanted.new));
        }
        let in_time = match wanted.created {
            Some(kept) => created == kept,
            None => (before..=after).contains(&created),
        };
        if !in_time {
            return Err(format!(
                "created, not {:?} ({before} to {after})",
                wanted.created
            ));
        }
        if data != wanted.data {
            return Err(format!("data, not {}", wanted.data));
        }
    }
    match (&response.set_cookie, &expected.cookie) {
        (None, Cookie::None) => Ok(()),
        (Some(cookie), Cookie::Removal) if cookie.is_removal() => Ok(()),
        (
            Some(cookie),
            Cookie::Set {
                max_age,
                expires_in,
            },
        ) if !cookie.is_removal() => {
            let fixed = [("httponly", String::new()), ("path", "/".to_owned())];
            let max_age = max_age.map(|seconds| ("max-age", seconds.to_string()));
            let one_of = |expires: Option<u64>| {
                let expires = expires.map(|seconds| ("expires", seconds.to_string()));
                let all = fixed.iter().cloned().chain(max_age.clone()).chain(expires);
                let all = all.map(|(name, value)| (name.to_owned(), value));
                all.collect::<BTreeSet<_>>() == cookie.attributes
            };
            let fits = match expires_in {
                None => one_of(None),
                Some(seconds) => (before..=after).any(|now| one_of(Some(now + seconds))),
            };
            fits.then_some(())
                .ok_or(format!("Set-Cookie, not {:?}", expected.cookie))
        }
        (_, wanted) => Err(format!("Set-Cookie, not {wanted:?}")),
    }
}
