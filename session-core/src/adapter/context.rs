//! The sessions of one request.

use std::borrow::Cow;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::adapter::load_once::{LoadOnce, Turn};
use crate::adapter::storages::{Inner, Mount};
use crate::cookie::request::{CookieLines, MAX_TRIED_COOKIES};
use crate::error::{Error, ErrorChain, ErrorKind, Result};
use crate::metrics::Counter;
use crate::session::Session;
use crate::session::identity::Identity;

/// The sessions of one request, not loaded yet. Clones are the same context.
///
/// It travels in the request's extensions, where [`RequestSession`](crate::RequestSession) finds
/// it.
#[derive(Clone)]
pub(super) struct Context(Arc<Shared>);

struct Shared {
    storages: Arc<Inner>,
    first: Slot,
    more: Vec<Slot>,
    /// The handler requested a session, so the response depends on the cookie.
    is_asked: AtomicBool,
    /// The handler has responded: changes are refused from now on.
    is_closed: AtomicBool,
}

/// The session of one storage.
#[derive(Default)]
pub(super) struct Slot {
    loaded: LoadOnce<Result<Session>>,
    /// The session of a login, which takes the place of the loaded one.
    login: Mutex<Option<Session>>,
    /// A read of the session counts as activity.
    is_active: AtomicBool,
}

/// Whether requesting a session counts as activity of its user.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Activity {
    Counts,
    DoesNotCount,
}

impl Context {
    pub(super) fn new(storages: &Arc<Inner>) -> Self {
        Self(Arc::new(Shared {
            storages: storages.clone(),
            first: Slot::default(),
            more: storages.more.iter().map(|_| Slot::default()).collect(),
            is_asked: AtomicBool::new(false),
            is_closed: AtomicBool::new(false),
        }))
    }

    /// Returns whether this context serves these storages.
    pub(super) fn serves(&self, inner: &Inner) -> bool {
        let ours = &self.0.storages;
        let mut pairs = ours.mounts().zip(inner.mounts());
        ours.more.len() == inner.more.len()
            && pairs.all(|(ours, theirs)| ours.storage.config().is_same(theirs.storage.config()))
    }

    /// Returns the index of the storage whose cookie is called `name`, or of the first storage.
    pub(super) fn find(&self, name: Option<&str>) -> Option<usize> {
        match name {
            None => Some(0),
            Some(name) => self
                .0
                .storages
                .mounts()
                .position(|mount| mount.cookie_name() == name),
        }
    }

    /// Notes that a handler requested a storage's session, and copies what loading it needs. The
    /// result borrows nothing from the request.
    pub(super) fn ask(
        &self,
        at: usize,
        activity: Activity,
        cookies: impl FnOnce() -> CookieLines,
    ) -> Asked {
        self.0.is_asked.store(true, Ordering::SeqCst);
        if activity == Activity::Counts {
            self.slot(at).is_active.store(true, Ordering::SeqCst);
        }
        // A session that is there stays, or a login replaces it. Then nothing is left to load.
        let cookies = if self.slot(at).current().is_some() {
            CookieLines::default()
        } else {
            cookies()
        };
        Asked {
            context: self.clone(),
            at,
            cookies,
        }
    }

    /// Replaces the client's session with a new one.
    pub(super) fn new_session(&self, at: usize, lines: &CookieLines) -> Result<Session> {
        let slot = self.slot(at);
        let mount = self.mount(at);
        self.0.is_asked.store(true, Ordering::SeqCst);
        let mut login = slot.login();
        if self.0.is_closed.load(Ordering::SeqCst) {
            return Err(ErrorKind::Committed.into());
        }
        let name = mount.cookie_name();
        let session = mount.storage.config().login_session(lines.have(name));
        let mut state = session.state();
        state.hook = Some(mount.clone());
        let earlier = login.take().map(Ok).or_else(|| slot.loaded.get());
        if let Some(Ok(earlier)) = earlier {
            let is_saving = {
                let mut earlier = earlier.state();
                earlier.is_committed = true; // only an end is still saved
                earlier.is_saving()
            };
            // The request's cookies do not name a session that this request itself has saved.
            if !is_saving {
                state.take_over(&earlier);
            }
            // A save of it that has passed its checks on another thread can still begin.
            state.earlier = Some(earlier);
        }
        let cookies = &mut state.origin.cookies;
        for value in lines.values(name) {
            if cookies.len() >= MAX_TRIED_COOKIES {
                break;
            }
            // Skip identities that this storage cannot have issued. They would use up the limit.
            if let Some(identity) = Identity::parse(&value)
                && mount.storage.config().accepts(identity.as_str())
                && !cookies.contains(&identity)
            {
                cookies.push(identity);
            }
        }
        drop(state);
        *login = Some(session.clone());
        Ok(session)
    }

    /// Returns the error of a failed load.
    pub(super) fn load_error(&self) -> Option<Error> {
        self.slots().find_map(|slot| match slot.current() {
            Some(Err(error)) => Some(error),
            _ => None,
        })
    }

    /// Ends the request: changes are refused from now on.
    pub(super) fn close(&self) {
        if self.0.is_closed.swap(true, Ordering::SeqCst) || !self.is_asked() {
            return;
        }
        self.slots().for_each(Slot::close);
    }

    /// Returns whether the handler requested a session, so that the response depends on the cookie.
    pub(super) fn is_asked(&self) -> bool {
        self.0.is_asked.load(Ordering::SeqCst)
    }

    pub(super) fn saves_server_errors(&self) -> bool {
        self.0.storages.saves_server_errors
    }

    /// Returns each storage with its session's slot.
    pub(super) fn sessions(&self) -> impl Iterator<Item = (&Arc<Mount>, &Slot)> {
        self.0.storages.mounts().zip(self.slots())
    }

    fn slots(&self) -> impl Iterator<Item = &Slot> {
        std::iter::once(&self.0.first).chain(&self.0.more)
    }

    fn slot(&self, at: usize) -> &Slot {
        at.checked_sub(1)
            .and_then(|at| self.0.more.get(at))
            .unwrap_or(&self.0.first)
    }

    fn mount(&self, at: usize) -> &Arc<Mount> {
        let storages = &self.0.storages;
        at.checked_sub(1)
            .and_then(|at| storages.more.get(at))
            .unwrap_or(&storages.first)
    }
}

impl Slot {
    /// Returns the current session: that of a login, else the loaded one, if there is one.
    fn current(&self) -> Option<Result<Session>> {
        self.login().clone().map(Ok).or_else(|| self.loaded.get())
    }

    /// Returns the session that was loaded.
    pub(super) fn loaded(&self) -> Option<Session> {
        self.loaded.get()?.ok()
    }

    /// Returns whether a read of the session counts as activity.
    pub(super) fn is_active(&self) -> bool {
        self.is_active.load(Ordering::SeqCst)
    }

    /// Makes the sessions refuse changes from now on.
    fn close(&self) {
        let close = |session: &Session| session.state().is_committed = true;
        self.loaded
            .inspect(|loaded| loaded.as_ref().map(close).ok());
        self.login().as_ref().map(close);
    }

    pub(super) fn login(&self) -> MutexGuard<'_, Option<Session>> {
        self.login.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A session that a handler requested.
pub(super) struct Asked {
    context: Context,
    at: usize,
    cookies: CookieLines,
}

impl Asked {
    /// Returns the session, loading it if no other task of the request has.
    pub(super) async fn session(&self) -> Result<Session> {
        let slot = self.context.slot(self.at);
        if let Some(current) = slot.current() {
            return current;
        }
        let turn = match slot.loaded.turn().await {
            Turn::Ready(ready) => return slot.login().clone().map_or(ready, Ok),
            Turn::Load(turn) => turn,
        };
        let mount = self.context.mount(self.at);
        let name = mount.cookie_name();
        let values = Values::of(&self.cookies, name);
        let stopwatch = mount.storage.config().metrics().start();
        let loaded = match &values {
            Values::None => mount.storage.load(&[]).await,
            Values::One(value) => mount.storage.load(&[value]).await,
            Values::Many(values) => {
                let values: Vec<&str> = values.iter().map(AsRef::as_ref).collect();
                mount.storage.load(&values).await
            }
        };
        stopwatch.loaded(&loaded, load_counter);
        let loaded = loaded.map_err(|error| log_failure(name, error));
        if let Ok(session) = &loaded {
            session.state().hook = Some(mount.clone());
        }
        turn.finish(&loaded, |loaded| {
            if let Ok(session) = loaded
                && self.context.0.is_closed.load(Ordering::SeqCst)
            {
                session.state().is_committed = true;
            }
        });
        // A login may have replaced it during the load.
        slot.login().clone().map_or(loaded, Ok)
    }
}

/// The values of the session cookie.
enum Values<'a> {
    None,
    /// The usual case.
    One(Cow<'a, str>),
    Many(Vec<Cow<'a, str>>),
}

impl<'a> Values<'a> {
    fn of(lines: &'a CookieLines, name: &'a str) -> Self {
        let mut values = lines.values(name);
        match (values.next(), values.next()) {
            // A value that is not UTF-8 names no session. It still counts as a cookie that was
            // sent.
            (None, _) if lines.have(name) => Self::One(Cow::Borrowed("")),
            (None, _) => Self::None,
            (Some(only), None) => Self::One(only),
            (Some(first), Some(second)) => {
                Self::Many([first, second].into_iter().chain(values).collect())
            }
        }
    }
}

/// Returns the counter for a successful load.
fn load_counter(session: &Session) -> Counter {
    let state = session.state();
    if !state.is_new() {
        Counter::LoadLoaded
    } else if state.origin.sent_cookie {
        Counter::LoadUnknown
    } else {
        Counter::LoadNew
    }
}

fn log_failure(cookie: &str, error: Error) -> Error {
    tracing::error!(
        target: "session::load",
        cookie,
        op = "load",
        kind = ?error.kind(),
        error = %ErrorChain(&error),
        "session not loaded"
    );
    error.logged()
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context").finish_non_exhaustive()
    }
}
