//! What can happen to the sessions of users, in any order.

use proptest::collection::vec;
use proptest::prelude::*;

use crate::steps::{Fault, PROCESSES, fault, process};

/// One thing that happens. The numbers choose among what there is at that time, modulo how many.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// A client sends a request, and its handler asks for the session. `waits`: it has not got it
    /// yet.
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
        edits: Vec<Edit>,
        call: Option<Call>,
    },
    /// A request's handler changes its session.
    Change { request: usize, edit: Edit },
    /// A request's handler lists or ends the sessions of its user: the call begins.
    Call { request: usize, call: Call },
    /// Support lists or ends the sessions of a user.
    Support {
        user: u64,
        process: usize,
        call: Call,
        waits: bool,
    },
    /// A request's handler saves its session, a first time or again: the save begins.
    Save { request: usize },
    /// What a request waits for goes on: from one await point to the next.
    Go { request: usize, fault: Fault },
    /// ... or to its end.
    Finish { request: usize, fault: Fault },
    /// What a request waits for is dropped where it stands.
    Cancel { request: usize },
    /// Time passes, in seconds.
    Wait(u64),
    /// The store loses all it had.
    Restart,
    /// The store loses the index of a user.
    Lose(u64),
}

/// What a request brings along.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Sends {
    /// The client's cookie, straight to the storage: its session can be saved again and again.
    Direct,
    /// A cookie that anybody was ever given.
    Any(usize),
    /// No cookie.
    Nothing,
    /// The client's cookie, and its handler calls `new_session()`, behind a server.
    Login,
}

/// What a handler does to its session.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Edit {
    /// Logs this user in, or switches to it.
    User(u64),
    /// Logs the user out, and keeps the rest of the session.
    NoUser,
    Insert(usize),
    Remove(usize),
    /// Removes every key.
    Empty,
    MaxAge(Option<u64>),
    Touch,
    Renew,
    Invalidate,
}

/// What somebody wants of the sessions of a user.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Call {
    List,
    /// Ends the session with one of the handles that there ever were.
    End(usize),
    EndOthers,
    EndAll,
}

/// How the storage is set up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setup {
    pub(crate) base: crate::steps::Setup,
    /// How many sessions a user has at most.
    pub(crate) limit: Option<usize>,
}

pub(crate) const USERS: std::ops::RangeInclusive<u64> = 1..=2;
pub(crate) const CLIENTS: usize = 4;

const REQUESTS: usize = 5;

pub(crate) fn sequences() -> impl Strategy<Value = (Setup, Vec<Step>)> {
    let limit = prop_oneof![2 => Just(None), 1 => (1_usize..4).prop_map(Some)];
    let setup = (crate::steps::setup(), limit).prop_map(|(base, limit)| Setup { base, limit });
    (setup, vec(step(), 1..120))
}

fn step() -> impl Strategy<Value = Step> {
    let request = || 0..REQUESTS;
    let client = || 0..CLIENTS;
    let ask = (client(), sends(), process(), prop::bool::weighted(0.2));
    let edits = vec(edit(), 0..3);
    let visit = (
        client(),
        sends(),
        process(),
        edits,
        prop::option::of(call()),
    );
    let support = (user(), 0..PROCESSES, call(), any::<bool>());
    prop_oneof![
        10 => ask.prop_map(|(client, sends, process, waits)| {
            Step::Ask { client, sends, process, waits }
        }),
        10 => visit.prop_map(|(client, sends, process, edits, call)| {
            Step::Visit { client, sends, process, edits, call }
        }),
        16 => (request(), edit()).prop_map(|(request, edit)| Step::Change { request, edit }),
        6 => (request(), call()).prop_map(|(request, call)| Step::Call { request, call }),
        4 => support.prop_map(|(user, process, call, waits)| {
            Step::Support { user, process, call, waits }
        }),
        16 => request().prop_map(|request| Step::Save { request }),
        36 => (request(), fault(16)).prop_map(|(request, fault)| Step::Go { request, fault }),
        12 => (request(), fault(8)).prop_map(|(request, fault)| Step::Finish { request, fault }),
        5 => request().prop_map(|request| Step::Cancel { request }),
        3 => prop::sample::select(vec![1, 5, 20, 31, 61, 90, 101, 251, 401]).prop_map(Step::Wait),
        1 => prop::bool::weighted(0.3).prop_flat_map(|all| {
            if all { Just(Step::Restart).boxed() } else { user().prop_map(Step::Lose).boxed() }
        }),
    ]
}

/// Most meet at one user.
fn user() -> impl Strategy<Value = u64> {
    prop_oneof![3 => Just(1), 1 => USERS]
}

fn sends() -> impl Strategy<Value = Sends> {
    prop_oneof![
        10 => Just(Sends::Direct),
        3 => (0_usize..20).prop_map(Sends::Any),
        2 => Just(Sends::Nothing),
        3 => Just(Sends::Login),
    ]
}

fn edit() -> impl Strategy<Value = Edit> {
    prop_oneof![
        10 => user().prop_map(Edit::User),
        2 => Just(Edit::NoUser),
        5 => (0_usize..4).prop_map(Edit::Insert),
        2 => (0_usize..4).prop_map(Edit::Remove),
        1 => Just(Edit::Empty),
        2 => prop::option::of(prop::sample::select(vec![30, 100, 400])).prop_map(Edit::MaxAge),
        1 => Just(Edit::Touch),
        6 => Just(Edit::Renew),
        2 => Just(Edit::Invalidate),
    ]
}

fn call() -> impl Strategy<Value = Call> {
    prop_oneof![
        3 => Just(Call::List),
        3 => (0_usize..20).prop_map(Call::End),
        4 => Just(Call::EndOthers),
        4 => Just(Call::EndAll),
    ]
}
