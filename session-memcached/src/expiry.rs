//! memcached's `exptime` (memcached `doc/protocol.txt`, "Expiration times").

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Up to here an exptime counts from now, beyond it is a Unix time: 30 days.
const RELATIVE: u32 = 60 * 60 * 24 * 30;

/// A time that is over, in whichever year: what is stored with it is gone at once.
pub(crate) const OVER: u32 = RELATIVE + 1;

/// Returns the exptime of a record that lives for `ttl`, whole seconds, from `now` on; 0 is for ever.
///
/// memcached 1.6 takes a time for a signed number of 32 bits: one beyond January 2038 would be long over.
/// Such a record has no end there, but its session has, by the record's own dates.
pub(crate) fn exptime(ttl: Option<Duration>, now: SystemTime) -> u32 {
    let Some(ttl) = ttl else { return 0 };
    let seconds = ttl.as_secs().max(1);
    if seconds <= u64::from(RELATIVE) {
        return u32::try_from(seconds).unwrap_or(RELATIVE);
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
    fn thirty_days_are_relative_and_more_is_a_date() {
        let now = UNIX_EPOCH + Duration::from_millis(1_700_000_000_750);
        let of = |seconds| exptime(Some(Duration::from_secs(seconds)), now);
        assert_eq!(exptime(None, now), 0);
        assert_eq!(of(1), 1);
        assert_eq!(of(2_592_000), 2_592_000);
        assert_eq!(of(2_592_001), 1_702_592_001);
        assert_eq!(of(0), 1, "0 would be for ever");
        assert_eq!(of(447_483_647), 2_147_483_647, "the last that fits");
        assert_eq!(of(447_483_648), 0, "none");
        assert_eq!(of(u64::MAX), 0);
    }
}
