//! What the code under test logs and what its errors say, to be searched for secrets.

use std::cell::RefCell;
use std::error::Error;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, Once, PoisonError};

use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;

/// The events of all levels and of all crates on this thread, since [`capture`](Self::capture).
#[derive(Clone, Debug, Default)]
pub struct Logs(Arc<Mutex<Vec<u8>>>);

/// Ends the capture when it is dropped.
#[derive(Debug)]
#[must_use]
pub struct Capture(());

thread_local! {
    static CAPTURED: RefCell<Option<Logs>> = const { RefCell::new(None) };
}

/// Returns all that an error can be made to say: `Display` and both forms of `Debug`, its own and
/// those of all causes.
pub fn all_texts(error: &(dyn Error + 'static)) -> String {
    let mut texts = Vec::new();
    let mut next = Some(error);
    while let Some(error) = next {
        texts.push(format!("{error} {error:?} {error:#?}"));
        next = error.source();
    }
    texts.join(" ")
}

impl Logs {
    /// Captures what this thread logs, which in a `#[tokio::test]` is all that its tasks log.
    pub fn capture() -> (Self, Capture) {
        // One subscriber for all threads. With a scoped subscriber, tracing may check an event on
        // another test's thread, which has none, and cache that it is disabled.
        static SUBSCRIBER: Once = Once::new();
        SUBSCRIBER.call_once(|| {
            tracing_subscriber::fmt()
                .with_max_level(LevelFilter::TRACE)
                .with_ansi(false)
                // Digits that come and go would now and then spell a secret.
                .without_time()
                .with_writer(ThisThread)
                .init();
        });
        let logs = Self::default();
        CAPTURED.set(Some(logs.clone()));
        (logs, Capture(()))
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

impl Drop for Capture {
    fn drop(&mut self) {
        CAPTURED.set(None);
    }
}

/// Writes into the capture of the thread that logs, if there is one.
struct ThisThread;

impl<'a> MakeWriter<'a> for ThisThread {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        Self
    }
}

impl Write for ThisThread {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        CAPTURED.with_borrow(|logs| {
            if let Some(Logs(log)) = logs {
                let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
                log.extend_from_slice(bytes);
            }
        });
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
