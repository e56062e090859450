//! The parity program on hyper beside the one on axum: the same responses, byte for byte.

use std::process::Command;

use session_tests::adapter::Adapter;
use session_tests::examples::program;
use session_tests::python::Process;
use session_tests::vectors::NAME;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// The program through one adapter, and its client.
struct Side {
    process: Process,
    cookie: Option<String>,
    /// The identities that the client has seen, in their order.
    seen: Vec<String>,
}

impl Side {
    fn start(adapter: Adapter, kind: &str, max_age: &str) -> Self {
        let flags = ["--port", "0", "--storage", kind, "--max-age", max_age];
        let mut command = Command::new(program("parity"));
        command.args(flags).args(["--adapter", adapter.name()]);
        Self {
            process: Process::start(&mut command),
            cookie: None,
            seen: Vec::new(),
        }
    }

    /// Sends a request and returns the whole response, with what chance and the clock put into it
    /// made the same.
    async fn ask(&mut self, method: &str, path: &str, cookie: Option<&str>, body: &str) -> String {
        let cookie = cookie.map_or(String::new(), |it| format!("Cookie: {it}\r\n"));
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{cookie}\
             Content-Length: {length}\r\n\r\n{body}"
        );
        let mut stream = TcpStream::connect(self.process.address()).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).await.unwrap();
        self.keep_cookie(&response);
        let (head, body) = response.split_once("\r\n\r\n").unwrap();
        let mut head: Vec<String> = head.lines().map(without_expires).collect();
        head.retain(|line| !line.starts_with("date: "));
        // The order of headers of different names means nothing (RFC 9110, section 5.3). Axum
        // writes the length of the body itself.
        head[1..].sort_by(|one, two| one.split(':').next().cmp(&two.split(':').next()));
        self.without_chance(&format!("{}\n\n{body}", head.join("\n")))
    }

    fn keep_cookie(&mut self, response: &str) {
        let start = format!("set-cookie: {NAME}=");
        for line in response.lines().filter(|line| line.starts_with(&start)) {
            let pair = line["set-cookie: ".len()..].split(';').next().unwrap();
            let is_removal = line.contains("Max-Age=0");
            self.cookie = (!is_removal).then(|| pair.to_owned());
        }
    }

    /// Numbers the identities, and hides the seconds since 1970.
    fn without_chance(&mut self, text: &str) -> String {
        let mut out = String::new();
        let is_word = |c: char| c.is_ascii_alphanumeric();
        for piece in text.split_inclusive(|c| !is_word(c)) {
            let word = piece.trim_end_matches(|c| !is_word(c));
            let of = |len: usize, digit: fn(&u8) -> bool| {
                word.len() == len && word.as_bytes().iter().all(digit)
            };
            if of(32, u8::is_ascii_hexdigit) {
                let known = self.seen.iter().position(|seen| seen == word);
                let at = known.unwrap_or(self.seen.len());
                if known.is_none() {
                    self.seen.push(word.to_owned());
                }
                out += "IDENTITY";
                out += &at.to_string();
            } else if of(10, u8::is_ascii_digit) {
                out += "SECONDS";
            } else {
                out += word;
            }
            out += &piece[word.len()..];
        }
        out
    }
}

/// Hides the time at which a cookie expires, unless it is removed.
fn without_expires(line: &str) -> String {
    let parts = line.split("; ").map(|part| {
        let is_time = part.starts_with("Expires=") && !part.contains(" 1970 ");
        if is_time { "Expires=.." } else { part }
    });
    parts.collect::<Vec<_>>().join("; ")
}

/// Which cookie a request carries.
#[derive(Clone, Copy, PartialEq)]
enum Sent {
    /// None.
    Nothing,
    /// The client's.
    Own,
    /// The one that the client had before `POST /renew` or a logout.
    Old,
}

use Sent::{Nothing, Old, Own};

const REQUESTS: [(&str, &str, Sent, &str); 56] = [
    ("GET", "/get", Nothing, ""),
    ("POST", "/set", Nothing, "{\"a\": 1, \"b\": [true, null]}"),
    ("GET", "/get", Own, ""),
    ("HEAD", "/get", Own, ""),
    ("POST", "/set", Own, "{\"c\": \"\\u00e9\", \"a b/c\": 1.50}"),
    ("GET", "/touch", Own, ""),
    ("GET", "/noop", Own, ""),
    ("HEAD", "/noop", Own, ""),
    ("GET", "/raise-redirect", Own, ""),
    ("HEAD", "/raise-redirect", Own, ""),
    ("GET", "/stream", Own, ""),
    ("HEAD", "/stream", Own, ""),
    ("GET", "/forbidden", Own, ""),
    ("GET", "/error", Own, ""),
    ("HEAD", "/error", Own, ""),
    ("GET", "/get", Own, ""),
    ("POST", "/max-age", Own, "{\"max_age\": 60}"),
    ("POST", "/max-age", Own, "{\"max_age\": null}"),
    ("POST", "/max-age", Own, "no JSON"),
    ("POST", "/max-age", Nothing, "no JSON"),
    ("POST", "/set", Own, "no JSON"),
    ("POST", "/set", Own, "[]"),
    ("POST", "/set", Own, ""),
    ("POST", "/set", Nothing, "{"),
    ("POST", "/login", Own, "no JSON"),
    ("POST", "/delete/a", Own, ""),
    ("POST", "/delete/a%20b%2fc", Own, ""),
    ("POST", "/delete/%zz", Own, ""),
    ("POST", "/delete/%ff", Own, ""),
    ("POST", "/delete/nothing?key=b", Own, ""),
    ("POST", "/renew", Own, ""),
    ("GET", "/get", Own, ""),
    ("GET", "/get", Old, ""),
    ("POST", "/set", Old, "{\"late\": 1}"),
    ("POST", "/login", Own, "{\"user\": \"bob\", \"more\": 1}"),
    ("POST", "/login", Own, ""),
    ("POST", "/clear", Own, ""),
    ("POST", "/login", Nothing, ""),
    ("POST", "/invalidate", Own, ""),
    ("POST", "/set", Old, "{\"late\": 1}"),
    ("POST", "/invalidate", Nothing, ""),
    ("POST", "/login", Nothing, ""),
    ("POST", "/new-untouched", Own, ""),
    ("GET", "/", Own, ""),
    ("HEAD", "/", Own, ""),
    ("GET", "/get/", Own, ""),
    ("GET", "/%67et", Own, ""),
    ("GET", "/set", Own, ""),
    ("HEAD", "/set", Own, ""),
    ("POST", "/get", Own, ""),
    ("PUT", "/get", Own, ""),
    ("OPTIONS", "/login", Own, ""),
    ("GET", "/delete/a", Own, ""),
    ("PATCH", "/delete/a", Own, ""),
    ("POST", "/delete/", Own, ""),
    ("POST", "/delete/a/b", Own, ""),
];

#[tokio::test]
async fn the_program_responds_the_same_on_hyper_and_on_axum() {
    for (kind, max_age) in [("memory", "none"), ("memory", "3600"), ("simple", "3600")] {
        let sides = [Adapter::Hyper, Adapter::Axum];
        let mut sides = sides.map(|adapter| Side::start(adapter, kind, max_age));
        let mut old = [None, None];
        for (method, path, sent, body) in REQUESTS {
            let mut responses = Vec::new();
            for (side, old) in sides.iter_mut().zip(&mut old) {
                let before = side.cookie.clone();
                let cookie = match sent {
                    Nothing => None,
                    Own => before.clone(),
                    Old => Option::clone(old),
                };
                responses.push(side.ask(method, path, cookie.as_deref(), body).await);
                if before.is_some() && matches!(path, "/renew" | "/invalidate") {
                    *old = before;
                }
            }
            let [hyper, axum] = &responses[..] else {
                panic!("two programs")
            };
            assert_eq!(axum, hyper, "{kind}: {method} {path} {body}");
            assert!(hyper.starts_with("HTTP/1.1 "), "{method} {path}: {hyper}");
        }
        let [hyper, axum] = sides.map(|side| side.seen.len());
        assert_eq!(hyper, axum);
        assert_eq!(
            hyper > 3,
            kind == "memory",
            "the client saw {hyper} identities"
        );
    }
}
