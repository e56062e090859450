//! P4: no fixation, and exactly one usable session whatever fails.

use std::sync::atomic::AtomicU8;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Mutex};

use session_core::{
    Codec, CookieChange, CookieSettings, ErrorKind, Identity, KeyedStorage, Result, Session,
    Storage,
};
use session_tests::stores::{Call, When};

use crate::app::{App, Compact, settings};

#[tokio::test]
async fn p4_an_unknown_identity_is_never_adopted() {
    let planted = "0123456789abcdef0123456789abcdef";
    for path in ["/set/k/v", "/login", "/restart"] {
        let app = App::new();
        let response = app.ask(Some(planted), path).await;
        let given = response.cookie().unwrap();
        assert_ne!(given, planted, "{path}");
        assert_eq!(app.keys(planted).await, None);
        assert!(app.keys(&given).await.is_some());
    }
}

/// A factory that returns these, and the last one for ever.
fn factory(
    identities: &'static [&'static str],
) -> impl Fn() -> Result<Identity> + Clone + Send + Sync + 'static {
    let next = Arc::new(Mutex::new(0));
    move || {
        let mut next = next.lock().unwrap();
        let identity = identities[(*next).min(identities.len() - 1)];
        *next += 1;
        Ok(Identity::parse(identity).unwrap())
    }
}

const A: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
const B: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";
const C: &str = "cccccccccccccccccccccccccccccccc";

#[tokio::test]
async fn p4_creation_never_overwrites_when_the_key_factory_repeats_itself() {
    let repeats = factory(&[A, A, B, A, B, C, A]);
    let app = App::with(settings(), move |storage| {
        storage.with_key_factory(repeats.clone())
    });
    assert_eq!(app.client().await, A);
    let second = app.ask(None, "/set/second/1").await;
    assert_eq!(second.cookie().as_deref(), Some(B));
    assert_eq!(app.keys(A).await.unwrap(), ["k"]);
    // A renewal, too, draws again: its own old identity is taken.
    let renewed = app.ask(Some(A), "/renew").await;
    assert_eq!(renewed.cookie().as_deref(), Some(C));
    assert_eq!(app.keys(A).await, None);
    assert_eq!(app.keys(B).await.unwrap(), ["second"]);
    assert_eq!(app.keys(C).await.unwrap(), ["k"]);
}

#[tokio::test]
async fn p4_a_key_factory_with_nothing_new_is_an_error_and_ends_no_session() {
    let app = App::with(settings(), |storage| {
        storage.with_key_factory(factory(&[A]))
    });
    assert_eq!(app.client().await, A);
    for (cookie, path) in [(None, "/set/x/1"), (Some(A), "/renew"), (Some(A), "/login")] {
        app.ask(cookie, path).await.assert_refused(500);
        assert_eq!(app.keys(A).await.unwrap(), ["k"]);
    }
}

#[tokio::test]
async fn p4_an_identity_that_is_taken_is_left_alone() {
    let app = App::new();
    let cookie = app.client().await;
    let session = app.storage.load(&[]).await.unwrap();
    session
        .set_new_identity(Identity::parse(&cookie).unwrap())
        .unwrap();
    session.insert("mine", 1).unwrap();
    assert!(app.storage.save(&session).await.is_err());
    assert_eq!(app.keys(&cookie).await.unwrap(), ["k"]);
}

/// One request on `path`, with one of its calls failing: for each call, and both ways to fail.
async fn one_session_is_usable_whatever_fails(path: &str, signed_in: bool, keys: &[&str]) {
    usable_whatever_fails(App::new, path, signed_in, keys).await;
}

async fn usable_whatever_fails(make: fn() -> App, path: &str, signed_in: bool, keys: &[&str]) {
    let calls = {
        let app = make();
        let cookie = app.client_if(signed_in).await;
        app.failing().heal();
        app.ask(cookie.as_deref(), path).await;
        app.failing().heal()
    };
    assert!(calls > 0);
    for at in 0..calls {
        for when in [When::Before, When::After] {
            let app = make();
            let old = app.client_if(signed_in).await;
            app.failing().fail(at..=at, when);
            let response = app.ask(old.as_deref(), path).await;
            app.failing().heal();
            let what = format!(
                "{path}: call {at} of {calls} failed {when:?}: {}",
                response.status
            );

            let client = response.next_cookie(old.as_deref());
            if response.status == 200 {
                let client = client.as_ref().expect(&what);
                assert_eq!(app.keys(client).await.unwrap(), keys, "{what}");
            } else {
                response.assert_refused(503);
                if let Some(old) = &old {
                    assert!(app.keys(old).await.is_some(), "{what}");
                }
            }
            // Of the identities that were ever handed to a client, one is alive.
            let known = [old.as_ref(), response.cookie().as_ref()].map(Option::<&String>::cloned);
            let mut alive: Vec<String> = Vec::new();
            for identity in known.into_iter().flatten() {
                if app.keys(&identity).await.is_some() && !alive.contains(&identity) {
                    alive.push(identity);
                }
            }
            let usable = usize::from(signed_in || response.status == 200);
            assert_eq!(alive.len(), usable, "{what}");

            // The next try does what this one should have done.
            let again = app.ask(client.as_deref(), path).await;
            assert_eq!(again.status, 200, "{what}");
            let last = again.next_cookie(client.as_deref()).unwrap();
            assert_eq!(app.keys(&last).await.unwrap(), keys, "{what}");
            if let Some(old) = old.filter(|old| *old != last) {
                assert_eq!(app.keys(&old).await, None, "{what}");
            }
        }
    }
}

#[tokio::test]
async fn p4_a_first_save_leaves_one_session_whatever_fails() {
    one_session_is_usable_whatever_fails("/set/k/v", false, &["k"]).await;
}

#[tokio::test]
async fn p4_an_update_leaves_one_session_whatever_fails() {
    one_session_is_usable_whatever_fails("/set/new/v", true, &["k", "new"]).await;
}

#[tokio::test]
async fn p4_a_renewal_leaves_one_session_whatever_fails() {
    one_session_is_usable_whatever_fails("/renew", true, &["k"]).await;
}

#[tokio::test]
async fn p4_a_renewal_leaves_one_session_whatever_fails_and_whatever_the_codec() {
    let compact = || App::with(settings(), |storage| storage.with_codec(Compact));
    usable_whatever_fails(compact, "/renew", true, &["k"]).await;
}

#[tokio::test]
async fn p4_a_login_leaves_one_session_whatever_fails() {
    one_session_is_usable_whatever_fails("/login", true, &["user"]).await;
}

#[tokio::test]
async fn p4_a_restart_leaves_one_session_whatever_fails() {
    one_session_is_usable_whatever_fails("/restart", true, &["restarted"]).await;
}

/// An end that fails is an error; one that says it worked did; and no new session comes of it.
#[tokio::test]
async fn p4_an_end_is_acknowledged_or_an_error_whatever_fails() {
    for path in ["/logout", "/empty", "/clear"] {
        for at in 0..3 {
            for when in [When::Before, When::After] {
                let app = App::new();
                let old = app.client().await;
                app.failing().fail(at..=at, when);
                let response = app.ask(Some(&old), path).await;
                app.failing().heal();
                if response.status == 200 {
                    // The cookie of an emptied record stays.
                    let cookie = (path == "/empty").then(|| old.clone());
                    assert_eq!(response.next_cookie(Some(&old)), cookie);
                    assert_eq!(app.live().await, [""; 0]);
                } else {
                    response.assert_refused(503);
                    assert!(app.live().await.len() <= 1);
                    app.ask(Some(&old), path).await;
                    assert_eq!(
                        app.live().await,
                        [""; 0],
                        "{path}: call {at} failed {when:?}"
                    );
                }
            }
        }
    }
}

/// Others' updates are acknowledged between the creation and the end, and after a first merge.
#[tokio::test]
async fn p4_what_is_saved_while_a_renewal_is_under_way_comes_along() {
    let app = App::new();
    let old = app.client().await;
    let end_old = || app.gate().hold_on(&old, &[Call::End], When::Before);
    let marking = end_old();
    let request = app.another().start(&old, "/renew");
    marking.reached().await;
    assert_eq!(app.ask(Some(&old), "/set/one/1").await.status, 200);
    assert_eq!(app.ask(Some(&old), "/set/two/1").await.status, 200);
    // The renewal's attempt conflicts; it writes the new record again, and tries to end the old
    // one again.
    let marking_again = end_old();
    marking.open();
    marking_again.reached().await;
    assert_eq!(app.ask(Some(&old), "/remove/one").await.status, 200);
    assert_eq!(app.ask(Some(&old), "/set/three/1").await.status, 200);
    marking_again.open();
    let new = request.await.unwrap().cookie().unwrap();
    assert_eq!(app.keys(&new).await.unwrap(), ["k", "two", "three"]);
    assert_eq!(app.live().await, [new]);
}

/// A new session that wants an identity, with a key in it.
async fn new(app: &App, identity: &Identity, key: &str) -> Session {
    let session = app.storage.load(&[]).await.unwrap();
    session.set_new_identity(identity.clone()).unwrap();
    session.insert(key, 1).unwrap();
    session
}

/// The first attempt to create a session under an identity of its own has failed.
async fn failed_creation(when: When) -> (App, Identity, Session) {
    let app = App::new();
    let identity = Identity::random().unwrap();
    let mine = new(&app, &identity, "mine").await;
    app.failing().fail(0..=0, when);
    app.storage.save(&mine).await.unwrap_err();
    app.failing().heal();
    (app, identity, mine)
}

/// The first attempt never reached the store, and meanwhile the identity went to somebody else.
#[tokio::test]
async fn p4_a_creation_that_is_tried_again_overwrites_no_session() {
    let (app, identity, mine) = failed_creation(When::Before).await;

    let other = new(&app, &identity, "other").await;
    app.storage.save(&other).await.unwrap();
    let refused = app.storage.save(&mine).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Identity);
    assert_eq!(app.keys(identity.as_str()).await.unwrap(), ["other"]);
}

/// The response was lost, not the record: the same handle goes on with it.
#[tokio::test]
async fn p4_a_creation_under_an_identity_of_ones_own_can_be_tried_again() {
    let (app, identity, mine) = failed_creation(When::After).await;
    mine.insert("more", 2).unwrap();
    app.storage.save(&mine).await.unwrap();
    assert_eq!(app.keys(identity.as_str()).await.unwrap(), ["mine", "more"]);
}

/// A reader of a store with hashed identities finds nothing to send as a cookie.
#[tokio::test]
async fn p4_no_key_of_a_store_with_hashed_identities_is_a_cookie() {
    for hashed in [false, true] {
        let app = App::with(settings(), move |storage| storage.hash_identities(hashed));
        let cookie = app.client().await;
        let next = app.ask(Some(&cookie), "/renew").await.cookie().unwrap();
        for key in app.counts().created() {
            let shown = key.contains(&cookie) || key.contains(&next);
            assert_eq!(shown, !hashed);
            let read = key.strip_prefix("sid_").unwrap();
            assert_eq!(app.keys(read).await.is_some(), !hashed && read == next);
        }
        assert_eq!(app.keys(&next).await.unwrap(), ["k"]);
    }
}

/// The first attempt never reached the store; then somebody else got the identity, and the handle
/// gave up what it had wanted to store.
#[tokio::test]
async fn p4_a_creation_that_is_given_up_ends_no_session() {
    let (app, identity, mine) = failed_creation(When::Before).await;

    let other = new(&app, &identity, "other").await;
    app.storage.save(&other).await.unwrap();
    mine.clear().unwrap();
    app.storage.save(&mine).await.unwrap();
    assert_eq!(app.keys(identity.as_str()).await.unwrap(), ["other"]);
}

#[tokio::test]
async fn p4_a_renewal_of_a_session_that_a_merge_fills_again_changes_the_identity() {
    let app = App::new();
    let cookie = app.client().await;
    let renewed = app.storage.load(&[&cookie]).await.unwrap();
    renewed.renew().unwrap();
    renewed.remove("k").unwrap();
    app.ask(Some(&cookie), "/set/x/1").await;
    let saved = app.storage.save(&renewed).await.unwrap();
    let CookieChange::Set { value, .. } = saved else {
        panic!("{saved:?}");
    };
    assert_ne!(value, cookie, "renew() was dropped: same identity");
    assert_eq!(app.live().await, [value]);
}

#[tokio::test]
async fn p4_a_renewal_asked_for_during_a_conflicting_save_is_not_dropped() {
    let app = App::new();
    let cookie = app.client().await;
    let slow = app.storage.load(&[&cookie]).await.unwrap();
    slow.insert("y", 1).unwrap();
    app.ask(Some(&cookie), "/set/x/1").await;
    let hold = app.gate().hold(Call::Update, When::Before);
    let save = tokio::spawn({
        let (app, slow) = (app.clone(), slow.clone());
        async move { app.storage.save(&slow).await }
    });
    hold.reached().await;
    slow.renew().unwrap();
    hold.open();
    save.await.unwrap().unwrap();
    assert!(slow.is_changed(), "renew() is neither done nor pending");
    app.storage.save(&slow).await.unwrap();
    let new = slow.identity().unwrap();
    assert_ne!(new.as_str(), cookie);
    assert_eq!(app.keys(new.as_str()).await.unwrap(), ["k", "x", "y"]);
    assert_eq!(app.live().await, [new.as_str()]);
}

/// A codec whose result differs each time.
#[derive(Debug)]
struct Salted(AtomicU8);

impl Codec for Salted {
    fn encode(&self, record: Vec<u8>) -> Result<Vec<u8>> {
        let mut stored = vec![self.0.fetch_add(1, SeqCst)];
        stored.extend(record);
        Ok(stored)
    }

    fn decode(&self, stored: &[u8]) -> Option<Vec<u8>> {
        stored.get(1..).map(<[u8]>::to_vec)
    }
}

#[tokio::test]
async fn p4_a_renewal_that_was_cut_off_goes_on_through_a_codec_that_salts() {
    for salted in [false, true] {
        let app = App::with(settings(), move |storage| {
            if salted {
                storage.with_codec(Salted(AtomicU8::new(0)))
            } else {
                storage
            }
        });
        let cookie = app.client().await;
        let session = app.storage.load(&[&cookie]).await.unwrap();
        session.renew().unwrap();
        let hold = app.gate().hold_on(&cookie, &[Call::End], When::After);
        let save = app.start_save(&session);
        hold.reached().await;
        save.abort();
        let _ = save.await;
        if app.storage.save(&session).await.is_err() {
            let is_alive = app.keys(&cookie).await.is_some();
            assert!(is_alive, "salted: {salted}: no usable session is left");
        }
    }
}

#[tokio::test]
async fn p4_a_session_is_not_taken_for_one_of_a_longer_cookie_name() {
    let app = App::new();
    let prefs = CookieSettings::builder("sid_prefs").build().unwrap();
    let prefs = KeyedStorage::new(app.storage.backend().clone()).with_cookie(prefs);
    let session = prefs.load(&[]).await.unwrap();
    session.insert("k", 1).unwrap();
    let CookieChange::Set { value, .. } = prefs.save(&session).await.unwrap() else {
        panic!("a new session");
    };
    assert!(!prefs.load(&[&value]).await.unwrap().is_new());
    let as_sid = format!("prefs_{value}");
    assert_eq!(app.keys(&as_sid).await, None);
    app.ask(Some(&as_sid), "/logout").await;
    app.ask(Some(&as_sid), "/login").await;
    assert!(!prefs.load(&[&value]).await.unwrap().is_new());
}
