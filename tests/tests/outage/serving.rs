//! The web program as a process of its own, to be killed with -9: this test program once more.

use std::env;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use session_tests::processes::{Process, new_folder, wait_for};

use crate::app::serve;

/// `STORE FILE`: the store's address, and where to write the address at which it serves.
const VARIABLE: &str = "SESSION_TESTS_SERVE";

#[test]
#[ignore = "the process that other tests start"]
fn serves_until_it_is_killed() {
    let Ok(what) = env::var(VARIABLE) else { return };
    let (store, file) = what.split_once(' ').unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let server = serve(store).await;
        let new = format!("{file}.new");
        fs::write(&new, server.address().to_string()).unwrap();
        fs::rename(new, file).unwrap();
        std::future::pending::<()>().await;
    });
}

/// It ends with this value.
#[derive(Debug)]
pub(crate) struct WebProcess {
    process: Process,
    address: SocketAddr,
}

impl WebProcess {
    /// Starts it on sessions in `store`.
    pub(crate) fn start(store: &str) -> Self {
        let folder = new_folder();
        let file = folder.join("address");
        let program = env::current_exe().unwrap().display().to_string();
        let arguments = [
            &format!("{VARIABLE}={store} {}", file.display()),
            &program,
            "--ignored",
            "--exact",
            "serving::serves_until_it_is_killed",
        ];
        let process = Process::start("env", &arguments.map(str::to_owned), &folder);
        let address = wait_for(&process, || read(&file));
        Self {
            address: address.expect("it serves"),
            process,
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn kill(self) {
        self.process.kill();
    }
}

fn read(file: &Path) -> Option<SocketAddr> {
    fs::read_to_string(file).ok()?.parse().ok()
}
