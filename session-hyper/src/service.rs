//! The service around a handler.

use std::fmt;

use http::{Request, Response};
use hyper::service::Service;
use session_core::adapter::{DefaultErrorResponse, ErrorResponse, SessionFuture, Storages};
use session_core::{Error, Result, Storage};

/// A hyper service that runs a handler with sessions.
///
/// It is cheap to clone. Use a clone for each connection.
#[derive(Clone)]
pub struct SessionService<S, A = DefaultErrorResponse> {
    storages: Storages,
    inner: S,
    error_response: A,
}

impl<S> SessionService<S> {
    /// Makes a service that runs `inner` with sessions of `storage`.
    ///
    /// An `Arc<dyn Storage>` is a storage too. Use one to choose the storage at run time, or to
    /// share it.
    pub fn new(storage: impl Storage, inner: S) -> Self {
        Self {
            storages: Storages::new(storage),
            inner,
            error_response: DefaultErrorResponse,
        }
    }
}

impl<S, A> SessionService<S, A> {
    /// Adds sessions of another storage, whose cookie has another name.
    ///
    /// Handlers get them with [`session_named`](session_core::RequestSession::session_named).
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

    /// Sets whether changes are saved if the handler responds with a server error (5xx).
    ///
    /// Default: false. The unfinished work of a failed handler is dropped.
    #[must_use]
    pub fn save_server_errors(self, save: bool) -> Self {
        Self {
            storages: self.storages.save_server_errors(save),
            ..self
        }
    }

    /// Sets the closure that writes the response to a request whose session failed.
    ///
    /// Default: the right status and an empty body.
    ///
    /// [`status`](session_core::adapter::status) returns the right status. The response must not
    /// contain the error's text. `Cache-Control: no-store` is added unless the response has that
    /// header.
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
