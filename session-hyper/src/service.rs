//! The service around a handler.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Poll, ready};

use http::header::{CACHE_CONTROL, HeaderValue};
use http::{Request, Response, StatusCode};
use hyper::service::Service;
use pin_project_lite::pin_project;
use session_core::{Error, ErrorKind, Saved, SessionContext, Storage, answer_instead};

/// A hyper service that gives the handler inside a session.
///
/// Cheap to clone: one for each connection. Services nest, each with a storage of another cookie
/// name; the innermost is [`session`](session_core::RequestSession::session), any is
/// [`session_named`](session_core::RequestSession::session_named).
#[derive(Clone)]
pub struct SessionService<S, A = DefaultAnswer> {
    storage: Arc<dyn Storage>,
    inner: S,
    answer: A,
}

impl<S> SessionService<S> {
    /// Puts sessions of `storage` around `inner`. An `Arc<dyn Storage>` is a storage too: one that
    /// was chosen at run time, or is used elsewhere as well.
    pub fn new(storage: impl Storage, inner: S) -> Self {
        Self {
            storage: Arc::new(storage),
            inner,
            answer: DefaultAnswer,
        }
    }

    /// Lets `answer` write the response when a session could not be loaded or saved, or the handler
    /// returned a session's error. [`status`] says which status fits. It must not put the error's text into it; no-store is added unless it
    /// says something else about caching. Of nested services each answers for its own session.
    pub fn on_error<A, B>(self, answer: A) -> SessionService<S, A>
    where
        A: Fn(&Error) -> Response<B>,
    {
        SessionService {
            storage: self.storage,
            inner: self.inner,
            answer,
        }
    }
}

/// Writes the response when a session failed: [`DefaultAnswer`], or the closure given to [`on_error`](SessionService::on_error).
pub trait ErrorAnswer<B>: sealed::Sealed<B> {
    /// Returns the response for `error`.
    fn answer(&self, error: &Error) -> Response<B>;
}

mod sealed {
    use super::{DefaultAnswer, Error, Response};

    /// Only this crate says what can answer.
    pub trait Sealed<B> {}

    impl<B: Default> Sealed<B> for DefaultAnswer {}
    impl<B, F: Fn(&Error) -> Response<B>> Sealed<B> for F {}
}

/// Answers with the [`status`] that fits and the default body, which is an empty one.
#[derive(Clone, Copy, Debug, Default)]
pub struct DefaultAnswer;

impl<B: Default> ErrorAnswer<B> for DefaultAnswer {
    fn answer(&self, error: &Error) -> Response<B> {
        let mut response = Response::new(B::default());
        *response.status_mut() = status(error);
        response
    }
}

impl<B, F: Fn(&Error) -> Response<B>> ErrorAnswer<B> for F {
    fn answer(&self, error: &Error) -> Response<B> {
        self(error)
    }
}

/// Returns the HTTP status that fits an error: 503 where a retry may succeed, 409 where another
/// request ended the session, else 500.
pub fn status(error: &Error) -> StatusCode {
    match error.kind() {
        ErrorKind::Unavailable | ErrorKind::Contended => StatusCode::SERVICE_UNAVAILABLE,
        ErrorKind::Ended => StatusCode::CONFLICT,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

impl<S, A, ReqB, ResB> Service<Request<ReqB>> for SessionService<S, A>
where
    S: Service<Request<ReqB>, Response = Response<ResB>, Error: 'static>,
    A: ErrorAnswer<ResB> + Clone,
{
    type Response = Response<ResB>;
    type Error = S::Error;
    type Future = SessionFuture<S::Future, A, ResB>;

    fn call(&self, mut request: Request<ReqB>) -> Self::Future {
        let context = SessionContext::attach(&self.storage, request.extensions_mut());
        SessionFuture {
            context: Context(context),
            handler: self.inner.call(request),
            answer: self.answer.clone(),
            saving: None,
        }
    }
}

/// The request's context, closed when the request is over however it ends: a task that holds the
/// session on is told that nobody saves it any more.
#[derive(Debug)]
struct Context(SessionContext);

impl Drop for Context {
    fn drop(&mut self) {
        self.0.abandon();
    }
}

type Saving = Pin<Box<dyn Future<Output = session_core::Result<Saved>> + Send>>;

pin_project! {
    /// The response of a [`SessionService`].
    pub struct SessionFuture<F, A, B> {
        #[pin]
        handler: F,
        context: Context,
        answer: A,
        // Boxed, but only for the requests that changed their session.
        saving: Option<(Saving, Response<B>)>,
    }
}

impl<F, A, B, E> Future for SessionFuture<F, A, B>
where
    F: Future<Output = Result<Response<B>, E>>,
    A: ErrorAnswer<B>,
    E: 'static,
{
    type Output = Result<Response<B>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if this.saving.is_none() {
            let mut response = match ready!(this.handler.poll(cx)) {
                Ok(response) => response,
                Err(error) => {
                    // A `?` on what a session returns is all that a handler needs.
                    return Poll::Ready(match this.context.0.failure(&error) {
                        Some(error) => Ok(uncached(this.answer.answer(&error))),
                        None => Err(error),
                    });
                }
            };
            match this.context.0.close(response.headers_mut()) {
                None => return Poll::Ready(Ok(response)),
                Some(save) => *this.saving = Some((Box::pin(save.run()), response)),
            }
        }
        let Some((saving, _)) = this.saving else {
            return Poll::Pending;
        };
        let saved = ready!(saving.as_mut().poll(cx));
        let Some((_, mut response)) = this.saving.take() else {
            return Poll::Pending;
        };
        Poll::Ready(Ok(match saved {
            Ok(saved) => {
                saved.apply(&mut response);
                response
            }
            Err(error) => answer_instead(&response, uncached(this.answer.answer(&error))),
        }))
    }
}

/// A failure is nothing to keep, unless the application thinks otherwise.
fn uncached<B>(mut answer: Response<B>) -> Response<B> {
    let headers = answer.headers_mut();
    headers
        .entry(CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    answer
}

impl<S, A> fmt::Debug for SessionService<S, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionService")
            .field("storage", &self.storage)
            .finish_non_exhaustive()
    }
}

impl<F, A, B> fmt::Debug for SessionFuture<F, A, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionFuture")
            .field("context", &self.context.0)
            .finish_non_exhaustive()
    }
}
