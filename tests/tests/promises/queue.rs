//! F5: the savers of one session queue for it. The clock is paused: a wait for the timer takes no
//! time, and everything else takes none of the timer's.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use session_core::{
    CookieChange, ErrorKind, KeyedStorage, MemoryBackend, Result, Session, Storage,
};
use session_tests::stores::{Call, Calls, Counting, Failing, Gate, Hold, Timed, When};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::app::App;

type Store = Timed<Counting<Failing<Gate<MemoryBackend>>>>;

/// The limit of one call.
const LIMIT: Duration = Duration::from_secs(1);

/// Five times that is the limit of a whole save.
const WHOLE: Duration = Duration::from_secs(5);

const NO_WAIT: Duration = Duration::ZERO;

struct Queue {
    storage: Arc<KeyedStorage<Store>>,
    cookie: String,
}

impl Queue {
    async fn new() -> Self {
        let gate = Gate::new(MemoryBackend::new());
        let store = Timed::new(Counting::new(Failing::new(gate)), LIMIT);
        let storage = Arc::new(KeyedStorage::new(store));
        let session = storage.load(&[]).await.unwrap();
        session.insert("k", 1).unwrap();
        let CookieChange::Set { value, .. } = storage.save(&session).await.unwrap() else {
            panic!("a new session");
        };
        let cookie = value;
        let queue = Self { storage, cookie };
        queue.counts().take();
        queue
    }

    fn counts(&self) -> &Counting<Failing<Gate<MemoryBackend>>> {
        self.storage.backend().inner()
    }

    fn failing(&self) -> &Failing<Gate<MemoryBackend>> {
        self.counts().inner()
    }

    fn hold(&self, call: Call, when: When) -> Hold {
        self.failing().inner().hold(call, when)
    }

    /// Handles of as many requests, each with a key of its own set.
    async fn writers(&self, many: usize) -> Vec<Session> {
        let mut writers = Vec::new();
        for writer in 0..many {
            let session = self.storage.load(&[&self.cookie]).await.unwrap();
            session.insert(&format!("k{writer}"), writer).unwrap();
            writers.push(session);
        }
        self.counts().take();
        writers
    }

    fn save(&self, session: &Session) -> JoinHandle<Result<CookieChange>> {
        let (storage, session) = (self.storage.clone(), session.clone());
        tokio::spawn(async move { storage.save(&session).await })
    }

    /// A save that the test polls itself.
    fn by_hand(&self, session: &Session) -> ByHand {
        let (storage, session) = (self.storage.clone(), session.clone());
        ByHand(Box::pin(async move { storage.save(&session).await }))
    }

    async fn len(&self) -> usize {
        self.storage.load(&[&self.cookie]).await.unwrap().len()
    }

    /// A later save is one call: no entry of the queue was left behind.
    async fn is_clean(&self) {
        let later = self.writers(1).await.remove(0);
        later.insert("later", 1).unwrap();
        let start = Instant::now();
        self.storage.save(&later).await.unwrap();
        assert_eq!(
            (self.counts().take(), start.elapsed()),
            (update(1), NO_WAIT)
        );
    }
}

struct ByHand(Pin<Box<dyn Future<Output = Result<CookieChange>> + Send>>);

impl ByHand {
    fn poll(&mut self) -> Poll<Result<CookieChange>> {
        self.0
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
    }

    /// Polls until it is done, which must be soon.
    fn finish(mut self) -> Result<CookieChange> {
        for _ in 0..20 {
            if let Poll::Ready(saved) = self.poll() {
                return saved;
            }
        }
        panic!("it waits");
    }
}

fn update(many: usize) -> Calls {
    Calls {
        update: many,
        ..Calls::default()
    }
}

#[tokio::test(start_paused = true)]
async fn p2_writers_of_one_session_cost_one_update_each() {
    for many in [1, 2, 8, 64, 200, 800] {
        let queue = Queue::new().await;
        let writers = queue.writers(many).await;
        let saves: Vec<_> = writers.iter().map(|one| queue.save(one)).collect();
        for save in saves {
            save.await.unwrap().unwrap();
        }
        assert_eq!(queue.counts().take(), update(many));
        assert_eq!(queue.len().await, many + 1);
        queue.is_clean().await;
    }
}

#[tokio::test]
async fn p2_two_hundred_requests_on_one_session_all_get_200() {
    let app = App::new();
    let cookie = app.client().await;
    let loads: Vec<_> = (0..200)
        .map(|_| app.gate().hold(Call::Read, When::After))
        .collect();
    let requests: Vec<_> = (0..200)
        .map(|at| app.start(&cookie, &format!("/set/k{at}/v")))
        .collect();
    for load in &loads {
        load.reached().await;
    }
    for load in &loads {
        load.open();
    }
    for request in requests {
        assert_eq!(request.await.unwrap().status, 200);
    }
    let calls = app.counts().take();
    let expected = Calls {
        read: 200,
        ..update(200)
    };
    assert_eq!(calls, expected);
    assert_eq!(app.keys(&cookie).await.unwrap().len(), 201);
}

/// Two processes compete, and only they: a saver conflicts at most with the other process.
#[tokio::test]
async fn p2_two_processes_with_a_hundred_writers_each_cost_a_few_calls_a_writer() {
    let app = App::new();
    let cookie = app.client().await;
    let apps = [app.clone(), app.another()];
    let mut saves = Vec::new();
    for at in 0..200 {
        let app = apps[at % 2].clone();
        let session = app.storage.load(&[&cookie]).await.unwrap();
        session.insert(&format!("k{at}"), at).unwrap();
        saves.push((app, session));
    }
    app.counts().take();
    let saves: Vec<_> = saves
        .into_iter()
        .map(|(app, session)| tokio::spawn(async move { app.storage.save(&session).await }))
        .collect();
    for save in saves {
        save.await.unwrap().unwrap();
    }
    let calls = app.counts().take();
    assert!((200..=800).contains(&calls.update), "{calls:?}");
    assert_eq!(app.keys(&cookie).await.unwrap().len(), 201);
}

#[tokio::test(start_paused = true)]
async fn p6_a_holder_that_is_not_polled_delays_no_waiter_beyond_its_bound() {
    let queue = Queue::new().await;
    let writers = queue.writers(4).await;
    let mut holder = queue.by_hand(&writers[0]);
    assert!(holder.poll().is_pending());
    let start = Instant::now();
    let waiting: Vec<_> = writers[1..].iter().map(|one| queue.save(one)).collect();
    for waiting in waiting {
        let told = waiting.await.unwrap().unwrap_err();
        assert_eq!(told.kind(), ErrorKind::Unavailable);
    }
    assert!(start.elapsed() <= WHOLE, "{:?}", start.elapsed());
    // The waiters have kept their changes, and save them once the turn is free.
    drop(holder);
    for writer in &writers[1..] {
        assert!(writer.is_changed());
        queue.storage.save(writer).await.unwrap();
    }
    assert_eq!(queue.len().await, 4);
    queue.is_clean().await;
}

#[tokio::test(start_paused = true)]
async fn p5_a_cancelled_holder_passes_the_turn() {
    for when in [When::Before, When::After] {
        let queue = Queue::new().await;
        let writers = queue.writers(4).await;
        let held = queue.hold(Call::Update, when);
        let holder = queue.save(&writers[0]);
        held.reached().await;
        let waiting: Vec<_> = writers[1..].iter().map(|one| queue.save(one)).collect();
        tokio::task::yield_now().await;
        let start = Instant::now();
        holder.abort();
        for waiting in waiting {
            waiting.await.unwrap().unwrap();
        }
        assert_eq!(start.elapsed(), NO_WAIT);
        let stored = usize::from(when == When::After);
        assert_eq!(queue.len().await, 4 + stored);
        assert!(writers[0].is_changed(), "the change is given back");
        queue.storage.save(&writers[0]).await.unwrap();
        assert_eq!(queue.len().await, 5);
        queue.is_clean().await;
    }
}

#[tokio::test(start_paused = true)]
async fn p5_a_cancelled_waiter_leaves_the_queue() {
    let queue = Queue::new().await;
    let writers = queue.writers(4).await;
    let held = queue.hold(Call::Update, When::Before);
    let holder = queue.save(&writers[0]);
    held.reached().await;
    let waiting: Vec<_> = writers[1..].iter().map(|one| queue.save(one)).collect();
    tokio::task::yield_now().await;
    let start = Instant::now();
    waiting[0].abort();
    waiting[2].abort();
    tokio::task::yield_now().await;
    held.open();
    holder.await.unwrap().unwrap();
    for (at, waiting) in waiting.into_iter().enumerate() {
        assert_eq!(waiting.await.is_ok(), at == 1);
    }
    assert_eq!(
        (queue.counts().take(), start.elapsed()),
        (update(2), NO_WAIT)
    );
    assert!(writers[1].is_changed() && writers[3].is_changed());
    queue.is_clean().await;
}

/// The waiter is dropped between the moment it is given the turn and its next poll.
#[tokio::test(start_paused = true)]
async fn p5_a_waiter_that_is_cancelled_when_its_turn_comes_passes_it_on() {
    let queue = Queue::new().await;
    let writers = queue.writers(3).await;
    let mut saves: Vec<_> = writers.iter().map(|one| queue.by_hand(one)).collect();
    for save in &mut saves {
        assert!(save.poll().is_pending());
    }
    let (last, given, first) = (saves.pop(), saves.pop(), saves.pop());
    first.unwrap().finish().unwrap();
    drop(given);
    last.unwrap().finish().unwrap();
    // What the first has written was handed on to the last.
    assert_eq!(queue.counts().take(), update(2));
    queue.is_clean().await;
}

#[tokio::test(start_paused = true)]
async fn p6_a_store_that_fails_ends_every_save_at_its_first_call() {
    for when in [When::Before, When::After] {
        let queue = Queue::new().await;
        let writers = queue.writers(8).await;
        queue.failing().fail(0..=usize::MAX, when);
        let start = Instant::now();
        let saves: Vec<_> = writers.iter().map(|one| queue.save(one)).collect();
        for save in saves {
            let told = save.await.unwrap().unwrap_err();
            assert_eq!(told.kind(), ErrorKind::Unavailable);
        }
        queue.failing().heal();
        assert_eq!(
            (queue.counts().take(), start.elapsed()),
            (update(8), NO_WAIT)
        );
        for writer in &writers {
            queue.storage.save(writer).await.unwrap();
        }
        assert_eq!(queue.len().await, 9);
        queue.is_clean().await;
    }
}

/// The others go on outside the queue.
#[tokio::test(start_paused = true)]
async fn p6_a_holder_whose_call_fails_wakes_all_waiters() {
    for when in [When::Before, When::After] {
        let queue = Queue::new().await;
        let writers = queue.writers(8).await;
        queue.failing().fail(0..=0, when);
        let start = Instant::now();
        let saves: Vec<_> = writers.iter().map(|one| queue.save(one)).collect();
        for (at, save) in saves.into_iter().enumerate() {
            assert_eq!(save.await.unwrap().is_ok(), at > 0);
        }
        queue.failing().heal();
        assert_eq!(start.elapsed(), NO_WAIT);
        let stored = usize::from(when == When::After);
        assert_eq!(queue.len().await, 8 + stored);
        queue.is_clean().await;
    }
}

#[tokio::test(start_paused = true)]
async fn p6_a_silent_store_ends_every_save_within_its_bound() {
    let queue = Queue::new().await;
    let writers = queue.writers(8).await;
    for _ in 0..100 {
        queue.hold(Call::Update, When::Before);
    }
    let start = Instant::now();
    let saves: Vec<_> = writers.iter().map(|one| queue.save(one)).collect();
    for save in saves {
        let told = save.await.unwrap().unwrap_err();
        assert_eq!(told.kind(), ErrorKind::Unavailable);
    }
    // The holder's call, and then one call of each waiter at the same time.
    assert_eq!(start.elapsed(), LIMIT * 2);
    assert_eq!(queue.counts().take(), update(8));
}

#[tokio::test(start_paused = true)]
async fn p6_a_call_without_a_reply_delays_the_waiters_by_its_limit() {
    let queue = Queue::new().await;
    let writers = queue.writers(8).await;
    let _silent = queue.hold(Call::Update, When::Before);
    let start = Instant::now();
    let saves: Vec<_> = writers.iter().map(|one| queue.save(one)).collect();
    for (at, save) in saves.into_iter().enumerate() {
        assert_eq!(save.await.unwrap().is_ok(), at > 0);
    }
    assert_eq!(start.elapsed(), LIMIT);
    assert_eq!(queue.len().await, 8);
    queue.is_clean().await;
}

/// A login that ends eight sessions makes many calls. All of them together have one limit.
#[tokio::test(start_paused = true)]
async fn p6_a_whole_save_has_one_limit() {
    for ends in ["invalidate", "login", "renew"] {
        let queue = Queue::new().await;
        let mut cookies = vec![queue.cookie.clone()];
        for at in 0..7 {
            cookies.push(format!("{at:032}"));
        }
        let cookies: Vec<&str> = cookies.iter().map(String::as_str).collect();
        let session = queue.storage.load(&cookies).await.unwrap();
        match ends {
            "invalidate" => session.invalidate().unwrap(),
            "renew" => session.renew().unwrap(),
            _ => {
                session.invalidate().unwrap();
                session.insert("user", 1).unwrap();
            }
        }
        let silent = [Call::Read, Call::End, Call::Update];
        for _ in 0..100 {
            queue.failing().inner().hold_any(&silent, When::Before);
        }
        let start = Instant::now();
        let told = queue.storage.save(&session).await.unwrap_err();
        assert_eq!(told.kind(), ErrorKind::Unavailable);
        assert!(start.elapsed() <= WHOLE, "{ends}: {:?}", start.elapsed());
    }
}

/// A logout joins the queue like every other save.
#[tokio::test(start_paused = true)]
async fn p3_a_logout_among_the_writers_wins_and_the_later_ones_get_409() {
    let queue = Queue::new().await;
    let writers = queue.writers(8).await;
    writers[3].invalidate().unwrap();
    let saves: Vec<_> = writers.iter().map(|one| queue.save(one)).collect();
    for (at, save) in saves.into_iter().enumerate() {
        let saved = save.await.unwrap().map_err(|error| error.kind());
        match at {
            0..3 => assert!(saved.is_ok()),
            3 => assert_eq!(saved, Ok(CookieChange::Remove)),
            _ => assert_eq!(saved, Err(ErrorKind::Ended)),
        }
    }
    let calls = queue.counts().take();
    assert_eq!(calls.end, 1);
    assert!((3..8).contains(&calls.update), "{calls:?}");
}
