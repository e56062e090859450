//! The client's errors as ours: a kind to act on, and a text for operators in which no key, value or
//! password can be.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::time::Duration;

use redis::{ErrorKind as RedisKind, RedisError};
use session_core::{Error, ErrorKind};

/// What the server or the connection said.
#[derive(Debug)]
struct Failure(String);

/// The server did not do what it was asked.
pub(crate) fn unavailable(error: &RedisError) -> Error {
    Error::new(ErrorKind::Unavailable, Failure(text(error)))
}

/// An answer of another shape than the command's: nothing is known to be done.
pub(crate) fn unexpected() -> Error {
    let text = "an answer that does not fit the command".to_owned();
    Error::new(ErrorKind::Unavailable, Failure(text))
}

/// The address, which may hold a password, is left out.
pub(crate) fn settings(error: &RedisError) -> Error {
    let message = format!("no address of a Redis server: {}", error.category());
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

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "redis: {}", self.0)
    }
}

impl StdError for Failure {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_servers_say_is_passed_on_and_what_they_repeat_is_not() {
        for said in [
            "LOADING Redis is loading the dataset in memory",
            "READONLY You can't write against a read only replica.",
            "OOM command not allowed when used memory > 'maxmemory'.",
            "NOPERM this user has no permissions to run the 'get' command",
            "WRONGPASS invalid username-password pair or user is disabled.",
            "MOVED 3999 127.0.0.1:6381",
        ] {
            let known = said.replace("username-password pair or user is disabled.", "");
            assert!(plain(said).starts_with(known.trim_end()), "{said}");
        }
        let repeated = "ERR unknown command 'GET', with args beginning with: \
                        'sid_0123456789abcdef0123456789abcdef' ";
        let plain_part = "ERR unknown command 'GET', with args beginning with:";
        assert_eq!(plain(repeated), plain_part);
        assert_eq!(plain("ERR {\"created\": 1}"), "ERR");
        assert_eq!(plain("sid_0123456789abcdef no"), "");
    }
}
