//! What clients, handlers and support begin.

use std::time::Duration;

use session_core::adapter::Storages;
use session_core::keyed::Backend;
use session_core::{RequestSession, Storage as _, UserSessions};

use crate::handle::{Check, Handle};
use crate::known::Known;
use crate::request::Reply;
use crate::served::serve;
use crate::steps::{End, KEYS};
use crate::turns::Waiting;
use crate::users::request::{Flight, Op, Request, Told};
use crate::users::steps::{Call, Edit, Sends};
use crate::users::world::World;

/// More requests than this are not on their way at a time.
const MOST: usize = 5;

impl<B: Backend> World<B> {
    fn push(&mut self, request: Request) -> usize {
        if self.requests.len() == MOST {
            self.leave(0);
        }
        let id = request.id;
        self.requests.push(request);
        id
    }

    pub(crate) fn ask(&mut self, client: usize, sends: Sends, process: usize) -> Check<usize> {
        let issued = self.issued();
        let own = self.jars[client].clone();
        let cookie = match sends {
            Sends::Nothing => None,
            Sends::Any(number) if !issued.is_empty() => {
                let at = issued[number % issued.len()];
                Some(self.known[at].identity.clone())
            }
            _ => own,
        };
        let id = usize::try_from(self.fresh()).unwrap();
        let mut request = Request {
            id,
            client: Some(client),
            process,
            cookies: cookie.iter().filter_map(|it| self.find(it)).collect(),
            place: None,
            served: None,
            handle: None,
            flight: None,
        };
        let storage = self.storages[process].clone();
        if let Sends::Login = sends {
            let served = serve(&Storages::new(storage), cookie.as_slice());
            let session = served.head.new_session().unwrap();
            let usual = self.setup.base.max_age.map(Duration::from_secs);
            request.handle = Some(Handle::new(session, usual));
            request.served = Some(served);
        } else {
            let waiting = Box::pin(async move {
                let cookies: Vec<&str> = cookie.iter().map(String::as_str).collect();
                storage.load(&cookies).await
            });
            let op = Op {
                tick: self.tick,
                at: self.now(),
                ..Op::default()
            };
            request.flight = Some(Flight::Load { waiting, op });
        }
        let is_login = request.served.is_some();
        let id = self.push(request);
        if is_login {
            let at = self.requests.len() - 1;
            self.change(at, Edit::User(1))?;
        }
        Ok(id)
    }

    pub(crate) fn support(&mut self, user: u64, process: usize, call: Call) -> usize {
        let id = usize::try_from(self.fresh()).unwrap();
        let request = Request {
            id,
            client: None,
            process,
            cookies: Vec::new(),
            place: None,
            served: None,
            handle: None,
            flight: None,
        };
        let id = self.push(request);
        self.begin(self.requests.len() - 1, call, user);
        id
    }

    pub(crate) fn change(&mut self, at: usize, edit: Edit) -> Check {
        use crate::steps::Edit as Plain;
        let (now, fresh) = (self.now(), self.fresh());
        let request = &mut self.requests[at];
        let is_saving = matches!(&request.flight, None | Some(Flight::Save { .. }));
        let Some(handle) = request.handle.as_mut().filter(|_| is_saving) else {
            return Ok(());
        };
        match edit {
            Edit::User(user) => {
                handle.set("login", fresh, now)?;
                handle.set("user", user, now)
            }
            Edit::NoUser => handle.remove("user", now),
            Edit::Insert(key) => handle.change(&Plain::Insert(key), fresh, now),
            Edit::Remove(key) => handle.change(&Plain::Remove(key), fresh, now),
            Edit::Empty => {
                let mut keys = KEYS.into_iter().chain(["user", "login"]);
                keys.try_for_each(|key| handle.remove(key, now))
            }
            Edit::MaxAge(age) => handle.change(&Plain::MaxAge(age), fresh, now),
            Edit::Touch => handle.change(&Plain::Touch, fresh, now),
            Edit::Renew => handle.change(&Plain::Renew, fresh, now),
            Edit::Invalidate => handle.change(&Plain::Invalidate, fresh, now),
        }
    }

    /// A request's handler lists or ends the sessions of its user.
    pub(crate) fn call(&mut self, at: usize, call: Call) {
        let request = &self.requests[at];
        let (Some(handle), None) = (&request.handle, &request.flight) else {
            return;
        };
        if handle.closed {
            return;
        }
        if let Some(user) = handle.local().data.get("user") {
            let user = *user;
            self.begin(at, call, user);
        }
    }

    fn begin(&mut self, at: usize, call: Call, user: u64) {
        let handles: Vec<String> = self.known.iter().map(Known::handle).collect();
        let request = &mut self.requests[at];
        let storage = self.storages[request.process].clone();
        let session = request.handle.as_ref().map(|handle| handle.session.clone());
        let handle = match call {
            Call::End(number) if !handles.is_empty() => handles[number % handles.len()].clone(),
            _ => String::new(),
        };
        let wanted = handle.clone();
        let waiting: Waiting<_> = Box::pin(async move {
            let sessions = match &session {
                Some(session) => UserSessions::of_session(&*storage, session)?.expect("a user"),
                None => UserSessions::of_user(&*storage, &user)?,
            };
            Ok(match call {
                Call::List => Told::Listed(sessions.list().await?),
                Call::End(_) => Told::Ended(sessions.end(&wanted).await?),
                Call::EndOthers => Told::Ended(sessions.end_others().await?),
                Call::EndAll => Told::Ended(sessions.end_all().await?),
            })
        });
        request.flight = Some(Flight::Call {
            waiting,
            op: None,
            call,
            user,
            handle,
        });
    }

    pub(crate) fn save(&mut self, at: usize) {
        let request = &mut self.requests[at];
        let (Some(handle), None) = (&request.handle, &request.flight) else {
            return;
        };
        let session = handle.session.clone();
        let storage = self.storages[request.process].clone();
        let waiting: Waiting<Reply> = match &mut request.served {
            Some(served) => {
                served.respond.take().unwrap().send(End::Well).unwrap();
                served.future.take().unwrap()
            }
            None => Box::pin(async move { Reply::of(storage.save(&session).await) }),
        };
        request.flight = Some(Flight::Save { waiting, op: None });
        self.seen.saves += 1;
    }
}
