//! What Python wrote, we write byte for byte, and read.

use session_core::CookieChange;
use session_tests::vectors::{self, KINDS, NAME, NOW, Save, Vectors};
use session_tests::wire::{SetCookie, canonical, kind_of, unquoted};

use crate::differences::{ALL, Row, Table, same};
use crate::plain::Plain;
use crate::program::{Program, Reply, View, lives_for, record, settings};
use crate::reference;

enum Instead {
    /// Nothing is stored, no cookie is set.
    Nothing,
    /// The handler cannot even be given such values: a 500, nothing stored.
    NoSuchValue,
}

const DIFFERENCES: &[Row<Instead>] = &[
    Row {
        kinds: ALL,
        names: &["empty/max_age=3600", "empty/max_age=None"],
        instead: Instead::Nothing,
        why: "a session that was never saved and is empty stores nothing and sets no cookie",
    },
    Row {
        kinds: ALL,
        names: &["non_finite/max_age=3600"],
        instead: Instead::NoSuchValue,
        why: "NaN and Infinity are not JSON",
    },
];

#[tokio::test]
async fn p1_what_python_writes_we_write_byte_for_byte() {
    let vectors = Vectors::read();
    let mut table = Table::new(DIFFERENCES);
    for kind in KINDS {
        for vector in &vectors.storages[kind].save {
            let program = Program::new(kind, settings(vector.max_age).unwrap()).await;
            let reply = program.send(&vector.request, None, body_of(vector)).await;
            let theirs = as_python(&program, vector, &reply);
            let ours = table.find(kind, &vector.name).map(|instead| {
                let status = match instead {
                    Instead::Nothing => 200,
                    Instead::NoSuchValue => 500,
                };
                same("status", reply.status, status)?;
                same("Set-Cookie", kind_of(reply.set_cookie.as_ref()), "none")?;
                same("store writes", program.writes(), 0)
            });
            table.check(kind, &vector.name, theirs, ours);
        }
    }
    table.finish();
}

fn body_of(vector: &Save) -> &str {
    match vector.request.as_str() {
        "POST /set" => &vector.mapping_json,
        _ => "",
    }
}

fn as_python(program: &Program, vector: &Save, reply: &Reply) -> Result<(), String> {
    same("status", reply.status, 200)?;
    let kind = kind_of(reply.set_cookie.as_ref());
    same("Set-Cookie", kind, &vector.set_cookie_kind)?;
    let (Some(cookie), Some(payload)) = (&reply.set_cookie, &vector.payload) else {
        return same("payload", None, vector.payload.as_ref());
    };
    same("payload", &program.payload(cookie), payload)?;
    let theirs = SetCookie::parse(&vector.set_cookie);
    same("name", &cookie.name, &theirs.name)?;
    same("attributes", &cookie.attributes, &theirs.attributes)?;
    if program.kind == "simple" {
        same("coded value", &cookie.raw, &theirs.raw)?;
    }
    if program.is_keyed() {
        let key = format!("{NAME}_{}", cookie.raw);
        same("writes", program.writes(), 1)?;
        same("keys", program.store().keys(), vec![key.clone()])?;
        same("digits of the key", cookie.raw.len(), theirs.raw.len())?;
        let max_age = vector.max_age.map(i64::unsigned_abs);
        lives_for(program.store().left(&key), max_age)?;
    }
    Ok(())
}

/// Members that no Rust value holds: they go in as raw JSON only.
const NO_RUST_VALUE: &[&str] = &[
    "u64max+1", "i64min-1", "e30", "e60", "nan", "inf", "ninf", "hi", "lo",
];

#[tokio::test]
async fn p1_values_of_rust_become_the_text_that_python_writes() {
    let vectors = Vectors::read();
    let mut left_out = Vec::new();
    for kind in KINDS {
        for vector in &vectors.storages[kind].save {
            // Long enough to be looked at.
            let max_age = vector.max_age.filter(|age| *age > 1);
            let program = Program::new(kind, settings(max_age).unwrap()).await;
            let session = program.storage.load(&[]).await.unwrap();
            let mut members = Vec::new();
            for (name, text) in members_of(&vector.mapping_json) {
                if NO_RUST_VALUE.contains(&name.as_str()) {
                    left_out.push(name);
                    continue;
                }
                let value: Plain = serde_json::from_str(&text).unwrap();
                session.insert(&name, value).unwrap();
                members.push(format!("{}: {text}", quoted(&name)));
            }
            let CookieChange::Set { value, .. } = program.storage.save(&session).await.unwrap()
            else {
                assert!(members.is_empty(), "{kind}: {}: not saved", vector.name);
                continue;
            };
            let set = program.storage.config().cookie();
            let header = set.set_cookie(&value, None, vectors::now()).unwrap();
            let cookie = SetCookie::parse(std::str::from_utf8(header.as_bytes()).unwrap());
            let wanted = record(&format!("{{{}}}", members.join(", ")));
            assert_eq!(program.payload(&cookie), wanted, "{}", vector.name);
        }
    }
    for name in NO_RUST_VALUE {
        assert!(
            left_out.iter().any(|left| left == name),
            "{name} is no vector's"
        );
    }
}

fn quoted(name: &str) -> String {
    canonical(&serde_json::to_string(name).unwrap())
}

/// Splits the text of a flat or nested object, as Python wrote it, into its members.
fn members_of(object: &str) -> Vec<(String, String)> {
    let inside = object.strip_prefix('{').unwrap().strip_suffix('}').unwrap();
    let (mut depth, mut in_text, mut escaped, mut start) = (0_u32, false, false, 0);
    let mut pieces = Vec::new();
    for (at, c) in inside.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => in_text = !in_text,
            '[' | '{' if !in_text => depth += 1,
            ']' | '}' if !in_text => depth -= 1,
            ',' if !in_text && depth == 0 => {
                pieces.push(&inside[start..at]);
                start = at + 2;
            }
            _ => {}
        }
    }
    if !inside.is_empty() {
        pieces.push(&inside[start..]);
    }
    let member = |piece: &str| {
        let mut name = serde_json::Deserializer::from_str(piece).into_iter::<String>();
        let text = name.next().unwrap().unwrap();
        (text, piece[name.byte_offset() + 2..].to_owned())
    };
    pieces.into_iter().map(member).collect()
}

const UNREADABLE: &[Row<()>] = &[Row {
    kinds: ALL,
    names: &["non_finite/max_age=3600"],
    instead: (),
    why: "NaN and Infinity are not JSON: the record is unreadable, the session new",
}];

#[tokio::test]
async fn p1_what_python_wrote_we_read_in_both_quotings() {
    let vectors = Vectors::read();
    let mut table = Table::new(UNREADABLE);
    for kind in KINDS {
        for vector in &vectors.storages[kind].save {
            let Some(reload) = &vector.reload else {
                // Nothing was written, or it is about the time to live alone.
                assert!(vector.set_cookie_kind == "delete" || kind == "memcached");
                continue;
            };
            let program = Program::new(kind, settings(vector.max_age).unwrap()).await;
            if let Some(stored) = &vector.backend {
                program.store().put(&stored.key, &stored.bytes());
            }
            let mut headers = vec![reload.cookie_header.as_deref().unwrap()];
            if let Some(other) = &vector.reload_other_quoting {
                assert!(other.same_result);
                headers.push(&other.cookie_header);
            }
            let different = table.find(kind, &vector.name).is_some();
            for header in headers {
                let reply = program.send("GET /get", Some(header.as_bytes()), "").await;
                let view = View::parse(&reply.body);
                let theirs = crate::load::is_seen(&reply, reload);
                let ours = different.then(|| crate::load::is_new(&reply));
                table.check(kind, &vector.name, theirs, ours);
                assert_eq!(view.created, i64::try_from(NOW).unwrap());
            }
        }
    }
    table.finish();
}

#[tokio::test]
async fn p1_equal_parts_make_equal_tokens() {
    let vectors = Vectors::read();
    let mut tokens = 0;
    for kind in ["fernet", "nacl"] {
        for vector in &vectors.storages[kind].save {
            let (Some(payload), Some(token)) = (&vector.payload, &vector.cookie_value) else {
                assert_eq!(vector.set_cookie_kind, "delete");
                continue;
            };
            // The reference makes Python's token of the vector's parts ...
            let made = match (&vector.fernet, &vector.nacl) {
                (Some(parts), _) => {
                    let iv = reference::hex(&parts.iv_hex);
                    reference::seal_fernet(parts.timestamp, iv, payload)
                }
                (_, Some(parts)) => reference::seal_nacl(reference::hex(&parts.nonce_hex), payload),
                _ => panic!("{}: no parts", vector.name),
            };
            assert_eq!(made, *token, "{kind}: {}", vector.name);
            // ... and ours of what is in ours, which differ in the IV or nonce alone.
            let program = Program::new(kind, settings(vector.max_age).unwrap()).await;
            let reply = program.send("POST /set", None, &vector.mapping_json).await;
            let Some(cookie) = reply.set_cookie else {
                assert_eq!(vector.name, "non_finite/max_age=3600");
                continue;
            };
            let ours = unquoted(&cookie.raw);
            let made = if kind == "fernet" {
                let parts = reference::open_fernet(&ours);
                assert_eq!(parts.timestamp, NOW);
                assert_eq!(parts.payload, *payload);
                reference::seal_fernet(NOW, parts.iv, payload)
            } else {
                let (nonce, opened) = reference::open_nacl(&ours);
                assert_eq!(opened, *payload);
                reference::seal_nacl(nonce, payload)
            };
            assert_eq!(made, ours, "{kind}: {}", vector.name);
            let is_quoted = |raw: &str| raw.starts_with('"');
            if ours.contains(['=', '/']) {
                assert!(is_quoted(&cookie.raw), "Python quotes such a value: {kind}");
            } else {
                assert!(!is_quoted(&cookie.raw), "Python does not quote: {kind}");
            }
            tokens += 1;
        }
    }
    assert!(tokens >= 32, "only {tokens} tokens were compared");
}
