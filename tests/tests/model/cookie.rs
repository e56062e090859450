//! The storages that keep the session in its cookie: a weaker promise. What a cookie holds is what
//! was saved in it, until its time is over or the key under which it was sealed is given up; an
//! older cookie goes on holding what it held.

use std::time::Duration;

use session_cookie::{EncryptedCookieStorage, Key, NaClCookieStorage, SimpleCookieStorage};
use session_core::{CookieChange, CookieSettings, ManualClock, Storage};

use crate::handle::{Check, Handle, fail, invalidates, must};
use crate::known::View;
use crate::run::{at_step, now, run, start};
use crate::steps::{CLIENTS, Edit, Sends, Setup, Step, setup, steps};

#[test]
fn fernet() {
    run_on(
        "tests/model/fernet.regressions",
        true,
        |keys, cookie, clock| {
            let storage = EncryptedCookieStorage::new(key(keys)).with_fallback_key(key(keys - 1));
            Box::new(storage.with_cookie(cookie).with_clock(clock))
        },
    );
}

#[test]
fn nacl() {
    run_on(
        "tests/model/nacl.regressions",
        true,
        |keys, cookie, clock| {
            let storage = NaClCookieStorage::new(key(keys)).with_fallback_key(key(keys - 1));
            Box::new(storage.with_cookie(cookie).with_clock(clock))
        },
    );
}

#[test]
fn plain() {
    run_on(
        "tests/model/plain.regressions",
        false,
        |_, cookie, clock| {
            let storage = SimpleCookieStorage::unprotected();
            Box::new(storage.with_cookie(cookie).with_clock(clock))
        },
    );
}

fn key(number: u8) -> Key {
    Key::from([number; 32])
}

/// `make` makes a storage of the key with this number and the one before it; if `is_sealed`, only
/// who has the key can read and write what it issues.
fn run_on(
    file: &'static str,
    is_sealed: bool,
    make: impl Fn(u8, CookieSettings, ManualClock) -> Box<dyn Storage>,
) {
    let one = async |setup: Setup, steps: &[Step], _: &str| {
        let cookie = setup.cookie();
        let clock = start();
        let make = |keys| make(keys, cookie.clone(), clock.clone());
        let mut world = World {
            setup,
            clock: clock.clone(),
            keys: 1,
            is_sealed,
            storages: vec![make(1)],
            jars: [None; CLIENTS],
            cookies: Vec::new(),
            requests: Vec::new(),
            count: 0,
        };
        for (number, step) in steps.iter().enumerate() {
            if matches!(step, Step::Restart) && world.keys < 250 {
                world.keys += 1;
                world.storages.push(make(world.keys));
            }
            world.run(step).await.map_err(at_step(number, step))?;
            if matches!(step, Step::Restart | Step::Wait(_)) {
                world.look().await.map_err(at_step(number, step))?;
            }
        }
        world.look().await
    };
    run(500, file, (setup(), steps()), &one);
}

struct World {
    setup: Setup,
    clock: ManualClock,
    /// One for each key that sealed so far, the present one last.
    storages: Vec<Box<dyn Storage>>,
    /// The number of the key that seals.
    keys: u8,
    is_sealed: bool,
    /// Which cookie each browser keeps.
    jars: [Option<usize>; CLIENTS],
    cookies: Vec<Cookie>,
    requests: Vec<Request>,
    count: u64,
}

/// A cookie that was issued, and what is in it for ever.
struct Cookie {
    value: String,
    view: View,
    started: u64,
    key: u8,
}

struct Request {
    client: usize,
    /// The key of the storage that loaded it, which saves it, too.
    key: u8,
    handle: Handle,
    is_new: bool,
    sent: bool,
    rolls: bool,
    created: u64,
    started: Option<u64>,
}

impl World {
    fn now(&self) -> u64 {
        now(&self.clock)
    }

    fn storage(&self) -> &dyn Storage {
        &**self.storages.last().expect("there is always one")
    }

    /// What a cookie yields now.
    fn yields(&self, cookie: &Cookie) -> Option<View> {
        let now = self.now();
        let is_over = |from: u64, age: Option<u64>| age.is_some_and(|age| now - from > age);
        let max_age = cookie.view.dict.max_age.as_ref().map(Duration::as_secs);
        let over = is_over(cookie.view.created, max_age)
            || is_over(cookie.started, self.setup.absolute)
            || self.is_sealed && self.keys.abs_diff(cookie.key) > 1;
        (!over).then(|| cookie.view.clone())
    }

    /// Every cookie yields what it must.
    async fn look(&self) -> Check {
        for cookie in &self.cookies {
            let session = self.storage().load(&[&cookie.value]).await.unwrap();
            let (found, expected) = (View::of(&session), self.yields(cookie));
            must!(
                found == expected,
                "a cookie yields {found:?}, not {expected:?}"
            );
        }
        Ok(())
    }

    async fn run(&mut self, step: &Step) -> Check {
        let at =
            |request: usize| (!self.requests.is_empty()).then(|| request % self.requests.len());
        match step {
            Step::Ask { client, sends, .. } => self.ask(*client, sends).await,
            Step::Visit {
                client,
                sends,
                edit,
                ..
            } => {
                self.ask(*client, sends).await?;
                let last = self.requests.len() - 1;
                self.change(last, edit)?;
                self.save(last).await
            }
            Step::Change { request, edit } => match at(*request) {
                Some(at) => self.change(at, edit),
                None => Ok(()),
            },
            Step::Save { request }
            | Step::Finish { request, .. }
            | Step::Respond { request, .. } => match at(*request) {
                Some(at) => self.save(at).await,
                None => Ok(()),
            },
            Step::Leave { request } | Step::Cancel { request } => {
                if let Some(at) = at(*request) {
                    self.requests.remove(at);
                }
                Ok(())
            }
            Step::Wait(seconds) => {
                self.clock.advance(Duration::from_secs(*seconds));
                Ok(())
            }
            Step::Go { .. } | Step::Restart | Step::Repeat | Step::Plant { .. } => Ok(()),
        }
    }

    async fn ask(&mut self, client: usize, sends: &Sends) -> Check {
        let own = self.jars[client];
        let any = |number: usize| (!self.cookies.is_empty()).then(|| number % self.cookies.len());
        let (chosen, spoilt) = match sends {
            Sends::Cookie | Sends::Direct | Sends::Login => (own, false),
            Sends::Any(n)
            | Sends::AnyDirect(n)
            | Sends::Several(n, _)
            | Sends::SeveralDirect(n, _)
            | Sends::LoginWith(n) => (any(*n), false),
            Sends::Garbage(n) => (any(*n), self.is_sealed),
        };
        let cookie = chosen.map(|chosen| &self.cookies[chosen]);
        let mut value = cookie.map(|cookie| cookie.value.clone());
        if let (true, Some(value)) = (spoilt, &mut value) {
            // Another character somewhere in the middle.
            let middle = value.len() / 2;
            let other = if &value[middle..=middle] == "A" {
                "B"
            } else {
                "A"
            };
            value.replace_range(middle..=middle, other);
        }
        let session = self
            .storage()
            .load(value.as_deref().as_slice())
            .await
            .unwrap();
        let found = View::of(&session);
        let yields = cookie
            .filter(|_| !spoilt)
            .and_then(|cookie| self.yields(cookie));
        must!(
            found == yields,
            "P7: a load yields {found:?}, not {yields:?}"
        );
        let now = self.now();
        let rolls = found.as_ref().is_some_and(|view| {
            let tenth = |max_age: Duration| (now - view.created) * 10 >= max_age.as_secs();
            self.setup.rolling && view.dict.max_age.is_some_and(tenth)
        });
        let usual = self.setup.max_age.map(Duration::from_secs);
        let started = cookie.map(|cookie| cookie.started);
        let request = Request {
            client,
            key: self.keys,
            is_new: session.is_new(),
            handle: Handle::new(session, usual),
            sent: value.is_some(),
            rolls,
            created: found.as_ref().map_or(now, |view| view.created),
            started: started.filter(|_| found.is_some()),
        };
        if self.requests.len() == 4 {
            self.requests.remove(0);
        }
        self.requests.push(request);
        Ok(())
    }

    fn change(&mut self, at: usize, edit: &Edit) -> Check {
        let now = self.now();
        self.count += 1;
        let request = &mut self.requests[at];
        request.handle.change(edit, self.count, now)?;
        if matches!(edit, Edit::Invalidate) {
            request.started = None;
        }
        Ok(())
    }

    async fn save(&mut self, at: usize) -> Check {
        let now = self.now();
        let request = &mut self.requests[at];
        let done = request.handle.done().to_vec();
        let (count, done) = (done.len(), &done[..]);
        let dict = request.handle.local().clone();
        let storage = &self.storages[usize::from(request.key - 1)];
        let change = storage.save(&request.handle.session).await.unwrap();
        if done.is_empty() && !request.rolls {
            must!(
                change == CookieChange::Keep,
                "P9: no request changed it: {change:?}"
            );
            return Ok(());
        }
        // A session begins when a save of it is first tried.
        let started = *request.started.get_or_insert(now);
        if dict.is_empty() {
            let removes = !request.is_new || request.sent && invalidates(done);
            match change {
                CookieChange::Remove if removes => {
                    let empty = request.handle.empty();
                    request.handle.settle(count, &empty)?;
                    (request.is_new, request.sent, request.started) = (true, false, None);
                    request.rolls = false;
                    self.jars[request.client] = None;
                }
                CookieChange::Keep if !removes => {}
                other => fail!("an empty session is saved as {other:?}"),
            }
            return Ok(());
        }
        let CookieChange::Set { value, .. } = change else {
            fail!("P8: a change is not saved: {change:?}");
        };
        let written = done.iter().rfind(|done| done.writes()).map(|done| done.at);
        request.created = match written {
            _ if request.rolls => now,
            Some(written) => written,
            None => request.created,
        };
        request.handle.settle(count, &dict)?;
        let cookie = Cookie {
            value,
            view: View {
                dict,
                created: request.created,
            },
            started,
            key: request.key,
        };
        (request.is_new, request.sent, request.rolls) = (false, true, false);
        self.jars[request.client] = Some(self.cookies.len());
        self.cookies.push(cookie);
        Ok(())
    }
}
