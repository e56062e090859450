//! Lets a session call the storage that saves it, without depending on the storage's type.

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use crate::cookie::change::CookieChange;
use crate::error::Result;
use crate::session::Session;

/// Saves a session. An adapter puts one into each session that it loads, for [`Session::save`].
pub(crate) trait Save: fmt::Debug + Send + Sync {
    fn save<'a>(
        &'a self,
        session: &'a Session,
    ) -> Pin<Box<dyn Future<Output = Result<CookieChange>> + Send + 'a>>;
}
