use std::io;
use std::num::NonZeroU64;

use memcache_async::ascii::Protocol;
use session_core::keyed::{Found, Stored};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::failure::OUT_OF_MEMORY;
use crate::round_trip::{Expected, RoundTrip};

/// A command on one key. memcached acknowledges each of them.
pub(crate) trait Command: Copy + Send {
    /// memcached's response.
    type Outcome: Send;

    /// Whether the command stores something.
    const IS_WRITE: bool;

    /// Sends the command on `stream` and waits for the whole response.
    ///
    /// After `Ok` the stream is ready for the next command. After an error its state is not known.
    fn send<S: Stream>(
        self,
        stream: &mut S,
        key: &str,
    ) -> impl Future<Output = io::Result<Self::Outcome>> + Send;
}

/// What commands are sent on.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// `gets`: read the value and its version.
#[derive(Clone, Copy)]
pub(crate) struct Gets;

/// `add`: store the value if the key holds nothing.
#[derive(Clone, Copy)]
pub(crate) struct Add<'a> {
    pub(crate) value: &'a [u8],
    pub(crate) exptime: u32,
}

#[derive(Debug)]
pub(crate) enum Added {
    Stored,
    /// The key holds something.
    Exists,
    /// There is no memory for a value of this size. memcached looks for memory before it looks at
    /// the key.
    OutOfMemory,
}

/// `cas`: store the value if the key still holds this version.
#[derive(Clone, Copy)]
pub(crate) struct Cas<'a> {
    pub(crate) value: &'a [u8],
    pub(crate) exptime: u32,
    pub(crate) version: NonZeroU64,
}

#[derive(Debug)]
pub(crate) enum Swapped {
    Stored,
    /// The key holds another version.
    Exists,
    /// The key holds nothing.
    Missing,
    /// As [`Added::OutOfMemory`].
    OutOfMemory,
}

impl Command for Gets {
    type Outcome = Found;

    const IS_WRITE: bool = false;

    async fn send<S: Stream>(self, stream: &mut S, key: &str) -> io::Result<Found> {
        let mut trip = RoundTrip::new(stream, Expected::Value(key), key.len());
        let found = match Protocol::new(&mut trip).gets_cas(key).await {
            Ok((value, version)) => {
                let version = NonZeroU64::new(version).ok_or_else(without_cas)?;
                Found::Value(Stored::with_version(value, version))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Found::Missing,
            Err(error) => return Err(error),
        };
        trip.complete()?;
        Ok(if trip.is_foreign() {
            Found::Foreign
        } else {
            found
        })
    }
}

impl Command for Add<'_> {
    type Outcome = Added;

    const IS_WRITE: bool = true;

    async fn send<S: Stream>(self, stream: &mut S, key: &str) -> io::Result<Added> {
        let expected = Expected::Line(&["STORED", "NOT_STORED"]);
        let mut trip = RoundTrip::new(stream, expected, key.len() + self.value.len());
        let response = Protocol::new(&mut trip)
            .add(key, self.value, self.exptime)
            .await;
        let added = match response {
            Ok(()) => Added::Stored,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Added::Exists,
            Err(error) if is_line(&error, OUT_OF_MEMORY) => Added::OutOfMemory,
            Err(error) => return Err(error),
        };
        trip.complete()?;
        Ok(added)
    }
}

impl Command for Cas<'_> {
    type Outcome = Swapped;

    const IS_WRITE: bool = true;

    async fn send<S: Stream>(self, stream: &mut S, key: &str) -> io::Result<Swapped> {
        let expected = Expected::Line(&["STORED", "EXISTS", NOT_FOUND]);
        let mut trip = RoundTrip::new(stream, expected, key.len() + self.value.len());
        let response = Protocol::new(&mut trip)
            .cas(key, self.value, self.version.get(), self.exptime)
            .await;
        let swapped = match response {
            Ok(true) => Swapped::Stored,
            Ok(false) => Swapped::Exists,
            Err(error) if is_not_found(&error) => Swapped::Missing,
            Err(error) if is_line(&error, OUT_OF_MEMORY) => Swapped::OutOfMemory,
            Err(error) => return Err(error),
        };
        trip.complete()?;
        Ok(swapped)
    }
}

fn without_cas() -> io::Error {
    let text = "memcached runs with -C, without the cas that sessions need";
    io::Error::new(io::ErrorKind::Unsupported, text)
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

    const ADD: Add<'_> = Add {
        value: b"v",
        exptime: 60,
    };
    const CAS: Cas<'_> = Cas {
        value: b"v",
        exptime: 60,
        version: NonZeroU64::new(7).expect("it is not zero"),
    };

    /// An outcome in words.
    trait Describe {
        fn describe(self) -> String;
    }

    impl Describe for Found {
        fn describe(self) -> String {
            match self {
                Self::Missing => "missing".into(),
                Self::Foreign => "foreign".into(),
                Self::Value(stored) => {
                    let version = stored.version().expect("gets reads a version");
                    format!("{} of {version}", String::from_utf8_lossy(stored.value()))
                }
            }
        }
    }

    impl Describe for Added {
        fn describe(self) -> String {
            format!("{self:?}")
        }
    }

    impl Describe for Swapped {
        fn describe(self) -> String {
            format!("{self:?}")
        }
    }

    fn describe(response: io::Result<impl Describe>) -> String {
        response.map_or_else(|error| format!("error: {error}"), Describe::describe)
    }

    /// Sends `command` to a server that responds with these pieces, each in a packet of its own,
    /// and closes. Returns the result and the request.
    async fn exchange<C>(command: C, pieces: &[&str]) -> (String, String)
    where
        C: Command<Outcome: Describe>,
    {
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
        let (response, request) = tokio::join!(command.send(&mut ours, KEY), server);
        (describe(response), request)
    }

    async fn result(command: impl Command<Outcome: Describe>, pieces: &[&str]) -> String {
        exchange(command, pieces).await.0
    }

    #[tokio::test]
    async fn each_command_is_sent_in_one_piece_and_accepts_its_own_responses() {
        let value = format!("VALUE {KEY} 0 2 7\r\n{{}}\r\nEND\r\n");
        let empty = format!("VALUE {KEY} 0 0 7\r\n\r\nEND\r\n");
        let out_of_memory = format!("{OUT_OF_MEMORY}\r\n");
        for (response, outcome) in [
            (&*value, "{} of 7"),
            (&*empty, " of 7"),
            ("END\r\n", "missing"),
        ] {
            let expected = (outcome.to_owned(), format!("gets {KEY}\r\n"));
            assert_eq!(exchange(Gets, &[response]).await, expected);
        }
        for (response, outcome) in [
            ("STORED\r\n", "Stored"),
            ("NOT_STORED\r\n", "Exists"),
            (&*out_of_memory, "OutOfMemory"),
        ] {
            let expected = (outcome.to_owned(), format!("add {KEY} 0 60 1\r\nv\r\n"));
            assert_eq!(exchange(ADD, &[response]).await, expected);
        }
        for (response, outcome) in [
            ("STORED\r\n", "Stored"),
            ("EXISTS\r\n", "Exists"),
            ("NOT_FOUND\r\n", "Missing"),
            (&*out_of_memory, "OutOfMemory"),
        ] {
            let expected = (outcome.to_owned(), format!("cas {KEY} 0 60 1 7\r\nv\r\n"));
            assert_eq!(exchange(CAS, &[response]).await, expected);
        }
    }

    #[tokio::test]
    async fn a_response_may_arrive_byte_by_byte() {
        let value = format!("VALUE {KEY} 0 9 7\r\na\r\nEND\r\nb\r\nEND\r\n");
        let pieces: Vec<&str> = value.split("").collect();
        let response = result(Gets, &pieces).await;
        assert_eq!(response, "a\r\nEND\r\nb of 7");
        for cut in 0..value.len() {
            let (head, _) = value.split_at(cut);
            let response = result(Gets, &[head]).await;
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
            let result = result(Gets, &[response]).await;
            assert_eq!(result, MISMATCH, "{response:?}");
        }
        for response in [
            &value,
            "END\r\n",
            "DELETED\r\n",
            "STORED\r\nSTORED\r\n",
            "STORED\n",
        ] {
            assert_eq!(result(ADD, &[response]).await, MISMATCH, "{response:?}");
            assert_eq!(result(CAS, &[response]).await, MISMATCH, "{response:?}");
        }
        assert_eq!(result(ADD, &["EXISTS\r\n"]).await, MISMATCH);
        assert_eq!(result(CAS, &["NOT_STORED\r\n"]).await, MISMATCH);
        let result = result(Gets, &[&without_cas]).await;
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
            for result in [
                result(Gets, &[line, "\r\n"]).await,
                result(ADD, &[line, "\r\n"]).await,
                result(CAS, &[line, "\r\n"]).await,
            ] {
                assert!(result.starts_with("error: "), "{line}: {result}");
            }
        }
        let result = result(Gets, &[OUT_OF_MEMORY, "\r\n"]).await;
        assert!(result.starts_with("error: "), "{result}");
    }

    #[tokio::test]
    async fn a_value_with_flags_is_foreign() {
        let value = format!("VALUE {KEY} 16 2 7\r\n{{}}\r\nEND\r\n");
        assert_eq!(result(Gets, &[&value]).await, "foreign");
    }

    #[tokio::test]
    async fn a_request_that_is_dropped_reads_nothing_of_a_later_response() {
        let (mut ours, mut theirs): (DuplexStream, DuplexStream) = duplex(64);
        let value = format!("VALUE {KEY} 0 2 7\r\n{{}}\r\nEND\r\n");
        for read_so_far in [0, 5, value.len() - 1] {
            let dropped = Gets.send(&mut ours, KEY);
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
            let next = ADD.send(&mut ours, "sid_another");
            let (next, _) = tokio::join!(timeout(Duration::from_secs(5), next), server);
            let next = describe(next.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())));
            assert!(next.starts_with("error: "), "{next}");
            (ours, theirs) = duplex(64);
        }
    }
}
