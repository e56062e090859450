//! What a memcached answers, over a real socket.

use std::cell::RefCell;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use session_core::{Backend as _, Create, ErrorKind, Replace, Result, Versioned};
use session_memcached::MemcachedBackend;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::LocalSet;

use super::input::Input;

const KEY: &str = "sid_0123456789abcdef";
const OTHER: &str = "sid_fedcba9876543210";
const OTHERS: &str = "VALUE sid_fedcba9876543210 0 5 9\r\nother\r\nEND\r\n";

/// Nothing may need it: where an answer is not whole, the server hangs up.
const BOUND: Duration = Duration::from_secs(20);

/// The input is a byte that says which call, one that says where an answer is cut into two packets, and
/// the answers, up to 0xff each. What fits is believed and its connection used again; what does not is
/// an error, and nobody ever reads from its connection again.
pub fn memcached(data: &[u8]) {
    let mut input = Input::new(data);
    let what = input.byte() % 5;
    let cut = usize::from(input.byte());
    let mut answers = Vec::new();
    while !input.is_empty() {
        answers.push(input.piece().to_vec());
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let all = LocalSet::new();
    all.block_on(&runtime, async {
        let socket = Socket::new();
        let listener = UnixListener::bind(&socket.0).unwrap();
        let log = Rc::new(RefCell::new(Vec::new()));
        tokio::task::spawn_local(accept(listener, answers, cut, log.clone()));
        let backend = MemcachedBackend::open(&format!("unix:{}", socket.0.display())).unwrap();
        let backend = backend.with_timeout(BOUND);
        let answer = ask(&backend, what).await;
        let said = std::mem::take(&mut *log.borrow_mut());
        let other = backend.read(OTHER).await.unwrap().unwrap();
        assert_eq!((&other.value[..], other.version), (&b"other"[..], 9));
        let after = log.borrow();
        let [(last, _)] = after[..] else {
            panic!("one question")
        };
        check(what, answer, &said);
        for at in 0..said.len() {
            let next = said.get(at + 1).map_or(last, |(next, _)| *next);
            let again = said[at].0 == next;
            let fits = matches!(said[at].1, Fit::Exact(_));
            assert_eq!(
                again, fits,
                "{:?}, and the connection was used: {again}",
                said[at].1
            );
        }
    });
}

/// What an answer says.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Says {
    Stored,
    Missing,
    Exists,
    Value(Vec<u8>, u64),
}

/// Whether it is an answer to the question.
#[derive(Clone, Debug)]
enum Fit {
    Exact(Says),
    /// There is more than that: which of both is seen depends on what comes first.
    More(Says),
    /// The rest is missing.
    Part,
    No,
}

#[derive(Clone, Copy)]
enum Question {
    Gets,
    Add,
    Cas,
}

async fn ask(backend: &MemcachedBackend, what: u8) -> Result<Got> {
    let was = Versioned {
        value: Bytes::from_static(b"was"),
        version: 7,
    };
    let value = Bytes::from_static(b"{}");
    let ttl = Some(Duration::from_secs(60));
    Ok(match what {
        0 => Got::Read(backend.read(KEY).await?.as_ref().map(pair)),
        1 => Got::Create(backend.create(KEY, value, ttl).await?),
        2 => replaced(backend.replace(KEY, value, None, &was).await?),
        3 => replaced(backend.delete(KEY, Some(&was)).await?),
        _ => replaced(backend.delete(KEY, None).await?),
    })
}

#[derive(Debug, Eq, PartialEq)]
enum Got {
    Read(Option<(Vec<u8>, u64)>),
    Create(Create),
    Done,
    Gone,
    Conflict((Vec<u8>, u64)),
}

fn pair(found: &Versioned) -> (Vec<u8>, u64) {
    (found.value.to_vec(), found.version)
}

fn replaced(answer: Replace) -> Got {
    match answer {
        Replace::Done => Got::Done,
        Replace::Gone => Got::Gone,
        Replace::Conflict(now) => Got::Conflict(pair(&now)),
    }
}

/// Compares with what the answers say, one after the other.
fn check(what: u8, answer: Result<Got>, said: &[(usize, Fit)]) {
    if let Err(error) = &answer {
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        let text = format!("{error:?}");
        assert!(
            !text.contains("0123456789abcdef") && !text.contains(" within "),
            "{text}"
        );
    }
    let is_ok = answer.is_ok();
    let mut said = said.iter().map(|(_, fit)| match fit {
        Fit::Exact(says) => Some(says.clone()),
        Fit::More(says) if is_ok => Some(says.clone()),
        _ => None,
    });
    let expected = expected(what, &mut said);
    assert_eq!(answer.ok(), expected);
    assert!(said.next().is_none(), "a question too many");
}

fn expected(what: u8, said: &mut impl Iterator<Item = Option<Says>>) -> Option<Got> {
    let mut next = || said.next().flatten();
    match (what, next()?) {
        (0, Says::Missing) => Some(Got::Read(None)),
        (0, Says::Value(value, unique)) => Some(Got::Read(Some((value, unique)))),
        (1, Says::Stored) => Some(Got::Create(Create::Done)),
        (1, Says::Exists) => Some(Got::Create(Create::Exists)),
        (2 | 3, Says::Stored) => Some(Got::Done),
        (2..=4, Says::Missing) => Some(Got::Gone),
        (2 | 3, Says::Exists) => match next()? {
            Says::Value(value, unique) => Some(Got::Conflict((value, unique))),
            _ => Some(Got::Gone),
        },
        (4, Says::Value(..)) => {
            for _ in 0..16 {
                if next()? == Says::Missing {
                    return Some(Got::Done);
                }
            }
            None
        }
        (what, says) => panic!("{what}: {says:?}"),
    }
}

/// Reads an answer as memcached's `doc/protocol.txt` says it, the whole in view.
fn fit(question: Question, answer: &[u8]) -> Fit {
    let Some(end) = answer.iter().position(|b| *b == b'\n') else {
        return Fit::Part;
    };
    let Some(line) = answer[..end].strip_suffix(b"\r") else {
        return Fit::No;
    };
    let rest = &answer[end + 1..];
    let says = match (question, line) {
        (Question::Add | Question::Cas, b"STORED") => Says::Stored,
        (Question::Add, b"NOT_STORED") | (Question::Cas, b"EXISTS") => Says::Exists,
        (Question::Cas, b"NOT_FOUND") | (Question::Gets, b"END") => Says::Missing,
        (Question::Gets, line) => return value(line, rest),
        _ => return Fit::No,
    };
    if rest.is_empty() {
        Fit::Exact(says)
    } else {
        Fit::More(says)
    }
}

fn value(line: &[u8], rest: &[u8]) -> Fit {
    let line = String::from_utf8_lossy(line);
    let words: Vec<&str> = line.split(' ').collect();
    let ["VALUE", KEY, flags, len, unique] = words[..] else {
        return Fit::No;
    };
    let (Ok(flags), Ok(len), Ok(unique)) =
        (flags.parse::<u32>(), len.parse::<usize>(), unique.parse())
    else {
        return Fit::No;
    };
    if len > 64 << 20 {
        return Fit::No;
    }
    if rest.len() < len + 7 {
        return Fit::Part;
    }
    // 0: it runs without cas.
    if unique == 0 || !rest[len..].starts_with(b"\r\nEND\r\n") {
        return Fit::No;
    }
    // Flags: another program's.
    let says = match flags {
        0 => Says::Value(rest[..len].to_vec(), unique),
        _ => Says::Value(Vec::new(), 0),
    };
    if rest.len() == len + 7 {
        Fit::Exact(says)
    } else {
        Fit::More(says)
    }
}

/// Which connection a question came on, and whether what was said fits it.
type Log = Rc<RefCell<Vec<(usize, Fit)>>>;

async fn accept(listener: UnixListener, answers: Vec<Vec<u8>>, cut: usize, log: Log) {
    let answers = Rc::new(RefCell::new(answers.into_iter()));
    for number in 0.. {
        let (stream, _) = listener.accept().await.unwrap();
        tokio::task::spawn_local(serve(stream, number, answers.clone(), cut, log.clone()));
    }
}

async fn serve(
    mut stream: UnixStream,
    number: usize,
    answers: Rc<RefCell<impl Iterator<Item = Vec<u8>>>>,
    cut: usize,
    log: Log,
) -> Option<()> {
    let mut question = vec![0; 1024];
    loop {
        let len = stream.read(&mut question).await.ok()?;
        if len == 0 {
            return None;
        }
        let asked = match str::from_utf8(&question[..len]).unwrap() {
            text if text == format!("gets {OTHER}\r\n") => {
                log.borrow_mut().push((number, Fit::No));
                stream.write_all(OTHERS.as_bytes()).await.ok()?;
                continue;
            }
            text if text == format!("gets {KEY}\r\n") => Question::Gets,
            text if text == format!("delete {KEY} noreply\r\ngets {KEY}\r\n") => Question::Gets,
            text if text == format!("add {KEY} 0 60 2\r\n{{}}\r\n") => Question::Add,
            text if text.starts_with(&format!("cas {KEY} 0 ")) => Question::Cas,
            text => panic!("no command of ours: {text:?}"),
        };
        let answer = answers.borrow_mut().next();
        let fit = answer
            .as_ref()
            .map_or(Fit::Part, |answer| fit(asked, answer));
        log.borrow_mut().push((number, fit.clone()));
        let answer = answer?;
        // What comes unasked comes with the answer: later ones are a test of the pool's, with a clock.
        let cut = match fit {
            Fit::More(_) => answer.len(),
            _ => cut.min(answer.len()),
        };
        let (first, second) = answer.split_at(cut);
        stream.write_all(first).await.ok()?;
        tokio::task::yield_now().await;
        stream.write_all(second).await.ok()?;
        if let Fit::Part = fit {
            return None; // it would wait for the rest
        }
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
