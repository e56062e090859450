//! Bugs that a reviewer found, each with the test that would have caught it.

#![allow(clippy::unwrap_used, clippy::many_single_char_names, reason = "tests")]

use session_core::{
    Codec, CookieChange, CookieSettings, ErrorKind, Identity, KeyedStorage, ManualClock,
    MemoryBackend, Records, RequestSession, Result, SessionContext, Storage,
};
use session_tests::stores::{Call, Failing, Gate, When};
use session_tests::wrap_backend;
use std::sync::Arc;
use std::sync::atomic::AtomicU8;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, UNIX_EPOCH};

type Mem = KeyedStorage<Gate<Failing<MemoryBackend>>>;
fn mem() -> Mem {
    KeyedStorage::new(Gate::new(Failing::new(MemoryBackend::new())))
}
fn value(change: CookieChange) -> String {
    match change {
        CookieChange::Set { value, .. } => value,
        other => panic!("{other:?}"),
    }
}
async fn client(s: &(impl Storage + ?Sized)) -> String {
    let session = s.load(None).await.unwrap();
    session.insert("k", 1).unwrap();
    value(s.save(&session).await.unwrap())
}
async fn keys(s: &(impl Storage + ?Sized), c: &str) -> Option<Vec<String>> {
    let x = s.load(Some(c)).await.unwrap();
    (!x.is_new()).then(|| x.keys())
}

#[tokio::test]
async fn p4_a_renewal_of_a_session_that_a_merge_fills_again_changes_the_identity() {
    let s = mem();
    let c = client(&s).await;
    let a = s.load(Some(&c)).await.unwrap();
    let b = s.load(Some(&c)).await.unwrap();
    a.renew().unwrap();
    a.remove("k").unwrap();
    b.insert("x", 1).unwrap();
    s.save(&b).await.unwrap();
    let got = value(s.save(&a).await.unwrap());
    assert_ne!(got, c, "renew() was dropped: same identity");
}

#[tokio::test]
async fn p4_a_renewal_asked_for_during_a_conflicting_save_is_not_dropped() {
    let s = Arc::new(mem());
    let c = client(&*s).await;
    let a = s.load(Some(&c)).await.unwrap();
    let b = s.load(Some(&c)).await.unwrap();
    a.insert("y", 1).unwrap();
    b.insert("x", 1).unwrap();
    s.save(&b).await.unwrap();
    let hold = s.backend().hold(Call::Replace, When::Before);
    let t = tokio::spawn({
        let (s, a) = (s.clone(), a.clone());
        async move { s.save(&a).await }
    });
    hold.reached().await;
    a.renew().unwrap();
    hold.open();
    let got = value(t.await.unwrap().unwrap());
    assert!(
        got != c || a.is_changed(),
        "renew() neither done nor pending"
    );
}

#[tokio::test]
async fn p3_a_logout_with_the_cookie_that_a_renewal_replaced_ends_the_session() {
    let s = mem();
    let c = client(&s).await;
    let a = s.load(Some(&c)).await.unwrap();
    a.renew().unwrap();
    let new = value(s.save(&a).await.unwrap()); // response still on the way
    let b = s.load(Some(&c)).await.unwrap(); // logout request, old cookie
    b.invalidate().unwrap();
    let out = s.save(&b).await;
    assert!(
        out.is_err() || keys(&s, &new).await.is_none(),
        "logout said ok, session lives"
    );
}

#[test]
fn an_update_whose_closure_writes_another_key_ends() {
    let s = Records::default().fresh(false);
    let mut n = 0;
    let r = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        s.update("a", |v: Option<u32>| {
            n += 1;
            assert!(n < 100_000, "never ends");
            s.insert("b", 1).unwrap();
            v.unwrap_or(0) + 1
        })
    }));
    assert!(r.is_ok());
}

#[tokio::test]
async fn p2_what_was_saved_is_not_saved_again_over_what_others_wrote_since() {
    let s = Arc::new(mem());
    let c = client(&*s).await;
    let a = s.load(Some(&c)).await.unwrap();
    a.insert("k", 2).unwrap();
    let hold = s.backend().hold(Call::Replace, When::After);
    let t = tokio::spawn({
        let (s, a) = (s.clone(), a.clone());
        async move { s.save(&a).await }
    });
    hold.reached().await;
    a.insert("j", 1).unwrap(); // while the save is on its way
    hold.open();
    t.await.unwrap().unwrap();
    let b = s.load(Some(&c)).await.unwrap();
    assert_eq!(b.get::<u32>("k").unwrap(), Some(2));
    b.insert("k", 3).unwrap();
    s.save(&b).await.unwrap();
    s.save(&a).await.unwrap(); // only j is unsaved
    let end = s.load(Some(&c)).await.unwrap();
    assert_eq!(
        end.get::<u32>("k").unwrap(),
        Some(3),
        "b's update of k is lost"
    );
}

#[derive(Debug)]
struct Salted(AtomicU8);
impl Codec for Salted {
    fn encode(&self, r: Vec<u8>) -> Result<Vec<u8>> {
        let mut o = vec![self.0.fetch_add(1, SeqCst)];
        o.extend(r);
        Ok(o)
    }
    fn decode(&self, s: &[u8]) -> Option<Vec<u8>> {
        s.get(1..).map(<[u8]>::to_vec)
    }
}

#[tokio::test]
async fn p4_a_renewal_that_was_cut_off_goes_on_through_a_codec_that_salts() {
    for salted in [false, true] {
        let mut s = mem();
        if salted {
            s = s.with_codec(Salted(AtomicU8::new(0)));
        }
        let s = Arc::new(s);
        let c = client(&*s).await;
        let a = s.load(Some(&c)).await.unwrap();
        a.renew().unwrap();
        let hold = s.backend().hold_on(&c, &[Call::Replace], When::After);
        let t = tokio::spawn({
            let (s, a) = (s.clone(), a.clone());
            async move { s.save(&a).await }
        });
        hold.reached().await;
        t.abort();
        let _ = t.await;
        let r = s.save(&a).await;
        if r.is_err() {
            assert!(keys(&*s, &c).await.is_some(), "no usable session is left");
        }
    }
}

/// One store for two storages.
#[derive(Debug, Clone)]
struct Shared {
    inner: Arc<MemoryBackend>,
}

impl Shared {
    async fn around<T>(&self, _: Call, _: &str, inner: impl Future<Output = T>) -> T {
        inner.await
    }
}

wrap_backend!(Shared);

#[tokio::test]
async fn a_session_is_not_taken_for_one_of_a_longer_cookie_name() {
    let store = Shared {
        inner: Arc::new(MemoryBackend::new()),
    };
    let named = |n: &'static str| {
        KeyedStorage::new(store.clone()).with_cookie(CookieSettings::builder(n).build().unwrap())
    };
    let (sid, prefs) = (named("sid"), named("sid_prefs"));
    let c = client(&prefs).await;
    assert_eq!(
        keys(&sid, &format!("prefs_{c}")).await,
        None,
        "the prefs session is taken as a sid session"
    );
}

#[tokio::test]
async fn p6_a_creation_that_failed_twice_can_be_saved_again() {
    let s = mem();
    let id = Identity::random().unwrap();
    let a = s.load(None).await.unwrap();
    a.set_new_identity(id.clone()).unwrap();
    a.insert("k", 1).unwrap();
    let f = s.backend().inner();
    f.fail(0..=0, When::After);
    s.save(&a).await.unwrap_err();
    a.insert("j", 1).unwrap();
    f.fail(1..=1, When::Before);
    s.save(&a).await.unwrap_err(); // rewrite's replace
    f.heal();
    s.save(&a).await.unwrap();
}

#[tokio::test]
async fn p3_a_login_with_the_cookie_that_a_renewal_replaced_ends_the_session() {
    let s: Arc<dyn Storage> = Arc::new(mem());
    let c = client(&*s).await;
    let a = s.load(Some(&c)).await.unwrap();
    a.renew().unwrap();
    let new = value(s.save(&a).await.unwrap());
    let mut req = http::Request::builder()
        .header("cookie", format!("AIOHTTP_SESSION={c}"))
        .body(())
        .unwrap();
    SessionContext::attach(&s, req.extensions_mut());
    let b = req.new_session().unwrap();
    b.insert("user", 2).unwrap();
    let out = s.save(&b).await;
    let still = !s.load(Some(&new)).await.unwrap().is_new();
    assert!(
        out.is_err() || !still,
        "login said ok, the session that it replaces lives on"
    );
}

fn request(s: &Arc<dyn Storage>, cookies: &str) -> http::Request<()> {
    let mut req = http::Request::builder()
        .header("cookie", cookies)
        .body(())
        .unwrap();
    SessionContext::attach(s, req.extensions_mut());
    req
}

#[tokio::test]
async fn p3_a_logout_ends_every_session_that_the_client_sent_a_cookie_of() {
    let s: Arc<dyn Storage> = Arc::new(mem());
    let (c, d) = (client(&*s).await, client(&*s).await);
    let both = format!("AIOHTTP_SESSION={c}; AIOHTTP_SESSION={d}");
    let req = request(&s, &both);
    let session = req.session().await.unwrap();
    session.invalidate().unwrap();
    s.save(&session).await.unwrap();
    assert!(
        request(&s, &both).session().await.unwrap().is_new(),
        "logged out, and in again"
    );
}

#[tokio::test]
async fn p6_a_login_that_ends_one_of_two_sessions_leaves_the_client_with_one() {
    let m = Arc::new(mem());
    let s: Arc<dyn Storage> = m.clone();
    let c = client(&*s).await;
    let req = request(
        &s,
        &format!("AIOHTTP_SESSION={c}; AIOHTTP_SESSION=0123456789abcdef0123456789abcdef"),
    );
    let b = req.new_session().unwrap();
    b.insert("user", 2).unwrap();
    m.backend().inner().fail(2..=3, When::Before);
    let out = s.save(&b).await;
    m.backend().inner().heal();
    assert!(
        out.is_ok() || keys(&*s, &c).await.is_some(),
        "503, and the client's session is gone"
    );
}

#[tokio::test]
async fn p6_a_logout_that_ended_one_of_two_sessions_is_an_error() {
    let m = Arc::new(mem());
    let s: Arc<dyn Storage> = m.clone();
    let (c, d) = (client(&*s).await, client(&*s).await);
    let both = format!("AIOHTTP_SESSION={c}; AIOHTTP_SESSION={d}");
    let session = request(&s, &both).session().await.unwrap();
    session.invalidate().unwrap();
    m.backend().inner().fail(1..=2, When::Before);
    let out = s.save(&session).await;
    m.backend().inner().heal();
    assert_eq!(out.unwrap_err().kind(), ErrorKind::Unavailable);
    assert!(keys(&*s, &c).await.is_none() && keys(&*s, &d).await.is_some());
    s.save(&session).await.unwrap();
    assert!(keys(&*s, &d).await.is_none(), "saved again, it is done");
}

/// A request with its context, as an adapter other than ours would make it.
fn attached() -> (http::Request<()>, SessionContext) {
    let s: Arc<dyn Storage> = Arc::new(mem());
    let mut req = http::Request::new(());
    let context = SessionContext::attach(&s, req.extensions_mut());
    (req, context)
}

#[tokio::test]
async fn p8_what_is_first_asked_for_after_a_context_was_closed_takes_no_change() {
    let (req, context) = attached();
    assert!(context.close(&mut http::HeaderMap::new()).is_none());
    assert_eq!(req.new_session().unwrap_err().kind(), ErrorKind::Committed);
    let late = req.session().await.unwrap();
    assert_eq!(
        late.insert("k", 1).unwrap_err().kind(),
        ErrorKind::Committed
    );
}

#[tokio::test]
async fn p8_a_request_that_ended_without_a_response_takes_no_change() {
    let (req, context) = attached();
    let held = req.session().await.unwrap();
    context.abandon();
    assert_eq!(
        held.insert("k", 1).unwrap_err().kind(),
        ErrorKind::Committed
    );
    assert_eq!(req.new_session().unwrap_err().kind(), ErrorKind::Committed);
}

#[tokio::test]
async fn p8_an_identity_that_could_not_be_loaded_again_is_refused() {
    let wanted = "own_0123456789abcdef";
    for factory in [false, true] {
        let mut s = mem();
        if factory {
            s = s.with_key_factory(|| unreachable!("the session has its own"));
        }
        let a = s.load(None).await.unwrap();
        a.set_new_identity(Identity::parse(wanted).unwrap())
            .unwrap();
        a.insert("k", 1).unwrap();
        let saved = s.save(&a).await;
        if factory {
            assert_eq!(keys(&s, &value(saved.unwrap())).await.unwrap(), ["k"]);
        } else {
            assert_eq!(saved.unwrap_err().kind(), ErrorKind::Identity);
            assert!(s.backend().inner().inner().is_empty(), "nothing is stored");
        }
    }
}

#[tokio::test]
async fn p3_a_logout_ends_a_session_that_expired_while_a_slower_request_had_it() {
    let clock = ManualClock::at(UNIX_EPOCH + Duration::from_secs(1_700_000_000));
    let cookie = CookieSettings::builder("sid").max_age(Duration::from_secs(100));
    let s = KeyedStorage::new(MemoryBackend::new().with_clock(clock.clone()))
        .with_cookie(cookie.build().unwrap())
        .with_clock(clock.clone());
    let c = client(&s).await;
    clock.advance(Duration::from_secs(90));
    // The store keeps it longer than it lives.
    let touch = s.load(Some(&c)).await.unwrap();
    touch.changed().unwrap();
    s.save(&touch).await.unwrap();
    let slow = s.load(Some(&c)).await.unwrap();
    slow.insert("k", 2).unwrap();
    clock.advance(Duration::from_secs(20));
    let logout = s.load(Some(&c)).await.unwrap();
    assert!(logout.is_new());
    logout.invalidate().unwrap();
    assert_eq!(s.save(&logout).await.unwrap(), CookieChange::Remove);
    let told = s.save(&slow).await.unwrap_err();
    assert_eq!(told.kind(), ErrorKind::Ended);
}

#[tokio::test]
async fn p3_a_logout_with_two_cookies_that_renewals_replaced_ends_both_sessions() {
    let s: Arc<dyn Storage> = Arc::new(mem());
    let mut request = http::Request::new(());
    let mut new = Vec::new();
    for _ in 0..2 {
        let old = client(&*s).await;
        let a = s.load(Some(&old)).await.unwrap();
        a.renew().unwrap();
        new.push(value(s.save(&a).await.unwrap()));
        let line = format!("AIOHTTP_SESSION={old}").parse().unwrap();
        request.headers_mut().append("cookie", line);
    }
    let context = SessionContext::attach(&s, request.extensions_mut());
    let logout = request.session().await.unwrap();
    logout.invalidate().unwrap();
    let save = context.close(&mut http::HeaderMap::new()).unwrap();
    save.run().await.unwrap();
    for cookie in new {
        assert_eq!(keys(&*s, &cookie).await, None);
    }
}

#[tokio::test]
async fn p3_a_logout_during_a_save_of_what_another_ended_is_no_error() {
    for renews in [false, true] {
        let s = Arc::new(mem());
        let c = client(&*s).await;
        let (a, b) = (
            s.load(Some(&c)).await.unwrap(),
            s.load(Some(&c)).await.unwrap(),
        );
        if renews {
            a.renew().unwrap();
        }
        a.insert("k", 2).unwrap();
        b.invalidate().unwrap();
        s.save(&b).await.unwrap();
        let hold = s.backend().hold(Call::Replace, When::Before);
        let t = tokio::spawn({
            let (s, a) = (s.clone(), a.clone());
            async move { s.save(&a).await }
        });
        hold.reached().await;
        a.invalidate().unwrap();
        a.insert("next", 1).unwrap();
        hold.open();
        let next = value(t.await.unwrap().unwrap());
        assert_eq!(keys(&*s, &next).await.unwrap(), ["next"]);
    }
}
