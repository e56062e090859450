//! What a session should be, and what each of the two programs should make of a request.
//!
//! The programs differ on purpose, see the golden test and its differences. In a store:
//!
//! - An emptied session stays, as a record without keys. To Python it is a session. To us it is a
//!   new one, which moves to a fresh identity when something is set.
//! - Our logout leaves a tombstone for a minute, our login one of another kind, a move a third. To
//!   Python each is an empty session. A write of ours is then a 409, and what a logout does depends
//!   on the tombstone.
//! - Our update sends the cookie only if it has a Max-Age.
//! - Our records live [`GRACE`] longer than their session.

use session_tests::wire::canonical;

/// The session that the cookie jar stands for.
#[derive(Clone, Debug)]
pub(crate) struct Model {
    /// The jar has a cookie, if only one of an empty session.
    pub(crate) sent: bool,
    /// `None`: there is no session.
    pub(crate) saved: Option<Saved>,
    /// The tombstone that the cookie leads to.
    pub(crate) tombstone: Option<Tombstone>,
}

/// What we leave in place of a session that ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Tombstone {
    /// By a logout.
    Ended,
    /// By a login.
    Replaced,
    /// By a renewal. A logout follows it.
    Moved {
        /// At the end of the chain a login has replaced the session.
        to_replaced: bool,
    },
}

impl Tombstone {
    /// Returns whether the client may have a newer cookie already, so that a logout does not remove
    /// the cookie.
    fn is_replaced(self) -> bool {
        matches!(self, Self::Replaced | Self::Moved { to_replaced: true })
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Saved {
    pub(crate) created: u64,
    /// Canonical texts, in order.
    pub(crate) members: Vec<(String, String)>,
    /// The lifetime of its own, which our records carry and Python's do not.
    #[expect(
        clippy::option_option,
        reason = "no lifetime of its own, none at all, or seconds"
    )]
    pub(crate) own_max_age: Option<Option<u64>>,
    /// The public handle. Our records carry it after a renewal, Python's do not.
    pub(crate) handle: Option<String>,
}

/// A request.
#[derive(Clone, Debug)]
pub(crate) enum Request {
    Get,
    Noop,
    /// Names and JSON texts.
    Set(Vec<(String, String)>),
    Delete(String),
    Invalidate,
    Login(Option<String>),
    NewUntouched,
    Touch,
    Redirect,
    Forbidden,
    Error,
    Stream,
    MaxAge(Option<u64>),
    /// Only our program has a route for it.
    Clear,
    /// Only our program has a route for it.
    Renew,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Side {
    Python,
    Ours,
}

/// What should come of a request.
#[derive(Debug)]
pub(crate) struct Expected {
    pub(crate) status: u16,
    pub(crate) view: Option<View>,
    pub(crate) cookie: Cookie,
    pub(crate) record: Stored,
    pub(crate) then: Model,
}

/// What a request does to the record of the cookie that it was sent with.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Stored {
    /// It stays as it is.
    Nothing,
    /// The session is stored under the same identity, for so many seconds.
    Update(Option<u64>),
    /// The session is stored under a fresh identity, for so many seconds.
    Create(Option<u64>),
    /// The same, and a tombstone tells where it moved.
    Move(Option<u64>),
    /// The same, and what the client's cookie stood for is replaced.
    Login(Option<u64>),
    /// A logout ends the session, wherever it moved.
    End,
}

#[derive(Debug)]
pub(crate) struct View {
    pub(crate) new: bool,
    /// `None`: now.
    pub(crate) created: Option<u64>,
    pub(crate) data: String,
}

#[derive(Debug)]
pub(crate) enum Cookie {
    None,
    Removal,
    Set {
        max_age: Option<u64>,
        expires_in: Option<u64>,
    },
}

/// The storage that both programs use.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setting {
    pub(crate) is_simple: bool,
    /// The session is in a Redis or a memcached.
    pub(crate) is_keyed: bool,
    pub(crate) max_age: Option<u64>,
}

pub(crate) const EMPTY: Model = Model {
    sent: false,
    saved: None,
    tombstone: None,
};

/// How many seconds longer than its session our program keeps a record.
const GRACE: u64 = 300;

/// Stands for the time at which the request is served.
const NOW: u64 = u64::MAX;

impl Model {
    /// Returns what `side` should respond, and what the jar stands for after its response.
    pub(crate) fn after(&self, request: &Request, side: Side, setting: Setting) -> Expected {
        // To us an emptied session is a new one.
        let is_session = |saved: &Saved| side == Side::Python || !saved.members.is_empty();
        let old = self.saved.clone().filter(is_session);
        let new = old.is_none();
        let mut session = old.unwrap_or(Saved::fresh());
        let mut own_max_age = session.own_max_age;
        let mut new_session = false;
        let mut invalidated = false;
        let mut status = 200;
        let mut shown = true;
        // Whether the session is to be saved.
        let saves = match request {
            Request::Get => false,
            Request::Noop => {
                shown = false;
                false
            }
            Request::Set(members) => {
                for (name, value) in members {
                    session.set(name, canonical(value));
                }
                !members.is_empty()
            }
            Request::Delete(name) => session.remove(name),
            Request::Invalidate => {
                session.members.clear();
                own_max_age = None;
                invalidated = true;
                true
            }
            Request::Login(user) => {
                session = Saved::fresh();
                own_max_age = None;
                new_session = true;
                let user = user.as_deref().unwrap_or("\"alice\"");
                session.set("user", canonical(user));
                true
            }
            Request::NewUntouched => {
                session = Saved::fresh();
                new_session = true;
                // There the old session goes on.
                side == Side::Ours
            }
            // The lifetime goes on.
            Request::Touch | Request::Renew => true,
            Request::Clear => {
                invalidated = !new;
                session = Saved::fresh();
                !new
            }
            Request::MaxAge(seconds) => {
                own_max_age = Some(*seconds).filter(|own| *own != setting.max_age);
                true
            }
            Request::Redirect | Request::Forbidden | Request::Stream => {
                shown = false;
                let (code, name) = match request {
                    Request::Redirect => (302, "redirected"),
                    Request::Forbidden => (403, "forbidden"),
                    _ => (200, "streamed"),
                };
                status = code;
                session.set(name, "true".to_owned());
                // There the changes of a streamed response are lost.
                side == Side::Ours || !matches!(request, Request::Stream)
            }
            Request::Error => {
                shown = false;
                status = 500;
                false
            }
        };
        let view = shown.then(|| View {
            new: new || new_session,
            created: Some(session.created).filter(|created| *created != NOW),
            data: session.data(),
        });
        session.own_max_age = own_max_age;
        if !saves {
            return self.unchanged(status, view);
        }
        if side == Side::Python {
            let (cookie, record, then) = self.saved_by_python(session, request, setting);
            return Expected {
                status,
                view,
                cookie,
                record,
                then,
            };
        }
        let is_write = !session.members.is_empty() || matches!(request, Request::Renew);
        if self.tombstone.is_some() && is_write && !new_session {
            // A newer cookie is on its way to the client, or another request ended the session.
            return self.unchanged(409, None);
        }
        let ends = invalidated || new_session;
        let (cookie, record, then) = self.saved_by_us(session, request, setting, ends);
        Expected {
            status,
            view,
            cookie,
            record,
            then,
        }
    }

    fn unchanged(&self, status: u16, view: Option<View>) -> Expected {
        Expected {
            status,
            view,
            cookie: Cookie::None,
            record: Stored::Nothing,
            then: self.clone(),
        }
    }

    /// Returns what Python's save of `session` does to the cookie and to the record.
    fn saved_by_python(
        &self,
        mut session: Saved,
        request: &Request,
        setting: Setting,
    ) -> (Cookie, Stored, Self) {
        let sent = |saved| Self {
            sent: true,
            saved,
            tombstone: None,
        };
        let cookie = match request {
            // Python keeps one of the two attributes.
            Request::MaxAge(None) => Cookie::Set {
                max_age: setting.max_age,
                expires_in: None,
            },
            Request::MaxAge(seconds) => Cookie::lasting(*seconds),
            _ => Cookie::lasting(setting.max_age),
        };
        let Cookie::Set { expires_in, .. } = cookie else {
            unreachable!()
        };
        let is_kept = self.saved.is_some() && !matches!(request, Request::Login(_));
        if !session.members.is_empty() {
            session.own_max_age = None;
            session.handle = None;
            let record = if is_kept {
                Stored::Update(expires_in)
            } else {
                Stored::Create(expires_in)
            };
            return (cookie, record, sent(Some(session)));
        }
        if setting.is_simple || (setting.is_keyed && self.saved.is_none()) {
            // An empty session is a cookie that says so, or a key under which that is stored,
            // unless it was a session before.
            return (cookie, Stored::Create(expires_in), sent(None));
        }
        (Cookie::Removal, Stored::End, EMPTY)
    }

    /// Returns what our save of `session` does to the cookie and to the record. `ends` says whether
    /// the old session is not to go on.
    fn saved_by_us(
        &self,
        mut session: Saved,
        request: &Request,
        setting: Setting,
        ends: bool,
    ) -> (Cookie, Stored, Self) {
        let is_emptied = (self.saved.as_ref()).is_some_and(|saved| saved.members.is_empty());
        let is_live = self.saved.is_some() && !is_emptied;
        let own = session.own_max_age.unwrap_or(setting.max_age);
        let lives = own.map(|seconds| seconds + GRACE);
        let is_new_cookie = matches!(request, Request::MaxAge(_)) || own.is_some();
        let set = Cookie::lasting(own);
        if session.members.is_empty() {
            let removal = if self.tombstone.is_some_and(Tombstone::is_replaced) {
                // The cookie of the login that replaced the session stays.
                (Cookie::None, Stored::End, self.clone())
            } else {
                (Cookie::Removal, Stored::End, EMPTY)
            };
            return match ends {
                true if self.sent => removal,
                // The last key was removed.
                false if is_live && setting.is_keyed => {
                    let cookie = if is_new_cookie { set } else { Cookie::None };
                    (cookie, Stored::Update(lives), Self::holding(session))
                }
                false if is_live => removal,
                // What was never saved and is empty is not saved now.
                _ => (Cookie::None, Stored::Nothing, self.clone()),
            };
        }
        let record = match request {
            Request::Login(_) => Stored::Login(lives),
            Request::Renew => Stored::Move(lives),
            _ if is_live => Stored::Update(lives),
            _ if is_emptied => Stored::Move(lives),
            _ => Stored::Create(lives),
        };
        if let Stored::Update(_) = record
            && setting.is_keyed
            && !is_new_cookie
        {
            return (Cookie::None, record, Self::holding(session));
        }
        if !is_live || matches!(request, Request::Login(_)) {
            session.handle = None;
        }
        (set, record, Self::holding(session))
    }

    fn holding(session: Saved) -> Self {
        Self {
            sent: true,
            saved: Some(session),
            tombstone: None,
        }
    }

    /// Puts the time at which the request was served in the place of "now".
    pub(crate) fn served_at(&mut self, seconds: u64) {
        if let Some(saved) = &mut self.saved
            && saved.created == NOW
        {
            saved.created = seconds;
        }
    }

    pub(crate) fn is_written_now(&self) -> bool {
        self.saved
            .as_ref()
            .is_some_and(|saved| saved.created == NOW)
    }

    pub(crate) fn names(&self) -> Vec<String> {
        let members = self.saved.iter().flat_map(|saved| &saved.members);
        members.map(|(name, _)| name.clone()).collect()
    }
}

impl Saved {
    fn fresh() -> Self {
        Self {
            created: NOW,
            members: Vec::new(),
            own_max_age: None,
            handle: None,
        }
    }

    fn set(&mut self, name: &str, value: String) {
        self.created = NOW;
        match self.members.iter_mut().find(|(known, _)| known == name) {
            Some((_, old)) => *old = value,
            None => self.members.push((name.to_owned(), value)),
        }
    }

    fn remove(&mut self, name: &str) -> bool {
        let before = self.members.len();
        self.members.retain(|(known, _)| known != name);
        let removed = self.members.len() < before;
        if removed {
            self.created = NOW;
        }
        removed
    }

    /// Returns the record as it is stored. A lifetime of its own and the handle are members that
    /// Python ignores and drops.
    pub(crate) fn record(&self) -> String {
        let own = self.own_max_age.map(|seconds| match seconds {
            Some(seconds) => format!(", \"max_age\": {seconds}"),
            None => ", \"max_age\": null".to_owned(),
        });
        let handle = self.handle.as_ref();
        let handle = handle.map(|handle| format!(", \"handle\": \"{handle}\""));
        let (own, handle) = (own.unwrap_or_default(), handle.unwrap_or_default());
        format!(
            "{{\"created\": {}, \"session\": {}{own}{handle}}}",
            self.created,
            self.data()
        )
    }

    pub(crate) fn data(&self) -> String {
        let member = |(name, value): &(String, String)| {
            let name = canonical(&serde_json::to_string(name).unwrap());
            format!("{name}: {value}")
        };
        let members: Vec<_> = self.members.iter().map(member).collect();
        format!("{{{}}}", members.join(", "))
    }
}

impl Cookie {
    fn lasting(seconds: Option<u64>) -> Self {
        Self::Set {
            max_age: seconds,
            expires_in: seconds,
        }
    }
}
