//! Faults that a review found: each test keeps one of them away.

use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::UNIX_EPOCH;

use http::header::{COOKIE, SET_COOKIE};
use http::{Request, Response};
use session_cookie::SimpleCookieStorage;
use session_core::keyed::{Backend, Found, OnlyIf, Outcome, Write};
use session_core::{
    CookieChange, CookieSettings, Error, ErrorKind, KeyedStorage, ManualClock, MemoryBackend,
    RequestSession, Result, Session, Storage,
};
use session_tests::stores::{Call, Counting, Failing, Gate, When};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::ADAPTER;
use crate::app::{HOUR, SECOND, settings};

/// A call can be held first and fail then.
pub(crate) type Store = Counting<Gate<Failing<Limited>>>;

/// Memory that refuses large values, and whose calls for one key fail.
#[derive(Debug, Default)]
pub(crate) struct Limited {
    memory: MemoryBackend,
    down: Mutex<Option<String>>,
}

pub(crate) const TOO_LARGE: usize = 10_000;

impl Limited {
    fn check(&self, key: &str) -> Result<()> {
        match &*self.down.lock().unwrap() {
            Some(down) if *down == key => Err(ErrorKind::Unavailable.into()),
            _ => Ok(()),
        }
    }
}

impl Backend for Limited {
    async fn read(&self, key: &str) -> Result<Found> {
        self.check(key)?;
        self.memory.read(key).await
    }

    async fn write(&self, key: &str, write: Write, only_if: OnlyIf<'_>) -> Result<Outcome> {
        self.check(key)?;
        if write.value().len() > TOO_LARGE {
            return Err(ErrorKind::TooLarge.into());
        }
        self.memory.write(key, write, only_if).await
    }

    async fn bound<F: Future + Send>(&self, waiting: F, times: u32) -> Result<F::Output> {
        self.memory.bound(waiting, times).await
    }
}

/// A program with sessions in a [`Store`].
pub(crate) struct Program {
    pub(crate) storage: Arc<KeyedStorage<Store>>,
}

/// What the client sees of a response.
#[derive(Debug, PartialEq)]
pub(crate) struct Seen {
    pub(crate) status: u16,
    /// The value that the response sets the cookie to.
    pub(crate) cookie: Option<String>,
}

/// The value of a cookie that is removed.
pub(crate) const REMOVED: &str = "\"\"";

impl Program {
    pub(crate) fn new() -> Self {
        let store = Counting::new(Gate::new(Failing::new(Limited::default())));
        let storage = KeyedStorage::new(store).with_cookie(settings().build().unwrap());
        Self {
            storage: Arc::new(storage),
        }
    }

    fn counts(&self) -> &Store {
        self.storage.backend()
    }

    pub(crate) fn gate(&self) -> &Gate<Failing<Limited>> {
        self.counts().inner()
    }

    pub(crate) fn failing(&self) -> &Failing<Limited> {
        self.gate().inner()
    }

    /// Fails as many calls from now on.
    fn fail(&self, calls: usize) {
        if let Some(last) = calls.checked_sub(1) {
            self.failing().fail(0..=last, When::Before);
        }
    }

    /// Fails all calls for the session of this cookie; `None`: no longer.
    pub(crate) fn set_down(&self, cookie: Option<&str>) {
        let key = cookie.map(|cookie| format!("sid_{cookie}"));
        *self.failing().inner().down.lock().unwrap() = key;
    }

    /// A client's session with the key `k`; returns its cookie.
    pub(crate) async fn client(&self) -> String {
        let session = self.storage.load(&[]).await.unwrap();
        session.insert("k", 1).unwrap();
        value_of(self.storage.save(&session).await.unwrap())
    }

    /// Serves one request. The handler returns the status of the response.
    pub(crate) async fn serve<F: Future<Output = Result<u16>>>(
        &self,
        cookies: &[&str],
        handler: impl FnOnce(Request<()>) -> F,
    ) -> Seen {
        let pairs: Vec<String> = cookies.iter().map(|it| format!("sid={it}")).collect();
        let mut request = Request::new(());
        if !pairs.is_empty() {
            let header = pairs.join("; ").parse().unwrap();
            request.headers_mut().insert(COOKIE, header);
        }
        let handle = |request| {
            let handled = handler(request);
            async {
                let status = handled.await?;
                let response = Response::builder().status(status);
                Ok::<_, Error>(response.body(String::new()).unwrap())
            }
        };
        let response = ADAPTER.serve_once(self.storage.clone(), request, handle);
        let response = response.await.unwrap();
        let mut cookies = response.headers().get_all(SET_COOKIE).iter();
        let cookie = cookies.next().map(|header| {
            let pair = header.to_str().unwrap().split(';').next().unwrap();
            pair.strip_prefix("sid=").unwrap().to_owned()
        });
        assert!(cookies.next().is_none(), "two cookies");
        let status = response.status().as_u16();
        Seen { status, cookie }
    }

    /// The keys of the session that a cookie stands for; `None` if it stands for none.
    async fn keys(&self, cookie: &str) -> Option<Vec<String>> {
        let session = self.storage.load(&[cookie]).await.unwrap();
        (!session.is_new()).then(|| session.keys())
    }

    /// The identities of all sessions in the store, whether a client has them or not.
    pub(crate) async fn live(&self) -> Vec<String> {
        let mut live = Vec::new();
        for key in self.counts().created() {
            let identity = key.strip_prefix("sid_").unwrap().to_owned();
            if self.keys(&identity).await.is_some() && !live.contains(&identity) {
                live.push(identity);
            }
        }
        live
    }
}

fn value_of(change: CookieChange) -> String {
    match change {
        CookieChange::Set { value, .. } => value,
        other => panic!("{other:?}"),
    }
}

fn spawn_save(session: &Session) -> JoinHandle<Result<()>> {
    let session = session.clone();
    tokio::spawn(async move { session.save().await })
}

/// The response left without a cookie, and the client kept one that the save was about to end.
#[tokio::test]
async fn p8_a_response_waits_for_a_save_in_flight_and_carries_its_cookie() {
    for signed_in in [true, false] {
        let program = Program::new();
        let old = program.client().await;
        let sent = [&*old];
        let cookies = if signed_in { &sent[..] } else { &[] };
        let hold = program.gate().hold(Call::Create, When::Before);
        let (done, handled) = oneshot::channel();
        let mut save = None;
        let response = program.serve(cookies, async |request| {
            let session = request.session().await?;
            if signed_in {
                session.renew()?;
            } else {
                session.insert("k", 1)?;
            }
            save = Some(spawn_save(&session));
            hold.reached().await;
            done.send(()).unwrap();
            Ok(200)
        });
        let mut response = Box::pin(response);
        tokio::select! {
            biased;
            seen = &mut response => panic!("it does not wait: {seen:?}"),
            handled = handled => handled.unwrap(),
        }
        hold.open();
        let seen = response.await;
        save.unwrap().await.unwrap().unwrap();
        assert_eq!(seen.status, 200);
        let new = seen.cookie.unwrap();
        assert_eq!(program.keys(&new).await.unwrap(), ["k"]);
        assert_eq!(program.keys(&old).await.is_none(), signed_in);
    }
}

/// A second save of the handle found nothing to do and returned `Ok`. Then the first one failed.
#[tokio::test]
async fn p6_a_save_without_a_change_of_its_own_reports_the_save_in_flight() {
    for (failures, first_is_ok, second_is_ok) in
        [(0, true, true), (1, false, true), (1000, false, false)]
    {
        let program = Program::new();
        let cookie = program.client().await;
        let session = program.storage.load(&[&cookie]).await.unwrap();
        session.insert("mine", 1).unwrap();
        let hold = program.gate().hold(Call::Update, When::Before);
        let mut first = pin!(program.storage.save(&session));
        tokio::select! {
            saved = &mut first => panic!("it is held: {saved:?}"),
            () = hold.reached() => {}
        }
        let mut second = pin!(program.storage.save(&session));
        tokio::select! {
            biased;
            saved = &mut second => panic!("nothing is acknowledged: {saved:?}"),
            () = tokio::task::yield_now() => {}
        }
        program.fail(failures);
        hold.open();
        let (first, second) = tokio::join!(first, second);
        assert_eq!((first.is_ok(), second.is_ok()), (first_is_ok, second_is_ok));
        program.failing().heal();
        assert_eq!(session.is_changed(), !second_is_ok);
        let keys = program.keys(&cookie).await.unwrap();
        assert_eq!(keys.contains(&"mine".to_owned()), second_is_ok);
    }
}

/// The response did not wait for the save, so the logout was not carried out when the save failed.
#[tokio::test]
async fn p3_a_logout_whose_save_fails_in_flight_is_carried_out_by_the_response_or_is_a_503() {
    for (failures, status) in [(0, 200), (1, 200), (2, 200), (1000, 503)] {
        let program = Program::new();
        let cookie = program.client().await;
        let hold = program.gate().hold(Call::End, When::Before);
        let mut save = None;
        let seen = program
            .serve(&[&cookie], async |request| {
                let session = request.session().await?;
                session.invalidate()?;
                save = Some(spawn_save(&session));
                hold.reached().await;
                program.fail(failures);
                hold.open();
                Ok(200)
            })
            .await;
        let saved = save.unwrap().await.unwrap();
        assert_eq!(saved.is_ok(), failures < 2, "{failures} failures");
        program.failing().heal();
        assert_eq!(seen.status, status, "{failures} failures");
        let is_removed = seen.cookie.as_deref() == Some(REMOVED);
        let is_dead = program.keys(&cookie).await.is_none();
        assert_eq!((is_removed, is_dead), (status == 200, status == 200));
    }
}

/// The new session took the identity of the renewed one, and the end of the old session, which
/// follows the renewal, ended the new one as well.
#[tokio::test]
async fn p4_a_restart_after_a_renewal_with_an_unknown_outcome_leaves_the_new_session_alive() {
    for is_cancelled in [true, false] {
        let program = Program::new();
        let old = program.client().await;
        let seen = program
            .serve(&[&old], async |request| {
                let session = request.session().await?;
                session.renew()?;
                if is_cancelled {
                    let hold = program.gate().hold(Call::End, When::After);
                    tokio::select! {
                        saved = session.save() => panic!("it is held: {saved:?}"),
                        () = hold.reached() => {}
                    }
                } else {
                    // The tombstone is stored, its response and the read after it are lost.
                    program.failing().fail(1..=2, When::After);
                    session.save().await.unwrap_err();
                    program.failing().heal();
                }
                session.invalidate()?;
                session.insert("user", 2)?;
                Ok(200)
            })
            .await;
        assert_eq!(seen.status, 200);
        let new = seen.cookie.unwrap();
        let session = program.storage.load(&[&new]).await.unwrap();
        assert_eq!(session.get::<u32>("user").unwrap(), Some(2));
        assert_eq!(session.keys(), ["user"]);
        assert_eq!(program.live().await, [new]);
    }
}

/// The response still sent the cookie of the explicit save, over the one of the login.
#[tokio::test]
async fn p3_a_cookie_that_a_login_replaced_meanwhile_is_not_sent() {
    for logs_out in [false, true] {
        let program = Program::new();
        let cookie = program.client().await;
        let mut login = None;
        let seen = program
            .serve(&[&cookie], async |request| {
                let session = request.session().await?;
                session.insert("step", 1)?;
                session.save().await?;
                let other = async |request: Request<()>| {
                    request.new_session()?.insert("user", 1)?;
                    Ok(200)
                };
                login = program.serve(&[&cookie], other).await.cookie;
                if logs_out {
                    session.invalidate()?;
                } else {
                    session.insert("step", 2)?;
                }
                Ok(200)
            })
            .await;
        assert_eq!(seen.cookie, None);
        if !logs_out {
            assert_eq!(seen.status, 409);
        }
        assert_eq!(program.live().await, [login.unwrap()]);
    }
}

/// The explicit save forgot the client's other cookies, and the logout left their sessions alive.
#[tokio::test]
async fn p3_a_logout_after_an_explicit_save_ends_the_sessions_of_all_cookies() {
    let program = Program::new();
    let (one, two) = (program.client().await, program.client().await);
    let seen = program
        .serve(&[&one, &two], async |request| {
            let session = request.session().await?;
            session.insert("audit", 1)?;
            session.save().await?;
            session.invalidate()?;
            Ok(200)
        })
        .await;
    assert_eq!((seen.status, seen.cookie.as_deref()), (200, Some(REMOVED)));
    assert_eq!(program.live().await, [""; 0]);
}

/// The sum of the start and the limit overflowed and panicked.
#[tokio::test]
async fn p7_a_start_at_the_end_of_time_does_no_harm() {
    const RECORD: &str =
        r#"{"created": 99999999999, "session": {"a": 1}, "started": 18446744073709551615}"#;
    const IDENTITY: &str = "0123456789abcdef0123456789abcdef";
    for now in [10, 1_700_000_000] {
        let clock = ManualClock::at(UNIX_EPOCH + SECOND * now);
        let cookie = || {
            let cookie = CookieSettings::builder("sid").absolute_max_age(HOUR);
            cookie.build().unwrap()
        };
        let in_cookie = SimpleCookieStorage::unprotected()
            .with_cookie(cookie())
            .with_clock(clock.clone());
        let memory = MemoryBackend::new().with_clock(clock.clone());
        let record = Write::record(RECORD, None);
        let key = format!("sid_{IDENTITY}");
        memory.write(&key, record, OnlyIf::Missing).await.unwrap();
        let in_store = KeyedStorage::new(memory)
            .with_cookie(cookie())
            .with_clock(clock);
        let storages: [(&dyn Storage, &str); 2] = [(&in_cookie, RECORD), (&in_store, IDENTITY)];
        for (storage, client) in storages {
            let session = storage.load(&[client]).await.unwrap();
            assert_eq!(session.get::<u32>("a").unwrap(), Some(1));
            let ends = session.expires_at();
            assert!(ends.is_none_or(|at| at > UNIX_EPOCH + SECOND * now));
            session.insert("b", 2).unwrap();
            let client = match storage.save(&session).await.unwrap() {
                CookieChange::Set { value, .. } => value,
                _ => client.to_owned(),
            };
            let session = storage.load(&[&client]).await.unwrap();
            assert_eq!(session.keys(), ["a", "b"]);
        }
    }
}

/// The unknown cookie counted as ended, so the failure at the live session passed for a success.
#[tokio::test]
async fn p6_a_login_that_cannot_end_the_live_session_is_a_503_behind_an_unknown_cookie_too() {
    let program = Program::new();
    let live = program.client().await;
    let unknown = "0123456789abcdef0123456789abcdef";
    program.set_down(Some(&live));
    let seen = program
        .serve(&[unknown, &live], async |request| {
            request.new_session()?.insert("user", 1)?;
            Ok(200)
        })
        .await;
    program.set_down(None);
    assert_eq!((seen.status, seen.cookie), (503, None));
    assert_eq!(program.live().await, [live]);
}

/// The new session could not be created, and so the old one was not ended either.
#[tokio::test]
async fn p3_a_logout_is_carried_out_although_what_was_set_after_it_is_too_large() {
    let program = Program::new();
    let cookie = program.client().await;
    let seen = program
        .serve(&[&cookie], async |request| {
            let session = request.session().await?;
            session.invalidate()?;
            session.insert("big", "x".repeat(TOO_LARGE))?;
            Ok(200)
        })
        .await;
    assert_eq!((seen.status, seen.cookie.as_deref()), (500, Some(REMOVED)));
    assert_eq!(program.live().await, [""; 0]);
}

/// The error was taken for a store that is down: all waiting savers competed without the queue.
#[tokio::test]
async fn p2_a_record_that_is_too_large_does_not_dissolve_the_queue() {
    for place in [0, 25] {
        let program = Program::new();
        let cookie = program.client().await;
        let mut writers = Vec::new();
        for at in 0..51 {
            let session = program.storage.load(&[&cookie]).await.unwrap();
            let len = if at == place { TOO_LARGE } else { 1 };
            session.insert(&format!("k{at}"), "x".repeat(len)).unwrap();
            writers.push(session);
        }
        program.counts().take();
        let saves: Vec<_> = writers
            .into_iter()
            .map(|session| {
                let storage = program.storage.clone();
                tokio::spawn(async move { storage.save(&session).await })
            })
            .collect();
        for (at, save) in saves.into_iter().enumerate() {
            let saved = save.await.unwrap().map_err(|error| error.kind());
            assert_eq!(saved.err(), (at == place).then_some(ErrorKind::TooLarge));
        }
        // The writer after the one that failed may have to look again.
        let calls = program.counts().take();
        assert!((51..=52).contains(&calls.update), "{calls:?}");
        assert_eq!(program.keys(&cookie).await.unwrap().len(), 51);
    }
}

/// The failed save gave its changes back to an emptied record: the next one stored it, or panicked.
#[tokio::test]
async fn p5_a_save_in_flight_that_fails_after_a_server_error_leaves_the_stored_data() {
    for when in [When::Before, When::After] {
        for has_conflict in [false, true] {
            let program = Program::new();
            let cookie = program.client().await;
            let hold = program.gate().hold(Call::Update, When::Before);
            let mut started = None;
            let seen = program
                .serve(&[&cookie], async |request| {
                    let session = request.session().await?;
                    session.insert("job", 1)?;
                    started = Some((session.clone(), spawn_save(&session)));
                    hold.reached().await;
                    program.failing().fail(0..=0, when);
                    hold.open();
                    Ok(500)
                })
                .await;
            assert_eq!(seen.status, 500);
            let (session, save) = started.unwrap();
            assert!(save.await.unwrap().is_err());
            program.failing().heal();
            let mut expected = vec!["k"];
            if when == When::After {
                expected.push("job");
            }
            if has_conflict {
                let other = program.storage.load(&[&cookie]).await.unwrap();
                other.insert("other", 1).unwrap();
                program.storage.save(&other).await.unwrap();
                expected.push("other");
            }
            let saved = program.storage.save(&session).await;
            assert_eq!(saved.unwrap(), CookieChange::Keep);
            assert_eq!(program.keys(&cookie).await.unwrap(), expected);
        }
    }
}

/// A renewal is cancelled after it has stored its record. The session ends and starts again, and
/// the first try of that fails. The second one still knows the record of the renewal, and ends it.
#[tokio::test]
async fn p4_a_failed_end_does_not_forget_the_record_of_a_cancelled_renewal() {
    let program = Program::new();
    let cookie = program.client().await;
    let session = program.storage.load(&[&cookie]).await.unwrap();
    session.renew().unwrap();
    let created = program.gate().hold(Call::Create, When::After);
    tokio::select! {
        _ = program.storage.save(&session) => panic!("the save is held"),
        () = created.reached() => {}
    }
    assert_eq!(
        program.live().await.len(),
        2,
        "the renewal has stored its record"
    );
    session.invalidate().unwrap();
    session.insert("k", 2).unwrap();
    program.fail(1);
    let failed = program.storage.save(&session).await.unwrap_err();
    assert_eq!(failed.kind(), ErrorKind::Unavailable);
    let new = value_of(program.storage.save(&session).await.unwrap());
    assert_eq!(program.live().await, [new]);
}
