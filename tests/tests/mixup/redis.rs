//! A Redis that responds wrongly: each such response is an error, which repeats nothing of the
//! command.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use redis::{AsyncConnectionConfig, Client};
use session_core::keyed::{Backend as _, OnlyIf, Stored, Write};
use session_core::{DEFAULT_NAME, ErrorKind, RequestSession as _};
use session_redis::{RedisBackend, RedisStorage};
use session_tests::logs::{Logs, all_texts};
use session_tests::server::Server;

use crate::fake::{Fake, Say};
use crate::memcached::{BOUND, IDENTITY, SECRETS, SLACK};

const KEY: &str = "AIOHTTP_SESSION_0a1b2c3d4e5f60718293a4b5c6d7e8f9";
const VALUE: &str = r#"{"created": 1700000000, "session": {"name": "Rosalind Elsie"}}"#;

/// What is wrong as a response to `GET`, to `SET .. NX GET` and to the script.
fn wrong() -> Vec<Say> {
    let this = |text: &str| Say::This(text.as_bytes().to_vec());
    let mut cases = vec![
        this(":5\r\n"),
        this("*2\r\n$1\r\na\r\n$1\r\nb\r\n"),
        this("*0\r\n"),
        this("+QUEUED\r\n"),
        this(""),
        this("$400\r\n{"),
        Say::Last(b"$40\r\n{\"created\"".to_vec()),
        Say::Last(Vec::new()),
        this("hello\r\n"),
        this("HTTP/1.1 400 Bad Request\r\n\r\n"),
        Say::This(vec![0xff; 300]),
        this("$999999999999999999999\r\n"),
        this("-\r\n"),
        this("-ERR\r\n"),
        this("-LOADING Redis is loading the dataset in memory\r\n"),
    ];
    let hash = "5b5d9aeab2b1c4f3a0a7d2f2b8c9d0e1f2a3b4c5";
    for (said, quote) in [
        (KEY, "'"),
        (IDENTITY, "'"),
        (VALUE, "'"),
        (KEY, "`"),
        (KEY, "\""),
    ] {
        let repeats = format!(
            "-ERR unknown command {quote}EVALSHA{quote}, with args beginning with: \
             {quote}{hash}{quote} {quote}1{quote} {quote}{said}{quote} \r\n"
        );
        cases.push(this(&repeats));
        cases.push(this(&format!(
            "-ERR unknown command {quote}GET{quote}, \
                     with args beginning with: {quote}{said}{quote} \r\n"
        )));
    }
    for said in [KEY, IDENTITY, VALUE, "Rosalind1700000000"] {
        cases.push(this(&format!("-ERR cannot do {said}\r\n")));
        cases.push(this(&format!("-{said} cannot\r\n")));
    }
    cases
}

/// What a client asks for when it connects.
fn greeting(question: &str) -> Vec<u8> {
    "+OK\r\n"
        .repeat(question.matches("SETINFO").count())
        .into_bytes()
}

async fn fake(say: Say) -> Fake {
    Fake::start(greeting, move |question| {
        (!question.contains("SETINFO")).then(|| say.clone())
    })
    .await
}

async fn backend(fake: &Fake) -> RedisBackend<redis::aio::MultiplexedConnection> {
    let client = Client::open(format!("redis://127.0.0.1:{}/", fake.port)).unwrap();
    let config = AsyncConnectionConfig::new().set_response_timeout(None);
    let connection = client.get_multiplexed_async_connection_with_config(&config);
    RedisBackend::new(connection.await.unwrap()).with_timeout(BOUND)
}

#[tokio::test]
async fn p5_a_wrong_reply_of_redis_is_an_error_that_repeats_nothing() {
    let was = Stored::new(VALUE);
    let record = || Write::record(VALUE, None);
    let tombstone = || Write::tombstone("{ }", Duration::from_secs(60));
    for say in wrong() {
        for what in 0..5 {
            let case = format!("call {what} got {say:?}");
            let fake = fake(say.clone()).await;
            let backend = backend(&fake).await;
            let begun = Instant::now();
            let unchanged = OnlyIf::Unchanged(&was);
            let write = async |write, only_if| backend.write(KEY, write, only_if).await.map(drop);
            let error = match what {
                0 => backend.read(KEY).await.map(drop),
                1 => write(record(), OnlyIf::Missing).await,
                2 => write(record(), unchanged).await,
                3 => write(tombstone(), unchanged).await,
                _ => write(tombstone(), OnlyIf::Missing).await,
            };
            let error = error.expect_err(&case);
            assert!(begun.elapsed() < BOUND * 2 + SLACK, "{case}");
            assert_eq!(error.kind(), ErrorKind::Unavailable, "{case}");
            let text = all_texts(&error);
            for secret in SECRETS {
                assert!(!text.contains(secret), "{case}: {text}");
            }
        }
    }
}

#[tokio::test]
async fn p5_no_log_and_no_response_repeats_what_redis_said() {
    let (logs, _capture) = Logs::capture();
    let cookie = format!("{DEFAULT_NAME}={IDENTITY}");
    for say in wrong() {
        for reads in [true, false] {
            let say = say.clone();
            let fake = Fake::start(
                |question| match greeting(question) {
                    none if none.is_empty() => b"$-1\r\n".to_vec(),
                    greeted => greeted,
                },
                move |question| {
                    let greets = question.contains("SETINFO");
                    // A create says GET, too.
                    let is_read = !question.contains("SET\r\n");
                    (!greets && is_read == reads).then(|| say.clone())
                },
            );
            let fake = fake.await;
            let storage = RedisStorage::new(backend(&fake).await);
            let web = Server::start(Arc::new(storage), async |request| {
                let session = http::Request::session(&request).await?;
                session.insert("name", "Rosalind Elsie")?;
                Ok(http::Response::new(http_body_util::Full::<Bytes>::default()))
            });
            let reply = web.await.get("/", &[cookie.as_bytes()]).await;
            assert_eq!((reply.status().as_u16(), &**reply.body()), (503, &b""[..]));
            assert!(!reply.headers().contains_key("set-cookie"));
        }
    }
    let text = logs.text();
    assert!(text.contains("session not loaded") && text.contains("session not saved"));
    assert!(
        text.contains("LOADING Redis is loading the dataset in memory"),
        "{text}"
    );
    logs.assert_without(&SECRETS);
}
