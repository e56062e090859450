use std::io;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use deadpool::managed::{
    Manager, Metrics, Pool, PoolConfig, QueueMode, RecycleError, RecycleResult,
};
use tokio::net::TcpStream;
#[cfg(unix)]
use tokio::net::UnixStream;
use tokio_util::either::Either;

use crate::address::Address;
use crate::command::Command;

/// More connections than any memcached accepts.
const MAX_CONNECTIONS: usize = 65_536;

/// A connection that was idle for longer is not used again. A firewall, a NAT or a load balancer
/// may have forgotten it without closing it. Many do so after a minute or more.
const MAX_IDLE: Duration = Duration::from_secs(30);

/// Makes the pool of connections to `address`. It opens them when they are needed.
pub(crate) fn build(address: Address, connections: usize) -> Pool<Connector> {
    build_with(address, connections, MAX_IDLE)
}

fn build_with(address: Address, connections: usize, max_idle: Duration) -> Pool<Connector> {
    let config = PoolConfig {
        // The server is least likely to have closed the most recently used connection.
        queue_mode: QueueMode::Lifo,
        ..PoolConfig::new(connections.clamp(1, MAX_CONNECTIONS))
    };
    let pool = Pool::builder(Connector { address, max_idle }).config(config);
    // This fails only for timeouts without a runtime, and this pool sets no timeout.
    pool.build()
        .expect("only a pool with its own timeouts needs a runtime")
}

/// Opens connections for the pool, and checks a connection before the pool lends it again.
#[derive(Debug)]
pub(crate) struct Connector {
    pub(crate) address: Address,
    max_idle: Duration,
}

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
    pub(crate) async fn request<C: Command>(
        &mut self,
        key: &str,
        command: C,
    ) -> io::Result<C::Outcome> {
        let mut stream = self.0.take().ok_or(io::ErrorKind::NotConnected)?;
        let outcome = command.send(&mut stream, key).await?;
        self.0 = Some(stream);
        Ok(outcome)
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
        let stream = match &self.address {
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

    async fn recycle(&self, idle: &mut Connection, metrics: &Metrics) -> RecycleResult<io::Error> {
        if idle.is_idle() && metrics.last_used() <= self.max_idle {
            Ok(())
        } else {
            Err(RecycleError::message("closed, or idle for too long"))
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;
    use tokio::time::timeout;

    use super::*;
    use crate::command::Gets;

    /// Sends a command on a connection of the pool. Returns whether there is a response.
    async fn has_response(pool: &Pool<Connector>, patience: Duration) -> bool {
        let mut connection = pool.get().await.expect("the server accepts connections");
        let response = connection.request("sid_0123456789abcdef", Gets);
        let response = timeout(patience, response).await;
        response.is_ok_and(|response| response.is_ok())
    }

    /// The network forgets each connection after its first response: it swallows all that follows
    /// and closes nothing.
    #[tokio::test]
    async fn p6_a_connection_that_was_idle_for_too_long_is_not_used() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let port = listener.local_addr().expect("it listens").port();
        let server = tokio::spawn(async move {
            let mut open = Vec::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = [0; 64];
                let _ = stream.read(&mut request).await;
                let _ = stream.write_all(b"END\r\n").await;
                open.push(stream);
            }
        });
        let pool = |max_idle| {
            let address = Address::parse(&format!("127.0.0.1:{port}")).expect("an address");
            build_with(address, 4, max_idle)
        };
        let patience = Duration::from_secs(20);
        let careful = pool(Duration::ZERO);
        for _ in 0..3 {
            assert!(has_response(&careful, patience).await);
        }
        let careless = pool(Duration::MAX);
        assert!(has_response(&careless, patience).await);
        assert!(!has_response(&careless, Duration::from_millis(50)).await);
        server.abort();
    }
}
