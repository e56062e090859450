//! What must hold: what a client sees changes by one request's save, by its changes alone.
//!
//! After each step every cookie is looked at. Nothing but a save's own step may have changed what
//! one yields, and that by the changes of its request, put onto what was there right before (P2, P6).
//! What has ended never yields anything again (P3). What a save says agrees with what it was seen
//! to do.

use std::collections::HashSet;

use session_core::{Backend, Error, ErrorKind, Result, Session, Storage as _};
use session_tests::stores::Call;

use crate::handle::{Check, Done, Handle, fail, must};
use crate::known::{Known, Moved, Status, View};
use crate::request::{Answer, Plan};
use crate::turns::Calls;
use crate::world::World;

/// For how long a logout follows a renewal.
const FOLLOWED: u64 = 60;

impl<B: Backend> World<B> {
    async fn look(&self, at: usize) -> Check<Option<View>> {
        let identity = &self.known[at].identity;
        let session = self.storage.load(Some(identity)).await.unwrap();
        let view = View::of(&session);
        let found = session.identity().map(|found| found.as_str().to_owned());
        match view {
            Some(_) => must!(found.as_ref() == Some(identity), "another identity"),
            None => must!(
                session.is_empty() && found.is_none(),
                "P4: a new session is new"
            ),
        }
        Ok(view)
    }

    /// A step that changes nothing in the store.
    pub(crate) async fn nothing_happened(&mut self) -> Check {
        for at in 0..self.known.len() {
            let now = self.look(at).await?;
            let known = &self.known[at];
            must!(
                now.as_ref() == known.status.alive(),
                "{} became {now:?} by itself",
                told(known)
            );
        }
        Ok(())
    }

    pub(crate) async fn time_passed(&mut self) -> Check {
        let now = self.now();
        for at in 0..self.known.len() {
            let yields = self.look(at).await?;
            let known = &mut self.known[at];
            let Status::Alive(view) = known.status.clone() else {
                must!(yields.is_none(), "{} is back", told(known));
                continue;
            };
            let over = known.is_over(&view, &self.setup, now);
            match yields {
                // When it began is known once it is issued.
                Some(_) if over == Some(true) && known.issued => {
                    fail!("it lives too long: {}", told(known))
                }
                Some(yields) => must!(yields == view, "{} became {yields:?}", told(known)),
                None if over == Some(false) => fail!("it lives too short: {}", told(known)),
                None => {
                    known.killed |= !known.issued;
                    known.set(Status::Expired(view), self.step);
                    self.seen.expired += 1;
                }
            }
        }
        Ok(())
    }

    pub(crate) async fn all_gone(&mut self) -> Check {
        for at in 0..self.known.len() {
            must!(self.look(at).await?.is_none(), "it survived");
            let known = &mut self.known[at];
            known.killed |= !known.issued && known.status != Status::Gone;
            if let Some(moved) = &mut known.moved {
                // Nothing says any more where it went.
                moved.at = 0;
            }
            known.set(Status::Gone, self.step);
        }
        Ok(())
    }

    /// A load came to its end.
    pub(crate) fn loaded(
        &mut self,
        at: usize,
        loaded: Result<Session>,
        since: usize,
        calls: &Calls,
    ) -> Check {
        let only_reads = calls.calls.iter().all(|call| *call == Call::Read);
        let request = &self.requests[at];
        must!(
            only_reads && calls.calls.len() <= request.cookies.len(),
            "P9: a load called {:?}",
            calls.calls
        );
        let session = match loaded {
            Ok(session) => session,
            Err(error) => {
                let unavailable = error.kind() == ErrorKind::Unavailable;
                must!(unavailable && calls.faults > 0, "P7: {error:?}");
                self.requests.remove(at);
                return Ok(());
            }
        };
        must!(calls.faults == 0, "P6: a failed read went unnoticed");
        let identity = session
            .identity()
            .map(|identity| identity.as_str().to_owned());
        let view = View::of(&session);
        must!(identity.is_some() != session.is_new(), "new or not?");
        let chosen = identity.as_ref().map(|identity| {
            let sent = &request.cookies;
            sent.iter().position(|cookie| cookie == identity)
        });
        let chosen = match chosen {
            Some(None) => fail!("an identity that nobody sent"),
            Some(chosen) => chosen,
            None => None,
        };
        for cookie in &request.cookies[..chosen.unwrap_or(request.cookies.len())] {
            let yields_none = self
                .find(cookie)
                .is_none_or(|at| self.known[at].yielded(None, since));
            // What it read before time passed may be over by now, though it was written again.
            let waited = self.now() > request.born;
            must!(
                yields_none || waited,
                "{cookie} yields a session, but not here"
            );
        }
        if let (Some(identity), Some(view)) = (&identity, &view) {
            let Some(known) = self.find(identity) else {
                fail!("P7: {identity} is nobody's");
            };
            let yielded = self.known[known].yielded(Some(&view.dict), since);
            must!(yielded, "it never was {view:?}");
        } else {
            must!(
                session.is_empty() && !session.is_changed(),
                "a new session is empty"
            );
        }
        let usual = self.setup.max_age.map(std::time::Duration::from_secs);
        let (now, setup) = (self.now(), self.setup);
        let rolls = |view: &View| {
            let tenth =
                |max_age: std::time::Duration| (now - view.created) * 10 >= max_age.as_secs();
            setup.rolling && view.dict.max_age.is_some_and(tenth) && !view.dict.is_empty()
        };
        let request = &mut self.requests[at];
        request.rolls = view.as_ref().is_some_and(rolls);
        request.identity = identity;
        request.handle = Some(Handle::new(session, usual));
        Ok(())
    }

    pub(crate) fn find(&self, identity: &str) -> Option<usize> {
        self.known
            .iter()
            .position(|known| known.identity == identity)
    }

    /// The identities whose sessions end when what `from` stands for ends: those it was moved to, and
    /// one that its renewal has not told anybody yet. With `all` the marks that may be gone, too.
    fn chain(&self, from: &str, all: bool) -> Vec<usize> {
        let mut chain: Vec<usize> = self.find(from).into_iter().collect();
        while let Some(last) = chain.last() {
            let Some(moved) = &self.known[*last].moved else {
                break;
            };
            if !all && self.now() >= moved.at + FOLLOWED {
                break;
            }
            if let Some(to) = &moved.to {
                chain.extend(self.find(to));
                continue;
            }
            let its = |known: &Known| known.owner == moved.by && !known.issued;
            let hidden = (0..self.known.len()).filter(|at| its(&self.known[*at]));
            chain.extend(hidden);
            break;
        }
        chain
    }

    /// A save had its turn.
    pub(crate) async fn save_went_on(&mut self, at: usize) -> Check {
        let request = &self.requests[at];
        let (id, begun) = (request.id, request.save().unwrap().begun);
        let mut ends = HashSet::new();
        for (_, done, plan) in request.plans(begun) {
            if plan == Plan::Start {
                let cookies = request.cookies.iter().filter(|_| request.is_logout(done));
                let from = cookies.chain(&request.identity);
                ends.extend(from.flat_map(|from| self.chain(from, true)));
            }
        }
        let own = request.identity.as_deref().and_then(|own| self.find(own));
        for known in 0..self.known.len() {
            // What is gone is looked at when a save is done.
            let is_own_hidden = self.known[known].owner == id && !self.known[known].issued;
            if self.known[known].status == Status::Gone
                && !is_own_hidden
                && known + 4 < self.known.len()
            {
                continue;
            }
            let now = self.look(known).await?;
            if Some(known) == own {
                self.own_record(at, known, now)?;
            } else if is_own_hidden {
                let status = now.map_or(Status::Gone, Status::Alive);
                // One that is not given up may come to be somebody's, and expire before that.
                let before = self.known[known].status.clone();
                let status = match (before, status) {
                    (expired @ Status::Expired(_), Status::Gone) => expired,
                    (_, status) => status,
                };
                self.known[known].set(status, self.step);
            } else if now.as_ref() != self.known[known].status.alive() {
                let named = told(&self.known[known]);
                must!(now.is_none(), "P3: {named} became {now:?}");
                must!(
                    ends.contains(&known),
                    "P4: {named} was ended by another's save"
                );
                let ended = &mut self.known[known];
                ended.killed |= !ended.issued;
                ended.set(Status::Gone, self.step);
            }
        }
        Ok(())
    }

    /// What a save made of its own session's record.
    fn own_record(&mut self, at: usize, own: usize, now: Option<View>) -> Check {
        let (request, known) = (&self.requests[at], &self.known[own]);
        let save = request.save().unwrap();
        let time = self.now();
        if now.as_ref() == known.status.alive() {
            // Perhaps it has done its work: what it is to bring about is there.
            let Some(view) = &now else { return Ok(()) };
            let there = request.plans(save.begun).filter(|(_, done, plan)| {
                let rolled = *plan == Plan::Nothing && request.rolls;
                // A rolling session's lifetime begins again.
                let is_dated = !request.rolls || view.created >= save.at;
                (*plan == Plan::Update || rolled) && is_dated && view.dict.after(done) == view.dict
            });
            let seen = there.map(|(until, ..)| until).max();
            let save = self.requests[at].save_mut();
            save.seen = save.seen.max(seen);
            return Ok(());
        }
        let Some(before) = known.status.last().cloned() else {
            fail!("P3: {} is back as {now:?}", told(known));
        };
        let named = told(known);
        let (mut seen, mut moves, mut over, mut emptied) = (None, false, None, false);
        for (until, done, plan) in request.plans(save.begun) {
            let after = before.dict.after(done);
            let is_it = match (&now, plan) {
                (None, Plan::Start) => true,
                (None, Plan::Update) if !after.is_empty() => {
                    // Given a lifetime, it may be over at once: that counts from the last write.
                    let created = written(done).unwrap_or(before.created);
                    let saved = View {
                        dict: after,
                        created,
                    };
                    let is_over = known.is_over(&saved, &self.setup, time) != Some(false);
                    over = Some(saved);
                    is_over
                }
                (None, Plan::Update) => {
                    emptied = true;
                    true
                }
                (None, Plan::Renew) => {
                    moves |= !after.is_empty();
                    emptied |= after.is_empty();
                    true
                }
                (Some(now), Plan::Update) => {
                    now.dict == after
                        && !after.is_empty()
                        && dated(&before, now, done, request.rolls, save.at, time)
                }
                (Some(now), Plan::Nothing) => {
                    request.rolls
                        && now.dict == after
                        && dated(&before, now, done, true, save.at, time)
                }
                (Some(_), Plan::Start | Plan::Renew) | (None, Plan::Nothing) => false,
            };
            if is_it {
                seen = seen.max(Some(until));
            }
        }
        must!(
            seen.is_some(),
            "P2: {named} became {now:?}, by {:?}",
            request.plans(save.begun).collect::<Vec<_>>()
        );
        must!(save.effects == 0, "P2: a save changed its record twice");
        let by = request.id;
        if request.handle().local(save.begun) != &before.dict.after(&[]) && now.is_some() {
            self.seen.merged += 1;
        }
        let known = &mut self.known[own];
        if now.is_none() {
            known.moved = moves.then_some(Moved {
                at: time,
                by,
                view: before,
                to: None,
            });
        }
        let status = match (now, over) {
            (Some(now), _) => Status::Alive(now),
            (None, Some(over)) if !moves => Status::Expired(over),
            (None, _) => Status::Gone,
        };
        known.set(status, self.step);
        let save = self.requests[at].save_mut();
        save.effects += 1;
        save.took = emptied;
        save.seen = seen;
        Ok(())
    }

    /// A save came to its end; what it says must be what it did. Returns what the client is told.
    pub(crate) fn saved(&mut self, at: usize, came: Result<Answer>) -> Check<Option<Answer>> {
        let answer = match came {
            Ok(answer) => answer,
            Err(error) => {
                self.save_failed(at, &error)?;
                self.requests[at].handle.as_mut().unwrap().refresh()?;
                return Ok(None);
            }
        };
        must!(!self.requests[at].told, "P3: saved after it was ended");
        match &answer {
            Answer::Keep => self.kept(at)?,
            Answer::Set(cookie) if self.requests[at].identity.as_ref() == Some(cookie) => {
                self.updated(at, cookie)?;
            }
            Answer::Set(cookie) => self.moved(at, cookie)?,
            Answer::Remove => self.removed(at)?,
        }
        Ok(Some(answer))
    }

    /// The client keeps its identity.
    fn updated(&mut self, at: usize, cookie: &str) -> Check {
        let request = &self.requests[at];
        let save = request.save().unwrap();
        must!(!save.calls.calls.is_empty(), "P6: acknowledged by nobody");
        let own = self.find(cookie).expect("it was drawn");
        let seen = match (save.seen, &self.known[own].status) {
            (Some(seen), _) => seen,
            // The test's clock moved, the server's did not: it takes what nobody can read.
            (None, Status::Expired(view)) => {
                let done = request.handle().pending(save.begun).next();
                let dict = view.dict.after(done.unwrap_or_default());
                let created = view.created;
                self.known[own].status = Status::Expired(View { dict, created });
                request.handle().len()
            }
            (None, _) => fail!("P2: acknowledged, but not there"),
        };
        self.settle(at, seen)
    }

    fn settle(&mut self, at: usize, at_most: usize) -> Check {
        let request = &mut self.requests[at];
        let begun = request.save().unwrap().begun;
        request.login = false;
        request.rolls = false;
        request.ends_cookies = false;
        request.sent = true;
        request.handle.as_mut().unwrap().settle(begun, at_most)
    }

    /// The client's cookie stays as it is.
    fn kept(&mut self, at: usize) -> Check {
        let request = &self.requests[at];
        let save = request.save().unwrap();
        must!(
            save.effects == 0,
            "the client is told nothing of what was done"
        );
        let (mut nothing, mut ended) = (false, false);
        for (until, done, plan) in request.plans(save.begun) {
            nothing |= plan == Plan::Nothing && (request.rolls || save.calls.calls.is_empty());
            let is_empty = request.handle().local(until).is_empty();
            let removes = request.sent && request.is_logout(done);
            ended |= plan == Plan::Start && request.identity.is_none() && is_empty && !removes;
        }
        must!(
            nothing || ended,
            "P8: a change is not saved, or P9: what nobody changed is"
        );
        if !nothing {
            self.must_end(at)?;
        }
        self.requests[at].handle.as_mut().unwrap().refresh()
    }

    /// The client gets a new identity.
    fn moved(&mut self, at: usize, cookie: &str) -> Check {
        let request = &self.requests[at];
        let Some(new) = self.find(cookie) else {
            fail!("P4: {cookie} was adopted");
        };
        must!(
            self.known[new].owner == request.id && !self.known[new].issued,
            "P4: {cookie} is another's"
        );
        let save = request.save().unwrap();
        let old = request.identity.as_deref().and_then(|old| self.find(old));
        let status = old.map(|old| &self.known[old]);
        // From what a renewal went out.
        let moved = status.and_then(|old| match &old.status {
            Status::Gone => {
                let moved = old.moved.as_ref().filter(|moved| moved.by == request.id);
                moved.map(|moved| moved.view.clone())
            }
            status => status.last().cloned(),
        });
        let is_old_alive = status.is_some_and(|old| old.status.alive().is_some());
        must!(
            !is_old_alive,
            "P4: {cookie} is new, and the old one still yields the session"
        );
        let content = self.known[new].status.alive();
        let (known, now) = (&self.known[new], self.now());
        let (mut seen, mut renewed, mut started, mut over) = (None, false, false, None);
        for (until, done, plan) in request.plans(save.begun) {
            let (expected, created) = match (plan, &moved) {
                (Plan::Start, _) => (request.handle().local(until).clone(), request.born),
                (Plan::Renew, Some(moved)) => (moved.dict.after(done), moved.created),
                _ => continue,
            };
            let created = written(done).unwrap_or(created);
            let expected = View {
                dict: expected,
                created,
            };
            let is_it = match content {
                Some(content) => content.dict == expected.dict,
                None => known.killed || known.is_over(&expected, &self.setup, now) != Some(false),
            };
            // What was emptied while it was stored is there until the next save.
            if is_it && (!expected.dict.is_empty() || until > save.begun) {
                over = (content.is_none() && !known.killed).then_some(expected);
                renewed |= plan == Plan::Renew;
                started |= plan == Plan::Start;
                seen = seen.max(Some(until));
            }
        }
        let Some(seen) = seen else {
            let plans: Vec<_> = request.plans(save.begun).collect();
            fail!("P2: {cookie} holds {content:?}, from {moved:?} by {plans:?}");
        };
        must!(
            !(request.overtaken && renewed && !started && known.status.alive().is_some()),
            "P3: a logout overtook the renewal, and the renewed session lives"
        );
        self.seen.moved += usize::from(renewed);
        if started && !renewed {
            self.must_end(at)?;
        }
        if let Some(old) = old {
            let was_renewed = renewed && !started;
            let old = &mut self.known[old];
            if was_renewed {
                let begun = old.started;
                let view = moved.clone().unwrap();
                old.moved
                    .get_or_insert(Moved {
                        at: 0,
                        by: 0,
                        view,
                        to: None,
                    })
                    .to = Some(cookie.to_owned());
                self.known[new].started = begun;
            }
        }
        if started || old.is_none() {
            self.known[new].started.1 = now;
        }
        if let Some(old) = old {
            self.known[old].set(Status::Gone, self.step);
        }
        self.known[new].issued = true;
        if let Some(over) = over {
            // It took longer to be saved than it lives.
            self.known[new].set(Status::Expired(over), self.step);
        }
        let request = &mut self.requests[at];
        request.identity = Some(cookie.to_owned());
        request.overtaken = false;
        self.settle(at, seen)
    }

    /// The client's cookie goes.
    fn removed(&mut self, at: usize) -> Check {
        let request = &self.requests[at];
        let save = request.save().unwrap();
        let (mut seen, mut ended) = (save.took.then_some(save.seen).flatten(), false);
        for (until, done, plan) in request.plans(save.begun) {
            let has_cookie = request.identity.is_some() || request.sent && request.is_logout(done);
            let empty = request.handle().local(until).is_empty();
            // Out of time, and taken out of the store, where nobody could see it.
            let over = request.identity.as_deref().and_then(|own| self.find(own));
            if let Some(Status::Expired(view)) = over.map(|own| &self.known[own].status)
                && matches!(plan, Plan::Update | Plan::Renew)
                && view.dict.after(done).is_empty()
            {
                seen = seen.max(Some(until));
            }
            if plan == Plan::Start && empty && has_cookie {
                ended = true;
                seen = seen.max(Some(until));
            }
        }
        let Some(seen) = seen else {
            fail!("a cookie is removed whose session did not end");
        };
        let own = request.identity.as_deref().and_then(|own| self.find(own));
        if ended && !save.took {
            self.must_end(at)?;
        }
        if let Some(own) = own {
            let is_alive = self.known[own].status.alive().is_some();
            must!(!is_alive, "P3: removed, but it still yields the session");
            self.known[own].set(Status::Gone, self.step);
        }
        self.settle(at, seen)?;
        let request = &mut self.requests[at];
        (request.identity, request.sent) = (None, false);
        Ok(())
    }

    /// A logout or a login was acknowledged: what it ends has ended.
    fn must_end(&mut self, at: usize) -> Check {
        self.seen.ended += 1;
        let request = &self.requests[at];
        let save = request.save().unwrap();
        let logout = request
            .plans(save.begun)
            .all(|(_, done, _)| request.is_logout(done));
        let mut from: Vec<String> = request.identity.iter().cloned().collect();
        if logout && request.ends_cookies {
            from.extend(request.cookies.iter().cloned());
        }
        if save.calls.faults > 0 {
            // The first is sure; a login that has its new session is not failed for the others'.
            from.truncate(usize::from(request.identity.is_some() || from.len() == 1));
        }
        for from in from {
            let chain = self.chain(&from, false);
            let Some(last) = chain.last() else { continue };
            if let Some(moved) = &self.known[*last].moved {
                let by = moved.by;
                let is_fresh = moved.to.is_none() && self.now() < moved.at + FOLLOWED;
                if let Some(renewer) = self.requests.iter_mut().find(|request| request.id == by)
                    && is_fresh
                {
                    renewer.overtaken = true;
                    self.seen.overtaken += 1;
                }
            }
            for known in chain {
                let known = &self.known[known];
                let is_alive = known.issued && known.status.alive().is_some();
                must!(!is_alive, "P3: {} was ended, and lives", told(known));
            }
        }
        Ok(())
    }

    fn save_failed(&mut self, at: usize, error: &Error) -> Check {
        self.seen.failed += 1;
        let request = &self.requests[at];
        let save = request.save().unwrap();
        let own = request.identity.as_deref().and_then(|own| self.find(own));
        let lost = self
            .known
            .iter()
            .any(|known| known.owner == request.id && known.killed);
        match error.kind() {
            ErrorKind::Ended => {
                let is_alive = own.is_none_or(|own| self.known[own].status.alive().is_some());
                must!(request.told || !is_alive, "told of an end that was none");
                let ends = request
                    .plans(save.begun)
                    .all(|(_, _, plan)| plan == Plan::Start || plan == Plan::Nothing);
                must!(
                    request.told || !ends,
                    "a logout is told that there is nothing to end"
                );
                self.requests[at].told = true;
                self.seen.told += 1;
            }
            ErrorKind::Unavailable => {
                must!(!request.told, "P3: it tries again to save what has ended");
                must!(save.calls.faults > 0 || lost, "nothing failed: {error:?}");
                let changes_once = request
                    .plans(save.begun)
                    .all(|(_, _, plan)| plan == Plan::Start || plan == Plan::Renew);
                must!(
                    !changes_once
                        || save.effects == 0
                        || save.took
                        || save.calls.faults > 1
                        || lost,
                    "P4: one lost answer left the client without a session"
                );
            }
            other => fail!("{other:?}"),
        }
        Ok(())
    }
}

/// When a key was last set or removed.
fn written(done: &[Done]) -> Option<u64> {
    done.iter()
        .filter(|done| done.writes())
        .map(|done| done.at)
        .max()
}

/// Whether a record that was saved says so: what was written says when, and what was only touched
/// what it said before.
fn dated(before: &View, now: &View, done: &[Done], rolls: bool, begun: u64, time: u64) -> bool {
    match written(done) {
        Some(written) => (written..=time).contains(&now.created),
        None => now.created == before.created || rolls && (begun..=time).contains(&now.created),
    }
}

/// A known identity, for a message.
fn told(known: &Known) -> String {
    format!("{}, which was {:?},", known.identity, known.status)
}
