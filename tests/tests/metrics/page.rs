//! The metrics of the sources, and the guide's table of them.

use std::collections::BTreeSet;
use std::path::Path;

use crate::recorder::Seen;

/// A row of the table: name, kind and labels.
type Row = (String, String, BTreeSet<String>);

#[test]
fn the_guide_lists_every_metric_of_the_sources_and_no_other() {
    let seen = Seen::default();
    metrics::with_local_recorder(&seen, session_core::describe_metrics);
    let described = seen.described();
    assert!(described.len() > 10, "{described:?}");
    let listed = listed();
    let names: Vec<_> = described
        .into_iter()
        .map(|(name, kind)| (name, kind.to_owned()))
        .collect();
    let in_page: Vec<_> = listed
        .iter()
        .map(|(name, kind, _)| (name.clone(), kind.clone()))
        .collect();
    assert_eq!(
        BTreeSet::from_iter(in_page.clone()),
        names.into_iter().collect()
    );
    assert_eq!(
        BTreeSet::from_iter(&in_page).len(),
        listed.len(),
        "no row twice"
    );

    // The values of the labels, as the source writes them.
    let source = read("session-core/src/metrics/series.rs");
    let values: BTreeSet<String> = source
        .lines()
        .filter_map(|line| line.split_once("&[(")?.1.split_once(")]"))
        .map(|(label, _)| label.replace("\", \"", "=").replace('"', ""))
        .collect();
    let in_page: BTreeSet<String> = listed.into_iter().flat_map(|row| row.2).collect();
    assert!(values.contains("outcome=loaded"), "{values:?}");
    assert_eq!(in_page, values);
}

/// Returns the rows of the table in the page.
fn listed() -> Vec<Row> {
    let page = read("session-hyper/src/guide/operating.md");
    let rows = page.lines().filter_map(|line| {
        let cells: Vec<&str> = line.strip_prefix("| `session_")?.split('|').collect();
        let [name, kind, labels, ..] = cells[..] else {
            panic!("a row of another shape: {line}")
        };
        let name = format!("session_{}", name.trim().trim_end_matches('`'));
        // `outcome`: `loaded`, `new`
        let (label, values) = labels.split_once(':').unwrap_or_default();
        let label = label.trim().trim_matches('`');
        let values = values
            .split(',')
            .map(|value| value.trim().trim_matches('`'));
        let values = values.filter(|value| !value.is_empty());
        let values = values.map(|value| format!("{label}={value}")).collect();
        Some((name, kind.trim().to_owned(), values))
    });
    rows.collect()
}

fn read(file: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    std::fs::read_to_string(root.join(file)).unwrap()
}
