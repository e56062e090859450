//! Chromium without a window, driven through a chromedriver that all tests of a program share.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::ops::Deref;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use fantoccini::wd::{Capabilities, WebDriverCompatibleCommand};
use fantoccini::{Client, ClientBuilder, Locator};
use http::Method;
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::processes::{Process, ask_raw, free_port, is_installed, new_folder, wait_for};

/// A browser is heavy: no more than so many run at a time.
static TURNS: Semaphore = Semaphore::const_new(2);

/// A busy machine is no failure.
const PATIENCE: Duration = Duration::from_secs(30);

/// A Chromium with a profile of its own, which quits and is forgotten when this is dropped.
///
/// All names that end in `.test` are this machine, and no other name resolves, so it reaches no
/// other host. It accepts any certificate. [`Client`] has the commands of WebDriver.
#[derive(Debug)]
pub struct Browser {
    client: Client,
    session: Session,
    profile: Profile,
    turn: SemaphorePermit<'static>,
}

impl Browser {
    /// Starts one that has never been anywhere.
    ///
    /// # Panics
    ///
    /// If Chromium or its driver is not installed: a test does not pass because they are missing.
    pub async fn start() -> Self {
        let turn = TURNS.acquire().await.unwrap();
        Self::with(Profile::new(), turn).await
    }

    /// Quits, so that all that is to be kept is on the disk, and starts again with the same
    /// profile.
    pub async fn restart(self) -> Self {
        let Self {
            session,
            profile,
            turn,
            ..
        } = self;
        drop(session);
        Self::with(profile, turn).await
    }

    async fn with(profile: Profile, turn: SemaphorePermit<'static>) -> Self {
        let driver = Driver::shared();
        let client = ClientBuilder::new(HttpConnector::new())
            .capabilities(capabilities(&profile))
            .connect(&format!("http://127.0.0.1:{}/", driver.port))
            .await
            .unwrap_or_else(|error| panic!("Chromium does not start: {error}"));
        // Ended by `Session`, which waits until it has.
        client.persist().await.unwrap();
        let id = client.session_id().await.unwrap().unwrap();
        Self {
            client,
            session: Session(id),
            profile,
            turn,
        }
    }

    /// Goes to an address and waits until the page is there.
    pub async fn open(&self, url: &str) {
        let gone = self.client.goto(url).await;
        gone.unwrap_or_else(|error| panic!("{url}: {error}"));
    }

    /// The text that the page shows.
    pub async fn text(&self) -> String {
        let body = self.client.find(Locator::Css("body")).await.unwrap();
        body.text().await.unwrap()
    }

    /// Clicks on what `css` selects.
    pub async fn click(&self, css: &str) {
        let element = self.client.find(Locator::Css(css)).await;
        let element = element.unwrap_or_else(|error| panic!("{css}: {error}"));
        element.click().await.unwrap();
    }

    /// Runs a script in the page and returns its value; a promise is waited for.
    pub async fn run(&self, script: &str) -> Value {
        let ran = self.client.execute(script, Vec::new()).await;
        ran.unwrap_or_else(|error| panic!("{script}: {error}"))
    }

    /// The cookies of all sites, as the browser has them in its jar.
    pub async fn jar(&self) -> Vec<Kept> {
        let command = DevTools("Storage.getCookies");
        let mut reply = self.client.issue_cmd(command).await.unwrap();
        let Value::Array(cookies) = reply["cookies"].take() else {
            panic!("no cookies in {reply}");
        };
        cookies.into_iter().map(Kept).collect()
    }

    /// The cookies of that name, of all sites.
    pub async fn cookies(&self, name: &str) -> Vec<Kept> {
        let mut jar = self.jar().await;
        jar.retain(|cookie| cookie.text("name") == name);
        jar
    }

    /// The one cookie of that name.
    pub async fn cookie(&self, name: &str) -> Kept {
        let mut found = self.cookies(name).await;
        let names: Vec<_> = found.iter().map(|cookie| cookie.text("domain")).collect();
        assert_eq!(names.len(), 1, "{name} at {names:?}");
        found.remove(0)
    }
}

impl Deref for Browser {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

/// Waits until `ready` is true.
///
/// # Panics
///
/// After a time that is far beyond what it takes.
pub async fn until(what: &str, mut ready: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !ready().await {
        assert!(begun.elapsed() < PATIENCE, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A cookie in a browser's jar, with the members that the DevTools protocol gives it.
#[derive(Debug)]
pub struct Kept(Value);

impl Kept {
    /// A member that is a text: `name`, `value`, `domain`, `path`, `sameSite`.
    pub fn text(&self, member: &str) -> &str {
        self.0[member].as_str().unwrap_or_default()
    }

    /// A member that is true or false: `httpOnly`, `secure`, `session`.
    pub fn is(&self, member: &str) -> bool {
        self.0[member].as_bool().unwrap_or_default()
    }

    /// The site under whose pages it lives, if it is partitioned.
    pub fn partition(&self) -> Option<&str> {
        self.0["partitionKey"]["topLevelSite"].as_str()
    }

    /// How much of the 4096 bytes it takes.
    pub fn size(&self) -> usize {
        self.text("name").len() + self.text("value").len()
    }
}

/// A command of the DevTools protocol, without arguments.
#[derive(Debug)]
struct DevTools(&'static str);

impl WebDriverCompatibleCommand for DevTools {
    fn endpoint(
        &self,
        base: &url::Url,
        session: Option<&str>,
    ) -> Result<url::Url, url::ParseError> {
        base.join(&format!(
            "session/{}/goog/cdp/execute",
            session.unwrap_or_default()
        ))
    }

    fn method_and_body(&self, _: &url::Url) -> (Method, Option<String>) {
        let body = json!({ "cmd": self.0, "params": {} });
        (Method::POST, Some(body.to_string()))
    }
}

/// A folder for one browser's profile.
#[derive(Debug)]
struct Profile(PathBuf);

impl Profile {
    fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        Self(Driver::shared().folder.join(format!("profile-{count}")))
    }
}

impl Drop for Profile {
    fn drop(&mut self) {
        // What remains goes with the driver's folder.
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn capabilities(profile: &Profile) -> Capabilities {
    let profile = format!("--user-data-dir={}", profile.0.display());
    let arguments = [
        &*profile,
        "--headless=new",
        // For root, and for containers that forbid what the sandbox needs: all pages are ours.
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--no-proxy-server",
        "--disable-component-update",
        "--host-resolver-rules=MAP *.test 127.0.0.1, MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    ];
    // So that it is the cookies' own attributes which decide about other sites.
    let preferences = json!({ "profile.cookie_controls_mode": 0 });
    let options = json!({ "args": arguments, "prefs": preferences });
    let members = [
        ("browserName", json!("chrome")),
        ("acceptInsecureCerts", json!(true)),
        ("goog:chromeOptions", options),
    ];
    members
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

/// A browser that runs: quits when this is dropped, also when its test fails.
#[derive(Debug)]
struct Session(String);

impl Drop for Session {
    fn drop(&mut self) {
        // Without a runtime, as there is none to wait on here. The driver responds when the browser
        // has ended; if it does not, both are killed when the test program ends.
        let quit = || -> std::io::Result<()> {
            let port = Driver::shared().port;
            let mut driver = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
            driver.set_read_timeout(Some(PATIENCE))?;
            let id = &self.0;
            let head = format!("DELETE /session/{id} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n");
            driver.write_all(head.as_bytes())?;
            driver.read(&mut [0; 64]).map(drop)
        };
        let _ = quit();
    }
}

/// The one chromedriver of this test program.
#[derive(Debug)]
struct Driver {
    _process: Process,
    port: u16,
    folder: PathBuf,
}

impl Driver {
    fn shared() -> &'static Self {
        static DRIVER: OnceLock<Driver> = OnceLock::new();
        DRIVER.get_or_init(Self::start)
    }

    fn start() -> Self {
        assert!(
            is_installed("chromium") && is_installed("chromedriver"),
            "the browser tests need Debian's packages chromium and chromium-driver: \
            `tests/run` installs them"
        );
        for _ in 0..5 {
            let (port, folder) = (free_port(), new_folder());
            let home = |variable: &str| format!("{variable}={}", folder.display());
            let arguments = [
                // Nothing that a browser writes lies elsewhere.
                home("HOME"),
                home("TMPDIR"),
                home("XDG_CONFIG_HOME"),
                home("XDG_CACHE_HOME"),
                // Leads a process group, to which its browsers belong.
                "setsid".to_owned(),
                "chromedriver".to_owned(),
                format!("--port={port}"),
            ];
            let process = Process::start("env", &arguments, &folder);
            let status = "GET /status HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n";
            let ready = wait_for(&process, || ask_raw(port, status, "}"));
            if ready.is_some() {
                return Self {
                    _process: process,
                    port,
                    folder,
                };
            }
        }
        panic!("chromedriver does not start");
    }
}
