//! What requests over HTTP cost a real Redis and memcached, counted by the servers, and what a
//! reader of those servers can do with their content.
#![allow(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "these are tests"
)]

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use session_core::{CookieSettings, Identity, ManualClock, RequestSession, Storage};
use session_tests::real::{KINDS, Lease};
use session_tests::server::{BoxError, Server, pair, set_cookies};
use session_tests::stores::Calls;

const FREE: Calls = Calls {
    read: 0,
    create: 0,
    update: 0,
    end: 0,
};

/// A program on sessions in a real store.
struct App {
    store: Lease,
    storage: Arc<dyn Storage>,
    server: Server,
    clock: ManualClock,
}

fn settings() -> CookieSettings {
    let hour = Duration::from_secs(3600);
    CookieSettings::builder("sid")
        .max_age(hour)
        .build()
        .unwrap()
}

impl App {
    async fn on(kind: &str) -> Self {
        Self::with(kind, settings(), false).await
    }

    async fn with(kind: &str, cookie: CookieSettings, hash_identities: bool) -> Self {
        let store = Lease::of(kind);
        Self::on_store(store, cookie, hash_identities, None).await
    }

    /// With an index of users.
    async fn of_users(kind: &str) -> Self {
        Self::on_store(Lease::of(kind), settings(), false, Some("user")).await
    }

    async fn on_store(
        store: Lease,
        cookie: CookieSettings,
        hash_identities: bool,
        user: Option<&str>,
    ) -> Self {
        let clock = ManualClock::at(std::time::SystemTime::now());
        let storage = store
            .storage_of_users(cookie, Some(clock.clone()), hash_identities, user)
            .await;
        let server = Server::start(storage.clone(), handler).await;
        store.take_calls();
        Self {
            store,
            storage,
            server,
            clock,
        }
    }

    /// Sends a request with this cookie value; returns what it saw, and the value set, if one was.
    async fn ask(&self, cookie: Option<&str>, path: &str) -> (String, Option<String>) {
        let line = cookie.map(|value| format!("sid={value}"));
        let lines: Vec<&[u8]> = line.iter().map(String::as_bytes).collect();
        let response = self.server.get(path, &lines).await;
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        let set = set_cookies(&response, "sid");
        let set = set.first().map(|header| pair(header)[4..].to_owned());
        let seen = String::from_utf8(response.body().to_vec()).unwrap();
        (seen, set)
    }

    async fn login(&self) -> String {
        let cookie = self.ask(None, "/login").await.1.unwrap();
        self.store.take_calls();
        cookie
    }

    async fn is_new(&self, cookie: &str) -> bool {
        self.ask(Some(cookie), "/read").await.0 == "new"
    }

    /// What one request of a client that has a session costs the server.
    async fn cost(&self, path: &str) -> Calls {
        let cookie = self.login().await;
        let (seen, _) = self.ask(Some(&cookie), path).await;
        assert_ne!(seen, "new", "{path}");
        self.store.take_calls()
    }
}

async fn handler(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, BoxError> {
    let path = request.uri().path();
    if path == "/none" {
        return Ok(Response::new("not asked for".into()));
    }
    if path == "/login" {
        request.new_session()?.insert("user", "alice")?;
        return Ok(Response::new("login".into()));
    }
    let session = request.session().await?;
    let seen = if session.is_new() { "new" } else { "found" };
    match path {
        "/read" => drop(session.get::<String>("user")?),
        "/twice" => drop(request.session().await?.keys()),
        "/same" => drop(session.remove("no such key")?),
        "/write" => session.insert("n", 1)?,
        "/writes" => {
            for n in 0..10 {
                session.insert(&n.to_string(), n)?;
            }
        }
        "/touch" => session.changed()?,
        "/logout" => session.invalidate()?,
        "/empty" => drop(session.remove("user")?),
        "/renew" => session.renew()?,
        other => panic!("no such path: {other}"),
    }
    Ok(Response::new(seen.into()))
}

#[tokio::test]
async fn p9_a_request_that_does_not_ask_for_its_session_causes_no_command() {
    for kind in KINDS {
        let app = App::on(kind).await;
        assert_eq!(app.cost("/read").await.read, 1, "they are counted");
        let cookie = app.login().await;
        for cookie in [
            None,
            Some(&*cookie),
            Some("00112233445566778899aabbccddeeff"),
        ] {
            for _ in 0..20 {
                assert_eq!(
                    app.ask(cookie, "/none").await,
                    ("not asked for".into(), None)
                );
            }
        }
        assert_eq!(app.store.take_calls(), FREE, "{kind}");
    }
}

#[tokio::test]
async fn p9_a_read_causes_one_get_and_nothing_else() {
    for kind in KINDS {
        let app = App::on(kind).await;
        for path in ["/read", "/twice", "/same"] {
            assert_eq!(
                app.cost(path).await,
                Calls { read: 1, ..FREE },
                "{kind} {path}"
            );
        }
        let cookie = app.login().await;
        let (left, written) = (app.store.keys(), app.store.writes());
        app.store.take_calls();
        for _ in 0..100 {
            assert!(!app.is_new(&cookie).await);
        }
        assert_eq!(
            app.store.take_calls(),
            Calls { read: 100, ..FREE },
            "{kind}"
        );
        assert_eq!(
            (app.store.keys(), app.store.writes()),
            (left, written),
            "{kind}"
        );
        // Without a cookie there is nothing to ask for.
        assert_eq!(app.ask(None, "/read").await.0, "new");
        assert_eq!(app.store.take_calls(), FREE, "{kind}");
    }
}

#[tokio::test]
async fn p9_a_write_on_a_loaded_session_is_exactly_one_command_more() {
    for kind in KINDS {
        let app = App::on(kind).await;
        let two = Calls {
            read: 1,
            update: 1,
            ..FREE
        };
        for path in ["/write", "/writes", "/touch", "/logout", "/empty"] {
            assert_eq!(app.cost(path).await, two, "{kind} {path}");
        }
        let cookie = app.login().await;
        for _ in 0..100 {
            app.ask(Some(&cookie), "/write").await;
        }
        let hundred = Calls {
            read: 100,
            update: 100,
            ..FREE
        };
        assert_eq!(app.store.take_calls(), hundred, "{kind}");
    }
}

#[tokio::test]
async fn p9_the_first_save_of_a_new_session_is_exactly_one_command() {
    for kind in KINDS {
        let app = App::on(kind).await;
        for path in ["/write", "/writes", "/login"] {
            app.ask(None, path).await;
            let one = Calls { create: 1, ..FREE };
            assert_eq!(app.store.take_calls(), one, "{kind} {path}");
        }
        // One that stays empty is not saved.
        for path in ["/touch", "/logout", "/renew"] {
            app.ask(None, path).await;
            assert_eq!(app.store.take_calls(), FREE, "{kind} {path}");
        }
    }
}

#[tokio::test]
async fn p9_a_renewal_is_two_commands_after_the_read() {
    for kind in KINDS {
        let app = App::on(kind).await;
        let three = Calls {
            read: 1,
            create: 1,
            update: 1,
            ..FREE
        };
        assert_eq!(app.cost("/renew").await, three, "{kind}");
    }
}

/// It reads what it replaces, because a renewal may have moved it.
#[tokio::test]
async fn p9_a_login_over_a_session_is_three_commands() {
    for kind in KINDS {
        let app = App::on(kind).await;
        let calls = app.cost("/login").await;
        let three = Calls {
            read: 1,
            create: 1,
            update: 1,
            ..FREE
        };
        assert_eq!(calls, three, "{kind}");
    }
}

#[tokio::test]
async fn p9_a_conflict_costs_one_script_of_redis_or_a_gets_and_a_cas_of_memcached() {
    for (kind, read) in [("redis", 0), ("memcached", 1)] {
        let app = App::on(kind).await;
        let cookie = app.login().await;
        let slow = app.storage.load(&[&cookie]).await.unwrap();
        slow.insert("slow", 1).unwrap();
        app.ask(Some(&cookie), "/write").await;
        app.store.take_calls();
        app.storage.save(&slow).await.unwrap();
        let conflict = Calls {
            read,
            update: 2,
            ..FREE
        };
        assert_eq!(app.store.take_calls(), conflict, "{kind}");
    }
}

#[tokio::test]
async fn p11_the_index_of_users_costs_reads_and_ordinary_writes_nothing() {
    for kind in KINDS {
        for path in [
            "/read", "/twice", "/same", "/write", "/writes", "/touch", "/logout", "/empty",
        ] {
            let without = App::on(kind).await.cost(path).await;
            let with = App::of_users(kind).await.cost(path).await;
            assert_eq!(with, without, "{kind} {path}");
        }
        // A session without a user is not listed.
        let app = App::of_users(kind).await;
        app.ask(None, "/write").await;
        assert_eq!(app.store.take_calls(), Calls { create: 1, ..FREE });
    }
}

#[tokio::test]
async fn p11_the_index_of_users_costs_a_login_or_a_renewal_one_read_and_one_write() {
    for kind in KINDS {
        let app = App::of_users(kind).await;
        app.ask(None, "/login").await;
        let first = Calls {
            read: 1,
            create: 2,
            ..FREE
        };
        assert_eq!(app.store.take_calls(), first, "{kind}: it makes the index");
        app.ask(None, "/login").await;
        let login = Calls {
            read: 1,
            create: 1,
            update: 1,
            ..FREE
        };
        assert_eq!(app.store.take_calls(), login, "{kind}");
        let renewal = Calls {
            read: 2,
            create: 1,
            update: 2,
            ..FREE
        };
        assert_eq!(app.cost("/renew").await, renewal, "{kind}");
    }
}

#[tokio::test]
async fn p11_a_session_that_lives_on_is_listed_anew_at_most_once_per_lifetime_in_real_stores() {
    const LIFETIMES: usize = 10;
    for kind in KINDS {
        let app = App::of_users(kind).await;
        let cookie = app.login().await;
        let mut anew = 0;
        for _ in 0..LIFETIMES * 6 {
            app.clock.advance(Duration::from_secs(600));
            app.ask(Some(&cookie), "/write").await;
            let calls = app.store.take_calls();
            assert_eq!(calls.read, calls.update, "{kind}");
            anew += calls.read - 1;
        }
        assert!(
            (LIFETIMES / 2..=LIFETIMES).contains(&anew),
            "{kind}: {anew}"
        );
    }
}

#[tokio::test]
async fn p11_listed_sessions_are_read_only_when_their_list_has_doubled_in_real_stores() {
    for kind in KINDS {
        let app = App::of_users(kind).await;
        let mut checks = Vec::new();
        for listed in 0..80 {
            app.ask(None, "/login").await;
            let calls = app.store.take_calls();
            if calls.read != 1 {
                checks.push((listed, calls.read - 1));
            }
        }
        assert_eq!(checks, [(16, 16), (34, 34), (70, 70)], "{kind}");
    }
}

#[tokio::test]
async fn p7_a_thousand_identities_that_no_store_knows_are_a_thousand_reads() {
    for kind in KINDS {
        for hash_identities in [false, true] {
            let app = App::with(kind, settings(), hash_identities).await;
            for _ in 0..5 {
                app.login().await;
            }
            let (keys, written) = (app.store.keys(), app.store.writes());
            app.store.take_calls();
            for _ in 0..1000 {
                let made_up = Identity::random().unwrap();
                let (seen, set) = app.ask(Some(made_up.as_str()), "/read").await;
                assert_eq!((&*seen, set), ("new", None));
            }
            let reads = Calls { read: 1000, ..FREE };
            assert_eq!(app.store.take_calls(), reads, "{kind}");
            assert_eq!(app.store.keys(), keys, "{kind}");
            assert_eq!(app.store.writes(), written, "{kind}");
        }
    }
}

/// Everything that could be an identity in a store: what the keys end with, the whole keys, and
/// what the records say, in letters or, where a session has moved, in the white space of its
/// tombstone.
fn finds(app: &App) -> Vec<String> {
    let mut finds = Vec::new();
    for key in app.store.keys() {
        let record = app.store.get(&key).unwrap();
        finds.push(key.strip_prefix("sid_").unwrap().to_owned());
        let text = String::from_utf8(record.clone()).unwrap();
        let words = text.split(|c: char| !c.is_ascii_alphanumeric());
        finds.extend(words.filter(|word| word.len() >= 16).map(str::to_owned));
        let digits: Vec<u32> = record
            .iter()
            .filter_map(|b| (0..).zip(b" \t\n\r").find(|(_, white)| *white == b))
            .map(|(digit, _)| digit)
            .collect();
        let letter = |four: &[u32]| four.iter().fold(0, |sum, digit| sum << 2 | digit);
        // The first digit of a tombstone tells why the session ended.
        for skipped in 0..=1 {
            let digits = digits.get(skipped..).unwrap_or_default();
            let letters = digits.chunks(4).map(letter);
            let moved: String = letters.filter_map(char::from_u32).collect();
            finds.push(moved);
        }
        finds.push(key);
    }
    finds.retain(|find| Identity::parse(find).is_some());
    finds
}

#[tokio::test]
async fn p10_a_reader_of_a_store_of_hashed_identities_cannot_log_in() {
    const SESSIONS: usize = 300;
    for kind in KINDS {
        for hash_identities in [true, false] {
            let app = App::with(kind, settings(), hash_identities).await;
            let mut cookies = Vec::new();
            for n in 0..SESSIONS {
                let cookie = app.login().await;
                // Some were written to, and some have left a mark.
                let path = ["/read", "/write", "/renew"][n % 3];
                let (_, set) = app.ask(Some(&cookie), path).await;
                cookies.push(set.unwrap_or(cookie));
            }
            for cookie in &cookies {
                assert!(!app.is_new(cookie).await, "{kind}: the user's own");
            }
            assert_eq!(app.store.keys().len(), SESSIONS + SESSIONS / 3);
            let finds = finds(&app);
            assert!(finds.len() > SESSIONS, "{kind}: {}", finds.len());
            let mut users = 0;
            for find in &finds {
                users += usize::from(!app.is_new(find).await);
                assert_eq!(
                    cookies.contains(find),
                    !hash_identities && !app.is_new(find).await
                );
            }
            // The control: without hashing each key is a login, and each mark the one it leads to.
            let expected = if hash_identities {
                0
            } else {
                SESSIONS + SESSIONS / 3
            };
            assert_eq!(users, expected, "{kind}, hashed: {hash_identities}");
        }
    }
}
