//! One request's share: what every server adapter does alike, on `http` types.
//!
//! An adapter makes a [`SessionContext`] for a request and attaches it to the request's
//! extensions, lets the handler run, and [`close`](SessionContext::close)s the context on the
//! response. The handler asks for its session through [`RequestSession`].

use std::borrow::Cow;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use http::header::{CACHE_CONTROL, SET_COOKIE, VARY};
use http::{Extensions, HeaderMap, HeaderValue, Request, Response, request};

use crate::header::CookieLines;
use crate::{CookieChange, Error, ErrorKind, Result, Session, Storage};

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
    innermost
        .and_then(|context| name.map_or(Some(context), |name| context.named(name)))
        .ok_or_else(|| {
            Error::with_message(
                ErrorKind::Settings,
                "no session service of this cookie name is around the handler",
            )
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
        let inner = Inner {
            storage: storage.clone(),
            share: Mutex::default(),
            outer: extensions.remove::<Self>(),
        };
        let context = Self(Arc::new(inner));
        extensions.insert(context.clone());
        context
    }

    /// Returns the error if the backend failed when the session was loaded.
    pub fn load_error(&self) -> Option<Error> {
        match &self.share().slot {
            Slot::Ready(Err(error)) => Some(error.clone()),
            _ => None,
        }
    }

    /// Ends the request's share once the handler has answered: no change is taken from now on. A
    /// response whose session was looked at varies by cookie. Returns what is left to save.
    pub fn close(&self, headers: &mut HeaderMap) -> Option<Save> {
        let mut share = self.share();
        share.closed = true;
        let Slot::Ready(Ok(session)) = &share.slot else {
            return None;
        };
        session.close();
        vary(headers);
        let due = session.state().is_due();
        due.then(|| Save {
            storage: self.0.storage.clone(),
            session: session.clone(),
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
        std::iter::successors(Some(self), |context| context.0.outer.as_ref())
            .find(|context| context.cookie_name() == name)
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
    for cookie in cookies.values(name) {
        let session = storage.load(Some(&cookie)).await?;
        if !session.is_new() {
            return Ok(session);
        }
    }
    Ok(storage.records().fresh(cookies.have(name)))
}

/// A session that waits to be saved.
#[derive(Debug)]
pub struct Save {
    storage: Arc<dyn Storage>,
    session: Session,
}

impl Save {
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
}

impl Saved {
    /// Puts it into the response's headers: one Set-Cookie at most, beside those of other names,
    /// and no-store with it unless the handler said something else.
    pub fn apply<B>(self, response: &mut Response<B>) {
        let Some(header) = self.header else { return };
        let headers = response.headers_mut();
        set_cookie(
            headers,
            self.storage.records().cookie().name(),
            header.clone(),
        );
        headers
            .entry(CACHE_CONTROL)
            .or_insert(HeaderValue::from_static("no-store"));
        response
            .extensions_mut()
            .get_or_insert_default::<SessionCookies>()
            .0
            .push(header);
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

impl std::fmt::Debug for Saved {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
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
    if headers.get_all(SET_COOKIE).iter().any(is_ours) {
        let others: Vec<HeaderValue> = headers
            .get_all(SET_COOKIE)
            .iter()
            .filter(|value| !is_ours(value))
            .cloned()
            .collect();
        headers.remove(SET_COOKIE);
        for other in others {
            headers.append(SET_COOKIE, other);
        }
    }
    headers.append(SET_COOKIE, header);
}

/// Says that the answer depends on the cookie, unless the handler did.
fn vary(headers: &mut HeaderMap) {
    let says_so = headers.get_all(VARY).iter().any(|value| {
        value.as_bytes().split(|b| *b == b',').any(|field| {
            let field = field.trim_ascii();
            field == b"*" || field.eq_ignore_ascii_case(b"cookie")
        })
    });
    if !says_so {
        headers.append(VARY, HeaderValue::from_static("Cookie"));
    }
}

/// An error with its causes, for a log. Only what backends say; no error of ours holds a secret.
struct Chain<'a>(&'a Error);

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
