//! The words of the documentation and of the comments, and the width of lines.

use std::fs;
use std::path::{Path, PathBuf};

use crate::ROOT;

/// A sentence with one of the first two takes a second reading. Say who does what instead. For the
/// others the standard word is response.
const WORDS: [&str; 6] = [
    "nobody",
    "whoever",
    "answer",
    "answers",
    "answered",
    "answering",
];

/// The longest line, in characters.
const WIDTH: usize = 100;

/// Pages that the benchmarks' driver writes, with lines of any length.
const GENERATED: [&str; 3] = ["RESULTS.md", "APPS.md", "TROUBLE.md"];

#[test]
fn the_documentation_and_the_comments_use_plain_words() {
    let mut found = Vec::new();
    // This file names the words.
    for (path, text) in texts() {
        if path.ends_with("words.rs") {
            continue;
        }
        let prose = if is_rust(&path) {
            comments(&text)
        } else {
            without_blocks(&text)
        };
        let mut words = unclear(&prose);
        if is_rust(&path) && text.to_lowercase().contains("answer") {
            words.push("answer, in a name or a text");
        }
        let words = words.into_iter();
        found.extend(words.map(|what| format!("{}: {what}", path.display())));
    }
    assert!(found.is_empty(), "{found:#?}");
}

/// Tables of Markdown, program output (blocks of `text`) and lines with a URL may be longer, also
/// in a doc comment: they cannot be wrapped.
#[test]
fn no_line_is_longer_than_100_characters() {
    let mut found = Vec::new();
    for (path, text) in texts() {
        let numbers = too_long(&text).into_iter();
        found.extend(numbers.map(|number| format!("{}:{number}", path.display())));
    }
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn unclear_words_are_found_in_prose_and_not_in_code() {
    let source = "/// Nobody's\n\
                  let a = \"whoever\"; // whoever\n\
                  // `nobody` what\n\
                  // it holds is none. What is none.\n\
                  fn p5_nobody() {} // p5_nobody. Answered\n";
    let found = unclear(&comments(source));
    assert_eq!(
        found,
        [
            "nobody",
            "whoever",
            "what .. is none",
            "what .. is none",
            "answered"
        ]
    );
    let page = "What a page is.\n\n```text\nnobody\n```\n\nThere is none. Whoever.\n";
    assert_eq!(unclear(&without_blocks(page)), ["whoever"]);
}

#[test]
fn long_lines_are_counted_in_characters() {
    let fits = "é".repeat(WIDTH);
    let long = "é".repeat(WIDTH + 1);
    let page = format!(
        "{fits}\n{long}\n| {long} |\n//! | {long} |\nhttps://{long}\n\
         ```text\n{long}\n```\n```\n{long}\n```\n{long}\n"
    );
    assert_eq!(too_long(&page), [2, 10, 12]);
}

/// Returns the project's Rust sources and Markdown pages.
fn texts() -> Vec<(PathBuf, String)> {
    let mut paths = Vec::new();
    collect(Path::new(ROOT), &mut paths);
    assert!(paths.len() > 200, "they are found: {}", paths.len());
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).unwrap();
        (path.strip_prefix(ROOT).unwrap().to_owned(), text)
    };
    paths.into_iter().map(read).collect()
}

/// Adds the files below `folder`. Leaves out hidden folders and those of the compiler.
fn collect(folder: &Path, paths: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_dir() {
            if !name.starts_with('.') && name != "target" {
                collect(&path, paths);
            }
        } else if is_rust(&path) || (has_ending(&path, "md") && !GENERATED.contains(&name)) {
            paths.push(path);
        }
    }
}

fn is_rust(path: &Path) -> bool {
    has_ending(path, "rs")
}

fn has_ending(path: &Path, ending: &str) -> bool {
    path.extension()
        .is_some_and(|extension| extension == ending)
}

/// Returns the comments of a Rust source, without the code that their lines begin with.
fn comments(source: &str) -> String {
    let mut comments = String::new();
    for line in source.lines() {
        // An even number of quotes before the slashes: they are not in a string.
        let start = line.match_indices("//").map(|(at, _)| at);
        let mut start = start.filter(|at| line[..*at].matches('"').count() % 2 == 0);
        if let Some(at) = start.next() {
            comments.push_str(line[at..].trim_start_matches(['/', '!']));
        } else {
            comments.push('.'); // a sentence ends with its comment
        }
        comments.push('\n');
    }
    comments
}

/// Leaves out the blocks of code of a page.
fn without_blocks(page: &str) -> String {
    page.split("\n```").step_by(2).collect()
}

/// Returns what is unclear in a text, in its order.
fn unclear(text: &str) -> Vec<&'static str> {
    let text = text.to_lowercase();
    let mut found = Vec::new();
    for sentence in text.split(['.', ';', ':', '?', '!', '|']) {
        let words = sentence.split(|c: char| !c.is_alphanumeric() && c != '_');
        let words: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
        found.extend(WORDS.into_iter().filter(|word| words.contains(word)));
        let what = words.iter().position(|word| *word == "what");
        if what.is_some_and(|at| words[at..].windows(2).any(|two| two == ["is", "none"])) {
            found.push("what .. is none");
        }
    }
    found
}

/// Returns the numbers of the lines that are too long.
fn too_long(text: &str) -> Vec<usize> {
    let mut found = Vec::new();
    let mut is_output = false;
    for (at, line) in text.lines().enumerate() {
        let content = line
            .trim_start()
            .trim_start_matches(['/', '!'])
            .trim_start();
        if let Some(kind) = content.strip_prefix("```") {
            is_output = kind == "text";
        }
        let may_be_long = is_output || content.starts_with('|') || line.contains("://");
        if !may_be_long && line.chars().count() > WIDTH {
            found.push(at + 1);
        }
    }
    found
}
