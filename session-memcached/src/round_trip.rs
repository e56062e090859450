use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// One request and its response, between memcache-async and the socket.
///
/// memcache-async writes a command in pieces. It accepts any response (a `STORED` that belongs to
/// another command, the value of another key), and it allocates any length that the server names.
/// So a round trip collects what memcache-async writes, sends it in one piece when memcache-async
/// starts to read, and lets it read only a whole response that fits the request. Each command has a
/// round trip of its own, so that nothing is left over for the next one.
#[derive(Debug)]
pub(crate) struct RoundTrip<'a, S> {
    stream: &'a mut S,
    expected: Expected<'a>,
    request: Vec<u8>,
    sent: usize,
    response: Vec<u8>,
    /// Known once the first line of the response is there.
    frame: Option<Frame>,
    /// Whether the whole response has arrived and fits the request.
    is_received: bool,
    /// How much of the response memcache-async has read.
    taken: usize,
}

/// What the first line of a response says about the whole.
#[derive(Clone, Copy, Debug)]
enum Frame {
    /// The response is this line, of so many bytes.
    Line(usize),
    /// A value follows.
    Value {
        /// The length of the whole response.
        len: usize,
        /// The value has flags, so another program has encoded it.
        is_foreign: bool,
    },
}

impl Frame {
    fn len(self) -> usize {
        match self {
            Self::Line(len) | Self::Value { len, .. } => len,
        }
    }
}

/// Which responses fit the request.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Expected<'a> {
    /// To `gets`: the value of this key, or `END`.
    Value(&'a str),
    /// To `add` and `cas`: one of these lines.
    Line(&'static [&'static str]),
}

/// No first line of a response is longer: a key has at most 250 bytes, each number at most 20.
const MAX_LINE: usize = 1024;

/// 64 MiB, more than a session should ever hold. (memcached's `-I` is 1 MiB by default and at most
/// 1 GiB.)
const MAX_VALUE: usize = 64 << 20;

/// More bytes than the name of a command and its numbers have.
const OVERHEAD: usize = 64;

/// How many bytes are read at a time: enough for most responses, and a size that is cheap to
/// allocate.
const READ_SIZE: usize = 1000;

impl<'a, S> RoundTrip<'a, S> {
    /// Starts a round trip whose request contains a key and a value of `size` bytes together.
    pub(crate) fn new(stream: &'a mut S, expected: Expected<'a>, size: usize) -> Self {
        Self {
            stream,
            expected,
            request: Vec::with_capacity(OVERHEAD + size),
            sent: 0,
            response: Vec::with_capacity(READ_SIZE),
            frame: None,
            is_received: false,
            taken: 0,
        }
    }

    /// Checks that memcache-async has read the response to its end. Only then can the next command
    /// use the stream.
    pub(crate) fn complete(&self) -> io::Result<()> {
        if self.is_received && self.taken == self.response.len() {
            Ok(())
        } else {
            Err(io::ErrorKind::InvalidData.into())
        }
    }

    /// Returns whether the value in the response has flags. No session has any.
    pub(crate) fn is_foreign(&self) -> bool {
        matches!(
            self.frame,
            Some(Frame::Value {
                is_foreign: true,
                ..
            })
        )
    }

    /// Reads the frame of the response from its first line, if that has arrived.
    fn measure(&mut self) -> io::Result<()> {
        let Some(end) = self.response.iter().position(|b| *b == b'\n') else {
            return if self.response.len() < MAX_LINE {
                Ok(())
            } else {
                Err(mismatch())
            };
        };
        let line = str::from_utf8(&self.response[..=end]).map_err(|_| mismatch())?;
        let line = line.strip_suffix("\r\n").ok_or_else(mismatch)?;
        let len = end + 1;
        self.frame = Some(match self.expected {
            _ if is_error(line) => Frame::Line(len),
            Expected::Line(lines) if lines.contains(&line) => Frame::Line(len),
            Expected::Value(_) if line == "END" => Frame::Line(len),
            Expected::Value(key) => {
                let (flags, value) = value_of(line, key).ok_or_else(mismatch)?;
                Frame::Value {
                    len: len + value + END_OF_VALUE.len(),
                    is_foreign: flags != 0,
                }
            }
            Expected::Line(_) => return Err(mismatch()),
        });
        Ok(())
    }

    /// Checks a response that has all the bytes of its frame.
    fn check(&self, frame: Frame) -> io::Result<()> {
        let ends_well = match frame {
            Frame::Line(_) => true,
            Frame::Value { .. } => self.response.ends_with(END_OF_VALUE),
        };
        if ends_well && self.response.len() == frame.len() {
            Ok(())
        } else {
            Err(mismatch())
        }
    }
}

/// The bytes after a value.
const END_OF_VALUE: &[u8] = b"\r\nEND\r\n";

/// Returns the flags and the length of the value if `line` is the first line of the value of `key`
/// (memcached `doc/protocol.txt`, "Retrieval command").
fn value_of(line: &str, key: &str) -> Option<(u32, usize)> {
    let mut words = line.strip_prefix("VALUE ")?.split(' ');
    let is_key = words.next()? == key;
    let flags = words.next()?.parse().ok()?;
    let len = words.next()?.parse().ok()?;
    let _unique: u64 = words.next()?.parse().ok()?;
    (is_key && len <= MAX_VALUE && words.next().is_none()).then_some((flags, len))
}

/// Returns whether `line` is `ERROR`, `CLIENT_ERROR ..` or `SERVER_ERROR ..` (memcached
/// `doc/protocol.txt`, "Error strings").
fn is_error(line: &str) -> bool {
    matches!(
        line.split(' ').next(),
        Some("ERROR" | "CLIENT_ERROR" | "SERVER_ERROR")
    )
}

fn mismatch() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        "a response that does not fit the command",
    )
}

impl<S: AsyncRead + AsyncWrite + Unpin> RoundTrip<'_, S> {
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.sent < self.request.len() {
            let rest = &self.request[self.sent..];
            let count = ready!(Pin::new(&mut *self.stream).poll_write(cx, rest))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.sent += count;
        }
        Pin::new(&mut *self.stream).poll_flush(cx)
    }

    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            if self.frame.is_none() {
                self.measure()?;
            }
            let start = self.response.len();
            let rest = match self.frame {
                Some(frame) if frame.len() <= start => return Poll::Ready(self.check(frame)),
                Some(frame) => frame.len() - start,
                None => 0,
            };
            // The server may name a large length and never send it: do not allocate it at once.
            let size = rest.clamp(READ_SIZE, 64 * READ_SIZE);
            self.response.resize(start + size, 0);
            let mut buffer = ReadBuf::new(&mut self.response[start..]);
            let read = Pin::new(&mut *self.stream).poll_read(cx, &mut buffer);
            let count = buffer.filled().len();
            self.response.truncate(start + count);
            ready!(read)?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for RoundTrip<'_, S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.is_received {
            ready!(this.poll_send(cx))?;
            ready!(this.poll_receive(cx))?;
            this.is_received = true;
        }
        let rest = &this.response[this.taken..];
        let count = rest.len().min(buffer.remaining());
        buffer.put_slice(&rest[..count]);
        this.taken += count;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for RoundTrip<'_, S> {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().request.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    /// Does nothing: more of the request may follow.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.get_mut().stream).poll_shutdown(cx)
    }
}
