//! Users who log in, change their sessions and log out while a test closes their connections.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use session_core::{CookieChange, Storage};
use tokio::task::JoinSet;

/// The progress of a user who has done everything.
const FINISHED: u64 = u64::MAX;

/// Logs in. Returns the cookie.
pub async fn log_in(storage: &impl Storage) -> String {
    let session = storage.load(&[]).await.unwrap();
    session.insert("user", 1).unwrap();
    storage.save(&session).await.unwrap();
    session.identity().unwrap().as_str().to_owned()
}

/// Sets one more key.
pub async fn change(storage: &impl Storage, cookie: &str, key: &str) {
    let session = storage.load(&[cookie]).await.unwrap();
    session.insert(key, 1).unwrap();
    storage.save(&session).await.unwrap();
}

/// Logs out, and checks that the session has ended.
pub async fn log_out(storage: &impl Storage, cookie: &str) {
    let session = storage.load(&[cookie]).await.unwrap();
    session.invalidate().unwrap();
    let change = storage.save(&session).await.unwrap();
    assert_eq!(change, CookieChange::Remove);
    assert!(storage.load(&[cookie]).await.unwrap().is_new());
}

/// Users at work, each in a task. No call of theirs may fail.
#[derive(Debug, Default)]
pub struct BusyUsers {
    tasks: JoinSet<()>,
    progress: Vec<Arc<AtomicU64>>,
}

impl BusyUsers {
    /// Starts so many users of a storage.
    pub fn start<S: Storage>(&mut self, storage: &Arc<S>, count: usize) {
        for _ in 0..count {
            let (storage, done) = (storage.clone(), Arc::new(AtomicU64::new(0)));
            self.progress.push(done.clone());
            self.tasks.spawn(async move {
                let step = || done.fetch_add(1, Ordering::Relaxed);
                for round in 0..20 {
                    let cookie = log_in(&*storage).await;
                    step();
                    for key in ["a", "b", "c"] {
                        change(&*storage, &cookie, &format!("{key}{round}")).await;
                        step();
                    }
                    let session = storage.load(&[&cookie]).await.unwrap();
                    assert_eq!(session.len(), 4);
                    log_out(&*storage, &cookie).await;
                    step();
                }
                done.store(FINISHED, Ordering::Relaxed);
            });
        }
    }

    /// Returns whether all have done everything.
    pub fn are_done(&self) -> bool {
        self.tasks.is_empty()
    }

    /// Waits until each of them has gone on after connections were closed. A command is repeated
    /// once, so no user's command may meet two closes.
    pub async fn go_on(&mut self, patience: Duration) {
        let progress = self.progress.iter();
        let before: Vec<u64> = progress.map(|it| it.load(Ordering::Relaxed)).collect();
        let begun = Instant::now();
        loop {
            while let Some(done) = self.tasks.try_join_next() {
                done.unwrap();
            }
            let mut users = self.progress.iter().zip(&before);
            if users.all(|(now, before)| {
                let now = now.load(Ordering::Relaxed);
                now == FINISHED || now > *before + 1
            }) {
                return;
            }
            assert!(begun.elapsed() < patience, "a user stands still");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}
