//! What can happen, in any order.

use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use session_core::CookieSettings;

use crate::world::NAME;

/// One thing that happens. The numbers choose among what there is at that time, modulo how many:
/// a sequence that lost some of its steps still means something, so that a failing one shrinks.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// A client sends a request. Its handler asks for the session, and has it or waits.
    Ask {
        client: usize,
        sends: Sends,
        process: usize,
        waits: bool,
    },
    /// A client sends a request, its handler does that, and it gets its response.
    Visit {
        client: usize,
        sends: Sends,
        process: usize,
        edit: Edit,
        end: End,
    },
    /// A request's handler changes its session.
    Change { request: usize, edit: Edit },
    /// A request's handler saves its session, a first time or again: the save begins.
    Save { request: usize },
    /// A request's handler responds: the last save begins.
    Respond { request: usize, end: End },
    /// What a request waits for goes on: from one await point to the next.
    Go { request: usize, fault: Fault },
    /// ... or to its end.
    Finish { request: usize, fault: Fault },
    /// What a request waits for is dropped where it stands.
    Cancel { request: usize },
    /// The client is gone, and the request with it.
    Leave { request: usize },
    /// Time passes, in seconds.
    Wait(u64),
    /// The store loses all it had, or the cookies' key is replaced.
    Restart,
    /// The next identity that is drawn is one that is taken.
    Repeat,
    /// Somebody else writes to the key of a cookie that was issued.
    Plant { cookie: usize, plant: Plant },
}

/// What a request brings along.
#[derive(Clone, Debug)]
pub(crate) enum Sends {
    /// The client's cookie, to the handler through a server.
    Cookie,
    /// The client's cookie, straight to the storage: its session can be saved again and again.
    Direct,
    /// A cookie that anybody was ever given.
    Any(usize),
    /// The same, straight to the storage.
    AnyDirect(usize),
    /// Something that was never a cookie.
    Garbage(usize),
    /// Several cookies of the name: garbage, some old ones, the client's.
    Several(usize, usize),
    /// The same, straight to the storage.
    SeveralDirect(usize, usize),
    /// The client's cookie, and its handler logs in.
    Login,
    /// Old cookies and the client's, and its handler logs in.
    LoginWith(usize),
}

/// What a handler does.
#[derive(Clone, Debug)]
pub(crate) enum Edit {
    Insert(usize),
    Update(usize),
    Remove(usize),
    /// Removes every key, one by one.
    RemoveAll,
    Clear,
    MaxAge(Option<u64>),
    Touch,
    Renew,
    Invalidate,
}

/// How a handler responds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum End {
    Well,
    /// With a status of 500.
    ServerError,
    /// With a session error.
    SessionError,
}

/// What somebody else writes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Plant {
    /// A tombstone in place of a session: "log out everywhere".
    Revoked,
    /// `{}` in place of a session, as Python ends one.
    Python,
    /// Another program's data, whatever is there.
    Foreign,
}

/// What befalls the next call of the store.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Fault {
    None,
    /// The store never sees it.
    Refused,
    /// The store carries it out, and its response is lost.
    ReplyLost,
}

/// How the storage is set up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setup {
    pub(crate) max_age: Option<u64>,
    pub(crate) rolling: bool,
    pub(crate) absolute: Option<u64>,
    pub(crate) hash_identities: bool,
}

impl Setup {
    pub(crate) fn cookie(&self) -> CookieSettings {
        CookieSettings::builder(NAME)
            .max_age(self.max_age.map(Duration::from_secs))
            .rolling(self.rolling)
            .absolute_max_age(self.absolute.map(Duration::from_secs))
            .build()
            .unwrap()
    }
}

pub(crate) const KEYS: [&str; 4] = ["a", "b", "c", "d"];
pub(crate) const CLIENTS: usize = 2;

/// Each has a storage of its own in front of the same store.
pub(crate) const PROCESSES: usize = 2;

/// More would seldom meet in one session.
const REQUESTS: usize = 4;

pub(crate) fn setup() -> impl Strategy<Value = Setup> {
    let limits = (
        prop::option::of(Just(100)),
        any::<bool>(),
        prop::option::weighted(0.3, Just(250)),
        any::<bool>(),
    );
    limits.prop_map(|(max_age, rolling, absolute, hash_identities)| Setup {
        max_age,
        rolling: rolling && max_age.is_some(),
        absolute,
        hash_identities,
    })
}

pub(crate) fn steps() -> impl Strategy<Value = Vec<Step>> {
    vec(step(), 1..140)
}

fn step() -> impl Strategy<Value = Step> {
    let request = || 0..REQUESTS;
    // Most meet at one session.
    let client = || prop_oneof![4 => Just(0), 1 => 0..CLIENTS];
    let ask = (client(), sends(), process(), prop::bool::weighted(0.2));
    let visit = (client(), sends(), process(), verb(), end());
    prop_oneof![
        9 => ask.prop_map(|(client, sends, process, waits)| {
            Step::Ask { client, sends, process, waits }
        }),
        5 => visit.prop_map(|(client, sends, process, edit, end)| {
            Step::Visit { client, sends, process, edit, end }
        }),
        22 => (request(), edit()).prop_map(|(request, edit)| Step::Change { request, edit }),
        18 => request().prop_map(|request| Step::Save { request }),
        4 => (request(), end()).prop_map(|(request, end)| Step::Respond { request, end }),
        30 => (request(), fault(12)).prop_map(|(request, fault)| Step::Go { request, fault }),
        10 => (request(), fault(6)).prop_map(|(request, fault)| Step::Finish { request, fault }),
        6 => request().prop_map(|request| Step::Cancel { request }),
        2 => request().prop_map(|request| Step::Leave { request }),
        3 => prop::sample::select(vec![1, 5, 20, 45, 61, 101, 251, 401]).prop_map(Step::Wait),
        1 => Just(Step::Restart),
        2 => Just(Step::Repeat),
        2 => (0_usize..20, plant()).prop_map(|(cookie, plant)| Step::Plant { cookie, plant }),
    ]
}

/// Most meet in one process.
pub(crate) fn process() -> impl Strategy<Value = usize> {
    prop_oneof![2 => Just(0), 1 => 0..PROCESSES]
}

fn sends() -> impl Strategy<Value = Sends> {
    prop_oneof![
        6 => Just(Sends::Cookie),
        6 => Just(Sends::Direct),
        1 => (0_usize..20).prop_map(Sends::Any),
        2 => (0_usize..20).prop_map(Sends::AnyDirect),
        1 => (0_usize..20).prop_map(Sends::Garbage),
        1 => (0_usize..20, 0_usize..20).prop_map(|(one, two)| Sends::Several(one, two)),
        1 => (0_usize..20, 0_usize..20).prop_map(|(one, two)| Sends::SeveralDirect(one, two)),
        2 => Just(Sends::Login),
        1 => (0_usize..20).prop_map(Sends::LoginWith),
    ]
}

fn edit() -> impl Strategy<Value = Edit> {
    let key = || 0..KEYS.len();
    prop_oneof![
        12 => key().prop_map(Edit::Insert),
        3 => key().prop_map(Edit::Update),
        5 => key().prop_map(Edit::Remove),
        3 => Just(Edit::RemoveAll),
        1 => Just(Edit::Clear),
        2 => prop::option::of(prop::sample::select(vec![30, 100, 400])).prop_map(Edit::MaxAge),
        1 => Just(Edit::Touch),
        5 => Just(Edit::Renew),
        2 => Just(Edit::Invalidate),
    ]
}

/// What moves a session or ends it, more than others.
fn verb() -> impl Strategy<Value = Edit> {
    prop_oneof![
        3 => edit(),
        2 => Just(Edit::Renew),
        2 => Just(Edit::Invalidate),
        1 => Just(Edit::RemoveAll),
    ]
}

fn end() -> impl Strategy<Value = End> {
    prop_oneof![6 => Just(End::Well), 1 => Just(End::ServerError), 1 => Just(End::SessionError)]
}

fn plant() -> impl Strategy<Value = Plant> {
    prop_oneof![
        4 => Just(Plant::Revoked),
        1 => Just(Plant::Python),
        1 => Just(Plant::Foreign),
    ]
}

pub(crate) fn fault(weight: u32) -> impl Strategy<Value = Fault> {
    prop_oneof![
        weight => Just(Fault::None),
        1 => Just(Fault::Refused),
        1 => Just(Fault::ReplyLost),
    ]
}
