//! What a Redis answers, through the redis crate.

use std::time::Duration;

use bytes::Bytes;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, RedisConnectionInfo, Value};
use session_core::{Backend as _, Create, ErrorKind, Replace, Result, Versioned};
use session_redis::RedisBackend;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::time::timeout;

use super::input::Input;

const KEY: &str = "sid_0123456789abcdef";

/// Nothing may need it: after the last answer the server hangs up.
const BOUND: Duration = Duration::from_secs(20);

/// The input is a byte that says which call, and the answers, up to 0xff each. What fits the command is
/// believed, everything else is an error that repeats nothing of what was asked.
pub fn redis(data: &[u8]) {
    let mut input = Input::new(data);
    let what = input.byte() % 5;
    let mut answers = Vec::new();
    while !input.is_empty() && answers.len() < 3 {
        answers.push(input.piece().to_vec());
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let got = runtime.block_on(async {
        let (ours, theirs) = duplex(64 * 1024);
        let info = RedisConnectionInfo::default().set_skip_set_lib_name();
        let config = AsyncConnectionConfig::new().set_response_timeout(None);
        let connected = MultiplexedConnection::new_with_config(&info, ours, config);
        let (connection, driver) = connected.await.expect("nothing is asked yet");
        let driver = tokio::spawn(driver);
        let server = tokio::spawn(serve(theirs, answers.clone()));
        let backend = RedisBackend::new(connection).with_timeout(BOUND);
        let got = timeout(BOUND, ask(&backend, what)).await;
        drop(backend);
        server.abort();
        let driven = driver.await;
        assert!(!driven.is_err_and(|error| error.is_panic()));
        got.expect("nothing hangs")
    });
    if let Err(error) = &got {
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        let text = format!("{error} {error:?}");
        assert!(
            !text.contains("0123456789abcdef") && !text.contains("no answer within"),
            "{text}"
        );
    }
    if let Some(expected) = expected(what, &answers) {
        assert_eq!(got.ok(), expected);
    }
}

#[derive(Debug, Eq, PartialEq)]
enum Got {
    Read(Option<Vec<u8>>),
    Create(Create),
    Done,
    Gone,
    Conflict(Vec<u8>),
}

async fn ask(backend: &RedisBackend<MultiplexedConnection>, what: u8) -> Result<Got> {
    let was = Versioned {
        value: Bytes::from_static(b"was"),
        version: 0,
    };
    let value = Bytes::from_static(b"{}");
    let ttl = Some(Duration::from_secs(60));
    let replaced = match what {
        0 => {
            let found = backend.read(KEY).await?;
            return Ok(Got::Read(found.map(|found| found.value.to_vec())));
        }
        1 => return Ok(Got::Create(backend.create(KEY, value, ttl).await?)),
        2 => backend.replace(KEY, value, None, &was).await?,
        3 => backend.delete(KEY, Some(&was)).await?,
        _ => backend.delete(KEY, None).await?,
    };
    Ok(match replaced {
        Replace::Done => Got::Done,
        Replace::Gone => Got::Gone,
        Replace::Conflict(now) => Got::Conflict(now.value.to_vec()),
    })
}

/// What should come of it: `Some(None)` is an error, `None` is not said here (an answer with another
/// behind it, or what a server may say unasked).
fn expected(what: u8, answers: &[Vec<u8>]) -> Option<Option<Got>> {
    let mut answers = answers.iter();
    let Some(mut answer) = answers.next() else {
        return Some(None);
    };
    if matches!(what, 2 | 3) && answer.starts_with(b"-NOSCRIPT ") && is_one(answer) {
        answer = match answers.next() {
            None => return Some(None),
            Some(next) => next,
        };
    }
    if !is_one(answer) {
        return None;
    }
    if answer.starts_with(b"-") {
        let wrong_type = answer.starts_with(b"-WRONGTYPE ") || answer == b"-WRONGTYPE\r\n";
        return Some(match what {
            0 if wrong_type => Some(Got::Read(Some(Vec::new()))),
            2 | 3 if wrong_type => Some(Got::Conflict(Vec::new())),
            _ => None,
        });
    }
    let value = redis::parse_redis_value(answer).ok()?;
    Some(match (what, value) {
        (0, Value::BulkString(value)) => Some(Got::Read(Some(value))),
        (0, Value::Nil) => Some(Got::Read(None)),
        (1, Value::Okay) => Some(Got::Create(Create::Done)),
        (1, Value::Nil) => Some(Got::Create(Create::Exists)),
        (2..=4, Value::Int(1)) => Some(Got::Done),
        (2 | 3, Value::Nil) | (4, Value::Int(0)) => Some(Got::Gone),
        (2 | 3, Value::BulkString(now)) => Some(Got::Conflict(now)),
        _ => None,
    })
}

/// Whether it is exactly one answer of the kinds that RESP2 has besides lists.
fn is_one(answer: &[u8]) -> bool {
    let Some(end) = answer.windows(2).position(|two| two == b"\r\n") else {
        return false;
    };
    let line = &answer[..end];
    let rest = answer.len() - end - 2;
    match line.first() {
        Some(b'+' | b'-' | b':') => rest == 0 && line.is_ascii() && !line.contains(&b'\n'),
        Some(b'$') => match str::from_utf8(&line[1..]).map(str::parse::<i64>) {
            Ok(Ok(-1)) => rest == 0,
            Ok(Ok(len)) => {
                usize::try_from(len).is_ok_and(|len| rest == len + 2) && answer.ends_with(b"\r\n")
            }
            _ => false,
        },
        _ => false,
    }
}

async fn serve(mut stream: DuplexStream, answers: Vec<Vec<u8>>) -> Option<()> {
    let mut question = vec![0; 4096];
    for answer in answers {
        if stream.read(&mut question).await.ok()? == 0 {
            return None;
        }
        stream.write_all(&answer).await.ok()?;
        // For the rest of one that is not whole, and for one after what was said unasked, the client
        // would wait.
        let value = redis::parse_redis_value(&answer);
        if value.is_err() || matches!(value, Ok(Value::Push { .. })) {
            return None;
        }
    }
    None
}
