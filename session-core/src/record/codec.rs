//! How a record is stored: as JSON text, or in another format.

use std::fmt;

use crate::error::Result;

/// Turns the JSON text of a record into the bytes that are stored, and back.
///
/// It corresponds to the `encoder` and `decoder` of aiohttp_session. Without a codec the JSON text
/// itself is stored, as aiohttp_session does by default. A codec can compress the text or store
/// another format. A Python service that shares the sessions needs the same pair of functions.
///
/// ```
/// use session_core::{Codec, MemoryStorage, Result};
///
/// /// Stores the JSON text behind a version byte.
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
/// # fn main() -> Result<()> {
/// let storage = MemoryStorage::default().with_codec(Marked);
/// let stored = Marked.encode(b"{\"session\": {}}".to_vec())?;
/// assert_eq!(Marked.decode(&stored).unwrap(), b"{\"session\": {}}");
/// assert_eq!(Marked.decode(b"{\"session\": {}}"), None);
/// # Ok(())
/// # }
/// ```
///
/// `decode` must return exactly the text that `encode` was given, because white space has a
/// meaning in the record of an ended session.
///
/// The `Debug` output of a codec is part of the storage's. If a codec holds a key, write its
/// `Debug` by hand and leave the key out.
pub trait Codec: fmt::Debug + Send + Sync + 'static {
    /// Turns the JSON text of a record into the bytes that are stored.
    ///
    /// The text is UTF-8. It is ASCII unless another program wrote other characters into the
    /// record.
    ///
    /// # Errors
    /// Any error ends the save. The record is then not stored.
    fn encode(&self, record: Vec<u8>) -> Result<Vec<u8>>;

    /// Returns the JSON text of stored bytes; `None` if `encode` cannot have written them.
    ///
    /// The session is then new and empty. This method must not panic, whatever bytes it is given.
    fn decode(&self, stored: &[u8]) -> Option<Vec<u8>>;
}
