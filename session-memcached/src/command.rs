use std::io;

use memcache_async::ascii::Protocol;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::exchange::{Exchange, Expected};

/// What memcached is asked to do with one key. All of it is acknowledged.
#[derive(Clone, Copy)]
pub(crate) enum Command<'a> {
    /// `gets`
    Get,
    /// `add`
    Add { value: &'a [u8], exptime: u32 },
    /// `cas`
    CompareAndSwap {
        value: &'a [u8],
        exptime: u32,
        unique: u64,
    },
    /// `delete`, which memcache-async does not wait for, and `gets`, whose answer says that the server
    /// has carried out both.
    Delete,
}

/// What it said.
pub(crate) enum Answer {
    Stored,
    /// Nothing is stored under the key.
    Missing,
    /// `add` found something, or `cas` something else.
    Exists,
    Value {
        value: Vec<u8>,
        unique: u64,
    },
}

/// Asks on `stream`, and waits for the whole answer. After an error the stream is in a state that
/// nobody knows, after `Ok` it is ready for the next command.
pub(crate) async fn ask<S>(stream: &mut S, key: &str, command: Command<'_>) -> io::Result<Answer>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (expected, value): (_, &[u8]) = match command {
        Command::Get | Command::Delete => (Expected::Value(key), b""),
        Command::Add { value, .. } => (Expected::Line(&["STORED", "NOT_STORED"]), value),
        Command::CompareAndSwap { value, .. } => {
            (Expected::Line(&["STORED", "EXISTS", NOT_FOUND]), value)
        }
    };
    let words = 64; // more than the command's name and its numbers have
    let mut exchange = Exchange::new(stream, expected, words + key.len() + value.len());
    let mut protocol = Protocol::new(&mut exchange);
    let answer = match command {
        Command::Get => get(&mut protocol, key).await,
        Command::Delete => {
            protocol.delete(key).await?;
            get(&mut protocol, key).await
        }
        Command::Add { value, exptime } => match protocol.add(key, value, exptime).await {
            Ok(()) => Ok(Answer::Stored),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(Answer::Exists),
            Err(error) => Err(error),
        },
        Command::CompareAndSwap {
            value,
            exptime,
            unique,
        } => match protocol.cas(key, value, unique, exptime).await {
            Ok(true) => Ok(Answer::Stored),
            Ok(false) => Ok(Answer::Exists),
            Err(error) if is_not_found(&error) => Ok(Answer::Missing),
            Err(error) => Err(error),
        },
    }?;
    if !exchange.is_complete() {
        return Err(io::ErrorKind::InvalidData.into());
    }
    Ok(match answer {
        // Another program's: not a session, and left alone, as no compare-and-swap meets 0.
        Answer::Value { .. } if exchange.is_foreign() => Answer::Value {
            value: Vec::new(),
            unique: 0,
        },
        answer => answer,
    })
}

async fn get<S>(protocol: &mut Protocol<S>, key: &str) -> io::Result<Answer>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    match protocol.gets_cas(key).await {
        Ok((_, 0)) => Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "memcached runs with -C, without the cas that sessions need",
        )),
        Ok((value, unique)) => Ok(Answer::Value { value, unique }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Answer::Missing),
        Err(error) => Err(error),
    }
}

const NOT_FOUND: &str = "NOT_FOUND";

/// memcache-async 0.10 looks for `NOT FOUND`, and hands on what memcached really says as an error of
/// no particular kind.
fn is_not_found(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
        || error
            .get_ref()
            .is_some_and(|cause| cause.to_string().trim_end() == NOT_FOUND)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio::time::timeout;

    use super::*;

    const KEY: &str = "sid_0123456789abcdef";

    const UNFIT: &str = "error: an answer that does not fit the command";

    const ADD: Command<'_> = Command::Add {
        value: b"v",
        exptime: 60,
    };
    const SWAP: Command<'_> = Command::CompareAndSwap {
        value: b"v",
        exptime: 60,
        unique: 7,
    };

    fn said(answer: io::Result<Answer>) -> String {
        match answer {
            Ok(Answer::Stored) => "stored".into(),
            Ok(Answer::Missing) => "missing".into(),
            Ok(Answer::Exists) => "exists".into(),
            Ok(Answer::Value { value, unique }) => {
                format!("{} of {unique}", String::from_utf8_lossy(&value))
            }
            Err(error) => format!("error: {error}"),
        }
    }

    /// Asks a server that answers in these pieces, each in a packet of its own, and closes.
    async fn asked(command: Command<'_>, pieces: &[&str]) -> (String, String) {
        let (mut ours, mut theirs) = duplex(64 * 1024);
        let server = async {
            let mut question = vec![0; 4096];
            let len = theirs.read(&mut question).await.unwrap_or_default();
            for piece in pieces {
                let _ = theirs.write_all(piece.as_bytes()).await;
                tokio::task::yield_now().await;
            }
            drop(theirs);
            String::from_utf8_lossy(&question[..len]).into_owned()
        };
        let (answer, question) = tokio::join!(ask(&mut ours, KEY, command), server);
        (said(answer), question)
    }

    #[tokio::test]
    async fn each_command_leaves_in_one_piece_and_takes_its_own_answers() {
        let value = format!("VALUE {KEY} 0 2 7\r\n{{}}\r\nEND\r\n");
        for (command, question, answers) in [
            (
                Command::Get,
                format!("gets {KEY}\r\n"),
                vec![(&*value, "{} of 7"), ("END\r\n", "missing")],
            ),
            (
                ADD,
                format!("add {KEY} 0 60 1\r\nv\r\n"),
                vec![("STORED\r\n", "stored"), ("NOT_STORED\r\n", "exists")],
            ),
            (
                SWAP,
                format!("cas {KEY} 0 60 1 7\r\nv\r\n"),
                vec![
                    ("STORED\r\n", "stored"),
                    ("EXISTS\r\n", "exists"),
                    ("NOT_FOUND\r\n", "missing"),
                ],
            ),
            (
                Command::Delete,
                format!("delete {KEY} noreply\r\ngets {KEY}\r\n"),
                vec![(&*value, "{} of 7"), ("END\r\n", "missing")],
            ),
        ] {
            for (answer, expected) in answers {
                assert_eq!(
                    asked(command, &[answer]).await,
                    (expected.to_owned(), question.clone())
                );
            }
        }
    }

    #[tokio::test]
    async fn an_answer_may_come_byte_by_byte() {
        let value = format!("VALUE {KEY} 0 9 7\r\na\r\nEND\r\nb\r\nEND\r\n");
        let pieces: Vec<&str> = value.split("").collect();
        assert_eq!(asked(Command::Get, &pieces).await.0, "a\r\nEND\r\nb of 7");
        for cut in 0..value.len() {
            let (head, _) = value.split_at(cut);
            let answer = asked(Command::Get, &[head]).await.0;
            assert!(answer.starts_with("error: "), "{cut}: {answer}");
        }
    }

    #[tokio::test]
    async fn an_answer_to_something_else_is_an_error() {
        let other = "VALUE sid_of_another 0 2 7\r\n{}\r\nEND\r\n";
        let value = format!("VALUE {KEY} 0 2 7\r\n{{}}\r\nEND\r\n");
        let longer = format!("{value}STORED\r\n");
        let wrong_end = format!("VALUE {KEY} 0 2 7\r\n{{}}\r\nEND\r!");
        let too_long = format!("VALUE {KEY} 0 99999999999 7\r\n");
        let no_unique = format!("VALUE {KEY} 0 2\r\n{{}}\r\nEND\r\n");
        let without_cas = format!("VALUE {KEY} 0 2 0\r\n{{}}\r\nEND\r\n");
        let endless = "x".repeat(5000);
        for answer in [
            other,
            "STORED\r\n",
            "NOT_FOUND\r\n",
            &longer,
            &wrong_end,
            &too_long,
            &no_unique,
            &endless,
            "END\n",
            "\r\n",
        ] {
            for command in [Command::Get, Command::Delete] {
                assert_eq!(asked(command, &[answer]).await.0, UNFIT, "{answer:?}");
            }
        }
        for answer in [
            &value,
            "END\r\n",
            "DELETED\r\n",
            "STORED\r\nSTORED\r\n",
            "STORED\n",
        ] {
            for command in [ADD, SWAP] {
                assert_eq!(asked(command, &[answer]).await.0, UNFIT, "{answer:?}");
            }
        }
        let said = asked(Command::Get, &[&without_cas]).await.0;
        assert!(said.contains("memcached runs with -C"), "{said}");
        assert!(asked(ADD, &["EXISTS\r\n"]).await.0.starts_with("error: "));
        assert!(
            asked(SWAP, &["NOT_STORED\r\n"])
                .await
                .0
                .starts_with("error: ")
        );
        for line in [
            "ERROR",
            "CLIENT_ERROR bad data",
            "SERVER_ERROR out of memory",
        ] {
            for command in [Command::Get, ADD, SWAP, Command::Delete] {
                let said = asked(command, &[line, "\r\n"]).await.0;
                assert!(said.starts_with("error: "), "{line}: {said}");
            }
        }
    }

    #[tokio::test]
    async fn another_programs_value_is_no_session() {
        let value = format!("VALUE {KEY} 16 2 7\r\n{{}}\r\nEND\r\n");
        assert_eq!(asked(Command::Get, &[&value]).await.0, " of 0");
    }

    #[tokio::test]
    async fn a_question_that_is_dropped_takes_nothing_of_a_later_answer() {
        let (mut ours, mut theirs): (DuplexStream, DuplexStream) = duplex(64);
        let value = format!("VALUE {KEY} 0 2 7\r\n{{}}\r\nEND\r\n");
        for read_so_far in [0, 5, value.len() - 1] {
            let dropped = ask(&mut ours, KEY, Command::Get);
            let server = async {
                let mut question = [0; 64];
                let _ = theirs.read(&mut question).await;
                let _ = theirs.write_all(&value.as_bytes()[..read_so_far]).await;
                std::future::pending::<()>().await;
            };
            let both = async { tokio::join!(dropped, server) };
            let nothing = timeout(Duration::from_millis(20), both).await;
            assert!(nothing.is_err(), "half an answer was taken for one");
            // The pool closes such a stream. Were it used again, the rest would be no answer.
            let rest = &value[read_so_far..];
            let server = theirs.write_all(rest.as_bytes());
            let next = ask(&mut ours, "sid_another", ADD);
            let (next, _) = tokio::join!(timeout(Duration::from_secs(5), next), server);
            let next = said(next.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())));
            assert!(next.starts_with("error: "), "{next}");
            (ours, theirs) = duplex(64);
        }
    }
}
