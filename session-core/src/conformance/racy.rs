//! A backend whose writes are not atomic fails the rules that write in parallel.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;

use bytes::Bytes;

use super::{backend, run};
use crate::error::Result;
use crate::keyed::{Backend, Found, OnlyIf, Outcome, Stored, Write};

/// Compares under one lock, and writes under the next. There is no await point in between, so only
/// threads that run in parallel can tell.
#[derive(Debug, Default)]
struct Racy(Mutex<HashMap<String, Bytes>>);

impl Backend for Racy {
    async fn read(&self, key: &str) -> Result<Found> {
        let found = self.0.lock().unwrap().get(key).cloned();
        Ok(found.map_or(Found::Missing, |value| Found::Value(Stored::new(value))))
    }

    async fn write(&self, key: &str, write: Write, only_if: OnlyIf<'_>) -> Result<Outcome> {
        let found = self.read(key).await?;
        let is_met = match (&found, only_if) {
            (Found::Missing, OnlyIf::Missing) => true,
            (Found::Value(there), OnlyIf::Unchanged(was)) => there.value() == was.value(),
            _ => false,
        };
        if !is_met {
            return Ok(Outcome::Found(found));
        }
        let value = write.into_value();
        let mut map = self.0.lock().unwrap();
        map.insert(key.to_owned(), value.clone());
        Ok(Outcome::Written(Stored::new(value)))
    }

    async fn bound<F: Future + Send>(&self, waiting: F, _: u32) -> Result<F::Output> {
        Ok(waiting.await)
    }
}

async fn racy() -> Racy {
    Racy::default()
}

/// Runs a rule until it fails. The first run is nearly always enough. A busy machine, on which two
/// threads seldom run at the same moment, may need more.
fn assert_fails(name: &str, rule: impl Fn()) {
    let is_found = || catch_unwind(AssertUnwindSafe(&rule)).is_err();
    assert!((0..10).any(|_| is_found()), "{name} passes");
}

#[test]
fn two_creates_that_both_win_are_found() {
    let name = "of_simultaneous_creates_one_wins";
    assert_fails(name, || {
        run(
            "racy",
            name,
            backend::of_simultaneous_creates_one_wins(racy),
        );
    });
}

#[test]
fn two_updates_that_both_win_are_found() {
    let name = "of_simultaneous_updates_one_wins";
    assert_fails(name, || {
        run(
            "racy",
            name,
            backend::of_simultaneous_updates_one_wins(racy),
        );
    });
}

#[test]
fn a_lost_update_is_found() {
    let name = "no_update_is_lost";
    assert_fails(name, || run("racy", name, backend::no_update_is_lost(racy)));
}
