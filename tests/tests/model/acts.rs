//! What clients, their handlers and other programs do.

use std::time::Duration;

use session_core::adapter::Storages;
use session_core::keyed::{Backend, OnlyIf, Write};
use session_core::{RequestSession, Result, Session, Storage as _};

use crate::handle::{Check, Handle};
use crate::request::{ClientCookie, Flight, Load, Place, Reply, Request};
use crate::served::serve;
use crate::steps::{Edit, End, Plant, Sends};
use crate::turns::Waiting;
use crate::world::World;

/// The most requests at a time.
const MOST: usize = 4;

/// Values that were never a cookie, and whether each has the shape of an identity.
pub(crate) const GARBAGE: [(&str, bool); 6] = [
    ("", false),
    ("never-issued-and-unknown", true),
    ("0123456789abcdef0123456789abcdef", true),
    ("../../../../etc/passwd", false),
    ("\"a b\\073\"", false),
    ("drawn_0000000000000000x", true),
];

impl<B: Backend> World<B> {
    /// Returns a cookie that a client was given at some time.
    fn any_cookie(&self, number: usize) -> String {
        let issued = self.issued();
        match issued.len() {
            0 => garbage(number),
            len => self.known[issued[number % len]].identity.clone(),
        }
    }

    pub(crate) fn ask(&mut self, client: usize, sends: &Sends, process: usize) -> usize {
        if self.requests.len() == MOST {
            self.requests.remove(0);
        }
        let own = self.jars[client].clone();
        let cookies: Vec<String> = match sends {
            Sends::Cookie | Sends::Direct | Sends::Login => own.into_iter().collect(),
            Sends::Any(number) | Sends::AnyDirect(number) => vec![self.any_cookie(*number)],
            Sends::Garbage(number) => vec![garbage(*number)],
            Sends::Several(one, two) | Sends::SeveralDirect(one, two) => {
                let old = [garbage(*two), self.any_cookie(*one), self.any_cookie(*two)];
                let mut cookies: Vec<_> = old.into_iter().chain(own).collect();
                let start = two % cookies.len();
                cookies.rotate_left(start);
                cookies
            }
            Sends::LoginWith(number) => [self.any_cookie(*number)].into_iter().chain(own).collect(),
        };
        self.count += 1;
        let mut request = Request {
            id: self.count,
            client,
            process,
            sent: !cookies.is_empty(),
            others: Vec::new(),
            login: false,
            is_forbidden: false,
            rolls: false,
            told: false,
            place: Place::New,
            served: None,
            handle: None,
            flight: None,
            born: self.now(),
            has_failed: false,
            may_leave: false,
            ended: Vec::new(),
            cookies,
        };
        let storage = self.storages[process].clone();
        let is_direct = matches!(
            sends,
            Sends::Direct | Sends::AnyDirect(_) | Sends::SeveralDirect(..)
        );
        if is_direct {
            let cookies = request.cookies.clone();
            request.flight = Some(loading(async move {
                let cookies: Vec<&str> = cookies.iter().map(String::as_str).collect();
                storage.load(&cookies).await
            }));
        } else {
            let served = serve(&Storages::new(storage), &request.cookies);
            if matches!(sends, Sends::Login | Sends::LoginWith(_)) {
                let session = served.head.new_session().unwrap();
                request.handle = Some(Handle::new(session, self.usual_max_age()));
                request.login = true;
                request.others = self.candidates(&request.cookies);
            } else {
                request.flight = Some(loading(served.head.session()));
            }
            request.served = Some(served);
        }
        self.requests.push(request);
        self.count
    }

    pub(crate) fn change(&mut self, at: usize, edit: &Edit) -> Check {
        let now = self.now();
        self.count += 1;
        let request = &mut self.requests[at];
        let Some(handle) = &mut request.handle else {
            return Ok(());
        };
        if matches!(edit, Edit::Invalidate) && !handle.closed {
            request.rolls = false;
        }
        handle.change(edit, self.count as u64, now)
    }

    pub(crate) fn save(&mut self, at: usize) {
        let request = &mut self.requests[at];
        let (Some(handle), None) = (&request.handle, &request.flight) else {
            return;
        };
        let session = handle.session.clone();
        let storage = self.storages[request.process].clone();
        let waiting: Waiting<Reply> = if request.served.is_some() {
            Box::pin(async move {
                let failed = session.save().await.err();
                Reply {
                    cookie: None,
                    failed: failed.map(|error| error.kind()),
                }
            })
        } else {
            Box::pin(async move { Reply::of(storage.save(&session).await) })
        };
        request.flight = Some(Flight::Save {
            waiting,
            save: None,
            end: None,
        });
        self.seen.saves += 1;
    }

    /// The handler responds. A request without a server only saves.
    pub(crate) fn respond(&mut self, at: usize, end: End) {
        let request = &mut self.requests[at];
        if request.handle.is_none() || request.flight.is_some() {
            return;
        }
        let Some(served) = &mut request.served else {
            self.save(at);
            return;
        };
        served.respond.take().unwrap().send(end).unwrap();
        request.flight = Some(Flight::Save {
            waiting: served.future.take().unwrap(),
            save: None,
            end: Some(end),
        });
        self.seen.saves += 1;
    }

    /// The client gets its response.
    pub(crate) fn deliver(&mut self, at: usize, reply: &Reply, end: Option<End>) {
        let request = &mut self.requests[at];
        request.flight = None;
        let jar = &mut self.jars[request.client];
        match &reply.cookie {
            Some(ClientCookie::Set { cookie, .. }) => *jar = Some(cookie.clone()),
            Some(ClientCookie::Remove) => *jar = None,
            Some(ClientCookie::Keep) | None => {}
        }
        if end.is_some() {
            self.requests.remove(at);
        }
    }

    pub(crate) fn cancel(&mut self, at: usize) -> Check {
        match &self.requests[at].flight {
            None => {}
            Some(Flight::Save {
                save: Some(_),
                end: None,
                ..
            }) => {
                self.seen.cancelled += 1;
                // Dropped first, so that the session has its changes back.
                if let Some(Flight::Save { waiting, .. }) = &mut self.requests[at].flight {
                    *waiting = Box::pin(std::future::pending());
                }
                self.was_failed(at, false)?;
                self.requests[at].flight = None;
                self.drop_unclear();
            }
            Some(Flight::Save {
                save: None,
                end: None,
                ..
            }) => self.requests[at].flight = None,
            // The request is over.
            Some(Flight::Load { .. } | Flight::Save { .. }) => self.leave(at)?,
        }
        Ok(())
    }

    pub(crate) fn drop_unclear(&mut self) {
        if let Some(id) = self.unclear.take() {
            self.requests.retain(|request| request.id != id);
        }
    }

    /// The client is gone.
    pub(crate) fn leave(&mut self, at: usize) -> Check {
        let request = self.requests.remove(at);
        drop((request.flight, request.served.as_ref().map(|_| ())));
        let Some(served) = request.served else {
            return Ok(());
        };
        drop(served);
        if let Some(mut handle) = request.handle {
            handle.closed = true;
            handle.change(&Edit::Insert(0), 0, 0)?;
        }
        Ok(())
    }

    pub(crate) async fn plant(&mut self, cookie: usize, plant: Plant) -> Check {
        let issued = self.issued();
        if issued.is_empty() {
            return Ok(());
        }
        let at = issued[cookie % issued.len()];
        let is_session = self.known[at].entry.record().is_some();
        if !is_session && plant != Plant::Foreign {
            return Ok(());
        }
        self.tick += 1;
        let (key, backend) = (self.key(at), self.storages[0].backend());
        let found = backend.read(&key).await.unwrap();
        let minute = Duration::from_secs(60);
        let (write, until) = match plant {
            Plant::Revoked => (Write::tombstone("{\n}", minute), Some(self.now() + 60)),
            Plant::Python => (Write::record("{}", None), None),
            Plant::Foreign => (Write::record("[\"another program's\"]", None), None),
        };
        let only_if = match &found {
            session_core::keyed::Found::Value(stored) => OnlyIf::Unchanged(stored),
            _ => OnlyIf::Missing,
        };
        backend.write(&key, write, only_if).await.unwrap();
        let entry = self.raw(at).await;
        self.known[at].set(entry, until, self.tick);
        self.seen.planted += 1;
        self.look(at).await
    }
}

fn garbage(number: usize) -> String {
    GARBAGE[number % GARBAGE.len()].0.to_owned()
}

fn loading(load: impl Future<Output = Result<Session>> + Send + 'static) -> Flight {
    Flight::Load {
        waiting: Box::pin(load),
        load: Load::default(),
    }
}
