//! When a session expires, and how long its cookie and its record are kept.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::clock::unix_seconds;
use crate::config::SessionConfig;
use crate::record::{Lifetime, Record};
use crate::session::state::max_age;

/// Returns whether the session of `record` has expired at `now`, in Unix seconds.
pub(crate) fn is_expired(config: &SessionConfig, record: &Record, now: u64) -> bool {
    let outlived =
        max_age(config, record).is_some_and(|max_age| record.age(now) > max_age.as_secs_f64());
    let absolute = config
        .cookie()
        .absolute_max_age()
        .is_some_and(|absolute| now.saturating_sub(started(record)) > absolute.as_secs());
    outlived || absolute
}

/// Returns whether a read at `now` restarts the lifetime: in a rolling storage, after a tenth of
/// it.
pub(crate) fn is_refresh_due(config: &SessionConfig, record: &Record, now: u64) -> bool {
    config.cookie().is_rolling()
        && !record.is_empty()
        && max_age(config, record)
            .is_some_and(|max_age| record.age(now) * 10.0 >= max_age.as_secs_f64())
}

/// Returns when the session began, in Unix seconds. Without that in the record, it is the time of
/// the last write.
pub(crate) fn started(record: &Record) -> u64 {
    record
        .started
        .unwrap_or_else(|| unix_seconds(record.created()))
}

/// Returns how long the browser keeps the cookie; `None`: until it closes.
pub(crate) fn cookie_max_age(config: &SessionConfig, record: &Record) -> Option<Duration> {
    if record.lifetime == Lifetime::Default && !config.cookie().is_persistent() {
        return None;
    }
    let max_age = max_age(config, record)?;
    Some(left(config, record).map_or(max_age, |left| left.min(max_age)))
}

/// Returns how long the session lives after a write now; `None`: without limit.
pub(crate) fn remaining(config: &SessionConfig, record: &Record) -> Option<Duration> {
    match (max_age(config, record), left(config, record)) {
        (Some(max_age), Some(left)) => Some(max_age.min(left)),
        (max_age, left) => max_age.or(left),
    }
}

/// Returns when the session ends unless something is written to it; `None`: never by itself.
pub(crate) fn expires_at(config: &SessionConfig, record: &Record) -> Option<SystemTime> {
    let by_age = max_age(config, record).and_then(|max_age| record.created().checked_add(max_age));
    let by_start = config.cookie().absolute_max_age().and_then(|absolute| {
        UNIX_EPOCH.checked_add(Duration::from_secs(started(record)).saturating_add(absolute))
    });
    match (by_age, by_start) {
        (Some(by_age), Some(by_start)) => Some(by_age.min(by_start)),
        (by_age, by_start) => by_age.or(by_start),
    }
}

/// Returns what is left of the absolute lifetime, at least a second; `None` if there is no such
/// limit.
fn left(config: &SessionConfig, record: &Record) -> Option<Duration> {
    let absolute = config.cookie().absolute_max_age()?.as_secs();
    let end = started(record).saturating_add(absolute);
    Some(Duration::from_secs(
        end.saturating_sub(config.unix_now()).max(1),
    ))
}
