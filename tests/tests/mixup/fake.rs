//! A server that responds what a test tells it, and notes what becomes of its connections.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

/// What it says to a question.
#[derive(Clone, Debug)]
pub(crate) enum Say {
    /// And it goes on listening.
    This(Vec<u8>),
    /// A little later, the server sends something unrequested.
    ThisAndLater(Vec<u8>, Vec<u8>),
    /// And it closes.
    Last(Vec<u8>),
}

#[derive(Debug)]
pub(crate) struct Fake {
    pub(crate) port: u16,
    counts: Arc<Counts>,
    accepting: AbortHandle,
}

#[derive(Debug, Default)]
struct Counts {
    accepted: AtomicUsize,
    /// Questions on a connection after its first wrong response.
    reused: AtomicUsize,
    /// Connections that the client closed.
    closed: AtomicUsize,
    said_later: AtomicUsize,
}

impl Fake {
    /// `None` lets a question pass as an ordinary one, which `ordinary` responses.
    pub(crate) async fn start(
        ordinary: impl Fn(&str) -> Vec<u8> + Send + Sync + 'static,
        wrong: impl Fn(&str) -> Option<Say> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let counts = Arc::new(Counts::default());
        let counted = counts.clone();
        let (ordinary, wrong) = (Arc::new(ordinary), Arc::new(wrong));
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                counted.accepted.fetch_add(1, Ordering::SeqCst);
                let (counts, ordinary, wrong) = (counted.clone(), ordinary.clone(), wrong.clone());
                tokio::spawn(async move { serve(stream, &counts, &*ordinary, &*wrong).await });
            }
        });
        Self {
            port,
            counts,
            accepting: accepting.abort_handle(),
        }
    }

    pub(crate) fn accepted(&self) -> usize {
        self.counts.accepted.load(Ordering::SeqCst)
    }

    pub(crate) fn reused(&self) -> usize {
        self.counts.reused.load(Ordering::SeqCst)
    }

    pub(crate) fn said_later(&self) -> usize {
        self.counts.said_later.load(Ordering::SeqCst)
    }

    pub(crate) fn closed(&self) -> usize {
        self.counts.closed.load(Ordering::SeqCst)
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn serve(
    mut stream: TcpStream,
    counts: &Counts,
    ordinary: &(dyn Fn(&str) -> Vec<u8> + Send + Sync),
    wrong: &(dyn Fn(&str) -> Option<Say> + Send + Sync),
) -> Option<()> {
    let mut bytes = vec![0; 64 * 1024];
    let mut was_wrong = false;
    loop {
        // A client that closes with something unread resets the connection.
        let count = stream.read(&mut bytes).await.unwrap_or(0);
        if count == 0 {
            counts.closed.fetch_add(1, Ordering::SeqCst);
            return None;
        }
        if was_wrong {
            counts.reused.fetch_add(1, Ordering::SeqCst);
        }
        let question = String::from_utf8_lossy(&bytes[..count]);
        match wrong(&question) {
            None => stream.write_all(&ordinary(&question)).await.ok()?,
            Some(Say::This(reply)) => {
                was_wrong = true;
                stream.write_all(&reply).await.ok()?;
            }
            Some(Say::ThisAndLater(reply, later)) => {
                was_wrong = true;
                stream.write_all(&reply).await.ok()?;
                tokio::time::sleep(Duration::from_millis(10)).await;
                stream.write_all(&later).await.ok()?;
                counts.said_later.fetch_add(1, Ordering::SeqCst);
            }
            Some(Say::Last(reply)) => {
                stream.write_all(&reply).await.ok()?;
                return None;
            }
        }
    }
}
