//! P9, counted: how often a request allocates for its session's sake. Time jitters, this does not.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::convert::Infallible;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use http::{HeaderValue, Request, Response, header};
use hyper::service::{Service as _, service_fn};
use session_cookie::{EncryptedCookieStorage, Key};
use session_core::{
    CookieSettings, MemoryStorage, RequestSession, Session, SessionConfig, Storage,
};
use session_hyper::SessionService;
use session_tower::SessionLayer;
use tower::{Layer as _, Service as _};

/// Runs a future that never waits: nothing here does I/O.
fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("nothing here waits"),
    }
}

async fn handler(request: Request<String>) -> session_core::Result<Response<String>> {
    match request.uri().path() {
        "/none" => {}
        "/read" => assert_eq!(request.session().await?.get::<i64>("counter")?, Some(1)),
        _ => {
            let session = request.session().await?;
            session.insert("user_id", 1_234_567)?;
            session.insert("name", "Ada Lovelace")?;
            session.insert("roles", ["admin", "editor", "viewer"])?;
            session.insert("last_visit", 1_700_000_000.123_456)?;
            session.insert("counter", 1)?;
        }
    }
    Ok(Response::new(String::new()))
}

async fn bare(_: Request<String>) -> Result<Response<String>, Infallible> {
    Ok(Response::new(String::new()))
}

fn request(path: &'static str, cookie: &HeaderValue) -> Request<String> {
    let request = Request::get(path).header(header::COOKIE, cookie);
    request.body(String::new()).unwrap()
}

/// Returns how many allocations a request makes more than it would without sessions. They must be
/// as many through the layer of tower as through the service of hyper.
fn allocations(storage: Arc<dyn Storage>, path: &'static str) -> u64 {
    let hyper = SessionService::new(storage.clone(), service_fn(handler));
    let hyper = of_a_session(path, |request| now(hyper.call(request)).unwrap());
    let tower = SessionLayer::new(storage).layer(tower::service_fn(handler));
    let tower = of_a_session(path, |request| now(tower.clone().call(request)).unwrap());
    assert_eq!(tower, hyper, "{path}: tower beside hyper");
    let request = request(path, &HeaderValue::from_static("a=1"));
    let without = of_one(request, |request| {
        now(service_fn(bare).call(request)).unwrap()
    });
    assert!(hyper > without, "the counter counts");
    hyper - without
}

/// Returns how many allocations a request makes whose session was written before.
fn of_a_session(
    path: &'static str,
    serve: impl Fn(Request<String>) -> Response<String> + Copy,
) -> u64 {
    let written = serve(request("/write", &HeaderValue::from_static("a=1")));
    let cookie = written.headers()[header::SET_COOKIE].to_str().unwrap();
    let cookie = HeaderValue::from_str(cookie.split(';').next().unwrap()).unwrap();
    // Once for what is made at first use.
    drop(serve(request(path, &cookie)));
    of_one(request(path, &cookie), serve)
}

fn of_one(request: Request<String>, serve: impl Fn(Request<String>) -> Response<String>) -> u64 {
    allocation_counter::measure(|| drop(serve(request))).count_total
}

fn cookie() -> CookieSettings {
    CookieSettings::builder("sid")
        .max_age(Duration::from_secs(3600))
        .build()
        .unwrap()
}

fn memory() -> Arc<dyn Storage> {
    Arc::new(MemoryStorage::default().with_cookie(cookie()))
}

fn fernet() -> Arc<dyn Storage> {
    Arc::new(EncryptedCookieStorage::new(Key::from([7; 32])).with_cookie(cookie()))
}

#[track_caller]
fn at_most(most: u64, storage: Arc<dyn Storage>, path: &'static str) {
    let count = allocations(storage, path);
    assert!(count <= most, "{path}: {count} allocations, at most {most}");
}

#[test]
fn p9_a_clone_of_the_layer_or_of_its_service_allocates_nothing() {
    let layer = SessionLayer::new(memory())
        .and(MemoryStorage::default())
        .unwrap();
    let service = layer.layer(tower::service_fn(handler));
    let count = allocation_counter::measure(|| {
        drop(layer.clone());
        drop(service.clone());
    });
    assert_eq!(count.count_total, 0);
}

/// The context, and the three of an entry in a request's extensions.
#[test]
fn p9_a_request_that_does_not_ask_allocates_four_times() {
    at_most(4, memory(), "/none");
    at_most(4, fernet(), "/none");
}

#[test]
fn p9_a_read_from_memory_allocates_twelve_times() {
    at_most(12, memory(), "/read");
}

/// Five of them are the fernet crate's.
#[test]
fn p9_a_read_of_an_encrypted_cookie_allocates_sixteen_times() {
    at_most(16, fernet(), "/read");
}

/// Five of them are the values that the handler sets.
#[test]
fn p9_a_write_to_memory_allocates_24_times() {
    at_most(24, memory(), "/write");
}

#[test]
fn p9_a_write_of_an_encrypted_cookie_allocates_32_times() {
    at_most(32, fernet(), "/write");
}

/// Returns how many allocations it takes to write, read and remove as many names, which need an
/// escape, as a client may choose them.
fn allocations_of_names(session: &Session, many: usize) -> u64 {
    let count = allocation_counter::measure(|| {
        for at in 0..many {
            session.insert(&format!("\u{e9}{at}"), at).unwrap();
        }
        for at in 0..many {
            let name = format!("\u{e9}{at}");
            assert_eq!(session.get(&name).unwrap(), Some(at));
            assert!(session.contains_key(&name));
        }
        for at in 0..many {
            assert!(session.remove(&format!("\u{e9}{at}")).unwrap());
        }
    });
    count.count_total
}

/// Checks that four times as many names take at most five times as many allocations.
fn is_linear(allocations: impl Fn(usize) -> u64) {
    let (few, many) = (allocations(250), allocations(1000));
    assert!(many <= 5 * few, "{few} for 250 names, {many} for 1,000");
}

/// F9: the names are not unescaped again for each of the others.
#[test]
fn p9_names_with_escapes_cost_a_fixed_number_of_allocations_each() {
    is_linear(|many| allocations_of_names(&Session::detached(), many));
}

#[test]
fn p9_names_with_escapes_in_a_stored_record_cost_a_fixed_number_of_allocations_each() {
    is_linear(|many| {
        let names = (0..many).map(|at| format!("\"\\u00e9{at}\": {at}"));
        let names: Vec<String> = names.collect();
        let names = names.join(", ");
        let record = format!("{{\"created\": 1700000000, \"session\": {{{names}}}}}");
        let session = SessionConfig::default().open(record).unwrap();
        assert_eq!(session.len(), many);
        allocations_of_names(&session, many)
    });
}
