use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// One question and its answer, between memcache-async and the socket.
///
/// memcache-async writes a command in pieces, takes whatever comes for the answer to it (a `STORED`
/// that belonged to another command, the value of another key) and allocates whatever length it is
/// told. So what it writes is kept back and leaves in one piece when it begins to read; and it gets
/// to read only a whole answer that fits the question. The next command has an exchange of its
/// own: nothing is left over that it could read.
#[derive(Debug)]
pub(crate) struct Exchange<'a, S> {
    stream: &'a mut S,
    expected: Expected<'a>,
    question: Vec<u8>,
    sent: usize,
    answer: Vec<u8>,
    /// How long the answer is, as soon as its first line says so.
    len: Option<usize>,
    taken: usize,
    /// The value has flags: another program's, in a coding of its own.
    foreign: bool,
}

/// What an answer may be.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Expected<'a> {
    /// To `gets`: this key's value, or that there is none.
    Value(&'a str),
    /// To `add` and `cas`: one of these lines.
    Line(&'static [&'static str]),
}

/// Longer is no first line of an answer: a key has at most 250 bytes, each number at most 20.
const LONGEST_LINE: usize = 1024;

/// More than any memcached stores as one item (its `-I` ends at 1 GiB, by default it is 1 MiB).
const LONGEST_VALUE: usize = 64 << 20;

/// How much is read at a time: most answers whole, and no more than malloc has at hand.
const PIECE: usize = 1000;

impl<'a, S> Exchange<'a, S> {
    /// Begins one; the question will have about `size` bytes.
    pub(crate) fn new(stream: &'a mut S, expected: Expected<'a>, size: usize) -> Self {
        Self {
            stream,
            expected,
            question: Vec::with_capacity(size),
            sent: 0,
            answer: Vec::with_capacity(PIECE),
            len: None,
            taken: 0,
            foreign: false,
        }
    }

    /// Returns whether the answer came and was read to its end: only then can the next command
    /// use the stream.
    pub(crate) fn is_complete(&self) -> bool {
        self.len.is_some_and(|len| self.taken == len)
    }

    /// Returns whether the value that came has flags, which no session has.
    pub(crate) fn is_foreign(&self) -> bool {
        self.foreign
    }

    /// Reads the first line of the answer, if it is there, for the length of the whole.
    fn measure(&mut self) -> io::Result<()> {
        let Some(end) = self.answer.iter().position(|b| *b == b'\n') else {
            return if self.answer.len() < LONGEST_LINE {
                Ok(())
            } else {
                Err(unfit())
            };
        };
        let line = str::from_utf8(&self.answer[..=end]).map_err(|_| unfit())?;
        let line = line.strip_suffix("\r\n").ok_or_else(unfit)?;
        let value = match self.expected {
            _ if is_error(line) => None,
            Expected::Line(lines) if lines.contains(&line) => None,
            Expected::Value(_) if line == "END" => None,
            Expected::Value(key) => Some(value_of(line, key).ok_or_else(unfit)?),
            Expected::Line(_) => return Err(unfit()),
        };
        self.len = Some(end + 1);
        if let Some((flags, len)) = value {
            self.foreign = flags != 0;
            self.len = Some(end + 1 + len + END_OF_VALUE.len());
        }
        Ok(())
    }

    /// Checks the end of an answer that is as long as it said.
    fn check(&self) -> io::Result<()> {
        let is_value = matches!(self.expected, Expected::Value(_)) && self.answer.starts_with(b"V");
        if self.len != Some(self.answer.len()) || (is_value && !self.answer.ends_with(END_OF_VALUE))
        {
            return Err(unfit());
        }
        Ok(())
    }
}

/// What follows the bytes of a value.
const END_OF_VALUE: &[u8] = b"\r\nEND\r\n";

/// Returns flags and length, if this is the first line of the value of `key` (memcached
/// `doc/protocol.txt`, "Retrieval command").
fn value_of(line: &str, key: &str) -> Option<(u32, usize)> {
    let mut words = line.strip_prefix("VALUE ")?.split(' ');
    let is_key = words.next()? == key;
    let flags = words.next()?.parse().ok()?;
    let len = words.next()?.parse().ok()?;
    let _unique: u64 = words.next()?.parse().ok()?;
    (is_key && len <= LONGEST_VALUE && words.next().is_none()).then_some((flags, len))
}

/// `ERROR`, `CLIENT_ERROR ..` or `SERVER_ERROR ..` (memcached `doc/protocol.txt`, "Error strings").
fn is_error(line: &str) -> bool {
    matches!(
        line.split(' ').next(),
        Some("ERROR" | "CLIENT_ERROR" | "SERVER_ERROR")
    )
}

fn unfit() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        "an answer that does not fit the command",
    )
}

impl<S: AsyncRead + AsyncWrite + Unpin> Exchange<'_, S> {
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.sent < self.question.len() {
            let rest = &self.question[self.sent..];
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
            if self.len.is_none() {
                self.measure()?;
            }
            match self.len {
                Some(len) if self.answer.len() >= len => return Poll::Ready(self.check()),
                _ => {}
            }
            let start = self.answer.len();
            let rest = self.len.map_or(0, |len| len - start);
            // What the server has promised it has not sent yet.
            let wanted = rest.clamp(PIECE, 64 * PIECE);
            self.answer.resize(start + wanted, 0);
            let mut buffer = ReadBuf::new(&mut self.answer[start..]);
            let read = Pin::new(&mut *self.stream).poll_read(cx, &mut buffer);
            let count = buffer.filled().len();
            self.answer.truncate(start + count);
            ready!(read)?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Exchange<'_, S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.taken == 0 {
            ready!(this.poll_send(cx))?;
            ready!(this.poll_receive(cx))?;
        }
        let rest = &this.answer[this.taken..];
        let count = rest.len().min(buffer.remaining());
        buffer.put_slice(&rest[..count]);
        this.taken += count;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Exchange<'_, S> {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().question.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    /// Not yet: more of the question may follow.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.get_mut().stream).poll_shutdown(cx)
    }
}
