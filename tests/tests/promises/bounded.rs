//! P6: a whole save ends within five times the limit of one call, however slow the store is.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use http::header::COOKIE;
use http::{Request, Response};
use session_core::{
    CookieChange, CookieSettings, ErrorKind, KeyedStorage, ManualClock, MemoryBackend,
    RequestSession as _, Result, Session, Storage as _, UserIndex, UserSessions,
};
use session_tests::server::BoxError;
use session_tests::stores::{Slow, Timed, When};
use tokio::time::Instant;

use crate::ADAPTER;

type Store = KeyedStorage<Timed<Slow<MemoryBackend>>>;

/// The limit of one call.
const LIMIT: Duration = Duration::from_secs(1);

/// The limit of a whole save.
const WHOLE: Duration = Duration::from_secs(5);

const HOUR: Duration = Duration::from_secs(3600);

/// A storage with or without an index of users, of which one user may have two sessions.
struct Stored {
    storage: Arc<Store>,
    clock: ManualClock,
}

impl Stored {
    fn new(is_indexed: bool) -> Self {
        let clock = ManualClock::at(std::time::SystemTime::now());
        let memory = MemoryBackend::new().with_clock(clock.clone());
        let cookie = CookieSettings::builder("sid").max_age(HOUR).build();
        let storage = Store::new(Timed::new(Slow::new(memory), LIMIT))
            .with_clock(clock.clone())
            .with_cookie(cookie.unwrap());
        let storage = if is_indexed {
            storage.with_user_index(UserIndex::new("user").limit(2))
        } else {
            storage
        };
        let storage = Arc::new(storage);
        Self { storage, clock }
    }

    /// Logs in, and returns the cookie.
    async fn client(&self, user: &str) -> String {
        let session = self.storage.load(&[]).await.unwrap();
        session.insert("user", user).unwrap();
        session.insert("k", 1).unwrap();
        let saved = self.storage.save(&session).await.unwrap();
        let CookieChange::Set { value, .. } = saved else {
            panic!("a new session")
        };
        value
    }

    fn slow(&self) -> &Slow<MemoryBackend> {
        self.storage.backend().inner()
    }

    /// Saves while each response of the store is late, and checks how long that takes.
    async fn save_late(&self, session: &Session, milliseconds: u64) -> Result<CookieChange> {
        let delay = Duration::from_millis(milliseconds);
        self.slow().delay(delay, When::After);
        let start = Instant::now();
        let saved = self.storage.save(session).await;
        let took = start.elapsed();
        self.slow().delay(Duration::ZERO, When::Before);
        assert!(took <= WHOLE, "{delay:?}: {took:?}");
        saved
    }

    /// Checks that a client that came with `cookie` has a session after this outcome of a save.
    async fn assert_goes_on(&self, saved: Result<CookieChange>, cookie: String, milliseconds: u64) {
        let client = match &saved {
            Ok(CookieChange::Set { value, .. }) => value.clone(),
            _ => cookie,
        };
        let live = self.live(&[client]).await;
        assert_eq!(live, 1, "{milliseconds} ms: {saved:?}, and no session");
    }

    /// How many live records of sessions there are.
    async fn live(&self, cookies: &[String]) -> usize {
        let mut live = 0;
        for cookie in cookies {
            let session = self.storage.load(&[cookie]).await.unwrap();
            live += usize::from(!session.is_new());
        }
        live
    }
}

type Change = fn(&Session) -> Result<()>;

/// What a request does that has loaded the sessions of all cookies.
const CHANGES: [(&str, Change); 7] = [
    ("a write", |session| session.insert("k", 2)),
    ("a renewal", Session::renew),
    ("a logout", Session::invalidate),
    ("a new session after a logout", |session| {
        session.invalidate()?;
        session.insert("user", "bob")
    }),
    ("a login by insert", |session| session.insert("user", "bob")),
    ("a login after a clear", |session| {
        session.clear()?;
        session.insert("user", "bob")
    }),
    ("an end by clear", Session::clear),
];

#[tokio::test(start_paused = true)]
async fn p6_a_whole_save_ends_within_five_limits_however_slow_the_store_is() {
    for is_indexed in [false, true] {
        for (what, change) in CHANGES {
            for milliseconds in [300, 450, 600, 900, 990] {
                // A third of the lifetime later the session is still listed for long enough; a
                // session that is about to expire has to be listed again.
                for later in [HOUR / 3, Duration::from_secs(3599)] {
                    let case = format!("{what}, {milliseconds} ms, index {is_indexed}, {later:?}");
                    let stored = Stored::new(is_indexed);
                    for _ in 0..2 {
                        stored.client("bob").await;
                    }
                    let cookies = [
                        stored.client("alice").await,
                        stored.client("carol").await,
                        stored.client("dave").await,
                    ];
                    stored.clock.advance(later);
                    let sent: Vec<&str> = cookies.iter().map(String::as_str).collect();
                    let session = stored.storage.load(&sent).await.unwrap();
                    change(&session).unwrap();
                    stored
                        .slow()
                        .delay(Duration::from_millis(milliseconds), When::Before);
                    let start = Instant::now();
                    let saved = stored.storage.save(&session).await;
                    let took = start.elapsed();
                    stored.slow().delay(Duration::ZERO, When::Before);
                    assert!(took <= WHOLE, "{case}: {took:?}");
                    // Five calls end these three sessions, so the limit has room for them.
                    assert!(saved.is_ok() || what != "a logout", "{case}: {saved:?}");
                    if let Err(error) = saved {
                        assert_eq!(error.kind(), ErrorKind::Unavailable, "{case}");
                        // A second try, with a store that is well again, settles it.
                        stored.storage.save(&session).await.unwrap();
                    }
                }
            }
        }
    }
}

async fn log_in(request: Request<()>) -> Result<Response<String>, BoxError> {
    request.new_session()?.insert("user", "bob")?;
    Ok(Response::new(String::new()))
}

/// A login does not load the session of the client's cookie.
#[tokio::test(start_paused = true)]
async fn p6_a_whole_login_ends_within_five_limits_however_slow_the_store_is() {
    for (is_indexed, when) in [
        (false, When::Before),
        (false, When::After),
        (true, When::Before),
        (true, When::After),
    ] {
        for many in [0, 1, 7] {
            for milliseconds in [300, 450, 600, 700, 810, 850, 900, 990] {
                let case =
                    format!("{many} cookies, {milliseconds} ms {when:?}, index {is_indexed}");
                let stored = Stored::new(is_indexed);
                for _ in 0..2 {
                    stored.client("bob").await;
                }
                let mut cookies = Vec::new();
                for number in 0..many {
                    cookies.push(stored.client(&number.to_string()).await);
                }
                let header = cookies.iter().map(|value| format!("sid={value}"));
                let header = header.collect::<Vec<_>>().join("; ");
                let request = Request::builder().header(COOKIE, header).body(()).unwrap();
                stored
                    .slow()
                    .delay(Duration::from_millis(milliseconds), when);
                let start = Instant::now();
                let response = ADAPTER.serve_once(stored.storage.clone(), request, log_in);
                let status = response.await.unwrap().status().as_u16();
                let took = start.elapsed();
                stored.slow().delay(Duration::ZERO, When::Before);
                assert!(took <= WHOLE, "{case}: {took:?}");
                assert!([200, 503].contains(&status), "{case}: {status}");
                if status == 503 && when == When::Before {
                    assert_eq!(stored.live(&cookies).await, many, "{case}: they are kept");
                }
                if status == 503 && many > 0 {
                    assert!(
                        stored.live(&cookies).await > 0,
                        "{case}: no session is left"
                    );
                }
            }
        }
    }
}

/// A store in another data centre takes some milliseconds for each call.
#[tokio::test(start_paused = true)]
async fn p11_the_limit_holds_and_a_list_is_quick_although_each_call_takes_ten_milliseconds() {
    const MANY: usize = 300;
    let memory = MemoryBackend::new();
    let storage = Store::new(Timed::new(Slow::new(memory), LIMIT))
        .with_user_index(UserIndex::new("user").limit(MANY));
    let storage = Arc::new(storage);
    let stored = Stored {
        storage,
        clock: ManualClock::at(std::time::SystemTime::now()),
    };
    let mut cookies = Vec::new();
    for _ in 0..MANY {
        cookies.push(stored.client("bob").await);
    }
    stored.slow().delay(Duration::from_millis(10), When::Before);
    cookies.push(stored.client("bob").await);
    let start = Instant::now();
    let listed = UserSessions::of_user(&stored.storage, "bob").unwrap();
    let listed = listed.list().await.unwrap().len();
    assert!(start.elapsed() < LIMIT, "{:?}", start.elapsed());
    stored.slow().delay(Duration::ZERO, When::Before);
    assert_eq!(listed, MANY);
    assert_eq!(stored.live(&cookies[1..]).await, MANY);
    assert_eq!(stored.live(&cookies[..1]).await, 0, "the oldest");
}

#[tokio::test(start_paused = true)]
async fn p6_a_list_of_sessions_ends_within_six_limits_however_slow_the_store_is() {
    let stored = Stored::new(false);
    let storage = Store::new(Timed::new(Slow::new(MemoryBackend::new()), LIMIT));
    let stored = Stored {
        storage: Arc::new(storage.with_user_index("user")),
        ..stored
    };
    for _ in 0..100 {
        stored.client("bob").await;
    }
    stored
        .slow()
        .delay(Duration::from_millis(990), When::Before);
    let start = Instant::now();
    let listed = UserSessions::of_user(&stored.storage, "bob").unwrap();
    let failed = listed.list().await.unwrap_err();
    assert_eq!(failed.kind(), ErrorKind::Unavailable);
    assert!(start.elapsed() <= WHOLE, "{:?}", start.elapsed());
}

/// The time of the save is over after the store wrote the tombstone, and before its response. The
/// old cookie is dead then, so the client must get the new one.
#[tokio::test(start_paused = true)]
async fn p6_a_renewal_that_is_late_with_its_last_step_is_settled() {
    let changes: [fn(&Session) -> Result<()>; 2] =
        [Session::renew, |session| session.insert("user", "bob")];
    for change in changes {
        for milliseconds in (100..=990).step_by(10) {
            let stored = Stored::new(true);
            let cookie = stored.client("alice").await;
            let session = stored.storage.load(&[&cookie]).await.unwrap();
            // A conflict: this renewal has to write six times.
            let other = stored.storage.load(&[&cookie]).await.unwrap();
            other.insert("other", 1).unwrap();
            stored.storage.save(&other).await.unwrap();
            change(&session).unwrap();
            let saved = stored.save_late(&session, milliseconds).await;
            stored.assert_goes_on(saved, cookie, milliseconds).await;
        }
    }
}

/// It begins as an update: another request has given the session another user meanwhile.
#[tokio::test(start_paused = true)]
async fn p6_an_update_that_becomes_a_renewal_is_settled() {
    for milliseconds in (100..=990).step_by(10) {
        let stored = Stored::new(true);
        let cookie = stored.client("alice").await;
        let session = stored.storage.load(&[&cookie]).await.unwrap();
        let other = stored.storage.load(&[&cookie]).await.unwrap();
        other.remove("user").unwrap();
        stored.storage.save(&other).await.unwrap();
        session.insert("user", "alice").unwrap();
        let saved = stored.save_late(&session, milliseconds).await;
        stored.assert_goes_on(saved, cookie, milliseconds).await;
    }
}

/// The old session has ended, and the new one is stored. Only the end of another cookie is late.
#[tokio::test(start_paused = true)]
async fn p6_a_new_session_after_a_logout_stays_if_only_other_cookies_are_late() {
    for milliseconds in (100..=990).step_by(10) {
        let stored = Stored::new(true);
        let cookie = stored.client("alice").await;
        let other = "0123456789abcdef0123456789abcdef";
        let session = stored.storage.load(&[&cookie, other]).await.unwrap();
        session.invalidate().unwrap();
        session.insert("user", "bob").unwrap();
        let saved = stored.save_late(&session, milliseconds).await;
        let Ok(CookieChange::Set { value, .. }) = saved else {
            panic!("{milliseconds} ms: {saved:?}")
        };
        assert_eq!(stored.live(&[value]).await, 1, "{milliseconds} ms");
    }
}

/// Logins of one user wait for each other to write the index. One that fails must not leave a
/// session that no client has.
#[tokio::test(start_paused = true)]
async fn p6_a_first_save_that_is_late_leaves_no_session() {
    let mut late = 0;
    for milliseconds in (100..=990).step_by(10) {
        let storage = Store::new(Timed::new(Slow::new(MemoryBackend::new()), LIMIT));
        let storage = storage.with_user_index("user");
        let delay = Duration::from_millis(milliseconds);
        storage.backend().inner().delay(delay, When::After);
        let logins = (0..6).map(|_| async {
            let session = storage.load(&[]).await.unwrap();
            session.insert("user", "bob").unwrap();
            let start = Instant::now();
            let saved = storage.save(&session).await;
            assert!(start.elapsed() <= WHOLE, "{delay:?}: {:?}", start.elapsed());
            saved.is_ok()
        });
        let saved = join_all(logins).await;
        let saved = saved.into_iter().filter(|it| *it).count();
        storage.backend().inner().delay(Duration::ZERO, When::After);
        late += 6 - saved;
        let listed = UserSessions::of_user(&storage, "bob").unwrap();
        assert_eq!(listed.list().await.unwrap().len(), saved, "{delay:?}");
    }
    assert!(late > 0);
}
