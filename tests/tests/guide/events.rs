//! The log events of the sources, and the guide's table of them.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::{PAGES, ROOT, files, quoted, read};

/// A log event.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Event {
    level: String,
    target: String,
    /// The fields in the order in which the source names them.
    fields: Vec<String>,
    /// The message. What is filled in later is `…`.
    text: String,
}

const LEVELS: [&str; 5] = ["error", "warn", "info", "debug", "trace"];

#[test]
fn the_guide_lists_every_event_of_the_sources_and_no_other() {
    let mut ours = BTreeSet::new();
    for name in ["core", "cookie", "redis", "memcached", "hyper"] {
        let folder = Path::new(ROOT).join(format!("session-{name}/src"));
        for file in files(&folder, ".rs") {
            let source = fs::read_to_string(&file).unwrap();
            ours.extend(events(&source).unwrap_or_else(|why| panic!("{}: {why}", file.display())));
        }
    }
    assert!(ours.len() > 10, "they are found: {ours:?}");
    let listed: BTreeSet<Event> = rows(&read(format!("{PAGES}/operating.md"))).collect();
    let missing: Vec<_> = ours.difference(&listed).collect();
    let invented: Vec<_> = listed.difference(&ours).collect();
    assert!(
        missing.is_empty() && invented.is_empty(),
        "not in the page: {missing:#?}\nnot in the sources: {invented:#?}"
    );
}

/// Returns the events of the table in a page: level, target, fields, text, and what it means.
fn rows(page: &str) -> impl Iterator<Item = Event> {
    page.lines().filter_map(|line| {
        let cells = line.strip_prefix('|')?.strip_suffix('|')?.split('|');
        let cells: Vec<&str> = cells.map(str::trim).collect();
        LEVELS.contains(&cells[0]).then(|| {
            let [level, target, fields, text, _] = cells[..] else {
                panic!("a row of another shape: {line}")
            };
            let one = |cell| quoted(cell).next().unwrap().to_owned();
            Event {
                level: level.to_owned(),
                target: one(target),
                fields: quoted(fields).map(str::to_owned).collect(),
                text: one(text),
            }
        })
    })
}

/// Returns the events of a source file. Every use of `tracing` must be one.
fn events(source: &str) -> Result<Vec<Event>, String> {
    let source = without_comments(source);
    source.split("tracing::").skip(1).map(event).collect()
}

/// Reads one event, from the name of its macro on.
fn event(call: &str) -> Result<Event, String> {
    let start: String = call.chars().take(60).collect();
    let unknown = || format!("this is no event: tracing::{start}");
    let (level, inside) = call.split_once("!(").ok_or_else(unknown)?;
    if !LEVELS.contains(&level) {
        return Err(unknown());
    }
    let mut event = Event {
        level: level.to_owned(),
        target: String::new(),
        fields: Vec::new(),
        text: String::new(),
    };
    for argument in arguments(inside) {
        if let Some(target) = argument.strip_prefix("target:") {
            target
                .trim()
                .trim_matches('"')
                .clone_into(&mut event.target);
        } else if let Some(text) = argument.strip_prefix('"') {
            let text = text.split('"').next().unwrap_or_default();
            event.text = match text.split_once('{') {
                Some((before, _)) => format!("{before}…"),
                None => text.to_owned(),
            };
        } else {
            let name = argument.split('=').next().unwrap_or_default();
            let name = name.trim().trim_start_matches(['%', '?']);
            event.fields.push(name.to_owned());
        }
    }
    if event.target.is_empty() || event.text.is_empty() {
        return Err(format!("an event without a target or a text: {event:?}"));
    }
    Ok(event)
}

/// Returns the arguments of a call, up to the parenthesis that closes it.
fn arguments(inside: &str) -> Vec<String> {
    let mut arguments = vec![String::new()];
    let (mut depth, mut is_text) = (0, false);
    for c in inside.chars() {
        match c {
            '"' => is_text = !is_text,
            '(' | '[' | '{' if !is_text => depth += 1,
            ')' if !is_text && depth == 0 => break,
            ')' | ']' | '}' if !is_text => depth -= 1,
            ',' if !is_text && depth == 0 => {
                arguments.push(String::new());
                continue;
            }
            _ => {}
        }
        arguments.last_mut().unwrap().push(c);
    }
    let arguments = arguments.iter().map(|argument| argument.trim().to_owned());
    arguments.filter(|argument| !argument.is_empty()).collect()
}

/// Leaves out comments. No text in an event holds `//`.
fn without_comments(source: &str) -> String {
    let lines = source.lines().map(|line| match line.split_once("//") {
        Some((code, _)) => code,
        None => line,
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn events_are_read_from_a_source() {
    let source = r#"
        /// tracing::nothing
        tracing::debug!(
            target: "session::load",
            cookie = self.name(1, 2),
            // A comment, with "quotes".
            session = call("x", [3, 4]),
            %error,
            round,
            "it happened: {why}"
        );
        if x { tracing::warn!(target: "session::save", kind = ?a, "short"); }
    "#;
    let read = events(source).unwrap();
    let event = |level: &str, target: &str, fields: &[&str], text: &str| Event {
        level: level.into(),
        target: target.into(),
        fields: fields.iter().map(|field| (*field).to_owned()).collect(),
        text: text.into(),
    };
    let long = ["cookie", "session", "error", "round"];
    assert_eq!(
        read,
        [
            event("debug", "session::load", &long, "it happened: …"),
            event("warn", "session::save", &["kind"], "short"),
        ]
    );
    for source in [
        "use tracing::info;",
        "tracing::event!(Level::INFO, \"x\");",
        "tracing::info_span!(\"x\");",
        "tracing::info!(\"no target\");",
        "tracing::info!(target: \"t\", no_text = 1);",
    ] {
        assert!(events(source).is_err(), "{source}");
    }
}

#[test]
fn a_row_of_the_table_is_compared_in_every_column() {
    let row = "| warn | `session::save` | `kind`, `error` | `short` | and what it means |";
    let source = r#"tracing::warn!(target: "session::save", kind, %error, "short");"#;
    let ours = events(source).unwrap();
    assert_eq!(rows(row).collect::<Vec<_>>(), ours);
    for (from, to) in [
        ("warn", "info"),
        ("::save", "::load"),
        ("`kind`, ", ""),
        ("short", "shorter"),
    ] {
        assert_ne!(rows(&row.replace(from, to)).collect::<Vec<_>>(), ours);
    }
    assert_eq!(
        rows("| level | target | fields | event | means |").count(),
        0
    );
}
