//! Every route of the program on every state of a session.

use session_tests::vectors::{KINDS, NAME, NOW, Route, Vectors};
use session_tests::wire::kind_of;

use crate::differences::{ALL, ENDED, KEYED, REPLACED, Row, Table, same};
use crate::program::{Program, is_tombstone, record, settings};

enum Instead {
    /// No cookie, nothing stored.
    Nothing,
    /// The removal cookie. A record that was a session's is ended.
    Removal,
    /// A cookie with this session, under the key that was sent or a fresh one.
    Set(&'static str, Key),
    /// As there, but under a fresh key.
    FreshKey,
}

#[derive(Clone, Copy, PartialEq)]
enum Key {
    Sent,
    Fresh,
}

const DIFFERENCES: &[Row<Instead>] = &[
    Row {
        kinds: ALL,
        names: &[
            "none: GET /touch",
            "none: POST /invalidate",
            "expired: GET /touch",
            "emptied: GET /touch",
        ],
        instead: Instead::Nothing,
        why: "a session that was never saved and is empty stores nothing and sets no cookie",
    },
    Row {
        kinds: KEYED,
        names: &["unknown_key: GET /touch", "not_json: GET /touch"],
        instead: Instead::Nothing,
        why: "a session that was never saved and is empty stores nothing and sets no cookie",
    },
    Row {
        kinds: KEYED,
        names: &[
            "emptied: POST /invalidate",
            "unknown_key: POST /invalidate",
            "not_json: POST /invalidate",
        ],
        instead: Instead::Removal,
        why: "an invalidated session stores nothing, and the cookie that the client sent goes",
    },
    Row {
        kinds: &["simple"],
        names: &[
            "good: POST /invalidate",
            "two_keys: POST /invalidate",
            "expired: POST /invalidate",
            "emptied: POST /invalidate",
            "good: POST /delete/a",
        ],
        instead: Instead::Removal,
        why: "the removal cookie, as in the other storages",
    },
    Row {
        kinds: KEYED,
        names: &["good: POST /delete/a"],
        instead: Instead::Set("{}", Key::Sent),
        why: "an emptied session stays in the store, for the requests that are in flight",
    },
    Row {
        kinds: ALL,
        names: &[
            "good: POST /new-untouched",
            "two_keys: POST /new-untouched",
            "expired: POST /new-untouched",
            "emptied: POST /new-untouched",
        ],
        instead: Instead::Removal,
        why: "new_session() without a write removes the client's cookie",
    },
    Row {
        kinds: KEYED,
        names: &[
            "unknown_key: POST /new-untouched",
            "not_json: POST /new-untouched",
        ],
        instead: Instead::Removal,
        why: "new_session() without a write removes the client's cookie",
    },
    Row {
        kinds: ALL,
        names: &[
            "none: GET /stream",
            "expired: GET /stream",
            "emptied: GET /stream",
        ],
        instead: Instead::Set("{\"streamed\": true}", Key::Fresh),
        why: "a streamed response saves before the headers go",
    },
    Row {
        kinds: KEYED,
        names: &["unknown_key: GET /stream", "not_json: GET /stream"],
        instead: Instead::Set("{\"streamed\": true}", Key::Fresh),
        why: "a streamed response saves before the headers go",
    },
    Row {
        kinds: ALL,
        names: &["good: GET /stream"],
        instead: Instead::Set("{\"a\": 1, \"streamed\": true}", Key::Sent),
        why: "a streamed response saves before the headers go",
    },
    Row {
        kinds: ALL,
        names: &["two_keys: GET /stream"],
        instead: Instead::Set("{\"a\": 1, \"b\": 2, \"streamed\": true}", Key::Sent),
        why: "a streamed response saves before the headers go",
    },
    Row {
        kinds: KEYED,
        names: &[
            "expired: POST /set",
            "expired: GET /raise-redirect",
            "expired: GET /forbidden",
            "not_json: POST /set",
            "not_json: GET /raise-redirect",
            "not_json: GET /forbidden",
        ],
        instead: Instead::FreshKey,
        why: "an expired or unreadable session is a new one with a new identity",
    },
];

/// The key of every identity that [`Program::wrap`] gives out.
const SENT_KEY: &str = "AIOHTTP_SESSION_0123456789abcdef0123456789abcdef";

/// The identity of the vectors that no store knows.
const UNKNOWN: &str = "ffffffffffffffffffffffffffffffff";

#[tokio::test]
async fn p1_every_route_does_on_every_session_what_python_does() {
    let vectors = Vectors::read();
    let mut table = Table::new(DIFFERENCES);
    for kind in KINDS {
        for vector in &vectors.storages[kind].requests {
            let body = vector.body.as_ref().map_or("", |body| body.get());
            // Two vectors differ in their body only, and {} assigns nothing.
            let empty = if body == "{}" { " {}" } else { "" };
            let name = format!("{}: {}{empty}", vector.state, vector.request);
            let program = Program::new(kind, settings(Some(3600)).unwrap()).await;
            let sent = match state(&vector.state) {
                Some(payload) => Some(program.wrap(&payload)),
                None if vector.state == "unknown_key" => Some(UNKNOWN.to_owned()),
                None => None,
            };
            let cookie = sent.as_deref().map(|value| match kind {
                // As a browser would send back what Python set.
                "simple" => format!("{NAME}={}", quoted(value)),
                _ => format!("{NAME}={value}"),
            });
            let reply = program
                .send(&vector.request, cookie.as_deref().map(str::as_bytes), body)
                .await;
            let mut outcome = Outcome {
                status: reply.status,
                location: reply.location.clone(),
                set_cookie: kind_of(reply.set_cookie.as_ref()),
                payload: None,
                key: None,
                left: None,
            };
            if let Some(cookie) = &reply.set_cookie
                && outcome.set_cookie == "set"
            {
                outcome.payload = Some(program.payload(cookie));
                let same = Some(&cookie.raw) == sent.as_ref();
                outcome.key = Some(if same { Key::Sent } else { Key::Fresh });
            }
            if program.is_keyed()
                && let Some(sent) = &sent
            {
                outcome.left = program.stored(&format!("{NAME}_{sent}"));
            }
            let wrote = program.writes() > 0;
            let theirs = outcome.is_pythons(&program, vector, wrote);
            let ours = table.find(kind, &name).map(|instead| {
                same("status", outcome.status, vector.status)?;
                outcome.is(instead, &program, vector, wrote)
            });
            table.check(kind, &name, theirs, ours);
        }
    }
    table.finish();
}

/// A comma and a quote is all that the quoting of these payloads is about.
fn quoted(value: &str) -> String {
    let inside = value.replace('"', "\\\"").replace(',', "\\054");
    format!("\"{inside}\"")
}

fn state(name: &str) -> Option<String> {
    let record = |age: u64, session: &str| {
        Some(format!(
            "{{\"created\": {}, \"session\": {session}}}",
            NOW - age
        ))
    };
    match name {
        "good" => record(100, "{\"a\": 1}"),
        "two_keys" => record(100, "{\"a\": 1, \"b\": 2}"),
        "expired" => record(4000, "{\"a\": 1}"),
        "emptied" => Some("{}".to_owned()),
        "not_json" => Some("oops".to_owned()),
        "none" | "unknown_key" => None,
        other => panic!("no state is called {other}"),
    }
}

struct Outcome {
    status: u16,
    location: Option<String>,
    set_cookie: &'static str,
    payload: Option<String>,
    key: Option<Key>,
    /// What lies under the key that was sent.
    left: Option<String>,
}

impl Outcome {
    fn is_pythons(&self, program: &Program, vector: &Route, wrote: bool) -> Result<(), String> {
        same("status", self.status, vector.status)?;
        same("location", &self.location, &vector.location)?;
        same("Set-Cookie", self.set_cookie, &vector.set_cookie_kind)?;
        if self.set_cookie == "set" {
            same("payload", &self.payload, &vector.payload)?;
        }
        let write = vector.backend_write.as_deref();
        if self.set_cookie == "delete" && program.is_keyed() {
            // Python leaves {} under the key.
            same("Python's write", write, Some("same key"))?;
            return is_tombstone(program, SENT_KEY, ENDED);
        }
        match write {
            None => Ok(()),
            Some("none") => same("store was written to", wrote, false),
            Some("same key") => same("key is the same", self.key == Some(Key::Sent), true),
            Some(_) => same("key is fresh", self.key == Some(Key::Fresh), true),
        }
    }

    fn is(
        &self,
        instead: &Instead,
        program: &Program,
        vector: &Route,
        wrote: bool,
    ) -> Result<(), String> {
        match instead {
            Instead::Nothing => {
                same("Set-Cookie", self.set_cookie, "none")?;
                same("store was written to", wrote, false)
            }
            Instead::Removal => {
                same("Set-Cookie", self.set_cookie, "delete")?;
                if !program.is_keyed() {
                    return Ok(());
                }
                if matches!(&*vector.state, "good" | "two_keys" | "expired") {
                    // A store keeps the record of an expired session a while. A logout ends it.
                    return is_tombstone(program, SENT_KEY, ENDED);
                }
                same("what was there", &self.left, &state(&vector.state))
            }
            Instead::Set(session, key) => {
                same("payload", self.payload.clone(), Some(record(session)))?;
                let wanted = *key == Key::Fresh || !program.is_keyed() || self.key == Some(*key);
                same("the key is the right one", wanted, true)
            }
            Instead::FreshKey => {
                same("Set-Cookie", self.set_cookie, &vector.set_cookie_kind)?;
                same("payload", &self.payload, &vector.payload)?;
                same("location", &self.location, &vector.location)?;
                same("the key is fresh", self.key == Some(Key::Fresh), true)?;
                let before = state(&vector.state);
                same("the old record", &self.left, &before)
            }
        }
    }
}

/// A login leaves its tombstone also where no session is any more: requests with the same cookie
/// may still be on their way. What is not ours it leaves alone.
#[tokio::test]
async fn p4_a_login_replaces_the_old_record_that_python_leaves() {
    for kind in KEYED {
        for state in [
            "good",
            "two_keys",
            "expired",
            "emptied",
            "unknown_key",
            "not_json",
        ] {
            let program = Program::new(kind, settings(Some(3600)).unwrap()).await;
            let sent = match self::state(state) {
                Some(payload) => program.wrap(&payload),
                None => UNKNOWN.to_owned(),
            };
            let cookie = format!("{NAME}={sent}");
            let reply = program
                .send(
                    "POST /login",
                    Some(cookie.as_bytes()),
                    "{\"user\": \"bob\"}",
                )
                .await;
            let payload = program.payload(&reply.set_cookie.unwrap());
            assert_eq!(payload, record("{\"user\": \"bob\"}"));
            let key = format!("{NAME}_{sent}");
            if state == "not_json" {
                assert_eq!(program.stored(&key), self::state(state));
            } else {
                is_tombstone(&program, &key, REPLACED).expect(state);
            }
        }
    }
}
