//! What a record becomes in the cookie or in the store.

use std::fmt;

use crate::error::Result;

/// Turns a record's JSON text into what is stored, and back: aiohttp_session's `encoder` and
/// `decoder`.
///
/// Without one the JSON text itself is stored, which is what aiohttp_session reads and writes by
/// default. A codec may compress it, or write another format; a Python service beside needs the
/// same pair.
///
/// ```
/// use session_core::{Codec, Error, ErrorKind, Records, Result};
///
/// /// JSON behind a byte that says so.
/// #[derive(Debug)]
/// struct Marked;
///
/// impl Codec for Marked {
///     fn encode(&self, record: Vec<u8>) -> Result<Vec<u8>> {
///         Ok([b"1".as_slice(), &record].concat())
///     }
///
///     fn decode(&self, stored: &[u8]) -> Option<Vec<u8>> {
///         stored.strip_prefix(b"1").map(<[u8]>::to_vec)
///     }
/// }
///
/// let records = Records::default().with_codec(Marked);
/// assert!(records.open(&b"1{\"created\": 1, \"session\": {\"a\": 1}}"[..]).is_some());
/// assert!(records.open(&b"{\"created\": 1, \"session\": {\"a\": 1}}"[..]).is_none());
/// ```
///
/// Its `Debug` is printed with the storage's: a codec that holds a key must not derive it. What
/// `decode` returns for what `encode` wrote is the same text, to the byte: white space, too, has a
/// meaning where a session was renewed.
pub trait Codec: fmt::Debug + Send + Sync + 'static {
    /// Turns the JSON text of a record, ASCII unless a value came as other UTF-8, into what is
    /// stored.
    ///
    /// # Errors
    /// Whatever keeps the record from being stored; it ends the save.
    fn encode(&self, record: Vec<u8>) -> Result<Vec<u8>>;

    /// Turns what was stored back into the JSON text; `None` if it cannot be such a record, which
    /// is then an empty new session. It must not panic, whatever it is given.
    fn decode(&self, stored: &[u8]) -> Option<Vec<u8>>;
}
