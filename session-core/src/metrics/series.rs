//! The names and labels of all time series.

use crate::metrics::{Count, Timing};

/// The labels of a time series beside `cookie`.
pub(super) type Labels = &'static [(&'static str, &'static str)];

/// The counters, in the order of [`Count`].
pub(super) const COUNTERS: [(Count, &str, Labels); 20] = [
    (Count::LoadLoaded, LOADS, &[("outcome", "loaded")]),
    (Count::LoadNew, LOADS, &[("outcome", "new")]),
    (Count::LoadUnknown, LOADS, &[("outcome", "unknown")]),
    (Count::LoadFailed, LOADS, &[("outcome", "failed")]),
    (Count::SaveSaved, SAVES, &[("outcome", "saved")]),
    (Count::SaveRefused, SAVES, &[("outcome", "refused")]),
    (Count::SaveFailed, SAVES, &[("outcome", "failed")]),
    (Count::EndEnded, ENDS, &[("outcome", "ended")]),
    (Count::EndRefused, ENDS, &[("outcome", "refused")]),
    (Count::EndFailed, ENDS, &[("outcome", "failed")]),
    (Count::Conflict, "session_conflicts_total", &[]),
    (Count::Retry, "session_retries_total", &[]),
    (Count::TombstoneOfLogout, TOMBSTONES, &[("of", "logout")]),
    (Count::TombstoneOfLogin, TOMBSTONES, &[("of", "login")]),
    (Count::TombstoneOfRenewal, TOMBSTONES, &[("of", "renewal")]),
    (
        Count::TombstoneOfRevocation,
        TOMBSTONES,
        &[("of", "revocation")],
    ),
    (Count::Drop, "session_drops_total", &[]),
    (Count::Unreadable, "session_unreadable_total", &[]),
    (
        Count::RevokedByApplication,
        REVOCATIONS,
        &[("by", "application")],
    ),
    (Count::RevokedByLimit, REVOCATIONS, &[("by", "limit")]),
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
