//! What a session should be, and what each of the two programs should make of a request.

use session_tests::wire::canonical;

/// The session that the cookie jar stands for.
#[derive(Clone, Debug)]
pub(crate) struct Model {
    /// The jar has a cookie, if only one of an empty session.
    pub(crate) sent: bool,
    /// `None`: there is no session.
    pub(crate) saved: Option<Saved>,
}

#[derive(Clone, Debug)]
pub(crate) struct Saved {
    pub(crate) created: u64,
    /// Canonical texts, in order.
    pub(crate) members: Vec<(String, String)>,
    /// The lifetime of its own, which our records carry and Python's do not.
    pub(crate) own_max_age: Option<Option<u64>>,
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
    pub(crate) then: Model,
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
};

/// Stands for the time at which the request is served.
const NOW: u64 = u64::MAX;

impl Model {
    /// Returns what `side` should answer, and what the jar stands for after its answer.
    pub(crate) fn after(&self, request: &Request, side: Side, setting: Setting) -> Expected {
        let old = self.saved.clone();
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
            Request::Touch => true,
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
                // There the changes of a streamed answer are lost.
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
        let ends = invalidated || new_session;
        let (cookie, then) = if saves {
            self.saved_as(session, request, side, setting, ends)
        } else {
            (Cookie::None, self.clone())
        };
        Expected {
            status,
            view,
            cookie,
            then,
        }
    }

    /// Returns what saving `session` does to the cookie; `ends` says whether the old session is
    /// not to go on.
    fn saved_as(
        &self,
        mut session: Saved,
        request: &Request,
        side: Side,
        setting: Setting,
        ends: bool,
    ) -> (Cookie, Self) {
        let pythons = match request {
            // There one of the two attributes stays.
            Request::MaxAge(None) => Cookie::Set {
                max_age: setting.max_age,
                expires_in: None,
            },
            Request::MaxAge(seconds) => Cookie::lasting(*seconds),
            _ => Cookie::lasting(setting.max_age),
        };
        let sent = |saved| Self { sent: true, saved };
        match side {
            Side::Python
                if session.members.is_empty()
                    && (setting.is_simple || (setting.is_keyed && self.saved.is_none())) =>
            {
                // There an empty session is a cookie that says so, or a key under which that is
                // stored, unless it was a session before.
                (pythons, sent(None))
            }
            Side::Python if session.members.is_empty() => (Cookie::Removal, EMPTY),
            Side::Python => {
                session.own_max_age = None;
                (pythons, sent(Some(session)))
            }
            Side::Ours if !session.members.is_empty() => {
                let own = session.own_max_age.unwrap_or(setting.max_age);
                (Cookie::lasting(own), sent(Some(session)))
            }
            // What was never saved and is empty is not saved now.
            Side::Ours if self.saved.is_some() || (self.sent && ends) => (Cookie::Removal, EMPTY),
            Side::Ours => (Cookie::None, self.clone()),
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

    /// The record as it is stored. A lifetime of its own is a member that Python ignores and forgets.
    pub(crate) fn record(&self) -> String {
        let own = self.own_max_age.map(|seconds| match seconds {
            Some(seconds) => format!(", \"max_age\": {seconds}"),
            None => ", \"max_age\": null".to_owned(),
        });
        let (own, data) = (own.unwrap_or_default(), self.data());
        format!(
            "{{\"created\": {}, \"session\": {data}{own}}}",
            self.created
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
