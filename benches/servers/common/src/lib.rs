//! What the Rust servers share, ours and the peers': port, runtime, and the sessions to begin with.
//!
//! Environment: `PAYLOAD`, the bytes that a session holds in place of a user; `FILL`, how many
//! sessions to store before listening; `COOKIES`, the file to write their Cookie headers to;
//! `TROUBLE`, set for the routes that only `benches/run trouble` needs.

use std::fmt::Write as _;
use std::future::Future;
use std::sync::LazyLock;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream;
use tokio::runtime::{Builder, Runtime};

/// The first argument.
pub fn port() -> u16 {
    argument(1).parse().expect("a port")
}

/// The argument of this number.
///
/// # Panics
/// If there is none.
pub fn argument(number: usize) -> String {
    std::env::args()
        .nth(number)
        .expect("usage: SERVER PORT [STORE]")
}

/// Everything on one thread, like a worker of actix or asyncio's loop.
pub fn runtime() -> Runtime {
    Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
}

/// The text that a session holds in place of a user, if it is to have a size of its own.
pub fn filler() -> Option<&'static str> {
    static FILLER: LazyLock<Option<String>> =
        LazyLock::new(|| number("PAYLOAD").map(|bytes| "x".repeat(bytes)));
    FILLER.as_deref()
}

/// Stores `FILL` sessions, each by a call of `create`, which returns the Cookie header of one; and
/// writes the headers of up to 10,000 of them, taken evenly, a line each.
pub async fn fill<F: Future<Output = String>>(create: impl Fn() -> F) {
    const AT_ONCE: usize = 256;
    const USED: usize = 10_000;
    let Some(count) = number("FILL") else { return };
    let step = count.div_ceil(USED).max(1);
    let mut headers = String::new();
    let mut created = stream::iter(0..count).map(|_| create()).buffered(AT_ONCE);
    let mut index = 0;
    while let Some(header) = created.next().await {
        if index % step == 0 {
            writeln!(headers, "{header}").expect("memory");
        }
        index += 1;
    }
    let file = std::env::var("COOKIES").expect("COOKIES");
    std::fs::write(file, headers).expect("the file of COOKIES can be written");
}

/// Whether the server also has the routes of `benches/run trouble`: `/set/KEY/MILLISECONDS`, which
/// loads the session, waits, and sets the key to 1; `/value/KEY`; `/logout`.
pub fn in_trouble() -> bool {
    std::env::var_os("TROUBLE").is_some()
}

/// What a slow handler does between the load of its session and its change.
pub async fn pause(milliseconds: u64) {
    tokio::time::sleep(Duration::from_millis(milliseconds)).await;
}

fn number(name: &str) -> Option<usize> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().expect("a number"))
}
