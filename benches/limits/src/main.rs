//! What a session cannot cost less than: the CPU time of its parts, each from the crate that the
//! library uses, with nothing around it. Prints one JSON object a line, `{"part": .., "us": ..}`.
//!
//! Environment: `REDIS_PORT`, `MEMCACHED_PORT`; `MILLISECONDS`, how long each part is repeated.

mod parts;
mod round_trips;

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tokio::runtime::Builder;

/// The record that the measured servers write, as `aiohttp_session` writes it.
const RECORD: &str = concat!(
    r#"{"created": 1700000000, "session": {"user_id": 1234567, "name": "Ada Lovelace", "#,
    r#""roles": ["admin", "editor", "viewer"], "last_visit": 1700000000.123456, "counter": 42}}"#,
);

/// As long as the time of the whole is.
fn budget() -> Duration {
    Duration::from_millis(number("MILLISECONDS").unwrap_or(700))
}

fn number<T: std::str::FromStr>(name: &str) -> Option<T> {
    std::env::var(name).ok()?.parse().ok()
}

/// The CPU time of this process so far, in microseconds, of which system calls are a part.
#[expect(
    clippy::cast_precision_loss,
    reason = "a process does not run for 285 years"
)]
fn cpu_us() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 * 1e6 + time.tv_nsec as f64 / 1e3
}

fn report(part: &str, us: f64) {
    println!("{}", serde_json::json!({"part": part, "us": us}));
}

fn main() {
    parts::json();
    parts::fernet();
    parts::nacl();
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    if let Some(port) = number("REDIS_PORT") {
        runtime.block_on(round_trips::redis(port));
    }
    if let Some(port) = number("MEMCACHED_PORT") {
        runtime.block_on(round_trips::memcached(port));
    }
}
