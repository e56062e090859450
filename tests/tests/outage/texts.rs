//! What operators read in the log: the cause, and no secret.

use std::error::Error as _;
use std::net::SocketAddr;

use session_core::{DEFAULT_NAME, ErrorKind};
use session_memcached::MemcachedStorage;
use session_redis::RedisStorage;
use session_tests::logs::Logs;
use session_tests::memcached::MemcachedServer;
use session_tests::proxy::Proxy;
use session_tests::redis::RedisServer;

use crate::app::{Client, ask, serve};

/// Asks for `paths`, which are refused, and returns what was logged for it.
async fn refused(web: SocketAddr, client: &Client, paths: &[&str], logs: &Logs) -> String {
    assert_eq!(web, client.web);
    let before = logs.text().len();
    client.expect(503, paths).await;
    logged_since(before, client, logs)
}

/// Returns what was logged since there were `before` bytes.
fn logged_since(before: usize, client: &Client, logs: &Logs) -> String {
    // Events name the cookie, and no key, which begins with that name.
    logs.assert_without(&[&client.cookie, &format!("{DEFAULT_NAME}_")]);
    let text = logs.text()[before..].to_owned();
    print!("{text}");
    text
}

#[track_caller]
fn assert_says(log: &str, event: &str, cause: &str) {
    let mut lines = log.lines();
    let said = |line: &str| line.contains("ERROR") && line.contains(event) && line.contains(cause);
    assert!(lines.any(said), "no {event:?} with {cause:?}:\n{log}");
}

#[tokio::test]
async fn p6_the_log_says_what_redis_said() {
    let (logs, _capture) = Logs::capture();
    let mut store = RedisServer::start();
    let server = serve(&store.url()).await;
    let web = server.address();
    let client = Client::new(web).await;
    let ok = async |command: &str| {
        let reply: String = store.ask(command).await;
        assert_eq!(reply, "OK");
    };

    ok("CONFIG SET maxmemory 1").await;
    let log = refused(web, &client, &["/write/k", "/renew"], &logs).await;
    assert_says(
        &log,
        "session not saved",
        "redis: OOM command not allowed when used memory > 'maxmemory'",
    );
    ok("CONFIG SET maxmemory 0").await;

    ok("REPLICAOF 127.0.0.1 1").await;
    let log = refused(web, &client, &["/write/k", "/login"], &logs).await;
    assert_says(
        &log,
        "session not saved",
        "redis: READONLY You can't write against a read only replica",
    );
    ok("CONFIG SET replica-serve-stale-data no").await;
    let log = refused(web, &client, &["/read"], &logs).await;
    assert_says(
        &log,
        "session not loaded",
        "redis: MASTERDOWN Link with MASTER is down",
    );
    ok("REPLICAOF NO ONE").await;

    ok("ACL SETUSER default -get").await;
    let log = refused(web, &client, &["/read"], &logs).await;
    assert_says(
        &log,
        "session not loaded",
        "redis: NOPERM this user has no permissions to run the 'get' command",
    );
    ok("ACL SETUSER default +get").await;

    store.process().stop();
    let log = refused(web, &client, &["/read"], &logs).await;
    assert_says(
        &log,
        "session not loaded",
        "redis: no response within 500ms",
    );
    store.process().signal("CONT");
    client.resumes("stopped").await;

    store.kill();
    let log = refused(web, &client, &["/read", "/read"], &logs).await;
    assert_says(&log, "session not loaded", "redis: Connection refused");

    assert!(!logs.text().contains("connected to Redis again"));
    store.restart();
    client.resumes("killed").await;
    let again = logs.text().matches("connected to Redis again").count();
    assert_eq!(again, 1, "said once, when it is over");
}

/// The states of a Redis that the guide's page on operating lists. Each response is harmless, and
/// after each state the service goes on.
#[tokio::test]
async fn p6_the_log_says_which_state_redis_is_in() {
    let (logs, _capture) = Logs::capture();
    let folder = session_tests::processes::new_folder();
    std::fs::create_dir_all(&folder).unwrap();
    let store = RedisServer::start_with(&[
        "--dir",
        folder.to_str().unwrap(),
        "--dbfilename",
        "in-the-way",
        "--save",
        "3600 1000000",
        "--busy-reply-threshold",
        "50",
    ]);
    let server = serve(&store.url()).await;
    let web = server.address();
    let client = Client::new(web).await;
    let ok = async |command: &str| {
        let response: String = store.ask(command).await;
        assert_eq!(response, "OK");
    };
    let writes = ["/write/k", "/renew", "/logout", "/login"];

    // MISCONF: a folder has the name of the file that BGSAVE writes.
    std::fs::create_dir_all(folder.join("in-the-way/full")).unwrap();
    let _: String = store.ask("BGSAVE").await;
    while !store
        .ask::<String>("INFO persistence")
        .await
        .contains("bgsave_status:err")
    {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    let log = refused(web, &client, &writes, &logs).await;
    assert_says(&log, "session not saved", "redis: MISCONF");
    client.expect(200, &["/read"]).await;
    ok("CONFIG SET stop-writes-on-bgsave-error no").await;
    client.expect(200, &["/write/k"]).await;

    ok("CONFIG SET min-replicas-to-write 1").await;
    let log = refused(web, &client, &writes, &logs).await;
    assert_says(&log, "session not saved", "redis: NOREPLICAS");
    client.expect(200, &["/read"]).await;
    ok("CONFIG SET min-replicas-to-write 0").await;
    client.expect(200, &["/write/k"]).await;

    // BUSY: another program's script runs for too long.
    let mut other = store.connection().await;
    let endless = tokio::spawn(async move {
        let mut script = redis::cmd("EVAL");
        let script = script.arg("while true do end").arg(0);
        script.exec_async(&mut other).await
    });
    let log = loop {
        let log = refused(web, &client, &["/read"], &logs).await;
        if log.contains("BUSY") {
            break log;
        }
    };
    assert_says(&log, "session not loaded", "redis: BUSY");
    ok("SCRIPT KILL").await;
    assert!(endless.await.unwrap().is_err());
    client.resumes("a script").await;

    // A pause, as before a failover: silence. A read behind a paused write would wait with it.
    ok("CLIENT PAUSE 60000 WRITE").await;
    client.expect(200, &["/read"]).await;
    let log = refused(web, &client, &["/write/k"], &logs).await;
    assert_says(&log, "session not saved", "redis: no response within");
    ok("CLIENT UNPAUSE").await;
    client.resumes("a pause").await;

    // maxclients: only a new connection is refused.
    let mut control = store.connection().await;
    let mut ask = async |words: &[&str]| {
        redis::cmd(words[0])
            .arg(&words[1..])
            .query_async::<redis::Value>(&mut control)
            .await
            .unwrap()
    };
    ask(&["CONFIG", "SET", "maxclients", "1"]).await;
    client.expect(200, &["/read", "/write/k"]).await;
    ask(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]).await;
    let log = refused(web, &client, &["/read"], &logs).await;
    // Redis says so and closes. Which of the two the client sees first is not certain.
    assert_says(&log, "session not loaded", "redis: ");
    ask(&["CONFIG", "SET", "maxclients", "1000"]).await;
    client.resumes("too many clients").await;
    drop(store);
    std::fs::remove_dir_all(folder).unwrap();
}

#[tokio::test]
async fn p6_the_log_says_what_memcached_said() {
    let (logs, _capture) = Logs::capture();
    let mut store = MemcachedServer::start();
    let proxy = Proxy::start(store.port()).await;
    let server = serve(&format!("127.0.0.1:{}", proxy.port())).await;
    let web = server.address();
    let client = Client::new(web).await;

    let before = logs.text().len();
    let big = ask(web, "/big", Some(&client.cookie)).await;
    big.unwrap().assert_refused(500);
    let log = logged_since(before, &client, &logs);
    assert_says(
        &log,
        "session not saved",
        "memcached: SERVER_ERROR object too large for cache",
    );

    proxy.hold_replies();
    let log = refused(web, &client, &["/read"], &logs).await;
    assert_says(
        &log,
        "session not loaded",
        "memcached: no response within 500ms",
    );
    proxy.pass();
    proxy.tear(1);
    let log = refused(web, &client, &["/read"], &logs).await;
    assert_says(
        &log,
        "session not loaded",
        "memcached: the connection was closed",
    );
    proxy.tear(0);

    let direct = serve(&store.address()).await;
    store.kill();
    let client = Client {
        web: direct.address(),
        ..client
    };
    let log = refused(direct.address(), &client, &["/read"], &logs).await;
    assert_says(&log, "session not loaded", "memcached: Connection refused");
}

#[tokio::test]
async fn p6_a_store_that_cannot_be_used_is_heard_of_when_the_program_starts() {
    let mut store = RedisServer::start();
    let connect = async |url: String| {
        let error = RedisStorage::connect(&url).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        let text = format!("{error}: {}", error.source().unwrap());
        println!("{text}");
        assert!(!format!("{text} {error:?}").contains("secret"), "{text}");
        text
    };
    let url = |who: &str| format!("redis://{who}127.0.0.1:{}/", store.port());
    let text = connect(url("nobody:secret@")).await;
    assert!(text.contains("redis: the password was refused"), "{text}");
    let here = url("");
    store.kill();
    let text = connect(here).await;
    assert!(text.contains("redis: Connection refused"), "{text}");
    let error = MemcachedStorage::connect(&format!("127.0.0.1:{}", store.port())).await;
    let text = error.unwrap_err().source().unwrap().to_string();
    assert!(text.contains("memcached: Connection refused"), "{text}");
}
