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

/// The server did not do what it was asked. `key` is not to appear, should the server repeat it.
pub(crate) fn unavailable(error: &RedisError, key: &str) -> Error {
    Error::new(ErrorKind::Unavailable, Failure(text(error, key)))
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

fn text(error: &RedisError, key: &str) -> String {
    match error.code() {
        Some(code) => {
            // Redis repeats the arguments of a command that it does not know, in quotes.
            let detail = error.detail().unwrap_or_default();
            let end = detail.find(['\'', '"', '`']).unwrap_or(detail.len());
            let detail = detail[..end].trim_end();
            if key.is_empty() || !detail.contains(key) {
                format!("{code} {detail}")
            } else {
                code.to_owned()
            }
        }
        None if error.is_io_error() => error.to_string(),
        None if error.kind() == RedisKind::AuthenticationFailed => {
            "the password was refused".into()
        }
        None => error.category().to_owned(),
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "redis: {}", self.0)
    }
}

impl StdError for Failure {}
