//! What happens to a request's sessions when its handler has responded.

use std::sync::Arc;

use http::{HeaderMap, HeaderValue, StatusCode};

use crate::adapter::context::Context;
use crate::adapter::headers;
use crate::adapter::storages::Mount;
use crate::cookie::change::CookieChange;
use crate::error::{Error, Result, log_unsaved};
use crate::metrics::Counter;
use crate::session::{IdentityChange, Session};
use crate::storage::Storage as _;

/// Which changes are kept.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Keep {
    /// All.
    Everything,
    /// All, except that a read does not restart a session's lifetime, because the response is for
    /// shared caches.
    Writes,
    /// Only the ends of sessions, because the handler responded with a server error.
    EndsOnServerError(StatusCode),
    /// Only the ends of sessions, because the request failed with a session error.
    EndsOnFailure,
}

/// The sessions of a request that must be saved, or whose cookie must be sent.
#[derive(Debug, Default)]
pub(super) struct Jobs {
    first: Option<Job>,
    more: Vec<Job>,
    is_due: bool,
}

#[derive(Debug)]
struct Job {
    mount: Arc<Mount>,
    session: Session,
}

/// How the saves of a request ended.
#[derive(Debug, Default)]
pub(super) struct Saved {
    first: Option<Cookie>,
    more: Vec<Cookie>,
    /// The error of the first save that failed.
    pub(super) error: Option<Error>,
}

/// A Set-Cookie header.
#[derive(Debug)]
struct Cookie {
    mount: Arc<Mount>,
    header: HeaderValue,
}

impl Context {
    /// Closes the request's sessions and returns what is left to do.
    pub(super) fn finish(&self, keep: Keep) -> Jobs {
        self.close();
        let mut jobs = Jobs::default();
        for (mount, slot) in self.sessions() {
            let login = slot.login().clone();
            let loaded = slot.loaded();
            match keep {
                Keep::Everything | Keep::Writes => {
                    // A login ends the loaded session too, but an `invalidate()` must not depend on
                    // the login.
                    let ends = |it: &Session| it.state().delta.identity == IdentityChange::End;
                    if (keep == Keep::Writes || !slot.is_active())
                        && let Some(session) = &loaded
                    {
                        session.state().forget_refresh();
                    }
                    if login.is_none() || loaded.as_ref().is_some_and(ends) {
                        jobs.push(mount, loaded);
                    }
                    jobs.push(mount, login);
                }
                // The login is dropped as well, so the old session counts again.
                Keep::EndsOnServerError(_) | Keep::EndsOnFailure => {
                    for session in [loaded, login].into_iter().flatten() {
                        drop_changes(&session, keep, mount);
                        jobs.push(mount, Some(session));
                    }
                }
            }
        }
        jobs
    }
}

/// Drops the changes of a session, except that it ends.
fn drop_changes(session: &Session, keep: Keep, mount: &Mount) {
    let mut state = session.state();
    let is_dropped = state.delta.is_change() || state.origin.is_login;
    let ends = state.delta.identity == IdentityChange::End;
    state.drop_changes();
    drop(state);
    if let Keep::EndsOnServerError(status) = keep
        && is_dropped
        && !ends
    {
        mount.storage.config().metrics().count(Counter::Drop);
        tracing::warn!(
            target: "session::request",
            cookie = mount.cookie_name(),
            op = "drop",
            status = status.as_u16(),
            "session changes dropped: the handler responded with a server error"
        );
    }
}

impl Jobs {
    fn push(&mut self, mount: &Arc<Mount>, session: Option<Session>) {
        let Some(session) = session else { return };
        let is_due = {
            let state = session.state();
            if !state.needs_save() && state.unsent == CookieChange::Keep {
                return;
            }
            state.needs_save()
        };
        self.is_due |= is_due;
        let job = Job {
            mount: mount.clone(),
            session,
        };
        if self.first.is_none() {
            self.first = Some(job);
        } else {
            self.more.push(job);
        }
    }

    /// Returns whether a session must be saved.
    pub(super) fn is_due(&self) -> bool {
        self.is_due
    }

    /// Returns whether nothing is left to do.
    pub(super) fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    /// Saves the sessions in order. After a failure only ends are still carried out.
    pub(super) async fn save(self) -> Saved {
        let mut saved = Saved::default();
        for job in self.first.into_iter().chain(self.more) {
            if saved.error.is_some() {
                drop_changes(&job.session, Keep::EndsOnFailure, &job.mount);
            }
            let metrics = job.mount.storage.config().metrics();
            let stopwatch = metrics.start_save(|| job.session.state().save_kind());
            let result = job.mount.storage.save(&job.session).await;
            stopwatch.saved(&result);
            match result {
                Ok(change) => saved.note(&job, change),
                Err(error) => {
                    saved.note(&job, CookieChange::Keep);
                    saved.fail(log_unsaved(job.mount.cookie_name(), error));
                }
            }
        }
        saved
    }

    /// Returns the cookies of explicit saves, if nothing is left to save.
    pub(super) fn unsaved(self) -> Saved {
        let mut saved = Saved::default();
        for job in self.first.into_iter().chain(self.more) {
            saved.note(&job, CookieChange::Keep);
        }
        saved
    }
}

impl Saved {
    /// Notes what a save means for the cookie. An earlier explicit save counts if this one changed
    /// nothing.
    fn note(&mut self, job: &Job, change: CookieChange) {
        let unsent = std::mem::replace(&mut job.session.state().unsent, CookieChange::Keep);
        let change = if change == CookieChange::Keep {
            unsent
        } else {
            change
        };
        match header(&job.mount, change) {
            Ok(None) => {}
            Ok(Some(header)) => {
                let cookie = Cookie {
                    mount: job.mount.clone(),
                    header,
                };
                if self.first.is_none() {
                    self.first = Some(cookie);
                } else {
                    self.more.push(cookie);
                }
            }
            Err(error) => self.fail(log_unsaved(job.mount.cookie_name(), error)),
        }
    }

    fn fail(&mut self, error: Error) {
        self.error.get_or_insert(error);
    }

    /// Puts the cookies into a response's headers.
    pub(super) fn apply(self, headers: &mut HeaderMap) {
        for cookie in self.first.into_iter().chain(self.more) {
            let settings = cookie.mount.storage.config().cookie();
            if headers::set_cookie(headers, cookie.header, settings.former_removals()) {
                tracing::warn!(
                    target: "session::request",
                    cookie = cookie.mount.cookie_name(),
                    op = "respond",
                    "response is private now: it was for shared caches, and sets a session cookie"
                );
            }
        }
    }
}

fn header(mount: &Mount, change: CookieChange) -> Result<Option<HeaderValue>> {
    let config = mount.storage.config();
    let cookie = config.cookie();
    match change {
        CookieChange::Keep => Ok(None),
        CookieChange::Set { value, max_age } => {
            cookie.set_cookie(&value, max_age, config.now()).map(Some)
        }
        CookieChange::Remove => Ok(Some(cookie.removal())),
    }
}
