//! The names and labels of all time series.

use crate::metrics::{Counter, Timing};

/// The labels of a time series beside `cookie`.
pub(super) type Labels = &'static [(&'static str, &'static str)];

/// The counters, in the order of [`Counter`].
pub(super) const COUNTERS: [(Counter, &str, Labels); 20] = [
    (Counter::LoadLoaded, LOADS, &[("outcome", "loaded")]),
    (Counter::LoadNew, LOADS, &[("outcome", "new")]),
    (Counter::LoadUnknown, LOADS, &[("outcome", "unknown")]),
    (Counter::LoadFailed, LOADS, &[("outcome", "failed")]),
    (Counter::SaveSaved, SAVES, &[("outcome", "saved")]),
    (Counter::SaveRefused, SAVES, &[("outcome", "refused")]),
    (Counter::SaveFailed, SAVES, &[("outcome", "failed")]),
    (Counter::EndEnded, ENDS, &[("outcome", "ended")]),
    (Counter::EndRefused, ENDS, &[("outcome", "refused")]),
    (Counter::EndFailed, ENDS, &[("outcome", "failed")]),
    (Counter::Conflict, "session_conflicts_total", &[]),
    (Counter::Retry, "session_retries_total", &[]),
    (Counter::TombstoneOfLogout, TOMBSTONES, &[("of", "logout")]),
    (Counter::TombstoneOfLogin, TOMBSTONES, &[("of", "login")]),
    (
        Counter::TombstoneOfRenewal,
        TOMBSTONES,
        &[("of", "renewal")],
    ),
    (
        Counter::TombstoneOfRevocation,
        TOMBSTONES,
        &[("of", "revocation")],
    ),
    (Counter::Drop, "session_drops_total", &[]),
    (Counter::Unreadable, "session_unreadable_total", &[]),
    (
        Counter::RevokedByApplication,
        REVOCATIONS,
        &[("by", "application")],
    ),
    (Counter::RevokedByLimit, REVOCATIONS, &[("by", "limit")]),
];

const LOADS: &str = "session_loads_total";
const SAVES: &str = "session_saves_total";
const ENDS: &str = "session_ends_total";
const TOMBSTONES: &str = "session_tombstones_total";
const REVOCATIONS: &str = "session_revocations_total";

/// The histograms, in the order of [`Timing`].
pub(super) const DURATIONS: [(&str, Timing); 3] = [
    ("session_load_duration_seconds", Timing::Load),
    ("session_save_duration_seconds", Timing::Save),
    ("session_save_wait_seconds", Timing::Wait),
];

/// What each metric says.
pub(super) const DESCRIPTIONS: [(&str, &str); 12] = [
    (LOADS, "Loads of sessions by requests"),
    (SAVES, "Saves of changed sessions by requests"),
    (ENDS, "Saves that end a session, such as logouts"),
    (
        "session_conflicts_total",
        "Writes that found a newer record in the store",
    ),
    (
        "session_retries_total",
        "Failed calls that a logout or login repeated",
    ),
    (
        TOMBSTONES,
        "Loads that found the tombstone of an ended session",
    ),
    (
        "session_drops_total",
        "Sessions whose changes a server error dropped",
    ),
    (
        "session_unreadable_total",
        "Stored records that are unreadable",
    ),
    (
        REVOCATIONS,
        "Sessions of users that were ended from elsewhere",
    ),
    ("session_load_duration_seconds", "How long loads took"),
    (
        "session_save_duration_seconds",
        "How long saves and ends took",
    ),
    (
        "session_save_wait_seconds",
        "How long saves waited for other saves of their session",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_series_stand_in_the_order_of_what_they_count() {
        for (at, (count, ..)) in COUNTERS.iter().enumerate() {
            assert_eq!(*count as usize, at, "{count:?}");
        }
        for (at, (_, timing)) in DURATIONS.iter().enumerate() {
            assert_eq!(*timing as usize, at, "{timing:?}");
        }
    }

    #[test]
    fn every_metric_is_described_once() {
        let mut used: Vec<&str> = COUNTERS.iter().map(|(_, name, _)| *name).collect();
        used.extend(DURATIONS.map(|(name, _)| name));
        used.dedup();
        assert_eq!(used, DESCRIPTIONS.map(|(name, _)| name));
    }
}
