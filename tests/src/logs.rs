//! What the code under test logs, to be searched for what it must not say.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use tracing::subscriber::DefaultGuard;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;

/// The events of all levels and of all crates on this thread, since [`capture`](Self::capture).
#[derive(Clone, Debug, Default)]
pub struct Logs(Arc<Mutex<Vec<u8>>>);

/// Ends the capture when it is dropped.
#[must_use]
pub struct Capture(#[expect(dead_code, reason = "it works by being dropped")] DefaultGuard);

impl Logs {
    /// Captures what this thread logs, which in a `#[tokio::test]` is all that its tasks log.
    pub fn capture() -> (Self, Capture) {
        let logs = Self::default();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(LevelFilter::TRACE)
            .with_ansi(false)
            .with_writer(logs.clone())
            .finish();
        let guard = tracing::subscriber::set_default(subscriber);
        (logs, Capture(guard))
    }

    /// Returns the log so far.
    pub fn text(&self) -> String {
        let bytes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Panics if the log holds one of `secrets`.
    #[track_caller]
    pub fn assert_without(&self, secrets: &[impl AsRef<str>]) {
        let text = self.text();
        for secret in secrets {
            let secret = secret.as_ref();
            assert!(!secret.is_empty(), "every text holds the empty one");
            assert!(!text.contains(secret), "{secret:?} is in the log:\n{text}");
        }
    }
}

impl Write for Logs {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Logs {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl std::fmt::Debug for Capture {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Capture(..)")
    }
}
