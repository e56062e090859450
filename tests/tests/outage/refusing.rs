//! The store responds, and says no.

use std::fmt::Write as _;
use std::fs;

use session_tests::memcached::MemcachedServer;
use session_tests::processes::new_folder;
use session_tests::redis::RedisServer;
use tokio::task::block_in_place;

use crate::app::{ALL, Client, ask, serve};

async fn ok(server: &RedisServer, command: &str) {
    let response: String = server.ask(command).await;
    assert_eq!(response, "OK", "{command}");
}

/// Sessions can be read and ended. New ones and changes are refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p6_redis_without_memory_refuses_changes_and_loses_nothing() {
    let store = RedisServer::start_with(&["--maxmemory-policy", "noeviction"]);
    let server = serve(&store.url()).await;
    let client = Client::new(server.address()).await;
    let other = Client::new(server.address()).await;
    ok(&store, "CONFIG SET maxmemory 1").await;
    client
        .expect(503, &["/write/lost", "/renew", "/login"])
        .await;
    let first = ask(server.address(), "/write/first", None).await.unwrap();
    first.assert_harmless();
    assert_eq!(first.status, 503);
    assert_eq!(client.ask("/read").await.body, "first");
    other.expect(200, &["/logout"]).await;
    assert_eq!(other.ask("/read").await.body, "");
    ok(&store, "CONFIG SET maxmemory 0").await;
    let response = client.ask("/write/after").await;
    assert_eq!(
        (&*response.body, response.cookie()),
        ("first after", Some(client.cookie.clone()))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p6_a_record_over_one_mebibyte_is_refused_by_memcached_and_keeps_what_was_stored() {
    let store = MemcachedServer::start();
    let server = serve(&store.address()).await;
    let client = Client::new(server.address()).await;
    let refused = ask(server.address(), "/big", Some(&client.cookie)).await;
    refused.unwrap().assert_refused(500);
    let response = client.ask("/write/after").await;
    assert_eq!(
        (&*response.body, response.cookie()),
        ("first after", Some(client.cookie.clone()))
    );
    let first = ask(server.address(), "/big", None).await.unwrap();
    first.assert_refused(500);
    assert_eq!(store.keys().len(), 1);
}

/// With `-M` memcached responds with an error instead of evicting an item. A logout needs memory,
/// too: it succeeds as long as one of the larger sizes has some.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p6_memcached_without_memory_refuses_new_sessions_and_loses_nothing() {
    let store = MemcachedServer::start_with(&["-M", "-m", "2"]);
    let server = serve(&store.address()).await;
    let client = Client::new(server.address()).await;
    // The sizes of tombstones, of sessions, and of sessions that were renewed.
    for size in [3, 50, 100, 150] {
        block_in_place(|| fill(&store, size));
    }
    let first = ask(server.address(), "/write/first", None).await.unwrap();
    first.assert_refused(503);
    client
        .expect(503, &["/write/lost", "/login", "/renew"])
        .await;
    assert_eq!(client.ask("/read").await.body, "first");
    client.expect(200, &["/logout"]).await;
    assert_eq!(client.ask("/read").await.body, "");
    assert_eq!(store.stats()["evictions"], 0);
}

/// Stores values of about `size` bytes until memcached has no memory for another one. memcached
/// keeps memory for each size apart.
fn fill(store: &MemcachedServer, size: usize) {
    for round in 0..100 {
        for size in [size, size + 25] {
            let value = "x".repeat(size);
            let mut lines = String::new();
            for number in 0..5000 {
                let key = format!("fill-{size:03}-{round:03}-{number:035}");
                write!(lines, "set {key} 0 0 {size} noreply\r\n{value}\r\n").unwrap();
            }
            lines += "version";
            store.ask(&lines, "\r\n");
        }
        let is_full = |size: usize| {
            let value = "x".repeat(size);
            let add = format!("add fill-{size:03}-{:039} 0 0 {size}\r\n{value}", 0);
            store
                .ask(&add, "\r\n")
                .starts_with("SERVER_ERROR out of memory")
        };
        if is_full(size) && is_full(size + 25) {
            return;
        }
    }
    panic!("it never fills up");
}

/// Reads get what the replica has; `/login` needs no read, and is refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p6_redis_that_became_a_replica_refuses_changes() {
    let store = RedisServer::start();
    let server = serve(&store.url()).await;
    let client = Client::new(server.address()).await;
    ok(&store, "REPLICAOF 127.0.0.1 1").await;
    assert_eq!(client.ask("/read").await.body, "first");
    client.expect(503, &ALL[1..]).await;
    ok(&store, "CONFIG SET replica-serve-stale-data no").await;
    client.expect(503, &ALL).await;
    ok(&store, "REPLICAOF NO ONE").await;
    assert_eq!(client.resumes("a replica").await.body, "first");
    client.expect(200, &["/write/after", "/renew"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p6_redis_that_loads_its_data_delays_no_request_and_loses_nothing() {
    let folder = new_folder();
    fs::create_dir_all(&folder).unwrap();
    let mut store = RedisServer::start_with(&[
        "--dir",
        folder.to_str().unwrap(),
        "--enable-debug-command",
        "yes",
        // Slowly, and responding meanwhile.
        "--key-load-delay",
        "1000",
        "--loading-process-events-interval-bytes",
        "1024",
    ]);
    let server = serve(&store.url()).await;
    let client = Client::new(server.address()).await;
    let _: String = store.ask("DEBUG POPULATE 1500").await;
    ok(&store, "SAVE").await;
    block_in_place(|| {
        store.kill();
        store.restart();
    });
    // The connection comes back first.
    let mut refused = 0;
    while !block_in_place(|| loading(&store)).is_empty() {
        // The last of these may find it loaded.
        for path in ["/read", "/write/after"] {
            refused += usize::from(client.ask(path).await.status == 503);
        }
    }
    println!("refused while it loaded: {refused}");
    assert!(refused > 10);
    assert!(client.resumes("loaded").await.body.starts_with("first"));
    assert_eq!(client.ask("/write/after").await.body, "first after");
    drop(store);
    fs::remove_dir_all(folder).unwrap();
}

/// What a Redis says that still loads its data; nothing afterwards.
fn loading(store: &RedisServer) -> String {
    let said = session_tests::processes::ask_raw(store.port(), "PING\r\n", "\r\n").unwrap();
    if said.starts_with("-LOADING") {
        said
    } else {
        String::new()
    }
}

/// The rights that the docs name are enough; without one of them, or with another password, it is
/// an outage like any other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p6_a_user_whose_rights_are_taken_away_is_an_outage() {
    let store = RedisServer::start();
    let rights = "~AIOHTTP_SESSION_* +get +set +del +eval +evalsha +select";
    ok(
        &store,
        &format!("ACL SETUSER sessions on >password {rights}"),
    )
    .await;
    let url = format!("redis://sessions:password@127.0.0.1:{}/0", store.port());
    let server = serve(&url).await;
    let client = Client::new(server.address()).await;
    client.expect(200, &["/read", "/write/k"]).await;
    Client::new(server.address())
        .await
        .expect(200, &["/logout", "/login"])
        .await;

    ok(&store, "ACL SETUSER sessions -get").await;
    client
        .expect(503, &["/read", "/write/lost", "/renew", "/logout"])
        .await;
    ok(&store, "ACL SETUSER sessions +get -set").await;
    client
        .expect(503, &["/write/lost", "/renew", "/login"])
        .await;
    assert_eq!(client.ask("/read").await.body, "first k");
    ok(&store, "ACL SETUSER sessions +set").await;
    client.expect(200, &["/write/k"]).await;

    ok(&store, "ACL SETUSER sessions resetpass >other").await;
    let _: i64 = store.ask("CLIENT KILL USER sessions").await;
    client.expect(503, &ALL).await;
    ok(&store, "ACL SETUSER sessions >password").await;
    assert_eq!(
        client.resumes("the password is right again").await.body,
        "first k"
    );

    ok(&store, "ACL SETUSER sessions off").await;
    let _: i64 = store.ask("CLIENT KILL USER sessions").await;
    client.expect(503, &["/read"]).await;
    ok(&store, "ACL SETUSER sessions on").await;
    assert_eq!(client.resumes("the user is on again").await.body, "first k");
}

/// With snapshots only: what came after the last one never was, be it a change or a logout.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p6_redis_that_was_killed_knows_what_its_docs_say() {
    let folder = new_folder();
    fs::create_dir_all(&folder).unwrap();
    let mut store = RedisServer::start_with(&["--dir", folder.to_str().unwrap()]);
    let server = serve(&store.url()).await;
    let client = Client::new(server.address()).await;
    let other = Client::new(server.address()).await;
    ok(&store, "SAVE").await;
    client.expect(200, &["/write/later"]).await;
    other.expect(200, &["/logout"]).await;
    let unknown = Client::new(server.address()).await;
    block_in_place(|| {
        store.kill();
        store.restart();
    });
    assert_eq!(client.resumes("back to the snapshot").await.body, "first");
    assert_eq!(other.ask("/read").await.body, "first");
    let response = unknown.ask("/write/anew").await;
    assert_eq!(response.body, "anew");
    assert_ne!(response.cookie().unwrap(), unknown.cookie);
    drop(store);
    fs::remove_dir_all(folder).unwrap();
}
