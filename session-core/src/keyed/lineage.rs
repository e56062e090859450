//! Which records belong to one session.

use crate::record::Record;
use crate::session::identity::Identity;

/// A session's public handle, computed only when it is needed.
///
/// The handle is the hash of the identity under which the session began. A renewal copies it into
/// the new record, so that two records can be recognized as the same session. A record without a
/// handle was never renewed, or Python wrote it and dropped the handle.
#[derive(Clone)]
pub(super) struct Lineage {
    carried: Option<Box<str>>,
    identity: Identity,
}

impl Lineage {
    /// Makes the lineage of the session that `record` holds under `identity`.
    pub(super) fn of(record: &Record, identity: &Identity) -> Self {
        Self {
            carried: record.handle.clone(),
            identity: identity.clone(),
        }
    }

    /// Returns the handle.
    pub(super) fn handle(&self) -> Box<str> {
        match &self.carried {
            Some(handle) => handle.clone(),
            None => self.identity.handle().into(),
        }
    }

    /// Returns whether `record`, found at the session's key, belongs to the session. If not, the
    /// application used an identity twice.
    pub(super) fn owns(&self, record: &Record) -> bool {
        record
            .handle
            .as_ref()
            .is_none_or(|handle| *handle == self.handle())
    }
}
