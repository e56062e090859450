//! The Set-Cookie and Cookie headers.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use http::{HeaderMap, HeaderValue, Request, Response, header};
use serde_json::Value;
use session_core::adapter::{DefaultErrorResponse, Storages};
use session_core::{
    CookieChange, CookieSettings, Error, RequestSession as _, Result, SameSite, Session,
    SessionConfig, Storage,
};
use session_tests::real::Left;
use session_tests::vectors::{self, Attributes, HeaderParsing, NAME, NOW, SessionMaxAge, Vectors};
use session_tests::wire::SetCookie;

use crate::differences::{Row, Table, same};
use crate::program::{Program, Reply, lives_for, record, settings};

const ATTRIBUTES: &[Row<Instead>] = &[
    Row {
        kinds: &["attributes"],
        names: &["{\"max_age\":0}", "{\"max_age\":-1}"],
        instead: Instead::Refused,
        why: "a lifetime of zero is refused, and a negative one cannot be said",
    },
    Row {
        kinds: &["attributes"],
        names: &["{\"path\":\"/a b\"}"],
        instead: Instead::Refused,
        why: "a space does not belong into a path",
    },
    Row {
        kinds: &["attributes"],
        names: &[
            "{\"samesite\":\"None\"}",
            "{\"cookie_name\":\"__Host-sid\"}",
        ],
        instead: Instead::Refused,
        why: "browsers refuse it without Secure",
    },
    Row {
        kinds: &["attributes"],
        names: &["{\"samesite\":\"lax\"}"],
        instead: Instead::Attributes("HttpOnly; Path=/; SameSite=Lax"),
        why: "SameSite has one spelling",
    },
    Row {
        kinds: &["attributes"],
        names: &["{\"domain\":\".example.com\"}"],
        instead: Instead::Attributes("Domain=example.com; HttpOnly; Path=/"),
        why: "browsers ignore a domain's leading dot (RFC 6265, 5.2.3)",
    },
];

enum Instead {
    /// The settings are refused when they are built.
    Refused,
    /// These.
    Attributes(&'static str),
}

#[test]
fn p1_attributes_are_pythons_and_the_removal_has_all_of_them() {
    let vectors = Vectors::read();
    let mut table = Table::new(ATTRIBUTES);
    for vector in &vectors.set_cookie_attributes {
        let name = serde_json::to_string(&vector.params).unwrap();
        let (theirs, ours) = match (table.find("attributes", &name), built(&vector.params)) {
            (Some(Instead::Refused), built) => {
                let refused = built.is_none_or(|built| built.is_err());
                (Err(String::new()), Some(same("refused", refused, true)))
            }
            (instead, built) => {
                let cookie = built.unwrap().unwrap();
                let ours = instead.map(|instead| {
                    let Instead::Attributes(text) = instead else {
                        unreachable!()
                    };
                    let (set, _) = written(&cookie);
                    same("attributes", set.attributes, SetCookie::attributes(text))
                });
                (as_python(&cookie, vector), ours)
            }
        };
        table.check("attributes", &name, theirs, ours);
    }
    table.finish();
}

/// The settings for Python's constructor parameters; `None` where they cannot even be said.
fn built(params: &std::collections::BTreeMap<String, Value>) -> Option<Result<CookieSettings>> {
    let name = params.get("cookie_name").and_then(Value::as_str);
    let mut cookie = CookieSettings::builder(name.unwrap_or(NAME).to_owned())
        .secure(false)
        .same_site(None);
    for (param, value) in params {
        cookie = match (param.as_str(), value) {
            ("cookie_name", _) | (_, Value::Null) => cookie,
            ("domain", domain) => cookie.domain(domain.as_str().unwrap()),
            ("path", path) => cookie.path(path.as_str().unwrap()),
            ("secure", secure) => cookie.secure(secure.as_bool().unwrap()),
            ("httponly", http_only) => cookie.http_only(http_only.as_bool().unwrap()),
            ("max_age", age) => {
                let seconds = u64::try_from(age.as_i64().unwrap()).ok()?;
                cookie.max_age(Duration::from_secs(seconds))
            }
            ("samesite", same_site) => {
                cookie.same_site(match same_site.as_str().unwrap().to_lowercase().as_str() {
                    "strict" => SameSite::Strict,
                    "lax" => SameSite::Lax,
                    "none" => SameSite::None,
                    other => panic!("no SameSite is {other}"),
                })
            }
            other => panic!("no parameter is {other:?}"),
        };
    }
    Some(cookie.build())
}

fn written(cookie: &CookieSettings) -> (SetCookie, SetCookie) {
    let payload = record("{\"a\": 1}");
    let set = cookie.set_cookie(&payload, cookie.max_age(), vectors::now());
    let parse = |header: &HeaderValue| SetCookie::parse(header.to_str().unwrap());
    (parse(&set.unwrap()), parse(&cookie.removal()))
}

fn as_python(cookie: &CookieSettings, vector: &Attributes) -> std::result::Result<(), String> {
    let (set, removal) = written(cookie);
    same("Set-Cookie", &set, &SetCookie::parse(&vector.set))?;
    // Python's removal has the domain and path only; ours has all that the cookie has.
    let mut theirs = SetCookie::parse(&vector.delete);
    let lifetime = ["max-age", "expires"];
    let rest = set.attributes.iter();
    let rest = rest
        .filter(|(name, _)| !lifetime.contains(&name.as_str()))
        .cloned();
    let rest: BTreeSet<_> = rest.collect();
    let known = theirs.attributes.iter();
    let mut known = known.filter(|(name, _)| !lifetime.contains(&name.as_str()));
    same("ours has Python's", known.all(|a| rest.contains(a)), true)?;
    theirs.attributes.extend(rest);
    same("removal", &removal, &theirs)
}

const LIFETIMES: &[Row<&str>] = &[
    Row {
        kinds: &["simple", "redis", "memcached"],
        names: &["3600, then null"],
        instead: "HttpOnly; Path=/",
        why: "without a lifetime it ends with the browser; Python forgets one of two attributes",
    },
    Row {
        kinds: &["simple", "redis", "memcached"],
        names: &[
            "null, then 0",
            "3600, then 0",
            "null, then -5",
            "3600, then -5",
        ],
        instead: "Expires=Tue, 14 Nov 2023 22:13:21 GMT; HttpOnly; Max-Age=1; Path=/",
        why: "the shortest lifetime is one second",
    },
];

#[tokio::test]
async fn p1_a_lifetime_that_the_handler_sets_is_in_cookie_and_store() {
    let vectors = Vectors::read();
    let mut table = Table::new(LIFETIMES);
    for vector in &vectors.session_max_age {
        let show = |age: Option<i64>| age.map_or("null".to_owned(), |age| age.to_string());
        let (storage, session) = (show(vector.storage_max_age), show(vector.session_max_age));
        let name = format!("{storage}, then {session}");
        let (program, reply, left) = with_lifetime(vector, &session).await;
        let attributes = reply
            .set_cookie
            .map(|cookie| cookie.attributes)
            .unwrap_or_default();
        let theirs = || {
            same("status", reply.status, vector.status)?;
            let text = vector.set_cookie_attributes.as_deref().unwrap_or_default();
            same("attributes", &attributes, &SetCookie::attributes(text))?;
            if !program.is_keyed() {
                return Ok(());
            }
            // memcached takes a lifetime over 30 days as a date, and 0 for none.
            let theirs = match vector.backend_expiry {
                Some(0) => None,
                Some(date) if date > 2_592_000 && vector.storage == "memcached" => {
                    Some(date - i64::try_from(NOW).unwrap())
                }
                other => other,
            };
            let theirs = theirs.map(|seconds| u64::try_from(seconds).unwrap());
            lives_for(left, theirs)
        };
        let theirs = theirs();
        let ours = table.find(&vector.storage, &name).map(|text| {
            same("status", reply.status, 200)?;
            same("attributes", &attributes, &SetCookie::attributes(text))?;
            if !program.is_keyed() {
                return Ok(());
            }
            lives_for(left, text.contains("Max-Age").then_some(1))
        });
        table.check(&vector.storage, &name, theirs, ours);
    }
    table.finish();
}

/// Lets the handler set the lifetime of a session, and returns how long its record then lives.
async fn with_lifetime(vector: &SessionMaxAge, session: &str) -> (Program, Reply, Left) {
    let cookie = settings(vector.storage_max_age).unwrap();
    let program = Program::new(&vector.storage, cookie).await;
    let value = program.wrap(&record("{\"a\": 1}"));
    let set = CookieSettings::default()
        .set_cookie(&value, None, vectors::now())
        .unwrap();
    let header = SetCookie::parse(set.to_str().unwrap());
    let header = format!("{NAME}={}", header.raw);
    let body = format!("{{\"max_age\": {session}}}");
    let reply = program
        .send("POST /max-age", Some(header.as_bytes()), &body)
        .await;
    let left = match &reply.set_cookie {
        Some(cookie) if program.is_keyed() => {
            program.store().left(&format!("{NAME}_{}", cookie.raw))
        }
        _ => Left::Nothing,
    };
    (program, reply, left)
}

/// A storage that knows no session, and remembers the values that it was given.
#[derive(Debug, Default)]
struct Asked {
    config: SessionConfig,
    loads: Mutex<Vec<Vec<String>>>,
}

#[async_trait]
impl Storage for Asked {
    fn config(&self) -> &SessionConfig {
        &self.config
    }

    async fn load(&self, cookies: &[&str]) -> Result<Session> {
        let values = cookies.iter().map(|value| (*value).to_owned());
        self.loads.lock().unwrap().push(values.collect());
        Ok(self.config.new_session(!cookies.is_empty()))
    }

    async fn save(&self, _: &Session) -> Result<CookieChange> {
        Ok(CookieChange::Keep)
    }
}

/// Returns the values of the session cookie that a storage is given for these Cookie lines.
async fn asked(lines: &[Vec<u8>]) -> Vec<String> {
    let storage = Arc::new(Asked::default());
    let mut request = Request::new(());
    *request.headers_mut() = HeaderMap::new();
    for line in lines {
        let line = HeaderValue::from_bytes(line).unwrap();
        request.headers_mut().append(header::COOKIE, line);
    }
    let handler = async |request: Request<()>| {
        assert!(request.session().await?.is_new());
        Ok::<_, Error>(Response::new(()))
    };
    let storages = Storages::new(storage.clone());
    let served = storages.serve(request, DefaultErrorResponse, handler).await;
    assert_eq!(served.unwrap().status(), 200);
    let loads = storage.loads.lock().unwrap();
    assert_eq!(loads.len(), 1);
    loads[0].clone()
}

#[tokio::test]
async fn p1_values_are_quoted_and_unquoted_as_python_does() {
    let cookie = settings(None).unwrap();
    for vector in &Vectors::read().cookie_quoting {
        let set = cookie
            .set_cookie(&vector.value, None, vectors::now())
            .unwrap();
        let text = std::str::from_utf8(set.as_bytes()).unwrap();
        let wanted = format!("{NAME}={}; HttpOnly; Path=/", vector.coded);
        assert_eq!(text, wanted, "{:?}", vector.value);
        assert!(vector.round_trips);
        let line = format!("{NAME}={}", vector.coded).into_bytes();
        assert_eq!(asked(&[line]).await, [vector.value.as_str()]);
    }
}

const HEADERS: &[Row<&[&str]>] = &[
    Row {
        kinds: &["header"],
        names: &[
            "AIOHTTP_SESSION=one; AIOHTTP_SESSION=two",
            "AIOHTTP_SESSION=\"one\"; AIOHTTP_SESSION=two",
        ],
        instead: &["one", "two"],
        why: "of several cookies the first that yields a session",
    },
    Row {
        kinds: &["header"],
        names: &["AIOHTTP_SESSION=one; AIOHTTP_SESSION="],
        instead: &["one", ""],
        why: "of several cookies the first that yields a session",
    },
    Row {
        kinds: &["header"],
        names: &["AIOHTTP_SESSION=\"a\u{fffd}\u{fffd}b\""],
        instead: &[""],
        why: "a value that is not UTF-8 stands for no session, but the client did send a cookie",
    },
    Row {
        kinds: &["header"],
        names: &["a=1 | AIOHTTP_SESSION=abc"],
        instead: &["abc"],
        why: "all Cookie lines are read",
    },
    Row {
        kinds: &["header"],
        names: &["AIOHTTP_SESSION=a b", "AIOHTTP_SESSION=a b; c=d"],
        instead: &["a b"],
        why: "white space ends no value",
    },
    Row {
        kinds: &["header"],
        names: &["AIOHTTP_SESSION=a\tb"],
        instead: &["a\tb"],
        why: "white space ends no value",
    },
    Row {
        kinds: &["header"],
        names: &["a=1, AIOHTTP_SESSION=abc", "a=1 AIOHTTP_SESSION=abc"],
        instead: &[],
        why: "a sibling domain cannot plant a __Host- cookie inside one of its own",
    },
    Row {
        kinds: &["header"],
        names: &["AIOHTTP_SESSION=\"a;b\"", "AIOHTTP_SESSION=\"a; b=c\"; d=e"],
        instead: &["\"a"],
        why: "quotes hide no cookie: a `;` that Python writes is escaped",
    },
];

#[tokio::test]
async fn p1_cookie_headers_of_browsers_are_read_as_aiohttp_reads_them() {
    let mut table = Table::new(HEADERS);
    for vector in &Vectors::read().cookie_header_parsing {
        let lines = vector.lines();
        let name: Vec<_> = lines
            .iter()
            .map(|line| String::from_utf8_lossy(line))
            .collect();
        let name = name.join(" | ");
        let values = asked(&lines).await;
        let theirs = same("values", values.clone(), wanted(vector));
        let ours = table.find("header", &name).map(|instead| {
            let wanted = instead.iter().map(ToString::to_string).collect();
            same("values", values, wanted)
        });
        table.check("header", &name, theirs, ours);
    }
    table.finish();
}

/// The one vector that is not UTF-8 has no value: no Rust string could hold it.
fn wanted(vector: &HeaderParsing) -> Vec<String> {
    vector.value.iter().cloned().collect()
}

/// The storage decides how many of them it tries: at most eight, see the test `hostile`.
#[tokio::test]
async fn a_storage_is_given_all_cookies_of_the_name_in_their_order() {
    let all: Vec<_> = (0..100).map(|at| at.to_string()).collect();
    let line: Vec<_> = all.iter().map(|value| format!("{NAME}={value}")).collect();
    let values = asked(&[line.join("; ").into_bytes()]).await;
    assert_eq!(values, all);
}
