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
    pub(crate) set: BTreeSet<EntryId>,
    /// Entries of the session's record that were removed.
    pub(crate) removed: BTreeSet<EntryId>,
    /// All entries were removed, including those that another request adds until the save.
    pub(crate) cleared: bool,
    /// `changed()` was called: save although no key was set.
    pub(crate) touched: bool,
    /// The session got a lifetime of its own.
    pub(crate) lifetime: bool,
    /// What happens to the identity.
    pub(crate) identity: IdentityChange,
}

/// What a save does with the session's identity. The later variants win over the earlier ones.
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

    /// Puts `earlier`, the delta of a save that failed, underneath this one.
    pub(crate) fn put_below(&mut self, earlier: Self) {
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
        self.set.extend(earlier.set);
        self.removed.extend(earlier.removed);
    }

    /// Applies the changed keys to `target`. `source` is the record that the entries belong to.
    ///
    /// Returns the delta's keys as entries of `target`.
    pub(crate) fn apply(
        &self,
        source: &Record,
        target: &mut Record,
    ) -> (BTreeSet<EntryId>, BTreeSet<EntryId>) {
        if self.cleared {
            target.clear();
        }
        let removed = self
            .removed
            .iter()
            .filter_map(|id| target.remove(&source.entry(*id).0))
            .collect();
        let set = self
            .set
            .iter()
            .filter_map(|id| match source.entry(*id) {
                (name, Some(value)) => Some(target.set(&name, value.to_owned())),
                (_, None) => None, // set and then removed
            })
            .collect();
        (set, removed)
    }
}
