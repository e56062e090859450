//! Logins and logouts under hostile cookies and a store that fails in the middle.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use http::header::{COOKIE, SET_COOKIE};
use http::{Request, Response, StatusCode};
use session_core::keyed::{Backend as _, OnlyIf, Write};
use session_core::{
    CookieChange, Error, KeyedStorage, ManualClock, MemoryBackend, RequestSession as _, Storage,
    UserIndex,
};
use session_tests::stores::{Call, Counting, Gate, Timed, When};

use crate::ADAPTER;
use crate::app::{HOUR, SECOND, settings};
use crate::review::{Program, REMOVED, TOO_LARGE};

/// Another subdomain can set cookies with a `_`, which no identity of this storage has. They took
/// the eight places of a login, so the session of the client's own cookie stayed alive.
#[tokio::test]
async fn p3_a_login_ends_the_session_behind_cookies_that_no_session_has() {
    let program = Program::new();
    let old = program.client().await;
    let planted: Vec<String> = (0..8)
        .map(|n| format!("planted_by_a_sibling_{n}"))
        .collect();
    let mut cookies: Vec<&str> = planted.iter().map(String::as_str).collect();
    cookies.push(&old);
    let read = program
        .serve(&cookies, async |request| {
            assert_eq!(request.session().await?.keys(), ["k"]);
            Ok(200)
        })
        .await;
    assert_eq!(read.status, 200);
    let seen = program
        .serve(&cookies, async |request| {
            request.new_session()?.insert("user", 1)?;
            Ok(200)
        })
        .await;
    assert_eq!(program.live().await, [seen.cookie.unwrap()]);
}

/// The response removed the cookie of the login, because the new values could not be stored.
#[tokio::test]
async fn p12_a_logout_whose_new_values_are_too_large_keeps_the_cookie_of_a_login() {
    let program = Program::new();
    let cookie = program.client().await;
    let mut login = None;
    let seen = program
        .serve(&[&cookie], async |request| {
            let session = request.session().await?;
            let other = async |request: Request<()>| {
                request.new_session()?.insert("user", 1)?;
                Ok(200)
            };
            login = program.serve(&[&cookie], other).await.cookie;
            session.invalidate()?;
            session.insert("big", "x".repeat(TOO_LARGE))?;
            Ok(200)
        })
        .await;
    assert_eq!((seen.status, seen.cookie), (500, None));
    assert_eq!(program.live().await, [login.unwrap()]);
}

/// The first save found that a login had replaced the session, and failed at the other cookie. The
/// second save had forgotten that, and removed the cookie of the login.
#[tokio::test]
async fn p12_a_repeated_logout_knows_why_the_session_had_ended() {
    for is_replaced in [true, false] {
        let program = Program::new();
        let (one, two) = (program.client().await, program.client().await);
        let replaced = if is_replaced { &one } else { &two };
        let mut login = None;
        let seen = program
            .serve(&[&one, &two], async |request| {
                let session = request.session().await?;
                let other = async |request: Request<()>| {
                    request.new_session()?.insert("user", 1)?;
                    Ok(200)
                };
                login = program.serve(&[replaced], other).await.cookie;
                session.invalidate()?;
                program.set_down(Some(&two));
                session.save().await.unwrap_err();
                program.set_down(None);
                Ok(200)
            })
            .await;
        let cookie = (!is_replaced).then_some(REMOVED);
        assert_eq!((seen.status, seen.cookie.as_deref()), (200, cookie));
        assert_eq!(program.live().await, [login.unwrap()]);
    }
}

/// The store is silent for the client's other cookies, such as a cluster with one shard down. The
/// session had ended, and the time of the whole save was up before the new one was sent.
#[tokio::test(start_paused = true)]
async fn p6_a_logout_that_starts_again_sends_its_new_session() {
    let store = Timed::new(Gate::new(MemoryBackend::new()), Duration::from_millis(100));
    let storage = Arc::new(KeyedStorage::new(store).with_cookie(settings().build().unwrap()));
    let mut cookies = Vec::new();
    for _ in 0..5 {
        let session = storage.load(&[]).await.unwrap();
        session.insert("k", 1).unwrap();
        storage.save(&session).await.unwrap();
        cookies.push(session.identity().unwrap().as_str().to_owned());
    }
    let gate = storage.backend().inner();
    let silent: Vec<_> = cookies[1..]
        .iter()
        .flat_map(|cookie| [cookie, cookie])
        .map(|cookie| gate.hold_on(cookie, &[Call::Read], When::Before))
        .collect();
    let pairs: Vec<String> = cookies.iter().map(|it| format!("sid={it}")).collect();
    let mut request = Request::new(());
    let header = pairs.join("; ").parse().unwrap();
    request.headers_mut().insert(COOKIE, header);
    let start_again = async |request: Request<()>| {
        let session = request.session().await?;
        session.invalidate()?;
        session.insert("user", 2)?;
        Ok::<_, Error>(Response::new(String::new()))
    };
    let response = ADAPTER
        .serve_once(storage.clone(), request, start_again)
        .await
        .unwrap();
    drop(silent);
    assert!(storage.load(&[&cookies[0]]).await.unwrap().is_new());
    assert_eq!(response.status(), StatusCode::OK);
    let cookie = response.headers()[SET_COOKIE].to_str().unwrap();
    let new = cookie.split(['=', ';']).nth(1).unwrap();
    assert_eq!(storage.load(&[new]).await.unwrap().keys(), ["user"]);
}

/// Each renewal is an entry of the index. The search for the oldest session followed the tombstones
/// of all renewals from each of them.
#[tokio::test]
async fn p11_the_limit_costs_linear_in_the_renewals_of_a_session() {
    const RENEWALS: usize = 100;
    let index = UserIndex::new("user").limit(1);
    let storage = KeyedStorage::new(Counting::new(MemoryBackend::new())).with_user_index(index);
    let session = storage.load(&[]).await.unwrap();
    session.insert("user", 1).unwrap();
    storage.save(&session).await.unwrap();
    for _ in 0..RENEWALS {
        session.renew().unwrap();
        storage.save(&session).await.unwrap();
    }
    storage.backend().take();
    let login = storage.load(&[]).await.unwrap();
    login.insert("user", 1).unwrap();
    storage.save(&login).await.unwrap();
    let calls = storage.backend().take();
    assert!(calls.read < 4 * RENEWALS, "{calls:?}");
    let old = session.identity().unwrap();
    assert!(storage.load(&[old.as_str()]).await.unwrap().is_new());
}

/// A process whose clock is ahead, or another program, has written the record. The limit counted
/// from that time, and each save kept it.
#[tokio::test]
async fn p3_a_start_in_the_future_counts_from_the_next_write() {
    const IDENTITY: &str = "0123456789abcdef0123456789abcdef";
    let clock = ManualClock::at(UNIX_EPOCH + SECOND * 1_700_000_000);
    let memory = MemoryBackend::new().with_clock(clock.clone());
    let record = r#"{"created": 1700000000, "session": {"a": 1}, "started": 1800000000}"#;
    let record = Write::record(record, None);
    let key = format!("sid_{IDENTITY}");
    memory.write(&key, record, OnlyIf::Missing).await.unwrap();
    let cookie = settings().absolute_max_age(HOUR * 3).max_age(HOUR * 2);
    let storage = KeyedStorage::new(memory)
        .with_cookie(cookie.build().unwrap())
        .with_clock(clock.clone());
    let mut writes = 0;
    loop {
        let session = storage.load(&[IDENTITY]).await.unwrap();
        if session.is_new() {
            break;
        }
        session.insert("writes", writes).unwrap();
        let change = storage.save(&session).await.unwrap();
        assert!(matches!(change, CookieChange::Set { .. }), "{change:?}");
        writes += 1;
        assert!(writes < 10, "it lives on and on");
        clock.advance(HOUR);
    }
    assert_eq!(writes, 4, "the first write, and three hours after it");
}

/// The end failed, and so did the end of the new record. The session forgot that record, and the
/// next save stored a second one.
#[tokio::test]
async fn p4_a_logout_that_fails_and_starts_again_makes_one_session() {
    let program = Program::new();
    let cookie = program.client().await;
    let session = program.storage.load(&[&cookie]).await.unwrap();
    session.invalidate().unwrap();
    session.insert("user", 1).unwrap();
    program.failing().fail(1..=3, When::Before);
    program.storage.save(&session).await.unwrap_err();
    program.failing().heal();
    let change = program.storage.save(&session).await.unwrap();
    let CookieChange::Set { value, .. } = change else {
        panic!("{change:?}");
    };
    assert_eq!(program.live().await, [value]);
}
