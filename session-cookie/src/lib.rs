//! Sessions that live in their cookie: no store, no lookup, and no way to recall one.
//!
//! ```
//! use session_cookie::{EncryptedCookieStorage, Key};
//! use session_core::CookieSettings;
//! use std::time::Duration;
//!
//! # fn main() -> Result<(), session_core::Error> {
//! let key = Key::parse("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=")?;
//! let cookie = CookieSettings::builder("sid").max_age(Duration::from_secs(3600)).build()?;
//! let storage = EncryptedCookieStorage::new(key).with_cookie(cookie);
//! # Ok(())
//! # }
//! ```
//!
//! # Choosing
//!
//! | storage | client can read it | client can forge it | wire format |
//! | --- | --- | --- | --- |
//! | [`EncryptedCookieStorage`] | no | no | Fernet token, as aiohttp_session's `EncryptedCookieStorage` |
//! | [`NaClCookieStorage`] | no | no | base64 of a NaCl secret box, as `NaClCookieStorage` there |
//! | [`SimpleCookieStorage`] | **yes** | **yes** | JSON, as `SimpleCookieStorage` there; for tests |
//!
//! # What this crate does not do
//!
//! - It cannot end a session: a copy of the cookie works until it expires, after a logout or a
//!   renewal too. Where a logout must hold, keep sessions in a store.
//! - A rolling one is set again by whatever read is in flight during a logout.
//! - It cannot merge: of two responses to one client the browser keeps the cookie of the last.
//! - It does not bind a cookie to its name: the wire format has no room for it. Two encrypted
//!   cookies of one program need **two keys**, or a client could send the value of one as the
//!   other.
//! - It holds what fits a cookie: name and value over 4096 bytes are an error.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod encrypted;
mod key;
mod nacl;
mod simple;

pub use encrypted::EncryptedCookieStorage;
pub use fernet;
pub use key::{FernetKey, Key};
pub use nacl::NaClCookieStorage;
pub use simple::SimpleCookieStorage;

use session_core::{CookieChange, Records, Result, Session};

/// Saves a session whose record becomes the cookie's value by `seal`.
fn save(
    records: &Records,
    session: &Session,
    seal: impl FnOnce(&[u8]) -> Result<String>,
) -> Result<CookieChange> {
    let Some(change) = records.change(session)? else {
        return Ok(CookieChange::Keep);
    };
    let Some(payload) = &change.payload else {
        records.saved(session, &change);
        return Ok(CookieChange::Remove);
    };
    let value = seal(payload)?;
    // Before the session counts as saved: the client keeps its old cookie.
    records.cookie().check_size(&value)?;
    records.saved(session, &change);
    Ok(CookieChange::Set {
        value,
        max_age: change.max_age,
    })
}

/// Implements what the three storages have alike, for a type with `records`, `open` and `seal`.
macro_rules! cookie_storage {
    ($storage:ty) => {
        impl $storage {
            /// Uses these settings in place of the default ones.
            #[must_use]
            pub fn with_cookie(mut self, cookie: session_core::CookieSettings) -> Self {
                self.records = self.records.with_cookie(cookie);
                self
            }

            /// Puts records through `codec` in place of plain JSON.
            #[must_use]
            pub fn with_codec(mut self, codec: impl session_core::Codec) -> Self {
                self.records = self.records.with_codec(codec);
                self
            }

            /// Takes the time from `clock` in place of the operating system.
            #[must_use]
            pub fn with_clock(mut self, clock: impl session_core::Clock) -> Self {
                self.records = self.records.with_clock(clock);
                self
            }
        }

        #[async_trait::async_trait]
        impl session_core::Storage for $storage {
            fn records(&self) -> &session_core::Records {
                &self.records
            }

            async fn load(
                &self,
                cookie: Option<&str>,
            ) -> session_core::Result<session_core::Session> {
                let opened = cookie.and_then(|value| self.open(value));
                Ok(opened.unwrap_or_else(|| self.records.fresh(cookie.is_some())))
            }

            async fn save(
                &self,
                session: &session_core::Session,
            ) -> session_core::Result<session_core::CookieChange> {
                crate::save(&self.records, session, |payload| self.seal(payload))
            }
        }
    };
}
use cookie_storage;
