//! The guide says what the sources say: its list of events is whole, and the tests that it names exist.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
const PAGES: &str = "session-hyper/src/guide";

fn read(path: impl AsRef<Path>) -> String {
    let path = Path::new(ROOT).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Returns the files below `folder` whose names end so.
fn files(folder: &Path, ends: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path, ends));
        } else if path.to_str().unwrap().ends_with(ends) {
            found.push(path);
        }
    }
    found
}

fn pages() -> Vec<PathBuf> {
    files(&Path::new(ROOT).join(PAGES), ".md")
}

/// Returns what stands between backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// An event: its level, target, fields and text.
type Event = (String, String, Vec<String>, String);

/// Returns the events of a source file.
fn events(source: &str, target: &str) -> Vec<Event> {
    let calls = source.split("tracing::").skip(1);
    let calls = calls.filter_map(|call| call.split_once("!("));
    let events = calls.filter(|(level, _)| level.bytes().all(|b| b.is_ascii_lowercase()));
    events
        .map(|(level, call)| {
            let (fields, rest) = call.split_once('"').unwrap();
            let text = rest.split('"').next().unwrap();
            // What is filled in when it happens.
            let text = match text.split_once('{') {
                Some((before, _)) => format!("{before}…"),
                None => text.to_owned(),
            };
            let fields = fields.split(',').map(|field| {
                let name = field.split('=').next().unwrap_or_default();
                name.trim().trim_start_matches(['%', '?']).to_owned()
            });
            let fields = fields.filter(|name| !name.is_empty()).collect();
            (level.to_owned(), target.to_owned(), fields, text)
        })
        .collect()
}

#[test]
fn the_guide_lists_every_event_of_the_sources_and_no_other() {
    let mut ours = BTreeSet::new();
    for name in ["core", "cookie", "redis", "memcached", "hyper"] {
        let folder = Path::new(ROOT).join(format!("session-{name}/src"));
        for file in files(&folder, ".rs") {
            let module = file.strip_prefix(&folder).unwrap().with_extension("");
            let module = module.to_str().unwrap().replace('/', "::");
            let target = format!("session_{name}::{module}");
            ours.extend(events(&fs::read_to_string(&file).unwrap(), &target));
        }
    }
    assert!(ours.len() > 10, "they are found: {ours:?}");

    let page = read(format!("{PAGES}/operating.md"));
    let rows = page.lines().filter_map(|line| {
        let cells = line.strip_prefix('|')?.strip_suffix('|')?.split('|');
        let cells: Vec<&str> = cells.map(str::trim).collect();
        let is_level = matches!(cells[0], "error" | "warn" | "info" | "debug" | "trace");
        is_level.then(|| {
            let [level, target, fields, event, _] = cells[..] else {
                panic!("a row of another shape: {line}")
            };
            let one = |cell| quoted(cell).next().unwrap().to_owned();
            let fields = quoted(fields).map(str::to_owned).collect();
            (level.to_owned(), one(target), fields, one(event))
        })
    });
    let listed: BTreeSet<Event> = rows.collect();
    let missing: Vec<_> = ours.difference(&listed).collect();
    let invented: Vec<_> = listed.difference(&ours).collect();
    assert!(
        missing.is_empty() && invented.is_empty(),
        "not in the page: {missing:#?}\nnot in the sources: {invented:#?}"
    );
}

/// A test is named as `file::name`, the file without its `.rs`, from one of these folders.
#[test]
fn every_test_that_the_guide_names_exists() {
    let mut seen = 0;
    let mut missing = Vec::new();
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        for name in quoted(&text) {
            let Some((file, test)) = name.split_once("::") else {
                continue;
            };
            let is_sentence = test.matches('_').count() > 1 && !test.contains(['(', ':']);
            if !is_sentence || file.is_empty() {
                continue;
            }
            seen += 1;
            let folders = ["tests/tests", "tests/src", ""]
                .map(|folder| Path::new(ROOT).join(folder).join(format!("{file}.rs")));
            let source = folders
                .iter()
                .find_map(|path| fs::read_to_string(path).ok());
            let function = format!("fn {test}(");
            if !source.is_some_and(|source| source.contains(&function)) {
                missing.push(format!("{}: {name}", page.display()));
            }
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
    assert!(seen > 50, "they are found: {seen}");
}

/// Each line of a table of threats has a test.
#[test]
fn every_threat_that_is_defended_against_names_a_test() {
    let page = read(format!("{PAGES}/threats.md"));
    let mut rows = 0;
    let mut is_threats = false;
    for line in page.lines() {
        if !line.starts_with("| ") {
            is_threats = false;
        } else if line == "| threat | what happens | shown by |" {
            is_threats = true;
        } else if is_threats && !line.starts_with("| ---") {
            rows += 1;
            let shown = line.rsplit(" | ").next().unwrap();
            assert!(quoted(shown).any(|name| name.contains("::")), "{line}");
        }
    }
    assert!(rows > 30, "they are found: {rows}");
}

/// In the repository the links of a page lead to files; in rustdoc, which has its own, rustdoc looks.
#[test]
fn every_link_of_the_guide_leads_somewhere() {
    let mut seen = 0;
    let links = read(format!("{PAGES}/rustdoc-links.txt"));
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        let folder = page.parent().unwrap();
        let text = text.split("<!--").next().unwrap().to_owned()
            + text.split("-->").nth(1).unwrap_or_default();
        let defined: BTreeSet<&str> = text
            .lines()
            .filter_map(|line| line.strip_prefix('[')?.split_once("]: "))
            .map(|(name, target)| {
                assert!(folder.join(target).exists(), "{}: {target}", page.display());
                let in_rustdoc = format!("[{name}]: ");
                assert!(links.contains(&in_rustdoc), "{}: {name}", page.display());
                name
            })
            .collect();
        let starts = ["][", "[`", "[session-"].map(|start| text.match_indices(start));
        for (at, start) in starts.into_iter().flatten() {
            let at = if start == "][" { at + 2 } else { at + 1 };
            let name = text[at..].split(']').next().unwrap();
            assert!(defined.contains(name), "{}: {name}", page.display());
            seen += 1;
        }
    }
    assert!(seen > 10, "they are found: {seen}");
}

#[test]
fn the_statements_that_the_page_on_backends_shows_are_those_of_the_example() {
    let page = read(format!("{PAGES}/backend.md"));
    let example = read("examples/src/sqlite.rs");
    let shown: Vec<&str> = page.split("```sql\n").skip(1).collect();
    assert_eq!(shown.len(), 4, "read, create, replace, delete");
    for statement in shown {
        let (statement, _) = statement.split_once("\n```").unwrap();
        assert!(
            example.contains(&format!("\\\n{statement}\";")),
            "{statement}"
        );
    }
}
