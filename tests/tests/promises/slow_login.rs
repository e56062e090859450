//! A login that the store interrupts.

use std::sync::Arc;
use std::time::Duration;

use http::header::{COOKIE, SET_COOKIE};
use http::{Request, Response, StatusCode};
use session_core::{Error, KeyedStorage, MemoryBackend, RequestSession as _, Storage};
use session_tests::stores::{Call, Gate, Timed, When};

use crate::ADAPTER;
use crate::app::settings;

/// More renewals than the calls for which a login waits.
const RENEWALS: usize = 6;

/// A login ends the old session, and then replaces the tombstones of its renewals. If the store
/// falls silent in between, the old session is gone, so the new one must stay.
#[tokio::test(start_paused = true)]
async fn p6_a_login_that_has_ended_the_old_session_stays() {
    let store = Timed::new(Gate::new(MemoryBackend::new()), Duration::from_millis(100));
    let storage = KeyedStorage::new(store).with_cookie(settings().build().unwrap());
    let storage = Arc::new(storage);
    let session = storage.load(&[]).await.unwrap();
    session.insert("user", 1).unwrap();
    storage.save(&session).await.unwrap();
    let mut identities = vec![session.identity().unwrap()];
    for _ in 0..RENEWALS {
        session.renew().unwrap();
        storage.save(&session).await.unwrap();
        identities.push(session.identity().unwrap());
    }

    let gate = storage.backend().inner();
    let followed = &identities[..RENEWALS];
    let silent: Vec<_> = followed
        .iter()
        .map(|identity| gate.hold_on(identity.as_str(), &[Call::End], When::Before))
        .collect();
    let mut request = Request::new(());
    let cookie = format!("sid={}", identities[0].as_str());
    request
        .headers_mut()
        .insert(COOKIE, cookie.parse().unwrap());
    let log_in = async |request: Request<()>| {
        request.new_session()?.insert("user", 2)?;
        Ok::<_, Error>(Response::new(String::new()))
    };
    let response = ADAPTER
        .serve_once(storage.clone(), request, log_in)
        .await
        .unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let cookie = response.headers()[SET_COOKIE].to_str().unwrap();
    let new = cookie.split(['=', ';']).nth(1).unwrap();
    assert_eq!(
        storage.load(&[new]).await.unwrap().get("user").unwrap(),
        Some(2)
    );
    let old = identities.last().unwrap();
    assert!(storage.load(&[old.as_str()]).await.unwrap().is_new());
    drop(silent);
}
