//! What a list or an end must return.

use std::collections::{BTreeSet, HashSet};

use session_core::keyed::Backend;
use session_core::{ErrorKind, Result, UserSession};

use crate::handle::{Check, must};
use crate::known::{Entry, Known, Record};
use crate::users::listed::{handle_of, login_of, user_of};
use crate::users::request::{Flight, Op, Request, Told};
use crate::users::steps::Call;
use crate::users::world::World;

/// An end that takes longer is an error.
const TIME_LIMIT: u64 = 30;

impl<B: Backend> World<B> {
    /// A call begins: what it is to end.
    pub(crate) fn begin_call(&self, at: usize) -> Op {
        let request = &self.requests[at];
        let Some(Flight::Call {
            call, user, handle, ..
        }) = &request.flight
        else {
            unreachable!("a call begins");
        };
        let own = self.own_handle(request);
        let is_meant = |it: &String| match call {
            Call::End(_) => it == handle,
            Call::EndOthers => own.as_ref() != Some(it),
            Call::EndAll => true,
            Call::List => false,
        };
        let place = request.place.map(|at| &self.known[at].suffix);
        let followed = place.and_then(|suffix| self.follow(suffix));
        // What the index leads to.
        let mut predicted = Vec::new();
        for line in &self.index(*user).entries {
            if !is_meant(&line.handle) {
                continue;
            }
            let end = self.follow(&line.suffix);
            let Some((at, record)) = end.and_then(|at| Some((at, self.known[at].entry.record()?)))
            else {
                continue;
            };
            // Also if the session was emptied, and goes on as a new one with another handle.
            let is_own = own == Some(handle_of(&self.known[at], record));
            let is_kept = matches!(call, Call::EndOthers) && (is_own || followed == Some(at));
            if user_of(record) == Some(*user) && !is_kept && !predicted.contains(&at) {
                predicted.push(at);
            }
        }
        // The logins that were acknowledged by now, but for those whose index was lost.
        let holds = |login: u64| {
            let lost = self
                .lost
                .iter()
                .filter_map(|at| self.known[*at].entry.record());
            lost.filter_map(login_of).any(|it| it == login)
        };
        let logins = self.acknowledged.iter();
        let logins = logins
            .filter(|(login, (by, handle))| by == user && is_meant(handle) && !holds(**login));
        Op {
            predicted,
            logins: logins.map(|(login, _)| *login).collect(),
            is_lost: self.has_lost_own(request, *user),
            ..Op::default()
        }
    }

    /// Where the tombstones of renewals lead.
    pub(crate) fn follow(&self, suffix: &str) -> Option<usize> {
        let find = |suffix: &str| self.known.iter().position(|known| known.suffix == suffix);
        let mut at = find(suffix)?;
        while let Entry::Moved(suffix) = &self.known[at].entry {
            at = find(suffix)?;
        }
        Some(at)
    }

    /// The caller's own session should be in the index, and is not.
    fn has_lost_own(&self, request: &Request, user: u64) -> bool {
        let Some(own) = request.place else {
            return false;
        };
        let known = &self.known[own];
        let Some(record) = known.entry.record() else {
            return false;
        };
        let is_set = request.handle().done().iter().any(|done| done.sets("user"));
        let is_covered = record.listed.is_some_and(|until| until >= self.now());
        let handle = handle_of(known, record);
        let index = self.index(user);
        let mut entries = index.entries.iter();
        let is_there = entries.any(|line| line.handle == handle || line.suffix == known.suffix);
        user_of(record) == Some(user) && is_covered && !is_set && !is_there
    }

    /// A call came to its end.
    pub(crate) fn called(&mut self, at: usize, result: Result<Told>) -> Check {
        let (now, tick) = (self.now(), self.tick);
        let request = &self.requests[at];
        let Some(Flight::Call {
            op: Some(op),
            call,
            user,
            ..
        }) = &request.flight
        else {
            unreachable!("a call ends");
        };
        let user = *user;
        let is_alone = tick - op.tick == op.turns;
        match &result {
            Ok(_) => must!(
                !op.is_lost || !self.has_lost_own(request, user),
                "P11: the index is lost, and {call:?} succeeded"
            ),
            Err(error) => {
                let is_slow = now - op.at >= TIME_LIMIT;
                must!(
                    error.kind() == ErrorKind::Unavailable
                        && (op.faults > 0 || is_slow || self.has_lost),
                    "P11: {call:?} failed: {error:?}"
                );
            }
        }
        match result {
            Ok(Told::Listed(listed)) => {
                self.must_list(at, user, is_alone, &listed)?;
                self.seen.lists += 1;
            }
            Ok(Told::Ended(number)) => {
                let op = request.op();
                let revoked = op.revoked.iter();
                let handles: HashSet<&String> = revoked.map(|(_, handle, _)| handle).collect();
                must!(
                    number == handles.len(),
                    "P11: {call:?} returned {number} and ended {handles:?}"
                );
                if is_alone && op.faults == 0 {
                    let ended: BTreeSet<usize> = op.revoked.iter().map(|(at, ..)| *at).collect();
                    let predicted = op.predicted.iter().copied().collect();
                    must!(
                        ended == predicted,
                        "P11: {call:?} ended {ended:?}, not {predicted:?}"
                    );
                }
                must!(
                    now - op.at < TIME_LIMIT || number == 0,
                    "P11: {call:?} took {} seconds, and succeeded",
                    now - op.at
                );
                self.seen.ends += 1;
                self.seen.ended += number;
                self.seen.others += usize::from(matches!(call, Call::EndOthers) && number > 0);
                self.seen.one += usize::from(matches!(call, Call::End(_)) && number > 0);
                let mut logins = op.logins.clone();
                if matches!(call, Call::EndOthers) {
                    let own = self.reach(self.requests[at].place.into_iter().collect());
                    let kept = own.iter().filter_map(|at| self.known[*at].entry.record());
                    let kept: Vec<u64> = kept.filter_map(login_of).collect();
                    logins.retain(|login| !kept.contains(login));
                }
                self.dead.extend(logins);
                self.check_listed()?;
            }
            Err(_) => self.seen.call_failed += 1,
        }
        self.invalidate_own(at)
    }

    /// Where the call has ended the request's own session, its changes are dropped.
    fn invalidate_own(&mut self, at: usize) -> Check {
        let now = self.now();
        let request = &self.requests[at];
        let own = self.own_handle(request);
        let mut revoked = request.op().revoked.iter();
        let is_own = revoked.any(|(at, handle, is_acknowledged)| {
            *is_acknowledged && (own.as_ref() == Some(handle) || request.place == Some(*at))
        });
        let Some(handle) = &mut self.requests[at].handle else {
            return Ok(());
        };
        if is_own {
            self.seen.own += 1;
            handle.was_invalidated(now);
        }
        handle.check()
    }

    /// The list has each session that was alive all the time, and none that never was.
    fn must_list(&self, at: usize, user: u64, is_alone: bool, listed: &[UserSession]) -> Check {
        let request = &self.requests[at];
        let op = request.op();
        let own = self.own_handle(request);
        let mut handles: Vec<&str> = listed.iter().map(UserSession::handle).collect();
        for session in listed {
            let is_it = |known: &Known, record: &Record| {
                handle_of(known, record) == session.handle()
                    && record
                        .view
                        .dict
                        .data
                        .keys()
                        .cloned()
                        .collect::<BTreeSet<_>>()
                        == session.keys().into_iter().collect()
            };
            let was = self.known.iter().any(|known| {
                let mut records = known.since(op.tick).filter_map(Entry::record);
                records.any(|record| user_of(record) == Some(user) && is_it(known, record))
            });
            must!(was, "P11: {session:?} is listed, and is none");
            must!(
                session.is_current() == (own.as_deref() == Some(session.handle())),
                "P11: {session:?} is the current one, or not"
            );
        }
        let count = handles.len();
        handles.sort_unstable();
        handles.dedup();
        must!(count == handles.len(), "P11: a session is listed twice");
        let (base, began) = (self.setup.base, op.at);
        let mut found = Vec::new();
        for (at, record) in self.live(user) {
            let known = &self.known[at];
            let always = |entry: &Entry| {
                let record = entry.record();
                record.is_some_and(|it| user_of(it) == Some(user) && !it.is_expired(&base, began))
            };
            let is_known = self.issued_at.get(&at).is_some_and(|tick| *tick < op.tick);
            let is_due = is_known && !self.lost.contains(&at) && known.since(op.tick).all(always);
            let handle = handle_of(known, record);
            must!(
                !is_due || handles.contains(&&*handle),
                "P11: {handle} is missing in the list"
            );
            found.push(handle);
        }
        handles.retain(|handle| !found.iter().any(|it| it == handle));
        if is_alone {
            must!(
                handles.is_empty(),
                "P11: {handles:?} are listed, and are dead"
            );
        }
        Ok(())
    }
}
