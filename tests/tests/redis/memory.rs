//! A Redis that is out of memory.

use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::{Cmd, Pipeline, RedisFuture, Value};
use session_core::keyed::{Backend as _, Found, OnlyIf, Outcome, Stored, Write};
use session_core::{Error, ErrorKind};
use session_redis::RedisBackend;
use session_tests::logs::all_texts;
use session_tests::redis::RedisServer;

use crate::{
    KEY, MINUTE, PATIENCE, TOMBSTONE, backend, compares_by, found, names, record, set_memory,
    tombstone, written,
};

#[track_caller]
fn assert_out_of_memory(outcome: Result<Outcome, Error>) {
    let error = outcome.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(all_texts(&error).contains("OOM command not allowed"));
}

/// A Redis that is out of memory refuses records, and keeps what it has.
#[tokio::test]
async fn p6_redis_without_memory_refuses_records() {
    let server = RedisServer::start_with(&["--maxmemory-policy", "noeviction"]);
    let backend = backend(&server).await;
    let first = backend.write(KEY, record("v1"), OnlyIf::Missing).await;
    assert_eq!(first.unwrap(), written("v1"));
    let compares = compares_by(&server).await;
    set_memory(&server, "1").await;
    let (v1, other) = (Stored::new("v1"), Stored::new("other"));
    assert_out_of_memory(
        backend
            .write(KEY, record("v2"), OnlyIf::Unchanged(&v1))
            .await,
    );
    let missing = KEY.replace('0', "1");
    assert_out_of_memory(backend.write(&missing, record("v"), OnlyIf::Missing).await);
    let conflict = backend.write(KEY, record("v2"), OnlyIf::Unchanged(&other));
    match compares {
        "SET" => assert_out_of_memory(conflict.await), // refused before it compares
        _ => assert_eq!(conflict.await.unwrap(), found("v1")),
    }
    assert_eq!(backend.read(KEY).await.unwrap(), Found::Value(v1));
    assert_eq!(backend.read(&missing).await.unwrap(), Found::Missing);
}

/// A Redis that is out of memory ends sessions: it deletes the record under the condition of the
/// tombstone.
#[tokio::test]
async fn p3_redis_without_memory_ends_sessions() {
    let server = RedisServer::start_with(&["--maxmemory-policy", "noeviction"]);
    let backend = backend(&server).await;
    let monitor = server.monitor();
    let write = async |only_if| backend.write(KEY, tombstone(), only_if).await.unwrap();
    let (v1, other) = (Stored::new("v1"), Stored::new("other"));
    let first = backend.write(KEY, record("v1"), OnlyIf::Missing).await;
    assert_eq!(first.unwrap(), written("v1"));
    // `MONITOR` does not show a `SET` that is refused. A script follows it.
    let is_script = compares_by(&server).await == "EVALSHA";
    set_memory(&server, "1").await;
    server.ask::<()>("SCRIPT FLUSH").await;
    names(&monitor);

    // What is there does not fit the condition: nothing changes.
    assert_eq!(write(OnlyIf::Unchanged(&other)).await, found("v1"));
    assert_eq!(names(&monitor), ["EVALSHA", "EVAL"]);
    assert_eq!(write(OnlyIf::Missing).await, found("v1"));
    assert_eq!(names(&monitor), ["GET"], "after a SET that was refused");
    assert_eq!(backend.read(KEY).await.unwrap(), Found::Value(v1.clone()));
    names(&monitor);

    // It does: the record is deleted.
    assert_eq!(write(OnlyIf::Unchanged(&v1)).await, written(TOMBSTONE));
    let scripts = ["EVALSHA", "EVALSHA"];
    assert_eq!(names(&monitor), scripts[usize::from(!is_script)..]);
    assert_eq!(backend.read(KEY).await.unwrap(), Found::Missing);
    names(&monitor);

    // Nothing is there: nothing is stored.
    let gone = Outcome::Found(Found::Missing);
    assert_eq!(write(OnlyIf::Unchanged(&v1)).await, gone);
    assert_eq!(names(&monitor), ["EVALSHA"]);
    assert_eq!(write(OnlyIf::Missing).await, written(TOMBSTONE));
    assert_eq!(names(&monitor), ["GET"], "after a SET that was refused");
    assert_eq!(backend.read(KEY).await.unwrap(), Found::Missing);

    // With memory again the tombstone is stored.
    set_memory(&server, "0").await;
    assert_eq!(write(OnlyIf::Missing).await, written(TOMBSTONE));
    let stored = Found::Value(Stored::new(TOMBSTONE));
    assert_eq!(backend.read(KEY).await.unwrap(), stored);
}

/// Another program writes between the tombstone that Redis refuses and the delete. The delete
/// compares, too.
#[tokio::test]
async fn p3_redis_without_memory_deletes_only_what_was_read() {
    let server = RedisServer::start_with(&["--maxmemory-policy", "noeviction"]);
    let connection = server.connection().await;
    let backend = RedisBackend::new(WritesBetween(connection)).with_timeout(PATIENCE);
    let (v1, v2) = (Stored::new("v1"), Stored::new("v2"));
    let first = backend.write(KEY, record("v1"), OnlyIf::Missing).await;
    assert_eq!(first.unwrap(), written("v1"));
    set_memory(&server, "1").await;
    let outcome = backend.write(KEY, tombstone(), OnlyIf::Unchanged(&v1));
    assert_eq!(outcome.await.unwrap(), found("v2"));
    assert_eq!(backend.read(KEY).await.unwrap(), Found::Value(v2));
}

/// A connection that writes `v2` after each command that Redis refuses for lack of memory.
#[derive(Clone)]
struct WritesBetween(MultiplexedConnection);

impl ConnectionLike for WritesBetween {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        Box::pin(async move {
            let reply = self.0.req_packed_command(command).await?;
            if matches!(&reply, Value::ServerError(error) if error.code() == "OOM") {
                for line in [
                    "CONFIG SET maxmemory 0",
                    "SET key v2",
                    "CONFIG SET maxmemory 1",
                ] {
                    let mut write = Cmd::new();
                    let words = line.split(' ');
                    write.arg(
                        words
                            .map(|word| if word == "key" { KEY } else { word })
                            .collect::<Vec<_>>(),
                    );
                    write.exec_async(&mut self.0).await?;
                }
            }
            Ok(reply)
        })
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        commands: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        self.0.req_packed_commands(commands, offset, count)
    }

    fn get_db(&self) -> i64 {
        self.0.get_db()
    }
}

/// A Redis whose memory is really full, and which does not know the script.
#[tokio::test]
async fn p3_a_filled_redis_without_the_script_ends_sessions() {
    let server = RedisServer::start_with(&["--maxmemory-policy", "noeviction"]);
    let backend = backend(&server).await;
    let is_script = compares_by(&server).await == "EVALSHA";
    let v = Stored::new("v");
    let first = backend.write(KEY, record("v"), OnlyIf::Missing).await;
    assert_eq!(first.unwrap(), written("v"));
    let info: String = server.ask("INFO memory").await;
    let used = info
        .lines()
        .find_map(|line| line.strip_prefix("used_memory:"));
    let used: usize = used.unwrap().trim().parse().unwrap();
    set_memory(&server, &(used + 1_000_000).to_string()).await;
    let long = "x".repeat(10_000);
    let mut filled = 0;
    loop {
        let key = format!("test_{filled:032}");
        let write = Write::record(long.clone(), Some(MINUTE));
        if backend.write(&key, write, OnlyIf::Missing).await.is_err() {
            break;
        }
        filled += 1;
        assert!(filled < 1000, "it never fills up");
    }
    server.ask::<()>("SCRIPT FLUSH").await;
    let monitor = server.monitor();
    let outcome = backend.write(KEY, tombstone(), OnlyIf::Unchanged(&v)).await;
    assert_eq!(outcome.unwrap(), written(TOMBSTONE));
    // The second is the delete, after a tombstone that was refused.
    let commands = ["EVALSHA", "EVAL", "EVALSHA"];
    assert_eq!(names(&monitor), commands[..if is_script { 3 } else { 2 }]);
    assert_eq!(backend.read(KEY).await.unwrap(), Found::Missing);
}
