//! When a session was written last: the member `created`.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::cookie::http_date::LAST_DATE;

/// The value of the member `created`.
#[derive(Clone)]
pub(super) enum Created {
    /// Unix seconds, as aiohttp_session writes them.
    At(u64),
    /// Another value that Python can use as a time. A record that is only touched keeps it as it
    /// is written.
    Other { seconds: f64, written: Box<str> },
    /// No value. Python then returns the present time, but counts the age from 1970.
    Missing { now: u64 },
}

impl Created {
    /// Reads a JSON value; `None` if Python cannot use it as a time.
    ///
    /// Python can use every number, `true`, `false` and `""`. `null` is the same as no value.
    pub(super) fn read(written: &[u8], now: u64) -> Option<Self> {
        // JSON integers have no leading zeros, so the number is written back as it was read.
        if written.len() < 16
            && let Some(seconds) = whole(written)
        {
            return Some(Self::At(seconds));
        }
        Self::read_other(written, now)
    }

    #[cold]
    fn read_other(written: &[u8], now: u64) -> Option<Self> {
        let written = std::str::from_utf8(written).ok()?;
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

    /// Returns how many seconds before `now` the time is; negative if it is later.
    pub(super) fn age(&self, now: u64) -> f64 {
        match self {
            Self::Missing { .. } => float(now),
            _ => float(now) - self.seconds(),
        }
    }

    /// Returns the time, at most the year 9999 away from 1970. A time that the operating system
    /// cannot represent, such as one before 1601 on Windows, is 1970.
    pub(super) fn time(&self) -> SystemTime {
        moved(UNIX_EPOCH, self.seconds())
    }

    fn seconds(&self) -> f64 {
        match self {
            Self::At(seconds) | Self::Missing { now: seconds } => float(*seconds),
            Self::Other { seconds, .. } => *seconds,
        }
    }
}

/// Returns the time `seconds` after `start`; `start` if there is no such time. It is at most as far
/// away as 1970 is from the end of the year 9999, the last year of HTTP dates and of many
/// calendars.
fn moved(start: SystemTime, seconds: f64) -> SystemTime {
    let distance = Duration::from_secs_f64(seconds.abs().min(float(LAST_DATE)));
    let time = if seconds < 0.0 {
        start.checked_sub(distance)
    } else {
        start.checked_add(distance)
    };
    time.unwrap_or(start)
}

/// Converts seconds. The result is exact up to 2^53, far beyond the year 9999.
#[expect(
    clippy::cast_precision_loss,
    reason = "beyond that, seconds do not matter"
)]
fn float(seconds: u64) -> f64 {
    seconds as f64
}

/// Reads a number without sign, fraction and exponent. It must have less than 20 digits.
#[inline]
fn whole(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0, |number, byte| {
        let digit = byte.wrapping_sub(b'0');
        (digit < 10).then(|| 10 * number + u64::from(digit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_700_000_000;

    fn read(written: &str) -> Option<Created> {
        Created::read(written.as_bytes(), NOW)
    }

    #[test]
    fn python_takes_any_number_and_what_counts_as_false() {
        for (written, seconds) in [
            ("0", 0.0),
            ("1700000000", 1.7e9),
            ("999999999999999", 999_999_999_999_999.0),
            ("1700000000.25", 1_700_000_000.25),
            ("-1", -1.0),
            ("-0.0", 0.0),
            ("17e8", 1.7e9),
            ("1E-999", 0.0),
            ("true", 1.0),
            ("false", 0.0),
            ("\"\"", 0.0),
            ("12345678901234567890", 12_345_678_901_234_567_890.0),
            ("1e999", f64::INFINITY),
            ("-1e999", f64::NEG_INFINITY),
        ] {
            let created = read(written).unwrap();
            let age = created.age(NOW);
            assert_eq!(age.to_bits(), (1.7e9 - seconds).to_bits(), "{written}");
            if let Created::Other { written: kept, .. } = created {
                assert_eq!(&*kept, written);
            }
        }
        for written in [
            "\"1\"",
            "\"x\"",
            "[]",
            "[1]",
            "{}",
            "{\"a\": 1}",
            "\"inf\"",
            "\"NaN\"",
        ] {
            assert!(read(written).is_none(), "{written}");
        }
    }

    #[test]
    fn whole_seconds_are_not_kept_as_text() {
        assert!(matches!(
            read("1700000001"),
            Some(Created::At(1_700_000_001))
        ));
        assert!(matches!(
            read("1234567890123456"),
            Some(Created::Other { .. })
        ));
        assert!(matches!(read("1.0"), Some(Created::Other { .. })));
    }

    #[test]
    fn without_a_date_the_time_is_now_and_the_age_counts_from_1970() {
        let created = read("null").unwrap();
        assert_eq!(created.time(), UNIX_EPOCH + Duration::from_secs(NOW));
        assert!((1_700_000_010.0..1_700_000_010.1).contains(&created.age(NOW + 10)));
    }

    #[test]
    fn a_time_is_at_most_the_year_9999_away_from_1970() {
        let latest = Duration::from_secs(LAST_DATE);
        for (written, time) in [
            ("0", UNIX_EPOCH),
            ("1.5", UNIX_EPOCH + Duration::from_millis(1500)),
            ("-1.5", UNIX_EPOCH - Duration::from_millis(1500)),
            ("1e999", UNIX_EPOCH + latest),
            ("253402300800", UNIX_EPOCH + latest),
            ("-1e300", UNIX_EPOCH - latest),
        ] {
            assert_eq!(read(written).unwrap().time(), time, "{written}");
        }
        assert_eq!(Created::At(u64::MAX).time(), UNIX_EPOCH + latest);
    }

    /// On Windows there is no time before 1601. A client can write such a record into a plain
    /// cookie.
    #[test]
    fn a_time_that_cannot_be_represented_is_no_panic() {
        for (direction, is_possible) in [
            (-1.0, SystemTime::checked_sub as fn(&_, _) -> _),
            (1.0, SystemTime::checked_add),
        ] {
            let mut edge = UNIX_EPOCH;
            for exponent in (0..64).rev() {
                edge = is_possible(&edge, Duration::from_secs(1 << exponent)).unwrap_or(edge);
            }
            assert_eq!(moved(edge, direction * 1e12), edge);
            assert_ne!(moved(edge, direction * -1e12), edge);
        }
    }
}
