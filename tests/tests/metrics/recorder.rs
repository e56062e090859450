//! A recorder that remembers what it was told.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use metrics::{
    Counter, CounterFn, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder,
    SharedString, Unit,
};

/// The sums of counters, and the numbers of samples of histograms. Clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen(Arc<Mutex<Contents>>);

#[derive(Debug, Default)]
struct Contents {
    /// By `name{label="value",..}`.
    values: BTreeMap<String, u64>,
    /// By name: whether it is a counter or a histogram, and its unit.
    described: BTreeMap<String, &'static str>,
}

impl Seen {
    /// What was seen since the last call.
    pub(crate) fn take(&self) -> BTreeMap<String, u64> {
        std::mem::take(&mut self.0.lock().unwrap().values)
    }

    /// The value of one time series.
    pub(crate) fn count_of(&self, series: &str) -> u64 {
        let contents = self.0.lock().unwrap();
        contents.values.get(series).copied().unwrap_or_default()
    }

    /// The names that were described, and the kind of each.
    pub(crate) fn described(&self) -> BTreeMap<String, &'static str> {
        self.0.lock().unwrap().described.clone()
    }

    fn describe(&self, name: &KeyName, kind: &'static str, text: &SharedString) {
        assert!(!text.is_empty(), "{name:?}");
        let mut contents = self.0.lock().unwrap();
        let earlier = contents.described.insert(name.as_str().to_owned(), kind);
        assert_eq!(earlier, None, "{name:?} is described twice");
    }

    fn series(&self, key: &Key) -> Arc<Series> {
        let labels: Vec<String> = key
            .labels()
            .map(|label| format!("{}={:?}", label.key(), label.value()))
            .collect();
        Arc::new(Series {
            seen: self.clone(),
            name: format!("{}{{{}}}", key.name(), labels.join(",")),
        })
    }
}

struct Series {
    seen: Seen,
    name: String,
}

impl Series {
    fn add(&self, number: u64) {
        let mut contents = self.seen.0.lock().unwrap();
        *contents.values.entry(self.name.clone()).or_default() += number;
    }
}

impl CounterFn for Series {
    fn increment(&self, value: u64) {
        self.add(value);
    }

    fn absolute(&self, _: u64) {
        panic!("{} only counts", self.name);
    }
}

impl HistogramFn for Series {
    fn record(&self, seconds: f64) {
        assert!((0.0..60.0).contains(&seconds), "{}: {seconds}", self.name);
        self.add(1);
    }
}

impl Recorder for Seen {
    fn describe_counter(&self, key: KeyName, unit: Option<Unit>, text: SharedString) {
        assert_eq!(unit, Some(Unit::Count));
        self.describe(&key, "counter", &text);
    }

    fn describe_gauge(&self, key: KeyName, _: Option<Unit>, _: SharedString) {
        panic!("no gauge: {key:?}");
    }

    fn describe_histogram(&self, key: KeyName, unit: Option<Unit>, text: SharedString) {
        assert_eq!(unit, Some(Unit::Seconds));
        self.describe(&key, "histogram", &text);
    }

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.series(key))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        panic!("no gauge: {key:?}");
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(self.series(key))
    }
}
