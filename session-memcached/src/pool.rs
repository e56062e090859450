use std::io;
use std::task::{Context, Poll, Waker};

use deadpool::managed::{Manager, Metrics, RecycleError, RecycleResult};
use tokio::net::TcpStream;
#[cfg(unix)]
use tokio::net::UnixStream;
use tokio_util::either::Either;

use crate::address::Address;
use crate::command::{Answer, Command, ask};

/// Opens connections for the pool, and looks at those that come back.
#[derive(Debug)]
pub(crate) struct Connector(pub(crate) Address);

#[cfg(unix)]
type Stream = Either<TcpStream, UnixStream>;
#[cfg(not(unix))]
type Stream = Either<TcpStream, TcpStream>;

/// A place in the pool, and the connection that it holds unless a command has it.
#[derive(Debug)]
pub(crate) struct Connection(Option<Stream>);

impl Connection {
    /// Carries out a command. The stream is moved out of the place and comes back with the whole of
    /// a fitting answer: when this future is dropped at an await point, or fails, the stream is closed
    /// with it, and nobody can read what it was still going to say.
    pub(crate) async fn ask(&mut self, key: &str, command: Command<'_>) -> io::Result<Answer> {
        let mut stream = self.0.take().ok_or(io::ErrorKind::NotConnected)?;
        let answer = ask(&mut stream, key, command).await?;
        self.0 = Some(stream);
        Ok(answer)
    }

    /// Returns whether there is a stream, still open, on which nobody has said anything unasked.
    fn is_idle(&self) -> bool {
        let mut byte = [0];
        let mut cx = Context::from_waker(Waker::noop());
        let ready = match &self.0 {
            None => return false,
            Some(Either::Left(stream)) => stream.poll_read_ready(&mut cx),
            Some(Either::Right(stream)) => stream.poll_read_ready(&mut cx),
        };
        if matches!(ready, Poll::Ready(Err(_))) {
            return false; // the runtime that it was made on is gone
        }
        let read = match &self.0 {
            None => return false,
            Some(Either::Left(stream)) => stream.try_read(&mut byte),
            Some(Either::Right(stream)) => stream.try_read(&mut byte),
        };
        read.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }
}

impl Manager for Connector {
    type Type = Connection;
    type Error = io::Error;

    async fn create(&self) -> io::Result<Connection> {
        let stream = match &self.0 {
            Address::Tcp(address) => {
                let stream = TcpStream::connect(address).await?;
                stream.set_nodelay(true)?;
                Either::Left(stream)
            }
            #[cfg(unix)]
            Address::Unix(path) => Either::Right(UnixStream::connect(path).await?),
        };
        Ok(Connection(Some(stream)))
    }

    async fn recycle(&self, connection: &mut Connection, _: &Metrics) -> RecycleResult<io::Error> {
        if connection.is_idle() {
            Ok(())
        } else {
            Err(RecycleError::message("closed"))
        }
    }
}
