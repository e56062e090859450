//! Many writers of one session in one process: `bench-conflicts ROUNDS WRITERS..`, with the stores'
//! addresses in `REDIS_URL` and `MEMCACHED`.
//!
//! In each burst all writers load the session. Then all save at once, each with a key of its own.
//! Beside them a reader loads another user's session again and again through the same storage.
//! The program prints a line of JSON for each store, number of writers and round.

mod api;
mod stores;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use session_core::{Error, Session, Storage};

use crate::stores::Store;

/// Bursts of few writers are repeated until about this many have saved.
const WRITERS_A_ROUND: usize = 400;

/// The reads before the first burst, for comparison.
const IDLE_READS: usize = 500;

fn main() -> Result<(), Error> {
    bench_common::runtime().block_on(run())
}

async fn run() -> Result<(), Error> {
    let mut numbers = std::env::args()
        .skip(1)
        .map(|text| text.parse().expect("a number"));
    let rounds: usize = numbers
        .next()
        .expect("usage: bench-conflicts ROUNDS WRITERS..");
    let writers: Vec<usize> = numbers.collect();
    let (redis, memcached) = (variable("REDIS_URL"), variable("MEMCACHED"));
    for store in [Store::Redis(&redis), Store::Memcached(&memcached)] {
        for &writers in &writers {
            for _ in 0..rounds {
                let storage = match store {
                    Store::Redis(url) => api::redis(url).await?,
                    Store::Memcached(address) => api::memcached(address).await?,
                };
                println!("{}", round(store, storage, writers).await?.json());
            }
        }
    }
    Ok(())
}

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set"))
}

#[derive(Default)]
struct Round {
    store: &'static str,
    writers: usize,
    bursts: usize,
    saved: usize,
    /// How many saves failed, by the kind of their errors.
    failed: BTreeMap<String, usize>,
    /// Acknowledged keys that the session does not have afterwards.
    lost: usize,
    /// Commands of the saves alone: without the writers' loads and the reader's.
    commands: u64,
    seconds: f64,
    idle: Vec<Duration>,
    beside: Vec<Duration>,
}

async fn round(
    store: Store<'_>,
    storage: Arc<dyn Storage>,
    writers: usize,
) -> Result<Round, Error> {
    let mut round = Round {
        store: store.name(),
        writers,
        bursts: WRITERS_A_ROUND.div_ceil(writers),
        ..Round::default()
    };
    let reader = new_session(&*storage).await?;
    for _ in 0..IDLE_READS {
        round.idle.push(read(&*storage, &reader).await?);
    }
    for _ in 0..round.bursts {
        burst(store, &storage, &reader, &mut round).await?;
    }
    Ok(round)
}

async fn burst(
    store: Store<'_>,
    storage: &Arc<dyn Storage>,
    reader: &str,
    round: &mut Round,
) -> Result<(), Error> {
    let cookie = new_session(&**storage).await?;
    let mut sessions = Vec::new();
    for number in 0..round.writers {
        let session = api::load(&**storage, Some(&cookie)).await?;
        api::set(&session, &format!("k{number}"))?;
        sessions.push(session);
    }
    let before = store.commands();
    let done = Arc::new(AtomicBool::new(false));
    let reads = tokio::spawn(read_until(storage.clone(), reader.to_owned(), done.clone()));
    let start = Instant::now();
    let tasks: Vec<_> = sessions
        .into_iter()
        .map(|session| tokio::spawn(save(storage.clone(), session)))
        .collect();
    let mut saved = Vec::new();
    for (number, task) in tasks.into_iter().enumerate() {
        match task.await.expect("a task that does not panic") {
            Ok(()) => saved.push(number),
            Err(error) => *round.failed.entry(api::kind(&error)).or_default() += 1,
        }
    }
    round.seconds += start.elapsed().as_secs_f64();
    done.store(true, Ordering::Relaxed);
    let reads = reads.await.expect("a task that does not panic");
    round.commands += (store.commands() - before).saturating_sub(reads.len() as u64);
    round.beside.extend(reads.into_iter().flatten());
    round.saved += saved.len();
    let session = api::load(&**storage, Some(&cookie)).await?;
    for number in saved {
        if !api::has(&session, &format!("k{number}"))? {
            round.lost += 1;
        }
    }
    Ok(())
}

async fn save(storage: Arc<dyn Storage>, session: Session) -> Result<(), Error> {
    api::save(&*storage, &session).await
}

/// Loads a session until `done`. Returns how long each load took; `None` is a load that failed.
async fn read_until(
    storage: Arc<dyn Storage>,
    cookie: String,
    done: Arc<AtomicBool>,
) -> Vec<Option<Duration>> {
    let mut reads = Vec::new();
    while !done.load(Ordering::Relaxed) {
        reads.push(read(&*storage, &cookie).await.ok());
        tokio::task::yield_now().await;
    }
    reads
}

async fn read(storage: &dyn Storage, cookie: &str) -> Result<Duration, Error> {
    let start = Instant::now();
    api::load(storage, Some(cookie)).await?;
    Ok(start.elapsed())
}

/// Stores a session of a logged-in user and returns the value of its cookie.
async fn new_session(storage: &dyn Storage) -> Result<String, Error> {
    let session = api::load(storage, None).await?;
    for key in ["user_id", "name", "roles", "last_visit", "counter"] {
        api::set(&session, key)?;
    }
    api::create(storage, &session).await
}

impl Round {
    fn json(mut self) -> String {
        let failed: Vec<String> = self
            .failed
            .iter()
            .map(|(kind, count)| format!("\"{kind}\":{count}"))
            .collect();
        format!(
            "{{\"store\":\"{}\",\"writers\":{},\"bursts\":{},\"saved\":{},\"failed\":{{{}}},\
             \"lost\":{},\"commands\":{},\"ms\":{:.3},\"idle_ms\":{:.4},\"beside_ms\":{:.4},\
             \"reads\":{}}}",
            self.store,
            self.writers,
            self.bursts,
            self.saved,
            failed.join(","),
            self.lost,
            self.commands,
            1e3 * self.seconds / divisor(self.bursts),
            median(&mut self.idle),
            median(&mut self.beside),
            self.beside.len(),
        )
    }
}

#[expect(clippy::cast_precision_loss, reason = "there are few bursts")]
fn divisor(bursts: usize) -> f64 {
    bursts as f64
}

/// Returns the median in milliseconds, 0 if there is none.
fn median(times: &mut [Duration]) -> f64 {
    times.sort_unstable();
    times
        .get(times.len() / 2)
        .map_or(0.0, |time| 1e3 * time.as_secs_f64())
}
