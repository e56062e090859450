//! What a request's session means for its response: saving it, and the headers.

use std::fmt;
use std::sync::Arc;

use http::header::{CACHE_CONTROL, Entry, SET_COOKIE, VARY};
use http::{HeaderMap, HeaderValue, Response};

use crate::adapter::context::Chain;
use crate::error::{ErrorKind, Result};
use crate::session::Session;
use crate::storage::{CookieChange, Storage};

/// A session that waits to be saved.
#[derive(Debug)]
pub struct Save {
    storage: Arc<dyn Storage>,
    session: Session,
    nested: bool,
}

impl Save {
    /// `nested` says whether there is another service around, whose failure is not to cost the
    /// client this session's cookie.
    pub(crate) fn new(storage: Arc<dyn Storage>, session: Session, nested: bool) -> Self {
        Self {
            storage,
            session,
            nested,
        }
    }

    /// Saves the session, and returns what that means for the response.
    ///
    /// # Errors
    /// As [`Storage::save`]: the response then says nothing about the cookie.
    pub async fn run(self) -> Result<Saved> {
        let records = self.storage.records();
        let cookie = records.cookie();
        let saved = self
            .storage
            .save(&self.session)
            .await
            .and_then(|change| match change {
                CookieChange::Keep => Ok(None),
                CookieChange::Set { value, max_age } => {
                    cookie.set(&value, max_age, records.now()).map(Some)
                }
                CookieChange::Remove => Ok(Some(cookie.removal())),
            });
        match saved {
            Ok(header) => Ok(Saved {
                header,
                storage: self.storage,
                nested: self.nested,
            }),
            Err(error) => {
                if error.kind() != ErrorKind::Ended {
                    tracing::error!(error = %Chain(&error), "session not saved");
                }
                Err(error)
            }
        }
    }
}

/// What a save means for the response.
pub struct Saved {
    header: Option<HeaderValue>,
    storage: Arc<dyn Storage>,
    nested: bool,
}

impl Saved {
    /// Puts it into the response's headers: one Set-Cookie at most, beside those of other names,
    /// and no-store with it unless the handler said something else.
    pub fn apply<B>(self, response: &mut Response<B>) {
        let Some(header) = self.header else { return };
        if self.nested {
            let cookies = response
                .extensions_mut()
                .get_or_insert_default::<SessionCookies>();
            cookies.0.push(header.clone());
        }
        let headers = response.headers_mut();
        set_cookie(headers, self.storage.records().cookie().name(), header);
        headers
            .entry(CACHE_CONTROL)
            .or_insert(HeaderValue::from_static("no-store"));
    }
}

/// The cookies that services nested inside this one have set.
#[derive(Clone, Debug, Default)]
struct SessionCookies(Vec<HeaderValue>);

/// Puts `answer` in the place of a response whose session could not be saved. The cookies of the
/// sessions inside that one, which were saved, come along: without them their clients would be
/// left with dead ones.
pub fn answer_instead<A, B>(response: &Response<A>, mut answer: Response<B>) -> Response<B> {
    if let Some(SessionCookies(saved)) = response.extensions().get() {
        for header in saved {
            answer.headers_mut().append(SET_COOKIE, header.clone());
        }
        answer
            .extensions_mut()
            .insert(SessionCookies(saved.clone()));
    }
    answer
}

impl fmt::Debug for Saved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Saved")
            .field("sets_cookie", &self.header.is_some())
            .finish_non_exhaustive()
    }
}

/// Puts our cookie into the headers, in the place of one of the same name that the handler set.
fn set_cookie(headers: &mut HeaderMap, name: &str, header: HeaderValue) {
    let is_ours = |value: &HeaderValue| {
        let pair = value
            .as_bytes()
            .split(|b| *b == b';' || *b == b'=')
            .next()
            .unwrap_or_default();
        pair.trim_ascii() == name.as_bytes()
    };
    let mut entry = match headers.entry(SET_COOKIE) {
        Entry::Vacant(entry) => {
            entry.insert(header);
            return;
        }
        Entry::Occupied(entry) => entry,
    };
    if !entry.iter().any(is_ours) {
        entry.append(header);
        return;
    }
    let others: Vec<HeaderValue> = entry
        .iter()
        .filter(|value| !is_ours(value))
        .cloned()
        .collect();
    entry.remove();
    for value in others.into_iter().chain([header]) {
        headers.append(SET_COOKIE, value);
    }
}

/// Says that the answer depends on the cookie, unless the handler did.
pub(crate) fn vary(headers: &mut HeaderMap) {
    let cookie = HeaderValue::from_static("Cookie");
    let says_so = |value: &HeaderValue| {
        value.as_bytes().split(|b| *b == b',').any(|field| {
            let field = field.trim_ascii();
            field == b"*" || field.eq_ignore_ascii_case(b"cookie")
        })
    };
    match headers.entry(VARY) {
        Entry::Vacant(entry) => {
            entry.insert(cookie);
        }
        Entry::Occupied(mut entry) => {
            if !entry.iter().any(says_so) {
                entry.append(cookie);
            }
        }
    }
}
