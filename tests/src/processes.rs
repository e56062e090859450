//! Servers as processes: started on free loopback ports with their files in a temporary folder,
//! signalled by pid, and gone when the test is.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// A process, which ends with this value, or with the test program however that ends.
#[derive(Debug)]
pub struct Process {
    guard: Child,
    pid: u32,
}

/// Starts the command, says its pid, and when standard input ends kills it and removes its folder:
/// the kernel closes that pipe when the test program dies, of whatever. A command that leads a
/// process group (one of `setsid`) is killed with all of it.
const GUARD: &str = r#"folder=$1; shift
"$@" </dev/null >"$folder/log" 2>&1 &
echo $!
cat >/dev/null
kill -9 -- -$! 2>/dev/null || kill -9 $! 2>/dev/null
wait $! 2>/dev/null
rm -rf "$folder""#;

impl Process {
    /// Starts `program`, whose files are in `folder`; what it prints goes to `log` there.
    ///
    /// # Panics
    ///
    /// If there is no such program: a test does not pass because its server is missing.
    pub fn start(program: &str, arguments: &[String], folder: &Path) -> Self {
        assert!(
            is_installed(program),
            "{program} is not installed: `tests/run` installs what the tests need"
        );
        fs::create_dir_all(folder).unwrap();
        let mut guard = Command::new("sh")
            .args(["-c", GUARD, "guard"])
            .arg(folder)
            .arg(program)
            .args(arguments)
            .env("PATH", path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut pid = String::new();
        let out = guard.stdout.take().unwrap();
        BufReader::new(out).read_line(&mut pid).unwrap();
        let pid = pid.trim().parse().unwrap();
        Self { guard, pid }
    }

    /// The server's process id.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Sends a signal, such as `KILL`, `STOP` or `CONT`.
    pub fn signal(&self, signal: &str) {
        let kill = format!("kill -{signal} {}", self.pid);
        let status = Command::new("sh").args(["-c", &kill]).status().unwrap();
        assert!(status.success(), "{kill}");
    }

    /// Stops it with `STOP`, and waits until all of its threads stand.
    pub fn stop(&self) {
        self.signal("STOP");
        let tasks = format!("/proc/{}/task", self.pid);
        let stands = |folder: PathBuf| {
            let line = fs::read_to_string(folder.join("stat")).unwrap_or_default();
            line.rsplit(')').next().unwrap().starts_with(" T")
        };
        while !fs::read_dir(&tasks)
            .unwrap()
            .all(|task| stands(task.unwrap().path()))
        {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Returns whether the process still runs.
    pub fn is_alive(&self) -> bool {
        let status = fs::read_to_string(format!("/proc/{}/stat", self.pid));
        // The state follows the name in parentheses. Z is a dead process whose status was not read.
        status.is_ok_and(|line| !line.rsplit(')').next().unwrap().starts_with(" Z"))
    }

    /// Kills the process with -9, and waits until it is gone.
    pub fn kill(mut self) {
        self.end();
    }

    /// CPU time that the process has used so far.
    pub fn cpu(&self) -> Duration {
        let line = fs::read_to_string(format!("/proc/{}/stat", self.pid)).unwrap();
        let fields: Vec<&str> = line
            .rsplit(')')
            .next()
            .unwrap()
            .split_whitespace()
            .collect();
        let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
        Duration::from_millis(ticks * 10)
    }

    fn end(&mut self) {
        drop(self.guard.stdin.take());
        let _ = self.guard.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}

/// A folder for files, which goes with this value, or with the test program however that ends: also
/// from a static.
#[derive(Debug)]
pub struct Folder {
    guard: Child,
    path: PathBuf,
}

impl Folder {
    /// Makes a folder that no other process has.
    #[expect(clippy::new_without_default, reason = "it makes a folder")]
    pub fn new() -> Self {
        let path = new_folder();
        fs::create_dir(&path).unwrap();
        let guard = Command::new("sh")
            .args(["-c", r#"cat >/dev/null; rm -rf "$1""#, "guard"])
            .arg(&path)
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        Self { guard, path }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(self.guard.stdin.take());
        let _ = self.guard.wait();
    }
}

/// Returns the program of a server: the value of `variable` in the environment, or else `usual`.
/// The tests run against another version of a server if the variable has the path of one.
///
/// # Panics
///
/// If the variable is set and its value is not text.
pub fn server_program(variable: &str, usual: &str) -> String {
    match std::env::var(variable) {
        Err(std::env::VarError::NotPresent) => usual.to_owned(),
        program => program.unwrap(),
    }
}

/// Returns whether there is such a program.
pub fn is_installed(program: &str) -> bool {
    path()
        .split(':')
        .any(|dir| Path::new(dir).join(program).is_file())
}

/// Where programs are looked for: also where Debian keeps its servers.
fn path() -> String {
    std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin"
}

/// Returns the path of a new folder for a server's files. It does not exist yet.
pub fn new_folder() -> PathBuf {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let name = format!("session-tests-{}-{count}", std::process::id());
    std::env::temp_dir().join(name)
}

/// Returns a free port of 127.0.0.1 that this program did not return before.
pub fn free_port() -> u16 {
    static LAST: AtomicUsize = AtomicUsize::new(0);
    loop {
        // Below the range from which the kernel takes ports for connections; where in it depends
        // on the process, as several test programs may look for ports at the same time.
        let turn = LAST.fetch_add(1, Ordering::Relaxed) + std::process::id() as usize * 37;
        let port = u16::try_from(11_000 + turn % 20_000).unwrap();
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}

/// Calls `ready` until it returns something, for a server that starts; `None` when it died.
///
/// # Panics
///
/// After twenty seconds.
pub fn wait_for<T>(process: &Process, mut ready: impl FnMut() -> Option<T>) -> Option<T> {
    let begun = Instant::now();
    loop {
        if let Some(done) = ready() {
            return Some(done);
        }
        if !process.is_alive() {
            return None;
        }
        assert!(
            begun.elapsed() < Duration::from_secs(20),
            "the server does not start"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Sends `question` and reads until the reply ends with `end`; `None` if there is no such reply.
pub fn ask_raw(port: u16, question: &str, end: &str) -> Option<String> {
    let mut stream = std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    std::io::Write::write_all(&mut stream, question.as_bytes()).ok()?;
    let mut reply = Vec::new();
    let mut piece = [0; 8192];
    while !reply.ends_with(end.as_bytes()) {
        match stream.read(&mut piece).ok()? {
            0 => return None,
            count => reply.extend_from_slice(&piece[..count]),
        }
    }
    Some(String::from_utf8_lossy(&reply).into_owned())
}
