use std::io;
use std::num::NonZeroU64;

use memcache_async::ascii::Protocol;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::failure::OUT_OF_MEMORY;
use crate::round_trip::{Expected, RoundTrip};

/// A command on one key. memcached acknowledges each of them.
#[derive(Clone, Copy)]
pub(crate) enum Command<'a> {
    /// `gets`: read the value and its version.
    Gets,
    /// `add`: store the value if the key holds nothing.
    Add { value: &'a [u8], exptime: u32 },
    /// `cas`: store the value if the key still holds this version.
    Cas {
        value: &'a [u8],
        exptime: u32,
        version: NonZeroU64,
    },
}

/// memcached's response to a command.
pub(crate) enum Response {
    /// To `add` and `cas`: the value is stored.
    Stored,
    /// `add` found something at the key, or `cas` another version.
    Exists,
    /// To `gets` and `cas`: the key holds nothing.
    Missing,
    /// To `gets`: the value and its version, memcached's cas unique.
    Value { value: Vec<u8>, version: NonZeroU64 },
    /// To `gets`: a value with flags, which another program has stored.
    Foreign,
    /// To `add` and `cas`: there is no memory for a value of this size. memcached looks for memory
    /// before it looks at the key.
    OutOfMemory,
}

/// Sends `command` on `stream` and waits for the whole response.
///
/// After `Ok` the stream is ready for the next command. After an error its state is not known.
pub(crate) async fn send<S>(stream: &mut S, key: &str, command: Command<'_>) -> io::Result<Response>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (expected, value): (_, &[u8]) = match command {
        Command::Gets => (Expected::Value(key), b""),
        Command::Add { value, .. } => (Expected::Line(&["STORED", "NOT_STORED"]), value),
        Command::Cas { value, .. } => (Expected::Line(&["STORED", "EXISTS", NOT_FOUND]), value),
    };
    let words = 64; // more than the command's name and its numbers need
    let mut round_trip = RoundTrip::new(stream, expected, words + key.len() + value.len());
    let mut protocol = Protocol::new(&mut round_trip);
    let response = match command {
        Command::Gets => gets(&mut protocol, key).await,
        Command::Add { value, exptime } => match protocol.add(key, value, exptime).await {
            Ok(()) => Ok(Response::Stored),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(Response::Exists),
            Err(error) if is_line(&error, OUT_OF_MEMORY) => Ok(Response::OutOfMemory),
            Err(error) => Err(error),
        },
        Command::Cas {
            value,
            exptime,
            version,
        } => match protocol.cas(key, value, version.get(), exptime).await {
            Ok(true) => Ok(Response::Stored),
            Ok(false) => Ok(Response::Exists),
            Err(error) if is_not_found(&error) => Ok(Response::Missing),
            Err(error) if is_line(&error, OUT_OF_MEMORY) => Ok(Response::OutOfMemory),
            Err(error) => Err(error),
        },
    }?;
    if !round_trip.is_complete() {
        return Err(io::ErrorKind::InvalidData.into());
    }
    Ok(match response {
        Response::Value { .. } if round_trip.is_foreign() => Response::Foreign,
        response => response,
    })
}

async fn gets<S>(protocol: &mut Protocol<S>, key: &str) -> io::Result<Response>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    match protocol.gets_cas(key).await {
        Ok((value, version)) => match NonZeroU64::new(version) {
            Some(version) => Ok(Response::Value { value, version }),
            None => Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "memcached runs with -C, without the cas that sessions need",
            )),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Response::Missing),
        Err(error) => Err(error),
    }
}

const NOT_FOUND: &str = "NOT_FOUND";

/// Returns whether `cas` found nothing. memcache-async 0.10 compares with `NOT FOUND`, so it does
/// not recognize memcached's response.
fn is_not_found(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || is_line(error, NOT_FOUND)
}

/// Returns whether memcached responded with `line`, which memcache-async reports as an error.
fn is_line(error: &io::Error, line: &str) -> bool {
    let response = error.get_ref().map(ToString::to_string);
    response.is_some_and(|response| response.trim_end() == line)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio::time::timeout;

    use super::*;

    const KEY: &str = "sid_0123456789abcdef";

    const MISMATCH: &str = "error: a response that does not fit the command";

    const ADD: Command<'_> = Command::Add {
        value: b"v",
        exptime: 60,
    };
    const CAS: Command<'_> = Command::Cas {
        value: b"v",
        exptime: 60,
        version: NonZeroU64::new(7).expect("it is not zero"),
    };

    fn describe(response: io::Result<Response>) -> String {
        match response {
            Ok(Response::Stored) => "stored".into(),
            Ok(Response::Exists) => "exists".into(),
            Ok(Response::Missing) => "missing".into(),
            Ok(Response::Value { value, version }) => {
                format!("{} of {version}", String::from_utf8_lossy(&value))
            }
            Ok(Response::Foreign) => "foreign".into(),
            Ok(Response::OutOfMemory) => "out of memory".into(),
            Err(error) => format!("error: {error}"),
        }
    }

    /// Sends `command` to a server that responds with these pieces, each in a packet of its own,
    /// and closes. Returns the result and the request.
    async fn exchange(command: Command<'_>, pieces: &[&str]) -> (String, String) {
        let (mut ours, mut theirs) = duplex(64 * 1024);
        let server = async {
            let mut request = vec![0; 4096];
            let len = theirs.read(&mut request).await.unwrap_or_default();
            for piece in pieces {
                let _ = theirs.write_all(piece.as_bytes()).await;
                tokio::task::yield_now().await;
            }
            drop(theirs);
            String::from_utf8_lossy(&request[..len]).into_owned()
        };
        let (response, request) = tokio::join!(send(&mut ours, KEY, command), server);
        (describe(response), request)
    }

    #[tokio::test]
    async fn each_command_is_sent_in_one_piece_and_accepts_its_own_responses() {
        let value = format!("VALUE {KEY} 0 2 7\r\n{{}}\r\nEND\r\n");
        let empty = format!("VALUE {KEY} 0 0 7\r\n\r\nEND\r\n");
        let out_of_memory = format!("{OUT_OF_MEMORY}\r\n");
        for (command, request, responses) in [
            (
                Command::Gets,
                format!("gets {KEY}\r\n"),
                vec![
                    (&*value, "{} of 7"),
                    (&*empty, " of 7"),
                    ("END\r\n", "missing"),
                ],
            ),
            (
                ADD,
                format!("add {KEY} 0 60 1\r\nv\r\n"),
                vec![
                    ("STORED\r\n", "stored"),
                    ("NOT_STORED\r\n", "exists"),
                    (&*out_of_memory, "out of memory"),
                ],
            ),
            (
                CAS,
                format!("cas {KEY} 0 60 1 7\r\nv\r\n"),
                vec![
                    ("STORED\r\n", "stored"),
                    ("EXISTS\r\n", "exists"),
                    ("NOT_FOUND\r\n", "missing"),
                    (&*out_of_memory, "out of memory"),
                ],
            ),
        ] {
            for (response, expected) in responses {
                assert_eq!(
                    exchange(command, &[response]).await,
                    (expected.to_owned(), request.clone())
                );
            }
        }
    }

    #[tokio::test]
    async fn a_response_may_arrive_byte_by_byte() {
        let value = format!("VALUE {KEY} 0 9 7\r\na\r\nEND\r\nb\r\nEND\r\n");
        let pieces: Vec<&str> = value.split("").collect();
        let response = exchange(Command::Gets, &pieces).await.0;
        assert_eq!(response, "a\r\nEND\r\nb of 7");
        for cut in 0..value.len() {
            let (head, _) = value.split_at(cut);
            let response = exchange(Command::Gets, &[head]).await.0;
            assert!(response.starts_with("error: "), "{cut}: {response}");
        }
    }

    #[tokio::test]
    async fn a_response_to_another_command_is_an_error() {
        let other = "VALUE sid_of_another 0 2 7\r\n{}\r\nEND\r\n";
        let value = format!("VALUE {KEY} 0 2 7\r\n{{}}\r\nEND\r\n");
        let longer = format!("{value}STORED\r\n");
        let wrong_end = format!("VALUE {KEY} 0 2 7\r\n{{}}\r\nEND\r!");
        let too_long = format!("VALUE {KEY} 0 99999999999 7\r\n");
        let no_version = format!("VALUE {KEY} 0 2\r\n{{}}\r\nEND\r\n");
        let without_cas = format!("VALUE {KEY} 0 2 0\r\n{{}}\r\nEND\r\n");
        let endless = "x".repeat(5000);
        for response in [
            other,
            "STORED\r\n",
            "NOT_FOUND\r\n",
            &longer,
            &wrong_end,
            &too_long,
            &no_version,
            &endless,
            "END\n",
            "\r\n",
        ] {
            let result = exchange(Command::Gets, &[response]).await.0;
            assert_eq!(result, MISMATCH, "{response:?}");
        }
        for response in [
            &value,
            "END\r\n",
            "DELETED\r\n",
            "STORED\r\nSTORED\r\n",
            "STORED\n",
        ] {
            for command in [ADD, CAS] {
                let result = exchange(command, &[response]).await.0;
                assert_eq!(result, MISMATCH, "{response:?}");
            }
        }
        assert_eq!(exchange(ADD, &["EXISTS\r\n"]).await.0, MISMATCH);
        assert_eq!(exchange(CAS, &["NOT_STORED\r\n"]).await.0, MISMATCH);
        let result = exchange(Command::Gets, &[&without_cas]).await.0;
        assert!(result.contains("memcached runs with -C"), "{result}");
    }

    #[tokio::test]
    async fn an_error_line_is_an_error() {
        for line in [
            "ERROR",
            "CLIENT_ERROR bad data",
            "SERVER_ERROR out of memory",
            "SERVER_ERROR out of memory storing object, or not",
        ] {
            for command in [Command::Gets, ADD, CAS] {
                let result = exchange(command, &[line, "\r\n"]).await.0;
                assert!(result.starts_with("error: "), "{line}: {result}");
            }
        }
        let result = exchange(Command::Gets, &[OUT_OF_MEMORY, "\r\n"]).await.0;
        assert!(result.starts_with("error: "), "{result}");
    }

    #[tokio::test]
    async fn a_value_with_flags_is_foreign() {
        let value = format!("VALUE {KEY} 16 2 7\r\n{{}}\r\nEND\r\n");
        assert_eq!(exchange(Command::Gets, &[&value]).await.0, "foreign");
    }

    #[tokio::test]
    async fn a_request_that_is_dropped_reads_nothing_of_a_later_response() {
        let (mut ours, mut theirs): (DuplexStream, DuplexStream) = duplex(64);
        let value = format!("VALUE {KEY} 0 2 7\r\n{{}}\r\nEND\r\n");
        for read_so_far in [0, 5, value.len() - 1] {
            let dropped = send(&mut ours, KEY, Command::Gets);
            let server = async {
                let mut request = [0; 64];
                let _ = theirs.read(&mut request).await;
                let _ = theirs.write_all(&value.as_bytes()[..read_so_far]).await;
                std::future::pending::<()>().await;
            };
            let both = async { tokio::join!(dropped, server) };
            let nothing = timeout(Duration::from_millis(20), both).await;
            assert!(nothing.is_err(), "half a response was accepted");
            // The pool closes such a stream. If it were used again, the rest would not fit.
            let rest = &value[read_so_far..];
            let server = theirs.write_all(rest.as_bytes());
            let next = send(&mut ours, "sid_another", ADD);
            let (next, _) = tokio::join!(timeout(Duration::from_secs(5), next), server);
            let next = describe(next.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())));
            assert!(next.starts_with("error: "), "{next}");
            (ours, theirs) = duplex(64);
        }
    }
}
