//! What the other modules call when the feature is off: nothing.
#![allow(clippy::unused_self, reason = "the feature's own functions use it")]

use crate::error::Result;
use crate::metrics::{Counter, SaveKind};

#[derive(Clone, Debug)]
pub(crate) struct Metrics;

/// A load or a save that runs.
#[derive(Debug)]
pub(crate) struct Stopwatch;

impl Metrics {
    pub(crate) fn of(_cookie: &str) -> Self {
        Self
    }

    pub(crate) fn count(&self, _what: Counter) {}

    pub(crate) fn start(&self) -> Stopwatch {
        Stopwatch
    }

    pub(crate) fn start_save(&self, _kind: impl FnOnce() -> Option<SaveKind>) -> Stopwatch {
        Stopwatch
    }
}

impl Stopwatch {
    pub(crate) fn loaded<T>(self, _loaded: &Result<T>, _outcome: impl FnOnce(&T) -> Counter) {}

    pub(crate) fn saved<T>(self, _saved: &Result<T>) {}

    pub(crate) fn waited(self) {}
}
