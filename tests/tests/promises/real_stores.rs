//! P2, P4, P8, P11 and P12 over a real Redis and memcached, through two processes: what the table
//! of tombstones and the rules about foreign data mean there.

use std::sync::Arc;

use session_core::{CookieChange, ErrorKind, ManualClock, Result, Session, Storage, UserSessions};
use session_tests::real::{KINDS, Lease, Left};

use crate::app::{HOUR, SECOND, settings};

/// Two processes on one store.
struct Two {
    store: Lease,
    one: Arc<dyn Storage>,
    other: Arc<dyn Storage>,
    clock: ManualClock,
}

impl Two {
    async fn on(kind: &str) -> Self {
        let store = Lease::of(kind);
        let clock = ManualClock::at(std::time::SystemTime::now());
        let cookie = || settings().build().unwrap();
        let one = store.storage(cookie(), Some(clock.clone()), false).await;
        let other = store.storage(cookie(), Some(clock.clone()), false).await;
        Self {
            store,
            one,
            other,
            clock,
        }
    }

    /// A client's session with the key `k`; returns its cookie.
    async fn client(&self) -> String {
        let session = self.one.load(&[]).await.unwrap();
        session.insert("k", 1).unwrap();
        cookie(self.one.save(&session).await.unwrap())
    }

    async fn keys(&self, cookie: &str) -> Vec<String> {
        self.other.load(&[cookie]).await.unwrap().keys()
    }

    fn stored(&self, cookie: &str) -> Option<Vec<u8>> {
        self.store.get(&format!("sid_{cookie}"))
    }
}

fn cookie(change: CookieChange) -> String {
    match change {
        CookieChange::Set { value, .. } => value,
        other => panic!("{other:?}"),
    }
}

async fn changed(
    storage: &Arc<dyn Storage>,
    cookie: &str,
    change: impl FnOnce(&Session) -> Result<()>,
) -> Result<CookieChange> {
    let session = storage.load(&[cookie]).await?;
    change(&session)?;
    storage.save(&session).await
}

/// F1.
#[tokio::test]
async fn p2_a_removal_of_the_last_key_and_an_insertion_are_both_kept_in_real_stores() {
    for kind in KINDS {
        for emptying_first in [true, false] {
            let stores = Two::on(kind).await;
            let client = stores.client().await;
            let emptying = stores.one.load(&[&client]).await.unwrap();
            let adding = stores.other.load(&[&client]).await.unwrap();
            emptying.remove("k").unwrap();
            adding.insert("added", 1).unwrap();
            if emptying_first {
                stores.one.save(&emptying).await.unwrap();
                stores.other.save(&adding).await.unwrap();
            } else {
                stores.other.save(&adding).await.unwrap();
                stores.one.save(&emptying).await.unwrap();
            }
            assert_eq!(stores.keys(&client).await, ["added"], "{kind}");
        }
    }
}

/// F2.
#[tokio::test]
async fn p12_a_poll_that_arrives_after_a_renewal_or_a_logout_gets_409_in_real_stores() {
    for kind in KINDS {
        for ends in [Session::renew, Session::invalidate] {
            let stores = Two::on(kind).await;
            let client = stores.client().await;
            let saved = changed(&stores.one, &client, ends).await.unwrap();
            for storage in [&stores.one, &stores.other] {
                let told = changed(storage, &client, |poll| poll.insert("polled", 1)).await;
                assert_eq!(told.unwrap_err().kind(), ErrorKind::Ended, "{kind}");
                let read = changed(storage, &client, |_| Ok(())).await.unwrap();
                assert_eq!(read, CookieChange::Keep);
            }
            if let CookieChange::Set { value, .. } = saved {
                assert_eq!(stores.keys(&value).await, ["k"], "{kind}");
                // A logout follows the renewal.
                let out = changed(&stores.other, &client, Session::invalidate)
                    .await
                    .unwrap();
                assert_eq!(out, CookieChange::Remove);
                assert_eq!(stores.stored(&value).unwrap(), b"{ }", "{kind}");
            }
        }
    }
}

#[tokio::test]
async fn p12_a_revoked_session_and_pythons_end_let_their_client_start_again_in_real_stores() {
    for kind in KINDS {
        for (tombstone, in_flight) in [(&b"{\n}"[..], true), (b"{}", true), (b"", false)] {
            let stores = Two::on(kind).await;
            let client = stores.client().await;
            let slow = stores.one.load(&[&client]).await.unwrap();
            slow.insert("slow", 1).unwrap();
            let planted = if in_flight {
                client.clone()
            } else {
                "0".repeat(32)
            };
            if in_flight {
                stores.store.put(&format!("sid_{client}"), tombstone);
                let told = stores.one.save(&slow).await.unwrap_err();
                assert_eq!(told.kind(), ErrorKind::Ended, "{kind}");
            }
            let saved = changed(&stores.other, &planted, |new| new.insert("mine", 1)).await;
            let new = cookie(saved.unwrap());
            assert_ne!(new, client);
            assert_eq!(stores.keys(&new).await, ["mine"], "{kind}");
        }
    }
}

/// F3.
#[tokio::test]
async fn p8_a_session_that_expires_while_its_request_runs_is_saved_in_real_stores() {
    for kind in KINDS {
        let stores = Two::on(kind).await;
        let client = stores.client().await;
        let slow = stores.one.load(&[&client]).await.unwrap();
        stores.clock.advance(HOUR + SECOND);
        assert!(stores.other.load(&[&client]).await.unwrap().is_new());
        slow.insert("slow", 1).unwrap();
        stores.one.save(&slow).await.unwrap();
        assert_eq!(stores.keys(&client).await, ["k", "slow"], "{kind}");
    }
}

/// F4.
#[tokio::test]
async fn p4_a_foreign_value_that_a_cookie_names_is_left_alone_in_real_stores() {
    const KEY: &str = "articles-by-country";
    for kind in KINDS {
        for foreign in [&b""[..], b"0", b"[]", b"\"text\"", b"\x00\xff\r\nEND\r\n"] {
            let stores = Two::on(kind).await;
            let key = format!("sid_{KEY}");
            stores.store.put(&key, foreign);
            let own = stores.client().await;
            for change in [
                Session::invalidate,
                Session::clear,
                Session::changed,
                Session::renew,
            ] {
                for cookies in [&[KEY][..], &[&own, KEY], &[KEY, &own]] {
                    let session = stores.one.load(cookies).await.unwrap();
                    change(&session).unwrap();
                    let _ = stores.one.save(&session).await;
                }
            }
            let new = changed(&stores.one, KEY, |new| new.insert("mine", 1)).await;
            assert_ne!(cookie(new.unwrap()), KEY);
            let restart = |session: &Session| {
                session.invalidate()?;
                session.insert("mine", 1)
            };
            assert_ne!(
                cookie(changed(&stores.one, KEY, restart).await.unwrap()),
                KEY
            );
            assert_eq!(stores.store.get(&key).as_deref(), Some(foreign), "{kind}");
        }
    }
}

/// F5: as many commands as writers in Redis, three for each in memcached.
#[tokio::test]
async fn p2_two_hundred_writers_of_one_process_cost_a_command_each_in_redis() {
    for (kind, commands) in KINDS.into_iter().zip([1, 3]) {
        let stores = Two::on(kind).await;
        let client = stores.client().await;
        let mut writers = Vec::new();
        for at in 0..200 {
            let session = stores.one.load(&[&client]).await.unwrap();
            session.insert(&format!("k{at}"), at).unwrap();
            writers.push(session);
        }
        stores.store.take_calls();
        let saves: Vec<_> = writers
            .into_iter()
            .map(|session| {
                let storage = stores.one.clone();
                tokio::spawn(async move { storage.save(&session).await })
            })
            .collect();
        for save in saves {
            save.await.unwrap().unwrap();
        }
        let calls = stores.store.take_calls();
        let all = calls.read + calls.create + calls.update + calls.end;
        assert!(all <= 200 * commands, "{kind}: {calls:?}");
        assert_eq!(stores.keys(&client).await.len(), 201);
    }
}

/// What a login, an ordinary request and an end cost, and that no key is left without a time to
/// live.
#[tokio::test]
async fn p11_an_index_in_real_stores_costs_two_commands_a_login_and_expires() {
    // memcached names no version in its response to a write, so a write costs a `gets` more.
    for (kind, extra) in KINDS.into_iter().zip([0, 1]) {
        for hash in [false, true] {
            let store = Lease::of(kind);
            let clock = ManualClock::at(std::time::SystemTime::now());
            let cookies = || settings().build().unwrap();
            let storage = store
                .storage_of_users(cookies(), Some(clock.clone()), hash, Some("user"))
                .await;
            let log_in = async || {
                let session = storage.load(&[]).await.unwrap();
                session.insert("user", "alice").unwrap();
                cookie(storage.save(&session).await.unwrap())
            };
            log_in().await;
            store.take_calls();
            let client = log_in().await;
            let calls = store.take_calls();
            let all = calls.read + calls.create + calls.update + calls.end;
            assert!((3..=3 + extra).contains(&all), "{kind}: {calls:?}");
            changed(&storage, &client, |session| session.insert("k", 1))
                .await
                .unwrap();
            let calls = store.take_calls();
            let all = calls.read + calls.create + calls.update + calls.end;
            assert!((2..=2 + extra).contains(&all), "{kind}: {calls:?}");

            let keys = store.keys();
            let index: Vec<&String> = keys.iter().filter(|key| key.starts_with('@')).collect();
            assert_eq!((keys.len(), index.len()), (3, 1), "{keys:?}");
            for key in &keys {
                let Left::Seconds(left) = store.left(key) else {
                    panic!("{kind}: {key} has no time to live");
                };
                let least = if key.starts_with('@') { 7200 } else { 3600 };
                assert!((least..least + 310).contains(&left), "{kind}: {left}");
            }
            let value = String::from_utf8(store.get(index[0]).unwrap()).unwrap();
            assert_eq!(value.contains(&client), !hash, "{kind}");
            assert!(!value.contains("alice") && !index[0].contains("alice"));

            let session = storage.load(&[&client]).await.unwrap();
            let sessions = UserSessions::of_session(&storage, &session).unwrap();
            let sessions = sessions.unwrap();
            assert_eq!(sessions.list().await.unwrap().len(), 2);
            assert_eq!(sessions.end_all().await.unwrap(), 2);
            assert_eq!(storage.save(&session).await.unwrap(), CookieChange::Remove);
            // An index that is lost is an error for a session that should be in it.
            let client = log_in().await;
            store.put(index[0], b"{}");
            let session = storage.load(&[&client]).await.unwrap();
            let sessions = UserSessions::of_session(&storage, &session).unwrap();
            let error = sessions.unwrap().end_all().await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unavailable, "{kind}");
        }
    }
}
