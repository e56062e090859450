//! What a call of the store may write.

use std::collections::HashSet;

use session_core::keyed::Backend;

use crate::effects::{Effect, told};
use crate::handle::{Check, fail, must};
use crate::known::{Entry, Known, Record};
use crate::turns::{Calls, Made};
use crate::users::listed::{handle_of, index_key, user_of, user_of_key};
use crate::users::request::{Flight, Request};
use crate::users::steps::Call;
use crate::users::world::World;

impl<B: Backend> World<B> {
    /// A request had its turn.
    pub(crate) async fn went_on(&mut self, at: usize, calls: Calls) -> Check {
        let op = self.requests[at].op_mut();
        op.turns += 1;
        op.faults += calls.faults;
        let is_acknowledged = calls.faults == 0;
        for made in calls.made {
            if made.key.starts_with('@') {
                self.index_effect(at, &made).await?;
                continue;
            }
            let Some(key) = self.by_key(&made.key) else {
                fail!("P4: it called {made:?}");
            };
            let (old, new) = (self.known[key].entry.clone(), self.raw(key).await);
            if !made.is_written {
                let is_over = new == Entry::Missing;
                must!(new == old || is_over, "{new:?} by itself");
                continue;
            }
            let effect = Effect {
                at,
                key,
                old: &old,
                new: &new,
            };
            self.effect(effect, is_acknowledged)?;
            let until = made.time_to_live.map(|age| self.now() + age.as_secs());
            self.known[key].set(new, until, self.tick);
            self.look(key).await?;
        }
        self.check_listed()
    }

    /// An index is read or written.
    async fn index_effect(&mut self, at: usize, made: &Made) -> Check {
        let Some(user) = user_of_key(&made.key) else {
            fail!("P4: it called {made:?}");
        };
        if !made.is_written {
            return Ok(());
        }
        let is_list = matches!(&self.requests[at].flight, Some(Flight::Load { .. }))
            || matches!(
                &self.requests[at].flight,
                Some(Flight::Call {
                    call: Call::List,
                    ..
                })
            );
        must!(!is_list, "P9: a read wrote {}", index_key(user));
        let (old, now) = (self.index(user), self.now());
        let began = self.requests[at].op().tick;
        let Some(new) = self.raw_index(user).await? else {
            fail!("the index of {user} is gone at once");
        };
        if let Some(age) = made.time_to_live
            && !new.entries.is_empty()
        {
            must!(
                now + age.as_secs() >= new.until(),
                "the index of {user} is kept for {age:?}, and is needed until {}",
                new.until()
            );
        } else {
            let has_no_end = new.entries.iter().any(|line| line.until == u64::MAX);
            must!(
                has_no_end || new.entries.is_empty(),
                "the index of {user} has no end"
            );
        }
        let suffixes: HashSet<&str> = new.entries.iter().map(|line| &*line.suffix).collect();
        must!(
            suffixes.len() == new.entries.len(),
            "an entry is there twice"
        );
        for line in &old.entries {
            let known = self.known.iter().find(|known| known.suffix == line.suffix);
            // A login may have left a tombstone there since.
            let was_gone = |known: &Known| known.since(began).any(|it| *it == Entry::Missing);
            let is_gone = known.is_none_or(was_gone);
            match new.find(&line.suffix) {
                None => must!(
                    is_gone || line.until < now,
                    "an entry was taken out whose key is there: {line:?}"
                ),
                Some(after) => must!(
                    after.until >= line.until && after.handle == line.handle,
                    "{line:?} became {after:?}"
                ),
            }
        }
        let is_known = |line: &&crate::users::listed::Line| {
            let mut before = old.entries.iter();
            before.any(|it| it.handle == line.handle)
        };
        for line in new.entries.iter().filter(|line| !is_known(line)) {
            let known = self.known.iter().find(|known| known.suffix == line.suffix);
            let record = known.and_then(|known| Some((known, known.entry.record()?)));
            if let Some((known, record)) = record {
                let handle = handle_of(known, record);
                must!(
                    handle == line.handle,
                    "{line:?} is listed for {}",
                    told(known)
                );
            }
            self.requests[at].op_mut().has_listed = true;
        }
        let is_listed = |at: &usize| new.find(&self.known[*at].suffix).is_some();
        let found: Vec<usize> = self.lost.iter().copied().filter(is_listed).collect();
        for at in found {
            let holds = self.known[at].entry.record().and_then(user_of);
            if holds == Some(user) {
                self.lost.remove(&at);
            }
        }
        self.indexes.insert(user, Some(new));
        Ok(())
    }

    fn effect(&mut self, effect: Effect<'_>, is_acknowledged: bool) -> Check {
        let Effect { at, key, new, .. } = effect;
        match &self.requests[at].flight {
            Some(Flight::Save { .. }) => self.saves(effect, is_acknowledged),
            Some(Flight::Call { call, user, .. }) if !matches!(call, Call::List) => {
                let user = *user;
                self.revokes(effect, user, is_acknowledged)
            }
            _ => fail!("P9: a read made {new:?} of {}", told(&self.known[key])),
        }
    }

    /// A request drew it, and no client knows it.
    fn is_hidden(&self, request: &Request, key: usize) -> bool {
        let known = &self.known[key];
        known.owner == request.id && !known.is_issued
    }

    fn saves(&mut self, effect: Effect<'_>, is_acknowledged: bool) -> Check {
        let Effect { at, key, old, new } = effect;
        let request = &self.requests[at];
        let named = told(&self.known[key]);
        let is_hidden = self.is_hidden(request, key);
        let is_own = request.place == Some(key) || request.cookies.contains(&key);
        let after = |before: &Record| before.view.dict.after(&request.op().delta).data;
        match (old, new) {
            (Entry::Missing, Entry::Record(_)) => must!(is_hidden, "P4: {named} became {new:?}"),
            (Entry::Record(_), Entry::Record(_)) if is_hidden => {}
            (Entry::Record(before), Entry::Record(record)) => {
                must!(is_own, "P4: {named} became {new:?}");
                must!(
                    record.view.dict.data == after(before),
                    "P2: {named} became {record:?}, by {:?}",
                    request.op().delta
                );
                let user = user_of(record);
                must!(
                    user.is_none() || user == user_of(before),
                    "P4: {named} got another user and became {record:?}"
                );
            }
            (Entry::Record(before), Entry::Moved(suffix)) => {
                let to = self.known.iter().position(|known| known.suffix == *suffix);
                let Some(to) = to.filter(|to| is_own && self.is_hidden(request, *to)) else {
                    fail!("P4: {named} became {new:?}");
                };
                // Somebody may have ended the new one by now, or the store has lost it.
                let target = &self.known[to];
                let record = target
                    .since(request.op().tick)
                    .filter_map(Entry::record)
                    .last();
                let Some(record) = record else {
                    fail!("P4: {named} moved to {}", told(target));
                };
                must!(
                    record.view.dict.data == after(before),
                    "P2: {named} moved as {record:?}, by {:?}",
                    request.op().delta
                );
                if let Some(user) = target.entry.record().and_then(user_of) {
                    let is_listed = self.index(user).find(suffix).is_some();
                    must!(
                        is_listed || self.lost.contains(&to),
                        "P11: {named} moved before it was listed"
                    );
                }
            }
            (Entry::Record(record), Entry::Revoked) => self.limits(at, key, record)?,
            (_, Entry::Ended | Entry::Replaced) => {
                let starts = request.cookies.iter().copied().chain(request.place);
                let reach = self.reach(starts.collect());
                let is_its = is_own || is_hidden || reach.contains(&key);
                must!(is_its, "P4: {named} became {new:?}");
            }
            _ => fail!("P3: {named} became {new:?}"),
        }
        if let (Entry::Moved(suffix), Entry::Record(_)) = (new, old) {
            let to = self.known.iter().position(|known| known.suffix == *suffix);
            self.moved_to.insert(key, to.expect("it was found"));
        }
        let is_switched = match (old, new) {
            (Entry::Record(before), Entry::Moved(_)) => {
                let stored = self.requests[at].op().stored.as_ref();
                let user = stored.and_then(|(_, record)| user_of(record));
                user.is_some() && user != user_of(before)
            }
            _ => false,
        };
        let op = self.requests[at].op_mut();
        // A session that comes back to a user may be in the index still. It is a login, too.
        op.has_listed |= is_switched;
        if let Entry::Record(record) = new {
            op.stored = Some((key, record.clone()));
        }
        if *new == Entry::Revoked {
            op.revoked.push((key, String::new(), is_acknowledged));
        }
        op.left.push((key, new.clone()));
        Ok(())
    }

    /// A login ends another session, because its user has too many: the oldest first.
    fn limits(&self, at: usize, key: usize, record: &Record) -> Check {
        let request = &self.requests[at];
        let (op, known) = (request.op(), &self.known[key]);
        let Some((own, stored)) = &op.stored else {
            fail!("P11: {} ended without a login", told(known));
        };
        let user = user_of(stored);
        must!(
            user.is_some() && user == user_of(record),
            "P11: the limit of {user:?} ended {}",
            told(known)
        );
        let index = self.index(user.unwrap());
        let own = handle_of(&self.known[*own], stored);
        let handle = handle_of(known, record);
        must!(own != handle, "P11: a login ended itself");
        // Others may have ended some meanwhile.
        let was_live = |known: &Known| {
            let mut since = known.since(op.tick);
            since.any(|entry| entry.record().is_some_and(|record| user_of(record) == user))
        };
        let mut handles = HashSet::new();
        for known in self.known.iter().filter(|known| was_live(known)) {
            let mut since = known.since(op.tick);
            let record = since.find_map(Entry::record).expect("it was there");
            handles.insert(handle_of(known, record));
        }
        let limit = self.setup.limit.unwrap_or(500);
        must!(
            handles.len() > limit,
            "P11: {} of at most {limit} sessions, and {} ended",
            handles.len(),
            told(known)
        );
        let older = index.entries.iter().map(|line| &line.handle);
        let older = older
            .take_while(|it| **it != handle)
            .filter(|it| **it != own);
        for older in older {
            let lives = |at: usize, record: &Record| {
                let known = &self.known[at];
                let always = |entry: &Entry| entry.record().and_then(user_of) == user;
                handle_of(known, record) == *older
                    && known.is_issued
                    && known.since(op.tick).all(always)
            };
            let mut live = self.live(user.unwrap());
            must!(
                !live.any(|(at, record)| lives(at, record)),
                "P11: the limit ended {} before the older {older}",
                told(known)
            );
        }
        Ok(())
    }

    /// A call ends sessions: those of its user that it is to end, and no other.
    fn revokes(&mut self, effect: Effect<'_>, user: u64, is_acknowledged: bool) -> Check {
        let Effect { at, key, old, new } = effect;
        let known = &self.known[key];
        let named = told(known);
        let (Entry::Record(record), Entry::Revoked) = (old, new) else {
            fail!("P11: an end made {new:?} of {named}");
        };
        must!(
            user_of(record) == Some(user),
            "P11: an end of the sessions of {user} ended {named}"
        );
        let handle = handle_of(known, record);
        let request = &self.requests[at];
        if let Some(Flight::Call {
            call,
            handle: wanted,
            ..
        }) = &request.flight
        {
            let is_it = match call {
                // A session that was emptied goes on as a new one, with another handle.
                Call::End(_) => *wanted == handle || self.leads(user, wanted, key),
                Call::EndOthers => self.own_handle(request).as_ref() != Some(&handle),
                _ => true,
            };
            must!(is_it, "P11: {call:?} ended {named}");
        }
        let op = self.requests[at].op_mut();
        op.revoked.push((key, handle, is_acknowledged));
        Ok(())
    }

    /// Whether the index lists a session with this handle that moved to this key.
    fn leads(&self, user: u64, handle: &str, key: usize) -> bool {
        let index = self.index(user);
        let mut lines = index.entries.iter().filter(|line| line.handle == handle);
        lines.any(|line| self.follow(&line.suffix) == Some(key))
    }

    /// The handle of the session that a request has, if the store has it, too.
    pub(crate) fn own_handle(&self, request: &Request) -> Option<String> {
        let known = &self.known[request.place?];
        let record = known.since(0).find_map(Entry::record)?;
        Some(handle_of(known, record))
    }

    /// All that a renewal ever moved these to.
    pub(crate) fn reach(&self, mut reach: Vec<usize>) -> Vec<usize> {
        let mut at = 0;
        while let Some(key) = reach.get(at) {
            if let Some(to) = self.moved_to.get(key)
                && !reach.contains(to)
            {
                reach.push(*to);
            }
            at += 1;
        }
        reach
    }
}
