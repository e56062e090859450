use std::io;
use std::task::{Context, Poll, Waker};

use deadpool::managed::{
    Manager, Metrics, Pool, PoolConfig, QueueMode, RecycleError, RecycleResult,
};
use tokio::net::TcpStream;
#[cfg(unix)]
use tokio::net::UnixStream;
use tokio_util::either::Either;

use crate::address::Address;
use crate::command::{Command, Response, send};

/// More connections than any memcached accepts.
const MAX_CONNECTIONS: usize = 65_536;

/// Makes the pool of connections to `address`. It opens them when they are needed.
pub(crate) fn build(address: Address, connections: usize) -> Pool<Connector> {
    let config = PoolConfig {
        // The server is least likely to have closed the most recently used connection.
        queue_mode: QueueMode::Lifo,
        ..PoolConfig::new(connections.clamp(1, MAX_CONNECTIONS))
    };
    let pool = Pool::builder(Connector(address)).config(config);
    // This fails only for timeouts without a runtime, and this pool sets no timeout.
    pool.build()
        .expect("only a pool with its own timeouts needs a runtime")
}

/// Opens connections for the pool, and checks a connection before the pool lends it again.
#[derive(Debug)]
pub(crate) struct Connector(pub(crate) Address);

#[cfg(unix)]
type Stream = Either<TcpStream, UnixStream>;
#[cfg(not(unix))]
type Stream = Either<TcpStream, TcpStream>;

/// A place in the pool. It holds a stream, except while a command uses it.
#[derive(Debug)]
pub(crate) struct Connection(Option<Stream>);

impl Connection {
    /// Sends a command and waits for its response.
    ///
    /// This moves the stream out of its place, and puts it back after a whole, fitting response. If
    /// the future is dropped at an await point, or fails, the stream is closed with it. So no later
    /// command can read the rest of the response.
    pub(crate) async fn request(
        &mut self,
        key: &str,
        command: Command<'_>,
    ) -> io::Result<Response> {
        let mut stream = self.0.take().ok_or(io::ErrorKind::NotConnected)?;
        let response = send(&mut stream, key, command).await?;
        self.0 = Some(stream);
        Ok(response)
    }

    /// Returns whether the place holds an open stream on which no unrequested bytes have arrived.
    fn is_idle(&self) -> bool {
        let mut byte = [0];
        let mut cx = Context::from_waker(Waker::noop());
        let ready = match &self.0 {
            None => return false,
            Some(Either::Left(stream)) => stream.poll_read_ready(&mut cx),
            Some(Either::Right(stream)) => stream.poll_read_ready(&mut cx),
        };
        if matches!(ready, Poll::Ready(Err(_))) {
            return false; // the runtime that opened it has stopped
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
