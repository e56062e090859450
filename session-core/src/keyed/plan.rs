//! Decides what a save has to do, before the store is called.

use crate::session::state::{EndedBy, Origin, Place};
use crate::session::{Delta, IdentityChange};

/// What a save does.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Plan {
    /// Nothing: the store and the cookie stay as they are.
    Nothing,
    /// Store the changed record under the identity that the session has.
    Update,
    /// Restart the lifetime of a rolling session that was only read.
    Refresh,
    /// Store the record under a fresh identity, because it was renewed or got another user. Leave a
    /// tombstone at the old one.
    Renew,
    /// Store a new record.
    Create,
    /// Store a new record, and end the sessions of the client's cookies.
    Login,
    /// End the session, and the sessions of the client's other cookies. Then store a new record if
    /// a key was set after the end.
    End,
    /// End the session because it was cleared.
    Clear,
    /// Refuse: a newer cookie is on its way to the client, or another request ended the session.
    Refuse,
}

/// What a plan depends on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Situation<'a> {
    pub(super) place: &'a Place,
    pub(super) origin: &'a Origin,
    pub(super) delta: &'a Delta,
    /// The read of a rolling session restarts its lifetime.
    pub(super) is_refresh: bool,
    /// The session holds no key now.
    pub(super) is_empty: bool,
    /// The save gives the session of a store another user.
    pub(super) is_login: bool,
}

impl Plan {
    pub(super) fn of(it: Situation<'_>) -> Self {
        if it.origin.is_login {
            return if it.is_empty { Self::End } else { Self::Login };
        }
        if it.delta.identity == IdentityChange::End {
            return Self::End;
        }
        let renews = it.delta.identity == IdentityChange::Rotate || it.is_login;
        match it.place {
            Place::InStore { emptied: false, .. } => {
                if it.delta.cleared && it.is_empty {
                    Self::Clear
                } else if renews {
                    Self::Renew
                } else if it.delta.is_change() {
                    Self::Update
                } else if it.is_refresh {
                    Self::Refresh
                } else {
                    Self::Nothing
                }
            }
            Place::InStore { emptied: true, .. } if it.is_empty => Self::Nothing,
            place => {
                let is_ended = it.origin.ended_by.is_some_and(EndedBy::refuses_changes);
                if is_ended && (renews || !it.is_empty) {
                    Self::Refuse
                } else if it.is_empty {
                    Self::Nothing
                } else if matches!(place, Place::InStore { .. }) {
                    Self::Renew
                } else {
                    Self::Create
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::stored::Stored;
    use crate::session::identity::Identity;

    use IdentityChange::{End, Keep, Rotate};

    fn in_store(emptied: bool) -> Place {
        Place::InStore {
            identity: Identity::parse("0123456789abcdef").unwrap(),
            seen: Stored::new("{}"),
            emptied,
        }
    }

    fn delta(identity: IdentityChange, touched: bool, cleared: bool) -> Delta {
        Delta {
            cleared,
            touched,
            identity,
            ..Delta::default()
        }
    }

    /// The rows: emptied, identity change, changed, cleared, refresh, empty; and the plan.
    #[test]
    fn plans_of_a_loaded_session() {
        for (emptied, identity, is_changed, cleared, is_refresh, is_empty, plan) in [
            (false, Keep, false, false, false, false, Plan::Nothing),
            (false, Keep, true, false, false, false, Plan::Update),
            (false, Keep, true, false, false, true, Plan::Update),
            (false, Keep, false, false, true, false, Plan::Refresh),
            (false, Keep, true, false, true, false, Plan::Update),
            (false, Keep, true, true, false, false, Plan::Update),
            (false, Keep, true, true, false, true, Plan::Clear),
            (false, Rotate, false, false, false, false, Plan::Renew),
            (false, Rotate, true, true, false, true, Plan::Clear),
            // Another request may have added a key, which then moves along.
            (false, Rotate, true, false, false, true, Plan::Renew),
            (false, End, false, false, false, true, Plan::End),
            (false, End, true, false, false, false, Plan::End),
            (true, Keep, false, false, false, true, Plan::Nothing),
            (true, Rotate, true, false, false, true, Plan::Nothing),
            (true, Keep, true, false, false, false, Plan::Renew),
            (true, End, false, false, false, true, Plan::End),
        ] {
            let situation = Situation {
                place: &in_store(emptied),
                origin: &Origin::default(),
                delta: &delta(identity, is_changed, cleared),
                is_refresh,
                is_empty,
                is_login: false,
            };
            assert_eq!(Plan::of(situation), plan, "{situation:?}");
        }
    }

    /// A save that gives a stored session another user moves it. Only an end comes first.
    #[test]
    fn plans_of_a_save_that_changes_the_user() {
        for (identity, cleared, plan) in [
            (Keep, false, Plan::Renew),
            (Keep, true, Plan::Renew),
            (Rotate, false, Plan::Renew),
            (End, false, Plan::End),
        ] {
            let situation = Situation {
                place: &in_store(false),
                origin: &Origin::default(),
                delta: &delta(identity, true, cleared),
                is_refresh: false,
                is_empty: false,
                is_login: true,
            };
            assert_eq!(Plan::of(situation), plan, "{situation:?}");
        }
    }

    #[test]
    fn plans_of_a_new_session() {
        for (ended_by, identity, is_empty, plan) in [
            (None, Keep, true, Plan::Nothing),
            (None, Rotate, true, Plan::Nothing),
            (None, Keep, false, Plan::Create),
            (None, End, true, Plan::End),
            (Some(EndedBy::Revoked), Keep, false, Plan::Create),
            (Some(EndedBy::Revoked), Rotate, true, Plan::Nothing),
            (Some(EndedBy::Logout), Keep, true, Plan::Nothing),
            (Some(EndedBy::Logout), Keep, false, Plan::Refuse),
            (Some(EndedBy::Login), Keep, false, Plan::Refuse),
            (Some(EndedBy::Renewal), Keep, false, Plan::Refuse),
            (Some(EndedBy::Renewal), Rotate, true, Plan::Refuse),
            (Some(EndedBy::Login), End, false, Plan::End),
        ] {
            let situation = Situation {
                place: &Place::Unsaved,
                origin: &Origin {
                    ended_by,
                    ..Origin::default()
                },
                delta: &delta(identity, !is_empty, false),
                is_refresh: false,
                is_empty,
                is_login: false,
            };
            assert_eq!(Plan::of(situation), plan, "{situation:?}");
        }
    }

    #[test]
    fn plans_of_a_login() {
        for (is_empty, plan) in [(false, Plan::Login), (true, Plan::End)] {
            let situation = Situation {
                place: &Place::Unsaved,
                origin: &Origin {
                    is_login: true,
                    ..Origin::default()
                },
                delta: &delta(Keep, !is_empty, false),
                is_refresh: false,
                is_empty,
                is_login: false,
            };
            assert_eq!(Plan::of(situation), plan, "{situation:?}");
        }
    }
}
