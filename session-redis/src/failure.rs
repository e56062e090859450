//! The client's errors as ours: a kind to act on, and a text for operators in which no key, value or
//! password can be.

use std::io;
use std::time::Duration;

use redis::{ErrorKind as RedisKind, RedisError};
use session_core::{Error, ErrorKind};

/// The server did not do what it was asked.
pub(crate) fn unavailable(error: &RedisError) -> Error {
    said(&text(error))
}

/// An answer of another shape than the command's: nothing is known to be done.
pub(crate) fn unexpected() -> Error {
    said("an answer that does not fit the command")
}

/// `text` holds no key and no value.
fn said(text: &str) -> Error {
    Error::new(ErrorKind::Unavailable, format!("redis: {text}"))
}

/// Says what is wrong with an address, and not the address, which may hold a password.
pub(crate) fn settings(error: &RedisError) -> Error {
    // The client's own words; what it read stands after them.
    let text = error.to_string();
    let what = text.split(" - ").next().unwrap_or_default();
    let message = format!("no address of a Redis server: {what}");
    Error::with_message(ErrorKind::Settings, message)
}

pub(crate) fn no_answer(timeout: Duration) -> RedisError {
    io::Error::new(
        io::ErrorKind::TimedOut,
        format!("no answer within {timeout:?}"),
    )
    .into()
}

/// Returns whether the key holds something else than a string.
pub(crate) fn is_wrong_type(error: &RedisError) -> bool {
    error.code() == Some("WRONGTYPE")
}

fn text(error: &RedisError) -> String {
    match error.code() {
        Some(code) => {
            // In a script Redis adds which one.
            let detail = error.detail().unwrap_or_default();
            let detail = detail.split(" script: ").next().unwrap_or_default();
            plain(&format!("{code} {detail}"))
        }
        None if error.is_io_error() => error.to_string(),
        None if error.kind() == RedisKind::AuthenticationFailed => {
            "the password was refused".into()
        }
        None => error.category().to_owned(),
    }
}

/// Returns what a server said up to the first word that may be no word: it repeats the arguments of a
/// command that it does not know. Keys and identities have 16 characters at least, records a brace.
fn plain(said: &str) -> String {
    let is_plain = |word: &&str| {
        word.len() < 16
            && word
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"'\"`.,:;>-_/()@".contains(&b))
    };
    let words: Vec<&str> = said.split_whitespace().take_while(is_plain).collect();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use super::*;

    const KEY: &str = "AIOHTTP_SESSION_0123456789abcdef0123456789abcdef";

    /// What Redis said, as the client hands it on.
    fn answer(line: &str) -> RedisError {
        let answer = redis::parse_redis_value(format!("-{line}\r\n").as_bytes());
        answer
            .and_then(redis::Value::extract_error)
            .expect_err("an error line")
    }

    fn source(error: &Error) -> String {
        error.source().map(ToString::to_string).unwrap_or_default()
    }

    #[test]
    fn an_operator_reads_what_the_server_said() {
        for line in [
            "LOADING Redis is loading the dataset in memory",
            "READONLY You can't write against a read only replica.",
            "OOM command not allowed when used memory > 'maxmemory'.",
            "MISCONF Redis is configured to save RDB snapshots, but it's unable to persist to disk.",
            "CLUSTERDOWN The cluster is down",
            "NOPERM this user has no permissions to run the 'evalsha' command",
            "NOAUTH Authentication required.",
            "ERR max number of clients reached",
            "ERR The user executing the script can't run this command or subcommand",
        ] {
            let error = unavailable(&answer(line));
            assert_eq!(error.kind(), ErrorKind::Unavailable);
            assert_eq!(source(&error), format!("redis: {line}"));
        }
    }

    #[test]
    fn no_key_and_no_value_of_a_refused_command_is_repeated() {
        for line in [
            format!("ERR unknown command 'GET', with args beginning with: '{KEY}' "),
            format!("ERR unknown command `GET`, with args beginning with: `{KEY}`, "),
            format!("NOPERM No permissions to access the key {KEY}"),
            "ERR unknown command 'SET', with args beginning with: '{\"secret\": 1}' ".into(),
            format!("ERR {KEY} is odd"),
            format!("ERR in script: \"{{secret}}\" {KEY}"),
        ] {
            let error = unavailable(&answer(&line));
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

    #[test]
    fn what_the_connection_met_is_named() {
        let refused = io::Error::new(io::ErrorKind::ConnectionRefused, "connection refused");
        let error = unavailable(&refused.into());
        assert_eq!(source(&error), "redis: connection refused");
        let error = unavailable(&no_answer(Duration::from_millis(250)));
        assert_eq!(source(&error), "redis: no answer within 250ms");
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(source(&unexpected()).contains("does not fit"));
    }

    #[test]
    fn no_password_is_repeated() {
        let detail = "hunter2".to_owned();
        let refused = (RedisKind::AuthenticationFailed, "hunter2", detail.clone());
        let error = unavailable(&refused.into());
        let text = format!("{error} {error:?} {}", source(&error));
        assert!(!text.contains("hunter2"), "{text}");
        assert!(text.contains("password"), "{text}");
        let invalid = (RedisKind::InvalidClientConfig, "invalid port", detail);
        let error = settings(&invalid.into());
        assert_eq!(error.kind(), ErrorKind::Settings);
        let text = format!("{error} {error:?} {}", source(&error));
        assert!(!text.contains("hunter2"), "{text}");
        assert!(text.contains("invalid port"), "{text}");
    }

    #[test]
    fn a_key_of_another_type_is_known() {
        let line = "WRONGTYPE Operation against a key holding the wrong kind of value";
        assert!(is_wrong_type(&answer(line)));
        assert!(!is_wrong_type(&answer("ERR WRONGTYPE")));
    }
}
