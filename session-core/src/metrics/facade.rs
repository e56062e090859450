//! What the other modules call when the feature is on.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use metrics::{Key, Label, Level, Metadata, SharedString, Unit, with_recorder};

use crate::error::{ErrorKind, Result};
use crate::metrics::series::{COUNTERS, DESCRIPTIONS, DURATIONS, Labels};
use crate::metrics::{Counter, SaveKind, Timing};

const METADATA: Metadata<'_> = Metadata::new("session", Level::INFO, None);

/// Describes the metrics of sessions to the recorder. Call it once the recorder is installed.
///
/// The page *Operating* of session-hyper's guide lists them all.
pub fn describe_metrics() {
    with_recorder(|recorder| {
        for (name, text) in DESCRIPTIONS {
            let is_duration = DURATIONS.iter().any(|(duration, ..)| duration == &name);
            if is_duration {
                let unit = Some(Unit::Seconds);
                recorder.describe_histogram(name.into(), unit, text.into());
            } else {
                recorder.describe_counter(name.into(), Some(Unit::Count), text.into());
            }
        }
    });
}

/// The metrics of the sessions of one cookie name. Clones share their contents.
///
/// The keys are made once, so that a request allocates nothing for them.
#[derive(Clone)]
pub(crate) struct Metrics(Arc<Keys>);

struct Keys {
    counters: [Key; COUNTERS.len()],
    durations: [Key; DURATIONS.len()],
}

impl Metrics {
    pub(crate) fn of(cookie: &str) -> Self {
        let cookie = SharedString::from_shared(cookie.into());
        Self(Arc::new(Keys {
            counters: COUNTERS.map(|(_, name, labels)| key(name, labels, &cookie)),
            durations: DURATIONS.map(|(name, _)| key(name, &[], &cookie)),
        }))
    }

    pub(crate) fn count(&self, what: Counter) {
        let key = &self.0.counters[what as usize];
        with_recorder(|recorder| recorder.register_counter(key, &METADATA).increment(1));
    }

    fn time(&self, what: Timing, began: Instant) {
        let seconds = began.elapsed().as_secs_f64();
        let key = &self.0.durations[what as usize];
        with_recorder(|recorder| recorder.register_histogram(key, &METADATA).record(seconds));
    }

    pub(crate) fn start(&self) -> Stopwatch {
        self.start_save(|| None)
    }

    pub(crate) fn start_save(&self, kind: impl FnOnce() -> Option<SaveKind>) -> Stopwatch {
        Stopwatch {
            metrics: self.clone(),
            began: Instant::now(),
            kind: kind(),
        }
    }
}

fn key(name: &'static str, labels: Labels, cookie: &SharedString) -> Key {
    let labels = labels.iter().map(|(name, value)| Label::new(*name, *value));
    let cookie = Label::new("cookie", cookie.clone());
    Key::from_parts(name, [cookie].into_iter().chain(labels).collect::<Vec<_>>())
}

/// A load or a save that runs. If its request is cancelled, nothing is counted.
pub(crate) struct Stopwatch {
    metrics: Metrics,
    began: Instant,
    kind: Option<SaveKind>,
}

impl Stopwatch {
    pub(crate) fn loaded<T>(self, loaded: &Result<T>, outcome: impl FnOnce(&T) -> Counter) {
        let outcome = loaded.as_ref().map_or(Counter::LoadFailed, outcome);
        self.metrics.count(outcome);
        self.metrics.time(Timing::Load, self.began);
    }

    pub(crate) fn saved<T>(self, saved: &Result<T>) {
        let is_refused = |kind: ErrorKind| kind == ErrorKind::Ended;
        let outcome = saved.as_ref().map_err(|error| is_refused(error.kind()));
        self.metrics.count(match (self.kind, outcome) {
            (None, _) => return,
            (Some(SaveKind::Change), Ok(_)) => Counter::SaveSaved,
            (Some(SaveKind::Change), Err(true)) => Counter::SaveRefused,
            (Some(SaveKind::Change), Err(false)) => Counter::SaveFailed,
            (Some(SaveKind::End), Ok(_)) => Counter::EndEnded,
            (Some(SaveKind::End), Err(true)) => Counter::EndRefused,
            (Some(SaveKind::End), Err(false)) => Counter::EndFailed,
        });
        self.metrics.time(Timing::Save, self.began);
    }

    pub(crate) fn waited(self) {
        self.metrics.time(Timing::Wait, self.began);
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}
