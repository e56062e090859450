//! Whatever a client sends is data (P7): over TCP, for every storage, with what was logged read
//! afterwards for secrets (P10).

#![allow(
    clippy::unwrap_used,
    clippy::format_push_string,
    reason = "these are tests"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aes::cipher::{BlockEncryptMut, KeyIvInit, block_padding::NoPadding, block_padding::Pkcs7};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use bytes::Bytes;
use crypto_secretbox::XSalsa20Poly1305;
use crypto_secretbox::aead::{Aead, KeyInit};
use hmac::Mac;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use session_cookie::SimpleCookieStorage;
use session_cookie::{EncryptedCookieStorage, FernetKey, Key, NaClCookieStorage};
use session_core::{
    Backend, CookieChange, CookieSettings, Create, DEFAULT_NAME, Error, ErrorKind, Identity,
    KeyedStorage, MAX_CANDIDATES, ManualClock, MemoryBackend, RecordChange, Records, Replace,
    RequestSession, SessionContext, Storage, Versioned,
};
use session_tests::logs::Logs;
use session_tests::server::{Answer, BoxError, Server, pair, set_cookies};

const NOW: u64 = 1_700_000_000;
const HOUR: Duration = Duration::from_secs(3600);
const KEY: [u8; 32] = *b"sixteen to sign,sixteen to seal.";
const OLD_KEY: [u8; 32] = *b"the retired key of the last year";
/// What the good session holds, and nobody else may see.
const SECRET: &str = "swordfish-4711";
/// An identity of the right shape that no store knows.
const UNKNOWN: &str = "00112233445566778899aabbccddeeff";

/// What the handler says of an empty new session, and of the good one.
const NEW: &str = "new=true len=0 identity=false";
const FOUND: &str = "new=false len=1";

/// Makes a module per storage, with each check as a test in it.
macro_rules! every_storage {
    ($($check:ident),* $(,)?) => {
        every_storage!(simple $($check)*);
        every_storage!(fernet $($check)*);
        every_storage!(nacl $($check)*);
        every_storage!(memory $($check)*);
        every_storage!(hashed $($check)*);
    };
    ($storage:ident $($check:ident)*) => {
        mod $storage {
            $(#[tokio::test]
            async fn $check() {
                super::$check(super::Kind::$storage).await;
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

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(non_camel_case_types, reason = "they name the test modules")]
enum Kind {
    simple,
    fernet,
    nacl,
    memory,
    hashed,
}

impl Kind {
    const ALL: [Self; 5] = [
        Self::simple,
        Self::fernet,
        Self::nacl,
        Self::memory,
        Self::hashed,
    ];

    fn is_keyed(self) -> bool {
        matches!(self, Self::memory | Self::hashed)
    }
}

/// A storage, and what a test needs to know of it.
struct Subject {
    kind: Kind,
    storage: Arc<dyn Storage>,
    clock: ManualClock,
    store: Counting,
}

impl Subject {
    fn new(kind: Kind) -> Self {
        let settings = CookieSettings::builder(DEFAULT_NAME).max_age(HOUR);
        Self::with(kind, settings.build().unwrap())
    }

    fn with(kind: Kind, cookie: CookieSettings) -> Self {
        let clock = ManualClock::at(at(NOW));
        let (store, time) = (Counting::default(), clock.clone());
        let keyed = KeyedStorage::new(store.clone());
        let storage: Arc<dyn Storage> = match kind {
            Kind::simple => Arc::new(
                SimpleCookieStorage::unprotected()
                    .with_cookie(cookie)
                    .with_clock(time),
            ),
            Kind::fernet => Arc::new(
                EncryptedCookieStorage::new(Key::from(KEY))
                    .with_cookie(cookie)
                    .with_clock(time),
            ),
            Kind::nacl => Arc::new(
                NaClCookieStorage::new(Key::from(KEY))
                    .with_cookie(cookie)
                    .with_clock(time),
            ),
            Kind::memory => Arc::new(keyed.with_cookie(cookie).with_clock(time)),
            Kind::hashed => Arc::new(
                keyed
                    .with_cookie(cookie)
                    .with_clock(time)
                    .hash_identities(true),
            ),
        };
        Self {
            kind,
            storage,
            clock,
            store,
        }
    }

    async fn serve(&self) -> Server {
        Server::start(self.storage.clone(), handler).await
    }

    /// Returns the cookie value, not quoted, of a session whose stored payload is `payload`.
    async fn seal(&self, payload: &[u8]) -> Option<String> {
        Some(match self.kind {
            Kind::simple => String::from_utf8(payload.to_vec()).ok()?,
            Kind::fernet => Token::new(payload).text(),
            Kind::nacl => boxed(&KEY, payload),
            Kind::memory | Kind::hashed => {
                let identity = Identity::random().unwrap().as_str().to_owned();
                let key = if self.kind == Kind::hashed {
                    format!("{DEFAULT_NAME}_{}", sha256(&identity))
                } else {
                    format!("{DEFAULT_NAME}_{identity}")
                };
                let value = Bytes::copy_from_slice(payload);
                let memory = &self.store.0.memory;
                assert_eq!(
                    memory.create(&key, value, None).await.unwrap(),
                    Create::Done
                );
                identity
            }
        })
    }
}

async fn handler(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, BoxError> {
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
async fn login(server: &Server) -> String {
    let answer = server.get("/login", &[]).await;
    let [set_cookie] = &set_cookies(&answer, DEFAULT_NAME)[..] else {
        panic!("a login sets one cookie")
    };
    pair(set_cookie).to_owned()
}

/// An answer of 200 that saw an empty new session and says nothing about a cookie.
#[track_caller]
fn assert_new(answer: &Answer, what: &str) {
    assert_eq!(answer.status(), StatusCode::OK, "{what}");
    assert_eq!(answer.body(), NEW, "{what}");
    assert!(!answer.headers().contains_key("set-cookie"), "{what}");
}

#[track_caller]
fn assert_found(answer: &Answer, what: &str) {
    assert_eq!(answer.status(), StatusCode::OK, "{what}");
    let body = String::from_utf8_lossy(answer.body());
    assert!(body.starts_with(FOUND), "{what}: {body}");
}

/// Reads and writes with `cookies`, which stand for no session.
async fn assert_stands_for_none(server: &Server, what: &str, cookies: &[&[u8]]) {
    assert_new(&server.get("/read", cookies).await, what);
    let answer = server.get("/write", cookies).await;
    assert_eq!(
        (answer.status(), &answer.body()[..]),
        (StatusCode::OK, NEW.as_bytes()),
        "{what}"
    );
    let set = set_cookies(&answer, DEFAULT_NAME);
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

/// Cookie header lines that stand for no session in any storage.
fn hostile_headers(good: &str) -> Vec<(&'static str, Vec<Vec<u8>>)> {
    let name = DEFAULT_NAME;
    let value = good.split_once('=').unwrap().1;
    let line = |value: &[u8]| vec![[name.as_bytes(), b"=", value].concat()];
    let quoted = |value: &str| line(quote(value).as_bytes());
    let kib = |text: &str, kib: usize| text.repeat(kib * 1024 / text.len());
    let many =
        |count: usize| format!("{name}=a").to_owned() + &format!("; {name}=b").repeat(count - 1);
    vec![
        ("no cookie", vec![]),
        ("an empty header", vec![b"".to_vec()]),
        ("other cookies", vec![b"a=1; b=2".to_vec()]),
        ("empty value", line(b"")),
        ("name alone", vec![name.as_bytes().to_vec()]),
        ("empty quotes", line(b"\"\"")),
        ("a b", line(b"a b")),
        ("tabs", line(b"\ta\tb\t")),
        ("not UTF-8", line(b"\xff\xfe")),
        ("UTF-8 cut", line(b"abc\xe2\x98")),
        ("é☃", line("é☃".as_bytes())),
        ("é☃ in quotes", line("\"é☃\"".as_bytes())),
        ("a quote open", line(b"\"abc")),
        ("a quote closed", line(b"abc\"")),
        ("quotes closed", line(b"\"abc\"")),
        ("quotes alone", line(b"\"")),
        ("four quotes", line(b"\"\"\"\"")),
        ("a quote escaped open", line(b"\"abc\\\"")),
        ("a backslash at the end", line(b"\"abc\\")),
        (
            "octal escapes",
            line(b"\"\\000\\012\\015\\377\\400\\18\\9\""),
        ),
        ("8 KiB", line(kib("a", 8).as_bytes())),
        ("64 KiB", line(kib("a", 64).as_bytes())),
        ("64 KiB of quotes", line(kib("\"", 64).as_bytes())),
        (
            "64 KiB of backslashes in quotes",
            line(format!("\"{}\"", kib("\\", 64)).as_bytes()),
        ),
        ("64 KiB of semicolons", line(kib(";", 64).as_bytes())),
        ("64 KiB of equals", line(kib("=", 64).as_bytes())),
        (
            "64 KiB of spaces",
            line(format!("a{}b", kib(" ", 64)).as_bytes()),
        ),
        ("64 KiB of pairs", vec![kib("a=\"; ", 64).into_bytes()]),
        ("100 of the name", vec![many(100).into_bytes()]),
        ("two lines", [line(b"a"), line(b"b")].concat()),
        (
            "three lines",
            [line(b"a"), line(b"\xff"), line(b"b")].concat(),
        ),
        (
            "100 of the name in 50 lines",
            vec![many(2).into_bytes(); 50],
        ),
        (
            "another case of the name",
            vec![format!("{}={value}", name.to_lowercase()).into_bytes()],
        ),
        (
            "a percent-encoded name",
            vec![format!("%41{}={value}", &name[1..]).into_bytes()],
        ),
        (
            "a longer name",
            vec![format!("{name}x={value}; x{name}={value}").into_bytes()],
        ),
        (
            "the name with a percent-encoded equals",
            vec![format!("{name}%3D{value}").into_bytes()],
        ),
        ("a path", line(b"../../etc/passwd")),
        ("percent-encoded CR LF", line(b"%0d%0aSet-Cookie:%20evil=1")),
        ("null", line(b"null")),
        ("[]", line(b"[]")),
        ("{}", line(b"{}")),
        ("1e999", line(b"1e999")),
        (
            "JSON cut",
            quoted("{\"created\": 1, \"session\": {\"user\": \"al"),
        ),
        ("100,000 [", line("[".repeat(100_000).as_bytes())),
        ("100,000 {\"a\":", quoted(&"{\"a\":".repeat(25_000))),
        ("an unknown identity", line(UNKNOWN.as_bytes())),
        (
            "an identity with CR LF in octal",
            line(format!("\"{UNKNOWN}\\015\\012\"").as_bytes()),
        ),
        (
            "an identity with a space",
            line(format!("\"{UNKNOWN} \"").as_bytes()),
        ),
        ("an identity too long", line("0".repeat(129).as_bytes())),
        (
            "the good value percent-encoded",
            line(format!("%{:02x}{}", value.as_bytes()[0], &value[1..]).as_bytes()),
        ),
    ]
}

async fn p7_any_cookie_header_is_an_empty_new_session(kind: Kind) {
    let (logs, _capture) = Logs::capture();
    let subject = Subject::new(kind);
    let server = subject.serve().await;
    let good = login(&server).await;
    let value = good.split_once('=').unwrap().1.to_owned();
    let mut secrets = vec![
        value.clone(),
        value.trim_matches('"').to_owned(),
        SECRET.to_owned(),
        STANDARD.encode(KEY),
        URL_SAFE.encode(KEY),
    ];
    for (what, lines) in hostile_headers(&good) {
        let lines: Vec<&[u8]> = lines.iter().map(Vec::as_slice).collect();
        assert_stands_for_none(&server, what, &lines).await;
        for line in lines {
            let sent = String::from_utf8_lossy(line);
            let start: String = sent
                .split_once('=')
                .map_or("", |(_, v)| v)
                .chars()
                .take(40)
                .collect();
            secrets.extend((start.len() >= 8).then_some(start));
        }
    }
    logs.assert_without(&secrets);
    let said = match kind {
        Kind::simple => "session record is unreadable",
        Kind::fernet | Kind::nacl => "session cookie refused",
        Kind::memory | Kind::hashed => "session is unknown",
    };
    assert!(logs.text().contains(said), "the capture works");
    assert_found(
        &server.get("/read", &[good.as_bytes()]).await,
        "the good one",
    );
}

/// hyper answers these itself: the handler never sees them.
async fn p7_a_header_that_is_no_header_is_refused_by_the_server(kind: Kind) {
    let subject = Subject::new(kind);
    let server = subject.serve().await;
    for byte in [0_u8, 1, 0x0d, 0x1b, 0x7f] {
        let line = [format!("{DEFAULT_NAME}=a").as_bytes(), &[byte], b"b"].concat();
        let answer = server.get("/write", &[&line]).await;
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST, "{byte}");
        assert!(answer.body().is_empty() && !answer.headers().contains_key("set-cookie"));
    }
    let folded = format!("{DEFAULT_NAME}=a\r\n b");
    let answer = server.get("/write", &[folded.as_bytes()]).await;
    assert_eq!(answer.status(), StatusCode::BAD_REQUEST, "folded");
    assert_eq!(subject.store.counts(), [0, 0, 0, 0]);
}

async fn p7_a_good_cookie_is_found_among_bad_ones(kind: Kind) {
    let subject = Subject::new(kind);
    let server = subject.serve().await;
    let good = login(&server).await;
    let bads = [
        "",
        "a",
        "\"",
        "\"\"",
        "null",
        "{}",
        UNKNOWN,
        "../../etc/passwd",
        "a b",
        "é",
    ];
    for bad in bads.map(|bad| format!("{DEFAULT_NAME}={bad}")) {
        for line in [
            format!("{bad}; {good}"),
            format!("{good}; {bad}"),
            format!("a=1; {bad}; b=2; {good}; c=3"),
        ] {
            assert_found(&server.get("/read", &[line.as_bytes()]).await, &line);
        }
        let (bad, good) = (bad.as_bytes(), good.as_bytes());
        for lines in [
            vec![bad, good],
            vec![good, bad],
            vec![b"a=1", bad, good],
            vec![bad, bad, bad, good],
        ] {
            assert_found(&server.get("/read", &lines).await, "lines");
            assert_found(&server.get_http2("/read", &lines).await, "crumbs");
        }
        let five = [bad, bad, bad, bad, good];
        assert_new(&server.get("/read", &five).await, "only four are tried");
        assert_new(
            &server.get_http2("/read", &five).await,
            "only four are tried",
        );
    }
}

async fn p7_an_altered_value_is_an_empty_new_session(kind: Kind) {
    if kind == Kind::simple {
        // By design: a plain cookie is whatever its client says. It protects nothing.
        let server = Subject::new(kind).serve().await;
        let forged = quote(&format!(
            "{{\"created\": {NOW}, \"session\": {{\"user\": \"admin\"}}}}"
        ));
        let line = format!("{DEFAULT_NAME}={forged}");
        assert_found(&server.get("/read", &[line.as_bytes()]).await, "forged");
        return;
    }
    let (logs, _capture) = Logs::capture();
    let subject = Subject::new(kind);
    let server = subject.serve().await;
    let good = login(&server).await;
    let (name, value) = good.split_once('=').unwrap();
    let value = value.trim_matches('"');
    let mut altered = Vec::new();
    for at in 0..value.len() {
        altered.push(value[..at].to_owned());
        altered.push(value[at + 1..].to_owned());
        for other in [
            value.as_bytes()[at] ^ 1,
            value.as_bytes()[at] ^ 0x20,
            b'!',
            b'=',
        ] {
            let mut bytes = value.as_bytes().to_vec();
            if bytes[at] != other && other.is_ascii_graphic() {
                bytes[at] = other;
                altered.push(String::from_utf8(bytes).unwrap());
            }
        }
    }
    for more in [
        "A", "=", "==", "===", "====", "AAAA", ".", "\\012", "%", " ", " A",
    ] {
        altered.push(format!("{value}{more}"));
        altered.push(format!("{more}{value}"));
    }
    altered.push(value.to_uppercase());
    altered.push(format!("{value}{value}"));
    for value in &altered {
        let line = format!("{name}=\"{value}\"");
        assert_new(&server.get("/read", &[line.as_bytes()]).await, value);
    }
    logs.assert_without(&[value, SECRET]);
    assert_found(&server.get("/read", &[good.as_bytes()]).await, "unaltered");
    assert!(!kind.is_keyed() || subject.store.memory_len() == 1);
}

async fn p7_an_expired_session_is_an_empty_new_one(kind: Kind) {
    let subject = Subject::new(kind);
    let server = subject.serve().await;
    let good = login(&server).await;
    subject.clock.advance(HOUR);
    assert_found(
        &server.get("/read", &[good.as_bytes()]).await,
        "just in time",
    );
    subject.clock.advance(Duration::from_secs(1));
    assert_stands_for_none(&server, "expired", &[good.as_bytes()]).await;
}

async fn p7_a_sealed_payload_that_is_no_record_is_an_empty_new_session(kind: Kind) {
    let (logs, _capture) = Logs::capture();
    let subject = Subject::new(kind);
    let server = subject.serve().await;
    let deep = "[".repeat(100_000);
    let deep_record = format!("{{\"created\": {NOW}, \"session\": {deep}");
    let payloads: [&[u8]; 26] = [
        b"",
        b" ",
        b"{}",
        b" {\t} ",
        b"null",
        b"true",
        b"0",
        b"1e999",
        b"\"\"",
        b"\"swordfish-4711\"",
        b"[]",
        b"[[\"created\", 1], [\"session\", {}]]",
        b"NaN",
        b"{",
        b"{\"created\"",
        b"{\"created\": 1700000000, \"session\": {\"user\": \"swordfish-4711\"}",
        b"{\"created\": 1700000000, \"session\": {\"user\": \"swordfish-4711\"}} x",
        b"{\"created\": 1700000000, \"session\": {\"user\": NaN}}",
        b"{\"created\": \"swordfish-4711\", \"session\": {}}",
        b"{\"created\": 1700000000, \"session\": 471147114711}",
        b"{\"created\": 1700000000, \"session\": \"swordfish-4711\"}",
        b"{\"created\": 1700000000, \"session\": [471147114711]}",
        b"\xef\xbb\xbf{\"created\": 1700000000, \"session\": {\"a\": 1}}",
        b"\xff\xfe",
        deep.as_bytes(),
        deep_record.as_bytes(),
    ];
    for payload in payloads {
        let what = String::from_utf8_lossy(payload)
            .chars()
            .take(80)
            .collect::<String>();
        let Some(value) = subject.seal(payload).await else {
            continue;
        };
        let line = format!("{DEFAULT_NAME}={}", quote(&value));
        assert_stands_for_none(&server, &what, &[line.as_bytes()]).await;
    }
    logs.assert_without(&["swordfish", "471147114711"]);
    assert!(logs.text().contains("session record is unreadable"));
}

/// These are records, if strange ones: sessions that an honest program would not have written.
async fn p7_no_record_whatever_makes_a_read_or_a_write_panic(kind: Kind) {
    let entries =
        r#"{"a": 1, "a": 2, "": 3, "\u0000": 4, "\ud800": 5, "x\ty": 6}"#.replace('\t', "\\t");
    let nested = format!("{{\"a\": {}{}}}", "[".repeat(600), "]".repeat(600));
    let numbers = [
        "0",
        "-0",
        "1",
        "-1",
        "1e999",
        "-1e999",
        "1e308",
        "-1e-999",
        "0.1",
        "1700000000",
        "18446744073709551615",
        "18446744073709551616",
        "9223372036854775808",
        "253402300800",
        "9999999999999999999999999999999999999999",
        "null",
        "true",
        "false",
    ];
    let mut payloads = vec![
        r#"{"created": 1700000000, "created": 1, "created": 1700000000, "session": {"a": 1}, "session": {"b": 2}}"#.to_owned(),
        format!("{{\"created\": {NOW}, \"session\": {entries}}}"),
        format!("{{\"created\": {NOW}, \"session\": {nested}}}"),
        format!("{{\"created\": {NOW}, \"session\": [[\"a\", 1], \"bc\", [\"a\", {{}}], [\"\\u0001\", \"é\"]]}}"),
        format!("{{\"created\": {NOW}, \"session\": []}}"),
        format!("{{\"created\": {NOW}, \"session\": null}}"),
        format!("{{\"created\": {NOW}}}"),
        r#"{"unknown": 1}"#.to_owned(),
        r#"{"session": {"a": 1}}"#.to_owned(),
    ];
    for number in numbers {
        for member in ["created", "max_age", "started"] {
            let created = if member == "created" {
                ""
            } else {
                "\"created\": 1700000000, "
            };
            payloads.push(format!(
                "{{{created}\"{member}\": {number}, \"session\": {{\"a\": 1}}}}"
            ));
        }
    }
    payloads.push(r#"{"created": 1e999, "max_age": 18446744073709551615, "started": 18446744073709551615, "session": {"a": 1}}"#.to_owned());
    let plain = || CookieSettings::builder(DEFAULT_NAME);
    for settings in [
        plain(),
        plain().max_age(HOUR),
        plain().max_age(HOUR).rolling(true),
        plain().absolute_max_age(HOUR),
        plain()
            .max_age(HOUR)
            .rolling(true)
            .absolute_max_age(2 * HOUR),
        plain()
            .max_age(Duration::MAX)
            .absolute_max_age(Duration::MAX),
    ] {
        let subject = Subject::with(kind, settings.build().unwrap());
        let server = subject.serve().await;
        for payload in &payloads {
            for path in ["/read", "/write", "/renew", "/logout", "/login"] {
                let value = subject.seal(payload.as_bytes()).await.unwrap();
                let line = format!("{DEFAULT_NAME}={}", quote(&value));
                let answer = tokio::time::timeout(HOUR, server.get(path, &[line.as_bytes()]))
                    .await
                    .unwrap();
                assert_eq!(answer.status(), StatusCode::OK, "{path} {payload}");
                for set_cookie in set_cookies(&answer, DEFAULT_NAME) {
                    let next = server.get("/read", &[pair(&set_cookie).as_bytes()]).await;
                    assert_eq!(next.status(), StatusCode::OK, "after {path} {payload}");
                }
            }
        }
    }
}

async fn p7_a_value_of_another_storage_is_an_empty_new_session(kind: Kind) {
    let server = Subject::new(kind).serve().await;
    for other in Kind::ALL.into_iter().filter(|other| *other != kind) {
        let good = login(&Subject::new(other).serve().await).await;
        assert_stands_for_none(&server, &format!("{other:?}"), &[good.as_bytes()]).await;
    }
}

/// A Fernet token put together by hand, every part of which a test can get wrong.
struct Token {
    version: u8,
    time: u64,
    iv: Vec<u8>,
    ciphertext: Vec<u8>,
    key: [u8; 32],
}

type Cbc = cbc::Encryptor<aes::Aes128>;

impl Token {
    fn new(payload: &[u8]) -> Self {
        Self::under(KEY, payload)
    }

    fn under(key: [u8; 32], payload: &[u8]) -> Self {
        let iv = vec![7; 16];
        let cipher = Cbc::new_from_slices(&key[16..], &iv).unwrap();
        Self {
            version: 0x80,
            time: NOW,
            ciphertext: cipher.encrypt_padded_vec_mut::<Pkcs7>(payload),
            iv,
            key,
        }
    }

    /// Encrypts whole blocks as they are, padding included.
    fn unpadded(blocks: &[u8]) -> Self {
        let token = Self::new(b"");
        let cipher = Cbc::new_from_slices(&KEY[16..], &token.iv).unwrap();
        Self {
            ciphertext: cipher.encrypt_padded_vec_mut::<NoPadding>(blocks),
            ..token
        }
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = [
            &[self.version],
            &self.time.to_be_bytes()[..],
            &self.iv,
            &self.ciphertext,
        ]
        .concat();
        let mut mac = <hmac::Hmac<sha2::Sha256> as Mac>::new_from_slice(&self.key[..16]).unwrap();
        mac.update(&bytes);
        bytes.extend(mac.finalize().into_bytes());
        bytes
    }

    fn text(&self) -> String {
        URL_SAFE.encode(self.bytes())
    }
}

const RECORD: &[u8] = b"{\"created\": 1700000000, \"session\": {\"user\": \"swordfish-4711\"}}";

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

/// A NaCl box with a nonce that does not matter here.
fn boxed(key: &[u8; 32], payload: &[u8]) -> String {
    let nonce = [9; 24];
    let sealed = XSalsa20Poly1305::new(key.into())
        .encrypt(&nonce.into(), payload)
        .unwrap();
    STANDARD.encode([&nonce[..], &sealed].concat())
}

fn sha256(text: &str) -> String {
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
fn quote(value: &str) -> String {
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

async fn get_value(server: &Server, value: &str) -> Answer {
    let line = format!("{DEFAULT_NAME}={}", quote(value));
    server.get("/read", &[line.as_bytes()]).await
}

#[tokio::test]
async fn p7_a_fernet_token_that_is_not_quite_right_is_an_empty_new_session() {
    let (logs, _capture) = Logs::capture();
    let server = Subject::new(Kind::fernet).serve().await;
    let token = || Token::new(RECORD);
    assert_found(&get_value(&server, &token().text()).await, "the right one");

    let mut bad: Vec<(&str, Vec<u8>)> = Vec::new();
    for version in [0, 1, 0x7f, 0x81, 0xff] {
        bad.push(("version", Token { version, ..token() }.bytes()));
    }
    for time in [
        0,
        1,
        NOW - 3601,
        NOW + 61,
        NOW + 315_360_000,
        u64::MAX / 2,
        u64::MAX - 60,
        u64::MAX,
    ] {
        bad.push(("signed time", Token { time, ..token() }.bytes()));
        // The time changed, the signature not.
        let mut forged = token().bytes();
        forged[1..9].copy_from_slice(&time.to_be_bytes());
        bad.push(("forged time", forged));
    }
    for len in 0..16 {
        bad.push((
            "iv cut",
            Token {
                iv: vec![7; len],
                ..token()
            }
            .bytes(),
        ));
        let ciphertext = token().ciphertext[..16 + len].to_vec();
        if len > 0 {
            bad.push((
                "blocks cut",
                Token {
                    ciphertext,
                    ..token()
                }
                .bytes(),
            ));
        }
    }
    bad.push((
        "empty ciphertext",
        Token {
            ciphertext: Vec::new(),
            ..token()
        }
        .bytes(),
    ));
    bad.push(("nothing", Vec::new()));
    bad.push((
        "a signature alone",
        token().bytes().split_off(token().bytes().len() - 32),
    ));
    bad.push(("zeros", vec![0; 73]));
    bad.push(("no signature", [&token().bytes()[..], &[0; 32]].concat()));
    for padding in [0_u8, 17, 16, 255] {
        let mut blocks = [RECORD, &[b' '; 16][..16 - RECORD.len() % 16]].concat();
        *blocks.last_mut().unwrap() = padding;
        bad.push(("padding", Token::unpadded(&blocks).bytes()));
    }
    bad.push(("another key", Token::under(OLD_KEY, RECORD).bytes()));
    let swapped: [u8; 32] = std::array::from_fn(|at| KEY[(at + 16) % 32]);
    bad.push((
        "the halves of the key swapped",
        Token::under(swapped, RECORD).bytes(),
    ));
    for (what, bytes) in &bad {
        assert_new(&get_value(&server, &URL_SAFE.encode(bytes)).await, what);
    }
    logs.assert_without(&[SECRET, &token().text()]);

    for time in [NOW - 3600, NOW, NOW + 60] {
        let good = Token { time, ..token() }.text();
        assert_found(&get_value(&server, &good).await, "a time within the limits");
    }
}

#[tokio::test]
async fn p7_a_fernet_token_from_the_future_is_refused_without_a_max_age_too() {
    let server = Subject::with(Kind::fernet, CookieSettings::default())
        .serve()
        .await;
    for time in [NOW + 61, NOW + 315_360_000, u64::MAX - 60, u64::MAX] {
        let token = Token {
            time,
            ..Token::new(RECORD)
        };
        assert_new(&get_value(&server, &token.text()).await, &time.to_string());
    }
    // There is no limit on the other side.
    let token = Token {
        time: 0,
        ..Token::new(RECORD)
    };
    assert_found(&get_value(&server, &token.text()).await, "of 1970");
}

#[tokio::test]
async fn p7_there_is_one_text_for_each_token() {
    let fernet = Subject::new(Kind::fernet).serve().await;
    let nacl = Subject::new(Kind::nacl).serve().await;
    for spaces in 0..48 {
        // All lengths, so that there are tokens with no, one and two characters of padding.
        let record = [RECORD, " ".repeat(spaces).as_bytes()].concat();
        let sealed = Token::new(&record).bytes();
        let nonce_and_box = STANDARD.decode(boxed(&KEY, &record)).unwrap();
        let (token, other) = (URL_SAFE.encode(&sealed), STANDARD.encode(&sealed));
        let (secret_box, url_safe) = (
            STANDARD.encode(&nonce_and_box),
            URL_SAFE.encode(&nonce_and_box),
        );
        for (server, value, other_alphabet) in
            [(&fernet, &token, &other), (&nacl, &secret_box, &url_safe)]
        {
            assert_found(&get_value(server, value).await, "canonical");
            let bare = value.trim_end_matches('=');
            for padding in 0..6 {
                let padded = format!("{bare}{}", "=".repeat(padding));
                if padded != *value {
                    assert_new(&get_value(server, &padded).await, "other padding");
                }
            }
            if other_alphabet != value {
                assert_new(&get_value(server, other_alphabet).await, "other alphabet");
            }
        }
    }
}

#[tokio::test]
async fn p7_a_nacl_box_that_is_not_quite_right_is_an_empty_new_session() {
    let (logs, _capture) = Logs::capture();
    let server = Subject::new(Kind::nacl).serve().await;
    assert_found(
        &get_value(&server, &boxed(&KEY, RECORD)).await,
        "the right one",
    );
    let bytes = STANDARD.decode(boxed(&KEY, RECORD)).unwrap();
    for len in 0..bytes.len() {
        assert_new(
            &get_value(&server, &STANDARD.encode(&bytes[..len])).await,
            "cut",
        );
    }
    for len in [24, 39, 40, 41, 4096] {
        assert_new(
            &get_value(&server, &STANDARD.encode(vec![0; len])).await,
            "zeros",
        );
    }
    assert_new(
        &get_value(&server, &boxed(&OLD_KEY, RECORD)).await,
        "another key",
    );
    logs.assert_without(&[SECRET, &boxed(&KEY, RECORD)]);
}

#[tokio::test]
async fn a_retired_key_opens_and_the_first_one_seals() {
    let (new, old) = (|| Key::from(KEY), || Key::from(OLD_KEY));
    let sides: [[Arc<dyn Storage>; 3]; 2] = [
        [
            Arc::new(EncryptedCookieStorage::new(old())),
            Arc::new(EncryptedCookieStorage::new(new())),
            Arc::new(EncryptedCookieStorage::new(new()).with_retired_key(old())),
        ],
        [
            Arc::new(NaClCookieStorage::new(old())),
            Arc::new(NaClCookieStorage::new(new())),
            Arc::new(NaClCookieStorage::new(new()).with_retired_key(old())),
        ],
    ];
    for [before, without, with] in sides {
        let cookie = login(&Server::start(before.clone(), handler).await).await;
        let without = Server::start(without, handler).await;
        let with = Server::start(with, handler).await;
        assert_new(
            &without.get("/read", &[cookie.as_bytes()]).await,
            "not retired, unknown",
        );
        let answer = with.get("/write", &[cookie.as_bytes()]).await;
        assert_found(&answer, "retired");
        let sealed_anew = pair(&set_cookies(&answer, DEFAULT_NAME)[0]).to_owned();
        let answer = without.get("/read", &[sealed_anew.as_bytes()]).await;
        assert_eq!(answer.body(), "new=false len=2 identity=false");
        let before = Server::start(before, handler).await;
        assert_new(
            &before.get("/read", &[sealed_anew.as_bytes()]).await,
            "under the new key",
        );
    }
}

#[tokio::test]
async fn p7_a_session_that_was_logged_out_or_renewed_is_an_empty_new_one() {
    for kind in [Kind::memory, Kind::hashed] {
        for path in ["/logout", "/renew", "/login"] {
            let server = Subject::new(kind).serve().await;
            let stale = login(&server).await;
            let answer = server.get(path, &[stale.as_bytes()]).await;
            assert_found(&answer, path);
            assert_stands_for_none(&server, path, &[stale.as_bytes()]).await;
            if path != "/logout" {
                let next = pair(&set_cookies(&answer, DEFAULT_NAME)[0]).to_owned();
                assert_found(&server.get("/read", &[next.as_bytes()]).await, path);
                let both = format!("{stale}; {next}");
                assert_found(&server.get("/read", &[both.as_bytes()]).await, path);
            }
        }
    }
}

/// The documented limit of a session that lives in its cookie: nothing can recall a copy.
#[tokio::test]
async fn a_copy_of_a_cookie_that_holds_its_session_outlives_the_logout() {
    for kind in [Kind::simple, Kind::fernet, Kind::nacl] {
        let server = Subject::new(kind).serve().await;
        let copy = login(&server).await;
        let answer = server.get("/logout", &[copy.as_bytes()]).await;
        assert_eq!(set_cookies(&answer, DEFAULT_NAME).len(), 1);
        assert_found(&server.get("/read", &[copy.as_bytes()]).await, "a copy");
    }
}

#[tokio::test]
async fn p7_a_malformed_identity_costs_no_backend_call_and_an_unknown_one_a_read() {
    for kind in [Kind::memory, Kind::hashed] {
        let subject = Subject::new(kind);
        let server = subject.serve().await;
        for malformed in [
            "",
            "a",
            "a b",
            "../../etc/passwd",
            "null",
            "{}",
            "[]",
            "1e999",
            "é☃",
            "0123456789abcde",
            "0011223344556677 8899aabbccddeeff",
            "00112233445566778899aabbccddeef\r\nflush_all\r\n",
            "00112233445566778899aabbccddeef\0",
            "*00112233445566778899aabbccddee",
            &"0".repeat(129),
            &"[".repeat(65536),
        ] {
            assert_new(&get_value(&server, malformed).await, malformed);
            assert_eq!(subject.store.counts(), [0, 0, 0, 0], "{malformed:?}");
        }
        for unknown in [
            UNKNOWN,
            &UNKNOWN.to_uppercase(),
            "----------------",
            &"_".repeat(128),
        ] {
            assert_new(&get_value(&server, unknown).await, unknown);
            assert_eq!(subject.store.take_counts(), [1, 0, 0, 0], "{unknown}");
        }
    }
}

#[tokio::test]
async fn p4_identities_that_clients_make_up_leave_nothing_in_the_store() {
    for kind in [Kind::memory, Kind::hashed] {
        let subject = Subject::new(kind);
        let server = subject.serve().await;
        for _ in 0..1000 {
            let made_up = Identity::random().unwrap();
            assert_new(&get_value(&server, made_up.as_str()).await, "made up");
        }
        assert_eq!(subject.store.counts(), [1000, 0, 0, 0]);
        assert_eq!(subject.store.memory_len(), 0);
    }
}

#[tokio::test]
async fn p7_more_than_four_cookies_of_the_name_cost_at_most_four_reads() {
    for kind in [Kind::memory, Kind::hashed] {
        let subject = Subject::new(kind);
        let server = subject.serve().await;
        let cookie = |at: usize| format!("{DEFAULT_NAME}={at:032x}");
        let all: Vec<String> = (0..100).map(cookie).collect();
        let joined = all.join("; ");
        let lines: Vec<&[u8]> = all.iter().take(50).map(String::as_bytes).collect();
        let most = [MAX_CANDIDATES, 0, 0, 0];
        assert_new(&server.get("/read", &[joined.as_bytes()]).await, "one line");
        assert_eq!(subject.store.take_counts(), most);
        assert_new(&server.get("/read", &lines).await, "lines");
        assert_eq!(subject.store.take_counts(), most);
        assert_new(&server.get_http2("/read", &lines).await, "crumbs");
        assert_eq!(subject.store.take_counts(), most);
        let answer = server.get("/login", &lines).await;
        assert_eq!(answer.status(), StatusCode::OK);
        let [_, creates, replaces, deletes] = subject.store.take_counts();
        assert_eq!((creates, replaces), (1, 0));
        assert!(
            deletes <= MAX_CANDIDATES,
            "a login ends what the client had: {deletes}"
        );
    }
}

/// Whoever reads the store has the digests, and they open nothing.
#[tokio::test]
async fn p7_the_digest_of_an_identity_is_not_an_identity() {
    let subject = Subject::new(Kind::hashed);
    let server = subject.serve().await;
    let good = login(&server).await;
    let digest = sha256(good.split_once('=').unwrap().1);
    assert_stands_for_none(
        &server,
        "digest",
        &[format!("{DEFAULT_NAME}={digest}").as_bytes()],
    )
    .await;
}

/// A storage whose cookie values are what an attacker would like them to be.
#[derive(Debug)]
struct Smuggler(Records);

#[async_trait::async_trait]
impl Storage for Smuggler {
    fn records(&self) -> &Records {
        &self.0
    }

    async fn load(&self, _: Option<&str>) -> session_core::Result<session_core::Session> {
        Ok(self.0.fresh(false))
    }

    async fn save(&self, _: &session_core::Session) -> session_core::Result<CookieChange> {
        Ok(CookieChange::Set {
            value: "a; Domain=evil.example\r\nX-Evil: 1\r\n\r\n<b>\0\u{85}".to_owned(),
            max_age: None,
        })
    }
}

#[tokio::test]
async fn a_cookie_value_smuggles_no_attribute_and_no_header() {
    let server = Server::start(Arc::new(Smuggler(Records::default())), handler).await;
    for answer in [
        server.get("/write", &[]).await,
        server.get_http2("/write", &[]).await,
    ] {
        assert_eq!(answer.body(), NEW);
        assert!(!answer.headers().contains_key("x-evil"));
        let [set_cookie] = &set_cookies(&answer, DEFAULT_NAME)[..] else {
            panic!("one cookie")
        };
        let parsed = cookie::Cookie::parse(set_cookie.as_str()).unwrap();
        assert_eq!((parsed.domain(), parsed.path()), (None, Some("/")));
    }
}

#[tokio::test]
async fn a_cookie_value_puts_no_line_of_its_own_into_the_log() {
    let (logs, _capture) = Logs::capture();
    for kind in Kind::ALL {
        let subject = Subject::new(kind);
        let evil = "0123456789abcdef\r\n1970-01-01 ERROR login: root\u{1b}[31m";
        for value in [
            evil.to_owned(),
            format!("{{\"{evil}\": 1}}"),
            STANDARD.encode(evil),
        ] {
            assert!(subject.storage.load(Some(&value)).await.unwrap().is_new());
        }
        if let Some(value) = subject
            .seal(format!("{{\"created\": {evil}}}").as_bytes())
            .await
        {
            assert!(subject.storage.load(Some(&value)).await.unwrap().is_new());
        }
    }
    logs.assert_without(&["login: root", "\u{1b}", "1970-01-01"]);
    assert!(logs.text().contains("unreadable"));
}

// P10

async fn p10_debug_of_a_storage_and_its_session_shows_no_secret(kind: Kind) {
    let subject = Subject::new(kind);
    let session = subject.storage.load(None).await.unwrap();
    session.insert("user", SECRET).unwrap();
    let change = subject.storage.save(&session).await.unwrap();
    let CookieChange::Set { value, .. } = &change else {
        panic!("a new session sets a cookie")
    };
    let loaded = subject.storage.load(Some(value)).await.unwrap();
    assert_eq!(
        loaded.get::<String>("user").unwrap().as_deref(),
        Some(SECRET)
    );
    let mut extensions = http::Extensions::new();
    let context = SessionContext::attach(&subject.storage, &mut extensions);
    let mut request = Request::new(());
    *request.extensions_mut() = extensions;
    let line = format!("{DEFAULT_NAME}={}", quote(value));
    request
        .headers_mut()
        .insert("cookie", line.parse().unwrap());
    let through = request.session().await.unwrap();
    through.insert("user", SECRET).unwrap();
    let mut shown = format!(
        "{session:?} {loaded:#?} {change:#?} {:#?} {context:#?} {through:?} {:?} {:?}",
        subject.storage,
        loaded.identity(),
        request.extensions(),
    );
    let save = context.close(&mut http::HeaderMap::new()).unwrap();
    shown += &format!("{save:#?} {context:?}");
    let saved = save.run().await.unwrap();
    shown += &format!("{saved:#?}");
    let pending = Records::default().fresh(false);
    pending.insert("user", SECRET).unwrap();
    let pending = Records::default().change(&pending).unwrap();
    assert!(matches!(pending, RecordChange::Write(_)));
    shown += &format!("{pending:#?}");
    for secret in [
        value.as_str(),
        SECRET,
        "swordfish",
        &STANDARD.encode(KEY),
        &URL_SAFE.encode(KEY),
        "sixteen",
    ] {
        assert!(!shown.contains(secret), "{secret} in {shown}");
    }
    // Nor as a list of bytes.
    for bytes in [&KEY[..4], SECRET.as_bytes()] {
        let list = format!("{bytes:?}");
        assert!(
            !shown
                .replace(['\n', ' '], "")
                .contains(list.trim_matches(['[', ']']).replace(' ', "").as_str())
        );
    }
}

#[test]
fn p10_debug_of_keys_identities_and_records_shows_no_secret() {
    let key = Key::from(KEY);
    let identity = Identity::parse(UNKNOWN).unwrap();
    let versioned = Versioned {
        value: Bytes::from_static(RECORD),
        version: 3,
    };
    let shown = format!(
        "{key:#?} {:#?} {:#?} {identity:#?} {versioned:#?} {:#?}",
        FernetKey::from(key.clone()),
        FernetKey::from(::fernet::Fernet::new(&key.to_base64()).unwrap()),
        Replace::Conflict(versioned.clone()),
    );
    for secret in [
        UNKNOWN,
        "swordfish",
        "sixteen",
        &key.to_base64(),
        "115, 105",
        "123, 34",
    ] {
        assert!(!shown.contains(secret), "{secret} in {shown}");
    }
}

#[tokio::test]
async fn p10_no_error_shows_a_secret() {
    let mut errors = Vec::new();
    let session = Records::default().fresh(false);
    session.insert("user", SECRET).unwrap();
    errors.push(session.get::<u64>("user").unwrap_err());
    errors.push(session.get::<Vec<bool>>("user").unwrap_err());
    errors.push(
        session
            .update::<u64>("user", |n| n.unwrap_or(0))
            .unwrap_err(),
    );
    let unwritable = std::collections::BTreeMap::from([((1, 2), SECRET)]);
    errors.push(session.insert("user", unwritable).unwrap_err());
    let secret_key = URL_SAFE.encode(&KEY[..31]);
    errors.push(Key::parse(&secret_key).unwrap_err());
    errors.push(Key::parse(&format!("{secret_key}!")).unwrap_err());
    errors.push(Key::from_slice(SECRET.as_bytes()).unwrap_err());
    let long = SECRET.repeat(400);
    errors.push(
        CookieSettings::default()
            .set(&long, None, at(NOW))
            .unwrap_err(),
    );
    let storage = KeyedStorage::new(MemoryBackend::new()).with_key_factory(|| format!("{SECRET}!"));
    errors.push(storage.save(&session).await.unwrap_err());
    let storage = KeyedStorage::new(MemoryBackend::new());
    for _ in 0..2 {
        let session = storage.load(None).await.unwrap();
        session.insert("user", SECRET).unwrap();
        session
            .set_new_identity(Identity::parse(UNKNOWN).unwrap())
            .unwrap();
        errors.extend(storage.save(&session).await.err());
    }
    let known = storage.load(Some(UNKNOWN)).await.unwrap();
    errors.push(
        known
            .set_new_identity(Identity::random().unwrap())
            .unwrap_err(),
    );
    storage
        .load(Some(UNKNOWN))
        .await
        .unwrap()
        .invalidate()
        .unwrap();
    let slow = storage.load(Some(UNKNOWN)).await.unwrap();
    slow.insert("user", SECRET).unwrap();
    let ender = storage.load(Some(UNKNOWN)).await.unwrap();
    ender.invalidate().unwrap();
    storage.save(&ender).await.unwrap();
    errors.push(storage.save(&slow).await.unwrap_err());
    let kinds = [
        ErrorKind::Unavailable,
        ErrorKind::Ended,
        ErrorKind::Contended,
        ErrorKind::CookieTooLarge,
        ErrorKind::Committed,
        ErrorKind::Value,
        ErrorKind::Settings,
        ErrorKind::Identity,
    ];
    errors.extend(kinds.map(Error::from));
    for expected in kinds {
        assert!(
            errors.iter().any(|error| error.kind() == expected),
            "{expected:?}"
        );
    }
    for error in &errors {
        let mut shown = format!("{error} {error:?} {error:#?}");
        let mut cause = std::error::Error::source(error);
        while let Some(error) = cause {
            shown += &format!("{error} {error:?}");
            cause = error.source();
        }
        for secret in ["swordfish", "sixteen", UNKNOWN, &secret_key] {
            assert!(!shown.contains(secret), "{secret} in {shown}");
        }
    }
}

/// [`MemoryBackend`] with its calls counted; clones are the same store. Its own clock stands still,
/// so that what expires is what the storage finds expired.
#[derive(Clone, Debug)]
struct Counting(Arc<Counted>);

#[derive(Debug)]
struct Counted {
    memory: MemoryBackend,
    calls: [AtomicUsize; 4],
}

impl Default for Counting {
    fn default() -> Self {
        Self(Arc::new(Counted {
            memory: MemoryBackend::new().with_clock(ManualClock::at(at(NOW))),
            calls: Default::default(),
        }))
    }
}

impl Counting {
    /// Returns the numbers of reads, creates, replaces and deletes.
    fn counts(&self) -> [usize; 4] {
        std::array::from_fn(|call| self.0.calls[call].load(Ordering::SeqCst))
    }

    fn take_counts(&self) -> [usize; 4] {
        std::array::from_fn(|call| self.0.calls[call].swap(0, Ordering::SeqCst))
    }

    fn memory_len(&self) -> usize {
        self.0.memory.len()
    }

    fn count(&self, call: usize) -> &MemoryBackend {
        self.0.calls[call].fetch_add(1, Ordering::SeqCst);
        &self.0.memory
    }
}

impl Backend for Counting {
    async fn read(&self, key: &str) -> session_core::Result<Option<Versioned>> {
        self.count(0).read(key).await
    }

    async fn create(
        &self,
        key: &str,
        value: Bytes,
        ttl: Option<Duration>,
    ) -> session_core::Result<Create> {
        self.count(1).create(key, value, ttl).await
    }

    async fn replace(
        &self,
        key: &str,
        value: Bytes,
        ttl: Option<Duration>,
        was: &Versioned,
    ) -> session_core::Result<Replace> {
        self.count(2).replace(key, value, ttl, was).await
    }

    async fn delete(&self, key: &str) -> session_core::Result<()> {
        self.count(3).delete(key).await
    }
}
