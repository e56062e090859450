//! One request's session, and beside it a plain dict and a list of what was done to it.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::test_runner::TestCaseError;
use session_core::{ErrorKind, Session};

use crate::steps::{Edit, KEYS};

/// A check that holds, or says what does not.
pub(crate) type Check<T = ()> = Result<T, TestCaseError>;

/// Ends a check that does not hold.
macro_rules! fail {
    ($($text:tt)+) => {
        return Err(proptest::test_runner::TestCaseError::fail(format!($($text)+)))
    };
}
pub(crate) use fail;

/// Fails unless the condition holds.
macro_rules! must {
    ($holds:expr, $($text:tt)+) => {
        if !$holds {
            crate::handle::fail!($($text)+);
        }
    };
}
pub(crate) use must;

/// What a session holds.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Dict {
    pub(crate) data: BTreeMap<String, u64>,
    pub(crate) max_age: Option<Duration>,
}

impl Dict {
    pub(crate) fn of(session: &Session) -> Self {
        let keys = session.keys();
        let value = |key: &String| session.get(key).unwrap().unwrap();
        let data: BTreeMap<_, _> = keys.iter().map(|key| (key.clone(), value(key))).collect();
        assert_eq!((data.len(), keys.len()), (session.len(), session.len()));
        Self {
            data,
            max_age: session.max_age(),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.data.is_empty()
    }

    /// This, after what was done.
    pub(crate) fn after(&self, done: &[Done]) -> Self {
        let mut next = self.clone();
        for done in done {
            match &done.what {
                What::Set(key, value) => drop(next.data.insert(key.clone(), *value)),
                What::Removed(key) => drop(next.data.remove(key)),
                What::Cleared => next.data.clear(),
                // Of what was there nothing is left, its own lifetime neither.
                What::Invalidated(max_age) => {
                    next.data.clear();
                    next.max_age = *max_age;
                }
                What::MaxAge(max_age) => next.max_age = *max_age,
                What::Touched | What::Renewed => {}
            }
        }
        next
    }
}

/// A change, and when it was made.
#[derive(Clone, Debug)]
pub(crate) struct Done {
    pub(crate) what: What,
    pub(crate) at: u64,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum What {
    Set(String, u64),
    Removed(String),
    Cleared,
    MaxAge(Option<Duration>),
    Touched,
    Renewed,
    /// The session gets the usual lifetime back, this one.
    Invalidated(Option<Duration>),
}

impl Done {
    /// Restarts the session's lifetime.
    pub(crate) fn writes(&self) -> bool {
        matches!(self.what, What::Set(..) | What::Removed(_) | What::Cleared)
    }

    /// Sets this key.
    pub(crate) fn sets(&self, key: &str) -> bool {
        matches!(&self.what, What::Set(set, _) if set == key)
    }

    /// Gives the session a lifetime of its own.
    pub(crate) fn sets_age(&self) -> bool {
        matches!(self.what, What::MaxAge(_))
    }
}

pub(crate) fn invalidates(done: &[Done]) -> bool {
    done.iter()
        .any(|done| matches!(done.what, What::Invalidated(_)))
}

pub(crate) fn has(done: &[Done], what: &What) -> bool {
    done.iter().any(|done| done.what == *what)
}

/// A session in a handler's hands.
pub(crate) struct Handle {
    pub(crate) session: Session,
    /// What it holds.
    local: Dict,
    /// What was done since it was loaded or last saved.
    done: Vec<Done>,
    /// How many of these the save that runs took out of the session.
    pub(crate) drafted: usize,
    /// The response's headers have left.
    pub(crate) closed: bool,
    /// What an invalidation leaves.
    usual_max_age: Option<Duration>,
}

impl Handle {
    pub(crate) fn new(session: Session, usual_max_age: Option<Duration>) -> Self {
        Self {
            local: Dict::of(&session),
            session,
            done: Vec::new(),
            drafted: 0,
            closed: false,
            usual_max_age,
        }
    }

    /// What there is to save.
    pub(crate) fn done(&self) -> &[Done] {
        &self.done
    }

    /// What the session holds.
    pub(crate) fn local(&self) -> &Dict {
        &self.local
    }

    /// What a new session holds.
    pub(crate) fn empty(&self) -> Dict {
        Dict {
            max_age: self.usual_max_age,
            ..Dict::default()
        }
    }

    /// Does to the session what a handler does, and checks what it sees of it.
    pub(crate) fn change(&mut self, edit: &Edit, fresh: u64, now: u64) -> Check {
        let session = &self.session;
        let before = Dict::of(session);
        if self.closed {
            for refused in refusals(session, edit) {
                must!(
                    refused == Err(ErrorKind::Committed),
                    "P8: {edit:?}: {refused:?}"
                );
            }
            must!(
                Dict::of(session) == before,
                "P8: changed after its headers left"
            );
            return Ok(());
        }
        let has = |key: &str| before.data.contains_key(key);
        let what = match edit {
            Edit::Insert(key) => {
                session.insert(KEYS[*key], fresh).unwrap();
                Some(What::Set(KEYS[*key].into(), fresh))
            }
            Edit::Update(key) => {
                let mut seen = None;
                let change = |value: Option<u64>| {
                    seen = value;
                    fresh
                };
                session.update(KEYS[*key], change).unwrap();
                must!(
                    seen == before.data.get(KEYS[*key]).copied(),
                    "update saw {seen:?}"
                );
                Some(What::Set(KEYS[*key].into(), fresh))
            }
            Edit::Remove(key) => {
                let found = session.remove(KEYS[*key]).unwrap();
                must!(found == has(KEYS[*key]), "remove said {found}");
                found.then(|| What::Removed(KEYS[*key].into()))
            }
            Edit::RemoveAll => {
                for key in KEYS {
                    let found = session.remove(key).unwrap();
                    must!(found == has(key), "remove said {found}");
                }
                None
            }
            Edit::Clear => {
                session.clear().unwrap();
                (!before.is_empty()).then_some(What::Cleared)
            }
            Edit::MaxAge(seconds) => {
                let max_age = seconds.map(Duration::from_secs);
                session.set_max_age(max_age).unwrap();
                Some(What::MaxAge(max_age))
            }
            Edit::Touch => {
                session.changed().unwrap();
                Some(What::Touched)
            }
            Edit::Renew => {
                session.renew().unwrap();
                Some(What::Renewed)
            }
            Edit::Invalidate => {
                session.invalidate().unwrap();
                Some(What::Invalidated(self.usual_max_age))
            }
        };
        let mut done = Vec::from_iter(what.map(|what| Done { what, at: now }));
        if matches!(edit, Edit::RemoveAll) {
            let keys = before.data.keys().cloned().map(What::Removed);
            done.extend(keys.map(|what| Done { what, at: now }));
        }
        let expected = before.after(&done);
        let after = Dict::of(session);
        must!(
            after == expected,
            "{edit:?} left {after:?}, not {expected:?}"
        );
        self.local = after;
        self.done.extend(done);
        self.check()
    }

    /// Sets a value that is none of the random ones.
    pub(crate) fn set(&mut self, key: &str, value: u64, now: u64) -> Check {
        if self.closed {
            return Ok(());
        }
        self.session.insert(key, value).unwrap();
        self.note(What::Set(key.into(), value), now)
    }

    /// Removes a value that is none of the random ones.
    pub(crate) fn remove(&mut self, key: &str, now: u64) -> Check {
        if self.closed || !self.session.remove(key).unwrap() {
            return Ok(());
        }
        self.note(What::Removed(key.into()), now)
    }

    fn note(&mut self, what: What, at: u64) -> Check {
        let done = Done { what, at };
        self.local = self.local.after(std::slice::from_ref(&done));
        self.done.push(done);
        self.check()
    }

    /// The session was ended, and the storage has told it.
    pub(crate) fn was_invalidated(&mut self, at: u64) {
        let what = What::Invalidated(self.usual_max_age);
        self.local = self.empty();
        self.done.push(Done { what, at });
    }

    /// A save was acknowledged that saved the first `begun` changes and left `base`. What was done
    /// while it ran is still to be saved, on top of that.
    pub(crate) fn settle(&mut self, begun: usize, base: &Dict) -> Check {
        self.done.drain(..begun);
        self.drafted = 0;
        self.local = base.after(&self.done);
        self.drop_vain(base);
        self.check()
    }

    /// What was set and removed again while a save ran is nothing to save.
    fn drop_vain(&mut self, base: &Dict) {
        let local = &self.local;
        self.done.retain(|done| match &done.what {
            What::Set(key, _) | What::Removed(key) => {
                base.data.contains_key(key) || local.data.contains_key(key)
            }
            _ => true,
        });
    }

    /// A save of the first `begun` changes carried out the end of the session. What was set after
    /// it is still to be saved.
    pub(crate) fn forget_end(&mut self, begun: usize) -> Check {
        let ends = |done: &Done| matches!(done.what, What::Invalidated(_));
        if let Some(end) = self.done[..begun].iter().rposition(ends) {
            self.done.drain(..=end);
        }
        self.check()
    }

    /// The session holds what it must: nothing that a save did or failed to do changed that.
    pub(crate) fn check(&self) -> Check {
        let (now, expected) = (Dict::of(&self.session), &self.local);
        let done = &self.done;
        must!(
            now == *expected,
            "the session holds {now:?}, not {expected:?}, after {done:?}"
        );
        let is_changed = self.session.is_changed();
        must!(
            is_changed == (done.len() > self.drafted),
            "is_changed() is {is_changed} after {done:?}"
        );
        Ok(())
    }
}

/// Tries a change, and what else a handler could try, after the headers left.
fn refusals(session: &Session, edit: &Edit) -> [Result<(), ErrorKind>; 2] {
    let tried = match edit {
        Edit::Insert(key) => session.insert(KEYS[*key], 0),
        Edit::Update(key) => session.update(KEYS[*key], |_: Option<u64>| 0).map(drop),
        Edit::Remove(key) => session.remove(KEYS[*key]).map(drop),
        Edit::RemoveAll | Edit::Clear => session.clear(),
        Edit::MaxAge(_) => session.set_max_age(None),
        Edit::Touch => session.changed(),
        Edit::Renew => session.renew(),
        Edit::Invalidate => session.invalidate(),
    };
    let taken = session.take::<u64>(KEYS[0]).map(drop);
    [tried, taken].map(|refused| refused.map_err(|error| error.kind()))
}
