//! What a request must be told, and what holds whenever somebody looks.

use session_core::keyed::Backend;
use session_core::{ErrorKind, Result, Session, Storage as _};
use session_tests::stores::Call;

use crate::effects::told;
use crate::handle::{Check, Handle, fail, must};
use crate::known::{Entry, Record, View};
use crate::request::{ClientCookie, Load, Place, Plan, Reply, Request, Save};
use crate::steps::End;
use crate::turns::Made;
use crate::world::World;

/// What a save may come to.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Outcome {
    ClientCookie(ClientCookie),
    /// 409
    Ended,
}

/// What an end finds. The later ones win over the earlier ones.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Column {
    Nothing,
    Alive,
    Revoked,
    Ended,
    Replaced,
}

impl<B: Backend> World<B> {
    /// What the store holds for a known identity.
    pub(crate) async fn raw(&self, at: usize) -> Entry {
        use session_core::keyed::Backend as _;
        let key = self.key(at);
        let found = self.storages[0].backend().read(&key).await.unwrap();
        Entry::of(&found, &self.setup)
    }

    /// What a client gets that has this cookie.
    pub(crate) async fn look(&self, at: usize) -> Check {
        let known = &self.known[at];
        let session = self.storages[0].load(&[&known.identity]).await.unwrap();
        let yields = known.entry.yields(&self.setup, self.now());
        self.is_session(&session, yields.is_some().then_some(at))?;
        must!(
            View::of(&session).as_ref() == yields,
            "{} yields {:?}",
            told(known),
            View::of(&session)
        );
        let was_replaced = session.was_replaced();
        must!(
            was_replaced == known.entry.is_replaced(),
            "was_replaced() is {was_replaced} for {}",
            told(known)
        );
        Ok(())
    }

    /// The session of this known identity, or a new one.
    fn is_session(&self, session: &Session, at: Option<usize>) -> Check {
        let found = session.identity();
        let expected = at.map(|at| &self.known[at].identity);
        must!(
            found.as_ref().map(session_core::Identity::as_str) == expected.map(String::as_str),
            "P4: it is another session than {expected:?}"
        );
        must!(session.is_new() == at.is_none(), "new or not?");
        must!(
            at.is_some() || session.is_empty() && !session.is_changed(),
            "P4: a new session is empty"
        );
        Ok(())
    }

    /// Nothing changed in the store, but time may have passed.
    pub(crate) async fn look_at_all(&mut self) -> Check {
        for at in 0..self.known.len() {
            let (now, held) = (self.now(), self.raw(at).await);
            let known = &mut self.known[at];
            if held != known.entry {
                let is_over = known.until.is_some_and(|until| now >= until);
                // A real store keeps its own time.
                let is_tombstone = known.entry.record().is_none() && !self.has_our_clock;
                must!(
                    held == Entry::Missing && (is_over || is_tombstone),
                    "{} became {held:?} by itself",
                    told(known)
                );
                known.set(held, None, self.tick);
            }
            self.look(at).await?;
        }
        Ok(())
    }

    pub(crate) fn all_gone(&mut self) {
        for known in &mut self.known {
            known.set(Entry::Missing, None, self.tick);
        }
    }

    /// The known identities among these cookies.
    pub(crate) fn candidates(&self, cookies: &[String]) -> Vec<usize> {
        let mut candidates: Vec<usize> = Vec::new();
        for at in cookies.iter().filter_map(|cookie| self.find(cookie)) {
            if !candidates.contains(&at) {
                candidates.push(at);
            }
        }
        candidates
    }

    /// A load came to its end.
    pub(crate) fn loaded(&mut self, at: usize, loaded: Result<Session>, load: &Load) -> Check {
        let request = &self.requests[at];
        let session = match loaded {
            Ok(session) => session,
            Err(error) => {
                let unavailable = error.kind() == ErrorKind::Unavailable;
                must!(unavailable && load.faults > 0, "P7: {error:?}");
                self.requests.remove(at);
                return Ok(());
            }
        };
        must!(load.faults == 0, "P6: a failed read went unnoticed");
        let (setup, now) = (self.setup, self.now());
        let candidates = self.candidates(&request.cookies);
        let yields = |(_, entry, then): &(usize, Entry, u64)| entry.yields(&setup, *then).is_some();
        let chosen = load.found.iter().position(yields);
        let expected = &candidates[..chosen.map_or(candidates.len(), |chosen| chosen + 1)];
        let read: Vec<usize> = load.found.iter().map(|(at, ..)| *at).collect();
        must!(read == expected, "P9: it read {read:?}, not {expected:?}");
        let chosen = chosen.map(|chosen| &load.found[chosen]);
        self.is_session(&session, chosen.map(|(at, ..)| *at))?;
        let is_emptied = |(_, entry, then): &&(usize, Entry, u64)| {
            let record = entry.record();
            record.is_some_and(|record| record.is_empty() && !record.is_expired(&setup, *then))
        };
        let found = chosen.or(load.found.iter().find(is_emptied));
        let place = match found {
            Some((own, Entry::Record(record), _)) => Place::Stored {
                own: *own,
                record: record.clone(),
            },
            _ => Place::New,
        };
        let tombs = || load.found.iter().filter(|_| chosen.is_none());
        let forbidden = tombs().any(|(_, entry, _)| entry.forbids());
        let replaced = tombs().any(|(_, entry, _)| entry.is_replaced());
        let view = chosen.and_then(|(_, entry, then)| entry.yields(&setup, *then));
        must!(
            View::of(&session).as_ref() == view && session.was_replaced() == replaced,
            "P2: {found:?} loads as {:?}",
            View::of(&session)
        );
        let rolls = view.is_some_and(|view| {
            let tenth = |age: std::time::Duration| (now - view.created) * 10 >= age.as_secs();
            setup.rolling && view.dict.max_age.is_some_and(tenth)
        });
        let expired = |(_, entry, then): &(usize, Entry, u64)| {
            let record = entry.record();
            record.is_some_and(|record| record.is_expired(&setup, *then))
        };
        self.seen.expired += usize::from(load.found.iter().any(expired));
        let others = candidates.into_iter();
        let others = others.filter(|other| Some(*other) != place.own());
        let request = &mut self.requests[at];
        request.others = others.collect();
        request.is_forbidden = forbidden;
        request.rolls = rolls;
        request.place = place;
        let usual = setup.max_age.map(std::time::Duration::from_secs);
        let handle = Handle::new(session, usual);
        handle.check()?;
        request.handle = Some(handle);
        Ok(())
    }

    pub(crate) fn find(&self, identity: &str) -> Option<usize> {
        let mut known = self.known.iter();
        known.position(|known| known.identity == identity)
    }

    /// A save came to its end. What the client is told must be what was done.
    pub(crate) fn saved(&mut self, at: usize, reply: &Reply, end: Option<End>) -> Check {
        let request = &self.requests[at];
        let save = request.save();
        let expected = self.outcomes(request, save)?;
        let is_end = save.faults == 0 && save.plan == Plan::End;
        self.seen.dropped += usize::from(save.is_dropped);
        if end == Some(End::SessionError) {
            must!(
                reply.failed == Some(ErrorKind::Value),
                "the handler's error became {reply:?}"
            );
            // Whether the end succeeded is told by the cookie alone.
            if is_end {
                let cookie = reply.cookie.as_ref();
                must!(
                    is_told(request, &expected, cookie),
                    "P8: {expected:?} became {cookie:?}"
                );
                self.must_end(at)?;
            }
            return Ok(());
        }
        if let Some(kind) = reply.failed {
            self.save_failed(at, kind, &expected)?;
            let cookie = reply.cookie.as_ref();
            let is_right = if kind == ErrorKind::Ended {
                // A newer cookie may be on its way: not even that of an explicit save is sent.
                cookie.is_none_or(|cookie| *cookie == ClientCookie::Keep)
            } else {
                is_told(&self.requests[at], &[Outcome::Ended], cookie)
            };
            must!(is_right, "P6: a failed save sent {cookie:?}");
            if kind == ErrorKind::Ended
                && let Some(served) = &mut self.requests[at].served
            {
                served.unsent.clear();
            }
            return self.was_failed(at, kind == ErrorKind::Ended);
        }
        let is_ended = |outcome: &Outcome| *outcome == Outcome::Ended;
        must!(
            !expected.iter().all(is_ended),
            "P3: acknowledged, and it had ended"
        );
        must!(
            is_told(request, &expected, reply.cookie.as_ref()),
            "P8: {expected:?} became {reply:?} in a save that is to {:?}",
            save.plan
        );
        if save.plan == Plan::End {
            let hidden = (0..self.known.len()).filter(|key| {
                self.is_hidden(request, *key) && self.known[*key].entry.record().is_some()
            });
            must!(
                request.may_leave || hidden.count() <= 1,
                "P4: one session became two"
            );
        }
        if matches!(save.plan, Plan::End | Plan::Clear | Plan::Login) {
            self.must_end(at)?;
        }
        let given = |told: &ClientCookie| reply.cookie.as_ref().is_none_or(|cookie| cookie == told);
        let told = expected.into_iter().find_map(|outcome| match outcome {
            Outcome::ClientCookie(told) => Some(told).filter(given),
            Outcome::Ended => None,
        });
        let told = told.unwrap_or(ClientCookie::Keep);
        if let Some(served) = &mut self.requests[at].served
            && end.is_none()
            && told != ClientCookie::Keep
        {
            served.unsent = vec![told.clone()];
        }
        self.settle(at, &told)
    }

    /// What a save may come to now, if the store does not fail it.
    fn outcomes(&self, request: &Request, save: &Save) -> Check<Vec<Outcome>> {
        let now = self.now();
        let keep = || vec![Outcome::ClientCookie(ClientCookie::Keep)];
        let set = |at: usize, record: &Record| {
            Outcome::ClientCookie(ClientCookie::Set {
                cookie: self.known[at].identity.clone(),
                max_age: record.cookie_max_age(&self.setup, now),
            })
        };
        let own = request.place.own();
        let is_there = own.is_some_and(|own| self.known[own].entry.record().is_some());
        let created = save.hidden.as_ref();
        let created = created.map(|(hidden, record)| vec![set(*hidden, record)]);
        Ok(match (save.plan, own) {
            (Plan::Nothing | Plan::Refuse, _) => {
                must!(save.calls == 0, "P9: there was nothing to save");
                let is_refused = save.plan == Plan::Refuse;
                if is_refused {
                    vec![Outcome::Ended]
                } else {
                    keep()
                }
            }
            (Plan::Update | Plan::Refresh, Some(own)) => match &save.updated {
                Some(record) => {
                    let max_age = record.cookie_max_age(&self.setup, now);
                    let sets_age = |done: &crate::handle::Done| done.sets_age();
                    let is_sent = max_age.is_some() || save.delta.iter().any(sets_age);
                    if is_sent {
                        vec![set(own, record)]
                    } else {
                        keep()
                    }
                }
                None if save.plan == Plan::Refresh => {
                    let Place::Stored { record, .. } = &request.place else {
                        return Ok(keep());
                    };
                    // Another request stored something, or moved or ended it.
                    let mut since = self.known[own].since(save.tick);
                    let is_other = since.any(|entry| entry.record() != Some(record));
                    must!(is_other || save.faults > 0, "P8: a read is not refreshed");
                    keep()
                }
                None => {
                    must!(
                        !is_there || save.faults > 0,
                        "P2: its session lives, and is not saved"
                    );
                    vec![Outcome::Ended]
                }
            },
            (Plan::Clear, own) if save.is_over => {
                let mut outcomes = vec![Outcome::ClientCookie(ClientCookie::Remove)];
                // Once its tombstone has expired, nothing shows that the end was its own.
                if own.is_some_and(|own| self.known[own].entry == Entry::Missing) {
                    outcomes.push(Outcome::Ended);
                }
                outcomes
            }
            (Plan::Clear, Some(own)) => {
                let tick = save.replied.get(&own).copied().unwrap_or(save.tick);
                let since = self.known[own].since(tick);
                let found = since.flat_map(|entry| match entry {
                    Entry::Ended => Self::own_end(request, save, own),
                    Entry::Record(_) => Vec::new(),
                    _ => vec![Column::Nothing],
                });
                let outcome = |column| match column {
                    Column::Alive => Outcome::ClientCookie(ClientCookie::Remove),
                    _ => Outcome::Ended,
                };
                found.map(outcome).collect()
            }
            (Plan::Move, Some(own)) => {
                let is_it = |hidden: usize| Entry::Moved(self.known[hidden].suffix.clone());
                let moved = save.hidden.as_ref().is_some_and(|(hidden, _)| {
                    let tick = save.replied.get(&own).copied().unwrap_or(save.tick);
                    let moved = is_it(*hidden);
                    save.is_over || self.known[own].since(tick).any(|entry| *entry == moved)
                });
                match created {
                    Some(created) if moved => created,
                    _ => vec![Outcome::Ended],
                }
            }
            (Plan::Create | Plan::Login, _) => created.unwrap_or_default(),
            (Plan::End, _) => self.ended_outcomes(request, save, created.as_deref()),
            (Plan::Update | Plan::Refresh | Plan::Move | Plan::Clear, None) => {
                fail!("it has no place")
            }
        })
    }

    /// The rows of the table that end a session.
    fn ended_outcomes(
        &self,
        request: &Request,
        save: &Save,
        created: Option<&[Outcome]>,
    ) -> Vec<Outcome> {
        let columns = match request.place.own() {
            Some(own) => self.columns(request, save, own, 0),
            // The most recent cookie decides.
            None => request
                .others
                .iter()
                .fold(vec![Column::Nothing], |found, other| {
                    let other = self.columns(request, save, *other, 0);
                    let both = found
                        .iter()
                        .flat_map(|found| other.iter().map(|column| (*found).max(*column)));
                    both.collect()
                }),
        };
        let has_cookie = request.sent || request.place.own().is_some();
        let outcome = |column: &Column| match column {
            Column::Ended | Column::Replaced if !save.local.is_empty() => vec![Outcome::Ended],
            _ if !save.local.is_empty() => created.unwrap_or_default().to_vec(),
            Column::Replaced => vec![Outcome::ClientCookie(ClientCookie::Keep)],
            _ if has_cookie => vec![Outcome::ClientCookie(ClientCookie::Remove)],
            _ => vec![Outcome::ClientCookie(ClientCookie::Keep)],
        };
        columns.iter().flat_map(outcome).collect()
    }

    /// What an end may have found at a key, following renewals.
    fn columns(&self, request: &Request, save: &Save, at: usize, hops: usize) -> Vec<Column> {
        if save.ended.contains(&at) {
            return vec![Column::Alive];
        }
        let tick = save.replied.get(&at).copied().unwrap_or(save.tick);
        let mut columns = Vec::new();
        for entry in self.known[at].since(tick) {
            match entry {
                Entry::Missing | Entry::Python | Entry::Foreign => columns.push(Column::Nothing),
                Entry::Revoked => columns.push(Column::Revoked),
                Entry::Ended => columns.extend(Self::own_end(request, save, at)),
                Entry::Replaced => columns.push(Column::Replaced),
                Entry::Moved(suffix) => {
                    let next = self.known.iter().position(|known| known.suffix == *suffix);
                    if let Some(next) = next.filter(|_| hops < 64) {
                        columns.extend(self.columns(request, save, next, hops + 1));
                    }
                }
                // It would have been ended.
                Entry::Record(_) => {}
            }
        }
        columns
    }

    /// What an end makes of the tombstone of a logout. After a lost response it may be its own, and
    /// nothing tells.
    fn own_end(request: &Request, save: &Save, at: usize) -> Vec<Column> {
        let is_own = request.place.own() == Some(at) && request.ended.contains(&at);
        if is_own {
            vec![Column::Alive]
        } else if save.faults > 0 || request.has_failed {
            vec![Column::Ended, Column::Alive]
        } else {
            vec![Column::Ended]
        }
    }

    /// A logout or a login was acknowledged: what it ends has ended (P3).
    fn must_end(&mut self, at: usize) -> Check {
        self.seen.ended += 1;
        let request = &self.requests[at];
        let save = request.save();
        let mut starts = request.starts(save);
        if save.faults > 0 {
            // The first is sure. A login that has its new session is not failed for the others'.
            starts.truncate(1);
        }
        for start in starts {
            let chain = self.chain(start);
            for key in &chain {
                let is_alive = self.known[*key].entry.record().is_some();
                must!(
                    !is_alive,
                    "P3: {} was ended, and lives",
                    told(&self.known[*key])
                );
            }
            self.seen.followed += usize::from(chain.len() > 1);
            let reach = self.reach(&[start]);
            let is_foreign = |key: &usize| self.known[*key].entry == Entry::Foreign;
            let is_left = |key: &usize| save.replaced.contains(key);
            must!(
                save.plan != Plan::Login || reach.iter().any(|key| is_left(key) || is_foreign(key)),
                "P12: a login left nothing at {}",
                told(&self.known[start])
            );
        }
        Ok(())
    }

    fn save_failed(&mut self, at: usize, kind: ErrorKind, expected: &[Outcome]) -> Check {
        self.seen.failed += 1;
        let request = &self.requests[at];
        let save = request.save();
        match kind {
            ErrorKind::Ended => {
                must!(
                    expected.contains(&Outcome::Ended),
                    "P3: a save that is to {:?} finds an ended session, not {expected:?}",
                    save.plan
                );
                must!(
                    save.updated.is_none()
                        && (!save.is_over || matches!(save.plan, Plan::End | Plan::Clear)),
                    "P2: it is told that nothing was saved, and it was"
                );
                self.seen.told += 1;
            }
            ErrorKind::Unavailable => {
                must!(save.faults > 0, "P6: nothing failed");
                let keeps = match save.plan {
                    Plan::Login | Plan::Move => true,
                    Plan::End => request.place.own().is_some() && !save.local.is_empty(),
                    _ => false,
                };
                let is_moved = save.is_over || !save.replaced.is_empty();
                // Another program may have written over what was left at the session's key.
                let is_overwritten = request
                    .place
                    .own()
                    .is_some_and(|own| self.known[own].entry == Entry::Foreign);
                must!(
                    !keeps || save.faults > 1 || !is_moved || is_overwritten,
                    "P4: one lost reply left the client without a session"
                );
            }
            other => fail!("{other:?}"),
        }
        Ok(())
    }

    /// A save came to no good end, or was dropped: its changes are still to be saved.
    pub(crate) fn was_failed(&mut self, at: usize, is_ended: bool) -> Check {
        let request = &self.requests[at];
        let save = request.save();
        let next = save.next.as_ref().and_then(|next| self.by_key(&next.key));
        let own = request.place.own();
        let reach = self.reach(own.as_slice());
        let hidden = |key: &usize| self.known[*key].owner == request.id;
        let is_past_own = |key: &usize| !reach.contains(key) && !hidden(key);
        let is_own_done =
            save.tried.iter().any(is_past_own) || next.as_ref().is_some_and(is_past_own);
        // A new record is taken back: before the end was noted, or after.
        let takes_back = |next: &Made| next.call == Call::Read;
        let takes_back =
            save.next.as_ref().is_some_and(takes_back) && next.as_ref().is_some_and(hidden);
        let may_leave = takes_back || save.takes_back;
        let is_open = request.others.iter().any(|other| reach.contains(other));
        let (plan, creates, begun) = (save.plan, save.creates, save.begun);
        let (is_over, creates) = (save.is_over, creates && own.is_none());
        let request = &mut self.requests[at];
        request.has_failed = true;
        request.may_leave |= may_leave;
        request.handle_mut().drafted = 0;
        request.told |= is_ended;
        if plan == Plan::End {
            let all_done = creates || is_ended;
            if all_done {
                request.place = Place::New;
                request.others.clear();
                request.sent = false;
                request.is_forbidden = false;
                request.told = is_ended;
            } else if own.is_some() && (is_open || takes_back || is_over) && !is_own_done {
                // How far it came cannot be told.
                self.unclear = Some(request.id);
            } else if own.is_some() && takes_back {
                self.unclear = Some(request.id);
            } else if own.is_some() && is_own_done {
                request.place = Place::New;
                request.sent = true;
            }
            if request.handle().closed {
                return Ok(());
            }
            if all_done {
                return request.handle_mut().forget_end(begun);
            }
        }
        if request.handle().closed {
            return Ok(());
        }
        request.handle().check()
    }

    /// A save was acknowledged with this response.
    fn settle(&mut self, at: usize, told: &ClientCookie) -> Check {
        let request = &mut self.requests[at];
        let save = request.save();
        let rolls = save.rolls;
        let (plan, begun) = (save.plan, save.begun);
        let updated = save.updated.clone();
        let hidden = save.hidden.clone();
        let is_nothing = match plan {
            Plan::Nothing | Plan::Refuse => true,
            Plan::Refresh => updated.is_none(),
            _ => false,
        };
        self.seen.quiet += usize::from(updated.is_some() && *told == ClientCookie::Keep);
        self.seen.again += usize::from(request.has_failed && !is_nothing);
        request.handle_mut().drafted = 0;
        if is_nothing {
            if request.handle().closed {
                return Ok(());
            }
            return request.handle().check();
        }
        let is_ended = plan == Plan::Clear || plan == Plan::End && hidden.is_none();
        let (place, base) = match (updated, hidden) {
            _ if is_ended => (Place::New, None),
            (Some(record), _) => {
                let own = request.place.own().expect("it is stored");
                let base = (!record.is_empty()).then(|| record.view.dict.clone());
                (Place::Stored { own, record }, base)
            }
            (None, Some((own, record))) => {
                self.known[own].is_issued = true;
                let base = (!record.is_empty()).then(|| record.view.dict.clone());
                (Place::Stored { own, record }, base)
            }
            (None, None) => fail!("nothing was stored"),
        };
        self.seen.moved += usize::from(plan == Plan::Move);
        request.sent = !is_ended;
        // The end of a session that was never acknowledged forgets what it may have stored.
        request.may_leave |= is_ended;
        request.place = place;
        // Those of the client's other cookies live on, so a later logout ends them.
        if matches!(plan, Plan::End | Plan::Clear | Plan::Login) {
            request.others.clear();
        }
        request.login = false;
        request.is_forbidden = false;
        request.rolls &= !rolls;
        request.told = false;
        request.has_failed = false;
        let handle = request.handle_mut();
        let base = base.unwrap_or_else(|| handle.empty());
        if handle.closed {
            return Ok(());
        }
        handle.settle(begun, &base)
    }
}

/// Whether the client is told one of that. The cookie of an earlier save that was acknowledged
/// travels with the response if this one leaves the cookie alone.
fn is_told(request: &Request, expected: &[Outcome], cookie: Option<&ClientCookie>) -> bool {
    let Some(cookie) = cookie else { return true };
    let unsent = request.served.iter().flat_map(|served| &served.unsent);
    let unsent: Vec<&ClientCookie> = unsent.collect();
    expected.iter().any(|outcome| match outcome {
        Outcome::ClientCookie(ClientCookie::Keep) | Outcome::Ended if !unsent.is_empty() => {
            // A logout of a session that was replaced sends nothing.
            let may_forget = request.save().plan == Plan::End && *cookie == ClientCookie::Keep;
            unsent.contains(&cookie) || may_forget
        }
        Outcome::ClientCookie(told) => told == cookie,
        Outcome::Ended => *cookie == ClientCookie::Keep,
    })
}
