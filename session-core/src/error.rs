//! The one error type.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

/// A result whose error is [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a session could not be loaded, changed or saved.
///
/// What a *client* sends never ends here: a forged, expired or unreadable cookie is an empty new
/// session. Neither `Display` nor `Debug` shows an identity, key, cookie value or session value. The
/// cause, a backend client's error if there is one, is left to [`source`](StdError::source); `Debug` shows
/// that of a backend that did not answer.
#[derive(Clone)]
pub struct Error {
    kind: ErrorKind,
    message: Cow<'static, str>,
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

/// What a caller can decide on.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The backend did not answer, did not acknowledge, or refused: nothing is known to be saved. A
    /// retry may succeed. (Also an operating system without random bytes.) An adapter answers 503.
    Unavailable,
    /// Another request ended this session (a logout, a login, a renewal) while this one was
    /// changing it. The change is dropped. An adapter answers 409.
    Ended,
    /// So many others wrote this session at the same time that the bounded retries ran out. The
    /// change is dropped; a retry may succeed. An adapter answers 503.
    Contended,
    /// The session does not fit where it lives, and nothing was saved: the cookie's name and value are
    /// over 4096 bytes together, which a browser drops, or the record is over what the store takes
    /// (memcached: 1 MiB unless its `-I` says otherwise). An adapter answers 500.
    TooLarge,
    /// The change came after the session had been committed with its response.
    Committed,
    /// A session value does not fit the type that was asked for, or cannot be written as JSON.
    Value,
    /// A setting that cannot work, or no session service around the handler; the text says what to do.
    Settings,
    /// [`set_new_identity`](crate::Session::set_new_identity) on a session that is not new, or
    /// with an identity that the store holds already.
    Identity,
}

impl Error {
    /// Makes an error of `kind` that was caused by `source`.
    ///
    /// A backend's own errors must not carry session contents in their text.
    pub fn new(kind: ErrorKind, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self {
            kind,
            message: Cow::Borrowed(kind.text()),
            source: Some(Arc::from(source.into())),
        }
    }

    /// Makes an error of `kind` with a text of its own, which must not hold a secret.
    pub fn with_message(kind: ErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            kind,
            message: message.into(),
            source: None,
        }
    }

    /// Returns what a caller can decide on.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }
}

impl From<ErrorKind> for Error {
    fn from(kind: ErrorKind) -> Self {
        Self::with_message(kind, kind.text())
    }
}

impl ErrorKind {
    fn text(self) -> &'static str {
        match self {
            Self::Unavailable => "the session backend did not answer",
            Self::Ended => "the session was ended by another request",
            Self::Contended => "too many requests changed the session at the same time",
            Self::TooLarge => "the session is too large",
            Self::Committed => "the session was already committed with its response",
            Self::Value => "the session value does not fit",
            Self::Settings => "the session settings cannot work",
            Self::Identity => "the identity cannot be set",
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Error");
        debug
            .field("kind", &self.kind)
            .field("message", &self.message);
        match &self.source {
            // What a backend said, which `main` should print when it cannot start.
            Some(source) if self.kind == ErrorKind::Unavailable => {
                debug.field("source", &format_args!("{source}"));
            }
            source => {
                debug.field("has_source", &source.is_some());
            }
        }
        debug.finish()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source
            .as_deref()
            .map(|source| source as &(dyn StdError + 'static))
    }
}
