//! Sessions stored in their cookie, wire compatible with aiohttp_session: no server-side store.
//!
//! ```
//! use session_cookie::{EncryptedCookieStorage, Key};
//! use session_core::{CookieChange, CookieSettings, Storage};
//! use std::time::Duration;
//!
//! # async fn program() -> Result<(), session_core::Error> {
//! let key = Key::parse("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=")?;
//! let cookie = CookieSettings::builder("sid").max_age(Duration::from_secs(3600)).build()?;
//! let storage = EncryptedCookieStorage::new(key).with_cookie(cookie);
//!
//! // An adapter for your server makes these calls:
//! let session = storage.load(&[]).await?;
//! session.insert("cart", ["apples"])?;
//! let CookieChange::Set { value, .. } = storage.save(&session).await? else { unreachable!() };
//!
//! // ... and at the client's next request:
//! let session = storage.load(&[&value]).await?;
//! assert_eq!(session.get::<Vec<String>>("cart")?.unwrap(), ["apples"]);
//! # Ok(())
//! # }
//! # let mut context = std::task::Context::from_waker(std::task::Waker::noop());
//! # let done = std::pin::pin!(program()).poll(&mut context);
//! # assert!(matches!(done, std::task::Poll::Ready(Ok(()))));
//! ```
//!
//! # Choosing
//!
//! | storage | client can read it | client can forge it | wire format |
//! | --- | --- | --- | --- |
//! | [`EncryptedCookieStorage`] | no | no | Fernet token |
//! | [`NaClCookieStorage`] | no | no | base64 of a NaCl secret box |
//! | [`SimpleCookieStorage`] | **yes** | **yes** | JSON; for tests |
//!
//! Each has the name and the wire format of its counterpart in aiohttp_session.
//!
//! # What this crate does not do
//!
//! - It cannot end a session. A copy of the cookie works until it expires, also after a logout or a
//!   renewal. If a logout must be final, keep sessions in a store.
//! - In a rolling storage, a read that is in flight during a logout sets the cookie again.
//! - It cannot merge. If two responses set the cookie, the browser keeps the one that arrives last.
//! - It does not bind a cookie to its name, because the wire format has no room for it. Two
//!   encrypted cookies of one program need **two keys**. Otherwise a client could send the value of
//!   one as the other.
//! - It stores at most 4096 bytes, for the cookie's name and value together. More is an error of
//!   kind [`TooLarge`](session_core::ErrorKind::TooLarge).

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod encrypted;
mod key;
mod nacl;
mod simple;

pub use encrypted::EncryptedCookieStorage;
pub use key::Key;
pub use nacl::NaClCookieStorage;
pub use simple::SimpleCookieStorage;

use std::time::SystemTime;

use session_core::{CookieChange, MAX_TRIED_COOKIES, Result, Session, SessionConfig};

/// A session, and when its cookie was written.
type Opened = (Session, SystemTime);

/// Loads the session of the cookie that was written last, else a new one. A browser sends several
/// cookies of one name if they were set for different paths or domains.
fn load(
    config: &SessionConfig,
    cookies: &[&str],
    has_shape: impl Fn(&str) -> bool,
    open: impl Fn(&str) -> Option<Opened>,
) -> Session {
    let mut tried: Vec<&str> = Vec::new();
    let mut latest: Option<Opened> = None;
    for cookie in cookies {
        if !has_shape(cookie) {
            tracing::debug!(
                target: "session::load",
                cookie = config.cookie().name(),
                op = "load",
                "session cookie refused: it has another shape"
            );
            continue;
        }
        if cookies.len() > 1 {
            if tried.contains(cookie) {
                continue;
            }
            if tried.len() == MAX_TRIED_COOKIES {
                break;
            }
            tried.push(cookie);
        }
        if let Some(opened) = open(cookie)
            && latest
                .as_ref()
                .is_none_or(|(_, written)| opened.1 > *written)
        {
            latest = Some(opened);
        }
    }
    latest.map_or_else(
        || config.new_session(!cookies.is_empty()),
        |(session, _)| session,
    )
}

/// Saves a session whose record becomes the cookie's value by `seal`.
async fn save(
    config: &SessionConfig,
    session: &Session,
    seal: impl FnOnce(&[u8]) -> Result<String>,
) -> Result<CookieChange> {
    let Some(staged) = config.stage(session).await? else {
        return Ok(CookieChange::Keep);
    };
    let Some(payload) = staged.payload() else {
        let change = CookieChange::Remove;
        staged.commit(&change);
        return Ok(change);
    };
    let value = seal(payload)?;
    // This comes before the session counts as saved. If it fails, the client keeps its old cookie.
    config.cookie().check_size(&value)?;
    let change = CookieChange::set(value, staged.max_age());
    staged.commit(&change);
    Ok(change)
}

/// Logs that a token was not made with one of the keys, or was altered.
fn log_refused(config: &SessionConfig) {
    tracing::debug!(
        target: "session::load",
        cookie = config.cookie().name(),
        op = "load",
        "session cookie refused: no key fits, or it was altered"
    );
}

/// Implements what the three storages share, for a type with `config`, `has_shape`, `open` and
/// `seal`.
macro_rules! cookie_storage {
    ($storage:ty) => {
        impl $storage {
            /// Uses these cookie settings in place of the default ones.
            #[must_use]
            pub fn with_cookie(mut self, cookie: session_core::CookieSettings) -> Self {
                self.config = self.config.with_cookie(cookie);
                self
            }

            /// Stores records through `codec` in place of plain JSON.
            #[must_use]
            pub fn with_codec(mut self, codec: impl session_core::Codec) -> Self {
                self.config = self.config.with_codec(codec);
                self
            }

            /// Takes the time from `clock` in place of the operating system.
            #[must_use]
            pub fn with_clock(mut self, clock: impl session_core::Clock) -> Self {
                self.config = self.config.with_clock(clock);
                self
            }
        }

        #[async_trait::async_trait]
        impl session_core::Storage for $storage {
            fn config(&self) -> &session_core::SessionConfig {
                &self.config
            }

            async fn load(&self, cookies: &[&str]) -> session_core::Result<session_core::Session> {
                Ok(crate::load(
                    &self.config,
                    cookies,
                    |cookie| self.has_shape(cookie),
                    |cookie| self.open(cookie),
                ))
            }

            async fn save(
                &self,
                session: &session_core::Session,
            ) -> session_core::Result<session_core::CookieChange> {
                crate::save(&self.config, session, |payload| self.seal(payload)).await
            }
        }
    };
}
use cookie_storage;

/// The README's program, compiled.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;
