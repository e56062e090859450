//! A handler's sessions, as a value that owns what it needs.

use std::fmt;
use std::future::Future;

use crate::adapter::context::{Activity, Context};
use crate::adapter::request::{RequestSession, find_context};
use crate::cookie::request::CookieLines;
use crate::error::Result;
use crate::session::Session;

/// The sessions of one request, for a handler that decides itself whether to load one.
///
/// A value borrows nothing from the request. Clones are the same sessions.
///
/// Making one loads nothing and costs almost nothing. A login handler uses it: it starts a session
/// only after it has checked the password.
///
/// ```
/// use session_core::{Error, Sessions};
///
/// async fn log_in(sessions: Sessions, password_is_right: bool) -> Result<(), Error> {
///     if password_is_right {
///         let session = sessions.new_session()?; // takes the place of the client's old one
///         session.insert("user", 42)?;
///     }
///     Ok(())
/// }
/// ```
#[derive(Clone)]
pub struct Sessions {
    /// `None`: the request did not pass a session service.
    context: Option<Context>,
    cookies: CookieLines,
}

impl Sessions {
    /// Makes the sessions of an [`http::Request`] or its [`Parts`](http::request::Parts).
    pub fn of(request: &impl RequestSession) -> Self {
        let (headers, extensions) = request.head();
        Self {
            context: extensions.get().cloned(),
            cookies: CookieLines::of(headers),
        }
    }

    /// Returns the session, as [`RequestSession::session`] does.
    ///
    /// # Errors
    /// Those of that method.
    pub fn session(&self) -> impl Future<Output = Result<Session>> + Send + 'static {
        self.find(None, Activity::Counts)
    }

    /// Returns the session without counting it as activity, as [`RequestSession::passive_session`].
    ///
    /// # Errors
    /// Those of that method.
    pub fn passive_session(&self) -> impl Future<Output = Result<Session>> + Send + 'static {
        self.find(None, Activity::DoesNotCount)
    }

    /// Returns the session called `name`, as [`RequestSession::session_named`] does.
    ///
    /// # Errors
    /// Those of that method.
    pub fn session_named(
        &self,
        name: &str,
    ) -> impl Future<Output = Result<Session>> + Send + 'static {
        self.find(Some(name), Activity::Counts)
    }

    /// Starts a new session, as [`RequestSession::new_session`] does.
    ///
    /// A [`Session`] that the handler got earlier refuses changes from now on, with
    /// [`ErrorKind::Committed`](crate::ErrorKind::Committed).
    ///
    /// # Errors
    /// Those of that method.
    pub fn new_session(&self) -> Result<Session> {
        let (context, at) = find_context(self.context.as_ref(), None)?;
        context.new_session(at, &self.cookies)
    }

    /// Starts a new session called `name`, as [`RequestSession::new_session_named`] does.
    ///
    /// # Errors
    /// Those of that method.
    pub fn new_session_named(&self, name: &str) -> Result<Session> {
        let (context, at) = find_context(self.context.as_ref(), Some(name))?;
        context.new_session(at, &self.cookies)
    }

    fn find(
        &self,
        name: Option<&str>,
        activity: Activity,
    ) -> impl Future<Output = Result<Session>> + Send + use<> {
        let asked = find_context(self.context.as_ref(), name)
            .map(|(context, at)| context.ask(at, activity, || self.cookies.clone()));
        async move {
            match &asked {
                Ok(asked) => asked.session().await,
                Err(error) => Err(error.clone()),
            }
        }
    }
}

/// Shows nothing: the cookies are secret.
impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sessions").finish_non_exhaustive()
    }
}
