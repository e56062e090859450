//! What a Redis responds, through the redis crate.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, RedisConnectionInfo, Value};
use session_core::keyed::{Backend as _, Found, OnlyIf, Outcome, Stored, Write};
use session_core::{ErrorKind, Result};
use session_redis::RedisBackend;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::time::timeout;

use super::input::Input;

const KEY: &str = "sid_0123456789abcdef";

/// Nothing may need it: after the last response the server hangs up.
const BOUND: Duration = Duration::from_secs(20);

/// What the call writes: `{}` for a record, `{ }` for a tombstone.
const RECORD: &str = "{}";
const TOMBSTONE: &str = "{ }";

/// The input is a byte that says which call, and the responses, up to 0xff each. What fits the
/// command is believed. Everything else is an error that repeats nothing of what was asked.
pub fn redis(data: &[u8]) {
    let mut input = Input::new(data);
    let case = CASES[usize::from(input.byte()) % CASES.len()];
    let mut replies = Vec::new();
    while !input.is_empty() && replies.len() < 7 {
        replies.push(input.piece().to_vec());
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let asked = Asked::default();
    let got = runtime.block_on(async {
        let (ours, theirs) = duplex(64 * 1024);
        let info = RedisConnectionInfo::default().set_skip_set_lib_name();
        let config = AsyncConnectionConfig::new().set_response_timeout(None);
        let connected = MultiplexedConnection::new_with_config(&info, ours, config);
        let (connection, driver) = connected.await.expect("nothing is asked yet");
        let driver = tokio::spawn(driver);
        let server = tokio::spawn(serve(theirs, replies.clone(), asked.clone()));
        let backend = RedisBackend::new(connection).with_timeout(BOUND);
        let got = timeout(BOUND, ask(&backend, case)).await;
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
            !text.contains("0123456789abcdef") && !text.contains("no response within"),
            "{text}"
        );
    }
    let mut said = Said {
        replies: replies.iter(),
        asked: Vec::new(),
    };
    let expected = said.expected(case);
    let asked = asked.lock().unwrap();
    match expected {
        Expected::Got(expected) => {
            assert_eq!(got.ok(), Some(expected));
            assert_eq!(*asked, said.asked);
        }
        Expected::Error => {
            assert!(got.is_err(), "{got:?}");
            // The server has hung up before it read what it has no response to.
            assert!(said.asked.starts_with(&asked), "{asked:?}");
        }
        Expected::Unsure => {}
    }
}

#[derive(Debug, Eq, PartialEq)]
enum Got {
    Read(Found),
    Write(Outcome),
}

/// A call.
#[derive(Clone, Copy)]
enum Case {
    Read,
    /// Stores `value` where nothing is stored.
    Create {
        value: &'static str,
    },
    /// Stores `value` where `was` is stored.
    Update {
        value: &'static str,
    },
}

/// The calls, in the order of the input's first byte.
const CASES: [Case; 5] = [
    Case::Read,
    Case::Create { value: RECORD },
    Case::Update { value: RECORD },
    Case::Update { value: TOMBSTONE },
    Case::Create { value: TOMBSTONE },
];

async fn ask(backend: &RedisBackend<MultiplexedConnection>, case: Case) -> Result<Got> {
    let was = Stored::new("was");
    let minute = Duration::from_secs(60);
    let (value, only_if) = match case {
        Case::Read => return Ok(Got::Read(backend.read(KEY).await?)),
        Case::Create { value } => (value, OnlyIf::Missing),
        Case::Update { value } => (value, OnlyIf::Unchanged(&was)),
    };
    let write = match value {
        TOMBSTONE => Write::tombstone(value, minute),
        _ => Write::record(value, Some(minute)),
    };
    Ok(Got::Write(backend.write(KEY, write, only_if).await?))
}

/// What should come of a call.
enum Expected {
    Got(Got),
    Error,
    /// It is not said here: a response with another behind it, or what a server may say unasked.
    Unsure,
}

/// The responses, and the commands to which they are responses.
struct Said<'a> {
    replies: std::slice::Iter<'a, Vec<u8>>,
    asked: Vec<Vec<String>>,
}

/// One response.
enum Reply {
    Value(Value),
    /// An error of the server, with this line.
    Refused(String),
    /// The server hung up.
    None,
    Unsure,
}

impl Said<'_> {
    fn expected(&mut self, case: Case) -> Expected {
        match case {
            Case::Read => {
                // A connection that was closed shows at the first command, which is repeated.
                let reply = self.to(&["GET", KEY]);
                if let Reply::None = reply {
                    self.asked.push(words(&["GET", KEY]));
                }
                found(reply, Got::Read)
            }
            Case::Create { value } => {
                match self.to(&["SET", KEY, value, "NX", "GET", "EX", "60"]) {
                    Reply::Refused(line) if value == TOMBSTONE && has_code(&line, "OOM") => {
                        stored_or_found(self.to(&["GET", KEY]), value)
                    }
                    reply => stored_or_found(reply, value),
                }
            }
            Case::Update { value } => match self
                .to(&["SET", KEY, value, "IFEQ", "was", "GET", "EX", "60"])
            {
                Reply::Refused(line) if line.starts_with("ERR syntax error") => {
                    match self.script(&["was", value, "60"]) {
                        Reply::Refused(line) if value == TOMBSTONE && has_code(&line, "OOM") => {
                            self.deleted(value)
                        }
                        reply => swapped(reply, value),
                    }
                }
                Reply::Refused(line) if value == TOMBSTONE && has_code(&line, "OOM") => {
                    self.deleted(value)
                }
                Reply::Value(Value::BulkString(before)) if before == b"was" => {
                    Expected::Got(Got::Write(Outcome::Written(Stored::new(value))))
                }
                Reply::Value(Value::Nil) => instead(self.to(&["GET", KEY])),
                reply => instead(reply),
            },
        }
    }

    /// A server without memory deletes instead, by a script or a command of its own.
    fn deleted(&mut self, value: &'static str) -> Expected {
        match self.script(&["was"]) {
            Reply::Refused(line) if is_forbidden(&line) => {}
            reply => return swapped(reply, value),
        }
        let commands = [&["DELIFEQ", KEY, "was"][..], &["DELEX", KEY, "IFEQ", "was"]];
        for command in commands {
            match self.to(command) {
                Reply::Value(Value::Int(1)) => {
                    return Expected::Got(Got::Write(Outcome::Written(Stored::new(value))));
                }
                Reply::Value(Value::Int(0)) => return instead(self.to(&["GET", KEY])),
                Reply::Refused(line) if is_forbidden(&line) => {}
                reply => return instead(reply),
            }
        }
        Expected::Error
    }

    /// Returns the response to a command.
    fn to(&mut self, command: &[&str]) -> Reply {
        self.asked.push(words(command));
        let Some(reply) = self.replies.next() else {
            return Reply::None;
        };
        if !is_one(reply) {
            return Reply::Unsure;
        }
        if let Some(line) = reply.strip_prefix(b"-") {
            let line = line.strip_suffix(b"\r\n").unwrap();
            return Reply::Refused(String::from_utf8_lossy(line).into());
        }
        redis::parse_redis_value(reply).map_or(Reply::Unsure, Reply::Value)
    }

    /// Returns the response to the script, which the server may not know yet.
    fn script(&mut self, arguments: &[&str]) -> Reply {
        let call = |name| [&[name, "SCRIPT", "1", KEY], arguments].concat();
        match self.to(&call("EVALSHA")) {
            Reply::Refused(line) if code_of(&line) == "NOSCRIPT" => self.to(&call("EVAL")),
            reply => reply,
        }
    }
}

fn code_of(line: &str) -> &str {
    line.split(' ').next().unwrap()
}

/// Returns whether a server's error has this code, or wraps one of a script's command, as Redis
/// before 7.0 did: `ERR Error running script (..): @user_script:9: -OOM ..`.
fn has_code(line: &str, code: &str) -> bool {
    let wrapped = line
        .split_once(" Error running script ")
        .filter(|(outer, _)| !outer.contains(' '))
        .and_then(|(_, detail)| detail.split_once(": -"));
    code_of(line) == code || wrapped.is_some_and(|(_, inner)| code_of(inner) == code)
}

/// Returns whether the server does not know a command, or the user has no right to it. The same of
/// a script's command.
fn is_forbidden(line: &str) -> bool {
    let detail = line.split_once(' ').map_or("", |(_, detail)| detail);
    has_code(line, "NOPERM")
        || detail.starts_with("unknown command")
        || detail.contains(" has no permissions to run the '")
        || detail.starts_with("The user executing the script can't run this command")
}

fn words(command: &[&str]) -> Vec<String> {
    command.iter().map(ToString::to_string).collect()
}

/// What a key holds, from a response that is its value or nil.
fn found(reply: Reply, got: impl Fn(Found) -> Got) -> Expected {
    match reply {
        Reply::Value(Value::BulkString(value)) => {
            Expected::Got(got(Found::Value(Stored::new(value))))
        }
        Reply::Value(Value::Nil) => Expected::Got(got(Found::Missing)),
        Reply::Refused(line) if has_code(&line, "WRONGTYPE") => Expected::Got(got(Found::Foreign)),
        Reply::Value(_) | Reply::Refused(_) | Reply::None => Expected::Error,
        Reply::Unsure => Expected::Unsure,
    }
}

/// Nil says that the key held nothing, so the value was stored.
fn stored_or_found(reply: Reply, value: &'static str) -> Expected {
    found(reply, |found| match found {
        Found::Missing => Got::Write(Outcome::Written(Stored::new(value))),
        found => Got::Write(Outcome::Found(found)),
    })
}

/// Returns the conflict with what a key holds.
fn instead(reply: Reply) -> Expected {
    found(reply, |found| Got::Write(Outcome::Found(found)))
}

/// 1 says that the script wrote; everything else is what the key holds.
fn swapped(reply: Reply, value: &'static str) -> Expected {
    match reply {
        Reply::Value(Value::Int(1)) => {
            Expected::Got(Got::Write(Outcome::Written(Stored::new(value))))
        }
        reply => found(reply, |found| Got::Write(Outcome::Found(found))),
    }
}

/// Whether it is exactly one response of the kinds that RESP2 has besides lists.
fn is_one(reply: &[u8]) -> bool {
    let Some(end) = reply.windows(2).position(|two| two == b"\r\n") else {
        return false;
    };
    let line = &reply[..end];
    let rest = reply.len() - end - 2;
    match line.first() {
        Some(b'+' | b'-' | b':') => rest == 0 && line.is_ascii() && !line.contains(&b'\n'),
        Some(b'$') => match str::from_utf8(&line[1..]).map(str::parse::<i64>) {
            Ok(Ok(-1)) => rest == 0,
            Ok(Ok(len)) => {
                usize::try_from(len).is_ok_and(|len| rest == len + 2) && reply.ends_with(b"\r\n")
            }
            _ => false,
        },
        _ => false,
    }
}

/// The commands that a server was asked.
type Asked = Arc<Mutex<Vec<Vec<String>>>>;

async fn serve(mut stream: DuplexStream, replies: Vec<Vec<u8>>, asked: Asked) -> Option<()> {
    let mut question = vec![0; 4096];
    for reply in replies {
        let len = stream.read(&mut question).await.ok()?;
        if len == 0 {
            return None;
        }
        asked.lock().unwrap().push(command(&question[..len]));
        stream.write_all(&reply).await.ok()?;
        // The client would wait for the rest of a response that is not whole, for the rest of what
        // comes behind a response, and for a response after what was said unasked.
        if !is_one(&reply) || redis::parse_redis_value(&reply).is_err() {
            return None;
        }
    }
    None
}

/// Returns the words of a command, and `SCRIPT` for the script or its hash.
fn command(question: &[u8]) -> Vec<String> {
    let value = redis::parse_redis_value(question).unwrap();
    let mut words: Vec<String> = redis::from_redis_value(value).unwrap();
    if words[0].starts_with("EVAL") {
        words[1] = "SCRIPT".into();
    }
    words
}
