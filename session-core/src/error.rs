//! The one error type.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

/// A result whose error is [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a session could not be loaded, changed or saved.
///
/// Client input never causes an error: a forged, expired or unreadable cookie is an empty new
/// session.
///
/// Neither `Display` nor `Debug` shows an identity, an encryption key, a cookie value or a session
/// value. The text of [`ErrorKind::Value`] names the session key if that is printable ASCII of at
/// most 64 characters. So a name that a client chose cannot fill or forge a log. `Display` leaves
/// the cause to [`source`](StdError::source). `Debug` shows the cause of
/// [`ErrorKind::Unavailable`], so that a `main` that returns the error shows why it cannot start.
#[derive(Clone)]
pub struct Error {
    kind: ErrorKind,
    message: Cow<'static, str>,
    source: Option<Arc<dyn StdError + Send + Sync>>,
    /// The error was logged where it happened, and must not be logged again.
    is_logged: bool,
}

/// The kind of an error, on which a caller can decide what to do.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The store did not respond, did not acknowledge, or refused. The change may be saved or not.
    /// A retry may succeed. Also used if the operating system has no random bytes. Adapters respond
    /// with 503.
    Unavailable,
    /// Another request ended, renewed or replaced this session while this request changed it. The
    /// change is dropped. Adapters respond with 409.
    Ended,
    /// So many requests wrote this session at the same time that the retries ran out. The change
    /// is dropped. A retry may succeed. Adapters respond with 503.
    Contended,
    /// The session is too large for its cookie or its store, and nothing was saved. A cookie's name
    /// and value have at most 4096 bytes together, because browsers drop larger ones. memcached
    /// stores at most 1 MiB unless its `-I` says otherwise. Adapters respond with 500.
    TooLarge,
    /// The change came after the response's headers had left. Adapters respond with 500.
    Committed,
    /// A session value has another type than requested, or cannot be written as JSON. Adapters
    /// respond with 500.
    Value,
    /// A setting cannot work, or the request passed no session service. The text says what to do.
    /// Adapters respond with 500.
    Settings,
    /// [`set_new_identity`](crate::Session::set_new_identity) was called on a session that is not
    /// new, or with an identity that the store already holds. Adapters respond with 500.
    Identity,
}

impl Error {
    /// Makes an error of `kind` that was caused by `source`. Its text is that of the kind, and logs
    /// show the source after it.
    ///
    /// The text of `source` must not hold session contents.
    pub fn new(kind: ErrorKind, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self {
            kind,
            message: Cow::Borrowed(kind.text()),
            source: Some(Arc::from(source.into())),
            is_logged: false,
        }
    }

    /// Makes an error of `kind` with a text of its own, which must not hold a secret.
    pub fn with_message(kind: ErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            kind,
            message: message.into(),
            source: None,
            is_logged: false,
        }
    }

    /// Returns the text of a store's response up to the first word that may be a secret.
    ///
    /// A store may repeat the command that it refused, with its key and its value. A backend uses
    /// this for what it puts into the source of an error. Session keys and identities are longer
    /// than any word that is kept. The braces and quotation marks of a JSON record end the text,
    /// too. White space becomes single spaces.
    ///
    /// This does not recognize a password or a session value that is a short word.
    ///
    /// ```
    /// # use session_core::Error;
    /// let response = "ERR cannot store sid_0123456789abcdef";
    /// assert_eq!(Error::without_secrets(response), "ERR cannot store");
    /// ```
    pub fn without_secrets(response: &str) -> String {
        /// An identity has at least 16 characters.
        const MAX_WORD: usize = 15;
        let is_harmless = |word: &&str| {
            let mut bytes = word.bytes();
            word.len() <= MAX_WORD
                && bytes.all(|b| b.is_ascii_alphanumeric() || b"'`.,:;>-_/()@".contains(&b))
        };
        let words = response.split_whitespace().take_while(is_harmless);
        words.collect::<Vec<_>>().join(" ")
    }

    /// Returns the kind, on which a caller can decide what to do.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    pub(crate) fn is_logged(&self) -> bool {
        self.is_logged
    }

    pub(crate) fn logged(mut self) -> Self {
        self.is_logged = true;
        self
    }
}

/// Logs a save that failed. A session that another request ended was logged by its storage.
pub(crate) fn log_unsaved(cookie: &str, error: Error) -> Error {
    if error.kind() != ErrorKind::Ended {
        tracing::error!(
            target: "session::save",
            cookie,
            op = "save",
            kind = ?error.kind(),
            error = %ErrorChain(&error),
            "session not saved"
        );
    }
    error.logged()
}

impl From<ErrorKind> for Error {
    fn from(kind: ErrorKind) -> Self {
        Self::with_message(kind, kind.text())
    }
}

impl ErrorKind {
    fn text(self) -> &'static str {
        match self {
            Self::Unavailable => "the session store is unavailable",
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

/// Writes an error and its causes on one line, for a log.
///
/// Backends keep secrets out of the causes, and no error of this crate holds one.
pub(crate) struct ErrorChain<'a>(pub(crate) &'a Error);

impl fmt::Display for ErrorChain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = StdError::source(self.0);
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p10_a_response_is_cut_before_what_may_be_a_secret() {
        for (response, kept) in [
            (
                "OOM command not allowed when used memory > 'maxmemory'.",
                "OOM command not allowed when used memory > 'maxmemory'.",
            ),
            ("SERVER_ERROR  object too\r\n", "SERVER_ERROR object too"),
            ("ERR 123456789012345 known", "ERR 123456789012345 known"),
            ("ERR 1234567890123456 is", "ERR"),
            ("ERR sid_0123456789abcdef is", "ERR"),
            (r#"ERR bad {"created": 1}"#, "ERR bad"),
            (r#"ERR bad "secret""#, "ERR bad"),
            ("ERR é", "ERR"),
            ("", ""),
        ] {
            assert_eq!(Error::without_secrets(response), kept);
        }
    }
}
