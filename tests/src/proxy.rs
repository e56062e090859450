//! A TCP proxy before a real server, which a test makes slow, choppy, silent or unreliable.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

/// Passes bytes between its clients and a server on 127.0.0.1, until it is dropped.
///
/// What it is told counts for all connections, those to come too.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    shared: Arc<Shared>,
    accepting: AbortHandle,
}

#[derive(Debug)]
struct Shared {
    faults: watch::Sender<Faults>,
    accepted: AtomicU64,
    open: AtomicUsize,
    held: AtomicUsize,
}

#[derive(Clone, Copy, Debug, Default)]
struct Faults {
    /// Responses come in pieces of at most so many bytes, after pauses of at most so long.
    pieces: Option<(usize, Duration)>,
    /// Each response comes so much later.
    delay: Duration,
    /// Connections up to this number get no response for now.
    hold_responses_to: u64,
    /// The requests of connections up to this number reach no server for now.
    hold_requests_to: u64,
    /// Connections up to this number are closed.
    cut: u64,
    /// Connections up to this number are reset when the client next sends something.
    forgotten: u64,
    /// Every n-th connection is closed instead of getting its first response.
    cut_every: u64,
    /// One of so many responses ends in the middle, and its connection with it.
    torn: u64,
}

impl Proxy {
    /// Starts one before the server on `port`.
    pub async fn start(port: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let shared = Arc::new(Shared {
            faults: watch::Sender::default(),
            accepted: AtomicU64::new(0),
            open: AtomicUsize::new(0),
            held: AtomicUsize::new(0),
        });
        let own = listener.local_addr().unwrap().port();
        let accepting = tokio::spawn(accept(listener, port, shared.clone())).abort_handle();
        Self {
            port: own,
            shared,
            accepting,
        }
    }

    /// The port it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Sends responses in pieces of at most `bytes`, with a pause of at most `pause` before some.
    pub fn split(&self, bytes: usize, pause: Duration) {
        self.change(|faults| faults.pieces = Some((bytes, pause)));
    }

    /// Sends each response so much later, as a distant server does.
    pub fn delay(&self, delay: Duration) {
        self.change(|faults| faults.delay = delay);
    }

    /// Keeps all responses back until [`pass`](Self::pass); the requests still reach the server.
    pub fn hold_replies(&self) {
        self.change(|faults| faults.hold_responses_to = u64::MAX);
    }

    /// The same for the connections that there are; later ones work.
    pub fn hold_present_replies(&self) {
        let last = self.accepted();
        self.change(|faults| faults.hold_responses_to = last);
    }

    /// Lets nothing through in either direction until [`pass`](Self::pass). Nothing is lost, and no
    /// connection is closed.
    pub fn black_hole(&self) {
        self.change(|faults| {
            (faults.hold_responses_to, faults.hold_requests_to) = (u64::MAX, u64::MAX);
        });
    }

    /// The same for the connections that there are; later ones work.
    pub fn black_hole_present(&self) {
        let last = self.accepted();
        self.change(|faults| (faults.hold_responses_to, faults.hold_requests_to) = (last, last));
    }

    /// Lets everything through again that was held.
    pub fn pass(&self) {
        self.change(|faults| (faults.hold_responses_to, faults.hold_requests_to) = (0, 0));
    }

    /// Closes all connections that there are.
    pub fn cut(&self) {
        let last = self.accepted();
        self.change(|faults| faults.cut = last);
    }

    /// Forgets the connections that there are, as a firewall or a load balancer does after a quiet
    /// time. They look open. The next command on one of them resets it and reaches no server.
    pub fn forget_present(&self) {
        let last = self.accepted();
        self.change(|faults| faults.forgotten = last);
    }

    /// Of the connections to come closes every `count`-th when the server responds on it, before
    /// the client sees that; 0 ends it.
    pub fn cut_every(&self, count: u64) {
        self.change(|faults| faults.cut_every = count);
    }

    /// Ends one of `count` responses in the middle, and closes its connection; 0 ends it.
    pub fn tear(&self, count: u64) {
        self.change(|faults| faults.torn = count);
    }

    /// How many connections there were so far.
    pub fn accepted(&self) -> u64 {
        self.shared.accepted.load(Ordering::SeqCst)
    }

    /// How many connections are open.
    pub fn open(&self) -> usize {
        self.shared.open.load(Ordering::SeqCst)
    }

    /// On how many connections a response is being held back.
    pub fn held(&self) -> usize {
        self.shared.held.load(Ordering::SeqCst)
    }

    fn change(&self, how: impl FnOnce(&mut Faults)) {
        self.shared.faults.send_modify(how);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, port: u16, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        let number = shared.accepted.fetch_add(1, Ordering::SeqCst) + 1;
        connections.spawn(connection(client, port, number, shared.clone()));
        while connections.try_join_next().is_some() {}
    }
}

async fn connection(client: TcpStream, port: u16, number: u64, shared: Arc<Shared>) {
    let _open = Count::one_more(&shared.open);
    // Dropped with this future when either side closes or the test cuts: both streams close.
    let both_ways = async {
        let server = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.ok()?;
        client.set_nodelay(true).ok()?;
        server.set_nodelay(true).ok()?;
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        tokio::select! {
            ended = requests(from_client, to_server, number, &shared) => ended,
            ended = replies(from_server, to_client, number, &shared) => ended,
        }
    };
    let mut faults = shared.faults.subscribe();
    tokio::select! {
        _ = both_ways => {}
        _ = faults.wait_for(|faults| number <= faults.cut) => {}
    }
}

/// Ends with `None` when either side does.
async fn requests(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    number: u64,
    shared: &Shared,
) -> Option<()> {
    let mut faults = shared.faults.subscribe();
    let mut bytes = vec![0; 16 * 1024];
    loop {
        from.readable().await.ok()?;
        if number <= faults.borrow().forgotten {
            return None; // what was not read makes a reset of the close
        }
        let count = from
            .read(&mut bytes)
            .await
            .ok()
            .filter(|count| *count > 0)?;
        faults
            .wait_for(|faults| number > faults.hold_requests_to)
            .await
            .ok()?;
        to.write_all(&bytes[..count]).await.ok()?;
    }
}

/// As [`requests`], with all that the test wants to happen to a response.
async fn replies(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    number: u64,
    shared: &Shared,
) -> Option<()> {
    let mut faults = shared.faults.subscribe();
    let mut dice = Dice::new(number);
    let mut bytes = vec![0; 16 * 1024];
    loop {
        let count = from
            .read(&mut bytes)
            .await
            .ok()
            .filter(|count| *count > 0)?;
        let now = *faults.borrow();
        if now.cut_every > 0 && number.is_multiple_of(now.cut_every) {
            return None;
        }
        if now.torn > 0 && dice.below(now.torn) == 0 {
            to.write_all(&bytes[..count / 2]).await.ok()?;
            return None;
        }
        {
            let _held = (number <= now.hold_responses_to).then(|| Count::one_more(&shared.held));
            faults
                .wait_for(|faults| number > faults.hold_responses_to)
                .await
                .ok()?;
        }
        if !now.delay.is_zero() {
            tokio::time::sleep(now.delay).await;
        }
        let Some((longest, pause)) = now.pieces else {
            to.write_all(&bytes[..count]).await.ok()?;
            continue;
        };
        let mut rest = &bytes[..count];
        while !rest.is_empty() {
            if dice.below(4) == 0 {
                tokio::time::sleep(pause.mul_f64(dice.fraction())).await;
            } else {
                tokio::task::yield_now().await;
            }
            let (piece, after) = rest.split_at(rest.len().min(1 + dice.index(longest)));
            to.write_all(piece).await.ok()?;
            rest = after;
        }
    }
}

/// Counts one for as long as it lives.
struct Count<'a>(&'a AtomicUsize);

impl<'a> Count<'a> {
    fn one_more(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count)
    }
}

impl Drop for Count<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Numbers that look random and are the same in each run (SplitMix64).
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// Dice that fall as those of the same number do.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    /// A number from 0 up to, not including, `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % end
    }

    /// The same for an index.
    pub fn index(&mut self, end: usize) -> usize {
        usize::try_from(self.below(end as u64)).unwrap()
    }

    /// A number from 0 to 1.
    pub fn fraction(&mut self) -> f64 {
        f64::from(u32::try_from(self.below(1 << 20)).unwrap()) / f64::from(1 << 20)
    }
}
