//! The commands that read and write a session's key.
//!
//! Each command names one key, so a cluster can route it.

use std::sync::LazyLock;
use std::time::Duration;

use redis::{Cmd, Script};
use session_core::keyed::Write;

/// Compare-and-set and compare-and-delete.
///
/// `KEYS[1]` is the key and `ARGV[1]` the value that it must hold. `ARGV[2]` is the new value and
/// `ARGV[3]` its time to live in seconds. Without a new value the key is deleted. Without a time to
/// live the value is kept until it is deleted.
///
/// Returns 1 if the key was written, nil if the key is missing, or else the value that the key
/// holds.
const SCRIPT: &str = "\
local value = redis.call('GET', KEYS[1])
if value ~= ARGV[1] then
  return value
end
if not ARGV[2] then
  redis.call('DEL', KEYS[1])
elseif not ARGV[3] then
  redis.call('SET', KEYS[1], ARGV[2])
else
  redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[3])
end
return 1
";

/// Longer times to live are capped at 100 years, because Redis refuses one that overflows its
/// clock.
const MAX_TTL: Duration = Duration::from_secs(100 * 366 * 24 * 3600);

/// More bytes than the names, options and numbers of a command have.
const OVERHEAD: usize = 32;

/// Makes a command that returns the value of `key`, or nil if the key is missing.
pub(crate) fn get(key: &str) -> Cmd {
    let mut command = Cmd::with_capacity(2, OVERHEAD + key.len());
    command.arg("GET").arg(key);
    command
}

/// Makes a command that stores `write` if `key` is missing.
///
/// It returns what the key held before, like [`get`]. So nil means that the value was stored. Redis
/// accepts `NX` together with `GET` since version 7.0.
pub(crate) fn set_if_missing(key: &str, write: &Write) -> Cmd {
    let value = &write.value()[..];
    let mut command = Cmd::with_capacity(7, OVERHEAD + key.len() + value.len());
    command.arg("SET").arg(key).arg(value).arg("NX").arg("GET");
    if let Some(ttl) = write.time_to_live() {
        command.arg("EX").arg(seconds(ttl));
    }
    command
}

/// The condition that a key still holds the value that was read.
#[derive(Clone, Copy)]
pub(crate) struct Unchanged<'a> {
    pub(crate) key: &'a str,
    pub(crate) value: &'a [u8],
}

impl Unchanged<'_> {
    fn len(self) -> usize {
        self.key.len() + self.value.len()
    }
}

/// Makes a command that stores `write` if the key is unchanged.
///
/// It returns what the key held before. So the old value means that the new one was stored. Valkey
/// knows it since version 8.1 and Redis since version 8.4. Other servers reply with a syntax error.
pub(crate) fn set_if_equal(old: Unchanged<'_>, write: &Write) -> Cmd {
    let value = &write.value()[..];
    let mut command = Cmd::with_capacity(8, OVERHEAD + old.len() + value.len());
    command.arg("SET").arg(old.key).arg(value);
    command.arg("IFEQ").arg(old.value).arg("GET");
    if let Some(ttl) = write.time_to_live() {
        command.arg("EX").arg(seconds(ttl));
    }
    command
}

/// Makes the two commands that delete an unchanged key and return 1 if they did: `DELIFEQ` (Valkey
/// 9.0) and `DELEX` (Redis 8.4).
pub(crate) fn delete_if_equal(old: Unchanged<'_>) -> [Cmd; 2] {
    let size = OVERHEAD + old.len();
    let mut valkey = Cmd::with_capacity(3, size);
    valkey.arg("DELIFEQ").arg(old.key).arg(old.value);
    let mut redis = Cmd::with_capacity(4, size);
    redis.arg("DELEX").arg(old.key).arg("IFEQ").arg(old.value);
    [valkey, redis]
}

/// A call of the compare-and-set script.
#[derive(Clone, Copy)]
pub(crate) struct CompareAndSet<'a> {
    pub(crate) old: Unchanged<'a>,
    /// `None` deletes the key.
    pub(crate) new: Option<&'a Write>,
}

impl CompareAndSet<'_> {
    /// Makes the command that names the script by its hash.
    ///
    /// A server that has not seen the script refuses it with `NOSCRIPT`.
    pub(crate) fn by_hash(self) -> Cmd {
        static HASHED: LazyLock<Script> = LazyLock::new(|| Script::new(SCRIPT));
        self.command("EVALSHA", HASHED.get_hash())
    }

    /// Makes the command that contains the script. The server remembers it.
    pub(crate) fn in_full(self) -> Cmd {
        self.command("EVAL", SCRIPT)
    }

    fn command(self, name: &str, script: &str) -> Cmd {
        let Self { old, new } = self;
        let value = new.map_or(&[][..], |write| write.value());
        let size = OVERHEAD + script.len() + old.len() + value.len();
        let mut command = Cmd::with_capacity(7, size);
        command.arg(name).arg(script).arg(1);
        command.arg(old.key).arg(old.value);
        if let Some(write) = new {
            command.arg(value);
            if let Some(ttl) = write.time_to_live() {
                command.arg(seconds(ttl));
            }
        }
        command
    }
}

fn seconds(ttl: Duration) -> u64 {
    ttl.min(MAX_TTL).as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "AIOHTTP_SESSION_0123456789abcdef0123456789abcdef";
    const OLD: Unchanged<'_> = Unchanged {
        key: KEY,
        value: b"old",
    };
    const MINUTE: Option<Duration> = Some(Duration::from_secs(60));

    /// Returns the words of a command, with `KEY` and `SCRIPT` for the key and the script.
    fn words(command: &Cmd) -> Vec<String> {
        let words = command.args_iter().map(|word| match word {
            redis::Arg::Simple(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            _ => panic!("a word of another kind"),
        });
        let words = words.map(|word| match &*word {
            KEY => "KEY".into(),
            SCRIPT => "SCRIPT".into(),
            _ => word,
        });
        words.collect()
    }

    #[test]
    fn a_value_is_stored_with_its_time_to_live_or_without_one() {
        let command = set_if_missing(KEY, &Write::record("{}", None));
        assert_eq!(words(&command), ["SET", "KEY", "{}", "NX", "GET"]);
        let command = set_if_missing(KEY, &Write::record("{}", MINUTE));
        assert_eq!(
            words(&command),
            ["SET", "KEY", "{}", "NX", "GET", "EX", "60"]
        );
        let command = set_if_missing(KEY, &Write::record("{}", Some(Duration::MAX)));
        assert_eq!(words(&command)[6], MAX_TTL.as_secs().to_string());
    }

    #[test]
    fn a_comparison_is_a_command_where_the_server_has_one() {
        let command = set_if_equal(OLD, &Write::record("{}", None));
        assert_eq!(words(&command), ["SET", "KEY", "{}", "IFEQ", "old", "GET"]);
        let command = set_if_equal(OLD, &Write::record("{}", MINUTE));
        assert_eq!(words(&command)[6..], ["EX", "60"]);
        let [valkey, redis] = delete_if_equal(OLD);
        assert_eq!(words(&valkey), ["DELIFEQ", "KEY", "old"]);
        assert_eq!(words(&redis), ["DELEX", "KEY", "IFEQ", "old"]);
    }

    #[test]
    fn the_script_has_one_key_and_only_the_arguments_that_it_needs() {
        let (forever, minute) = (Write::record("{}", None), Write::record("{}", MINUTE));
        for (new, more) in [
            (None, &[][..]),
            (Some(&forever), &["{}"]),
            (Some(&minute), &["{}", "60"]),
        ] {
            let call = CompareAndSet { old: OLD, new };
            let expected = [&["EVAL", "SCRIPT", "1", "KEY", "old"], more].concat();
            assert_eq!(words(&call.in_full()), expected);
            let by_hash = words(&call.by_hash());
            assert_eq!(by_hash[0], "EVALSHA");
            assert_eq!(by_hash[1].len(), 40, "SHA-1 in hexadecimal digits");
            assert_eq!(by_hash[2..], expected[2..]);
        }
    }
}
