//! The example program, as a process.

use std::path::Path;
use std::process::Command;

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use session_tests::examples::program;
use session_tests::python::Process;
use session_tests::wire::SetCookie;

use crate::{TOMBSTONE, count, look, new_file};

fn start(path: &Path) -> Process {
    let mut command = Command::new(program("sqlite"));
    command.env("SESSIONS", path).env("PORT", "0");
    Process::start(&mut command)
}

/// A browser with one cookie.
#[derive(Default)]
struct Browser(Option<String>);

impl Browser {
    async fn ask(
        &mut self,
        server: &Process,
        method: &str,
        path: &str,
        form: &'static str,
    ) -> String {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "visits");
        if let Some(raw) = &self.0 {
            request = request.header("cookie", format!("visits={raw}"));
        }
        let response = server
            .send(request.body(Full::<Bytes>::from(form)).unwrap())
            .await;
        if let Some(header) = response.headers().get("set-cookie") {
            let cookie = SetCookie::parse(header.to_str().unwrap());
            self.0 = (!cookie.is_removal()).then_some(cookie.raw);
        }
        String::from_utf8(response.body().to_vec()).unwrap()
    }
}

#[tokio::test]
async fn a_session_survives_the_program_and_is_shared_by_two_of_it() {
    let path = new_file();
    let mut browser = Browser::default();
    {
        let server = start(&path);
        let page = browser.ask(&server, "GET", "/", "").await;
        assert!(
            page.contains("Hello <b>stranger</b>, this is visit 1."),
            "{page}"
        );
        browser
            .ask(&server, "POST", "/name", "name=%3CAda%3E")
            .await;
    } // killed, with -9
    let (server, other) = (start(&path), start(&path));
    let page = browser.ask(&server, "GET", "/", "").await;
    assert!(
        page.contains("Hello <b>&lt;Ada&gt;</b>, this is visit 2."),
        "{page}"
    );
    let page = browser.ask(&other, "GET", "/", "").await;
    assert!(page.contains("visit 3."), "{page}");

    let cookie = browser.0.clone().unwrap();
    let look = look(&path);
    assert_eq!(count(&look, "true"), 1);
    let with_identity = format!("instr(key, '{cookie}') OR instr(value, '{cookie}')");
    assert_eq!(
        count(&look, &with_identity),
        0,
        "who reads the file cannot log in"
    );

    browser.ask(&other, "POST", "/forget", "").await;
    let tombstones = format!("value = CAST('{TOMBSTONE}' AS BLOB)");
    let left = (count(&look, "true"), count(&look, &tombstones));
    assert_eq!((browser.0, left), (None, (1, 1)));
    let mut thief = Browser(Some(cookie));
    // The page counts the visits, so it writes.
    let page = thief.ask(&server, "GET", "/", "").await;
    assert_eq!(page, "", "409");
}
