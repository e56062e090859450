//! A memcached that gives chosen responses, for what a real one does only now and then.

use std::num::NonZeroU64;

use session_core::ErrorKind;
use session_core::keyed::{Backend as _, Found, OnlyIf, Outcome, Stored};
use session_memcached::MemcachedBackend;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::{OUT_OF_MEMORY, PATIENCE, assert_found, create, record, tombstone};

/// As a response: the server closes the connection, and expects the next request on a new one.
const CLOSE: &str = "";

/// A server that expects these requests on one connection, and gives these responses.
async fn scripted(script: &[(&str, &str)]) -> (MemcachedBackend, JoinHandle<()>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let script: Vec<(String, String)> = script
        .iter()
        .map(|(request, response)| ((*request).to_owned(), (*response).to_owned()))
        .collect();
    let server = tokio::spawn(async move {
        let accept = async || BufReader::new(listener.accept().await.unwrap().0);
        let mut stream = accept().await;
        for (request, response) in script {
            let mut line = String::new();
            stream.read_line(&mut line).await.unwrap();
            assert_eq!(line.split(' ').next().unwrap(), request, "{line}");
            if request != "gets" {
                stream.read_line(&mut line).await.unwrap(); // the value
            }
            if response == CLOSE {
                drop(stream);
                stream = accept().await;
                continue;
            }
            let response = format!("{response}\r\n");
            stream.write_all(response.as_bytes()).await.unwrap();
        }
        let mut rest = String::new();
        assert_eq!(stream.read_line(&mut rest).await.unwrap(), 0, "{rest}");
    });
    let backend = MemcachedBackend::open(&address).unwrap();
    (backend.with_timeout(PATIENCE), server)
}

const KEY: &str = "sid_0123456789abcdef";
const FOUND: &str = "VALUE sid_0123456789abcdef 0 1 9\r\n1\r\nEND";

#[tokio::test]
async fn a_record_that_expires_between_two_commands_is_missing() {
    // It was there for `add`, and had expired for `gets`: the key is free.
    let script = [("add", "NOT_STORED"), ("gets", "END"), ("add", "STORED")];
    let (backend, server) = scripted(&script).await;
    create(&backend, KEY, "2").await;
    drop(backend);
    server.await.unwrap();

    let (backend, server) = scripted(&[
        ("add", "NOT_STORED"),
        ("gets", "END"),
        ("add", "NOT_STORED"),
        ("gets", FOUND),
    ])
    .await;
    let outcome = backend.write(KEY, record("2"), OnlyIf::Missing).await;
    assert_found(&outcome.unwrap(), "1");
    drop(backend);
    server.await.unwrap();

    // Never twice `Missing` where nothing was written: that would contradict the condition.
    let again = [("add", "NOT_STORED"), ("gets", "END")];
    let (backend, server) = scripted(&[again, again].concat()).await;
    let error = backend.write(KEY, record("2"), OnlyIf::Missing).await;
    assert_eq!(error.unwrap_err().kind(), ErrorKind::Unavailable);
    drop(backend);
    server.await.unwrap();

    let (backend, server) = scripted(&[("cas", "EXISTS"), ("gets", "END")]).await;
    let loaded = Stored::with_version("1", NonZeroU64::new(8).unwrap());
    let outcome = backend.write(KEY, record("2"), OnlyIf::Unchanged(&loaded));
    assert_eq!(outcome.await.unwrap(), Outcome::Found(Found::Missing));
    drop(backend);
    server.await.unwrap();
}

/// The condition of a logout holds also where the tombstone does not fit: a save that came in
/// between is a conflict.
#[tokio::test]
async fn a_record_that_changes_while_memory_is_short_is_a_conflict() {
    let loaded = Stored::with_version("1", NonZeroU64::new(8).unwrap());
    for (response, after) in [("EXISTS", Some(FOUND)), ("NOT_FOUND", None)] {
        let mut script = vec![
            ("cas", OUT_OF_MEMORY),
            ("cas", OUT_OF_MEMORY),
            ("cas", response),
        ];
        script.extend(after.map(|found| ("gets", found)));
        let (backend, server) = scripted(&script).await;
        let outcome = backend.write(KEY, tombstone(), OnlyIf::Unchanged(&loaded));
        match after {
            Some(_) => assert_found(&outcome.await.unwrap(), "1"),
            None => assert_eq!(outcome.await.unwrap(), Outcome::Found(Found::Missing)),
        }
        drop(backend);
        server.await.unwrap();
    }
}

/// With a small `-I` memcached refuses the larger values for their size. That is not the size of
/// the session.
#[tokio::test]
async fn out_of_memory_is_unavailable_also_where_larger_values_are_refused() {
    let (backend, server) = scripted(&[
        ("cas", OUT_OF_MEMORY),
        ("cas", OUT_OF_MEMORY),
        ("cas", "SERVER_ERROR object too large for cache"),
    ])
    .await;
    let loaded = Stored::with_version("1", NonZeroU64::new(8).unwrap());
    let error = backend.write(KEY, tombstone(), OnlyIf::Unchanged(&loaded));
    assert_eq!(error.await.unwrap_err().kind(), ErrorKind::Unavailable);
    drop(backend);
    server.await.unwrap();
}

/// A command is repeated once, on a new connection. A write that was repeated accepts its own
/// bytes. A first try does not, nor does a write whose `gets` alone was repeated.
#[tokio::test]
async fn p6_a_command_on_a_connection_that_was_closed_is_repeated_once() {
    let loaded = Stored::with_version("0", NonZeroU64::new(8).unwrap());
    let now = Stored::with_version("1", NonZeroU64::new(9).unwrap());
    let unchanged = OnlyIf::Unchanged(&loaded);
    let conflict = Outcome::Found(Found::Value(now.clone()));
    let own = Outcome::Written(now.clone());
    let (closed, exists) = ([("cas", CLOSE)], [("cas", "EXISTS")]);
    let added = [("add", "NOT_STORED"), ("gets", FOUND)];
    let [read_it, read_late] = [
        vec![("gets", FOUND)],
        vec![("gets", CLOSE), ("gets", FOUND)],
    ];
    for (only_if, script, expected) in [
        (unchanged, [&exists[..], &read_it].concat(), &conflict),
        (unchanged, [&exists[..], &read_late].concat(), &conflict),
        (unchanged, [&closed[..], &exists, &read_it].concat(), &own),
        (unchanged, [&closed[..], &exists, &read_late].concat(), &own),
        (OnlyIf::Missing, added.to_vec(), &conflict),
        (
            OnlyIf::Missing,
            [&[("add", CLOSE)], &added[..]].concat(),
            &own,
        ),
    ] {
        let (backend, server) = scripted(&script).await;
        let outcome = backend.write(KEY, record("1"), only_if).await;
        assert_eq!(&outcome.unwrap(), expected, "{script:?}");
        let other = scripted(&script).await;
        let outcome = other.0.write(KEY, record("2"), only_if).await;
        assert_eq!(outcome.unwrap(), conflict, "{script:?}");
        drop((backend, other.0));
        server.await.unwrap();
        other.1.await.unwrap();
    }

    let (backend, server) = scripted(&[("gets", CLOSE), ("gets", FOUND)]).await;
    assert_eq!(backend.read(KEY).await.unwrap(), Found::Value(now));
    drop(backend);
    server.await.unwrap();

    for command in ["gets", "add", "cas"] {
        let (backend, server) = scripted(&[(command, CLOSE), (command, CLOSE)]).await;
        let error = match command {
            "gets" => backend.read(KEY).await.map(drop),
            "add" => backend
                .write(KEY, record("1"), OnlyIf::Missing)
                .await
                .map(drop),
            _ => backend.write(KEY, record("1"), unchanged).await.map(drop),
        };
        assert_eq!(
            error.unwrap_err().kind(),
            ErrorKind::Unavailable,
            "{command}"
        );
        server.abort(); // it waits for a third connection
    }
}
