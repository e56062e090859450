//! Errors of the redis client as errors of this crate.
//!
//! Their text is for operators. It contains no key, no value and no password.

use std::io;
use std::time::Duration;

use redis::{ErrorKind as RedisKind, RedisError};
use session_core::{Error, ErrorKind};

use crate::classify::{is_syntax_error, refused_command};

/// The server refused a command, or the connection failed.
pub(crate) fn from_redis(error: &RedisError) -> Error {
    unavailable(&describe(error))
}

/// The response does not fit the command, so it acknowledges nothing.
pub(crate) fn unexpected() -> Error {
    unavailable("a response that does not fit the command")
}

/// Several calls together, or a wait for other saves of the session, took longer than `limit`.
pub(crate) fn not_done(limit: Duration) -> Error {
    unavailable(&format!("not done within {limit:?}"))
}

/// The address has the wrong shape. The text omits the address, which may contain a password.
pub(crate) fn bad_address(error: &RedisError) -> Error {
    // The client puts its own words first, then ` - ` and what it read.
    let text = error.to_string();
    let what = text.split(" - ").next().unwrap_or_default();
    let message = format!("not an address of a Redis server: {what}");
    Error::with_message(ErrorKind::Settings, message)
}

/// The call's time is up, and there is no connection or no response.
pub(crate) fn late(missing: &str, timeout: Duration) -> RedisError {
    io::Error::new(
        io::ErrorKind::TimedOut,
        format!("no {missing} within {timeout:?}"),
    )
    .into()
}

/// Makes an error of a text that contains no key, no value and no password.
fn unavailable(text: &str) -> Error {
    Error::new(ErrorKind::Unavailable, format!("redis: {text}"))
}

/// Returns the words for an operator.
pub(crate) fn describe(error: &RedisError) -> String {
    match error.code() {
        Some("ERR") if is_syntax_error(error) => {
            "ERR syntax error: sessions need Redis 7.0 or newer, or Valkey".into()
        }
        Some(code) => {
            let detail = error.detail().unwrap_or_default();
            match refused_command(detail) {
                Some(command) => {
                    format!("{code} this user has no permissions to run the '{command}' command")
                }
                None => Error::without_secrets(&format!(
                    "{code} {}",
                    without_arguments(without_script(detail))
                )),
            }
        }
        None if error.is_io_error() => error.to_string(),
        None if error.kind() == RedisKind::AuthenticationFailed => {
            // The redis crate drops the server's words, and these are the usual two.
            "the password was refused, or the server has reached its maxclients limit".into()
        }
        None => error.category().to_owned(),
    }
}

/// Cuts off the name of the script, which Redis appends: ` script: ` and 40 hexadecimal digits.
fn without_script(detail: &str) -> &str {
    let is_script = |rest: &str| {
        let name = rest.strip_prefix("f_").unwrap_or(rest);
        let digits = name.bytes().take_while(u8::is_ascii_hexdigit);
        digits.count() >= 40
    };
    match detail.split_once(" script: ") {
        Some((before, rest)) if is_script(rest) => before,
        _ => detail,
    }
}

/// Cuts off the arguments of a command that a server repeats.
///
/// Among them is the password, if the command is `HELLO` or `AUTH`. A password may look like any
/// word, so [`Error::without_secrets`] does not recognize it. Servers and proxies word this in
/// several ways:
///
/// - ``unknown command 'HELLO', with args beginning with: '3' 'AUTH' ..``
/// - ``ERR unknown command HELLO 3 AUTH ..``
fn without_arguments(detail: &str) -> &str {
    let detail = detail.split_once("with args").map_or(detail, |(it, _)| it);
    let names_a_command = |word: &str| {
        let name = word.trim_matches(|c: char| !c.is_ascii_alphanumeric());
        ["hello", "auth"]
            .iter()
            .any(|it| name.eq_ignore_ascii_case(it))
    };
    let mut words = detail.split_inclusive(char::is_whitespace);
    let mut end = 0;
    if detail.starts_with("unknown command") {
        end = words.by_ref().take(3).map(str::len).sum();
    } else {
        for word in words {
            end += word.len();
            if names_a_command(word) {
                break;
            }
        }
    }
    detail[..end].trim_end_matches([' ', ','])
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use super::*;

    const KEY: &str = "AIOHTTP_SESSION_0123456789abcdef0123456789abcdef";

    /// Returns the error that the client makes of an error line of Redis.
    fn response(line: &str) -> RedisError {
        let response = redis::parse_redis_value(format!("-{line}\r\n").as_bytes());
        response
            .and_then(redis::Value::extract_error)
            .expect_err("an error line")
    }

    fn source(error: &Error) -> String {
        error.source().map(ToString::to_string).unwrap_or_default()
    }

    #[test]
    fn an_operator_reads_the_message_of_the_server() {
        for line in [
            "LOADING Redis is loading the dataset in memory",
            "READONLY You can't write against a read only replica.",
            "OOM command not allowed when used memory > 'maxmemory'.",
            "MISCONF Redis is configured to save RDB snapshots, but it's unable to persist.",
            "CLUSTERDOWN The cluster is down",
            "NOPERM this user has no permissions to run the 'evalsha' command",
            "NOAUTH Authentication required.",
            "ERR max number of clients reached",
            "ERR The user executing the script can't run this command or subcommand",
        ] {
            let error = from_redis(&response(line));
            assert_eq!(error.kind(), ErrorKind::Unavailable);
            assert_eq!(source(&error), format!("redis: {line}"));
        }
    }

    #[test]
    fn the_missing_command_is_named_whatever_the_user_is_called() {
        let user = "a-user-with-a-long-name-of-the-sessions";
        let script = "0123456789abcdef0123456789abcdef01234567";
        for (line, shown) in [
            (
                format!("NOPERM User {user} has no permissions to run the 'evalsha' command"),
                "NOPERM this user has no permissions to run the 'evalsha' command",
            ),
            (
                format!(
                    "ERR ACL failure in script: User {user} has no permissions to run the 'set' \
                     command script: {script}, on @user_script:9."
                ),
                "ERR this user has no permissions to run the 'set' command",
            ),
            (
                format!(
                    "NOPERM User {user} has no permissions to run the 'client|setinfo' command"
                ),
                "NOPERM this user has no permissions to run the 'client|setinfo' command",
            ),
            (
                format!("NOPERM User x has no permissions to run the '{KEY} {KEY}' command"),
                "NOPERM User x has no permissions to run the",
            ),
        ] {
            assert_eq!(
                source(&from_redis(&response(&line))),
                format!("redis: {shown}")
            );
        }
    }

    #[test]
    fn an_error_repeats_no_key_and_no_value_of_a_refused_command() {
        for line in [
            format!("ERR unknown command 'GET', with args beginning with: '{KEY}' "),
            format!("ERR unknown command `GET`, with args beginning with: `{KEY}`, "),
            format!("NOPERM No permissions to access the key {KEY}"),
            "ERR unknown command 'SET', with args beginning with: '{\"secret\": 1}' ".into(),
            format!("ERR {KEY} is odd"),
            format!("ERR in script: \"{{secret}}\" {KEY}"),
        ] {
            let error = from_redis(&response(&line));
            let text = format!("{error} {error:?} {}", source(&error));
            assert!(!text.contains("0123456789abcdef"), "{text}");
            assert!(!text.contains("secret"), "{text}");
            let code = line.split(' ').next().unwrap_or_default();
            assert!(
                source(&error).starts_with(&format!("redis: {code}")),
                "{text}"
            );
        }
    }

    /// The password is short and looks like any other word.
    #[test]
    fn p10_an_error_repeats_no_argument_of_the_command_that_authenticates() {
        for (line, shown) in [
            (
                "ERR unknown command 'HELLO', with args beginning with: '3' 'AUTH' 'me' 'hunter2' ",
                "ERR unknown command 'HELLO'",
            ),
            (
                "ERR unknown command `AUTH`, with args beginning with: `hunter2`, ",
                "ERR unknown command `AUTH`",
            ),
            (
                "ERR unknown command HELLO 3 AUTH me hunter2",
                "ERR unknown command HELLO",
            ),
            (
                "ERR unknown command 'HELLO' '3' 'AUTH' 'me' 'hunter2'",
                "ERR unknown command 'HELLO'",
            ),
            (
                "ERR cannot parse: HELLO 3 AUTH me hunter2",
                "ERR cannot parse: HELLO",
            ),
            ("ERR not allowed: 'auth' hunter2", "ERR not allowed: 'auth'"),
            (
                "ERR unsupported command, with args: hunter2",
                "ERR unsupported command",
            ),
            (
                "ERR wrong number of arguments for 'hello' command",
                "ERR wrong number of arguments for 'hello'",
            ),
            (
                "NOAUTH Authentication required.",
                "NOAUTH Authentication required.",
            ),
        ] {
            let error = from_redis(&response(line));
            let text = format!("{error} {error:?}");
            assert!(!text.contains("hunter2"), "{text}");
            assert_eq!(source(&error), format!("redis: {shown}"));
        }
    }

    #[test]
    fn an_error_names_what_happened_to_the_connection() {
        let refused = io::Error::new(io::ErrorKind::ConnectionRefused, "connection refused");
        let error = from_redis(&refused.into());
        assert_eq!(source(&error), "redis: connection refused");
        let error = from_redis(&late("response", Duration::from_millis(250)));
        assert_eq!(source(&error), "redis: no response within 250ms");
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(source(&unexpected()).contains("does not fit"));
    }

    #[test]
    fn an_error_repeats_no_password() {
        let detail = "hunter2".to_owned();
        let refused = (RedisKind::AuthenticationFailed, "hunter2", detail.clone());
        let error = from_redis(&refused.into());
        let text = format!("{error} {error:?} {}", source(&error));
        assert!(!text.contains("hunter2"), "{text}");
        assert!(text.contains("password"), "{text}");
        let invalid = (RedisKind::InvalidClientConfig, "invalid port", detail);
        let error = bad_address(&invalid.into());
        assert_eq!(error.kind(), ErrorKind::Settings);
        let text = format!("{error} {error:?} {}", source(&error));
        assert!(!text.contains("hunter2"), "{text}");
        assert!(text.contains("invalid port"), "{text}");
    }

    #[test]
    fn a_wait_that_took_too_long_is_unavailable() {
        let error = not_done(Duration::from_secs(4));
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert_eq!(source(&error), "redis: not done within 4s");
    }
}
