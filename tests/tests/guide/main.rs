//! The guide agrees with the sources: its table of log events is complete, the tests that it names
//! exist, and its backend passes the suites. All pages and comments use plain words.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

#[expect(unreachable_pub, reason = "the page shows a crate's public type")]
mod backend;
mod events;
mod links;
mod suites;
mod words;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
const PAGES: &str = "session-hyper/src/guide";
/// The crates that have a guide. Each one lists the pages of both.
const GUIDES: [&str; 2] = ["hyper", "tower"];

fn read(path: impl AsRef<Path>) -> String {
    let path = Path::new(ROOT).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Returns the files below `folder` whose names end with `ending`.
fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path, ending));
        } else if path.to_str().unwrap().ends_with(ending) {
            found.push(path);
        }
    }
    found
}

/// Returns the pages of both guides.
fn pages() -> Vec<PathBuf> {
    GUIDES.into_iter().flat_map(pages_of).collect()
}

fn pages_of(guide: &str) -> Vec<PathBuf> {
    let folder = Path::new(ROOT).join(format!("session-{guide}/src/guide"));
    files(&folder, ".md")
}

/// Returns what stands between backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// A test is named as `file::name`: the path of the file without `.rs`, from one of these folders.
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
            let folders = ["tests/tests", "tests/src", "session-core/src", ""]
                .map(|folder| Path::new(ROOT).join(folder));
            let source = folders
                .iter()
                .flat_map(|folder| {
                    [".rs", "/mod.rs"].map(|end| folder.join(format!("{file}{end}")))
                })
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

/// Every file that a page names by its path from the root exists.
#[test]
fn every_file_that_the_pages_name_exists() {
    let tops = [
        "benches/",
        "examples/",
        "session-",
        "tests/",
        ".ci/",
        "deny.toml",
    ];
    let mut missing = Vec::new();
    let mut seen = 0;
    let mut pages = pages();
    pages.extend(["README.md", "CONTRIBUTING.md"].map(|page| Path::new(ROOT).join(page)));
    for page in pages {
        let text = fs::read_to_string(&page).unwrap();
        for name in quoted(&text) {
            // A command begins with a path, too.
            let path = name.split([' ', ':']).next().unwrap_or_default();
            let is_path = path.contains('/') && tops.iter().any(|top| path.starts_with(top));
            if !is_path
                || path.contains(['*', '<'])
                || name.contains("::")
                || path.ends_with("NAME")
            {
                continue;
            }
            seen += 1;
            if !Path::new(ROOT).join(path).exists() {
                missing.push(format!("{}: {path}", page.display()));
            }
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
    assert!(seen > 20, "they are found: {seen}");
}

/// The second column of the table "changed, run" names programs of tests.
#[test]
fn every_test_program_that_contributing_names_exists() {
    let page = read("CONTRIBUTING.md");
    let (_, table) = page.split_once("\n| changed | run |\n").unwrap();
    let (table, _) = table.split_once("\n\n").unwrap();
    let names: Vec<&str> = table
        .lines()
        .flat_map(|row| {
            let run = row.rsplit(" | ").next().unwrap();
            quoted(run).filter(|name| !name.contains(['/', '-', ' ']))
        })
        .collect();
    for name in &names {
        let paths = [format!("{name}.rs"), format!("{name}/main.rs")];
        let folder = Path::new(ROOT).join("tests/tests");
        let exists = paths.iter().any(|path| folder.join(path).exists());
        assert!(exists || *name == "parity", "{name}");
    }
    assert!(names.len() > 30, "they are found: {}", names.len());
}

/// Each line of a table of threats names a test.
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

#[test]
fn the_page_on_backends_shows_what_the_suites_run_on() {
    let page = read(format!("{PAGES}/backend.md"));
    for file in ["backend", "suites"] {
        let source = read(format!("tests/tests/guide/{file}.rs"));
        let start = if file == "backend" { 2 } else { 3 };
        let shown: String = source.split_inclusive('\n').skip(start).collect();
        assert!(page.contains(&shown), "{file}.rs is another text");
    }
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
