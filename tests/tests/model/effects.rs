//! What a save may write.
//!
//! A save writes one key at a time. It may change its own session's record by its changes alone,
//! put onto what was there right before (P2). It may store records under identities that it drew,
//! and it may end what it is to end. Everything else stays as it is (P4).

use session_core::keyed::Backend;
use session_tests::stores::Call;

use crate::handle::{Check, Done, fail, must};
use crate::known::{Entry, Known, Record};
use crate::request::{Place, Plan, Request, Save};
use crate::turns::Calls;
use crate::world::World;

/// What a call of the store made of a key.
#[derive(Clone, Copy)]
pub(crate) struct Effect<'a> {
    /// The request whose call it was.
    pub(crate) at: usize,
    /// The known identity whose key it was.
    pub(crate) key: usize,
    pub(crate) old: &'a Entry,
    pub(crate) new: &'a Entry,
}

impl<B: Backend> World<B> {
    /// A save had its turn.
    pub(crate) async fn save_went_on(&mut self, at: usize, calls: Calls) -> Check {
        let (now, tick) = (self.now(), self.tick);
        let is_create = calls
            .next
            .as_ref()
            .is_some_and(|next| next.call == Call::Create);
        let save = self.requests[at].save_mut();
        save.faults += calls.faults;
        save.creates |= is_create;
        save.next = calls.next;
        let prepared = std::mem::replace(&mut save.prepared, now);
        for made in calls.made {
            let save = self.requests[at].save_mut();
            save.calls += 1;
            let Some(key) = self.by_key(&made.key) else {
                must!(
                    made.key.ends_with(&self.reserved_suffix()) && !made.is_written,
                    "P4: it wrote to {}",
                    made.key
                );
                continue;
            };
            let is_hidden = self.is_hidden(&self.requests[at], key);
            let save = self.requests[at].save_mut();
            save.takes_back |= is_hidden && made.call == Call::Read;
            save.tried.push(key);
            if calls.faults == 0 {
                save.replied.insert(key, tick);
            }
            let (old, new) = (self.known[key].entry.clone(), self.raw(key).await);
            if !made.is_written {
                must!(
                    new == old,
                    "{} became {new:?} by itself",
                    told(&self.known[key])
                );
                continue;
            }
            let time_to_live = made.time_to_live.map(|age| age.as_secs());
            // It may have been prepared at any time since the save began.
            let begun = self.requests[at].save().at;
            let [least, most] = [prepared, begun].map(|then| new.time_to_live(&self.setup, then));
            must!(
                least <= time_to_live && time_to_live <= most,
                "{new:?} is kept for {time_to_live:?} seconds, not {least:?}"
            );
            let effect = Effect {
                at,
                key,
                old: &old,
                new: &new,
            };
            self.effect(effect)?;
            let until = time_to_live.map(|age| now + age);
            self.known[key].set(new, until, tick);
            self.look(key).await?;
        }
        Ok(())
    }

    fn effect(&mut self, effect: Effect<'_>) -> Check {
        let Effect { at, key, new, .. } = effect;
        let request = &self.requests[at];
        let known = &self.known[key];
        let is_hidden = self.is_hidden(request, key);
        let reach = self.reach(&request.starts(request.save()));
        let ends = matches!(new, Entry::Ended | Entry::Replaced) && reach.contains(&key);
        if ends {
            self.ends(effect)
        } else if is_hidden {
            self.hidden(effect)
        } else if Some(key) == request.place.own() {
            self.own(effect)
        } else {
            fail!("P4: {} became {new:?}, by another's save", told(known))
        }
    }

    /// A request drew it, and no client knows it.
    pub(crate) fn is_hidden(&self, request: &Request, key: usize) -> bool {
        let known = &self.known[key];
        known.owner == request.id && !known.is_issued
    }

    /// A save ends a session, or makes sure that it has ended.
    fn ends(&mut self, effect: Effect<'_>) -> Check {
        let Effect { at, key, old, new } = effect;
        let request = &self.requests[at];
        let plan = request.save().plan;
        let is_own = Some(key) == request.place.own();
        let is_it = match (plan, old, new) {
            (Plan::End, Entry::Record(_), Entry::Ended) => true,
            (Plan::Clear, Entry::Record(_), Entry::Ended)
            | (Plan::End, Entry::Foreign, Entry::Ended) => is_own,
            (Plan::Login, Entry::Moved(_), Entry::Replaced) => {
                let last = self.chain(key).last().copied();
                last.is_none_or(|last| self.known[last].entry.record().is_none())
            }
            (Plan::Login, before, Entry::Replaced) => *before != Entry::Foreign,
            _ => false,
        };
        must!(
            is_it,
            "P3: a save that is to {plan:?} made {new:?} of {}",
            told(&self.known[key])
        );
        self.requests[at].ended.push(key);
        let save = self.requests[at].save_mut();
        if matches!(old, Entry::Record(_) | Entry::Foreign) {
            save.ended.push(key);
            save.is_over |= is_own;
        }
        if plan == Plan::Login {
            save.replaced.push(key);
        }
        Ok(())
    }

    /// A save writes under an identity that it drew and that no client knows.
    fn hidden(&mut self, effect: Effect<'_>) -> Check {
        let Effect { at, key, old, new } = effect;
        let request = &self.requests[at];
        let save = request.save();
        let known = &self.known[key];
        let named = told(known);
        let is_session = |other: &Known| other.entry == Entry::Moved(known.suffix.clone());
        let is_moved = self.known.iter().any(is_session);
        match (old, new) {
            (Entry::Missing, Entry::Record(record)) => {
                let is_left = |other: usize| {
                    self.is_hidden(request, other) && self.known[other].entry.record().is_some()
                };
                // A restart takes an unfinished renewal's record back after it has ended the
                // session.
                let is_restart = save.plan == Plan::End;
                must!(
                    request.may_leave || is_restart || !(0..self.known.len()).any(is_left),
                    "P4: one session became two"
                );
                self.created(request, save, record)?;
            }
            (Entry::Record(before), Entry::Record(record)) => {
                let expected = before.view.dict.after(&save.delta);
                must!(
                    !is_moved || record.view.dict == expected,
                    "P2: {named} is where the session is, and became {record:?}"
                );
            }
            (Entry::Record(_), Entry::Ended) => must!(
                !is_moved,
                "P3: the session moved to {named}, and is taken back"
            ),
            _ => fail!("P4: {named} became {new:?}"),
        }
        let save = self.requests[at].save_mut();
        if let Some(record) = new.record() {
            save.hidden = Some((key, record.clone()));
        } else if save
            .hidden
            .as_ref()
            .is_some_and(|(hidden, _)| *hidden == key)
        {
            // Taken back. The record of an unfinished renewal is another one.
            save.hidden = None;
        }
        Ok(())
    }

    /// A new record.
    fn created(&self, request: &Request, save: &Save, record: &Record) -> Check {
        let (plan, now) = (save.plan, self.now());
        let creates = matches!(plan, Plan::Create | Plan::Login | Plan::End | Plan::Move);
        must!(
            creates,
            "a save that is to {plan:?} stored a new {record:?}"
        );
        must!(
            record.view.dict == save.local && (plan == Plan::Move || !record.is_empty()),
            "P2: {record:?} is stored for {:?}",
            save.local
        );
        match &request.place {
            Place::Stored { own, record: from } if plan == Plan::Move && !from.is_empty() => {
                self.is_same(*own, from, record)?;
                must!(
                    dated(from, record, save, now),
                    "{from:?} moves as {record:?}"
                );
            }
            _ => self.is_new(request, save, record)?,
        }
        Ok(())
    }

    /// Another record of the same session, after a move.
    fn is_same(&self, own: usize, from: &Record, record: &Record) -> Check {
        let handle = from.handle.clone().unwrap_or(self.known[own].handle());
        must!(
            record.started == from.started && record.handle == Some(handle),
            "{from:?} moves as another session, {record:?}"
        );
        Ok(())
    }

    /// A record of a session that has just begun.
    fn is_new(&self, request: &Request, save: &Save, record: &Record) -> Check {
        let since = |from: u64| from..=self.now();
        let started = match (record.started, self.setup.absolute) {
            (None, None) => true,
            (Some(started), Some(_)) => since(request.born).contains(&started),
            _ => false,
        };
        let created = written(&save.delta).unwrap_or(request.born);
        must!(
            started && record.handle.is_none() && since(created).contains(&record.view.created),
            "a new session begins as {record:?}"
        );
        Ok(())
    }

    /// A save writes to its own session.
    fn own(&mut self, effect: Effect<'_>) -> Check {
        let Effect {
            at,
            key: own,
            old,
            new,
        } = effect;
        let (request, now) = (&self.requests[at], self.now());
        let save = request.save();
        let named = told(&self.known[own]);
        must!(
            save.updated.is_none() && !save.is_over,
            "P2: a save changed {named} twice"
        );
        let Entry::Record(before) = old else {
            fail!("P3: {named} is back as {new:?}")
        };
        let Place::Stored { record: from, .. } = &request.place else {
            fail!("P4: {named} is not its session's")
        };
        let expected = before.view.dict.after(&save.delta);
        let is_late = before.is_expired(&self.setup, now);
        let is_merged = before != from;
        match (save.plan, new) {
            (Plan::Update | Plan::Refresh, Entry::Record(record)) => {
                let is_it = record.view.dict == expected
                    && record.started == before.started
                    && record.handle == before.handle
                    && dated(before, record, save, now);
                must!(is_it, "P2: {named} became {record:?}, by {:?}", save.delta);
                must!(
                    save.plan == Plan::Update || !is_merged,
                    "P9: a read wrote over {named}"
                );
                self.seen.emptied += usize::from(record.is_empty());
                let save = self.requests[at].save_mut();
                save.updated = Some(record.clone());
            }
            (Plan::Move, Entry::Moved(suffix)) => {
                let Some((hidden, record)) = &save.hidden else {
                    fail!("P4: {named} moved to nowhere")
                };
                let target = &self.known[*hidden];
                must!(
                    target.suffix == *suffix && target.entry.record() == Some(record),
                    "P4: {named} moved to {suffix}, not to {}",
                    told(target)
                );
                let dict = &record.view.dict;
                if from.is_empty() {
                    // A new session, with what older requests have written by now.
                    must!(
                        dict.data == expected.data && dict.max_age == save.local.max_age,
                        "P2: {named} moved as {record:?}, by {:?}",
                        save.delta
                    );
                    self.is_new(request, save, record)?;
                    self.seen.emptied_moves += 1;
                } else {
                    must!(
                        *dict == expected && dated(before, record, save, now),
                        "P2: {named} moved as {record:?}, by {:?}",
                        save.delta
                    );
                    self.is_same(own, before, record)?;
                }
                let hidden = *hidden;
                self.known[own].moved_to = Some(hidden);
                let save = self.requests[at].save_mut();
                save.is_over = true;
            }
            (plan, _) => fail!("P3: {named} became {new:?}, by a save that is to {plan:?}"),
        }
        self.seen.merged += usize::from(is_merged);
        self.seen.late += usize::from(is_late);
        Ok(())
    }

    /// All that an end may end that begins there, whenever a renewal moved it.
    pub(crate) fn reach(&self, starts: &[usize]) -> Vec<usize> {
        let mut reach = starts.to_vec();
        let mut at = 0;
        while let Some(key) = reach.get(at) {
            if let Some(to) = self.known[*key].moved_to
                && !reach.contains(&to)
            {
                reach.push(to);
            }
            at += 1;
        }
        reach
    }

    /// The key and those after it that an end follows now.
    pub(crate) fn chain(&self, from: usize) -> Vec<usize> {
        let mut chain = vec![from];
        while let Some(last) = chain.last()
            && let Entry::Moved(suffix) = &self.known[*last].entry
            && let Some(next) = self.known.iter().position(|known| known.suffix == *suffix)
        {
            chain.push(next);
        }
        chain
    }
}

/// When a key was last set or removed.
fn written(done: &[Done]) -> Option<u64> {
    done.iter()
        .filter(|done| done.writes())
        .map(|done| done.at)
        .max()
}

/// Whether a record that was saved says when it was written: what was only touched says what it
/// said before, and a rolling session begins again.
fn dated(before: &Record, now: &Record, save: &Save, time: u64) -> bool {
    let created = now.view.created;
    match written(&save.delta) {
        Some(written) => (written..=time).contains(&created),
        None if save.rolls => (save.at..=time).contains(&created),
        None => created == before.view.created,
    }
}

/// A known identity, for a message.
pub(crate) fn told(known: &Known) -> String {
    format!("{}, which was {:?},", known.identity, known.entry)
}
