//! The service around a handler.

use std::fmt;

use http::{Request, Response};
use hyper::service::Service;
use session_core::adapter::{DefaultErrorResponse, ErrorResponse, SessionFuture, Storages};
use session_core::{Error, Result, Storage};

/// A hyper service that gives a handler its sessions.
///
/// Cheap to clone: use a clone for each connection.
#[derive(Clone)]
pub struct SessionService<S, A = DefaultErrorResponse> {
    storages: Storages,
    inner: S,
    error_response: A,
}

impl<S> SessionService<S> {
    /// Puts sessions of `storage` around `inner`. An `Arc<dyn Storage>` is a storage too: one that
    /// was chosen at run time, or that is used elsewhere as well.
    pub fn new(storage: impl Storage, inner: S) -> Self {
        Self {
            storages: Storages::new(storage),
            inner,
            error_response: DefaultErrorResponse,
        }
    }
}

impl<S, A> SessionService<S, A> {
    /// Adds sessions of another storage, whose cookie has another name. Handlers reach them with
    /// [`session_named`](session_core::RequestSession::session_named).
    ///
    /// # Errors
    /// [`ErrorKind::Settings`](session_core::ErrorKind::Settings) if a storage of this service has
    /// the same cookie name.
    pub fn and(self, storage: impl Storage) -> Result<Self> {
        Ok(Self {
            storages: self.storages.and(storage)?,
            ..self
        })
    }

    /// Sets whether changes are saved although the handler responded with a server error (5xx).
    /// Default: false, half-done work of a failed handler is dropped.
    #[must_use]
    pub fn save_server_errors(self, save: bool) -> Self {
        Self {
            storages: self.storages.save_server_errors(save),
            ..self
        }
    }

    /// Lets `error_response` write the response to a request whose session failed.
    ///
    /// [`status`](session_core::adapter::status) says which status fits. The response must not hold
    /// the error's text. `Cache-Control: no-store` is added unless the response has its own.
    pub fn on_error<F, B>(self, error_response: F) -> SessionService<S, F>
    where
        F: Fn(&Error) -> Response<B>,
    {
        SessionService {
            storages: self.storages,
            inner: self.inner,
            error_response,
        }
    }
}

impl<S, A, ReqB, ResB> Service<Request<ReqB>> for SessionService<S, A>
where
    S: Service<Request<ReqB>, Response = Response<ResB>, Error: 'static>,
    A: ErrorResponse<ResB> + Clone,
{
    type Response = Response<ResB>;
    type Error = S::Error;
    type Future = SessionFuture<S::Future, A, ResB>;

    fn call(&self, request: Request<ReqB>) -> Self::Future {
        self.storages
            .serve(request, self.error_response.clone(), |request| {
                self.inner.call(request)
            })
    }
}

impl<S, A> fmt::Debug for SessionService<S, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionService")
            .field("storages", &self.storages)
            .finish_non_exhaustive()
    }
}
