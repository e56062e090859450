//! What each piece of a session costs. A group ends with its `limit`, where there is one: the
//! primitive alone, on the same bytes, that no implementation can do without.
//!
//! ```sh
//! cargo bench --manifest-path benches/Cargo.toml -p micro            # all, about three minutes
//! cargo bench --manifest-path benches/Cargo.toml -p micro -- fernet  # those whose name has it
//! cargo test --manifest-path benches/Cargo.toml -p micro --benches   # each once, untimed
//! ```

use std::convert::Infallible;
use std::future::Future;
use std::hint::black_box;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use crypto_secretbox::aead::{Aead, AeadCore, KeyInit, OsRng};
use crypto_secretbox::{Nonce, XSalsa20Poly1305};
use fernet::Fernet;
use http::{Extensions, HeaderValue, Request, Response, header};
use hyper::service::{Service, service_fn};
use serde::Deserialize;
use session_cookie::{EncryptedCookieStorage, Key, NaClCookieStorage};
use session_core::{
    CookieChange, CookieSettings, MemoryStorage, SessionConfig, RequestSession, Session, SessionContext,
    Storage,
};
use session_hyper::SessionService;

/// What a logged-in user's session holds: 121 bytes, 167 with the record around it.
const RECORD: &str = "{\"created\": 1700000000, \"session\": {\"user_id\": 1234567, \
     \"name\": \"Ada Lovelace\", \"roles\": [\"admin\", \"editor\", \"viewer\"], \
     \"last_visit\": 1700000000.123456, \"counter\": 41}}";

/// The same as a program would declare it that kept its session in a struct.
#[derive(Deserialize)]
#[expect(dead_code, reason = "it is what is read that counts")]
struct Data {
    user_id: u64,
    name: String,
    roles: Vec<String>,
    last_visit: f64,
    counter: i64,
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "it is what is read that counts")]
struct Envelope<S> {
    created: u64,
    session: S,
}

/// Runs a future that never waits: nothing here does I/O.
fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("nothing here waits"),
    }
}

fn settings() -> CookieSettings {
    let cookie = CookieSettings::builder("sid").max_age(Duration::from_secs(3600));
    cookie.build().unwrap()
}

/// The session without a lifetime, so that it can be opened for ever.
fn session() -> Session {
    SessionConfig::default().open(RECORD.as_bytes()).unwrap()
}

fn fill(session: &Session) {
    session.insert("user_id", 1_234_567).unwrap();
    session.insert("name", "Ada Lovelace").unwrap();
    session
        .insert("roles", ["admin", "editor", "viewer"])
        .unwrap();
    session.insert("last_visit", 1_700_000_000.123_456).unwrap();
    session.insert("counter", 41).unwrap();
}

/// Saves the session in `storage`, and returns its cookie's value.
fn cookie_in(storage: &dyn Storage) -> String {
    let session = storage.config().new_session(false);
    fill(&session);
    saved(storage, &session)
}

fn saved(storage: &dyn Storage, session: &Session) -> String {
    match now(storage.save(session)).unwrap() {
        CookieChange::Set { value, .. } => value,
        change => panic!("saved, but {change:?}"),
    }
}

fn changed_in(storage: &dyn Storage, cookie: &str) -> Session {
    let session = now(storage.load(&[cookie])).unwrap();
    session.insert("counter", 42).unwrap();
    session
}

fn record(c: &mut Criterion) {
    let records = SessionConfig::default();
    let mut group = c.benchmark_group("record: read");
    group.bench_function("all of it", |b| {
        b.iter(|| records.open(RECORD.as_bytes()).unwrap());
    });
    group.bench_function("limit: serde_json, a struct", |b| {
        b.iter(|| serde_json::from_str::<Envelope<Data>>(black_box(RECORD)).unwrap());
    });
    group.bench_function("limit: serde_json, a tree", |b| {
        b.iter(|| serde_json::from_str::<serde_json::Value>(black_box(RECORD)).unwrap());
    });
    group.finish();

    let mut group = c.benchmark_group("record: write");
    let session = session();
    session.insert("counter", 42).unwrap();
    group.bench_function("all of it", |b| {
        b.iter(|| records.change(&session).unwrap().unwrap());
    });
    let tree: serde_json::Value = serde_json::from_str(RECORD).unwrap();
    group.bench_function("limit: serde_json, a tree", |b| {
        b.iter(|| serde_json::to_vec(black_box(&tree)).unwrap());
    });
    group.finish();
}

fn session_calls(c: &mut Criterion) {
    let mut group = c.benchmark_group("session");
    let session = session();
    group.bench_function("get a number", |b| {
        b.iter(|| session.get::<i64>(black_box("counter")).unwrap());
    });
    group.bench_function("get a text", |b| {
        b.iter(|| session.get::<String>(black_box("name")).unwrap());
    });
    group.bench_function("insert a number", |b| {
        b.iter(|| session.insert(black_box("counter"), 42).unwrap());
    });
    group.bench_function("update a number", |b| {
        let add = |counter: Option<i64>| counter.unwrap_or(0) + 1;
        b.iter(|| session.update(black_box("counter"), add).unwrap());
    });
    group.bench_function("limit: serde_json, parse and write a number", |b| {
        b.iter(|| {
            let counter: i64 = serde_json::from_str(black_box("41")).unwrap();
            serde_json::to_string(&(counter + 1)).unwrap()
        });
    });
    group.finish();
}

/// From the Cookie header of a request to its session, as the service and the handler do it.
fn cookie_header(c: &mut Criterion) {
    let mut group = c.benchmark_group("Cookie header to session");
    let memory: Arc<dyn Storage> = Arc::new(MemoryStorage::default().with_cookie(settings()));
    let fernet = EncryptedCookieStorage::new(Key::from([7; 32])).with_cookie(settings());
    let fernet: Arc<dyn Storage> = Arc::new(fernet);
    for (name, storage) in [("memory", memory), ("fernet", fernet)] {
        let value = cookie_in(&*storage);
        for (kind, before) in [
            ("alone", ""),
            (
                "the last of four",
                "_ga=GA1.1.1234567890.1700000000; theme=dark; lang=en-GB; ",
            ),
        ] {
            let request = Request::get("/")
                .header(header::COOKIE, format!("{before}sid={value}"))
                .body(())
                .unwrap();
            let (mut head, ()) = request.into_parts();
            group.bench_function(format!("{name}, {kind}"), |b| {
                b.iter(|| {
                    head.extensions = Extensions::new();
                    SessionContext::attach(&storage, &mut head.extensions);
                    now(head.session()).unwrap()
                });
            });
        }
    }
    group.finish();
}

/// Save (seal) and load (open) of the storages that encrypt.
fn sealed(c: &mut Criterion) {
    let key = [7; 32];
    let mut group = c.benchmark_group("fernet");
    let storage = EncryptedCookieStorage::new(Key::from(key)).with_cookie(settings());
    let alone = Fernet::new(&Key::from(key).to_base64()).unwrap();
    seal_and_open(&mut group, &storage);
    let token = alone.encrypt(RECORD.as_bytes());
    group.bench_function("limit: encrypt", |b| {
        b.iter(|| alone.encrypt(RECORD.as_bytes()));
    });
    group.bench_function("limit: decrypt", |b| {
        b.iter(|| alone.decrypt(&token).unwrap());
    });
    group.finish();

    let mut group = c.benchmark_group("nacl");
    let storage = NaClCookieStorage::new(Key::from(key)).with_cookie(settings());
    let alone = XSalsa20Poly1305::new(&key.into());
    seal_and_open(&mut group, &storage);
    let encrypt = || {
        let nonce = XSalsa20Poly1305::generate_nonce(&mut OsRng);
        let boxed = alone.encrypt(&nonce, RECORD.as_bytes()).unwrap();
        STANDARD.encode([&nonce[..], &boxed].concat())
    };
    let text = encrypt();
    group.bench_function("limit: encrypt", |b| b.iter(encrypt));
    group.bench_function("limit: decrypt", |b| {
        b.iter(|| {
            let bytes = STANDARD.decode(black_box(&text)).unwrap();
            let (nonce, boxed) = bytes.split_at(24);
            alone.decrypt(Nonce::from_slice(nonce), boxed).unwrap()
        });
    });
    group.finish();
}

type Group<'a> = criterion::BenchmarkGroup<'a, criterion::measurement::WallTime>;

fn seal_and_open(group: &mut Group<'_>, storage: &dyn Storage) {
    let cookie = cookie_in(storage);
    group.bench_function("save", |b| {
        b.iter_batched_ref(
            || changed_in(storage, &cookie),
            |session| saved(storage, session),
            BatchSize::SmallInput,
        );
    });
    group.bench_function("load", |b| {
        b.iter(|| now(storage.load(&[black_box(&cookie)])).unwrap());
    });
}

/// Saves in a store, whose own share is a hash table's.
fn in_a_store(c: &mut Criterion) {
    let mut group = c.benchmark_group("store in memory");
    let storage = MemoryStorage::default().with_cookie(settings());
    let cookie = cookie_in(&storage);
    group.bench_function("load", |b| {
        b.iter(|| now(storage.load(&[black_box(&cookie)])).unwrap());
    });
    // A batch of one: a second save would meet the first.
    group.bench_function("save", |b| {
        b.iter_batched_ref(
            || changed_in(&storage, &cookie),
            |session| saved(&storage, session),
            BatchSize::PerIteration,
        );
    });
    group.bench_function("save, merged with another's", |b| {
        b.iter_batched_ref(
            || {
                let session = changed_in(&storage, &cookie);
                let other = now(storage.load(&[&cookie])).unwrap();
                other
                    .update("visits", |n: Option<u64>| n.unwrap_or(0) + 1)
                    .unwrap();
                saved(&storage, &other);
                session
            },
            |session| saved(&storage, session),
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

fn set_cookie(c: &mut Criterion) {
    let mut group = c.benchmark_group("Set-Cookie");
    let (cookie, date) = (settings(), UNIX_EPOCH + Duration::from_secs(1_700_000_000));
    let identity = "0123456789abcdef0123456789abcdef";
    let storage = EncryptedCookieStorage::new(Key::from([7; 32]));
    for (name, value) in [("an identity", identity), ("a token", &cookie_in(&storage))] {
        let set = || {
            cookie
                .set(black_box(value), cookie.max_age(), date)
                .unwrap()
        };
        group.bench_function(name, |b| b.iter(set));
        let header = set();
        let text = header.to_str().unwrap();
        group.bench_function(format!("limit: HeaderValue::from_str, {name}"), |b| {
            b.iter(|| HeaderValue::from_str(black_box(text)).unwrap());
        });
    }
    group.finish();
}

async fn handle(request: Request<String>) -> session_core::Result<Response<String>> {
    let answer = match request.uri().path() {
        "/none" => "ok".to_owned(),
        "/read" => {
            let counter: Option<i64> = request.session().await?.get("counter")?;
            counter.unwrap_or(0).to_string()
        }
        _ => {
            let add = |counter: Option<i64>| counter.unwrap_or(0) + 1;
            request.session().await?.update("counter", add)?.to_string()
        }
    };
    Ok(Response::new(answer))
}

async fn bare(_: Request<String>) -> Result<Response<String>, Infallible> {
    Ok(Response::new("ok".to_owned()))
}

/// A whole request through the service, without a server around it.
fn request(c: &mut Criterion) {
    let mut group = c.benchmark_group("request");
    let memory: Arc<dyn Storage> = Arc::new(MemoryStorage::default().with_cookie(settings()));
    let fernet = EncryptedCookieStorage::new(Key::from([7; 32])).with_cookie(settings());
    let fernet: Arc<dyn Storage> = Arc::new(fernet);
    for (name, storage) in [("memory", memory), ("fernet", fernet)] {
        let cookie = format!("sid={}", cookie_in(&*storage));
        let service = SessionService::new(storage, service_fn(handle));
        for path in ["/none", "/read", "/write"] {
            group.bench_function(format!("{name} {path}"), |b| {
                b.iter_batched(
                    || asked(path, &cookie),
                    |request| now(service.call(request)).unwrap(),
                    BatchSize::SmallInput,
                );
            });
        }
    }
    group.bench_function("limit: the handler alone", |b| {
        let service = service_fn(bare);
        b.iter_batched(
            || asked("/none", "sid=0123456789abcdef0123456789abcdef"),
            |request| now(service.call(request)).unwrap(),
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

fn asked(path: &str, cookie: &str) -> Request<String> {
    let request = Request::get(path).header(header::COOKIE, cookie);
    request.body(String::new()).unwrap()
}

criterion_group! {
    name = pieces;
    // Short: what matters is the ratio to the limit beside it, taken a moment later.
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .without_plots();
    targets = record, session_calls, cookie_header, sealed, in_a_store, set_cookie, request
}
criterion_main!(pieces);
