//! The handler under attack, what the checks share, and each check as a test of each storage.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use session_core::{DEFAULT_NAME, RequestSession};
use session_tests::server::{BoxError, Server, TestResponse, pair, set_cookies};

use crate::cookies::{
    p7_a_good_cookie_is_found_among_bad_ones,
    p7_a_header_that_is_no_header_is_refused_by_the_server,
    p7_a_value_of_another_storage_is_an_empty_new_session,
    p7_an_altered_value_is_an_empty_new_session, p7_an_expired_session_is_an_empty_new_one,
    p7_any_cookie_header_is_an_empty_new_session,
};
use crate::records::{
    p7_a_sealed_payload_that_is_no_record_is_an_empty_new_session,
    p7_no_record_whatever_makes_a_read_or_a_write_panic,
};
use crate::secrets::p10_debug_of_a_storage_and_its_session_shows_no_secret;

pub(crate) const NOW: u64 = 1_700_000_000;
pub(crate) const HOUR: Duration = Duration::from_secs(3600);
pub(crate) const KEY: [u8; 32] = *b"sixteen to sign,sixteen to seal.";
pub(crate) const OLD_KEY: [u8; 32] = *b"the retired key of the last year";

/// The content of the good session, which no other client may see.
pub(crate) const SECRET: &str = "swordfish-4711";

/// An identity of the right shape that no store knows.
pub(crate) const UNKNOWN: &str = "00112233445566778899aabbccddeeff";

/// What the handler says of an empty new session, and of the good one.
pub(crate) const NEW: &str = "new=true len=0 identity=false";
pub(crate) const FOUND: &str = "new=false len=1";

/// Makes a module per storage, with each check as a test in it.
macro_rules! every_storage {
    ($($check:ident),* $(,)?) => {
        every_storage!(simple $($check)*);
        every_storage!(fernet $($check)*);
        every_storage!(nacl $($check)*);
        every_storage!(memory $($check)*);
        every_storage!(hashed $($check)*);
        every_storage!(redis $($check)*);
        every_storage!(memcached $($check)*);
    };
    ($storage:ident $($check:ident)*) => {
        mod $storage {
            $(#[tokio::test]
            async fn $check() {
                super::$check(crate::subject::Kind::$storage).await;
            })*
        }
    };
}

every_storage!(
    p7_any_cookie_header_is_an_empty_new_session,
    p7_a_header_that_is_no_header_is_refused_by_the_server,
    p7_a_good_cookie_is_found_among_bad_ones,
    p7_an_altered_value_is_an_empty_new_session,
    p7_an_expired_session_is_an_empty_new_one,
    p7_a_sealed_payload_that_is_no_record_is_an_empty_new_session,
    p7_no_record_whatever_makes_a_read_or_a_write_panic,
    p7_a_value_of_another_storage_is_an_empty_new_session,
    p10_debug_of_a_storage_and_its_session_shows_no_secret,
);

pub(crate) async fn handler(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, BoxError> {
    let session = request.session().await?;
    let seen = format!(
        "new={} len={} identity={}",
        session.is_new(),
        session.len(),
        session.identity().is_some()
    );
    match request.uri().path() {
        "/write" => session.insert("n", 1)?,
        "/login" => request.new_session()?.insert("user", SECRET)?,
        "/logout" => session.invalidate()?,
        "/renew" => session.renew()?,
        _ => {}
    }
    Ok(Response::new(Full::from(seen)))
}

/// Logs in and returns the `name=value` that a browser would send from then on.
pub(crate) async fn login(server: &Server) -> String {
    login_to(server, DEFAULT_NAME).await
}

/// As [`login`], where the session's cookie is called `name`.
pub(crate) async fn login_to(server: &Server, name: &str) -> String {
    let response = server.get("/login", &[]).await;
    let [set_cookie] = &set_cookies(&response, name)[..] else {
        panic!("a login sets one cookie")
    };
    pair(set_cookie).to_owned()
}

/// A response of 200 that saw an empty new session and says nothing about a cookie.
#[track_caller]
pub(crate) fn assert_new(response: &TestResponse, what: &str) {
    assert_eq!(response.status(), StatusCode::OK, "{what}");
    assert_eq!(response.body(), NEW, "{what}");
    assert!(!response.headers().contains_key("set-cookie"), "{what}");
}

#[track_caller]
pub(crate) fn assert_found(response: &TestResponse, what: &str) {
    assert_eq!(response.status(), StatusCode::OK, "{what}");
    let body = String::from_utf8_lossy(response.body());
    assert!(body.starts_with(FOUND), "{what}: {body}");
}

/// Reads and writes with `cookies`. A logout, login or renewal has just ended their session, so
/// that no cookie may be set in place of the one that the client got then.
pub(crate) async fn assert_is_over(server: &Server, what: &str, cookies: &[&[u8]]) {
    assert_new(&server.get("/read", cookies).await, what);
    let response = server.get("/write", cookies).await;
    assert_eq!(response.status(), StatusCode::CONFLICT, "{what}");
    assert!(response.body().is_empty(), "{what}");
    assert!(!response.headers().contains_key("set-cookie"), "{what}");
}

/// Reads and writes with `cookies`, which stand for no session.
pub(crate) async fn assert_stands_for_none(server: &Server, what: &str, cookies: &[&[u8]]) {
    assert_new(&server.get("/read", cookies).await, what);
    let response = server.get("/write", cookies).await;
    assert_eq!(
        (response.status(), &response.body()[..]),
        (StatusCode::OK, NEW.as_bytes()),
        "{what}"
    );
    let set = set_cookies(&response, DEFAULT_NAME);
    assert_eq!(set.len(), 1, "{what}");
    let fresh = pair(&set[0]);
    assert!(
        !cookies
            .iter()
            .any(|line| String::from_utf8_lossy(line).contains(fresh)),
        "{what}: the client's own value was adopted"
    );
    assert_found(&server.get("/read", &[fresh.as_bytes()]).await, what);
}

pub(crate) fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

pub(crate) fn sha256(text: &str) -> String {
    use sha2::Digest as _;
    use std::fmt::Write as _;
    sha2::Sha256::digest(text)
        .iter()
        .fold(String::new(), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        })
}

/// Python's quoting, for values of any size.
pub(crate) fn quote(value: &str) -> String {
    let escaped = value
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace(';', "\\073")
        .replace(',', "\\054");
    let control = |c: char| {
        c.is_ascii_control()
            .then(|| format!("\\{:03o}", u32::from(c)))
    };
    let escaped: String = escaped
        .chars()
        .map(|c| control(c).unwrap_or_else(|| c.to_string()))
        .collect();
    format!("\"{escaped}\"")
}

pub(crate) async fn get_value(server: &Server, value: &str) -> TestResponse {
    let line = format!("{DEFAULT_NAME}={}", quote(value));
    server.get("/read", &[line.as_bytes()]).await
}
