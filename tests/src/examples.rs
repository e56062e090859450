//! The programs of the folder `examples`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use serde_json::Value;

/// Builds a program, as a test of another package must, and returns where it lies.
pub fn program(name: &str) -> PathBuf {
    static BUILT: Mutex<BTreeMap<String, PathBuf>> = Mutex::new(BTreeMap::new());
    let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    let place = built.entry(name.to_owned()).or_insert_with(|| build(name));
    place.clone()
}

fn build(name: &str) -> PathBuf {
    let mut cargo = Command::new(env!("CARGO"));
    // Of the whole workspace: with the features that the tests were built with.
    cargo.args([
        "build",
        "--workspace",
        "--features",
        "session-examples/sqlite",
    ]);
    cargo.args(["--message-format", "json", "--bin"]);
    let output = cargo
        .arg(name)
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    assert!(output.status.success(), "{cargo:?}: {}", output.status);
    let messages = String::from_utf8(output.stdout).unwrap();
    let executable = |line: &str| {
        let message: Value = serde_json::from_str(line).ok()?;
        let is_it = message["target"]["name"] == name;
        is_it.then(|| message["executable"].as_str().map(PathBuf::from))?
    };
    messages.lines().find_map(executable).unwrap()
}
