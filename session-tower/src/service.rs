//! The layer, and the service that it makes.

use std::fmt;
use std::task::{Context, Poll};

use http::{Request, Response};
use session_core::adapter::{DefaultErrorResponse, ErrorResponse, SessionFuture, Storages};
use session_core::{Error, Result, Storage};
use tower_layer::Layer;
use tower_service::Service;

/// A tower layer that runs its handlers with sessions. Clones are cheap.
///
/// In axum, add it to the router **after** the routes, because `Router::layer` covers only the
/// routes that were added before. Add a layer that needs the session, such as a guard, before this
/// one. This one then runs first.
#[derive(Clone)]
pub struct SessionLayer<A = DefaultErrorResponse> {
    storages: Storages,
    error_response: A,
}

impl SessionLayer {
    /// Makes a layer with sessions of `storage`.
    ///
    /// An `Arc<dyn Storage>` is a storage too. Use one to choose the storage at run time, or to
    /// share it.
    pub fn new(storage: impl Storage) -> Self {
        Self {
            storages: Storages::new(storage),
            error_response: DefaultErrorResponse,
        }
    }
}

impl<A> SessionLayer<A> {
    /// Adds sessions of another storage, whose cookie has another name.
    ///
    /// Handlers get them with [`Sessions::session_named`](session_core::Sessions::session_named).
    ///
    /// # Errors
    /// [`ErrorKind::Settings`](session_core::ErrorKind::Settings) if a storage of this layer has
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
    /// That is a failed load, a session error of the handler, or a failed save. Default: the right
    /// status and an empty body.
    ///
    /// [`status`](session_core::adapter::status) returns the right status. The response must not
    /// contain the error's text. `Cache-Control: no-store` is added unless the response has that
    /// header.
    ///
    /// ```
    /// # #[cfg(feature = "axum")] {
    /// use axum::response::{Html, IntoResponse, Response};
    /// use session_tower::{Error, MemoryStorage, SessionLayer, status};
    ///
    /// fn sorry(error: &Error) -> Response {
    ///     (status(error), Html("<h1>Please try again in a minute</h1>")).into_response()
    /// }
    ///
    /// let layer = SessionLayer::new(MemoryStorage::default()).on_error(sorry);
    /// # let _: axum::Router = axum::Router::new().layer(layer);
    /// # }
    /// ```
    pub fn on_error<F, B>(self, error_response: F) -> SessionLayer<F>
    where
        F: Fn(&Error) -> Response<B>,
    {
        SessionLayer {
            storages: self.storages,
            error_response,
        }
    }
}

impl<S, A: Clone> Layer<S> for SessionLayer<A> {
    type Service = SessionService<S, A>;

    fn layer(&self, inner: S) -> Self::Service {
        SessionService {
            storages: self.storages.clone(),
            error_response: self.error_response.clone(),
            inner,
        }
    }
}

/// A tower service that gives a handler its sessions, made by [`SessionLayer`].
#[derive(Clone)]
pub struct SessionService<S, A = DefaultErrorResponse> {
    storages: Storages,
    error_response: A,
    inner: S,
}

impl<S, A, ReqB, ResB> Service<Request<ReqB>> for SessionService<S, A>
where
    S: Service<Request<ReqB>, Response = Response<ResB>, Error: 'static>,
    A: ErrorResponse<ResB> + Clone,
{
    type Response = Response<ResB>;
    type Error = S::Error;
    type Future = SessionFuture<S::Future, A, ResB>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqB>) -> Self::Future {
        self.storages
            .serve(request, self.error_response.clone(), |request| {
                self.inner.call(request)
            })
    }
}

impl<A> fmt::Debug for SessionLayer<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionLayer")
            .field("storages", &self.storages)
            .finish_non_exhaustive()
    }
}

impl<S, A> fmt::Debug for SessionService<S, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionService")
            .field("storages", &self.storages)
            .finish_non_exhaustive()
    }
}
