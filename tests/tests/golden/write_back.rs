//! What a handler does not touch goes back byte for byte.

use session_tests::vectors::{KINDS, NAME, NOW};
use session_tests::wire::SetCookie;

use crate::program::{Program, record, settings};

/// Members as some JSON writer spelled them, none as ours would.
fn members() -> Vec<String> {
    let deep = format!("\"deep\": {}7{}", "[".repeat(500), "]".repeat(500));
    [
        "\"digits\": 1234567890123456789012345678901234567890",
        "\"huge\": 1e400",
        "\"tiny\": -1E-999",
        "\"zero\": -0.000e+00",
        &deep,
        "\"lone\": \"\\ud800 and \\uDC00\"",
        "\"\\uD83D\": \"a key that is no Unicode\"",
        "\"\\u00e9\\/\": \"\\u00E9\\/\\u0041\"",
        "\"é日😀\": \"é日😀\u{7f}\"",
        "\"spaced\": { \"x\" :[ 1 ,2 ] }",
        "\"twice inside\": {\"x\": 1, \"x\": 2}",
    ]
    .map(str::to_owned)
    .to_vec()
}

/// A plain cookie is ASCII whatever a value holds, as aiohttp_session writes it. An escape means
/// the same.
fn spelled(kind: &str, record: String) -> String {
    if kind == "simple" {
        record.replace("é日😀", "\\u00e9\\u65e5\\ud83d\\ude00")
    } else {
        record
    }
}

async fn after(kind: &str, session: &str, request: &str, body: &str) -> String {
    let program = Program::new(kind, settings(Some(3600)).unwrap()).await;
    let payload = format!("{{\"created\": {}, \"session\": {session}}}", NOW - 10);
    let value = program.wrap(&payload);
    let cookie = program.storage.config().cookie();
    let sent = cookie
        .set_cookie(&value, None, session_tests::vectors::now())
        .unwrap();
    let sent = SetCookie::parse(std::str::from_utf8(sent.as_bytes()).unwrap()).raw;
    let sent = format!("{NAME}={sent}");
    let reply = program.send(request, Some(sent.as_bytes()), body).await;
    assert_eq!(reply.status, 200, "{kind}: {}", reply.body);
    program.payload(&reply.set_cookie.unwrap())
}

#[tokio::test]
async fn p1_untouched_values_go_back_byte_for_byte() {
    let members = members().join(", ");
    let session = format!("{{{members}}}");
    for kind in KINDS {
        let touched = after(kind, &session, "GET /touch", "").await;
        let kept = format!("{{\"created\": {}, \"session\": {session}}}", NOW - 10);
        assert_eq!(touched, spelled(kind, kept), "{kind}");
        let written = after(kind, &session, "POST /set", "{\"w\": 1}").await;
        let wanted = record(&format!("{{{members}, \"w\": 1}}"));
        assert_eq!(written, spelled(kind, wanted), "{kind}");
    }
}

#[tokio::test]
async fn p1_removing_one_key_leaves_the_others_as_they_are() {
    let members = members();
    let all = format!("{{{}}}", members.join(", "));
    let left = format!("{{{}}}", members[1..].join(", "));
    for kind in KINDS {
        let written = after(kind, &all, "POST /delete/digits", "").await;
        assert_eq!(written, spelled(kind, record(&left)), "{kind}");
    }
}

#[tokio::test]
async fn p1_of_a_key_that_comes_twice_the_last_value_counts_in_the_first_place() {
    let session = "{\"a\": 1, \"b\": 2, \"\\u0061\": 1e400, \"\\ud800\": 1, \"\\ud800\": 2}";
    for kind in KINDS {
        let written = after(kind, session, "POST /set", "{\"w\": 1}").await;
        let wanted = "{\"a\": 1e400, \"b\": 2, \"\\ud800\": 2, \"w\": 1}";
        assert_eq!(written, record(wanted), "{kind}");
    }
}
