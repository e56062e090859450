//! P5, the part without I/O: a save that is dropped at any await point leaves a store and a handle
//! that work.

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use session_core::{CookieChange, Session, Storage};

use crate::app::App;

/// Drops the save of what `change` did after each number of polls; then saves again.
async fn dropped_anywhere(
    signed_in: bool,
    change: impl Fn(&Session),
    check: impl AsyncFn(&App, &Session, session_core::Result<CookieChange>, Option<String>),
) {
    for polls in 0.. {
        let app = App::new();
        let (old, session) = app.loaded(signed_in).await;
        change(&session);
        let mut finished = false;
        {
            let mut save = pin!(app.storage.save(&session));
            let mut context = Context::from_waker(Waker::noop());
            for _ in 0..polls {
                if let Poll::Ready(saved) = save.as_mut().poll(&mut context) {
                    saved.unwrap();
                    finished = true;
                    break;
                }
            }
        }
        if finished {
            assert!(polls > 2, "there were await points");
            return;
        }
        println!("dropped after {polls} polls");
        let again = app.storage.save(&session).await;
        check(&app, &session, again, old).await;
    }
}

/// The client's session holds these keys, and its old identity is dead if it was to change.
async fn holds(
    app: &App,
    saved: session_core::Result<CookieChange>,
    old: Option<String>,
    keys: &[&str],
    moves: bool,
) {
    let Ok(CookieChange::Set { value, .. }) = saved else {
        panic!("the second save: {saved:?}");
    };
    assert_eq!(app.keys(&value).await.unwrap(), keys);
    if let Some(old) = old {
        assert_eq!(old != value, moves);
        assert_eq!(app.keys(&old).await.is_none(), moves);
    }
}

#[tokio::test]
async fn p5_a_dropped_first_save_can_be_saved_again() {
    let change = |session: &Session| session.insert("k", 1).unwrap();
    dropped_anywhere(false, change, async |app, _, saved, old| {
        holds(app, saved, old, &["k"], false).await;
    })
    .await;
}

#[tokio::test]
async fn p5_a_dropped_update_can_be_saved_again() {
    let change = |session: &Session| {
        session.insert("new", 1).unwrap();
        session.remove("k").unwrap();
    };
    dropped_anywhere(true, change, async |app, _, saved, old| {
        holds(app, saved, old, &["new"], false).await;
    })
    .await;
}

#[tokio::test]
async fn p5_a_dropped_renewal_can_be_saved_again() {
    let change = |session: &Session| {
        session.insert("new", 1).unwrap();
        session.renew().unwrap();
    };
    dropped_anywhere(true, change, async |app, _, saved, old| {
        holds(app, saved, old, &["k", "new"], true).await;
    })
    .await;
}

#[tokio::test]
async fn p5_a_dropped_restart_can_be_saved_again() {
    let change = |session: &Session| {
        session.invalidate().unwrap();
        session.insert("new", 1).unwrap();
    };
    dropped_anywhere(true, change, async |app, _, saved, old| {
        holds(app, saved, old, &["new"], true).await;
    })
    .await;
}

#[tokio::test]
async fn p5_a_dropped_logout_can_be_saved_again() {
    for change in [Session::invalidate, Session::clear] {
        let change = |session: &Session| change(session).unwrap();
        dropped_anywhere(true, change, async |app, session, saved, _| {
            assert_eq!(saved.unwrap(), CookieChange::Remove);
            assert!(session.is_new() && app.live().await.is_empty());
        })
        .await;
    }
}

/// The emptied record stays, and so does the cookie, whose lifetime starts again.
#[tokio::test]
async fn p5_a_dropped_emptying_can_be_saved_again() {
    let change = |session: &Session| session.remove("k").map(drop).unwrap();
    dropped_anywhere(true, change, async |app, _, saved, old| {
        let Ok(CookieChange::Set { value, .. }) = saved else {
            panic!("{saved:?}");
        };
        assert_eq!(Some(value), old);
        assert!(app.live().await.is_empty());
    })
    .await;
}
