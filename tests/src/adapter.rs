//! The adapters for servers, so that a test runs through each of them: a handler with sessions
//! around it, in a hyper service or in an axum router.

use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::Body;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use http::{Request, header};
use http_body_util::BodyExt as _;
use hyper::body::{Body as HttpBody, Incoming};
use hyper::service::{Service as _, service_fn};
use session_core::adapter::{DefaultErrorResponse, ErrorResponse, Storages};
use session_core::{Error, Result, Storage};
use session_hyper::SessionService;
use session_tower::SessionLayer;
use tokio::sync::{mpsc, oneshot};
use tower::ServiceExt as _;

use crate::server::{BoxError, Server};

/// An adapter for servers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Adapter {
    /// `session_hyper::SessionService`.
    Hyper,
    /// `session_tower::SessionLayer` around an axum router.
    Axum,
}

impl Adapter {
    /// Returns the adapter's name on the command line of the program `parity`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Hyper => "hyper",
            Self::Axum => "axum",
        }
    }

    /// Puts sessions of `storage` around `handler`.
    pub fn service<H, R, F>(self, storage: impl Storage, handler: H) -> Service<H>
    where
        H: Fn(Request<R>) -> F,
    {
        Service(match self {
            Self::Hyper => Inner::Hyper(SessionService::new(storage, Handler(handler))),
            Self::Axum => Inner::Axum(SessionLayer::new(storage), handler),
        })
    }

    /// Serves `handler` over TCP, with sessions of `storage` around it.
    pub async fn start<H, F, B>(self, storage: impl Storage, handler: H) -> Server
    where
        H: Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Result<http::Response<B>, BoxError>> + Send + 'static,
        B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        self.service(storage, handler).serve().await
    }

    /// Serves one request in process, with a handler that may borrow from the test.
    ///
    /// # Errors
    /// The handler's error, if it is not a session error.
    pub async fn serve_once<R, F, E>(
        self,
        storage: impl Storage,
        request: Request<R>,
        handler: impl FnOnce(Request<R>) -> F,
    ) -> Result<http::Response<String>, BoxError>
    where
        R: Send + 'static,
        F: Future<Output = Result<http::Response<String>, E>>,
        E: Into<BoxError> + 'static,
    {
        if self == Self::Hyper {
            let serving = Storages::new(storage).serve(request, DefaultErrorResponse, handler);
            return serving.await.map_err(Into::into);
        }
        // The handler of a router must not borrow. It passes the request on to this task.
        let (requests, mut received) = mpsc::unbounded_channel();
        let pass_on = move |request: Request<R>| {
            let (response, outcome) = oneshot::channel();
            let is_passed_on = requests.send((request, response)).is_ok();
            assert!(is_passed_on, "the test has ended");
            async { outcome.await.expect("the handler responds") }
        };
        let service = self.service(storage, pass_on);
        let handling = async {
            let (request, response) = received.recv().await.expect("the handler is called");
            let outcome = handler(request).await.map_err(Into::into);
            let _: Result<(), Result<_, BoxError>> = response.send(outcome);
        };
        tokio::join!(service.call(request), handling).0
    }
}

/// A handler with sessions around it. It has the methods that both adapters have.
///
/// A session error that the handler returns becomes a response in axum, as its `?` makes one. Axum
/// has nothing like another error, so the handler panics there.
pub struct Service<H, A = DefaultErrorResponse>(Inner<H, A>);

enum Inner<H, A> {
    Hyper(SessionService<Handler<H>, A>),
    Axum(SessionLayer<A>, H),
}

impl<H, A> Service<H, A> {
    /// Adds sessions of another storage.
    ///
    /// # Errors
    /// What the adapter says to two storages of one cookie name.
    pub fn and(self, storage: impl Storage) -> Result<Self> {
        Ok(Self(match self.0 {
            Inner::Hyper(service) => Inner::Hyper(service.and(storage)?),
            Inner::Axum(layer, handler) => Inner::Axum(layer.and(storage)?, handler),
        }))
    }

    /// Sets whether changes are saved although the handler responded with a server error.
    #[must_use]
    pub fn save_server_errors(self, save: bool) -> Self {
        Self(match self.0 {
            Inner::Hyper(service) => Inner::Hyper(service.save_server_errors(save)),
            Inner::Axum(layer, handler) => Inner::Axum(layer.save_server_errors(save), handler),
        })
    }

    /// Lets `response` write the response to a request whose session failed.
    pub fn on_error<F, B>(self, response: F) -> Service<H, impl OnError>
    where
        F: Fn(&Error) -> http::Response<B> + Clone + Send + Sync + 'static,
        B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        let response = move |error: &Error| response(error).map(Body::new);
        Service(match self.0 {
            Inner::Hyper(service) => Inner::Hyper(service.on_error(response)),
            Inner::Axum(layer, handler) => Inner::Axum(layer.on_error(response), handler),
        })
    }

    /// Serves it over TCP.
    pub async fn serve<F, B, E>(self) -> Server
    where
        A: OnError,
        H: Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Result<http::Response<B>, E>> + Send + 'static,
        B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
        E: Into<BoxError> + 'static,
    {
        match self.0 {
            Inner::Hyper(service) => Server::serve(service).await,
            Inner::Axum(layer, handler) => {
                let router = router(layer, handler);
                let serve = move |request| router.clone().oneshot(carried(request));
                Server::serve(service_fn(serve)).await
            }
        }
    }

    /// Sends a request through it in process.
    ///
    /// # Errors
    /// The handler's error, if it is not a session error.
    pub async fn call<R, F, B, E>(
        &self,
        request: Request<R>,
    ) -> Result<http::Response<String>, BoxError>
    where
        A: OnError,
        H: Fn(Request<R>) -> F + Clone + Send + Sync + 'static,
        R: Send + 'static,
        F: Future<Output = Result<http::Response<B>, E>> + Send + 'static,
        B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
        E: Into<BoxError> + 'static,
    {
        let response = match &self.0 {
            Inner::Hyper(service) => service.call(request).await.map_err(Into::into)?,
            Inner::Axum(layer, handler) => {
                let router = router(layer.clone(), handler.clone());
                let mut response = router.oneshot(carried(request)).await?;
                // Axum adds it to each response, and hyper when it writes one to a connection.
                response.headers_mut().remove(header::CONTENT_LENGTH);
                response
            }
        };
        let (head, body) = response.into_parts();
        let body = body.collect().await?.to_bytes();
        let body = String::from_utf8(body.into())?;
        Ok(http::Response::from_parts(head, body))
    }
}

/// What writes the response to a failed session in either adapter.
pub trait OnError: ErrorResponse<Body> + Clone + Send + Sync + 'static {}

impl<A: ErrorResponse<Body> + Clone + Send + Sync + 'static> OnError for A {}

/// A handler as a hyper service.
#[derive(Clone)]
struct Handler<H>(H);

impl<H, R, F, B, E> hyper::service::Service<Request<R>> for Handler<H>
where
    H: Fn(Request<R>) -> F,
    F: Future<Output = Result<http::Response<B>, E>> + Send + 'static,
    B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    type Response = Response;
    type Error = E;
    type Future = std::pin::Pin<Box<dyn Future<Output = Result<Response, E>> + Send>>;

    fn call(&self, request: Request<R>) -> Self::Future {
        let response = (self.0)(request);
        Box::pin(async move { Ok(response.await?.map(Body::new)) })
    }
}

/// Returns a router whose only handler is `handler`.
fn router<H, R, F, B, E>(layer: SessionLayer<impl OnError>, handler: H) -> Router
where
    H: Fn(Request<R>) -> F + Clone + Send + Sync + 'static,
    R: Send + 'static,
    F: Future<Output = Result<http::Response<B>, E>> + Send + 'static,
    B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    E: Into<BoxError> + 'static,
{
    let handler = move |mut request: Request<Body>| {
        let carried = request.extensions_mut().remove::<Carried<R>>();
        let body = carried.and_then(|carried| carried.take());
        let response = handler(request.map(|_| body.expect("each request carries a body")));
        async move {
            match response.await {
                Ok(response) => response.map(Body::new),
                Err(error) => match error.into().downcast::<Error>() {
                    Ok(error) => error.into_response(),
                    Err(other) => panic!("an axum handler cannot return {other}"),
                },
            }
        }
    };
    Router::new().fallback(handler).layer(layer)
}

/// The body of a request on its way through axum, whose requests have a body of another type.
struct Carried<R>(Arc<Mutex<Option<R>>>);

impl<R> Carried<R> {
    fn take(&self) -> Option<R> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl<R> Clone for Carried<R> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

/// Puts the body into the request's extensions.
fn carried<R: Send + 'static>(request: Request<R>) -> Request<Body> {
    let (mut head, body) = request.into_parts();
    head.extensions
        .insert(Carried(Arc::new(Mutex::new(Some(body)))));
    Request::from_parts(head, Body::empty())
}

impl<H, A> fmt::Debug for Service<H, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Inner::Hyper(service) => service.fmt(f),
            Inner::Axum(layer, _) => layer.fmt(f),
        }
    }
}
