//! What a request does to its session, and when it is saved.

use std::cell::RefCell;
use std::future::poll_fn;
use std::mem;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use http::header::COOKIE;
use http::{HeaderValue, Request, Response};
use session_core::adapter::{DefaultErrorResponse, Storages};
use session_core::{DEFAULT_NAME, Error, RequestSession as _, Result, Session};

use super::IDENTITY;
use super::held::sorted;
use super::world::World;
use crate::fuzz::now;

/// What a request did to its session, before it was saved.
#[derive(Clone)]
pub(super) struct Did {
    pub(super) what: u8,
    /// The key that it sets.
    pub(super) name: String,
    /// The key that it removed.
    pub(super) removed: Option<String>,
    pub(super) session: Session,
    /// How long the session is to live after its last write.
    pub(super) life: Option<Duration>,
    /// What it had loaded: the keys, and the flags of the session.
    pub(super) before: Vec<String>,
    pub(super) is_new: bool,
    pub(super) is_known: bool,
    pub(super) was_replaced: bool,
}

impl Did {
    /// Does it. Keeps the meaning of the numbers 0 to 5, which the corpus has.
    fn act(what: u8, at: usize, loaded: Session, request: &Request<()>) -> Result<Self> {
        let mut did = Self {
            what: (what & 0x3f) % 13,
            name: format!("of request {at}"),
            removed: None,
            before: loaded.keys(),
            is_new: loaded.is_new(),
            is_known: loaded.identity().is_some(),
            was_replaced: loaded.was_replaced(),
            life: None,
            session: loaded,
        };
        let (session, name) = (&did.session, &did.name);
        match did.what {
            0 => session.insert(name, 1)?,
            1 => session.changed()?,
            2 => {
                let first = did.before.first().cloned().unwrap_or_default();
                did.removed = session.remove(&first)?.then_some(first);
            }
            3 => {
                session.insert(name, 1)?;
                session.renew()?;
            }
            4 => session.invalidate()?,
            5 => {
                session.invalidate()?;
                session.insert(name, 2)?;
            }
            6 => session.clear()?,
            7 => {
                session.clear()?;
                session.insert(name, 3)?;
            }
            8 => session.renew()?,
            9 => {
                did.session = request.new_session()?;
                did.session.insert(name, 4)?;
            }
            10 => did.session = request.new_session()?,
            11 => {
                session.insert(name, 5)?;
                assert!(session.remove(name)?);
            }
            _ => {
                let first = did.before.first().cloned().unwrap_or_default();
                did.removed = session.remove(&first)?.then_some(first);
                session.renew()?;
            }
        }
        did.life = did.session.max_age();
        Ok(did)
    }

    pub(super) fn sets(&self) -> bool {
        matches!(self.what, 0 | 3 | 5 | 7 | 9)
    }

    pub(super) fn renews(&self) -> bool {
        matches!(self.what, 3 | 8 | 12)
    }

    /// Returns what it makes of a session with these keys.
    pub(super) fn merged(&self, keys: &[String]) -> Vec<String> {
        let mut keys = keys.to_vec();
        match self.what {
            0 | 3 if !keys.contains(&self.name) => keys.push(self.name.clone()),
            7 => keys = vec![self.name.clone()],
            11 => keys.retain(|key| *key != self.name),
            _ => {}
        }
        let removed = self.removed.as_ref();
        if let Some(at) = keys.iter().position(|key| Some(key) == removed) {
            keys.remove(at);
        }
        sorted(keys)
    }
}

/// A request whose handler has done what it does, and has not responded.
pub(super) struct InFlight {
    serving: Pin<Box<dyn Future<Output = Result<Response<()>>>>>,
    did: Rc<RefCell<Option<Did>>>,
}

impl InFlight {
    pub(super) fn new(world: &World, at: usize, what: u8) -> Self {
        let cookie = format!("a=1; {DEFAULT_NAME}={IDENTITY}");
        let mut request = Request::new(());
        let cookie = HeaderValue::try_from(cookie).unwrap();
        request.headers_mut().insert(COOKIE, cookie);
        let did = Rc::new(RefCell::new(None));
        let noted = did.clone();
        let handler = move |request: Request<()>| async move {
            let session = request.session().await?;
            *noted.borrow_mut() = Some(Did::act(what, at, session, &request)?);
            pause().await;
            Ok::<_, Error>(Response::new(()))
        };
        let storages = Storages::new(world.storage.clone());
        let mut serving = Box::pin(storages.serve(request, DefaultErrorResponse, handler));
        let mut context = Context::from_waker(Waker::noop());
        assert!(serving.as_mut().poll(&mut context).is_pending());
        Self { serving, did }
    }

    pub(super) fn did(&self) -> Did {
        self.did.borrow().clone().unwrap()
    }

    pub(super) fn finish(&mut self) -> Response<()> {
        now(self.serving.as_mut()).unwrap()
    }
}

/// Waits until it is polled again.
async fn pause() {
    let mut is_second = false;
    poll_fn(|_| {
        if mem::replace(&mut is_second, true) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
}
