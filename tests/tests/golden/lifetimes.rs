//! At the real clock: the seconds that a record has left, as Redis and memcached tell them.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, header};
use http_body_util::Full;
use hyper::service::{Service as _, service_fn};
use session_core::{CookieSettings, ErrorKind};
use session_hyper::SessionService;
use session_tests::real::{Lease, Left};
use session_tests::vectors::{NAME, Vectors};
use session_tests::wire::SetCookie;

use crate::parity;
use crate::program::lives_for;

#[tokio::test]
async fn p1_the_store_keeps_a_record_for_as_long_as_pythons_and_the_grace() {
    let mut refused = 0;
    for vector in Vectors::read().backend_ttl {
        let kind = &*vector.storage;
        let cookie = CookieSettings::builder(NAME);
        // A negative lifetime cannot even be said.
        let cookie = match vector.max_age.map(u64::try_from) {
            None => cookie.build(),
            Some(Ok(seconds)) => cookie.max_age(Duration::from_secs(seconds)).build(),
            Some(Err(_)) => {
                assert_eq!((vector.max_age, vector.status), (Some(-1), 500));
                refused += 1;
                continue;
            }
        };
        let cookie = match cookie {
            Ok(cookie) => cookie,
            Err(error) => {
                assert_eq!(
                    (vector.max_age, error.kind()),
                    (Some(0), ErrorKind::Settings)
                );
                refused += 1;
                continue;
            }
        };
        assert_eq!(vector.status, 200, "{kind}: {:?}", vector.max_age);
        let wanted = vector.ttl_seconds.unwrap();
        let wanted = (wanted != -1).then(|| u64::try_from(wanted).unwrap());
        let [created, updated] = first_and_second_save(kind, cookie).await;
        for (left, save) in [(created, "created"), (updated, "saved again")] {
            let what = format!("{kind}: max_age {:?}, {save}", vector.max_age);
            lives_for(left, wanted).expect(&what);
        }
    }
    assert_eq!(refused, 4, "0 and -1, in both");
}

/// Returns how long the record lives after a session's first save and after its second one. Before
/// the second save the record has no time to live, as another program may write it.
async fn first_and_second_save(kind: &str, cookie: CookieSettings) -> [Left; 2] {
    let store = Lease::of(kind);
    let is_quiet = cookie.max_age().is_none();
    let storage = store.storage(cookie, None, false).await;
    let mut identity: Option<String> = None;
    let mut left = [Left::Nothing; 2];
    for (save, left) in left.iter_mut().enumerate() {
        let mut request = Request::post("/set");
        if let Some(identity) = &identity {
            request = request.header(header::COOKIE, format!("{NAME}={identity}"));
        }
        let body = Full::new(Bytes::from(format!("{{\"save\": {save}}}")));
        let request = request.body(body).unwrap();
        let service = SessionService::new(storage.clone(), service_fn(parity::handle));
        let response = service.call(request).await.unwrap();
        assert_eq!(response.status(), 200, "{kind}");
        let set = response.headers().get(header::SET_COOKIE);
        let set = set.map(|header| SetCookie::parse(header.to_str().unwrap()).raw);
        if save == 0 {
            identity = set;
        } else {
            // Without a Max-Age the second save does not send the cookie again.
            let again = identity.clone().filter(|_| !is_quiet);
            assert_eq!(set, again, "{kind}");
        }
        let key = format!("{NAME}_{}", identity.as_ref().unwrap());
        *left = store.left(&key);
        if let Some(record) = store.get(&key) {
            store.put(&key, &record);
            assert_eq!(store.left(&key), Left::Forever, "{kind}");
        }
    }
    left
}
