//! A database or a thread that is not available: calls are bounded, and dropped calls do no harm.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::Connection;
use session_core::keyed::{Backend as _, Found, OnlyIf, Write};
use session_core::{CookieChange, ErrorKind, KeyedStorage, Result, Storage as _};
use session_examples::sqlite::SqliteBackend;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::{
    PATIENCE, TOMBSTONE, count, create, end, look, new_file, open, record, replace, written,
};

const KEY: &str = "sid_of_a_session";

/// What the calls that are dropped replace.
const OLD: &str = "expires with the hour";

/// The bound that these tests set, and one that a call bounded so keeps on a busy machine.
const BOUND: Duration = Duration::from_secs(1);
const SOON: Duration = Duration::from_secs(10);

/// Locks the file against every other writer.
fn lock(path: &Path) -> Connection {
    let other = look(path);
    other.execute_batch("BEGIN EXCLUSIVE").unwrap();
    other
}

#[track_caller]
fn assert_unavailable<T: std::fmt::Debug>(outcome: Result<T>) {
    assert_eq!(outcome.unwrap_err().kind(), ErrorKind::Unavailable);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_locked_database_is_unavailable_within_the_bound_and_does_no_harm() {
    let path = new_file();
    let backend = open(&path).await;
    create(&backend, KEY, "1").await.unwrap();
    let backend = Arc::new(backend.with_timeout(BOUND));
    let other = lock(&path);
    let begun = Instant::now();
    let mut calls = JoinSet::new();
    // One that waits for the lock alone has a bound already; those behind it need one of their own.
    for turn in 0..60 {
        let backend = backend.clone();
        let key = format!("{KEY}_{turn}");
        calls.spawn(async move {
            match turn % 3 {
                0 => assert_unavailable(create(&backend, &key, "x").await),
                1 => assert_unavailable(replace(&backend, KEY, "1", "x").await),
                _ => assert_unavailable(end(&backend, KEY, "1").await),
            }
        });
    }
    // In WAL mode a reader does not wait for a writer.
    assert_eq!(backend.read(KEY).await.unwrap(), record("1"));
    while let Some(call) = calls.join_next().await {
        call.unwrap();
    }
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    // A call that was waiting in SQLite when its caller gave up has given up as well.
    sleep(BOUND).await;
    other.execute_batch("COMMIT").unwrap();
    sleep(BOUND).await;
    assert_eq!(
        (
            count(&other, "true"),
            count(&other, "value = CAST('1' AS BLOB)")
        ),
        (1, 1)
    );
    let backend = Arc::into_inner(backend).unwrap().with_timeout(PATIENCE);
    let replaced = replace(&backend, KEY, "1", "2").await;
    assert_eq!(replaced.unwrap(), written("2"), "without a restart");
}

/// As with a disk that hangs: it is not SQLite that says no.
#[test]
fn a_call_that_gets_no_thread_is_unavailable_within_the_bound_and_not_carried_out_later() {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.max_blocking_threads(1).enable_time().build();
    runtime.unwrap().block_on(async {
        let backend = open(&new_file()).await;
        create(&backend, KEY, "1").await.unwrap();
        let backend = backend.with_timeout(BOUND);
        let (release, held) = std::sync::mpsc::channel::<()>();
        let thread = tokio::task::spawn_blocking(move || held.recv().unwrap_err());
        for _ in 0..2 {
            // The second waits behind the first, which has the connection and no thread.
            let read = timeout(SOON, backend.read(KEY)).await;
            assert_unavailable(read.expect("there is a bound"));
            let replaced = replace(&backend, KEY, "1", "2");
            assert_unavailable(timeout(SOON, replaced).await.expect("there is a bound"));
        }
        drop(release);
        thread.await.unwrap();
        let backend = backend.with_timeout(PATIENCE);
        let ended = end(&backend, KEY, "1").await;
        assert_eq!(ended.unwrap(), written(TOMBSTONE));
    });
}

#[tokio::test]
async fn a_session_that_could_not_be_saved_can_be_saved_afterwards() {
    let path = new_file();
    let storage = KeyedStorage::new(open(&path).await.with_timeout(BOUND));
    let session = storage.load(&[]).await.unwrap();
    session.insert("user", "ada").unwrap();
    let other = lock(&path);
    assert_unavailable(storage.save(&session).await);
    drop(other);
    let CookieChange::Set { value, .. } = storage.save(&session).await.unwrap() else {
        panic!("no cookie")
    };
    assert_eq!(storage.load(&[&value]).await.unwrap().keys(), ["user"]);
    assert_eq!(count(&look(&path), "true"), 1);
}

#[tokio::test]
async fn a_file_that_another_program_keeps_for_itself_is_unavailable_to_readers_too() {
    let path = new_file();
    let backend = open(&path).await;
    create(&backend, KEY, "1").await.unwrap();
    drop(backend);
    let other = look(&path);
    let keep = "PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE; DELETE FROM sessions; COMMIT";
    other.execute_batch(keep).unwrap();
    let begun = Instant::now();
    assert_unavailable(SqliteBackend::open(&path).await);
    assert!(begun.elapsed() < SOON * 3, "{:?}", begun.elapsed());
    drop(other);
    let found = open(&path).await.read(KEY).await;
    assert_eq!(found.unwrap(), Found::Missing);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_is_dropped_is_carried_out_as_a_whole_or_not_at_all() {
    let path = new_file();
    let backend = Arc::new(open(&path).await);
    let hour = Some(Duration::from_secs(3600));
    let mut all = JoinSet::new();
    for turn in 0..200_u64 {
        let backend = backend.clone();
        all.spawn(async move {
            let key = format!("{KEY}_{turn}");
            let write = Write::record(OLD, hour);
            backend.write(&key, write, OnlyIf::Missing).await.unwrap();
            let wait = Duration::from_micros(turn * 37 % 3000);
            let swap = replace(&backend, &key, OLD, "new");
            timeout(wait, swap).await.is_ok()
        });
    }
    let completed = all
        .join_all()
        .await
        .into_iter()
        .filter(|done| *done)
        .count();
    // Whatever was dropped and runs on is done when the next call is, as calls take turns.
    create(&backend, KEY, "last").await.unwrap();
    let look = look(&path);
    let replaced = count(&look, "value = CAST('new' AS BLOB) AND expires IS NULL");
    let left = count(
        &look,
        &format!("value = CAST('{OLD}' AS BLOB) AND expires IS NOT NULL"),
    );
    assert_eq!((replaced + left, count(&look, "true")), (200, 201));
    assert!(
        usize::try_from(replaced).unwrap() >= completed,
        "{replaced} of {completed}"
    );
    assert!(completed < 200, "none was dropped");
    let check: String = look
        .query_row("PRAGMA integrity_check", (), |row| row.get(0))
        .unwrap();
    assert_eq!(check, "ok");
}

#[tokio::test]
async fn a_call_that_is_dropped_before_its_turn_did_nothing() {
    let path = new_file();
    let backend = open(&path).await;
    create(&backend, KEY, "1").await.unwrap();
    let other = lock(&path);
    // The first waits in SQLite for the lock, the second for the first, whose record it would end.
    let first = replace(&backend, KEY, "1", "2");
    let second = end(&backend, KEY, "2");
    let both = async { tokio::join!(first, second) };
    assert!(timeout(BOUND, both).await.is_err());
    drop(other);
    let begun = Instant::now();
    loop {
        // The first is carried out although its caller is gone, the second is not.
        if backend.read(KEY).await.unwrap() == record("2") {
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "the connection is lost");
        sleep(Duration::from_millis(5)).await;
    }
    let replaced = replace(&backend, KEY, "2", "3").await;
    assert_eq!(replaced.unwrap(), written("3"));
}
