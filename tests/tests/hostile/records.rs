//! Payloads that were sealed or stored, and are strange or no records.

use std::time::Duration;

use http::StatusCode;
use session_core::{CookieSettings, DEFAULT_NAME};
use session_tests::logs::Logs;
use session_tests::server::{pair, set_cookies};

use crate::subject::{Kind, Subject};
use crate::suite::{HOUR, NOW, assert_is_over, assert_stands_for_none, quote};

pub(crate) async fn p7_a_sealed_payload_that_is_no_record_is_an_empty_new_session(kind: Kind) {
    let (logs, _capture) = Logs::capture();
    let subject = Subject::new(kind).await;
    let server = subject.serve().await;
    let deep = "[".repeat(100_000);
    let deep_record = format!("{{\"created\": {NOW}, \"session\": {deep}");
    let payloads: [&[u8]; 26] = [
        b"",
        b" ",
        b"{}",
        b" {\t} ",
        b"null",
        b"true",
        b"0",
        b"1e999",
        b"\"\"",
        b"\"swordfish-4711\"",
        b"[]",
        b"[[\"created\", 1], [\"session\", {}]]",
        b"NaN",
        b"{",
        b"{\"created\"",
        b"{\"created\": 1700000000, \"session\": {\"user\": \"swordfish-4711\"}",
        b"{\"created\": 1700000000, \"session\": {\"user\": \"swordfish-4711\"}} x",
        b"{\"created\": 1700000000, \"session\": {\"user\": NaN}}",
        b"{\"created\": \"swordfish-4711\", \"session\": {}}",
        b"{\"created\": 1700000000, \"session\": 471147114711}",
        b"{\"created\": 1700000000, \"session\": \"swordfish-4711\"}",
        b"{\"created\": 1700000000, \"session\": [471147114711]}",
        b"\xef\xbb\xbf{\"created\": 1700000000, \"session\": {\"a\": 1}}",
        b"\xff\xfe",
        deep.as_bytes(),
        deep_record.as_bytes(),
    ];
    for payload in payloads {
        let what = String::from_utf8_lossy(payload)
            .chars()
            .take(80)
            .collect::<String>();
        let Some(value) = subject.seal(payload).await else {
            continue;
        };
        let line = format!("{DEFAULT_NAME}={}", quote(&value));
        assert_stands_for_none(&server, &what, &[line.as_bytes()]).await;
    }
    for tombstone in ["{ }", "{\t}", "{\n}"] {
        let value = subject.seal(tombstone.as_bytes()).await.unwrap();
        let line = format!("{DEFAULT_NAME}={}", quote(&value));
        // Only a store has tombstones: of a logout, a login, and a session that somebody else
        // ended.
        if kind.is_keyed() && tombstone != "{\n}" {
            assert_is_over(&server, tombstone, &[line.as_bytes()]).await;
        } else {
            assert_stands_for_none(&server, tombstone, &[line.as_bytes()]).await;
        }
    }
    logs.assert_without(&["swordfish", "471147114711"]);
    assert!(logs.text().contains("session record is unreadable"));
}

/// These are records, although no honest program would have written them.
pub(crate) async fn p7_no_record_whatever_makes_a_read_or_a_write_panic(kind: Kind) {
    let entries =
        r#"{"a": 1, "a": 2, "": 3, "\u0000": 4, "\ud800": 5, "x\ty": 6}"#.replace('\t', "\\t");
    let nested = format!("{{\"a\": {}{}}}", "[".repeat(600), "]".repeat(600));
    let numbers = [
        "0",
        "-0",
        "1",
        "-1",
        "1e999",
        "-1e999",
        "1e308",
        "-1e-999",
        "0.1",
        "1700000000",
        "18446744073709551615",
        "18446744073709551616",
        "9223372036854775808",
        "253402300800",
        "9999999999999999999999999999999999999999",
        "null",
        "true",
        "false",
    ];
    let mut payloads = vec![
        r#"{"created": 1700000000, "created": 1, "created": 1700000000,
            "session": {"a": 1}, "session": {"b": 2}}"#
            .to_owned(),
        format!("{{\"created\": {NOW}, \"session\": {entries}}}"),
        format!("{{\"created\": {NOW}, \"session\": {nested}}}"),
        format!(
            r#"{{"created": {NOW}, "session": [["a", 1], "bc", ["a", {{}}], ["\u0001", "é"]]}}"#
        ),
        format!("{{\"created\": {NOW}, \"session\": []}}"),
        format!("{{\"created\": {NOW}, \"session\": null}}"),
        format!("{{\"created\": {NOW}}}"),
        r#"{"unknown": 1}"#.to_owned(),
        r#"{"session": {"a": 1}}"#.to_owned(),
    ];
    for number in numbers {
        for member in ["created", "max_age", "started"] {
            let created = if member == "created" {
                ""
            } else {
                "\"created\": 1700000000, "
            };
            payloads.push(format!(
                "{{{created}\"{member}\": {number}, \"session\": {{\"a\": 1}}}}"
            ));
        }
    }
    payloads.push(format!(
        r#"{{"created": 1e999, "max_age": {0}, "started": {0}, "session": {{"a": 1}}}}"#,
        u64::MAX
    ));
    let plain = || CookieSettings::builder(DEFAULT_NAME);
    for settings in [
        plain(),
        plain().max_age(HOUR),
        plain().max_age(HOUR).rolling(true),
        plain().absolute_max_age(HOUR),
        plain()
            .max_age(HOUR)
            .rolling(true)
            .absolute_max_age(2 * HOUR),
        plain()
            .max_age(Duration::MAX)
            .absolute_max_age(Duration::MAX),
    ] {
        let subject = Subject::with(kind, settings.build().unwrap()).await;
        let server = subject.serve().await;
        for payload in &payloads {
            for path in ["/read", "/write", "/renew", "/logout", "/login"] {
                let value = subject.seal(payload.as_bytes()).await.unwrap();
                let line = format!("{DEFAULT_NAME}={}", quote(&value));
                let response = tokio::time::timeout(HOUR, server.get(path, &[line.as_bytes()]))
                    .await
                    .unwrap();
                assert_eq!(response.status(), StatusCode::OK, "{path} {payload}");
                for set_cookie in set_cookies(&response, DEFAULT_NAME) {
                    let next = server.get("/read", &[pair(&set_cookie).as_bytes()]).await;
                    assert_eq!(next.status(), StatusCode::OK, "after {path} {payload}");
                }
            }
        }
    }
}
