//! The real aiohttp_session: a Python environment of our own, and servers of other programs.

use std::ffi::OsStr;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::SystemTime;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// Where the Python programs lie.
const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/python");

/// A server in a process of its own, ended when this is dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    address: SocketAddr,
}

impl Process {
    /// Starts a program that prints a line which ends in its address once it listens.
    pub fn start(command: &mut Command) -> Self {
        let started = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child = started.unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let mut line = String::new();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        output.read_line(&mut line).unwrap();
        let address = line
            .trim_end()
            .rsplit([' ', '/'])
            .next()
            .unwrap_or_default();
        let Ok(address) = address.parse() else {
            let _ = child.kill();
            panic!("{command:?} said {line:?} and {}", child.wait().unwrap());
        };
        Self { child, address }
    }

    /// Starts the oracle, aiohttp_session's own server.
    pub fn oracle<S: AsRef<OsStr>>(flags: impl IntoIterator<Item = S>) -> Self {
        let mut command = Command::new(interpreter());
        command.arg("serve.py").args(flags).current_dir(FOLDER);
        // No cache files beside the sources.
        Self::start(command.env("PYTHONDONTWRITEBYTECODE", "1"))
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sends it a signal, such as `TERM`.
    pub fn signal(&self, signal: &str) {
        let kill = format!("kill -{signal} {}", self.child.id());
        let status = Command::new("sh").args(["-c", &kill]).status().unwrap();
        assert!(status.success(), "{kill}");
    }

    /// Waits until it has ended by itself.
    pub fn wait(&mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }

    /// Sends a request on a connection of its own.
    pub async fn send(&self, request: Request<Full<Bytes>>) -> Response<Bytes> {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let (mut client, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .unwrap();
        let connection = tokio::spawn(connection);
        let (head, body) = client.send_request(request).await.unwrap().into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        connection.abort();
        Response::from_parts(head, body)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Of a process that has ended by itself there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns the interpreter of an environment with the packages of `requirements.txt`, made once
/// and kept below cargo's target folder.
///
/// # Panics
/// If there is no `python3` with `venv`, or the packages cannot be had: the tests that need them
/// fail, they are never skipped.
pub fn interpreter() -> &'static Path {
    static INTERPRETER: OnceLock<PathBuf> = OnceLock::new();
    INTERPRETER.get_or_init(|| {
        let requirements = Path::new(FOLDER).join("requirements.txt");
        let mut hash = DefaultHasher::new();
        std::fs::read(&requirements).unwrap().hash(&mut hash);
        let place = target().join(format!("python-{:016x}", hash.finish()));
        if !place.exists() {
            make(&place, &requirements);
        }
        place.join("bin").join("python")
    })
}

/// Makes the environment under a name of its own and then gives it its name: another process
/// that does the same at the same time, or one that was killed half way, does no harm.
fn make(place: &Path, requirements: &Path) {
    const MISSING: &str = "the tests run the real aiohttp_session and need Python 3.10 or later \
        with venv: apt-get install python3-venv";
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let nonce = format!("{}-{}", std::process::id(), now.unwrap().as_nanos());
    let draft = Draft(place.with_extension(nonce));
    let mut venv = Command::new("python3");
    run(venv.args(["-m", "venv"]).arg(&draft.0), MISSING);
    let mut pip = Command::new(draft.0.join("bin").join("python"));
    pip.args([
        "-m",
        "pip",
        "--disable-pip-version-check",
        "install",
        "--quiet",
    ]);
    run(
        pip.arg("--requirement").arg(requirements),
        "the packages of tests/python/requirements.txt could not be installed from PyPI",
    );
    if let Err(error) = std::fs::rename(&draft.0, place) {
        assert!(place.exists(), "{}: {error}", place.display());
    }
}

/// A folder that goes, unless it got another name meanwhile.
struct Draft(PathBuf);

impl Drop for Draft {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn run(command: &mut Command, or_else: &str) {
    match command.output() {
        Err(error) => panic!("{or_else}\n({command:?}: {error})"),
        Ok(output) => assert!(
            output.status.success(),
            "{or_else}\n({command:?}: {}\n{}{})",
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
        ),
    }
}

/// Cargo's target folder, in which this test lies.
fn target() -> PathBuf {
    let program = std::env::current_exe().unwrap();
    let marked = |folder: &&Path| folder.join("CACHEDIR.TAG").exists();
    let found = program.ancestors().find(marked);
    found.expect("cargo marks its target folder").to_owned()
}
