//! Translates errors of the connection and of memcached into session errors. The text is for
//! operators, and contains no key and no value.

use std::fmt::Display;
use std::io;

use session_core::{Error, ErrorKind};

/// memcached's response to an item over the size of its `-I`, as in memcached 1.6.
const TOO_LARGE: &str = "SERVER_ERROR object too large";

/// memcached's response to a store command when the item's slab class has no memory left.
pub(crate) const OUT_OF_MEMORY: &str = "SERVER_ERROR out of memory storing object";

/// Translates an error of a round trip.
pub(crate) fn from_io(error: &io::Error) -> Error {
    let text = match error.kind() {
        // What memcached responded.
        io::ErrorKind::Other => Error::without_secrets(&error.to_string()),
        io::ErrorKind::UnexpectedEof => "the connection was closed".to_owned(),
        _ => error.to_string(),
    };
    let kind = if text.starts_with(TOO_LARGE) {
        ErrorKind::TooLarge
    } else {
        ErrorKind::Unavailable
    };
    Error::new(kind, format!("memcached: {text}"))
}

/// Returns whether the connection was closed, by the other side or on the way, before the whole
/// response had arrived. The command may have been carried out.
pub(crate) fn is_dropped(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::UnexpectedEof
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
    )
}

/// Makes the error for a record that memcached has no memory for.
pub(crate) fn out_of_memory() -> Error {
    unavailable(OUT_OF_MEMORY)
}

/// Makes an error of a text that holds no key and no value.
pub(crate) fn unavailable(text: impl Display) -> Error {
    Error::new(ErrorKind::Unavailable, format!("memcached: {text}"))
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use super::*;

    const KEY: &str = "AIOHTTP_SESSION_0123456789abcdef0123456789abcdef";

    fn source(error: &Error) -> String {
        error.source().map(ToString::to_string).unwrap_or_default()
    }

    #[test]
    fn an_operator_reads_what_memcached_responded() {
        for (line, kind) in [
            (OUT_OF_MEMORY, ErrorKind::Unavailable),
            (
                "SERVER_ERROR object too large for cache",
                ErrorKind::TooLarge,
            ),
            ("CLIENT_ERROR bad data chunk", ErrorKind::Unavailable),
            ("ERROR", ErrorKind::Unavailable),
        ] {
            let error = from_io(&io::Error::other(format!("{line}\r\n")));
            assert_eq!(error.kind(), kind);
            assert_eq!(source(&error), format!("memcached: {line}"));
        }
    }

    #[test]
    fn no_key_and_no_value_of_a_refused_command_is_repeated() {
        for line in [
            format!("SERVER_ERROR cannot store {KEY}"),
            format!("CLIENT_ERROR {KEY} is odd"),
            r#"CLIENT_ERROR bad data {"created": 1, "session": {"a": "secret"}}"#.into(),
            format!("ERROR add {KEY} 0 60 6 secret"),
        ] {
            let error = from_io(&io::Error::other(line.clone()));
            let text = format!("{error} {error:?} {}", source(&error));
            assert!(!text.contains("0123456789abcdef"), "{text}");
            assert!(!text.contains("secret"), "{text}");
            let kind = line.split(' ').next().unwrap_or_default();
            assert!(source(&error).starts_with(&format!("memcached: {kind}")));
        }
    }

    #[test]
    fn an_error_of_the_connection_is_named() {
        let refused = io::Error::new(io::ErrorKind::ConnectionRefused, "connection refused");
        assert_eq!(source(&from_io(&refused)), "memcached: connection refused");
        let closed = io::ErrorKind::UnexpectedEof.into();
        assert_eq!(
            source(&from_io(&closed)),
            "memcached: the connection was closed"
        );
    }
}
