//! What one request did to its session.

use std::collections::BTreeSet;

use crate::record::{EntryId, Record};

/// The changes that a request made since the session was loaded or saved.
///
/// A save takes the delta out of the session and works on it. Meanwhile the session collects the
/// next one.
#[derive(Debug, Default)]
pub(crate) struct Delta {
    /// Entries of the session's record that were set.
    pub(crate) set: EntrySet,
    /// Entries of the session's record that were removed.
    pub(crate) removed: EntrySet,
    /// All entries were removed, including those that another request adds until the save.
    pub(crate) cleared: bool,
    /// `changed()` was called: save although no key was set.
    pub(crate) touched: bool,
    /// The session got a lifetime of its own.
    pub(crate) lifetime: bool,
    /// What happens to the identity.
    pub(crate) identity: IdentityChange,
}

/// What a save does with the session's identity. A later variant wins over an earlier one.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum IdentityChange {
    /// The session keeps its identity.
    #[default]
    Keep,
    /// `renew()`: the data moves to a fresh identity.
    Rotate,
    /// `invalidate()`: the session ends. What is set afterwards starts another one.
    End,
}

impl Delta {
    /// Returns whether a key was set or removed.
    pub(crate) fn is_written(&self) -> bool {
        self.cleared || !self.set.is_empty() || !self.removed.is_empty()
    }

    /// Returns whether there is anything to save.
    pub(crate) fn is_change(&self) -> bool {
        self.is_written() || self.touched || self.lifetime || self.identity != IdentityChange::Keep
    }

    /// Returns whether the entry of `name` was set. `source` is the record that the entries belong
    /// to.
    pub(crate) fn sets(&self, source: &Record, name: &str) -> bool {
        self.set.iter().any(|id| source.entry(id).0 == name)
    }

    /// Puts `earlier`, the delta of a save that failed, underneath this one.
    pub(crate) fn put_below(&mut self, earlier: &Self) {
        if self.identity == IdentityChange::End {
            return; // the session was emptied after the failed save began
        }
        self.touched |= earlier.touched;
        self.lifetime |= earlier.lifetime;
        self.identity = self.identity.max(earlier.identity);
        if self.cleared {
            return; // nothing that was set or removed before is left
        }
        self.cleared = earlier.cleared;
        earlier.set.iter().for_each(|id| self.set.insert(id));
        earlier
            .removed
            .iter()
            .for_each(|id| self.removed.insert(id));
    }

    /// Applies the changed keys to `target`. `source` is the record that the entries belong to.
    ///
    /// Returns the entries of `target` that were set and removed.
    pub(crate) fn apply(&self, source: &Record, target: &mut Record) -> (EntrySet, EntrySet) {
        if self.cleared {
            target.clear();
        }
        let mut removed = EntrySet::default();
        for id in self.removed.iter() {
            if let Some(id) = target.remove(&source.entry(id).0) {
                removed.insert(id);
            }
        }
        let mut set = EntrySet::default();
        for id in self.set.iter() {
            // An entry without a value was set and then removed.
            if let (name, Some(value)) = source.entry(id) {
                set.insert(target.set(&name, value.to_owned()));
            }
        }
        (set, removed)
    }
}

/// A set of entries. Most requests set one key, so the first one needs no allocation.
#[derive(Debug, Default)]
pub(crate) struct EntrySet {
    first: Option<EntryId>,
    more: BTreeSet<EntryId>,
}

impl EntrySet {
    pub(crate) fn insert(&mut self, id: EntryId) {
        if *self.first.get_or_insert(id) != id {
            self.more.insert(id);
        }
    }

    pub(crate) fn remove(&mut self, id: EntryId) {
        if !self.more.remove(&id) && self.first == Some(id) {
            self.first = self.more.pop_first();
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    fn iter(&self) -> impl Iterator<Item = EntryId> {
        self.first.into_iter().chain(self.more.iter().copied())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_set_is_a_set() {
        let mut record = Record::new(0);
        let [a, b, c] = ["a", "b", "c"].map(|name| record.set(name, "1".into()));
        let mut set = EntrySet::default();
        assert!(set.is_empty());
        for id in [b, a, c, b, a] {
            set.insert(id);
        }
        let mut all: Vec<EntryId> = set.iter().collect();
        all.sort();
        assert_eq!(all, [a, b, c]);
        set.remove(b);
        set.remove(b);
        let mut left: Vec<EntryId> = set.iter().collect();
        left.sort();
        assert_eq!(left, [a, c]);
        set.remove(a);
        set.remove(c);
        assert!(set.is_empty());
    }
}
