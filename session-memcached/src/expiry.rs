//! memcached's `exptime` (memcached `doc/protocol.txt`, "Expiration times").

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// 30 days in seconds. An exptime up to this counts from now; a larger one is a Unix time.
const MAX_RELATIVE: u32 = 60 * 60 * 24 * 30;

/// A Unix time in January 1970: an item that is stored with it has expired already.
pub(crate) const EXPIRED: u32 = MAX_RELATIVE + 1;

/// Returns the exptime of a record that is kept for `time_to_live`, in whole seconds from `now`; 0
/// is no limit.
///
/// memcached 1.6 reads a time as a signed 32-bit number: one after January 2038 would be in the
/// past. Such a record gets no limit. Its session expires nevertheless, by the dates in the record.
pub(crate) fn exptime(time_to_live: Option<Duration>, now: SystemTime) -> u32 {
    let Some(time_to_live) = time_to_live else {
        return 0;
    };
    let seconds = time_to_live.as_secs().max(1);
    if seconds <= u64::from(MAX_RELATIVE) {
        return u32::try_from(seconds).unwrap_or(MAX_RELATIVE);
    }
    let now = now
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    let end = i32::try_from(now.saturating_add(seconds)).unwrap_or(0);
    u32::try_from(end).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn up_to_thirty_days_are_relative_and_more_is_a_date() {
        let now = UNIX_EPOCH + Duration::from_millis(1_700_000_000_750);
        let of = |seconds| exptime(Some(Duration::from_secs(seconds)), now);
        assert_eq!(exptime(None, now), 0);
        assert_eq!(of(1), 1);
        assert_eq!(of(2_592_000), 2_592_000);
        assert_eq!(of(2_592_001), 1_702_592_001);
        assert_eq!(of(0), 1, "0 would be no limit");
        assert_eq!(of(447_483_647), 2_147_483_647, "the last that fits");
        assert_eq!(of(447_483_648), 0, "no limit");
        assert_eq!(of(u64::MAX), 0);
    }
}
