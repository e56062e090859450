//! When a session was written last: the member `created`.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The end of the year 9999 in Unix seconds. Calendars and HTTP dates end there.
const LATEST: f64 = 253_402_300_799.0;

/// The value of `created`.
#[derive(Clone)]
pub(super) enum Created {
    /// Unix seconds, as aiohttp_session writes them.
    At(u64),
    /// A value that Python takes for a time, though aiohttp_session does not write it. A record
    /// that is only touched keeps it as it is written.
    Other { seconds: f64, written: Box<str> },
    /// The record has no `created`. Python then returns the present time, but counts the age from 1970.
    Missing { now: u64 },
}

impl Created {
    /// Reads the JSON value `written`; `None` if Python takes no time from it.
    ///
    /// Python takes any number, `true`, and what counts as false: `null` is the same as no member.
    pub(super) fn read(written: &str, now: u64) -> Option<Self> {
        // JSON integers have no leading zero, so this one is written back as it was read.
        if written.len() < 16
            && let Ok(seconds) = written.parse()
        {
            return Some(Self::At(seconds));
        }
        let seconds = match written {
            "null" => return Some(Self::Missing { now }),
            "true" => 1.0,
            "false" | "\"\"" => 0.0,
            number => number.parse().ok()?,
        };
        Some(Self::Other {
            seconds,
            written: written.into(),
        })
    }

    /// Returns how many seconds before `now` the session was written; negative in the future.
    pub(super) fn age(&self, now: u64) -> f64 {
        match self {
            Self::Missing { .. } => float(now),
            _ => float(now) - self.seconds(),
        }
    }

    /// Returns the time, at most the year 9999 away from 1970.
    pub(super) fn time(&self) -> SystemTime {
        let seconds = self.seconds();
        let distance = Duration::from_secs_f64(seconds.abs().min(LATEST));
        if seconds < 0.0 {
            UNIX_EPOCH - distance
        } else {
            UNIX_EPOCH + distance
        }
    }

    fn seconds(&self) -> f64 {
        match self {
            Self::At(seconds) | Self::Missing { now: seconds } => float(*seconds),
            Self::Other { seconds, .. } => *seconds,
        }
    }
}

/// Converts seconds. A float is exact up to 2^53, and the year 9999 is far below that.
#[expect(clippy::cast_precision_loss)]
fn float(seconds: u64) -> f64 {
    seconds as f64
}
