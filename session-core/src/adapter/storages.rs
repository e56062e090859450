//! The storages of a service.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use http::{Request, Response};

use crate::adapter::context::Context;
use crate::adapter::error_response::ErrorResponse;
use crate::adapter::future::SessionFuture;
use crate::cookie::change::CookieChange;
use crate::error::{Error, ErrorKind, Result};
use crate::session::Session;
use crate::session::hook::Save;
use crate::storage::Storage;

/// The storages of a service, and its settings. Clones are cheap.
///
/// Handlers get the session of the first storage with [`session`](crate::RequestSession::session),
/// and that of any storage with [`session_named`](crate::RequestSession::session_named).
#[derive(Clone, Debug)]
pub struct Storages(Arc<Inner>);

#[derive(Clone, Debug)]
pub(super) struct Inner {
    pub(super) first: Arc<Mount>,
    pub(super) more: Vec<Arc<Mount>>,
    pub(super) saves_server_errors: bool,
}

/// One storage of a service. It saves the sessions that it loaded.
#[derive(Debug)]
pub(super) struct Mount {
    pub(super) storage: Arc<dyn Storage>,
}

impl Storages {
    /// Makes a value that serves sessions of `storage`.
    ///
    /// An `Arc<dyn Storage>` is a storage too. Use one to choose the storage at run time, or to
    /// share it.
    pub fn new(storage: impl Storage) -> Self {
        Self(Arc::new(Inner {
            first: Mount::new(storage),
            more: Vec::new(),
            saves_server_errors: false,
        }))
    }

    /// Adds another storage. Its cookie must have another name.
    ///
    /// # Errors
    /// [`ErrorKind::Settings`] if another storage already has this cookie name.
    pub fn and(mut self, storage: impl Storage) -> Result<Self> {
        let mount = Mount::new(storage);
        let inner = Arc::make_mut(&mut self.0);
        let name = mount.cookie_name();
        if inner.mounts().any(|other| other.cookie_name() == name) {
            let why = format!("two storages of one service have the cookie name {name}");
            return Err(Error::with_message(ErrorKind::Settings, why));
        }
        inner.more.push(mount);
        Ok(self)
    }

    /// Sets whether changes are saved if the handler responds with a server error (5xx).
    ///
    /// Default: false. The unfinished work of a failed handler is dropped, and a `warn` event says
    /// so. aiohttp_session saves it, except after an unhandled exception.
    #[must_use]
    pub fn save_server_errors(mut self, save: bool) -> Self {
        Arc::make_mut(&mut self.0).saves_server_errors = save;
        self
    }

    /// Returns a future that runs `handler` with sessions and saves them.
    ///
    /// `error_response` writes the response if a session fails.
    ///
    /// Handlers see only the innermost service. If an outer service already has the same storages
    /// (clones of one `Storages`, or of one `Arc`), the inner one does nothing.
    pub fn serve<ReqB, ResB, E, A, F>(
        &self,
        mut request: Request<ReqB>,
        error_response: A,
        handler: impl FnOnce(Request<ReqB>) -> F,
    ) -> SessionFuture<F, A, ResB>
    where
        A: ErrorResponse<ResB>,
        F: Future<Output = std::result::Result<Response<ResB>, E>>,
        E: 'static,
    {
        // The same layer was added twice. The outer one serves the request.
        let is_served = request
            .extensions()
            .get::<Context>()
            .is_some_and(|outer| outer.serves(&self.0));
        if is_served {
            return SessionFuture::new(None, handler(request), error_response);
        }
        let context = Context::new(&self.0);
        request.extensions_mut().insert(context.clone());
        SessionFuture::new(Some(context), handler(request), error_response)
    }
}

impl Inner {
    pub(super) fn mounts(&self) -> impl Iterator<Item = &Arc<Mount>> {
        std::iter::once(&self.first).chain(&self.more)
    }
}

impl Mount {
    fn new(storage: impl Storage) -> Arc<Self> {
        Arc::new(Self {
            storage: Arc::new(storage),
        })
    }

    pub(super) fn cookie_name(&self) -> &str {
        self.storage.config().cookie().name()
    }
}

impl Save for Mount {
    fn save<'a>(
        &'a self,
        session: &'a Session,
    ) -> Pin<Box<dyn Future<Output = Result<CookieChange>> + Send + 'a>> {
        self.storage.save(session)
    }
}
