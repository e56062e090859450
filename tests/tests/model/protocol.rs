//! The model of the protocol, which Python runs: no interleaving may break a promise.

use std::path::Path;
use std::process::Command;

/// The program ends with a status other than 0 if a run is wrong.
#[test]
fn the_model_of_the_protocol_keeps_its_promises() {
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/session_model.py");
    let output = Command::new("python3")
        .arg(model)
        .args(["--runs", "300", "--seed", "1"])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}{errors}");
    assert!(text.contains("0 of 300 runs wrong"), "{text}{errors}");
}
