//! The stored record that a save's changes are applied to.

use bytes::Bytes;

use crate::keyed::KeyedStorage;
use crate::keyed::backend::{Backend, Found};
use crate::keyed::lineage::Lineage;
use crate::keyed::load::Opened;
use crate::record::stored::Stored;
use crate::session::Draft;

/// The stored value that a draft's record contains, and the session that it belongs to.
pub(super) struct Base {
    value: Bytes,
    lineage: Lineage,
}

/// What became of a draft when another request had changed the session.
pub(super) enum Rebased {
    /// The session is no longer there.
    Gone,
    /// The draft's changes are applied to what is stored now.
    Merged {
        stored: Stored,
        /// The draft gives the session another user than the one that is stored now.
        is_login: bool,
    },
}

impl Base {
    pub(super) fn new(seen: &Stored, lineage: Lineage) -> Self {
        Self {
            value: seen.value().clone(),
            lineage,
        }
    }

    /// Returns whether the key still holds it.
    pub(super) fn is(&self, found: &Found) -> bool {
        matches!(found, Found::Value(stored) if *stored.value() == self.value)
    }

    /// Applies the draft's changes to `found`, which becomes the base.
    pub(super) fn rebase<B: Backend>(
        &mut self,
        storage: &KeyedStorage<B>,
        draft: &mut Draft,
        found: &Found,
    ) -> Rebased {
        match (storage.open(found, storage.config.unix_now()), found) {
            (Opened::Record(record), Found::Value(stored)) if self.lineage.owns(&record) => {
                let is_login = storage.gives_user(draft, &record);
                draft.merge(record);
                self.value = stored.value().clone();
                Rebased::Merged {
                    stored: stored.clone(),
                    is_login,
                }
            }
            _ => Rebased::Gone,
        }
    }
}
