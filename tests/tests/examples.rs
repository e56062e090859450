//! The example programs `login`, `quickstart` and `parity`, as clients and operators meet them.
#![allow(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "these are tests"
)]

use std::fs::{self, File};
use std::process::Command;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use session_tests::examples::program;
use session_tests::processes::Folder;
use session_tests::python::Process;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

async fn ask(server: &Process, method: &str, path: &str, form: &'static str) -> Response<Bytes> {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", "site");
    server.send(request.body(Full::from(form)).unwrap()).await
}

/// Otherwise a client in a loop fills the store, and then no user can log in.
#[tokio::test]
async fn a_stranger_stores_nothing_in_the_login_example() {
    let server = Process::start(Command::new(program("login")).env("PORT", "0"));
    for (method, path, form, place) in [
        ("GET", "/private", "", "/?error=login"),
        (
            "POST",
            "/login",
            "user=ada&password=wrong",
            "/?error=password",
        ),
        ("POST", "/login", "password=open+sesame", "/?error=password"),
        ("POST", "/logout", "", "/"),
    ] {
        let response = ask(&server, method, path, form).await;
        assert_eq!(response.status(), StatusCode::SEE_OTHER);
        assert!(!response.headers().contains_key("set-cookie"), "{path}");
        assert_eq!(response.headers()["location"], place);
    }
    for (query, text) in [
        ("?error=login", Some("Please log in first.")),
        ("?error=password", Some("That is not the password.")),
        ("", None),
        ("?error=%3Cb%3Emine", None),
        ("?error=login&more=mine", None),
    ] {
        let response = ask(&server, "GET", &format!("/{query}"), "").await;
        let page = String::from_utf8(response.body().to_vec()).unwrap();
        assert_eq!(page.contains("role=status>"), text.is_some(), "{page}");
        assert!(page.contains(text.unwrap_or_default()) && !page.contains("mine"));
    }
    let login = ask(&server, "POST", "/login", "user=ada&password=open+sesame").await;
    assert!(login.headers().contains_key("set-cookie"));
}

/// The program may have 32 files open, and 64 clients come at once.
#[tokio::test]
async fn a_program_that_ran_out_of_files_serves_the_next_client() {
    let folder = Folder::new();
    for (name, flags) in [
        ("login", &[][..]),
        ("quickstart", &[]),
        ("parity", &["--port", "0", "--storage", "memory"]),
    ] {
        let log = folder.path().join(name);
        let mut limited = Command::new("sh");
        limited.args(["-c", "ulimit -n 32; exec \"$0\" \"$@\""]);
        limited.arg(program(name)).args(flags).env("PORT", "0");
        limited.stderr(File::create(&log).unwrap());
        let server = Process::start(&mut limited);
        let mut clients = Vec::new();
        for _ in 0..64 {
            clients.push(TcpStream::connect(server.address()).await.unwrap());
        }
        let is_full = async {
            while !fs::read_to_string(&log).unwrap().contains("open files") {
                sleep(Duration::from_millis(20)).await;
            }
        };
        let waited = timeout(Duration::from_secs(60), is_full).await;
        waited.unwrap_or_else(|_| panic!("{name} is not full"));
        drop(clients);
        ask(&server, "GET", "/", "").await;
    }
}
