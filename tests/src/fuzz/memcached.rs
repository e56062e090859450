//! What a memcached responds, over a real socket.

use std::cell::RefCell;
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use session_core::keyed::{Backend as _, Found, OnlyIf, Outcome, Stored, Write};
use session_core::{ErrorKind, Result};
use session_memcached::MemcachedBackend;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::LocalSet;

use super::input::Input;

const KEY: &str = "sid_0123456789abcdef";
const OTHER: &str = "sid_fedcba9876543210";
const OTHERS: &str = "VALUE sid_fedcba9876543210 0 5 9\r\nother\r\nEND\r\n";

/// Nothing may need it: where a response is not whole, the server hangs up.
const BOUND: Duration = Duration::from_secs(20);

/// No first line of a response is longer.
const MAX_LINE: usize = 1024;

/// What a call writes: a record or a tombstone.
const RECORD: &str = "{}";
const TOMBSTONE: &str = "{ }";

/// What the key held when the caller read it, and its version.
const WAS: &str = "was";
const VERSION: NonZeroU64 = NonZeroU64::new(7).unwrap();

/// A time of January 1970. What is stored with it has expired already.
const EXPIRED: u32 = 2_592_001;

/// The input is a byte that selects the call, a byte that says where a reply is cut into two
/// packets, and the replies, each up to 0xff. A reply that fits is believed, and its connection is
/// used again. After a part of a reply the server hangs up, and the command is repeated once. Any
/// other reply is an error, and no later call reads from its connection.
pub fn memcached(data: &[u8]) {
    let mut input = Input::new(data);
    let case = CASES[usize::from(input.byte()) % CASES.len()];
    let cut = usize::from(input.byte());
    let mut replies = Vec::new();
    while !input.is_empty() {
        replies.push(input.piece().to_vec());
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let all = LocalSet::new();
    all.block_on(&runtime, async {
        let socket = Socket::new();
        let listener = UnixListener::bind(&socket.0).unwrap();
        let log = Log::default();
        tokio::task::spawn_local(accept(listener, replies, cut, log.clone()));
        let backend = MemcachedBackend::open(&format!("unix:{}", socket.0.display())).unwrap();
        let backend = backend.with_timeout(BOUND);
        let reply = ask(&backend, case).await;
        let said = std::mem::take(&mut *log.borrow_mut());
        let other = Stored::with_version("other", NonZeroU64::new(9).unwrap());
        assert_eq!(backend.read(OTHER).await.unwrap(), Found::Value(other));
        let after = log.borrow();
        let [last] = &after[..] else {
            panic!("one question")
        };
        check(case, reply, &said);
        for at in 0..said.len() {
            let next = said.get(at + 1).unwrap_or(last);
            let again = said[at].connection == next.connection;
            let fits = matches!(said[at].fit, Fit::Exact(_));
            assert_eq!(
                again, fits,
                "{:?}, and the connection was used: {again}",
                said[at].fit
            );
        }
    });
}

/// What a response says.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Says {
    Stored,
    Missing,
    Exists,
    Value(Vec<u8>, NonZeroU64),
    Foreign,
    /// There is no memory.
    Full,
}

/// Whether it is a response to the question.
#[derive(Clone, Debug)]
enum Fit {
    Exact(Says),
    /// There is more than that: which of both is seen depends on what comes first.
    More(Says),
    /// The rest is missing.
    Part,
    /// The server takes no value of this size.
    TooLarge,
    No,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Question {
    Gets,
    Add(Value),
    Cas(Value, u64),
    /// `gets` of the other key.
    Other,
}

/// What a command stores.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Value {
    Record,
    /// A record without a time to live.
    Unlimited,
    Tombstone,
    /// So many spaces, which have expired already.
    Expired(usize),
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
    Write { write: Value, only_if: Condition },
}

#[derive(Clone, Copy)]
enum Condition {
    Missing,
    /// The key holds `was`, and the caller knows its version.
    Version,
    /// The key holds `was`. The caller knows no version.
    Value,
}

/// The calls, in the order of the input's first byte.
const CASES: [Case; 7] = [
    Case::Read,
    Case::write(Value::Record, Condition::Missing),
    Case::write(Value::Unlimited, Condition::Version),
    Case::write(Value::Tombstone, Condition::Version),
    Case::write(Value::Tombstone, Condition::Value),
    Case::write(Value::Tombstone, Condition::Missing),
    Case::write(Value::Record, Condition::Value),
];

impl Case {
    const fn write(write: Value, only_if: Condition) -> Self {
        Self::Write { write, only_if }
    }
}

async fn ask(backend: &MemcachedBackend, case: Case) -> Result<Got> {
    let Case::Write { write, only_if } = case else {
        return Ok(Got::Read(backend.read(KEY).await?));
    };
    let minute = Duration::from_secs(60);
    let write = match write {
        Value::Unlimited => Write::record(RECORD, None),
        Value::Tombstone => Write::tombstone(TOMBSTONE, minute),
        Value::Record | Value::Expired(_) => Write::record(RECORD, Some(minute)),
    };
    let was = match only_if {
        Condition::Missing => None,
        Condition::Version => Some(Stored::with_version(WAS, VERSION)),
        Condition::Value => Some(Stored::new(WAS)),
    };
    let only_if = was.as_ref().map_or(OnlyIf::Missing, OnlyIf::Unchanged);
    Ok(Got::Write(backend.write(KEY, write, only_if).await?))
}

/// Compares with what the responses say, one after the other.
fn check(case: Case, reply: Result<Got>, said: &[Exchange]) {
    if let Err(error) = &reply {
        let text = format!("{error:?}");
        assert!(
            !text.contains("0123456789abcdef") && !text.contains(" within "),
            "{text}"
        );
    }
    let mut said = Said {
        left: said.iter(),
        is_ok: reply.is_ok(),
        has_repeated_write: false,
    };
    let expected = said.expected(case);
    assert_eq!(reply.map_err(|error| error.kind()), expected);
    assert!(said.left.next().is_none(), "a question too many");
}

/// What was said, and what should come of it.
struct Said<'a> {
    left: std::slice::Iter<'a, Exchange>,
    /// The call succeeded, so what had more behind it was believed.
    is_ok: bool,
    has_repeated_write: bool,
}

type Expected<T> = std::result::Result<T, ErrorKind>;

impl Said<'_> {
    /// Returns the response to the next question, which must be this one.
    fn next(&mut self, question: Question) -> Expected<Says> {
        let mut exchange = self.left.next().ok_or(ErrorKind::Unavailable)?;
        assert_eq!(exchange.question, question);
        if let Fit::Part = exchange.fit {
            self.has_repeated_write |= question != Question::Gets;
            exchange = self.left.next().expect("the command is repeated");
            assert_eq!(exchange.question, question);
        }
        match &exchange.fit {
            Fit::Exact(says) => Ok(says.clone()),
            Fit::More(says) if self.is_ok => Ok(says.clone()),
            Fit::TooLarge => Err(ErrorKind::TooLarge),
            Fit::More(_) | Fit::Part | Fit::No => Err(ErrorKind::Unavailable),
        }
    }

    fn expected(&mut self, case: Case) -> Expected<Got> {
        let Case::Write { write, only_if } = case else {
            return self.gets().map(Got::Read);
        };
        let outcome = match only_if {
            Condition::Missing => self.add(write),
            Condition::Version => self.cas(write, VERSION),
            Condition::Value => match self.gets()? {
                Found::Value(now) if now.value() == WAS => self.cas(write, now.version().unwrap()),
                found => Ok(Outcome::Found(found)),
            },
        };
        outcome.map(Got::Write)
    }

    fn gets(&mut self) -> Expected<Found> {
        match self.next(Question::Gets)? {
            Says::Value(value, version) => Ok(Found::Value(Stored::with_version(value, version))),
            Says::Foreign => Ok(Found::Foreign),
            Says::Missing => Ok(Found::Missing),
            says => panic!("{says:?} to gets"),
        }
    }

    fn add(&mut self, value: Value) -> Expected<Outcome> {
        for _ in 0..2 {
            match self.next(Question::Add(value))? {
                Says::Stored => return Ok(written(value)),
                Says::Exists => match self.gets()? {
                    Found::Missing => {} // it expired, so it is added once more
                    found => return Ok(self.conflict(value, found)),
                },
                Says::Full if value == Value::Tombstone => {
                    return Ok(match self.gets()? {
                        Found::Missing => written(value),
                        found => self.conflict(value, found),
                    });
                }
                Says::Full => break,
                says => panic!("{says:?} to add"),
            }
        }
        Err(ErrorKind::Unavailable)
    }

    fn cas(&mut self, value: Value, version: NonZeroU64) -> Expected<Outcome> {
        // Where there is no memory for a tombstone, values that have expired are tried in its
        // place.
        let sizes = match value {
            Value::Tombstone => &[4 << 10, 64 << 10, 256 << 10][..],
            _ => &[],
        };
        let more = sizes.iter().map(|size| Value::Expired(*size));
        for (at, stored) in std::iter::once(value).chain(more).enumerate() {
            match self.next(Question::Cas(stored, version.get())) {
                Ok(Says::Stored) => return Ok(written(value)),
                Ok(Says::Exists) => {
                    let found = self.gets()?;
                    return Ok(self.conflict(value, found));
                }
                Ok(Says::Missing) => return Ok(Outcome::Found(Found::Missing)),
                Ok(Says::Full) => {}
                Ok(says) => panic!("{says:?} to cas"),
                Err(ErrorKind::TooLarge) if at > 0 => break,
                Err(kind) => return Err(kind),
            }
        }
        Err(ErrorKind::Unavailable)
    }

    /// A write whose first response was lost has stored what it finds, if that is its value.
    fn conflict(&self, value: Value, found: Found) -> Outcome {
        match found {
            Found::Value(now) if self.has_repeated_write && now.value() == text(value) => {
                Outcome::Written(now)
            }
            found => Outcome::Found(found),
        }
    }
}

/// memcached does not tell the version of what it stored.
fn written(value: Value) -> Outcome {
    Outcome::Written(Stored::new(text(value)))
}

fn text(value: Value) -> &'static str {
    match value {
        Value::Tombstone => TOMBSTONE,
        _ => RECORD,
    }
}

/// Reads a response as memcached's `doc/protocol.txt` says it, the whole in view.
fn fit(question: Question, reply: &[u8]) -> Fit {
    let Some(end) = reply.iter().position(|b| *b == b'\n') else {
        return if reply.len() < MAX_LINE {
            Fit::Part
        } else {
            Fit::No
        };
    };
    let Some(line) = reply[..end].strip_suffix(b"\r") else {
        return Fit::No;
    };
    let rest = &reply[end + 1..];
    let Ok(text) = str::from_utf8(line) else {
        return Fit::No;
    };
    let says = match (question, line) {
        (Question::Add(_) | Question::Cas(..), b"STORED") => Says::Stored,
        (Question::Add(_), b"NOT_STORED") | (Question::Cas(..), b"EXISTS") => Says::Exists,
        (Question::Cas(..), b"NOT_FOUND") | (Question::Gets, b"END") => Says::Missing,
        (Question::Add(_) | Question::Cas(..), _)
            if text.trim_end() == "SERVER_ERROR out of memory storing object" =>
        {
            Says::Full
        }
        _ if is_too_large(text) && rest.is_empty() => return Fit::TooLarge,
        (Question::Gets, _) => return value(text, rest),
        _ => return Fit::No,
    };
    if rest.is_empty() {
        Fit::Exact(says)
    } else {
        Fit::More(says)
    }
}

/// Returns whether the line begins with `SERVER_ERROR object too large`, with any white space.
fn is_too_large(line: &str) -> bool {
    let words: Vec<&str> = line.split_whitespace().take(4).collect();
    let is_harmless = |c: char| c.is_ascii_alphanumeric() || "'`.,:;>-_/()@".contains(c);
    line.starts_with("SERVER_ERROR ")
        && matches!(words[..], ["SERVER_ERROR", "object", "too", large]
            if large.starts_with("large") && large.len() <= 15 && large.chars().all(is_harmless))
}

fn value(line: &str, rest: &[u8]) -> Fit {
    let words: Vec<&str> = line.split(' ').collect();
    let ["VALUE", KEY, flags, len, unique] = words[..] else {
        return Fit::No;
    };
    let (Ok(flags), Ok(len), Ok(unique)) = (
        flags.parse::<u32>(),
        len.parse::<usize>(),
        unique.parse::<u64>(),
    ) else {
        return Fit::No;
    };
    if len > 64 << 20 {
        return Fit::No;
    }
    if rest.len() < len + 7 {
        return Fit::Part;
    }
    if !rest[len..].starts_with(b"\r\nEND\r\n") {
        return Fit::No;
    }
    let Some(version) = NonZeroU64::new(unique) else {
        return Fit::No; // it runs without cas
    };
    // Flags: another program's.
    let says = match flags {
        0 => Says::Value(rest[..len].to_vec(), version),
        _ => Says::Foreign,
    };
    if rest.len() == len + 7 {
        Fit::Exact(says)
    } else {
        Fit::More(says)
    }
}

/// A question, the connection that it came on, and whether what was said fits it.
#[derive(Debug)]
struct Exchange {
    connection: usize,
    question: Question,
    fit: Fit,
}

type Log = Rc<RefCell<Vec<Exchange>>>;

async fn accept(listener: UnixListener, replies: Vec<Vec<u8>>, cut: usize, log: Log) {
    let replies = Rc::new(RefCell::new(replies.into_iter()));
    for number in 0.. {
        let (stream, _) = listener.accept().await.unwrap();
        tokio::task::spawn_local(serve(stream, number, replies.clone(), cut, log.clone()));
    }
}

async fn serve(
    mut stream: UnixStream,
    connection: usize,
    replies: Rc<RefCell<impl Iterator<Item = Vec<u8>>>>,
    cut: usize,
    log: Log,
) -> Option<()> {
    loop {
        let question = question(&mut stream).await?;
        let note = |fit| {
            log.borrow_mut().push(Exchange {
                connection,
                question,
                fit,
            });
        };
        if question == Question::Other {
            note(Fit::No);
            stream.write_all(OTHERS.as_bytes()).await.ok()?;
            continue;
        }
        let reply = replies.borrow_mut().next();
        let fit = reply
            .as_ref()
            .map_or(Fit::Part, |reply| fit(question, reply));
        note(fit.clone());
        let reply = reply?;
        // What comes unasked comes with the response: later ones are a test of the pool's, with a
        // clock.
        let cut = match fit {
            Fit::More(_) => reply.len(),
            _ => cut.min(reply.len()),
        };
        let (first, second) = reply.split_at(cut);
        stream.write_all(first).await.ok()?;
        tokio::task::yield_now().await;
        stream.write_all(second).await.ok()?;
        if let Fit::Part = fit {
            return None; // it would wait for the rest
        }
    }
}

/// Reads one command, which arrives whole but not at once; `None`: the client hung up.
async fn question(stream: &mut UnixStream) -> Option<Question> {
    let mut text = Vec::new();
    let mut buffer = vec![0; 4096];
    loop {
        match stream.read(&mut buffer).await.ok()? {
            0 if text.is_empty() => return None,
            0 => panic!("half a command: {}", String::from_utf8_lossy(&text)),
            len => text.extend_from_slice(&buffer[..len]),
        }
        let Some(end) = text.windows(2).position(|two| two == b"\r\n") else {
            continue;
        };
        let (line, rest) = (str::from_utf8(&text[..end]).unwrap(), &text[end + 2..]);
        let words: Vec<&str> = line.split(' ').collect();
        let (len, exptime, of): (_, _, fn(_, _) -> _) = match words[..] {
            ["gets", KEY] if rest.is_empty() => return Some(Question::Gets),
            ["gets", OTHER] if rest.is_empty() => return Some(Question::Other),
            ["add", KEY, "0", exptime, len] => (len, exptime, |value, _| Question::Add(value)),
            ["cas", KEY, "0", exptime, len, _] => (len, exptime, Question::Cas),
            _ => panic!("no command of ours: {line:?}"),
        };
        let len: usize = len.parse().unwrap();
        if rest.len() < len + 2 {
            continue;
        }
        let stored = rest.strip_suffix(b"\r\n").unwrap();
        assert_eq!(stored.len(), len);
        let value = match exptime.parse().unwrap() {
            60 if stored == RECORD.as_bytes() => Value::Record,
            0 if stored == RECORD.as_bytes() => Value::Unlimited,
            60 if stored == TOMBSTONE.as_bytes() => Value::Tombstone,
            EXPIRED if stored.iter().all(|b| *b == b' ') => Value::Expired(len),
            exptime => panic!("{len} bytes for {exptime}"),
        };
        let version = words.get(5).map_or(0, |version| version.parse().unwrap());
        return Some(of(value, version));
    }
}

/// The path of a socket, of which nothing is left.
struct Socket(PathBuf);

impl Socket {
    fn new() -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("session-fuzz-{}-{number}", std::process::id());
        Self(std::env::temp_dir().join(name))
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}
