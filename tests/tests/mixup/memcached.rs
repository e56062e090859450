//! A memcached that responds wrongly: each such response is an error, and its connection is closed.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Request;
use session_core::keyed::{Backend, Found, OnlyIf, Outcome, Stored, Write};
use session_core::{DEFAULT_NAME, ErrorKind, RequestSession as _, Result};
use session_memcached::{MemcachedBackend, MemcachedStorage};
use session_tests::logs::{Logs, all_texts};
use session_tests::server::{BoxError, Server};

use crate::backend::{PATIENT, until};
use crate::fake::{Fake, Say};

pub(crate) const IDENTITY: &str = "0a1b2c3d4e5f60718293a4b5c6d7e8f9";
const KEY: &str = "AIOHTTP_SESSION_0a1b2c3d4e5f60718293a4b5c6d7e8f9";
const VALUE: &str = r#"{"created": 1700000000, "session": {"name": "Rosalind Elsie"}}"#;
pub(crate) const SECRETS: [&str; 4] = [IDENTITY, "0a1b2c3d", "Rosalind", "1700000000"];

/// Short, because many of the wrong responses never end.
pub(crate) const BOUND: Duration = Duration::from_millis(80);

/// Far beyond it.
pub(crate) const SLACK: Duration = Duration::from_secs(5);

/// A call that begins with `gets`, `add` or `cas`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Ask {
    Read,
    Create,
    Update,
    /// An update of what the same process wrote, whose version it does not know.
    UpdateOwn,
    End,
    EndOwn,
}

use Ask::{Create, End, EndOwn, Read, Update, UpdateOwn};

/// A call that sends several commands gets the same response to each.
async fn ask(backend: &impl Backend, what: Ask) -> Result<String> {
    let known = Stored::with_version(VALUE, NonZeroU64::new(7).unwrap());
    let own = Stored::new(VALUE);
    let record = Write::record(VALUE, None);
    let tombstone = Write::tombstone("{ }", Duration::from_secs(60));
    let (write, only_if) = match what {
        Read => return Ok(format!("{:?}", backend.read(KEY).await?)),
        Create => (record, OnlyIf::Missing),
        Update => (record, OnlyIf::Unchanged(&known)),
        UpdateOwn => (record, OnlyIf::Unchanged(&own)),
        End => (tombstone, OnlyIf::Unchanged(&known)),
        EndOwn => (tombstone, OnlyIf::Unchanged(&own)),
    };
    Ok(format!("{:?}", backend.write(KEY, write, only_if).await?))
}

/// Returns wrong responses, and the calls to which each of them is wrong.
fn wrong() -> Vec<(Vec<Ask>, Say)> {
    let all = || vec![Read, Create, Update, UpdateOwn, End, EndOwn];
    let reads = || vec![Read, UpdateOwn, EndOwn];
    let writes = || vec![Create, Update, End];
    let this = |text: &str| Say::This(text.as_bytes().to_vec());
    let mut cases = vec![
        // Responses to another command, or for another key.
        (
            reads(),
            this("VALUE AIOHTTP_SESSION_ffffffffffffffffffffffffffffffff 0 2 9\r\n{}\r\nEND\r\n"),
        ),
        (reads(), this("VALUE  0 2 9\r\n{}\r\nEND\r\n")),
        (reads(), this("STORED\r\n")),
        (reads(), this("NOT_FOUND\r\n")),
        (reads(), this("DELETED\r\n")),
        (writes(), this("END\r\n")),
        (writes(), this("DELETED\r\n")),
        (
            writes(),
            this(&format!("VALUE {KEY} 0 2 9\r\n{{}}\r\nEND\r\n")),
        ),
        (vec![Create], this("EXISTS\r\n")),
        (vec![Create], this("NOT_FOUND\r\n")),
        (vec![Update, End], this("NOT_STORED\r\n")),
        // Too long, too short, or two.
        (
            reads(),
            this(&format!("VALUE {KEY} 0 2 9\r\n{{}}..\r\nEND\r\n")),
        ),
        (
            reads(),
            this(&format!("VALUE {KEY} 0 9 9\r\n{{}}\r\nEND\r\n")),
        ),
        (
            reads(),
            this(&format!("VALUE {KEY} 0 2 9\r\n{{}}\r\nEND\r\nEND\r\n")),
        ),
        (
            reads(),
            this(&format!(
                "VALUE {KEY} 0 2 9\r\n{{}}\r\nVALUE {KEY} 0 2 9\r\n{{}}\r\nEND\r\n"
            )),
        ),
        (reads(), this("END\r\nEND\r\n")),
        (writes(), this("STORED\r\nSTORED\r\n")),
        (writes(), this("STORED\r\n\r\n")),
        // Numbers that are none, or absurd.
        (
            reads(),
            this(&format!(
                "VALUE {KEY} 0 18446744073709551615 9\r\n{{}}\r\nEND\r\n"
            )),
        ),
        (
            reads(),
            this(&format!("VALUE {KEY} 0 99999999999 9\r\n{{}}\r\nEND\r\n")),
        ),
        (
            reads(),
            this(&format!("VALUE {KEY} 0 -2 9\r\n{{}}\r\nEND\r\n")),
        ),
        (
            reads(),
            this(&format!("VALUE {KEY} 0 2 x\r\n{{}}\r\nEND\r\n")),
        ),
        (
            reads(),
            this(&format!("VALUE {KEY} 0 2\r\n{{}}\r\nEND\r\n")),
        ),
        (
            reads(),
            this(&format!("VALUE {KEY} 0 2 0\r\n{{}}\r\nEND\r\n")),
        ),
        (
            reads(),
            this(&format!("VALUE {KEY} 0 2 9 9\r\n{{}}\r\nEND\r\n")),
        ),
        (
            reads(),
            this(&format!("VALUE {KEY} 99999999999 2 9\r\n{{}}\r\nEND\r\n")),
        ),
        // No line, or one without an end.
        (all(), this("STORED")),
        (all(), this("")),
        (all(), this("STORED\n")),
        (all(), this(" STORED\r\n")),
        (
            all(),
            this("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"),
        ),
        (all(), Say::This(vec![b'x'; 4000])),
        (all(), Say::This(b"\0\xff\xfe\r\n".to_vec())),
        (
            all(),
            Say::This(b"VALUE \xff\xff 0 2 9\r\n{}\r\nEND\r\n".to_vec()),
        ),
        (
            reads(),
            Say::Last(format!("VALUE {KEY} 0 2 9\r\n{{").into_bytes()),
        ),
        (all(), Say::Last(b"STO".to_vec())),
        (all(), Say::Last(Vec::new())),
    ];
    cases.extend(repeating());
    cases
}

/// Returns errors that repeat what the command contained.
fn repeating() -> Vec<(Vec<Ask>, Say)> {
    let all = vec![Read, Create, Update, UpdateOwn, End, EndOwn];
    let mut cases = Vec::new();
    for said in [KEY, IDENTITY, VALUE, &format!("add {KEY} 0 0 62 {VALUE}")] {
        for kind in ["ERROR", "CLIENT_ERROR", "SERVER_ERROR"] {
            let line = format!("{kind} cannot do {said}\r\n");
            cases.push((all.clone(), Say::This(line.into_bytes())));
        }
    }
    cases
}

fn backend(fake: &Fake) -> MemcachedBackend {
    let backend = MemcachedBackend::open(&format!("127.0.0.1:{}", fake.port)).unwrap();
    backend.with_timeout(BOUND)
}

/// For responses that are to come.
fn patient(fake: &Fake) -> MemcachedBackend {
    backend(fake).with_timeout(PATIENT)
}

#[tokio::test]
async fn p5_a_wrong_reply_of_memcached_is_an_error_and_ends_its_connection() {
    for (asks, say) in wrong() {
        for what in asks {
            let case = format!("{what:?} got {:.60?}", say_text(&say));
            let reply = say.clone();
            let fake = Fake::start(|_| Vec::new(), move |_| Some(reply.clone())).await;
            // No call waits for a server that closes, and the repeat needs its time, too.
            let backend = match say {
                Say::Last(_) => patient(&fake),
                _ => backend(&fake),
            };
            for round in 1..3 {
                let begun = Instant::now();
                let error = ask(&backend, what).await.expect_err(&case);
                assert!(begun.elapsed() < BOUND + SLACK, "{case}");
                assert_eq!(error.kind(), ErrorKind::Unavailable, "{case}");
                let text = all_texts(&error);
                for secret in SECRETS {
                    assert!(!text.contains(secret), "{case}: {text}");
                }
                // A command whose connection was closed is repeated once, on a new one.
                let tries = if let Say::Last(_) = say { 2 } else { 1 };
                let connections = (fake.accepted(), fake.reused());
                assert_eq!(connections, (tries * round, 0), "{case}");
                if let Say::This(_) = say {
                    until(|| fake.closed(), round).await;
                }
            }
        }
    }
}

fn say_text(say: &Say) -> String {
    let (Say::This(bytes) | Say::Last(bytes) | Say::ThisAndLater(bytes, _)) = say;
    String::from_utf8_lossy(bytes).into_owned()
}

/// memcached sends a response without a command. The connection is closed before it is used again.
#[tokio::test]
async fn p5_a_reply_without_a_command_closes_its_connection() {
    let fake = Fake::start(|_| Vec::new(), |_| Some(Say::This(b"END\r\n".to_vec()))).await;
    let backend = patient(&fake);
    assert_eq!(backend.read(KEY).await.unwrap(), Found::Missing);
    assert_eq!(backend.read(KEY).await.unwrap(), Found::Missing);
    assert_eq!(fake.accepted(), 1, "a reply that fits keeps its connection");

    for unasked in ["END\r\n", "STORED\r\n", "x"] {
        let reply = b"END\r\n".to_vec();
        let say = Say::ThisAndLater(reply, unasked.as_bytes().to_vec());
        let fake = Fake::start(|_| Vec::new(), move |_| Some(say.clone())).await;
        let backend = patient(&fake);
        for round in 1..4 {
            assert_eq!(backend.read(KEY).await.unwrap(), Found::Missing);
            assert_eq!((fake.accepted(), fake.reused()), (round, 0));
            until(|| fake.said_later(), round).await;
            // For the runtime to hear of it, too.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Another program has encoded the value in some way: it is left alone.
#[tokio::test]
async fn p5_a_value_with_flags_is_foreign() {
    let reply = format!("VALUE {KEY} 4 {} 9\r\n{VALUE}\r\nEND\r\n", VALUE.len());
    let fake = Fake::start(
        move |question| match question.split(' ').next() {
            Some("add") => b"NOT_STORED\r\n".to_vec(),
            Some("cas") => b"EXISTS\r\n".to_vec(),
            _ => reply.clone().into_bytes(),
        },
        |_| None,
    );
    let fake = fake.await;
    let backend = patient(&fake);
    assert_eq!(backend.read(KEY).await.unwrap(), Found::Foreign);
    let known = Stored::with_version(VALUE, NonZeroU64::new(9).unwrap());
    let own = Stored::new(VALUE);
    for only_if in [
        OnlyIf::Missing,
        OnlyIf::Unchanged(&known),
        OnlyIf::Unchanged(&own),
    ] {
        for write in [
            Write::record(VALUE, None),
            Write::tombstone("{ }", Duration::from_secs(60)),
        ] {
            let outcome = backend.write(KEY, write, only_if).await.unwrap();
            assert_eq!(outcome, Outcome::Found(Found::Foreign), "{only_if:?}");
        }
    }
}

/// A line that is not wrong, only a refusal: the connection stays in use.
#[tokio::test]
async fn p5_a_server_that_is_out_of_memory_keeps_its_connection() {
    const LINE: &str = "SERVER_ERROR out of memory storing object\r\n";
    let fake = Fake::start(|_| LINE.into(), |_| None).await;
    let backend = patient(&fake);
    for _ in 0..3 {
        for what in [Create, Update] {
            let error = ask(&backend, what).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unavailable);
        }
    }
    assert_eq!((fake.accepted(), fake.closed()), (1, 0));
}

async fn handler(
    request: Request<hyper::body::Incoming>,
) -> Result<http::Response<http_body_util::Full<Bytes>>, BoxError> {
    let session = request.session().await?;
    session.insert("name", "Rosalind Elsie")?;
    Ok(http::Response::default())
}

#[tokio::test]
async fn p5_no_log_and_no_response_repeats_what_memcached_said() {
    let (logs, _capture) = Logs::capture();
    let cookie = format!("{DEFAULT_NAME}={IDENTITY}");
    let wrong = wrong().into_iter();
    for (asks, say) in wrong.filter(|(asks, _)| asks.contains(&Read) || asks.contains(&Create)) {
        let fake = Fake::start(
            |_| b"END\r\n".to_vec(),
            move |question| {
                let writes = question.starts_with("add ");
                (asks.contains(&Read) || writes && asks.contains(&Create)).then(|| say.clone())
            },
        );
        let fake = fake.await;
        let storage = MemcachedStorage::new(backend(&fake));
        let web = Server::start(Arc::new(storage), handler).await;
        let reply = web.get("/", &[cookie.as_bytes()]).await;
        assert_eq!((reply.status().as_u16(), &**reply.body()), (503, &b""[..]));
        assert!(!reply.headers().contains_key("set-cookie"));
        for secret in SECRETS {
            assert!(!format!("{:?}", reply.headers()).contains(secret));
        }
    }
    let text = logs.text();
    assert!(text.contains("session not loaded") && text.contains("session not saved"));
    assert!(
        text.contains("a response that does not fit the command"),
        "{text}"
    );
    logs.assert_without(&SECRETS);
}
