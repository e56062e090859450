//! What Python makes of a cookie, good or bad, we make of it.

use session_tests::vectors::{KINDS, Load, Loaded, NAME, NOW, Vectors};
use session_tests::wire::{SetCookie, canonical, kind_of};

use crate::differences::{ALL, COOKIE, ENDED, KEYED, Row, SEALED, Table, is_quiet, same};
use crate::program::{Program, Reply, View, is_tombstone, record, settings};

/// What we do where Python does something else; in the rest of the vector we follow it.
enum Instead {
    /// An empty new session; a write begins a fresh one and leaves the record alone.
    New,
    /// An empty new session. A write moves it to a fresh identity.
    Emptied,
    /// Another `created` is shown.
    Created(i64),
    /// The data is this text, before and after the write.
    Data(&'static str),
    /// The data is what the payload says, where Python gives up.
    Read,
    /// The cookie that the write would set is over 4096 bytes: a 500, and no cookie.
    TooLarge,
    /// `Read`, then `TooLarge`.
    ReadButTooLarge,
    /// Such settings are refused when they are built.
    Refused,
    /// It is no text that a vector could hold: `foreign.rs` has it.
    Foreign,
}

const DIFFERENCES: &[Row<Instead>] = &[
    Row {
        kinds: ALL,
        names: &[
            "payload/age_one_over_max_age",
            "payload/very_old",
            "payload/only_extra_members",
            "payload/created_missing",
            "payload/created_null",
            "payload/created_zero",
            "payload/created_negative",
            "payload/created_float_boundary",
            "payload/created_true",
        ],
        instead: Instead::New,
        why: "an expired session is a new session",
    },
    Row {
        kinds: ALL,
        names: &["payload/only_extra_members_no_max_age"],
        instead: Instead::New,
        why: "an object with neither created nor session is more likely another program's",
    },
    Row {
        kinds: &["fernet"],
        names: &["token/token_fresh_but_created_too_old"],
        instead: Instead::New,
        why: "an expired session is a new session",
    },
    Row {
        kinds: &["nacl"],
        names: &["token/created_too_old"],
        instead: Instead::New,
        why: "an expired session is a new session",
    },
    Row {
        kinds: ALL,
        names: &[
            "payload/json_null",
            "payload/json_false",
            "payload/json_zero",
            "payload/json_empty_string",
            "payload/json_empty_list",
        ],
        instead: Instead::New,
        why: "what is no object is unreadable",
    },
    Row {
        kinds: ALL,
        names: &[
            "payload/json_true",
            "payload/json_number",
            "payload/json_string",
            "payload/json_list",
            "payload/created_string",
            "payload/created_string_no_max_age",
            "payload/created_list",
            "payload/created_list_no_max_age",
            "payload/session_list_of_numbers",
            "payload/session_list_of_triples",
            "payload/session_string",
            "payload/session_number",
            "payload/session_false",
            "payload/session_string_but_too_old",
            "payload/invalid_utf8",
        ],
        instead: Instead::New,
        why: "an unreadable record is a new session and no 500",
    },
    Row {
        kinds: ALL,
        names: &[
            "payload/byte_order_mark",
            "payload/trailing_text",
            "payload/cut_short",
            "payload/trailing_comma",
            "payload/single_quotes",
            "payload/raw_newline_in_string",
            "payload/not_json",
            "payload/empty_text",
        ],
        instead: Instead::New,
        why: "what is not JSON is no 500, keeps no identity and is never overwritten",
    },
    Row {
        kinds: &["simple"],
        names: &[
            "header/raw_json_with_semicolon",
            "header/percent_encoded",
            "header/empty_value",
            "header/empty_quoted_value",
            "header/no_equals_sign",
            "header/quoted_cut_short",
            "header/garbage",
        ],
        instead: Instead::New,
        why: "what is not JSON is a new session and no 500",
    },
    Row {
        kinds: &["nacl"],
        names: &["token/empty_plaintext"],
        instead: Instead::New,
        why: "what is not JSON is a new session and no 500",
    },
    Row {
        kinds: ALL,
        names: &["payload/nan_inside"],
        instead: Instead::New,
        why: "NaN and Infinity are not JSON: unreadable",
    },
    Row {
        kinds: ALL,
        names: &["payload/overflowing_float"],
        instead: Instead::Data("{\"a\": 1e999}"),
        why: "an untouched value goes back as it is, and does not become Infinity",
    },
    Row {
        kinds: &["simple"],
        names: &["payload/nesting_2000"],
        instead: Instead::Read,
        why: "Python's limits are not ours",
    },
    Row {
        kinds: KEYED,
        names: &["payload/integer_of_4301_digits", "payload/nesting_2000"],
        instead: Instead::Read,
        why: "Python's limits are not ours",
    },
    Row {
        kinds: SEALED,
        names: &["payload/integer_of_4301_digits", "payload/nesting_2000"],
        instead: Instead::ReadButTooLarge,
        why: "Python's limits are not ours, but those of browsers are",
    },
    Row {
        kinds: &["simple"],
        names: &["payload/integer_of_4301_digits"],
        instead: Instead::ReadButTooLarge,
        why: "Python's limits are not ours, but those of browsers are",
    },
    Row {
        kinds: COOKIE,
        names: &["payload/integer_of_4300_digits"],
        instead: Instead::TooLarge,
        why: "a cookie that a browser would drop is an error",
    },
    Row {
        kinds: KEYED,
        names: &[
            "payload/empty_session_member",
            "payload/session_missing",
            "payload/session_null",
            "payload/session_empty_list",
            "payload/session_empty_string",
        ],
        instead: Instead::Emptied,
        why: "a session without keys is a new one, and no login uses its old identity",
    },
    Row {
        kinds: ALL,
        names: &["payload/created_float"],
        instead: Instead::Created(1_699_999_989),
        why: "our created is a time, and the program shows whole seconds",
    },
    Row {
        kinds: ALL,
        names: &["payload/created_true_no_max_age"],
        instead: Instead::Created(1),
        why: "our created is a time",
    },
    Row {
        kinds: ALL,
        names: &[
            "payload/created_false_no_max_age",
            "payload/created_empty_string_no_max_age",
        ],
        instead: Instead::Created(0),
        why: "our created is a time",
    },
    Row {
        kinds: &["nacl"],
        names: &["payload/created_in_future", "payload/created_huge"],
        instead: Instead::New,
        why: "a session from the future would never expire",
    },
    Row {
        kinds: &["simple", "fernet", "redis", "memcached"],
        names: &["payload/created_huge"],
        instead: Instead::Created(253_402_300_799),
        why: "our created is a time, and ends with the year 9999",
    },
    Row {
        kinds: ALL,
        names: &[
            "payload/max_age_zero_same_second",
            "payload/max_age_zero_one_second_old",
        ],
        instead: Instead::Refused,
        why: "a lifetime of zero is refused",
    },
    Row {
        kinds: &["fernet"],
        names: &[
            "token/max_age_zero_same_second",
            "token/max_age_zero_next_second",
        ],
        instead: Instead::Refused,
        why: "a lifetime of zero is refused",
    },
    Row {
        kinds: &["fernet"],
        names: &["token/token_1000s_in_future_no_max_age"],
        instead: Instead::New,
        why: "a token dated more than 60 s in the future is refused without max_age too",
    },
    Row {
        kinds: &["fernet"],
        names: &[
            "token/unneeded_padding_added",
            "token/unneeded_padding_added_4",
            "token/padding_added_4",
            "token/padding_inside",
            "token/standard_alphabet",
            "token/last_bits_changed_before_padding",
        ],
        instead: Instead::New,
        why: "one canonical text per token",
    },
    Row {
        kinds: SEALED,
        names: &[
            "token/padding_added",
            "token/text_after_padding",
            "token/junk_character_inside",
            "token/space_inside",
            "token/non_ascii_inside",
        ],
        instead: Instead::New,
        why: "one canonical text per token",
    },
    Row {
        kinds: KEYED,
        names: &[
            "key/short_key",
            "key/empty_value_and_such_a_key",
            "key/key_with_colon_and_star",
        ],
        instead: Instead::New,
        why: "the store is not asked for what has not the shape of an identity",
    },
    Row {
        kinds: &["memcached"],
        names: &[
            "key/key_with_space",
            "key/key_with_newline",
            "key/key_of_235",
            "key/key_of_300",
        ],
        instead: Instead::New,
        why: "the store is not asked for what has not the shape of an identity",
    },
    Row {
        kinds: &["redis"],
        names: &["key/redis_value_of_another_type"],
        instead: Instead::Foreign,
        why: "only Redis has values of other types",
    },
    Row {
        kinds: &["memcached"],
        names: &["key/memcached_flags_not_zero"],
        instead: Instead::Foreign,
        why: "only memcached has flags",
    },
];

#[tokio::test]
async fn p1_what_python_loads_we_load_and_write_and_invalidate() {
    let vectors = Vectors::read();
    let mut table = Table::new(DIFFERENCES);
    for kind in KINDS {
        for vector in &vectors.storages[kind].load {
            let instead = table.find(kind, &vector.name);
            let (theirs, ours) = match instead {
                Some(Instead::Foreign) => (Err(String::new()), Some(Ok(()))),
                Some(Instead::Refused) => {
                    assert!(settings(vector.max_age).is_err(), "{}", vector.name);
                    (Err(String::new()), Some(Ok(())))
                }
                instead => compare(kind, vector, instead).await,
            };
            table.check(kind, &vector.name, theirs, ours);
        }
    }
    table.finish();
}

type Compared = (Result<(), String>, Option<Result<(), String>>);

/// Sends the vector's three requests, each with the store as it was, and compares.
async fn compare(kind: &str, vector: &Load, instead: Option<&Instead>) -> Compared {
    let cookie = vector.cookie_header();
    let mut replies = Vec::new();
    for (request, body) in [
        ("GET /get", ""),
        ("POST /set", "{\"w\": 1}"),
        ("POST /invalidate", ""),
    ] {
        let program = Program::new(kind, settings(vector.max_age).unwrap()).await;
        if let Some(stored) = &vector.backend {
            program.store().put(&stored.key, &stored.bytes());
        }
        let reply = program.send(request, Some(&cookie), body).await;
        let payload = match (&reply.set_cookie, &vector.backend) {
            (Some(cookie), _) if !cookie.is_removal() => Some(program.payload(cookie)),
            // A quiet update.
            (None, Some(stored)) => {
                let value = program.store().get(&stored.key);
                value.and_then(|value| String::from_utf8(value).ok())
            }
            _ => None,
        };
        replies.push(TestResponse {
            program,
            reply,
            payload,
        });
    }
    let [read, write, end] = <[TestResponse; 3]>::try_from(replies).ok().unwrap();
    let ended = end.is_ended(vector, &cookie).and_then(|()| {
        match (&vector.backend, View::parse(&read.reply.body).identity) {
            (Some(stored), Some(_)) => is_tombstone(&end.program, &stored.key, ENDED),
            _ => Ok(()),
        }
    });
    let theirs = is_seen(&read.reply, &vector.load)
        .and_then(|()| write.is_written(vector))
        .and_then(|()| ended.clone());
    let ours = instead.map(|instead| {
        ended?;
        match instead {
            Instead::New => {
                is_new(&read.reply)?;
                write.is_fresh(vector)
            }
            Instead::Emptied => {
                is_new(&read.reply)?;
                write.is_moved(vector)?;
                let key = &vector.backend.as_ref().unwrap().key;
                is_tombstone(&end.program, key, ENDED)
            }
            Instead::Created(seconds) => {
                let view = View::parse(&read.reply.body);
                same("created", view.created, *seconds)?;
                is_seen_but_created(&read.reply, &vector.load)?;
                write.is_written(vector)
            }
            Instead::Data(text) => {
                same("data", &*View::parse(&read.reply.body).data, *text)?;
                write.is_added_to(text, vector)
            }
            Instead::Read => {
                let text = data_of(vector);
                same("data", View::parse(&read.reply.body).data, text.clone())?;
                write.is_added_to(&text, vector)
            }
            Instead::TooLarge => {
                is_seen(&read.reply, &vector.load)?;
                write.is_refused()
            }
            Instead::ReadButTooLarge => {
                let view = View::parse(&read.reply.body);
                same("data", view.data, data_of(vector))?;
                write.is_refused()
            }
            Instead::Refused | Instead::Foreign => unreachable!("not sent"),
        }
    });
    (theirs, ours)
}

/// A vector's session as its payload has it.
fn data_of(vector: &Load) -> String {
    let payload = vector.payload.as_deref().unwrap();
    let (_, data) = payload.split_once("\"session\": ").unwrap();
    canonical(data.strip_suffix('}').unwrap())
}

struct TestResponse {
    program: Program,
    reply: Reply,
    payload: Option<String>,
}

impl TestResponse {
    fn set_cookie(&self) -> Result<&SetCookie, String> {
        same("status", self.reply.status, 200)?;
        same("Set-Cookie", kind_of(self.reply.set_cookie.as_ref()), "set")?;
        self.reply.set_cookie.as_ref().ok_or_else(String::new)
    }

    /// An update was saved. Returns the key of the record, which is empty in a cookie storage.
    fn updated(&self, vector: &Load) -> Result<String, String> {
        if is_quiet(&self.program.kind, vector.max_age) {
            same("status", self.reply.status, 200)?;
            let kind = kind_of(self.reply.set_cookie.as_ref());
            same("Set-Cookie of an update without Max-Age", kind, "none")?;
            return Ok(vector.backend.as_ref().unwrap().key.clone());
        }
        let cookie = self.set_cookie()?;
        if self.program.is_keyed() {
            Ok(format!("{NAME}_{}", cookie.raw))
        } else {
            Ok(String::new())
        }
    }

    /// Python's `then_set`.
    fn is_written(&self, vector: &Load) -> Result<(), String> {
        let then = vector.then_set.as_ref().unwrap();
        same("Python's status", then.status, 200)?;
        same("Python's Set-Cookie", &*then.set_cookie_kind, "set")?;
        let written = match then.backend_key.as_deref() {
            Some("same") => self.updated(vector)?,
            _ => format!("{NAME}_{}", self.set_cookie()?.raw),
        };
        let payload = self.payload.as_deref().map(canonical);
        same("payload", payload, then.payload.as_deref().map(canonical))?;
        let key = vector.backend.as_ref().map(|stored| &*stored.key);
        let same_key = key == Some(&*written);
        match then.backend_key.as_deref() {
            None => Ok(()),
            Some("same") => same("the key is the same", same_key, true),
            Some(_) => same("the key is the same", same_key, false),
        }
    }

    /// A write of a new session: under a fresh key, and what was unreadable stays as it was.
    fn is_fresh(&self, vector: &Load) -> Result<(), String> {
        let cookie = self.set_cookie()?;
        same("payload", self.payload.clone(), Some(record("{\"w\": 1}")))?;
        if self.program.is_keyed() {
            // One write, that of the payload: whatever else is in the store is as it was.
            same("writes", self.program.writes(), 1)?;
            let fresh = format!("{NAME}_{}", cookie.raw);
            let old = vector.backend.as_ref().map(|stored| &stored.key);
            same("the key is a fresh one", old == Some(&fresh), false)?;
            if let Some(stored) = &vector.backend {
                let left = self.program.store().get(&stored.key);
                same("the old record", left, Some(stored.bytes()))?;
            }
        }
        Ok(())
    }

    /// A write of an emptied session: under a fresh key, and a tombstone at the old one.
    fn is_moved(&self, vector: &Load) -> Result<(), String> {
        let cookie = self.set_cookie()?;
        same("payload", self.payload.clone(), Some(record("{\"w\": 1}")))?;
        let old = &vector.backend.as_ref().unwrap().key;
        same(
            "the key is the same",
            *old == format!("{NAME}_{}", cookie.raw),
            false,
        )?;
        let left = self.program.stored(old).unwrap_or_default();
        is_tombstone(&self.program, old, &left)?;
        // White space tells where the session moved to. Python reads an empty object.
        same("the tombstone of a move", left.starts_with("{\r"), true)?;
        same("the tombstone's members", &*canonical(&left), "{}")
    }

    fn is_added_to(&self, data: &str, vector: &Load) -> Result<(), String> {
        self.updated(vector)?;
        let members = data.strip_suffix('}').unwrap();
        let wanted = record(&format!("{members}, \"w\": 1}}"));
        same("payload", self.payload.clone(), Some(wanted))
    }

    fn is_refused(&self) -> Result<(), String> {
        same("status", self.reply.status, 500)?;
        same(
            "Set-Cookie",
            kind_of(self.reply.set_cookie.as_ref()),
            "none",
        )
    }

    /// `then_invalidate`: the cookie that was sent is removed, and a tombstone takes the place of a
    /// record that was loaded. Python stores `{}`, or sets a cookie that says so.
    fn is_ended(&self, vector: &Load, cookie: &[u8]) -> Result<(), String> {
        let sent = std::str::from_utf8(cookie).is_ok_and(|text| text.contains(NAME))
            || vector.name == "payload/invalid_utf8";
        let wanted = if sent { "delete" } else { "none" };
        same("invalidation: status", self.reply.status, 200)?;
        let kind = kind_of(self.reply.set_cookie.as_ref());
        same("invalidation: Set-Cookie", kind, wanted)?;
        let theirs = vector.then_invalidate.as_ref().unwrap();
        let known = vector.load.identity.is_some();
        let (set_cookie, payload) = match &*self.program.kind {
            _ if theirs.status == 500 => ("none", None),
            "fernet" | "nacl" => ("delete", None),
            "simple" => ("set", Some("{}")),
            _ if known => ("delete", Some("{}")),
            _ => ("set", Some("{}")),
        };
        same(
            "Python's invalidation",
            &*theirs.set_cookie_kind,
            set_cookie,
        )?;
        same("Python's invalidation", theirs.payload.as_deref(), payload)
    }
}

/// A GET saw what Python saw.
pub(crate) fn is_seen(reply: &Reply, wanted: &Loaded) -> Result<(), String> {
    is_seen_but_created(reply, wanted)?;
    let created = wanted
        .created
        .as_ref()
        .and_then(|text| text.get().parse::<f64>().ok());
    #[expect(clippy::cast_precision_loss, reason = "dates are far below 2^53")]
    let ours = View::parse(&reply.body).created as f64;
    same("created", Some(ours), created)
}

fn is_seen_but_created(reply: &Reply, wanted: &Loaded) -> Result<(), String> {
    same("status", reply.status, wanted.status)?;
    same("Set-Cookie", kind_of(reply.set_cookie.as_ref()), "none")?;
    let view = View::parse(&reply.body);
    same("new", Some(view.new), wanted.new)?;
    same("identity", &view.identity, &wanted.identity)?;
    let data = wanted.data_json.as_deref().map(canonical);
    same("data", Some(view.data), data)
}

/// A GET saw an empty new session.
pub(crate) fn is_new(reply: &Reply) -> Result<(), String> {
    same("status", reply.status, 200)?;
    same("Set-Cookie", kind_of(reply.set_cookie.as_ref()), "none")?;
    let view = View::parse(&reply.body);
    same("new", view.new, true)?;
    same("identity", view.identity, None)?;
    same("created", view.created, i64::try_from(NOW).unwrap())?;
    same("data", &*view.data, "{}")
}
