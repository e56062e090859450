//! The future that runs around a handler.

use std::any::Any;
use std::error::Error as StdError;
use std::fmt;
use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::task::Poll;

use http::Response;
use pin_project_lite::pin_project;

use crate::adapter::context::Context;
use crate::adapter::error_response::ErrorResponse;
use crate::adapter::finish::{Keep, Saved};
use crate::adapter::headers;
use crate::error::{Error, ErrorChain, ErrorKind};

pin_project! {
    /// Runs a handler, saves the sessions that it changed, and responds.
    ///
    /// - Before the headers leave, changed sessions are saved in the order of their storages.
    /// - After a session error, changes are dropped. After a server error (5xx) they are dropped
    ///   too, unless the service [saves them](crate::adapter::Storages::save_server_errors). An
    ///   [`invalidate`](crate::Session::invalidate) is carried out before every response.
    /// - A session error is an [`Error`] in the response's extensions, or the handler's `Err` if
    ///   that is an [`Error`], or a `Box<dyn std::error::Error + Send + Sync>` that has one among
    ///   its sources. After a failed load, an `Err` of any type but these counts as that failure.
    ///   The [`ErrorResponse`] writes the response to it. Any other `Err` goes to the server, and
    ///   nothing is saved.
    /// - Dropping the future ends the request: its sessions refuse changes from then on.
    ///
    /// # Panics
    /// As the future of an `async fn`, it panics if it is polled again after it has returned or
    /// panicked. No request can cause that.
    pub struct SessionFuture<F, A, B> {
        #[pin]
        handler: F,
        // None: an outer service with the same storages serves the request.
        request: Option<OpenRequest>,
        error_response: A,
        stage: Stage<B>,
    }
}

/// What the request waits for.
enum Stage<B> {
    Handler,
    /// The saves, for the response to this outcome.
    Saving(Saving, Outcome<B>),
    Done,
}

/// Boxed, but only for the requests that changed their session.
type Saving = Pin<Box<dyn Future<Output = Saved> + Send>>;

/// What the handler returned.
enum Outcome<B> {
    Response(Response<B>),
    SessionError(Error),
}

/// The request's context. It is closed when the request is over, however it ends.
struct OpenRequest(Context);

impl Drop for OpenRequest {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl<F, A, B> SessionFuture<F, A, B> {
    pub(super) fn new(context: Option<Context>, handler: F, error_response: A) -> Self {
        Self {
            handler,
            request: context.map(OpenRequest),
            error_response,
            stage: Stage::Handler,
        }
    }
}

impl<F, A, B, E> Future for SessionFuture<F, A, B>
where
    F: Future<Output = Result<Response<B>, E>>,
    A: ErrorResponse<B>,
    E: 'static,
{
    type Output = Result<Response<B>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let Some(OpenRequest(context)) = this.request else {
            return this.handler.poll(cx);
        };
        let (mut saving, outcome) = match mem::replace(this.stage, Stage::Done) {
            Stage::Handler => {
                let Poll::Ready(returned) = this.handler.poll(cx) else {
                    *this.stage = Stage::Handler;
                    return Poll::Pending;
                };
                let outcome = match Outcome::of(returned, context) {
                    Ok(outcome) => outcome,
                    Err(returned) => {
                        context.close();
                        return Poll::Ready(returned);
                    }
                };
                let jobs = context.finish(outcome.keep(context));
                if !jobs.is_due() {
                    return Poll::Ready(Ok(match outcome {
                        Outcome::Response(mut response) if jobs.is_empty() => {
                            headers::vary(response.headers_mut());
                            response
                        }
                        outcome => respond(context, this.error_response, outcome, jobs.unsaved()),
                    }));
                }
                let saving: Saving = Box::pin(jobs.save());
                (saving, outcome)
            }
            Stage::Saving(saving, outcome) => (saving, outcome),
            Stage::Done => panic!("a SessionFuture was polled after it had returned"),
        };
        match saving.as_mut().poll(cx) {
            Poll::Pending => {
                *this.stage = Stage::Saving(saving, outcome);
                Poll::Pending
            }
            Poll::Ready(saved) => {
                Poll::Ready(Ok(respond(context, this.error_response, outcome, saved)))
            }
        }
    }
}

impl<B> Outcome<B> {
    /// Returns the outcome of a handler that returned `returned`. `Err`: there is nothing to do for
    /// sessions, so that a request whose handler requested none costs almost nothing.
    fn of<E: 'static>(
        returned: Result<Response<B>, E>,
        context: &Context,
    ) -> Result<Self, Result<Response<B>, E>> {
        match returned {
            Ok(mut response) => match response.extensions_mut().remove::<Error>() {
                Some(error) => Ok(Self::SessionError(error)),
                None if context.is_asked() => Ok(Self::Response(response)),
                None => Err(Ok(response)),
            },
            Err(error) => match session_error(&error, context) {
                Some(error) => Ok(Self::SessionError(error)),
                None => Err(Err(error)),
            },
        }
    }

    fn keep(&self, context: &Context) -> Keep {
        match self {
            Self::SessionError(error) => {
                if !error.is_logged() {
                    log_failure(error);
                }
                Keep::EndsOnFailure
            }
            Self::Response(response) => {
                let status = response.status();
                if status.is_server_error() && !context.saves_server_errors() {
                    Keep::EndsOnServerError(status)
                } else if headers::is_public(response.headers()) {
                    Keep::Writes
                } else {
                    Keep::Everything
                }
            }
        }
    }
}

fn log_failure(error: &Error) {
    if error.kind() == ErrorKind::Ended {
        // A guard returns this for every request with an old cookie, so clients can cause it.
        tracing::info!(
            target: "session::request",
            op = "handle",
            "request refused: its session has ended"
        );
        return;
    }
    tracing::error!(
        target: "session::request",
        op = "handle",
        kind = ?error.kind(),
        error = %ErrorChain(error),
        "handler failed with a session error"
    );
}

fn respond<B>(
    context: &Context,
    error_response: &impl ErrorResponse<B>,
    outcome: Outcome<B>,
    mut saved: Saved,
) -> Response<B> {
    // If both failed, respond with the handler's error. The other one is in the log.
    let outcome = match (outcome, saved.error.take()) {
        (Outcome::Response(_), Some(error)) => Outcome::SessionError(error),
        (outcome, _) => outcome,
    };
    let mut response = match outcome {
        Outcome::Response(response) => response,
        Outcome::SessionError(error) => {
            let mut response = error_response.respond(&error);
            headers::forbid_storing(response.headers_mut());
            response
        }
    };
    if context.is_asked() {
        headers::vary(response.headers_mut());
    }
    saved.apply(response.headers_mut());
    response
}

/// Returns the session error that a handler's error is, or that its box contains.
///
/// Nothing here can look into an error of another type. After a failed load it most likely wraps
/// that failure, and the client must get its 503 and not a closed connection.
fn session_error<E: 'static>(error: &E, context: &Context) -> Option<Error> {
    let error: &dyn Any = error;
    if let Some(error) = error.downcast_ref::<Error>() {
        return Some(error.clone());
    }
    let Some(boxed) = error.downcast_ref::<Box<dyn StdError + Send + Sync>>() else {
        return context.load_error();
    };
    let mut next: Option<&(dyn StdError + 'static)> = Some(&**boxed);
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<Error>() {
            return Some(error.clone());
        }
        next = error.source();
    }
    None
}

impl<F, A, B> fmt::Debug for SessionFuture<F, A, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionFuture").finish_non_exhaustive()
    }
}
