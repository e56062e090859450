//! The routes and flags that only our program has, in memory and in a real Redis.

use std::process::Command;

use session_tests::examples::program;
use session_tests::python::Process;
use session_tests::real::Lease;
use session_tests::vectors::NAME;
use sha2::Digest as _;

use crate::ADAPTER;
use crate::client::{TestResponse, send};
use crate::walk::now;

const KINDS: [&str; 2] = ["memory", "redis"];

struct Parity {
    process: Process,
    store: Option<Lease>,
}

impl Parity {
    fn start(kind: &str, flags: &[&str]) -> Self {
        let store = (kind == "redis").then(|| Lease::of(kind));
        let mut command = Command::new(program("parity"));
        command.args(["--port", "0", "--storage", kind]).args(flags);
        command.args(["--adapter", ADAPTER.name()]);
        command.args(store.iter().flat_map(|store| store.flags()));
        Self {
            process: Process::start(&mut command),
            store,
        }
    }

    async fn ask(&self, method: &str, path: &str, cookie: Option<&str>) -> TestResponse {
        let body = if path == "/set" { "{\"a\": 1}" } else { "" };
        send(&self.process, method, path, cookie.map(str::to_owned), body).await
    }

    async fn log_in(&self) -> String {
        self.ask("POST", "/login", None).await.pair().unwrap()
    }

    /// What both storages show: the session of this cookie has this data.
    async fn assert_data(&self, cookie: &str, data: &str) {
        let seen = self.ask("GET", "/get", Some(cookie)).await;
        assert_eq!((seen.status, &*seen.data()), (200, data));
    }
}

#[tokio::test]
async fn the_route_renew_moves_the_session_to_another_identity() {
    for kind in KINDS {
        let parity = Parity::start(kind, &[]);
        let old = parity.log_in().await;
        let renewed = parity.ask("POST", "/renew", Some(&old)).await;
        assert_eq!(renewed.data(), "{\"user\": \"alice\"}", "{kind}");
        assert_eq!(renewed.identity().unwrap(), old[NAME.len() + 1..]);
        let new = renewed.pair().unwrap();
        assert_ne!(new, old);
        parity.assert_data(&new, "{\"user\": \"alice\"}").await;
        parity.assert_data(&old, "{}").await;
        let late = parity.ask("POST", "/set", Some(&old)).await;
        assert_eq!((late.status, late.pair()), (409, None), "{kind}");
        if let Some(store) = &parity.store {
            assert_eq!(store.keys().len(), 2);
            assert!(store.left(&old.replace('=', "_")).is_about(Some(60)));
        }
    }
}

#[tokio::test]
async fn the_route_clear_ends_the_session() {
    for kind in KINDS {
        let parity = Parity::start(kind, &[]);
        let cookie = parity.log_in().await;
        let cleared = parity.ask("POST", "/clear", Some(&cookie)).await;
        assert_eq!((cleared.status, &*cleared.data()), (200, "{}"), "{kind}");
        assert!(cleared.set_cookie.unwrap().is_removal());
        parity.assert_data(&cookie, "{}").await;
        if let Some(store) = &parity.store {
            let tombstone = store.get(&cookie.replace('=', "_"));
            assert_eq!(tombstone.as_deref(), Some(&b"{ }"[..]));
        }
        // Without a session there is nothing to do.
        let nothing = parity.ask("POST", "/clear", None).await;
        assert_eq!((nothing.status, nothing.set_cookie), (200, None));
    }
}

#[tokio::test]
async fn the_flag_user_index_lists_and_ends_the_sessions_of_a_user() {
    for kind in KINDS {
        let parity = Parity::start(kind, &["--user-index", "user", "--max-age", "3600"]);
        let (one, other) = (parity.log_in().await, parity.log_in().await);
        let ask = async |method, path, cookie, body: &str| {
            send(
                &parity.process,
                method,
                path,
                Some(String::clone(cookie)),
                body,
            )
            .await
        };
        let listed = ask("GET", "/sessions", &one, "").await;
        let listed: serde_json::Value = serde_json::from_str(&listed.body).unwrap();
        let sessions = listed["sessions"].as_array().unwrap();
        assert_eq!(sessions.len(), 2, "{kind}");
        assert_eq!(sessions[0]["current"], true);
        assert_eq!(sessions[1]["current"], false);
        assert_eq!(sessions[1]["data"], serde_json::json!({"user": "alice"}));
        assert!(sessions[1]["created"].as_u64().unwrap().abs_diff(now()) < 60);
        let id = serde_json::json!({"id": sessions[1]["id"]}).to_string();
        let ended = ask("POST", "/sessions/end", &one, &id).await;
        assert_eq!(
            (ended.status, &*ended.body),
            (200, "{\"ended\": 1}"),
            "{kind}"
        );
        parity.assert_data(&other, "{}").await;
        let ended = ask("POST", "/sessions/end", &one, &id).await;
        assert_eq!(ended.body, "{\"ended\": 0}");
        let other = parity.log_in().await;
        let ended = ask("POST", "/sessions/end-others", &one, "").await;
        assert_eq!(ended.body, "{\"ended\": 1}");
        parity.assert_data(&other, "{}").await;
        parity.assert_data(&one, "{\"user\": \"alice\"}").await;
        let ended = ask("POST", "/sessions/end-all", &one, "").await;
        assert_eq!(ended.body, "{\"ended\": 1}");
        assert!(ended.set_cookie.unwrap().is_removal());
        for (method, path) in [("GET", "/sessions"), ("POST", "/sessions/end-all")] {
            assert_eq!(ask(method, path, &one, "").await.status, 401);
        }
        let refused = ask("GET", "/sessions/end-all", &one, "").await;
        assert_eq!((refused.status, &*refused.allow), (405, "POST"));
    }
}

#[tokio::test]
async fn the_routes_renew_and_clear_take_only_post() {
    let parity = Parity::start("memory", &[]);
    for path in ["/renew", "/clear"] {
        let refused = parity.ask("GET", path, None).await;
        assert_eq!((refused.status, &*refused.allow), (405, "POST"), "{path}");
    }
}

#[tokio::test]
async fn the_flag_hash_identities_keeps_identities_out_of_the_store() {
    for kind in KINDS {
        let parity = Parity::start(kind, &["--hash-identities"]);
        let cookie = parity.log_in().await;
        parity.assert_data(&cookie, "{\"user\": \"alice\"}").await;
        if let Some(store) = &parity.store {
            let digest = sha2::Sha256::digest(&cookie[NAME.len() + 1..]);
            let hex: Vec<_> = digest.iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(store.keys(), [format!("{NAME}_{}", hex.concat())]);
        }
    }
}

#[tokio::test]
async fn the_flag_absolute_max_age_limits_the_cookie_and_the_session() {
    for kind in KINDS {
        let flags = ["--max-age", "3600", "--absolute-max-age", "600"];
        let parity = Parity::start(kind, &flags);
        let login = parity.ask("POST", "/login", None).await;
        let max_age = ("max-age".to_owned(), "600".to_owned());
        let set = login.set_cookie.as_ref().unwrap();
        assert!(set.attributes.contains(&max_age), "{set:?}");
        let cookie = login.pair().unwrap();
        parity.assert_data(&cookie, "{\"user\": \"alice\"}").await;
        let Some(store) = &parity.store else { continue };
        // The session is as young as before, but it began long ago.
        let (key, now) = (cookie.replace('=', "_"), now());
        assert!(store.left(&key).is_about(Some(600 + 300)));
        let started = |at: u64| {
            let record = format!(
                "{{\"created\": {now}, \"session\": {{\"a\": 1}}, \"started\": {}}}",
                now - at
            );
            store.put(&key, record.as_bytes());
        };
        started(500);
        parity.assert_data(&cookie, "{\"a\": 1}").await;
        started(700);
        parity.assert_data(&cookie, "{}").await;
    }
}

#[tokio::test]
async fn the_flag_rolling_lets_a_read_restart_the_lifetime() {
    let created = |at: u64| format!("{{\"created\": {at}, \"session\": {{\"a\": 1}}}}");
    for rolling in [true, false] {
        let flags = ["--max-age", "3600", "--rolling"];
        let parity = Parity::start("redis", &flags[..if rolling { 3 } else { 2 }]);
        let store = parity.store.as_ref().unwrap();
        let cookie = parity.log_in().await;
        let (key, before) = (cookie.replace('=', "_"), now());
        store.put(&key, created(before - 1800).as_bytes());
        let read = parity.ask("GET", "/get", Some(&cookie)).await;
        assert_eq!(read.data(), "{\"a\": 1}");
        let record = String::from_utf8(store.get(&key).unwrap()).unwrap();
        if rolling {
            assert_eq!(read.pair().unwrap(), cookie);
            let mut times = before..=now();
            assert!(times.any(|at| record == created(at)), "{record}");
            assert!(store.left(&key).is_about(Some(3600 + 300)));
        } else {
            assert_eq!(read.set_cookie, None);
            assert_eq!(record, created(before - 1800));
        }
    }
    // In memory there is no way to age a session. The read of a young one changes nothing.
    let parity = Parity::start("memory", &["--max-age", "3600", "--rolling"]);
    let cookie = parity.log_in().await;
    let read = parity.ask("GET", "/get", Some(&cookie)).await;
    assert_eq!(
        (&*read.data(), read.set_cookie),
        ("{\"user\": \"alice\"}", None)
    );
}

#[test]
fn flags_that_do_not_fit_end_the_program_with_its_usage() {
    for flags in [
        &["--storage", "simple", "--hash-identities"][..],
        &["--storage", "memory", "--rolling=yes"],
        &["--storage", "memory", "--absolute-max-age"],
        &["--storage", "nothing"],
        &["--storage", "memory", "--adapter", "tower"],
        &["--storage", "memory", "--adapter"],
    ] {
        let output = Command::new(program("parity"))
            .args(["--port", "0"])
            .args(flags)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{flags:?}");
        assert!(said.contains("usage: parity"), "{flags:?}: {said}");
    }
}
