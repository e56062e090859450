//! One request's share: what every server adapter does alike, on `http` types.
//!
//! An adapter makes a [`SessionContext`] for a request and attaches it to the request's
//! extensions, lets the handler run, and [`close`](SessionContext::close)s the context on the
//! response. The handler asks for its session through [`RequestSession`].

use std::any::Any;
use std::borrow::Cow;
use std::error::Error as StdError;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use http::{Extensions, HeaderMap, Request, request};

use crate::adapter::response::{Save, vary};
use crate::cookie::header::CookieLines;
use crate::error::{Error, ErrorKind, Result};
use crate::session::Session;
use crate::storage::Storage;

/// The sessions of one request, not loaded yet. Clones are the same context.
#[derive(Clone, Debug)]
pub struct SessionContext(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    storage: Arc<dyn Storage>,
    share: Mutex<Share>,
    /// The context of the service around this one, with another cookie name.
    outer: Option<SessionContext>,
}

#[derive(Debug, Default)]
struct Share {
    slot: Slot,
    /// The handler has answered: what is asked for now takes no change.
    closed: bool,
}

/// The request's session. The storage is asked once, however many ask here, a failure included.
#[derive(Debug, Default)]
enum Slot {
    #[default]
    Unasked,
    /// One future loads; these wait for it.
    Loading(Vec<Waker>),
    /// Loaded, or put there by a login.
    Ready(Result<Session>),
}

/// The handler's way to its session, for [`http::Request`] and [`http::request::Parts`].
///
/// The futures borrow nothing of the request: one whose body is not `Sync` can ask too.
pub trait RequestSession {
    /// Returns the request's headers, where the cookies are, and its extensions, where the
    /// adapter put the [`SessionContext`].
    fn head(&self) -> (&HeaderMap, &Extensions);

    /// Returns the request's session, loading it if nobody has yet: aiohttp_session's
    /// `get_session`.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] if the backend did not answer; [`ErrorKind::Settings`] if no
    /// session service is around the handler.
    fn session(&self) -> impl Future<Output = Result<Session>> + Send + 'static {
        let (headers, extensions) = self.head();
        find(context(extensions, None), headers)
    }

    /// Returns the session whose cookie is called `name`, where several services are nested.
    ///
    /// # Errors
    /// As [`session`](Self::session).
    fn session_named(&self, name: &str) -> impl Future<Output = Result<Session>> + Send + 'static {
        let (headers, extensions) = self.head();
        find(context(extensions, Some(name)), headers)
    }

    /// Puts a new, empty session in the place of whatever the client came with, for a login:
    /// aiohttp_session's `new_session`. It loads nothing. When it is saved the old session is
    /// deleted; if nothing is put into it, the client's cookie is removed.
    ///
    /// # Errors
    /// [`ErrorKind::Settings`] if no session service is around the handler;
    /// [`ErrorKind::Committed`] after the response's headers have left.
    fn new_session(&self) -> Result<Session> {
        let (headers, extensions) = self.head();
        context(extensions, None)?.new_session(headers)
    }

    /// [`new_session`](Self::new_session) for the cookie called `name`.
    ///
    /// # Errors
    /// As [`new_session`](Self::new_session).
    fn new_session_named(&self, name: &str) -> Result<Session> {
        let (headers, extensions) = self.head();
        context(extensions, Some(name))?.new_session(headers)
    }
}

impl<B> RequestSession for Request<B> {
    fn head(&self) -> (&HeaderMap, &Extensions) {
        (self.headers(), self.extensions())
    }
}

impl RequestSession for request::Parts {
    fn head(&self) -> (&HeaderMap, &Extensions) {
        (&self.headers, &self.extensions)
    }
}

fn context<'a>(extensions: &'a Extensions, name: Option<&str>) -> Result<&'a SessionContext> {
    let innermost = extensions.get::<SessionContext>();
    let found =
        innermost.and_then(|context| name.map_or(Some(context), |name| context.named(name)));
    found.ok_or_else(|| {
        let why = match name {
            None => "there is no session service around the handler".into(),
            Some(name) => {
                format!("no session service around the handler has a cookie called {name}")
            }
        };
        Error::with_message(ErrorKind::Settings, why)
    })
}

/// Takes the Cookie lines along, so that the future borrows nothing.
fn find(
    context: Result<&SessionContext>,
    headers: &HeaderMap,
) -> impl Future<Output = Result<Session>> + Send + use<> {
    let found = context.map(|context| {
        let unasked = !matches!(context.share().slot, Slot::Ready(_));
        (
            context.clone(),
            if unasked {
                CookieLines::of(headers)
            } else {
                CookieLines::default()
            },
        )
    });
    async move {
        let (context, cookies) = found?;
        context.session(cookies).await
    }
}

impl SessionContext {
    /// Makes the context of a request whose session lives in `storage`.
    pub fn attach(storage: &Arc<dyn Storage>, extensions: &mut Extensions) -> Self {
        let outer = extensions.remove::<Self>();
        if let Some(outer) = &outer
            && outer.named(storage.records().cookie().name()).is_some()
        {
            tracing::error!("two session services have one cookie name: the outer one is unused");
        }
        let inner = Inner {
            storage: storage.clone(),
            share: Mutex::default(),
            outer,
        };
        let context = Self(Arc::new(inner));
        extensions.insert(context.clone());
        context
    }

    /// Returns the error to answer with when the handler returned `error`: that of the failed load, or
    /// a session's [`Error`], which it may be as it is or in a `Box<dyn Error + Send + Sync>`. `None`:
    /// it is no session's error, or one that the service around this one answers for.
    ///
    /// A handler that fails saves nothing: with an error to answer with, the sessions of the services
    /// around, to which the answer looks like any other, are given up as well.
    pub fn failure<E: 'static>(&self, error: &E) -> Option<Error> {
        let error = self.error_of(error)?;
        self.around().for_each(Self::abandon);
        Some(error)
    }

    fn error_of<E: 'static>(&self, error: &E) -> Option<Error> {
        if let Some(error) = self.load_error() {
            return Some(error); // logged when it was loaded
        }
        if self.around().any(|outer| outer.load_error().is_some()) {
            return None;
        }
        let error: &dyn Any = error;
        let boxed = || error.downcast_ref::<Box<dyn StdError + Send + Sync>>();
        let error = match error.downcast_ref::<Error>() {
            None => boxed()?.downcast_ref()?,
            Some(error) => error,
        };
        tracing::error!(error = %Chain(error), "handler failed with a session error");
        Some(error.clone())
    }

    /// The contexts of the services around this one.
    fn around(&self) -> impl Iterator<Item = &Self> {
        std::iter::successors(self.0.outer.as_ref(), |next| next.0.outer.as_ref())
    }

    fn load_error(&self) -> Option<Error> {
        match &self.share().slot {
            Slot::Ready(Err(error)) => Some(error.clone()),
            _ => None,
        }
    }

    /// Ends the request's share once the handler has answered: no change is taken from now on. A
    /// response whose session was looked at varies by cookie. Returns what is left to save, which is
    /// nothing after a [`failure`](Self::failure) further inside.
    pub fn close(&self, headers: &mut HeaderMap) -> Option<Save> {
        let mut share = self.share();
        let is_given_up = std::mem::replace(&mut share.closed, true);
        let session = match &share.slot {
            Slot::Unasked => return None,
            Slot::Loading(_) | Slot::Ready(Err(_)) => {
                vary(headers);
                return None;
            }
            Slot::Ready(Ok(session)) => session,
        };
        let due = {
            let mut state = session.state();
            state.closed = true;
            state.is_due() && !is_given_up
        };
        vary(headers);
        due.then(|| {
            Save::new(
                self.0.storage.clone(),
                session.clone(),
                self.0.outer.is_some(),
            )
        })
    }

    /// Ends the request's share without a response: nothing is saved, and no change is taken.
    pub fn abandon(&self) {
        let mut share = self.share();
        if !share.closed {
            share.closed = true;
            if let Slot::Ready(Ok(session)) = &share.slot {
                session.close();
            }
        }
    }

    fn share(&self) -> MutexGuard<'_, Share> {
        self.0.share.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn named(&self, name: &str) -> Option<&Self> {
        let mut contexts = std::iter::once(self).chain(self.around());
        contexts.find(|context| context.cookie_name() == name)
    }

    fn cookie_name(&self) -> &str {
        self.0.storage.records().cookie().name()
    }

    async fn session(self, cookies: CookieLines) -> Result<Session> {
        if let Some(ready) = std::future::poll_fn(|cx| self.wait(cx)).await {
            return ready;
        }
        let turn = Turn(&self);
        let loaded = load(&*self.0.storage, &cookies).await;
        if let Err(error) = &loaded {
            tracing::error!(error = %Chain(error), "session not loaded");
        }
        turn.end(loaded)
    }

    /// Waits for the session; `None` if it is this future's turn to load it.
    fn wait(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Session>>> {
        let slot = &mut self.share().slot;
        match slot {
            Slot::Ready(ready) => Poll::Ready(Some(ready.clone())),
            Slot::Unasked => {
                *slot = Slot::Loading(Vec::new());
                Poll::Ready(None)
            }
            Slot::Loading(waiting) => {
                if !waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
                    waiting.push(cx.waker().clone());
                }
                Poll::Pending
            }
        }
    }

    fn new_session(&self, headers: &HeaderMap) -> Result<Session> {
        let mut share = self.share();
        if share.closed {
            return Err(ErrorKind::Committed.into());
        }
        let (cookies, name) = (CookieLines::of(headers), self.cookie_name());
        let session = self.0.storage.records().fresh(cookies.have(name));
        session.state().replaces = Some(cookies.values(name).map(Cow::into_owned).collect());
        if let Slot::Ready(Ok(old)) = &share.slot {
            // Nobody saves it any more.
            old.close();
        }
        let waiting = share.slot.turn_to(Slot::Ready(Ok(session.clone())));
        drop(share);
        wake(waiting);
        Ok(session)
    }
}

impl Slot {
    /// Becomes `next`. Whoever waited is to be woken, by [`wake`], once the slot is unlocked.
    fn turn_to(&mut self, next: Self) -> Vec<Waker> {
        match std::mem::replace(self, next) {
            Self::Loading(waiting) => waiting,
            _ => Vec::new(),
        }
    }
}

fn wake(waiting: Vec<Waker>) {
    waiting.into_iter().for_each(Waker::wake);
}

/// The turn to load. Dropped unfinished, when the future that loads is cancelled, it passes to the
/// next who waits.
struct Turn<'a>(&'a SessionContext);

impl Turn<'_> {
    /// Hands out what was loaded, unless a login put another session there meanwhile.
    fn end(self, loaded: Result<Session>) -> Result<Session> {
        let mut share = self.0.share();
        if let Slot::Ready(ready) = &share.slot {
            return ready.clone();
        }
        if share.closed
            && let Ok(session) = &loaded
        {
            session.close();
        }
        let waiting = share.slot.turn_to(Slot::Ready(loaded.clone()));
        drop(share);
        wake(waiting);
        loaded
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut share = self.0.share();
        if matches!(share.slot, Slot::Loading(_)) {
            let waiting = share.slot.turn_to(Slot::Unasked);
            drop(share);
            wake(waiting);
        }
    }
}

/// Tries the cookies in turn: the first that yields a session is the one.
async fn load(storage: &dyn Storage, cookies: &CookieLines) -> Result<Session> {
    let name = storage.records().cookie().name();
    let (mut stood_for, mut others) = (Vec::new(), Vec::new());
    let mut values = cookies.values(name);
    while let Some(cookie) = values.next() {
        let session = storage.load(Some(&cookie)).await?;
        let mut state = session.state();
        if !state.new {
            others.extend(values.map(Cow::into_owned));
            state.others = others;
            drop(state);
            return Ok(session);
        }
        stood_for.append(&mut state.stood_for);
        drop(state);
        others.push(cookie.into_owned());
    }
    let session = storage.records().fresh(cookies.have(name));
    session.state().stood_for = stood_for;
    Ok(session)
}

/// An error with its causes, for a log. Only what backends say; no error of ours holds a secret.
pub(crate) struct Chain<'a>(pub(crate) &'a Error);

impl std::fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = std::error::Error::source(self.0);
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}
