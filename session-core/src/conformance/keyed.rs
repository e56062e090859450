//! The rules that only a server-side storage can keep: it knows every session that there is.

use std::sync::Arc;

use http::header::COOKIE;
use http::{HeaderValue, Request, Response};
use tokio::task::JoinSet;

use super::{Client, HOUR, MINUTE, Maker, assert_new, fresh, lifetime, settings, timed};
use crate::adapter::{DefaultErrorResponse, RequestSession as _, Storages};
use crate::clock::Clock as _;
use crate::cookie::change::CookieChange;
use crate::error::{Error, ErrorKind, Result};
use crate::session::Session;
use crate::session::identity::Identity;
use crate::storage::Storage;

#[doc(hidden)]
#[macro_export]
macro_rules! __keyed_storage {
    ($maker:ident) => {
        use $crate::conformance::keyed as keyed_storage;
        $crate::__rules! { $maker, keyed_storage,
            the_cookie_holds_the_identity,
            an_unknown_identity_is_never_adopted,
            an_ended_identity_is_never_adopted,
            an_expired_identity_is_never_adopted,
            an_identity_of_the_applications_own_is_used,
            an_identity_that_is_taken_is_refused,
            changes_of_different_keys_are_merged,
            of_the_same_key_the_last_save_wins,
            a_merge_leaves_untouched_values_alone,
            emptying_key_by_key_keeps_what_another_request_added,
            an_emptied_session_keeps_what_an_older_request_adds,
            an_emptied_session_is_new_and_moves_when_it_is_written,
            an_emptied_session_takes_a_late_change_along,
            a_session_that_expires_while_its_request_runs_is_saved,
            a_cookie_without_a_max_age_is_sent_once,
            of_several_identities_the_first_live_one_is_loaded,
            a_logout_ends_every_session_of_the_clients_cookies,
            clearing_takes_out_what_another_request_added,
            an_end_ends_the_old_identity,
            a_slow_writer_is_refused,
            a_slow_toucher_is_refused,
            a_slow_renewer_is_refused,
            a_slow_emptier_is_refused,
            a_slow_reader_succeeds,
            a_slow_rolling_reader_succeeds,
            a_renewal_carries_what_another_request_saved,
            an_invalidated_session_starts_under_another_identity,
            sixty_four_simultaneous_writers_keep_their_keys,
            two_handles_are_saved_in_turns,
        }
    };
}

/// The cookie holds the identity and nothing else, the same one until it is renewed.
pub async fn the_cookie_holds_the_identity(make: impl Maker) {
    let storage = fresh(&make).await;
    let mut client = Client::with(&storage, "k", 0).await;
    let identity = client.identity().to_owned();
    for turn in 1..3 {
        let session = client.load(&storage).await;
        assert_eq!(session.identity().unwrap().as_str(), identity);
        session.insert("k", turn).unwrap();
        client.save(&storage, &session).await;
        assert_eq!(client.identity(), identity);
    }
}

/// An identity that the store does not know is not used for the session that starts.
pub async fn an_unknown_identity_is_never_adopted(make: impl Maker) {
    let storage = fresh(&make).await;
    let planted = Identity::random().unwrap();
    let mut client = Client {
        cookie: Some(planted.as_str().to_owned()),
    };
    let session = client.load(&storage).await;
    session.insert("k", "v").unwrap();
    client.save(&storage, &session).await;
    assert_ne!(client.identity(), planted.as_str());
    assert_new(&storage.load(&[planted.as_str()]).await.unwrap());
    assert_eq!(client.load(&storage).await.keys(), ["k"]);
}

/// No new session gets the identity of a session that has ended.
pub async fn an_ended_identity_is_never_adopted(make: impl Maker) {
    let storage: Arc<dyn Storage> = Arc::new(fresh(&make).await);
    for end in End::ALL {
        let mut client = Client::with(&*storage, "k", "old").await;
        let ended = client.identity().to_owned();
        end.run(&storage, &ended).await.unwrap();
        let session = client.load(&*storage).await;
        assert_new(&session);
        session.insert("k", "new").unwrap();
        if end == End::Emptied {
            client.save(&*storage, &session).await;
            assert_ne!(client.identity(), ended);
        } else {
            // The client's newer cookie, or its removal, may still be on the way.
            let refused = storage.save(&session).await.unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::Ended, "{end:?}");
        }
        assert_new(&storage.load(&[&ended]).await.unwrap());
    }
}

/// An expired session's identity is not used for the one that starts.
pub async fn an_expired_identity_is_never_adopted(make: impl Maker) {
    let (storage, clock) = timed(&make, settings().max_age(HOUR)).await;
    let mut client = Client::with(&storage, "k", "old").await;
    let expired = client.identity().to_owned();
    clock.advance(HOUR + MINUTE);
    let session = client.load(&storage).await;
    session.insert("k", "new").unwrap();
    client.save(&storage, &session).await;
    assert_ne!(client.identity(), expired);
    assert_new(&storage.load(&[&expired]).await.unwrap());
}

/// `set_new_identity()` chooses the identity of a new session, and of no other.
pub async fn an_identity_of_the_applications_own_is_used(make: impl Maker) {
    let storage = fresh(&make).await;
    let own = Identity::random().unwrap();
    let mut client = Client::default();
    let session = client.load(&storage).await;
    session.set_new_identity(own.clone()).unwrap();
    session.insert("k", "v").unwrap();
    client.save(&storage, &session).await;
    assert_eq!(client.identity(), own.as_str());
    let session = client.load(&storage).await;
    assert_eq!(session.keys(), ["k"]);
    let refused = session.set_new_identity(Identity::random().unwrap());
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::Identity);
}

/// A session that exists is not written over by a new one of the same identity.
pub async fn an_identity_that_is_taken_is_refused(make: impl Maker) {
    let storage = fresh(&make).await;
    let client = Client::with(&storage, "k", "first").await;
    let session = storage.load(&[]).await.unwrap();
    let taken = Identity::parse(client.identity()).unwrap();
    session.set_new_identity(taken).unwrap();
    session.insert("k", "second").unwrap();
    let refused = storage.save(&session).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Identity);
    let first = client.load(&storage).await;
    assert_eq!(first.get::<String>("k").unwrap().unwrap(), "first");
}

/// Requests that load before any of them saves all keep what they set and removed.
pub async fn changes_of_different_keys_are_merged(make: impl Maker) {
    let storage = fresh(&make).await;
    let mut client = Client::with(&storage, "a", 0).await;
    let first = client.load(&storage).await;
    first.insert("b", 0).unwrap();
    client.save(&storage, &first).await;

    let handles = [client.load(&storage).await, client.load(&storage).await];
    let [one, two] = &handles;
    one.remove("a").unwrap();
    one.insert("one", 1).unwrap();
    two.insert("b", 2).unwrap();
    two.insert("two", 2).unwrap();
    for handle in &handles {
        client.save(&storage, handle).await;
    }
    let session = client.load(&storage).await;
    assert_eq!(session.keys(), ["b", "one", "two"]);
    assert_eq!(session.get::<i32>("b").unwrap(), Some(2));
    assert_eq!(two.keys(), session.keys());
}

/// Of two values under one key that which is saved last stays; a removal is a value too.
pub async fn of_the_same_key_the_last_save_wins(make: impl Maker) {
    let storage = fresh(&make).await;
    let mut client = Client::with(&storage, "k", "first").await;
    let [one, two, three] = [
        client.load(&storage).await,
        client.load(&storage).await,
        client.load(&storage).await,
    ];
    one.insert("k", "one").unwrap();
    two.insert("k", "two").unwrap();
    three.insert("other", 1).unwrap();
    three.remove("k").unwrap();
    for (handle, left) in [(&two, Some("two")), (&one, Some("one")), (&three, None)] {
        client.save(&storage, handle).await;
        let session = client.load(&storage).await;
        assert_eq!(session.get::<String>("k").unwrap().as_deref(), left);
    }
}

/// A merge, too, writes back byte for byte what neither request touched, in the order it had.
pub async fn a_merge_leaves_untouched_values_alone(make: impl Maker) {
    use serde_json::value::RawValue;
    let text = "[1234567890123456789012345678901234567890, 1e400,\"\\u00e9\"]";
    let storage = fresh(&make).await;
    let raw = RawValue::from_string(text.to_owned()).unwrap();
    let mut client = Client::with(&storage, "raw", raw).await;
    let [one, two] = [client.load(&storage).await, client.load(&storage).await];
    one.insert("one", 1).unwrap();
    two.insert("two", 2).unwrap();
    client.save(&storage, &one).await;
    client.save(&storage, &two).await;
    let session = client.load(&storage).await;
    assert_eq!(session.keys(), ["raw", "one", "two"]);
    let raw: Box<RawValue> = session.get("raw").unwrap().unwrap();
    assert_eq!(raw.get(), text);
}

/// If one request removes every key that it loaded, and another adds one meanwhile, the session
/// goes on.
pub async fn emptying_key_by_key_keeps_what_another_request_added(make: impl Maker) {
    let storage = fresh(&make).await;
    let mut client = Client::with(&storage, "k", 1).await;
    let [emptier, writer] = [client.load(&storage).await, client.load(&storage).await];
    emptier.remove("k").unwrap();
    writer.insert("added", 2).unwrap();
    client.save(&storage, &writer).await;
    let change = client.save(&storage, &emptier).await;
    assert_eq!(change, CookieChange::Keep);
    assert_eq!(client.load(&storage).await.keys(), ["added"]);
}

/// An emptied record stays in the store, so that a request that loaded it earlier can still add
/// keys.
pub async fn an_emptied_session_keeps_what_an_older_request_adds(make: impl Maker) {
    let (storage, _) = timed(&make, settings().max_age(HOUR)).await;
    let mut client = Client::with(&storage, "k", 1).await;
    let [emptier, writer] = [client.load(&storage).await, client.load(&storage).await];
    emptier.remove("k").unwrap();
    let change = client.save(&storage, &emptier).await;
    assert!(matches!(change, CookieChange::Set { .. }), "{change:?}");
    assert_new(&emptier);
    assert_new(&client.load(&storage).await);
    writer.insert("added", 2).unwrap();
    client.save(&storage, &writer).await;
    assert_eq!(client.load(&storage).await.keys(), ["added"]);
}

/// A request that loads an emptied session has a new one. Reading it changes nothing. Setting a key
/// moves it to a fresh identity, so that no login uses the old one.
pub async fn an_emptied_session_is_new_and_moves_when_it_is_written(make: impl Maker) {
    let storage = fresh(&make).await;
    let mut client = Client::with(&storage, "k", 1).await;
    let old = client.identity().to_owned();
    let session = client.load(&storage).await;
    session.remove("k").unwrap();
    client.save(&storage, &session).await;
    // The same handle, and a later request's.
    for session in [session, client.load(&storage).await] {
        session.changed().unwrap();
        session.renew().unwrap();
        assert_eq!(storage.save(&session).await.unwrap(), CookieChange::Keep);
        assert!(session.is_new() && session.is_empty() && session.identity().is_none());
    }
    let slow = client.load(&storage).await;
    slow.insert("slow", 1).unwrap();
    let session = client.load(&storage).await;
    session.insert("user", "alice").unwrap();
    let change = client.save(&storage, &session).await;
    assert!(matches!(change, CookieChange::Set { .. }), "{change:?}");
    assert_ne!(client.identity(), old);
    assert_eq!(client.load(&storage).await.keys(), ["user"]);
    assert_new(&storage.load(&[&old]).await.unwrap());
    let refused = storage.save(&slow).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Ended);
}

/// What an older request saved into the emptied record comes along when the session moves.
pub async fn an_emptied_session_takes_a_late_change_along(make: impl Maker) {
    let storage = fresh(&make).await;
    let mut client = Client::with(&storage, "k", 1).await;
    let [emptier, writer] = [client.load(&storage).await, client.load(&storage).await];
    emptier.remove("k").unwrap();
    client.save(&storage, &emptier).await;
    let next = client.load(&storage).await;
    writer.insert("late", 2).unwrap();
    client.save(&storage, &writer).await;
    next.insert("next", 3).unwrap();
    client.save(&storage, &next).await;
    assert_eq!(client.load(&storage).await.keys(), ["late", "next"]);
}

/// A request that loaded a live session saves it although it has expired since, and a write
/// restarts the lifetime. A request that loads in between finds it expired.
pub async fn a_session_that_expires_while_its_request_runs_is_saved(make: impl Maker) {
    let (storage, clock) = timed(&make, settings().max_age(HOUR)).await;
    let mut client = Client::with(&storage, "k", 1).await;
    clock.advance(MINUTE * 59);
    let slow = client.load(&storage).await;
    clock.advance(MINUTE * 2);
    assert_new(&client.load(&storage).await);
    slow.insert("slow", 2).unwrap();
    client.save(&storage, &slow).await;
    let session = client.load(&storage).await;
    assert_eq!(session.keys(), ["k", "slow"]);
    assert_eq!(session.created(), clock.now());
}

/// An update sends the cookie again only if it has a Max-Age to restart.
pub async fn a_cookie_without_a_max_age_is_sent_once(make: impl Maker) {
    let storage = fresh(&make).await;
    let mut client = Client::with(&storage, "k", 0).await;
    let session = client.load(&storage).await;
    session.insert("k", 1).unwrap();
    assert_eq!(client.save(&storage, &session).await, CookieChange::Keep);
    session.set_max_age(HOUR).unwrap();
    let change = client.save(&storage, &session).await;
    assert_eq!(lifetime(&change), Some(HOUR));
    session.set_max_age(None).unwrap();
    let change = client.save(&storage, &session).await;
    assert_eq!(lifetime(&change), None);
    assert_eq!(client.load(&storage).await.get("k").unwrap(), Some(1));
}

/// Of at most eight distinct identities in the client's cookies the first one with a session is
/// loaded. Other values and repetitions do not count.
pub async fn of_several_identities_the_first_live_one_is_loaded(make: impl Maker) {
    let storage = fresh(&make).await;
    let [one, two] = [
        Client::with(&storage, "one", 1).await,
        Client::with(&storage, "two", 2).await,
    ];
    let unknown: Vec<Identity> = (0..8).map(|_| Identity::random().unwrap()).collect();
    let unknown: Vec<&str> = unknown.iter().map(Identity::as_str).collect();
    let (one, two) = (one.identity(), two.identity());
    let junk = ["", "junk", "junk", "junk", "junk", "junk", "junk", "junk"];
    for (cookies, keys) in [
        (vec![one, two], vec!["one"]),
        (vec![two, one], vec!["two"]),
        ([&unknown[..7], &[two, one]].concat(), vec!["two"]),
        ([&unknown[..8], &[two, one]].concat(), vec![]),
        ([&junk[..], &[unknown[0]; 20], &[one]].concat(), vec!["one"]),
    ] {
        let session = storage.load(&cookies).await.unwrap();
        assert_eq!(session.keys(), keys);
        assert_eq!(session.is_new(), keys.is_empty());
    }
}

/// A logout ends the session that was loaded and those of the client's other cookies.
pub async fn a_logout_ends_every_session_of_the_clients_cookies(make: impl Maker) {
    let storage = fresh(&make).await;
    let [one, two, three] = [
        Client::with(&storage, "one", 1).await,
        Client::with(&storage, "two", 2).await,
        Client::with(&storage, "three", 3).await,
    ];
    let cookies = [one.identity(), "junk", two.identity()];
    let session = storage.load(&cookies).await.unwrap();
    session.invalidate().unwrap();
    assert_eq!(storage.save(&session).await.unwrap(), CookieChange::Remove);
    assert_new(&one.load(&storage).await);
    assert_new(&two.load(&storage).await);
    assert_eq!(three.load(&storage).await.keys(), ["three"]);
}

/// `clear()` takes out those keys too that another request added meanwhile; with nothing set
/// after it, it is an end.
pub async fn clearing_takes_out_what_another_request_added(make: impl Maker) {
    let storage = fresh(&make).await;
    for set_after in [None, Some("after")] {
        let mut client = Client::with(&storage, "k", 1).await;
        let identity = client.identity().to_owned();
        let [clearer, writer] = [client.load(&storage).await, client.load(&storage).await];
        clearer.clear().unwrap();
        if let Some(key) = set_after {
            clearer.insert(key, 3).unwrap();
        }
        writer.insert("added", 2).unwrap();
        client.save(&storage, &writer).await;
        client.save(&storage, &clearer).await;
        let left = storage.load(&[&identity]).await.unwrap();
        assert_eq!(left.keys(), Vec::from_iter(set_after));
        assert_eq!(client.cookie.is_some(), set_after.is_some());
    }
}

/// After a logout, a renewal, an emptying or a login the old cookie stands for nothing.
pub async fn an_end_ends_the_old_identity(make: impl Maker) {
    let storage: Arc<dyn Storage> = Arc::new(fresh(&make).await);
    for end in End::ALL {
        let client = Client::with(&*storage, "k", "v").await;
        let next = end.run(&storage, client.identity()).await.unwrap();
        assert_new(&client.load(&*storage).await);
        assert_eq!(next.is_some(), matches!(end, End::Renewal | End::Login));
        if let Some(next) = next {
            let key = if end == End::Login { "user" } else { "k" };
            let session = storage.load(&[next.as_str()]).await.unwrap();
            assert_eq!(session.keys(), [key], "{end:?}");
        }
    }
}

/// A request that changed a session that has ended meanwhile gets `Ended`, and changes nothing.
pub async fn a_slow_writer_is_refused(make: impl Maker) {
    refused(make, |slow| slow.insert("k", "slow")).await;
}

/// A request that called `changed()` on a session that has ended gets `Ended`.
pub async fn a_slow_toucher_is_refused(make: impl Maker) {
    refused(make, Session::changed).await;
}

/// A request that renews a session that has ended gets `Ended`. Otherwise the data would live on.
pub async fn a_slow_renewer_is_refused(make: impl Maker) {
    refused(make, Session::renew).await;
}

/// A request that removes the last key of a session that has ended gets `Ended`. Its client may
/// have a newer cookie, which must stay.
pub async fn a_slow_emptier_is_refused(make: impl Maker) {
    refused(make, |slow| slow.remove("k").map(drop)).await;
}

async fn refused(make: impl Maker, change: impl Fn(&Session) -> Result<()>) {
    let storage: Arc<dyn Storage> = Arc::new(fresh(&make).await);
    for end in End::ALL.into_iter().filter(|end| *end != End::Emptied) {
        let client = Client::with(&*storage, "k", "v").await;
        let slow = client.load(&*storage).await;
        let next = end.run(&storage, client.identity()).await.unwrap();
        change(&slow).unwrap();
        for _ in 0..2 {
            let refused = storage.save(&slow).await.map_err(|error| error.kind());
            assert_eq!(refused, Err(ErrorKind::Ended), "{end:?}");
            assert_new(&client.load(&*storage).await);
        }
        if let Some(next) = next {
            let session = storage.load(&[next.as_str()]).await.unwrap();
            let left: Option<String> = session.get("k").unwrap();
            assert_eq!(left.as_deref(), (end == End::Renewal).then_some("v"));
        }
    }
}

/// A request that only read succeeds, although another one ended the session.
pub async fn a_slow_reader_succeeds(make: impl Maker) {
    let storage: Arc<dyn Storage> = Arc::new(fresh(&make).await);
    for end in End::ALL {
        let client = Client::with(&*storage, "k", "v").await;
        let slow = client.load(&*storage).await;
        end.run(&storage, client.identity()).await.unwrap();
        assert_eq!(slow.keys(), ["k"]);
        assert_eq!(storage.save(&slow).await.unwrap(), CookieChange::Keep);
        assert_new(&client.load(&*storage).await);
    }
}

/// A rolling read succeeds, too, although another request ended the session. It writes nothing.
pub async fn a_slow_rolling_reader_succeeds(make: impl Maker) {
    let (storage, clock) = timed(&make, settings().max_age(HOUR).rolling(true)).await;
    let storage: Arc<dyn Storage> = Arc::new(storage);
    for end in End::ALL {
        let client = Client::with(&*storage, "k", "v").await;
        clock.advance(MINUTE * 30);
        let slow = client.load(&*storage).await;
        end.run(&storage, client.identity()).await.unwrap();
        assert_eq!(storage.save(&slow).await.unwrap(), CookieChange::Keep);
        assert_new(&client.load(&*storage).await);
    }
}

/// What was saved between a renewing request's load and its save is not lost.
pub async fn a_renewal_carries_what_another_request_saved(make: impl Maker) {
    let storage = fresh(&make).await;
    let mut client = Client::with(&storage, "k", 1).await;
    let [renewer, writer] = [client.load(&storage).await, client.load(&storage).await];
    let old = client.identity().to_owned();
    writer.insert("added", 2).unwrap();
    client.save(&storage, &writer).await;
    renewer.insert("mine", 3).unwrap();
    renewer.renew().unwrap();
    client.save(&storage, &renewer).await;
    assert_ne!(client.identity(), old);
    assert_eq!(client.load(&storage).await.keys(), ["k", "added", "mine"]);
    assert_new(&storage.load(&[&old]).await.unwrap());
}

/// What is set after an invalidation, saved in between or not, has another identity.
pub async fn an_invalidated_session_starts_under_another_identity(make: impl Maker) {
    let storage = fresh(&make).await;
    for save_between in [false, true] {
        let mut client = Client::with(&storage, "k", 1).await;
        let old = client.identity().to_owned();
        let session = client.load(&storage).await;
        session.invalidate().unwrap();
        if save_between {
            client.save(&storage, &session).await;
        }
        session.insert("next", 2).unwrap();
        client.save(&storage, &session).await;
        assert_ne!(client.identity(), old);
        assert_eq!(client.load(&storage).await.keys(), ["next"]);
        assert_new(&storage.load(&[&old]).await.unwrap());
    }
}

/// 64 requests that load one session before any of them saves, and save at once, all keep theirs.
pub async fn sixty_four_simultaneous_writers_keep_their_keys(make: impl Maker) {
    const WRITERS: usize = 64;
    let storage: Arc<dyn Storage> = Arc::new(fresh(&make).await);
    let client = Client::with(&*storage, "k", 0).await;
    let mut saves = JoinSet::new();
    for writer in 0..WRITERS {
        let session = client.load(&*storage).await;
        session.insert(&format!("k{writer}"), writer).unwrap();
        let storage = storage.clone();
        saves.spawn(async move { storage.save(&session).await });
    }
    for saved in saves.join_all().await {
        saved.unwrap();
    }
    let session = client.load(&*storage).await;
    assert_eq!(session.len(), WRITERS + 1);
    for writer in 0..WRITERS {
        let value = session.get(&format!("k{writer}")).unwrap();
        assert_eq!(value, Some(writer));
    }
}

/// Two handles on one session, saved in turns, each bring their own and see the other's.
pub async fn two_handles_are_saved_in_turns(make: impl Maker) {
    let storage = fresh(&make).await;
    let mut client = Client::with(&storage, "k", 0).await;
    let [one, two] = [client.load(&storage).await, client.load(&storage).await];
    for turn in 0..3 {
        for (name, handle) in [("one", &one), ("two", &two)] {
            handle.insert(&format!("{name}{turn}"), turn).unwrap();
            if turn > 0 {
                handle.remove(&format!("{name}{}", turn - 1)).unwrap();
            }
            client.save(&storage, handle).await;
        }
    }
    let session = client.load(&storage).await;
    assert_eq!(session.keys(), ["k", "one2", "two2"]);
    assert_eq!(two.keys(), session.keys());
}

/// The ways in which a session ends, or at least its identity.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum End {
    Logout,
    Renewal,
    Emptied,
    Cleared,
    Login,
}

impl End {
    const ALL: [Self; 5] = [
        Self::Logout,
        Self::Renewal,
        Self::Emptied,
        Self::Cleared,
        Self::Login,
    ];

    /// Ends the session that `cookie` stands for; returns the identity that takes its place.
    async fn run(self, storage: &Arc<dyn Storage>, cookie: &str) -> Result<Option<Identity>> {
        if self == Self::Login {
            return login(storage, cookie).await.map(Some);
        }
        let session = storage.load(&[cookie]).await?;
        match self {
            Self::Logout => session.invalidate()?,
            Self::Renewal => session.renew()?,
            Self::Cleared => session.clear()?,
            Self::Emptied | Self::Login => {
                for key in session.keys() {
                    session.remove(&key)?;
                }
            }
        }
        storage.save(&session).await?;
        Ok(session.identity())
    }
}

/// What an adapter does for a handler that calls `new_session()`.
async fn login(storage: &Arc<dyn Storage>, cookie: &str) -> Result<Identity> {
    let mut request = Request::new(());
    let name = storage.config().cookie().name();
    let header = HeaderValue::from_str(&format!("{name}={cookie}")).unwrap();
    request.headers_mut().insert(COOKIE, header);
    let storages = Storages::new(storage.clone());
    let response = storages.serve(
        request,
        DefaultErrorResponse,
        async |request: Request<()>| {
            let session = request.new_session()?;
            session.insert("user", "alice")?;
            session.save().await?;
            let mut response = Response::new(());
            response.extensions_mut().insert(session.identity());
            Ok::<_, Error>(response)
        },
    );
    let mut response = response.await?;
    let identity = response.extensions_mut().remove::<Option<Identity>>();
    Ok(identity.flatten().unwrap())
}
