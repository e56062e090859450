//! Cookie headers and cookie values that stand for no session.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use http::StatusCode;
use session_core::DEFAULT_NAME;
use session_tests::logs::Logs;

use crate::subject::{Kind, Subject, reads};
use crate::suite::{
    HOUR, KEY, NOW, SECRET, UNKNOWN, assert_found, assert_new, assert_stands_for_none, login, quote,
};

/// Cookie header lines that stand for no session in any storage.
fn hostile_headers(good: &str) -> Vec<(&'static str, Vec<Vec<u8>>)> {
    let name = DEFAULT_NAME;
    let value = good.split_once('=').unwrap().1;
    let line = |value: &[u8]| vec![[name.as_bytes(), b"=", value].concat()];
    let quoted = |value: &str| line(quote(value).as_bytes());
    let kib = |text: &str, kib: usize| text.repeat(kib * 1024 / text.len());
    let many =
        |count: usize| format!("{name}=a").to_owned() + &format!("; {name}=b").repeat(count - 1);
    vec![
        ("no cookie", vec![]),
        ("an empty header", vec![b"".to_vec()]),
        ("other cookies", vec![b"a=1; b=2".to_vec()]),
        ("empty value", line(b"")),
        ("name alone", vec![name.as_bytes().to_vec()]),
        ("empty quotes", line(b"\"\"")),
        ("a b", line(b"a b")),
        ("tabs", line(b"\ta\tb\t")),
        ("not UTF-8", line(b"\xff\xfe")),
        ("UTF-8 cut", line(b"abc\xe2\x98")),
        ("é☃", line("é☃".as_bytes())),
        ("é☃ in quotes", line("\"é☃\"".as_bytes())),
        ("a quote open", line(b"\"abc")),
        ("a quote closed", line(b"abc\"")),
        ("quotes closed", line(b"\"abc\"")),
        ("quotes alone", line(b"\"")),
        ("four quotes", line(b"\"\"\"\"")),
        ("a quote escaped open", line(b"\"abc\\\"")),
        ("a backslash at the end", line(b"\"abc\\")),
        (
            "octal escapes",
            line(b"\"\\000\\012\\015\\377\\400\\18\\9\""),
        ),
        ("8 KiB", line(kib("a", 8).as_bytes())),
        ("64 KiB", line(kib("a", 64).as_bytes())),
        ("64 KiB of quotes", line(kib("\"", 64).as_bytes())),
        (
            "64 KiB of backslashes in quotes",
            line(format!("\"{}\"", kib("\\", 64)).as_bytes()),
        ),
        ("64 KiB of semicolons", line(kib(";", 64).as_bytes())),
        ("64 KiB of equals", line(kib("=", 64).as_bytes())),
        (
            "64 KiB of spaces",
            line(format!("a{}b", kib(" ", 64)).as_bytes()),
        ),
        ("64 KiB of pairs", vec![kib("a=\"; ", 64).into_bytes()]),
        ("100 of the name", vec![many(100).into_bytes()]),
        ("two lines", [line(b"a"), line(b"b")].concat()),
        (
            "three lines",
            [line(b"a"), line(b"\xff"), line(b"b")].concat(),
        ),
        (
            "100 of the name in 50 lines",
            vec![many(2).into_bytes(); 50],
        ),
        (
            "another case of the name",
            vec![format!("{}={value}", name.to_lowercase()).into_bytes()],
        ),
        (
            "a percent-encoded name",
            vec![format!("%41{}={value}", &name[1..]).into_bytes()],
        ),
        (
            "a longer name",
            vec![format!("{name}x={value}; x{name}={value}").into_bytes()],
        ),
        (
            "the name with a percent-encoded equals",
            vec![format!("{name}%3D{value}").into_bytes()],
        ),
        ("a path", line(b"../../etc/passwd")),
        ("percent-encoded CR LF", line(b"%0d%0aSet-Cookie:%20evil=1")),
        ("null", line(b"null")),
        ("[]", line(b"[]")),
        ("{}", line(b"{}")),
        ("1e999", line(b"1e999")),
        (
            "JSON cut",
            quoted("{\"created\": 1, \"session\": {\"user\": \"al"),
        ),
        ("100,000 [", line("[".repeat(100_000).as_bytes())),
        ("100,000 {\"a\":", quoted(&"{\"a\":".repeat(25_000))),
        ("an unknown identity", line(UNKNOWN.as_bytes())),
        (
            "an identity with CR LF in octal",
            line(format!("\"{UNKNOWN}\\015\\012\"").as_bytes()),
        ),
        (
            "an identity with a space",
            line(format!("\"{UNKNOWN} \"").as_bytes()),
        ),
        ("an identity too long", line("0".repeat(129).as_bytes())),
        (
            "the good value percent-encoded",
            line(format!("%{:02x}{}", value.as_bytes()[0], &value[1..]).as_bytes()),
        ),
    ]
}

pub(crate) async fn p7_any_cookie_header_is_an_empty_new_session(kind: Kind) {
    let (logs, _capture) = Logs::capture();
    let subject = Subject::new(kind).await;
    let server = subject.serve().await;
    let good = login(&server).await;
    let value = good.split_once('=').unwrap().1.to_owned();
    let mut secrets = vec![
        value.clone(),
        value.trim_matches('"').to_owned(),
        SECRET.to_owned(),
        STANDARD.encode(KEY),
        URL_SAFE.encode(KEY),
    ];
    for (what, lines) in hostile_headers(&good) {
        let lines: Vec<&[u8]> = lines.iter().map(Vec::as_slice).collect();
        subject.take_calls();
        assert_new(&server.get("/read", &lines).await, what);
        let known = usize::from(kind.is_keyed() && what == "an unknown identity");
        assert_eq!(subject.take_calls(), reads(known), "{what}");
        assert_stands_for_none(&server, what, &lines).await;
        for line in lines {
            let sent = String::from_utf8_lossy(line);
            let start: String = sent
                .split_once('=')
                .map_or("", |(_, v)| v)
                .chars()
                .take(40)
                .collect();
            secrets.extend((start.len() >= 8).then_some(start));
        }
    }
    logs.assert_without(&secrets);
    let said = match kind {
        Kind::simple => "session record is unreadable",
        Kind::fernet | Kind::nacl => "session cookie refused",
        _ => "session is unknown",
    };
    assert!(logs.text().contains(said), "the capture works");
    assert_found(
        &server.get("/read", &[good.as_bytes()]).await,
        "the good one",
    );
}

/// hyper refuses these itself. The handler never sees them.
pub(crate) async fn p7_a_header_that_is_no_header_is_refused_by_the_server(kind: Kind) {
    let subject = Subject::new(kind).await;
    let server = subject.serve().await;
    for byte in [0_u8, 1, 0x0d, 0x1b, 0x7f] {
        let line = [format!("{DEFAULT_NAME}=a").as_bytes(), &[byte], b"b"].concat();
        let response = server.get("/write", &[&line]).await;
        assert_eq!(response.status(), StatusCode::BAD_REQUEST, "{byte}");
        assert!(response.body().is_empty() && !response.headers().contains_key("set-cookie"));
    }
    let folded = format!("{DEFAULT_NAME}=a\r\n b");
    let response = server.get("/write", &[folded.as_bytes()]).await;
    assert_eq!(response.status(), StatusCode::BAD_REQUEST, "folded");
    assert_eq!(subject.take_calls(), reads(0));
}

pub(crate) async fn p7_a_good_cookie_is_found_among_bad_ones(kind: Kind) {
    let subject = Subject::new(kind).await;
    let server = subject.serve().await;
    let good = login(&server).await;
    let bads = [
        "",
        "a",
        "\"",
        "\"\"",
        "null",
        "{}",
        UNKNOWN,
        "../../etc/passwd",
        "a b",
        "é",
    ];
    for bad in bads.map(|bad| format!("{DEFAULT_NAME}={bad}")) {
        for line in [
            format!("{bad}; {good}"),
            format!("{good}; {bad}"),
            format!("a=1; {bad}; b=2; {good}; c=3"),
        ] {
            assert_found(&server.get("/read", &[line.as_bytes()]).await, &line);
        }
        let (bad, good) = (bad.as_bytes(), good.as_bytes());
        for lines in [
            vec![bad, good],
            vec![good, bad],
            vec![b"a=1", bad, good],
            vec![bad, bad, bad, good],
        ] {
            assert_found(&server.get("/read", &lines).await, "lines");
            assert_found(&server.get_http2("/read", &lines).await, "crumbs");
        }
        // The same value counts once, however often it comes.
        let repeated = [&[bad; 50][..], &[good]].concat();
        let response = server.get("/read", &repeated).await;
        assert_found(&response, "repeated lines");
        let response = server.get_http2("/read", &repeated).await;
        assert_found(&response, "repeated crumbs");
    }
    // Of distinct values that have the shape of a session cookie, eight are tried. Others do not
    // count, wherever they stand.
    let shaped: Vec<String> = (0..8)
        .map(|at| format!("{DEFAULT_NAME}={at:0100x}"))
        .collect();
    let shaped: Vec<&[u8]> = shaped.iter().map(String::as_bytes).collect();
    let misshapen: Vec<String> = (0..20).map(|_| format!("{DEFAULT_NAME}=")).collect();
    let misshapen: Vec<&[u8]> = misshapen.iter().map(String::as_bytes).collect();
    let good = [good.as_bytes()];
    for seven in [
        [&shaped[..7], &good].concat(),
        [&misshapen[..], &shaped[..7], &misshapen, &good].concat(),
    ] {
        assert_found(&server.get("/read", &seven).await, "the eighth");
        assert_found(&server.get_http2("/read", &seven).await, "the eighth");
    }
    let eight = [&shaped[..], &good].concat();
    assert_new(&server.get("/read", &eight).await, "the ninth");
    assert_new(&server.get_http2("/read", &eight).await, "the ninth");
}

pub(crate) async fn p7_an_altered_value_is_an_empty_new_session(kind: Kind) {
    if kind == Kind::simple {
        // By design: a plain cookie is what its client says. It protects nothing.
        let server = Subject::new(kind).await.serve().await;
        let forged = quote(&format!(
            "{{\"created\": {NOW}, \"session\": {{\"user\": \"admin\"}}}}"
        ));
        let line = format!("{DEFAULT_NAME}={forged}");
        assert_found(&server.get("/read", &[line.as_bytes()]).await, "forged");
        return;
    }
    let (logs, _capture) = Logs::capture();
    let subject = Subject::new(kind).await;
    let server = subject.serve().await;
    let good = login(&server).await;
    let (name, value) = good.split_once('=').unwrap();
    let value = value.trim_matches('"');
    let mut altered = Vec::new();
    for at in 0..value.len() {
        altered.push(value[..at].to_owned());
        altered.push(value[at + 1..].to_owned());
        for other in [
            value.as_bytes()[at] ^ 1,
            value.as_bytes()[at] ^ 0x20,
            b'!',
            b'=',
        ] {
            let mut bytes = value.as_bytes().to_vec();
            if bytes[at] != other && other.is_ascii_graphic() {
                bytes[at] = other;
                altered.push(String::from_utf8(bytes).unwrap());
            }
        }
    }
    for more in [
        "A", "=", "==", "===", "====", "AAAA", ".", "\\012", "%", " ", " A",
    ] {
        altered.push(format!("{value}{more}"));
        altered.push(format!("{more}{value}"));
    }
    altered.push(value.to_uppercase());
    altered.push(format!("{value}{value}"));
    for value in &altered {
        let line = format!("{name}=\"{value}\"");
        assert_new(&server.get("/read", &[line.as_bytes()]).await, value);
    }
    logs.assert_without(&[value, SECRET]);
    assert_found(&server.get("/read", &[good.as_bytes()]).await, "unaltered");
    assert!(!kind.is_keyed() || subject.keys() == 1);
}

pub(crate) async fn p7_an_expired_session_is_an_empty_new_one(kind: Kind) {
    let subject = Subject::new(kind).await;
    let server = subject.serve().await;
    let good = login(&server).await;
    subject.clock.advance(HOUR);
    assert_found(
        &server.get("/read", &[good.as_bytes()]).await,
        "just in time",
    );
    subject.clock.advance(Duration::from_secs(1));
    assert_stands_for_none(&server, "expired", &[good.as_bytes()]).await;
}

pub(crate) async fn p7_a_value_of_another_storage_is_an_empty_new_session(kind: Kind) {
    let server = Subject::new(kind).await.serve().await;
    for other in Kind::ALL.into_iter().filter(|other| *other != kind) {
        let good = login(&Subject::new(other).await.serve().await).await;
        assert_stands_for_none(&server, &format!("{other:?}"), &[good.as_bytes()]).await;
    }
}
