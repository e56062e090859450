//! How a handler gets its sessions.

use std::future::Future;

use http::{Extensions, HeaderMap, Request, request};

use crate::adapter::context::{Activity, Context};
use crate::cookie::request::CookieLines;
use crate::error::{Error, ErrorKind, Result};
use crate::session::Session;

/// Gives a handler its sessions, from an [`http::Request`] or its [`Parts`](request::Parts).
///
/// The futures borrow nothing from the request, so they also work with a body that is not `Sync`.
pub trait RequestSession: sealed::Sealed {
    /// Returns the request's session, loading it at the first call.
    ///
    /// Later calls, and calls in other tasks, get the same session. This is aiohttp_session's
    /// `get_session`.
    ///
    /// With several storages, this is the session of the first one.
    ///
    /// # Errors
    /// - [`ErrorKind::Unavailable`] if the store did not respond.
    /// - [`ErrorKind::Settings`] if the request did not pass a session service.
    #[doc(alias = "get_session")]
    fn session(&self) -> impl Future<Output = Result<Session>> + Send + 'static {
        find(self.head(), None, Activity::Counts)
    }

    /// Returns the session whose cookie is called `name`, in a service with several storages.
    ///
    /// # Errors
    /// As [`session`](Self::session); also [`ErrorKind::Settings`] if no storage of the service has
    /// a cookie of this name.
    fn session_named(&self, name: &str) -> impl Future<Output = Result<Session>> + Send + 'static {
        find(self.head(), Some(name), Activity::Counts)
    }

    /// Returns the session without counting the request as activity of the user.
    ///
    /// Use it for a page that polls in the background. Otherwise it is like
    /// [`session`](Self::session).
    ///
    /// In a [rolling](crate::CookieBuilder::rolling) storage, such a read does not restart the
    /// lifetime. A write restarts it, and so does a call of `session` elsewhere in the request.
    ///
    /// # Errors
    /// As [`session`](Self::session).
    fn passive_session(&self) -> impl Future<Output = Result<Session>> + Send + 'static {
        find(self.head(), None, Activity::DoesNotCount)
    }

    /// Replaces the client's session with a new, empty one: a login.
    ///
    /// This is aiohttp_session's `new_session`. It loads nothing.
    ///
    /// A [`Session`] that the handler got earlier refuses changes from now on, with
    /// [`ErrorKind::Committed`]. Its unsaved changes are dropped, except an
    /// [`invalidate`](Session::invalidate).
    ///
    /// When the new session is saved, the sessions of the client's cookies end. If the new session
    /// stays empty, the client's cookie is removed. If the handler responds with a server error
    /// (5xx), the login is dropped and the old session stays.
    ///
    /// # Errors
    /// - [`ErrorKind::Settings`] if the request did not pass a session service.
    /// - [`ErrorKind::Committed`] after the response's headers have left.
    fn new_session(&self) -> Result<Session> {
        let (headers, extensions) = self.head();
        let (context, at) = find_context(extensions.get(), None)?;
        context.new_session(at, &CookieLines::of(headers))
    }

    /// Replaces the session whose cookie is called `name`, as [`new_session`](Self::new_session)
    /// does.
    ///
    /// # Errors
    /// As [`new_session`](Self::new_session) and [`session_named`](Self::session_named).
    fn new_session_named(&self, name: &str) -> Result<Session> {
        let (headers, extensions) = self.head();
        let (context, at) = find_context(extensions.get(), Some(name))?;
        context.new_session(at, &CookieLines::of(headers))
    }
}

impl<B> RequestSession for Request<B> {}

impl RequestSession for request::Parts {}

mod sealed {
    use http::{Extensions, HeaderMap, Request, request};

    /// Gives access to a request's cookies and its context.
    pub trait Sealed {
        #[doc(hidden)]
        fn head(&self) -> (&HeaderMap, &Extensions);
    }

    impl<B> Sealed for Request<B> {
        fn head(&self) -> (&HeaderMap, &Extensions) {
            (self.headers(), self.extensions())
        }
    }

    impl Sealed for request::Parts {
        fn head(&self) -> (&HeaderMap, &Extensions) {
            (&self.headers, &self.extensions)
        }
    }
}

fn find(
    (headers, extensions): (&HeaderMap, &Extensions),
    name: Option<&str>,
    activity: Activity,
) -> impl Future<Output = Result<Session>> + Send + use<> {
    let asked = find_context(extensions.get(), name)
        .map(|(context, at)| context.ask(at, activity, || CookieLines::of(headers)));
    // By reference: moving it into the inner future would store it twice.
    async move {
        match &asked {
            Ok(asked) => asked.session().await,
            Err(error) => Err(error.clone()),
        }
    }
}

/// Returns whether the request passed a session service.
#[cfg(feature = "axum")]
pub(super) fn has_context(parts: &request::Parts) -> bool {
    parts.extensions.get::<Context>().is_some()
}

/// Returns the context, and the index of the storage whose cookie is called `name`, or of the first
/// storage.
pub(super) fn find_context<'a>(
    context: Option<&'a Context>,
    name: Option<&str>,
) -> Result<(&'a Context, usize)> {
    let Some(context) = context else {
        let why = "the request did not pass a session service: wrap the handler in a \
                   session_hyper::SessionService, or add a session_tower::SessionLayer to the \
                   router after its routes";
        let error = Error::with_message(ErrorKind::Settings, why);
        tracing::error!(
            target: "session::request",
            op = "load",
            kind = ?error.kind(),
            %error,
            "no session service"
        );
        return Err(error.logged());
    };
    let Some(at) = context.find(name) else {
        let name = name.unwrap_or_default();
        let why = format!("no storage of the session service has a cookie called {name}");
        let error = Error::with_message(ErrorKind::Settings, why);
        tracing::error!(
            target: "session::request",
            op = "load",
            kind = ?error.kind(),
            %error,
            "no storage has this cookie name"
        );
        return Err(error.logged());
    };
    Ok((context, at))
}
