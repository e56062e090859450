//! Sequences that are too rare to be drawn often, in memory.

use std::sync::Arc;

use session_core::MemoryBackend;

use crate::run::start;
use crate::steps::{Edit, End, Fault, Sends, Setup, Step};
use crate::world::World;

const SETUP: Setup = Setup {
    max_age: None,
    rolling: false,
    absolute: None,
    hash_identities: false,
};

fn run(steps: &[Step]) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let outcome = runtime.block_on(async {
        let clock = start();
        let backend = Arc::new(MemoryBackend::new().with_clock(clock.clone()));
        let mut world = World::new(backend, true, clock, SETUP, "drawn_chosen").await;
        world.log_in_all().await?;
        for step in steps {
            world.run(step).await?;
        }
        world.end().await
    });
    outcome.unwrap();
}

fn ask(process: usize) -> Step {
    Step::Ask {
        client: 0,
        sends: Sends::Direct,
        process,
        waits: false,
    }
}

fn change(request: usize, edit: Edit) -> Step {
    Step::Change { request, edit }
}

fn go(request: usize) -> Step {
    let fault = Fault::None;
    Step::Go { request, fault }
}

fn finish(request: usize) -> Step {
    let fault = Fault::None;
    Step::Finish { request, fault }
}

/// A renewal merges what another request wrote, is cancelled at any await point, and is saved
/// again.
#[test]
fn a_cancelled_renewal_keeps_what_it_merged() {
    for turns in 1..12 {
        let save = |request| Step::Save { request };
        let mut steps = vec![
            ask(0),
            ask(1),
            change(1, Edit::Insert(1)),
            save(1),
            finish(1),
            change(0, Edit::Renew),
            save(0),
        ];
        steps.extend(vec![go(0); turns]);
        steps.extend([Step::Cancel { request: 0 }, save(0), finish(0)]);
        run(&steps);
    }
}

/// A logout while a save runs leaves nothing of the session.
#[test]
fn a_logout_during_a_save_stays() {
    for turns in 1..3 {
        let save = |request| Step::Save { request };
        let mut steps = vec![ask(0), change(0, Edit::Insert(1)), save(0)];
        steps.extend(vec![go(0); turns]);
        steps.extend([change(0, Edit::Invalidate), finish(0), save(0), finish(0)]);
        run(&steps);
    }
}

/// One lost response is no end by somebody else.
#[test]
fn an_end_with_a_lost_reply_is_done() {
    for edit in [Edit::Clear, Edit::Invalidate] {
        for lost in 1..5 {
            let save = |request| Step::Save { request };
            let mut steps = vec![ask(0), change(0, edit.clone())];
            if matches!(edit, Edit::Invalidate) {
                steps.push(change(0, Edit::Insert(1)));
            }
            steps.push(save(0));
            steps.extend(vec![go(0); lost]);
            steps.push(Step::Finish {
                request: 0,
                fault: Fault::ReplyLost,
            });
            steps.push(finish(0));
            run(&steps);
        }
    }
}

/// After a server error the old session stays, and a logout is carried out.
#[test]
fn a_server_error_saves_an_end_alone() {
    for edit in [
        Edit::Insert(1),
        Edit::Renew,
        Edit::RemoveAll,
        Edit::Invalidate,
    ] {
        for end in [End::ServerError, End::SessionError] {
            for sends in [Sends::Cookie, Sends::Login] {
                run(&[Step::Visit {
                    client: 0,
                    sends,
                    process: 0,
                    edit: edit.clone(),
                    end,
                }]);
            }
        }
    }
}

/// One lost response leaves the client of a renewal with its session.
#[test]
fn a_renewal_with_a_lost_reply_is_done() {
    for lost in 1..6 {
        let save = |request| Step::Save { request };
        let mut steps = vec![ask(0), change(0, Edit::Renew), save(0)];
        steps.extend(vec![go(0); lost]);
        let fault = Fault::ReplyLost;
        steps.extend([Step::Finish { request: 0, fault }, save(0), finish(0)]);
        run(&steps);
    }
}
