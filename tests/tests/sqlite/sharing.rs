//! P2 and P3 where several connections, and several processes, share the file.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use session_core::keyed::{Found, Outcome};
use session_core::{CookieChange, CookieSettings, ErrorKind, KeyedStorage, Session, Storage as _};
use session_examples::sqlite::SqliteBackend;
use tokio::task::JoinSet;

use crate::{TOMBSTONE, count, create, end, look, new_file, open, replace};

/// The environment variables that make a writer of this program: the file, the session's cookie,
/// and which of the writers it is.
const WRITER: [&str; 3] = [
    "SESSION_SQLITE_FILE",
    "SESSION_SQLITE_COOKIE",
    "SESSION_SQLITE_NAME",
];

const WRITES: usize = 50;

type SqliteStorage = KeyedStorage<SqliteBackend>;

async fn storage(path: &Path) -> SqliteStorage {
    let cookie = CookieSettings::builder("sid").max_age(Duration::from_secs(3600));
    KeyedStorage::new(open(path).await).with_cookie(cookie.build().unwrap())
}

async fn start(storage: &SqliteStorage) -> String {
    let session = storage.load(&[]).await.unwrap();
    session.insert("first", true).unwrap();
    match storage.save(&session).await.unwrap() {
        CookieChange::Set { value, .. } => value,
        other => panic!("{other:?}"),
    }
}

fn keys(session: &Session) -> BTreeSet<String> {
    session.keys().into_iter().collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p2_thirty_two_writers_on_two_connections_keep_all_their_keys() {
    let path = new_file();
    let storages = [(); 2].map(|()| storage(&path));
    let [a, b] = storages;
    let storages = [Arc::new(a.await), Arc::new(b.await)];
    let cookie = start(&storages[0]).await;
    let mut writers = JoinSet::new();
    for number in 0..32 {
        let storage = storages[number % 2].clone();
        // All have loaded before one is saved.
        let session = storage.load(&[&cookie]).await.unwrap();
        session.insert(&format!("k{number}"), number).unwrap();
        writers.spawn(async move { storage.save(&session).await.unwrap() });
    }
    writers.join_all().await;
    let session = storages[1].load(&[&cookie]).await.unwrap();
    let all = (0..32).map(|number| format!("k{number}"));
    assert_eq!(keys(&session), all.chain(["first".into()]).collect());
}

#[tokio::test]
async fn p3_a_logout_on_another_connection_beats_a_slow_writer() {
    let path = new_file();
    let (slow, quick) = (storage(&path).await, storage(&path).await);
    let cookie = start(&slow).await;
    let writer = slow.load(&[&cookie]).await.unwrap();
    writer.insert("k", "v").unwrap();
    let leaver = quick.load(&[&cookie]).await.unwrap();
    leaver.invalidate().unwrap();
    assert_eq!(quick.save(&leaver).await.unwrap(), CookieChange::Remove);
    let error = slow.save(&writer).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Ended);
    assert!(slow.load(&[&cookie]).await.unwrap().is_new());
    let tombstone = format!("value = CAST('{TOMBSTONE}' AS BLOB) AND expires IS NOT NULL");
    let look = look(&path);
    assert_eq!((count(&look, "true"), count(&look, &tombstone)), (1, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_those_who_swap_on_several_connections_one_wins() {
    let path = new_file();
    let mut backends = Vec::new();
    for _ in 0..4 {
        backends.push(Arc::new(open(&path).await));
    }
    for round in 0..20 {
        let key = format!("sid_of_a_session_{round}");
        let mut creators = JoinSet::new();
        for backend in backends.clone() {
            let key = key.clone();
            creators.spawn(async move { create(&backend, &key, "1").await.unwrap() });
        }
        let created = creators.join_all().await;
        let done = created.iter().filter(|how| is_written(how)).count();
        assert_eq!(done, 1, "round {round}");
        let mut writers = JoinSet::new();
        for (number, backend) in backends.iter().cloned().enumerate() {
            let value = Bytes::from(format!("of {number}"));
            let key = key.clone();
            writers.spawn(async move { replace(&backend, &key, "1", value).await.unwrap() });
        }
        let (mut winner, mut told) = (Vec::new(), Vec::new());
        for outcome in writers.join_all().await {
            match outcome {
                Outcome::Written(now) => winner.push(now.value().clone()),
                Outcome::Found(Found::Value(now)) => told.push(now.value().clone()),
                Outcome::Found(found) => panic!("no record: {found:?}"),
            }
        }
        assert_eq!((winner.len(), told.len()), (1, 3), "round {round}");
        assert!(told.iter().all(|value| *value == winner[0]));
        let mut enders = JoinSet::new();
        for backend in backends.clone() {
            let (key, was) = (key.clone(), winner[0].clone());
            enders.spawn(async move { end(&backend, &key, was).await.unwrap() });
        }
        let ended = enders.join_all().await;
        let done = ended.iter().filter(|how| is_written(how));
        assert_eq!(done.count(), 1, "round {round}");
    }
}

fn is_written(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Written(_))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_open_a_new_file_at_the_same_time() {
    for _ in 0..10 {
        let path = new_file();
        let mut all = JoinSet::new();
        for _ in 0..8 {
            let path = path.clone();
            all.spawn(async move { open(&path).await });
        }
        assert_eq!(all.join_all().await.len(), 8);
    }
}

#[test]
fn p2_two_processes_keep_all_their_keys() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let path = new_file();
    let storage = runtime.block_on(storage(&path));
    let cookie = runtime.block_on(start(&storage));
    let mut writers = ["a", "b"].map(|name| {
        let mut writer = Command::new(std::env::current_exe().unwrap());
        writer.args(["--exact", "sharing::write", "--ignored"]);
        writer
            .env(WRITER[0], &path)
            .env(WRITER[1], &cookie)
            .env(WRITER[2], name);
        writer.spawn().unwrap()
    });
    assert!(
        writers
            .iter_mut()
            .all(|writer| writer.wait().unwrap().success())
    );
    let session = runtime.block_on(storage.load(&[&cookie])).unwrap();
    let all = (0..WRITES).flat_map(|turn| [format!("a{turn}"), format!("b{turn}")]);
    assert_eq!(keys(&session), all.chain(["first".into()]).collect());
}

#[tokio::test]
#[ignore = "no test: the one above starts it, in processes of its own"]
async fn write() {
    let [Ok(path), Ok(cookie), Ok(name)] = WRITER.map(std::env::var) else {
        return;
    };
    let storage = storage(path.as_ref()).await;
    for turn in 0..WRITES {
        let session = storage.load(&[&cookie]).await.unwrap();
        session.insert(&format!("{name}{turn}"), turn).unwrap();
        storage.save(&session).await.unwrap();
    }
}
