//! How Redis is deployed: rights, renamed commands, forgotten scripts, addresses and passwords.
#![allow(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "these are tests"
)]

use std::error::Error as StdError;
use std::net::TcpListener;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use session_core::backend_conformance;
use session_core::keyed::{Backend as _, Found, OnlyIf, Outcome, Stored, Write};
use session_core::{
    CookieChange, CookieSettings, ErrorKind, ManualClock, Result, Storage, UserSessions,
};
use session_redis::{RedisBackend, RedisStorage};
use session_tests::logs::{Logs, all_texts};
use session_tests::proxy::Proxy;
use session_tests::redis::{RedisServer, compares_by};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinSet;

const KEY: &str = "AIOHTTP_SESSION_0123456789abcdef0123456789abcdef";

/// A busy machine is no failure.
const PATIENCE: Duration = Duration::from_secs(20);

/// The line of the documentation, as it is written there.
fn rights() -> Vec<&'static str> {
    let docs = include_str!("../../session-redis/src/lib.rs");
    let line = docs.lines().find(|line| line.contains("ACL SETUSER"));
    line.unwrap()
        .trim_start_matches("//! ")
        .split(' ')
        .collect()
}

/// A server on which one user, and no other, may log in.
struct Restricted(RedisServer);

impl Restricted {
    async fn start(user: &[&str]) -> Self {
        let server = RedisServer::start();
        for command in [&user.join(" "), "ACL SETUSER default off"] {
            assert_eq!(server.ask::<String>(command).await, "OK", "{command}");
        }
        Self(server)
    }

    fn url(&self) -> String {
        format!("redis://sessions:password@127.0.0.1:{}/2", self.0.port())
    }
}

/// All that a session can go through, on a server that does not know the script yet.
async fn life(url: &str) -> Result<()> {
    life_under("", url).await
}

/// The same with a key prefix.
async fn life_under(prefix: &str, url: &str) -> Result<()> {
    let clock = ManualClock::at(std::time::SystemTime::now());
    let cookie = CookieSettings::builder("AIOHTTP_SESSION")
        .max_age(Duration::from_secs(3600))
        .rolling(true)
        .build()?;
    let storage = RedisStorage::connect(url)
        .await?
        .with_cookie(cookie)
        .with_clock(clock.clone())
        .with_user_index("user")
        .with_key_prefix(prefix)?;
    let session = storage.load(&[]).await?;
    session.insert("a", 1)?;
    storage.save(&session).await?;
    let cookie = session.identity().unwrap().as_str().to_owned();
    let [one, two] = [
        storage.load(&[&cookie]).await?,
        storage.load(&[&cookie]).await?,
    ];
    one.insert("b", 1)?;
    storage.save(&one).await?;
    two.insert("c", 1)?;
    storage.save(&two).await?;
    clock.advance(Duration::from_secs(1800));
    let read = storage.load(&[&cookie]).await?;
    assert_eq!(read.keys(), ["a", "b", "c"]);
    let change = storage.save(&read).await?;
    assert!(matches!(change, CookieChange::Set { .. }), "{change:?}");
    read.renew()?;
    storage.save(&read).await?;
    let cookie = read.identity().unwrap().as_str().to_owned();
    let logout = storage.load(&[&cookie]).await?;
    logout.invalidate()?;
    assert_eq!(storage.save(&logout).await?, CookieChange::Remove);
    assert!(storage.load(&[&cookie]).await?.is_new());
    let emptied = storage.load(&[]).await?;
    emptied.insert("a", 1)?;
    storage.save(&emptied).await?;
    emptied.remove("a")?;
    let change = storage.save(&emptied).await?;
    assert!(matches!(change, CookieChange::Set { .. }), "{change:?}");
    let cookie = emptied.identity().map(|one| one.as_str().to_owned());
    assert_eq!(cookie, None, "a session without keys is new");
    let cleared = storage.load(&[]).await?;
    cleared.insert("a", 1)?;
    storage.save(&cleared).await?;
    cleared.clear()?;
    assert_eq!(storage.save(&cleared).await?, CookieChange::Remove);
    let login = storage.load(&[]).await?;
    login.insert("user", 1)?;
    storage.save(&login).await?;
    let sessions = UserSessions::of_user(&storage, &1)?;
    assert_eq!(sessions.list().await?.len(), 1);
    assert_eq!(sessions.end_all().await?, 1);
    Ok(())
}

#[tokio::test]
async fn the_documented_rights_are_enough() {
    let server = Restricted::start(&rights()).await;
    life(&server.url()).await.unwrap();
}

/// The patterns are those that the guide's page on deploying names for a prefix.
#[tokio::test]
async fn with_a_key_prefix_the_documented_rights_begin_with_it() {
    let page = include_str!("../../session-hyper/src/guide/deploying.md");
    let patterns = ["~shop:AIOHTTP_SESSION_*", "~shop:@AIOHTTP_SESSION_*"];
    for pattern in patterns {
        assert!(page.contains(&format!("`{pattern}`")), "{pattern}");
    }
    let is_pattern = |word: &&str| word.starts_with('~');
    let mut rights: Vec<&str> = rights().into_iter().filter(|it| !is_pattern(it)).collect();
    rights.extend(patterns);
    let server = Restricted::start(&rights).await;
    life_under("shop:", &server.url()).await.unwrap();
    for prefix in ["", "blog:"] {
        let error = life_under(prefix, &server.url()).await.unwrap_err();
        assert!(all_texts(&error).contains("NOPERM"), "{prefix}: {error:?}");
    }
}

#[tokio::test]
async fn without_any_of_the_documented_rights_an_error_says_which_is_missing() {
    let all = rights();
    let is_script = compares_by(&RedisServer::start()).await == "EVALSHA";
    let mut missed = 0;
    for right in all.iter().filter(|word| word.starts_with(['+', '~'])) {
        let rest: Vec<&str> = all.iter().filter(|word| *word != right).copied().collect();
        let server = Restricted::start(&rest).await;
        // Only a Redis that is out of memory needs DEL: see the next test. One that compares needs
        // the script only then.
        if *right == "+del" || right.starts_with("+eval") && !is_script {
            life(&server.url()).await.unwrap();
            continue;
        }
        // A missing right to a command is found when the program starts.
        let connected = RedisStorage::connect(&server.url()).await;
        assert_eq!(connected.is_ok(), right.starts_with('~'), "{right}");
        let error = life(&server.url()).await.expect_err(right);
        let text = all_texts(&error);
        println!("{right}: {}", error.source().unwrap());
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{right}: {text}");
        // The responses to the script's commands have no code of their own, and the client drops
        // that of the response to SELECT.
        let told = [
            "NOPERM",
            "ERR The user executing the script can't run this command",
            "ERR this user has no permissions to run the 'select' command",
        ];
        assert!(
            told.iter().any(|told| text.contains(told)),
            "{right}: {text}"
        );
        for secret in ["AIOHTTP_SESSION_", "password"] {
            assert!(!text.contains(secret), "{right}: {text}");
        }
        missed += 1;
    }
    assert_eq!(missed, if is_script { 7 } else { 5 });
}

/// The rights to keys depend on the cookie's name and the index. `check` tries both kinds of keys.
#[tokio::test]
async fn a_missing_right_to_the_keys_is_found_by_a_check() {
    let all = rights();
    let named = all.join(" ").replace("AIOHTTP_SESSION", "sid");
    let server = Restricted::start(&named.split(' ').collect::<Vec<_>>()).await;
    let connect = async || RedisStorage::connect(&server.url()).await.unwrap();
    let sid = || CookieSettings::builder("sid").build().unwrap();
    let with_index = connect().await.with_cookie(sid()).with_user_index("user");
    with_index.check().await.unwrap();
    let error = connect().await.check().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(
        all_texts(&error).contains("NOPERM"),
        "{}",
        all_texts(&error)
    );
    let without = named.replace(" ~@sid_*", "");
    assert_ne!(without, named);
    let server = Restricted::start(&without.split(' ').collect::<Vec<_>>()).await;
    let storage = RedisStorage::connect(&server.url()).await.unwrap();
    let storage = storage.with_cookie(sid());
    storage.check().await.unwrap();
    let error = storage.with_user_index("user").check().await.unwrap_err();
    assert!(
        all_texts(&error).contains("NOPERM"),
        "{}",
        all_texts(&error)
    );
}

/// With rights to other keys only, connecting cannot try whether the server needs the script. It
/// says so, and a check finds out.
#[tokio::test]
async fn a_missing_right_to_scripts_is_found_by_a_check_whatever_the_keys() {
    let (logs, _capture) = Logs::capture();
    let user = ["ACL", "SETUSER", "sessions", "on", ">password", "~sid_*"];
    let server = Restricted::start(&[&user[..], &["+get", "+set", "+select"]].concat()).await;
    let storage = RedisStorage::connect(&server.url()).await.unwrap();
    let text = logs.text();
    assert!(text.contains("the rights were not tried"), "{text}");
    assert!(!text.contains("out of memory"), "{text}");
    let sid = CookieSettings::builder("sid").build().unwrap();
    let is_script = compares_by(&RedisServer::start()).await == "EVALSHA";
    assert_eq!(storage.with_cookie(sid).check().await.is_err(), is_script);
}

/// A client can name any key of a session. It named the key of the trial, and its login left a
/// tombstone there, so that the trial deleted nothing and gave no warning.
#[tokio::test]
async fn no_client_can_spoil_the_trial_at_connect() {
    let (logs, _capture) = Logs::capture();
    let server = RedisServer::start();
    let user =
        "ACL SETUSER sessions on >password ~AIOHTTP_SESSION_* +get +set +select +eval +evalsha";
    assert_eq!(server.ask::<String>(user).await, "OK");
    let url = format!("redis://sessions:password@127.0.0.1:{}/0", server.port());
    let monitor = server.monitor();
    RedisStorage::connect(&url).await.unwrap();
    let warning = "sessions cannot be ended while Redis is out of memory";
    assert!(logs.text().contains(warning), "{}", logs.text());
    let commands = monitor.take();
    let set = commands
        .iter()
        .find(|line| line.contains("\"NX\""))
        .unwrap();
    let key = set.split('"').nth(3).unwrap();
    // The client's login.
    let tombstone = format!("SET {key} {{}} EX 60");
    assert_eq!(server.ask::<String>(&tombstone).await, "OK");
    let (logs, _capture) = Logs::capture();
    RedisStorage::connect(&url).await.unwrap();
    assert!(logs.text().contains(warning), "{}", logs.text());
}

/// A server that is full refuses a check, though it accepts a connection.
#[tokio::test]
async fn a_full_server_is_found_by_a_check() {
    let server = RedisServer::start_with(&["--maxmemory-policy", "noeviction"]);
    assert_eq!(server.ask::<String>("CONFIG SET maxmemory 1").await, "OK");
    let storage = RedisStorage::connect(&server.url()).await.unwrap();
    let error = storage.check().await.unwrap_err();
    assert!(all_texts(&error).contains("OOM"), "{}", all_texts(&error));
}

/// A replica cannot keep sessions, and says so when the program starts.
#[tokio::test]
async fn connecting_to_a_replica_is_an_error_that_says_so() {
    let [master, replica] = [(); 2].map(|()| RedisServer::start());
    let follow = format!("REPLICAOF 127.0.0.1 {}", master.port());
    assert_eq!(replica.ask::<String>(&follow).await, "OK");
    let error = RedisStorage::connect(&replica.url()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(
        all_texts(&error).contains("READONLY"),
        "{}",
        all_texts(&error)
    );
}

/// Proxies do not know `CLIENT SETINFO`. It is not sent.
#[tokio::test]
async fn a_connection_sends_no_command_but_those_of_sessions() {
    let server = RedisServer::start();
    let monitor = server.monitor();
    life(&server.url()).await.unwrap();
    let seen = monitor.take();
    assert!(seen.len() > 20, "{seen:?}");
    for line in seen {
        let name = line.split('"').nth(1).unwrap().to_owned();
        assert!(
            ["GET", "SET", "EVALSHA", "EVAL"].contains(&&*name),
            "{line}"
        );
    }
}

/// The error says why a server that has too many clients closes the connection. If the connection
/// is closed before the client has read that, a later try says it.
#[tokio::test]
async fn p6_a_server_with_too_many_clients_says_so() {
    let server = RedisServer::start_with(&["--maxclients", "2"]);
    let mut clients = Vec::new();
    for _ in 0..2 {
        clients.push(server.connection().await);
    }
    let storage = RedisStorage::new(RedisBackend::open(&server.url()).unwrap());
    let load = async || storage.load(&["0123456789abcdef0123456789abcdef"]).await;
    let connect = async || RedisStorage::connect(&server.url()).await;
    let (mut connected, mut loaded) = (String::new(), String::new());
    for _ in 0..20 {
        let (connecting, loading) = (connect().await.unwrap_err(), load().await.unwrap_err());
        assert_eq!(connecting.kind(), ErrorKind::Unavailable);
        assert_eq!(loading.kind(), ErrorKind::Unavailable);
        connected += &all_texts(&connecting);
        loaded += &all_texts(&loading);
    }
    for text in [connected, loaded] {
        assert!(text.contains("max number of clients reached"), "{text}");
    }
    drop(clients);
    // The server has room again.
    let begun = Instant::now();
    while storage.check().await.is_err() {
        assert!(begun.elapsed() < PATIENCE, "it never recovers");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The documented rights are enough for all commands. Only a Redis without memory needs `DEL`.
#[tokio::test]
async fn the_documented_rights_end_sessions_without_memory() {
    for is_allowed in [true, false] {
        let server = RedisServer::start_with(&["--maxmemory-policy", "noeviction"]);
        let mut rights = rights();
        rights.retain(|right| is_allowed || *right != "+del");
        assert_eq!(server.ask::<String>(&rights.join(" ")).await, "OK");
        let url = format!("redis://sessions:password@127.0.0.1:{}/", server.port());
        let backend = RedisBackend::connect(&url).await.unwrap();
        let backend = backend.with_timeout(PATIENCE);
        let (v1, v2) = (Stored::new("v1"), Stored::new("v2"));
        let outcome = backend.write(KEY, record("v1"), OnlyIf::Missing).await;
        assert_eq!(outcome.unwrap(), written("v1"));
        let outcome = backend.write(KEY, record("v2"), OnlyIf::Missing).await;
        let found = Found::Value(v1.clone());
        assert_eq!(outcome.unwrap(), Outcome::Found(found));
        let outcome = backend.write(KEY, record("v2"), OnlyIf::Unchanged(&v1));
        assert_eq!(outcome.await.unwrap(), written("v2"));
        assert_eq!(server.ask::<String>("CONFIG SET maxmemory 1").await, "OK");
        let outcome = backend
            .write(KEY, tombstone(), OnlyIf::Unchanged(&v2))
            .await;
        if is_allowed {
            assert_eq!(outcome.unwrap(), written("{ }"));
            continue;
        }
        let error = outcome.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        let text = all_texts(&error);
        // Redis 7.0 does not name the command.
        let told = ["can't run this command", "run the 'del' command"];
        assert!(told.iter().any(|told| text.contains(told)), "{text}");
        assert!(!text.contains(KEY), "{text}");
        assert_eq!(backend.read(KEY).await.unwrap(), Found::Value(v2));
    }
}

fn record(value: &'static str) -> Write {
    Write::record(value, Some(Duration::from_secs(60)))
}

fn tombstone() -> Write {
    Write::tombstone("{ }", Duration::from_secs(60))
}

fn written(value: &'static str) -> Outcome {
    Outcome::Written(Stored::new(value))
}

static RESTRICTED: LazyLock<RedisServer> = LazyLock::new(|| {
    // As documented but for the keys, which are those of the suite.
    let mut arguments = vec!["--user", "default", "off", "--user"];
    let user = rights().into_iter().skip(2);
    arguments.extend(user.map(|word| if word.starts_with('~') { "~*" } else { word }));
    for command in ["CONFIG", "KEYS", "SCAN", "SCRIPT", "INFO"] {
        arguments.extend(["--rename-command", command, ""]);
    }
    RedisServer::start_with(&arguments)
});

async fn with_few_rights() -> RedisBackend {
    let url = format!("redis://sessions:password@127.0.0.1:{}/", RESTRICTED.port());
    RedisBackend::connect(&url).await.unwrap()
}

backend_conformance!(with_few_rights);

#[tokio::test]
async fn p2_scripts_that_are_flushed_at_any_moment_cost_no_update() {
    let server = RedisServer::start();
    let backend = RedisBackend::connect(&server.url()).await.unwrap();
    let storage = Arc::new(RedisStorage::new(backend.with_timeout(PATIENCE)));
    let session = storage.load(&[]).await.unwrap();
    session.insert("k", 0).unwrap();
    storage.save(&session).await.unwrap();
    let cookie = session.identity().unwrap().as_str().to_owned();
    let mut writers = JoinSet::new();
    for writer in 0..8 {
        let (storage, cookie) = (storage.clone(), cookie.clone());
        writers.spawn(async move {
            for count in 0..100 {
                let session = storage.load(&[&cookie]).await.unwrap();
                session.insert(&format!("{writer}-{count}"), count).unwrap();
                storage.save(&session).await.unwrap();
            }
        });
    }
    let mut flushes = 0;
    let mut connection = server.connection().await;
    while !writers.is_empty() {
        let mut flush = redis::cmd("SCRIPT");
        flush
            .arg("FLUSH")
            .exec_async(&mut connection)
            .await
            .unwrap();
        flushes += 1;
        while let Some(done) = writers.try_join_next() {
            done.unwrap();
        }
        tokio::time::sleep(Duration::from_micros(flushes * 7919 % 5000)).await;
    }
    let session = storage.load(&[&cookie]).await.unwrap();
    assert_eq!(session.len(), 801);
    let told: String = server.ask("INFO errorstats").await;
    let count = told.split("errorstat_NOSCRIPT:count=").nth(1);
    let count = count.and_then(|rest| rest.lines().next()).unwrap();
    let unknown: usize = count.parse().unwrap();
    assert!(unknown > 1, "{told}"); // connecting met one

    // The save after a flush tells the script, those after it do not. Without a time to live every
    // server needs the script.
    let expected: [&[&str]; 2] = [&["EVALSHA", "EVAL"], &["EVALSHA"]];
    session.changed().unwrap();
    storage.save(&session).await.unwrap();
    let monitor = server.monitor();
    server.ask::<()>("SCRIPT FLUSH").await;
    monitor.take();
    for commands in expected {
        session.changed().unwrap();
        storage.save(&session).await.unwrap();
        let seen = monitor.take();
        let seen: Vec<&str> = seen
            .iter()
            .filter_map(|line| line.split('"').nth(1))
            .collect();
        assert_eq!(seen, commands);
    }
}

#[tokio::test]
async fn an_address_may_hold_a_password_and_a_database_or_be_a_socket() {
    let server = RedisServer::start_with(&["--unixsocket", "socket"]);
    let folder: Vec<String> = server.ask("CONFIG GET dir").await;
    server.ask::<()>("CONFIG SET requirepass hunter2").await;
    let port = server.port();
    let addresses = [
        format!("redis://:hunter2@127.0.0.1:{port}/3"),
        format!("redis+unix://{}/socket?db=4&pass=hunter2", folder[1]),
    ];
    for (database, address) in (3..).zip(addresses) {
        life(&address.replace("/3", "/5").replace("db=4", "db=5"))
            .await
            .unwrap();
        let storage = RedisStorage::connect(&address).await.unwrap();
        let session = storage.load(&[]).await.unwrap();
        session.insert("k", 1).unwrap();
        storage.save(&session).await.unwrap();
        let client = redis::Client::open(format!("redis://:hunter2@127.0.0.1:{port}/{database}"));
        let mut connection = client
            .unwrap()
            .get_multiplexed_async_connection()
            .await
            .unwrap();
        let size = redis::cmd("DBSIZE").query_async(&mut connection).await;
        assert_eq!(size, Ok(1), "{address}");
        assert!(!format!("{storage:?}").contains("hunter2"));
    }
}

/// What the guide's page on deploying says of special characters and of `?` in an address.
#[tokio::test]
async fn a_password_is_percent_encoded_in_an_address() {
    let server = RedisServer::start_with(&["--unixsocket", "socket"]);
    let folder: Vec<String> = server.ask("CONFIG GET dir").await;
    let password = "p@ss/w:rd?#%+";
    let user = format!("ACL SETUSER us@r on >{password} ~* &* +@all");
    assert_eq!(server.ask::<String>(&user).await, "OK");
    assert_eq!(server.ask::<String>("ACL SETUSER default off").await, "OK");
    let (user, password) = ("us%40r", "p%40ss%2Fw%3Ard%3F%23%25%2B");
    let tcp = format!("redis://{user}:{password}@127.0.0.1:{}/1", server.port());
    let socket = format!(
        "redis+unix://{}/socket?user={user}&pass={password}&db=1",
        folder[1]
    );
    for address in [
        tcp.clone(),
        format!("{tcp}?protocol=resp3"),
        socket.clone(),
        format!("{socket}&protocol=resp3"),
    ] {
        life(&address).await.unwrap();
    }
    let plus = RedisStorage::connect(&socket.replace("%2B", "+")).await;
    assert_eq!(plus.unwrap_err().kind(), ErrorKind::Unavailable, "a space");
    let error = RedisStorage::connect(&format!("{tcp}?protocol=resp4")).await;
    assert_eq!(error.unwrap_err().kind(), ErrorKind::Settings);
}

/// What other parts of the program must not do on a connection that they share with the sessions.
#[tokio::test]
async fn a_shared_connection_must_not_wait_or_change_its_state() {
    let server = RedisServer::start();
    let client = redis::Client::open(server.url()).unwrap();
    let connect = async || {
        let settings = redis::AsyncConnectionConfig::new().set_response_timeout(None);
        let connection = client.get_multiplexed_async_connection_with_config(&settings);
        connection.await.unwrap()
    };
    let storage = |connection, timeout| {
        RedisStorage::new(RedisBackend::new(connection).with_timeout(timeout))
    };
    let fine = storage(connect().await, PATIENCE);
    let session = fine.load(&[]).await.unwrap();
    session.insert("k", 1).unwrap();
    fine.save(&session).await.unwrap();
    let cookie = session.identity().unwrap().as_str().to_owned();

    let mut shared = connect().await;
    let sessions = storage(shared.clone(), Duration::from_millis(200));
    let blocking = tokio::spawn(async move {
        let mut pop = redis::cmd("BLPOP");
        pop.arg("nothing").arg(0).exec_async(&mut shared).await
    });
    while server
        .ask::<String>("INFO clients")
        .await
        .contains("blocked_clients:0")
    {
        tokio::task::yield_now().await;
    }
    let error = sessions.load(&[&cookie]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    blocking.abort();

    let mut shared = connect().await;
    let sessions = storage(shared.clone(), PATIENCE);
    assert!(!sessions.load(&[&cookie]).await.unwrap().is_new());
    redis::cmd("SELECT")
        .arg(1)
        .exec_async(&mut shared)
        .await
        .unwrap();
    assert!(sessions.load(&[&cookie]).await.unwrap().is_new());

    let mut shared = connect().await;
    let sessions = storage(shared.clone(), PATIENCE);
    redis::cmd("MULTI").exec_async(&mut shared).await.unwrap();
    let error = sessions.load(&[&cookie]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(fine.load(&[&cookie]).await.unwrap().get::<u8>("k").unwrap() == Some(1));
}

/// A cause of a 409 in the guide's page on operating: the record disappears during a request.
#[tokio::test]
async fn a_record_that_disappears_before_the_save_is_an_ended_session() {
    let mut server = RedisServer::start();
    let storage = RedisBackend::connect(&server.url()).await.unwrap();
    let storage = RedisStorage::new(storage.with_timeout(PATIENCE));
    let login = async || {
        let session = storage.load(&[]).await.unwrap();
        session.insert("k", 0).unwrap();
        storage.save(&session).await.unwrap();
        let cookie = session.identity().unwrap().as_str().to_owned();
        storage.load(&[&cookie]).await.unwrap()
    };
    let [evicted, flushed, replaced] = [login().await, login().await, login().await];
    let key = |session: &session_core::Session| {
        format!("AIOHTTP_SESSION_{}", session.identity().unwrap().as_str())
    };
    let _: i64 = server.ask(&format!("DEL {}", key(&evicted))).await;
    let _: String = server.ask(&format!("SET {} other", key(&replaced))).await;
    for session in [&evicted, &replaced] {
        session.insert("k", 1).unwrap();
        let error = storage.save(session).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Ended);
    }
    server.ask::<()>("FLUSHALL").await;
    let restarted = login().await;
    flushed.insert("k", 1).unwrap();
    let error = storage.save(&flushed).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Ended);
    server.kill();
    server.restart();
    // The command is repeated on a new connection.
    restarted.insert("k", 1).unwrap();
    let error = storage.save(&restarted).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Ended);
    assert_eq!(server.ask::<usize>("DBSIZE").await, 0);
}

/// The task that drives a connection lives in the runtime in which the connection was made.
#[test]
fn a_storage_of_another_runtime_waits_for_that_runtime() {
    let server = RedisServer::start();
    let runtime = || {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_all().build().unwrap()
    };
    let (one, two) = (runtime(), runtime());
    let storage = one.block_on(async {
        let backend = RedisBackend::connect(&server.url()).await.unwrap();
        RedisStorage::new(backend.with_timeout(Duration::from_millis(200)))
    });
    // Nothing runs the first runtime now.
    let cookie = "0123456789abcdef";
    let error = two.block_on(storage.load(&[cookie])).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    let own = two.block_on(RedisStorage::connect(&server.url())).unwrap();
    assert!(two.block_on(own.load(&[cookie])).unwrap().is_new());
}

/// The whole trial takes longer than a call may, and so does an attempt to connect.
#[tokio::test]
async fn a_distant_server_can_be_connected_to() {
    let server = RedisServer::start_with(&["--requirepass", "right"]);
    let proxy = Proxy::start(server.port()).await;
    let address = format!("redis://:right@127.0.0.1:{}/", proxy.port());
    proxy.delay(Duration::from_millis(200)); // the longest step of the trial has three commands
    RedisBackend::connect(&address).await.unwrap();
    proxy.delay(Duration::from_millis(1200));
    let backend = RedisBackend::open(&address).unwrap();
    let backend = backend.with_timeout(PATIENCE);
    assert_eq!(backend.read("sid_0").await.unwrap(), Found::Missing);
}

#[tokio::test]
async fn p10_an_address_that_leads_nowhere_is_an_error_without_its_password() {
    let (logs, _capture) = Logs::capture();
    let server = RedisServer::start_with(&["--requirepass", "right"]);
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = silent.local_addr().unwrap();
    let closed = session_tests::processes::free_port();
    let port = server.port();
    let cases = [
        (format!("redis://:hunter2@127.0.0.1:{port}/"), "password"),
        (
            format!("redis://hunter2:hunter2@127.0.0.1:{port}/"),
            "password",
        ),
        (format!("redis://127.0.0.1:{port}/"), "NOAUTH"),
        (format!("redis://:hunter2@127.0.0.1:{closed}/"), "refused"),
        (
            format!("redis://:hunter2@{silent}/"),
            "no connection within 2s",
        ),
        (
            "redis+unix:///nowhere/hunter2?pass=hunter2".into(),
            "No such file",
        ),
        (format!("redis://:right@127.0.0.1:{port}/99"), "DB index"),
        (
            format!("redis://:hunter2@127.0.0.1:{port}/nine"),
            "database",
        ),
        ("redis://:hunter2@".into(), "URL"),
        ("http://:hunter2@127.0.0.1/".into(), "URL"),
        ("hunter2".into(), "URL"),
        (String::new(), "URL"),
    ];
    for (at, (address, cause)) in cases.into_iter().enumerate() {
        let kind = if at < 7 {
            ErrorKind::Unavailable
        } else {
            ErrorKind::Settings
        };
        let begun = Instant::now();
        let error = RedisStorage::connect(&address).await.unwrap_err();
        let text = all_texts(&error);
        println!("{address}: {text}");
        assert!(begun.elapsed() < PATIENCE, "{address}");
        assert_eq!(error.kind(), kind, "{address}: {text}");
        assert!(text.contains(cause), "{address}: {text}");
        let is_bad = text.contains("not an address of a Redis server: ");
        assert_eq!(is_bad, kind == ErrorKind::Settings, "{address}: {text}");
        for secret in ["hunter2", "right@"] {
            assert!(!text.contains(secret), "{address}: {text}");
        }
    }
    logs.assert_without(&["hunter2"]);
}

/// A server or a proxy that knows no command and repeats what it was sent, in one of these words.
async fn echoing(say: fn(&[String]) -> String) -> u16 {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut bytes = vec![0; 4096];
            while let Ok(count @ 1..) = stream.read(&mut bytes).await {
                // The commands of a pipeline arrive together.
                for command in String::from_utf8_lossy(&bytes[..count]).split('*').skip(1) {
                    let words = command.split("\r\n").skip(2).step_by(2);
                    let words: Vec<String> = words.map(str::to_owned).collect();
                    let line = format!("-{}\r\n", say(&words));
                    stream.write_all(line.as_bytes()).await.unwrap();
                }
            }
        }
    });
    port
}

/// The password is an argument of `HELLO` with RESP3, and of `AUTH` with RESP2. It is short and
/// looks like any other word.
#[tokio::test]
async fn p10_a_server_that_repeats_the_password_is_not_quoted() {
    let (logs, _capture) = Logs::capture();
    let wordings: [fn(&[String]) -> String; 4] = [
        |words| {
            let arguments = format!("'{}'", words[1..].join("' '"));
            format!(
                "ERR unknown command '{}', with args beginning with: {arguments}",
                words[0]
            )
        },
        |words| {
            let arguments = format!("`{}`, ", words[1..].join("`, `"));
            format!(
                "ERR unknown command `{}`, with args beginning with: {arguments}",
                words[0]
            )
        },
        |words| format!("ERR unknown command {}", words.join(" ")),
        |words| format!("ERR cannot forward: {}", words.join(" ")),
    ];
    for say in wordings {
        let port = echoing(say).await;
        for user in ["", "sessions"] {
            for (protocol, cause) in [("", "password"), ("?protocol=resp3", "HELLO")] {
                let address = format!("redis://{user}:hunter2@127.0.0.1:{port}/{protocol}");
                let error = RedisStorage::connect(&address).await.unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Unavailable);
                let text = all_texts(&error);
                println!("{}: {text}", say(&["HELLO".into(), "..".into()]));
                assert!(!text.contains("hunter2"), "{text}");
                let cause = text.contains(cause) || text.to_lowercase().contains("resp3");
                assert!(cause, "{text}");
            }
        }
    }
    logs.assert_without(&["hunter2"]);
}
