//! A value as a store holds it.

use std::fmt;
use std::num::NonZeroU64;

use bytes::Bytes;

/// The bytes of a stored value and, if the store numbers versions, the number of this version.
///
/// `Debug` shows the length, never the bytes.
#[derive(Clone, Eq, PartialEq)]
pub struct Stored {
    value: Bytes,
    version: Option<NonZeroU64>,
}

impl Stored {
    /// Makes a value for a store that compares values.
    pub fn new(value: impl Into<Bytes>) -> Self {
        Self {
            value: value.into(),
            version: None,
        }
    }

    /// Makes a value for a store that compares version numbers, such as memcached's cas unique.
    pub fn with_version(value: impl Into<Bytes>, version: NonZeroU64) -> Self {
        Self {
            value: value.into(),
            version: Some(version),
        }
    }

    /// Borrows the bytes, exactly as they are stored.
    pub fn value(&self) -> &Bytes {
        &self.value
    }

    /// Returns the store's number for this version; `None` if the store did not report it.
    pub fn version(&self) -> Option<NonZeroU64> {
        self.version
    }
}

impl fmt::Debug for Stored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stored")
            .field("len", &self.value.len())
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}
