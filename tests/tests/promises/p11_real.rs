//! P11 over a real Redis and memcached: each call of the store fails, before or after the store has
//! carried it out. Connections are cut, and requests are dropped at each call. What the client is
//! told stays true, and a repetition completes it.

use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use session_core::keyed::{Backend, Found, OnlyIf, Outcome, Write};
use session_core::{Error, ErrorKind, KeyedStorage, Result, Storage, UserSessions};
use session_memcached::MemcachedBackend;
use session_redis::RedisBackend;
use session_tests::proxy::Proxy;
use session_tests::real::{KINDS, Lease};
use session_tests::stores::Call;
use session_tests::wrap_backend;
use tokio::sync::Notify;

use crate::app::{TestResponse, ask, settings};

/// A busy machine is no outage.
const PATIENCE: Duration = Duration::from_secs(20);

/// The one or the other store.
#[derive(Debug)]
enum Real {
    Redis(RedisBackend),
    Memcached(MemcachedBackend),
}

impl Real {
    fn open(kind: &str, address: &str) -> Self {
        if kind == "redis" {
            let backend = RedisBackend::open(address).unwrap();
            Self::Redis(backend.with_timeout(PATIENCE))
        } else {
            let backend = MemcachedBackend::open(address).unwrap();
            Self::Memcached(backend.with_timeout(PATIENCE))
        }
    }
}

impl Backend for Real {
    async fn read(&self, key: &str) -> Result<Found> {
        match self {
            Self::Redis(backend) => backend.read(key).await,
            Self::Memcached(backend) => backend.read(key).await,
        }
    }

    async fn write(&self, key: &str, write: Write, only_if: OnlyIf<'_>) -> Result<Outcome> {
        match self {
            Self::Redis(backend) => backend.write(key, write, only_if).await,
            Self::Memcached(backend) => backend.write(key, write, only_if).await,
        }
    }

    async fn bound<F: Future + Send>(&self, waiting: F, times: u32) -> Result<F::Output> {
        match self {
            Self::Redis(backend) => backend.bound(waiting, times).await,
            Self::Memcached(backend) => backend.bound(waiting, times).await,
        }
    }
}

/// What befalls a call.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Fate {
    /// The store never sees it.
    Refused,
    /// The store carries it out, and its response is lost.
    Unacknowledged,
    /// The connections are closed when it begins.
    Closed,
    /// Each connection is closed instead of the response.
    Cut,
    /// Every other connection is closed instead of the response.
    CutOnce,
    /// The request is dropped before the call.
    DroppedBefore,
    /// ... when the call is on its way.
    DroppedSent,
    /// ... after the call.
    DroppedAfter,
}

const FAILURES: [Fate; 5] = [
    Fate::Refused,
    Fate::Unacknowledged,
    Fate::Closed,
    Fate::Cut,
    Fate::CutOnce,
];

const DROPS: [Fate; 3] = [Fate::DroppedBefore, Fate::DroppedSent, Fate::DroppedAfter];

/// A store behind a proxy, of which one call has a bad fate.
#[derive(Debug)]
struct Fated {
    inner: Real,
    proxy: Proxy,
    plan: Mutex<(usize, Option<(usize, Fate)>)>,
    dropped: Notify,
}

impl Fated {
    /// The call with this number, from now on, has this fate.
    fn plan(&self, at: usize, fate: Fate) {
        *self.plan.lock().unwrap() = (0, Some((at, fate)));
    }

    /// No call has any. Returns how many calls there were.
    fn heal(&self) -> usize {
        std::mem::take(&mut *self.plan.lock().unwrap()).0
    }

    /// Tells that the request is to be dropped, which stands here.
    async fn stand(&self) {
        self.dropped.notify_one();
        std::future::pending::<()>().await;
    }

    async fn around<T>(
        &self,
        _: Call,
        _: &str,
        inner: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let fate = {
            let mut plan = self.plan.lock().unwrap();
            let (calls, fate) = &mut *plan;
            *calls += 1;
            fate.filter(|(at, _)| *at + 1 == *calls)
                .map(|(_, fate)| fate)
        };
        let down = || Error::new(ErrorKind::Unavailable, "the test has failed this call");
        match fate {
            None => inner.await,
            Some(Fate::Refused) => Err(down()),
            Some(Fate::Unacknowledged) => inner.await.and_then(|_| Err(down())),
            Some(Fate::Closed) => {
                self.proxy.cut();
                inner.await
            }
            Some(fate @ (Fate::Cut | Fate::CutOnce)) => {
                self.proxy.cut_every(if fate == Fate::Cut { 1 } else { 2 });
                self.proxy.cut();
                let response = inner.await;
                self.proxy.cut_every(0);
                self.proxy.cut();
                response
            }
            Some(Fate::DroppedBefore) => {
                self.stand().await;
                inner.await
            }
            Some(Fate::DroppedSent) => {
                let mut inner = pin!(inner);
                {
                    let mut context = Context::from_waker(Waker::noop());
                    // It may be done at once, which changes nothing.
                    let _: Poll<_> = inner.as_mut().poll(&mut context);
                }
                self.stand().await;
                Err(down())
            }
            Some(Fate::DroppedAfter) => {
                let response = inner.await;
                self.stand().await;
                response
            }
        }
    }
}

wrap_backend!(Fated);

/// A service whose calls have fates, and a process beside it on the same store.
struct Stores {
    kind: &'static str,
    storage: Arc<KeyedStorage<Fated>>,
    beside: Arc<KeyedStorage<Real>>,
    _store: Lease,
}

/// Two sessions of one user, which have the key `old`.
struct Two {
    alice: String,
    bob: String,
    cookies: [String; 2],
    handles: Vec<String>,
}

impl Stores {
    async fn on(kind: &'static str) -> Self {
        let store = Lease::of(kind);
        let [_, address] = store.flags();
        let (_, port) = address.trim_end_matches('/').rsplit_once(':').unwrap();
        let port: u16 = port.split('/').next().unwrap().parse().unwrap();
        let proxy = Proxy::start(port).await;
        let through = address.replace(&port.to_string(), &proxy.port().to_string());
        let fated = Fated {
            inner: Real::open(kind, &through),
            proxy,
            plan: Mutex::default(),
            dropped: Notify::new(),
        };
        let cookie = || settings().build().unwrap();
        let storage = KeyedStorage::new(fated).with_cookie(cookie());
        let beside = KeyedStorage::new(Real::open(kind, &address)).with_cookie(cookie());
        Self {
            kind,
            storage: Arc::new(storage.with_user_index("user")),
            beside: Arc::new(beside.with_user_index("user")),
            _store: store,
        }
    }

    fn fated(&self) -> &Fated {
        self.storage.backend()
    }

    async fn ask(&self, cookie: Option<&str>, path: &str) -> TestResponse {
        ask(self.storage.clone(), cookie, path).await
    }

    /// Logs a user in, past all fates; returns the cookie.
    async fn log_in(&self, user: &str) -> String {
        let path = format!("/login/{user}");
        let response = ask(self.beside.clone(), None, &path).await;
        let cookie = response.cookie().unwrap();
        let response = ask(self.beside.clone(), Some(&cookie), "/set/old/1").await;
        assert_eq!(response.status, 200);
        cookie
    }

    async fn two(&self) -> Two {
        static USERS: AtomicUsize = AtomicUsize::new(0);
        let number = USERS.fetch_add(1, Ordering::Relaxed);
        let (alice, bob) = (format!("alice-{number}"), format!("bob-{number}"));
        let cookies = [self.log_in(&alice).await, self.log_in(&alice).await];
        let listed = self.sessions(&alice).list().await.unwrap();
        let handles = listed.iter().map(|one| one.handle().to_owned()).collect();
        Two {
            alice,
            bob,
            cookies,
            handles,
        }
    }

    fn sessions(&self, user: &str) -> UserSessions<'_> {
        UserSessions::of_user(&*self.beside, user).unwrap()
    }

    async fn is_alive(&self, cookie: &str) -> bool {
        let session = self.beside.load(&[cookie]).await.unwrap();
        session.contains_key("user")
    }

    /// How many calls of the store a request takes.
    async fn calls(&self, path: &str) -> usize {
        let two = self.two().await;
        let cookie = self.client(&two, path).await;
        self.fated().heal();
        let response = self.ask(Some(&cookie), &two.path(path)).await;
        assert_eq!(response.status, 200, "{path}");
        self.fated().heal()
    }

    /// The cookie with which a request comes: that of an anonymous session, if it logs alice in.
    async fn client(&self, two: &Two, path: &str) -> String {
        if path != "/set/user/ALICE" {
            return two.cookies[0].clone();
        }
        let response = ask(self.beside.clone(), None, "/set/k/1").await;
        response.cookie().unwrap()
    }

    /// Ends all sessions of both users. None of these cookies has a user then.
    async fn must_end(&self, two: &Two, cookies: &[String], what: &str) {
        for user in [&two.alice, &two.bob] {
            self.sessions(user).end_all().await.unwrap();
            let left = self.sessions(user).list().await.unwrap();
            assert!(left.is_empty(), "{what}: {left:?}");
        }
        for cookie in cookies {
            assert!(!self.is_alive(cookie).await, "{what}");
        }
    }
}

impl Two {
    fn path(&self, path: &str) -> String {
        let path = path.replace("HANDLE", &self.handles[1]);
        path.replace("ALICE", &self.alice).replace("BOB", &self.bob)
    }
}

#[tokio::test]
async fn p11_a_failure_at_any_call_is_no_false_success_in_real_stores() {
    for kind in KINDS {
        let stores = Stores::on(kind).await;
        for path in ["/end-all", "/end-others", "/write-end-all", "/end/HANDLE"] {
            let calls = stores.calls(path).await;
            assert!(calls >= 4, "{calls}");
            for at in 0..calls {
                for fate in FAILURES {
                    let what = format!("{kind}, {path}: call {at} of {calls} is {fate:?}");
                    is_no_false_success(&stores, path, at, fate, &what).await;
                }
            }
        }
    }
}

async fn is_no_false_success(stores: &Stores, path: &str, at: usize, fate: Fate, what: &str) {
    let two = stores.two().await;
    let [own, other] = &two.cookies;
    let keeps_own = path == "/end-others" || path == "/end/HANDLE";
    stores.fated().plan(at, fate);
    let response = stores.ask(Some(own), &two.path(path)).await;
    stores.fated().heal();
    let has_other = stores.is_alive(other).await;
    let has_own = stores.is_alive(own).await;
    if response.status == 200 {
        assert!(!has_other, "{what}");
        assert_eq!(has_own, keeps_own, "{what}");
    } else {
        response.assert_refused(503);
        // The own session ends last, so its user can try again.
        assert!(has_own || !has_other, "{what}");
        assert!(has_own || !keeps_own, "{what}");
    }
    if has_own {
        let again = stores.ask(Some(own), &two.path(path)).await;
        assert_eq!(again.status, 200, "{what}");
    }
    assert!(!stores.is_alive(other).await, "{what}");
    let left = stores.sessions(&two.alice).list().await.unwrap();
    assert_eq!(left.len(), usize::from(keeps_own), "{what}");
}

const LOGINS: [&str; 4] = ["/login/ALICE", "/renew", "/set/user/ALICE", "/set/user/BOB"];

#[tokio::test]
async fn p11_whatever_fails_a_session_that_a_client_knows_is_listed_in_real_stores() {
    for kind in KINDS {
        let stores = Stores::on(kind).await;
        for path in LOGINS {
            let calls = stores.calls(path).await;
            assert!(calls >= 5, "{calls}");
            for at in 0..calls {
                for fate in FAILURES {
                    let what = format!("{kind}, {path}: call {at} of {calls} is {fate:?}");
                    is_listed(&stores, path, at, fate, &what).await;
                }
            }
        }
    }
}

async fn is_listed(stores: &Stores, path: &str, at: usize, fate: Fate, what: &str) {
    let two = stores.two().await;
    let client = stores.client(&two, path).await;
    stores.fated().plan(at, fate);
    let response = stores.ask(Some(&client), &two.path(path)).await;
    stores.fated().heal();
    assert!([200, 503].contains(&response.status.as_u16()), "{what}");
    let known = response.next_cookie(Some(&client)).unwrap();
    if response.status == 503 {
        response.assert_refused(503);
        // The client has what it had, and tries again.
        let again = stores.ask(Some(&client), &two.path(path)).await;
        assert!([200, 409].contains(&again.status.as_u16()), "{what}");
        let cookies = [known, again.next_cookie(Some(&client)).unwrap()];
        stores.must_end(&two, &cookies, what).await;
    } else {
        let user = if path == "/set/user/BOB" {
            &two.bob
        } else {
            &two.alice
        };
        let listed = stores.sessions(user).list().await.unwrap();
        assert!(stores.is_alive(&known).await, "{what}");
        assert!(!listed.is_empty(), "{what}");
        stores.must_end(&two, &[known, client], what).await;
    }
    stores.must_end(&two, &two.cookies, what).await;
}

/// A request that is dropped before, during or after any call leaves every session that a client
/// knows in the index. An end that is dropped can be repeated.
#[tokio::test]
async fn p11_a_request_that_is_dropped_at_any_call_leaves_no_unlisted_session_in_real_stores() {
    for kind in KINDS {
        let stores = Stores::on(kind).await;
        let ends = ["/end-all", "/end-others", "/end/HANDLE"];
        for path in LOGINS.into_iter().chain(ends) {
            let calls = stores.calls(path).await;
            for at in 0..calls {
                for fate in DROPS {
                    let what = format!("{kind}, {path}: {fate:?} at call {at} of {calls}");
                    is_dropped(&stores, path, at, fate, &what).await;
                }
            }
        }
    }
}

async fn is_dropped(stores: &Stores, path: &str, at: usize, fate: Fate, what: &str) {
    let two = stores.two().await;
    let client = stores.client(&two, path).await;
    stores.fated().plan(at, fate);
    let full = two.path(path);
    {
        let request = pin!(stores.ask(Some(&client), &full));
        tokio::select! {
            response = request => panic!("{what}: {response:?}"),
            () = stores.fated().dropped.notified() => {}
        }
    }
    stores.fated().heal();
    assert_eq!(stores.kind, what.split(',').next().unwrap());
    if ["/end-others", "/end/HANDLE"].contains(&path) {
        assert!(stores.is_alive(&client).await, "{what}");
        // No other request gets the response from the connection on which the call ran.
        let again = stores.ask(Some(&client), &full).await;
        assert_eq!(again.status, 200, "{what}");
        assert!(!stores.is_alive(&two.cookies[1]).await, "{what}");
        let left = stores.sessions(&two.alice).list().await.unwrap();
        assert_eq!(left.len(), 1, "{what}");
    } else {
        // Whatever the request did, the next one of the client is served.
        let next = stores.ask(Some(&client), "/read").await;
        assert_eq!(next.status, 200, "{what}");
    }
    let cookies = [client, two.cookies[0].clone(), two.cookies[1].clone()];
    stores.must_end(&two, &cookies, what).await;
}
