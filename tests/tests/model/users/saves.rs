//! What the client of a save must be told.

use session_core::ErrorKind;
use session_core::keyed::Backend;

use crate::effects::told;
use crate::handle::{Check, What, fail, invalidates, must};
use crate::known::Entry;
use crate::request::{ClientCookie, Reply};
use crate::users::listed::{handle_of, login_of, user_of};
use crate::users::request::Op;
use crate::users::world::World;

impl<B: Backend> World<B> {
    /// A save came to its end.
    pub(crate) fn saved(&mut self, at: usize, reply: &Reply) -> Check {
        let (tick, served) = (self.tick, self.requests[at].served.is_some());
        let request = &self.requests[at];
        let op = request.op();
        let is_alone = tick - op.tick == op.turns;
        let (begun, ends) = (op.begun, invalidates(&op.delta));
        if let Some(kind) = reply.failed {
            self.save_failed(at, kind, is_alone)?;
            self.seen.failed += 1;
            let request = &mut self.requests[at];
            // What is left of a logout, and of a session that has ended, the other model knows.
            if ends || served || kind == ErrorKind::Ended {
                self.leave(at);
                return Ok(());
            }
            request.flight = None;
            let handle = request.handle.as_mut().expect("it is loaded");
            handle.drafted = 0;
            return handle.check();
        }
        let stored = op.stored.clone();
        if let Some(ClientCookie::Set { cookie, .. }) = &reply.cookie {
            let Some(to) = self.find(cookie) else {
                fail!("P4: an unknown cookie is set");
            };
            let is_there = |entry: &Entry| entry.record().is_some();
            must!(
                self.known[to].since(op.tick).any(is_there),
                "P8: acknowledged, and nothing is at {}",
                told(&self.known[to])
            );
        }
        self.note_login(at);
        if let Some((to, record)) = &stored {
            let is_taken_back = self.known[*to].since(tick).any(|it| *it == Entry::Ended);
            must!(
                ends || !is_taken_back || !is_alone,
                "P8: acknowledged, and {record:?} is taken back"
            );
        }
        self.must_keep_limit(at, is_alone)?;
        self.check_listed()?;
        self.settle(at, reply, begun, ends, stored)
    }

    /// A login was acknowledged.
    fn note_login(&mut self, at: usize) {
        let op = self.requests[at].op();
        let Some((to, record)) = op.stored.clone() else {
            return;
        };
        self.known[to].is_issued = true;
        self.issued_at.entry(to).or_insert(self.tick);
        let is_its = |login: u64| {
            let set = What::Set("login".into(), login);
            op_sets(self.requests[at].op(), &set)
        };
        if let (Some(user), Some(login)) = (user_of(&record), login_of(&record))
            && is_its(login)
        {
            let handle = handle_of(&self.known[to], &record);
            self.acknowledged.insert(login, (user, handle));
            self.seen.logins += 1;
        }
    }

    /// If no other request ran during a login, the limit holds after it.
    fn must_keep_limit(&mut self, at: usize, is_alone: bool) -> Check {
        let op = self.requests[at].op();
        let (Some(limit), Some((_, record))) = (self.setup.limit, &op.stored) else {
            return Ok(());
        };
        let Some(user) = user_of(record).filter(|_| op.has_listed && is_alone && op.faults == 0)
        else {
            return Ok(());
        };
        let index = self.index(user);
        let live = self.live(user);
        let listed = live.filter(|(at, _)| index.find(&self.known[*at].suffix).is_some());
        let mut handles: Vec<String> = listed
            .map(|(at, record)| handle_of(&self.known[at], record))
            .collect();
        handles.sort();
        handles.dedup();
        must!(
            handles.len() <= limit,
            "P11: {} sessions, and the limit is {limit}",
            handles.len()
        );
        self.seen.limited += usize::from(!op.revoked.is_empty());
        Ok(())
    }

    fn save_failed(&self, at: usize, kind: ErrorKind, is_alone: bool) -> Check {
        let request = &self.requests[at];
        let op = request.op();
        match kind {
            ErrorKind::Unavailable => must!(op.faults > 0, "P6: nothing failed"),
            ErrorKind::Ended => {
                // Not while its session lives, and nothing of it stays.
                let lives = |own: usize| {
                    let known = &self.known[own];
                    known.since(op.tick).all(|entry| entry.record().is_some())
                };
                must!(
                    !request.place.is_some_and(lives) || op.faults > 0,
                    "P2: its session lives, and it is told that it has ended"
                );
                let is_left = |(to, _): &(usize, _)| self.known[*to].entry.record().is_some();
                must!(
                    !op.stored.as_ref().is_some_and(is_left) || op.faults > 0 || !is_alone,
                    "P3: told that it ended, and a record is left"
                );
            }
            other => fail!("a save failed: {other:?}"),
        }
        Ok(())
    }

    fn settle(
        &mut self,
        at: usize,
        reply: &Reply,
        begun: usize,
        ends: bool,
        stored: Option<(usize, crate::known::Record)>,
    ) -> Check {
        let request = &mut self.requests[at];
        request.flight = None;
        if let (Some(cookie), Some(client)) = (&reply.cookie, request.client) {
            match cookie {
                ClientCookie::Set { cookie, .. } => self.jars[client] = Some(cookie.clone()),
                ClientCookie::Remove => self.jars[client] = None,
                ClientCookie::Keep => {}
            }
        }
        if request.served.is_some() {
            self.leave(at);
            return Ok(());
        }
        let handle = request.handle.as_mut().expect("it is loaded");
        handle.drafted = 0;
        match stored {
            Some((to, record)) => {
                request.place = Some(to);
                let base = if record.is_empty() {
                    handle.empty()
                } else {
                    record.view.dict
                };
                handle.settle(begun, &base)
            }
            None if ends => {
                request.place = None;
                request.cookies.clear();
                let empty = handle.empty();
                handle.settle(begun, &empty)
            }
            None => handle.check(),
        }
    }
}

fn op_sets(op: &Op, what: &What) -> bool {
    op.delta.iter().any(|done| done.what == *what)
}
