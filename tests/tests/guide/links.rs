//! The links of the guide's pages, in the repository and in rustdoc.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use crate::{GUIDES, ROOT, pages, pages_of, read};

/// In the repository the links of a page lead to files. rustdoc checks its own.
#[test]
fn every_link_of_the_guide_leads_somewhere() {
    let mut seen = 0;
    for guide in GUIDES {
        let links = read(format!("session-{guide}/src/guide/rustdoc-links.txt"));
        let links = definitions(&links);
        for page in pages_of(guide) {
            let text = fs::read_to_string(&page).unwrap();
            let folder = page.parent().unwrap();
            let text = without_code(&text);
            let defined = definitions(&text);
            for (name, target) in &defined {
                assert!(folder.join(target).exists(), "{}: {target}", page.display());
                assert!(links.contains_key(name), "{}: {name}", page.display());
            }
            let starts = ["][", "[`", "[session-"].map(|start| text.match_indices(start));
            for (at, start) in starts.into_iter().flatten() {
                let at = if start == "][" { at + 2 } else { at + 1 };
                let name = text[at..].split(']').next().unwrap();
                assert!(defined.contains_key(name), "{}: {name}", page.display());
                seen += 1;
            }
        }
    }
    assert!(seen > 60, "they are found: {seen}");
}

/// A link inside of a page leads to a heading, as rustdoc and the repository name it.
#[test]
fn every_link_to_a_heading_leads_to_one() {
    let mut seen = 0;
    for page in pages() {
        let text = without_code(&fs::read_to_string(&page).unwrap());
        let headings: BTreeSet<String> = text.lines().filter_map(anchor).collect();
        for link in text.split("](#").skip(1) {
            let name = link.split(')').next().unwrap();
            assert!(headings.contains(name), "{}: {name}", page.display());
            seen += 1;
        }
    }
    assert!(seen > 4, "they are found: {seen}");
}

/// A user of either adapter finds every page.
#[test]
fn the_guides_of_both_crates_list_every_page() {
    let indexes = GUIDES.map(|guide| read(format!("session-{guide}/src/guide/README.md")));
    let [of_hyper, of_tower] = indexes.each_ref().map(|index| {
        let end = index.find("\n[").unwrap();
        &index[..end]
    });
    assert_eq!(of_hyper, of_tower, "the two indexes are one text");
    for (guide, index) in GUIDES.into_iter().zip(&indexes) {
        let folder = Path::new(ROOT).join(format!("session-{guide}/src/guide"));
        let listed: BTreeSet<_> = definitions(index)
            .into_values()
            .map(|target| fs::canonicalize(folder.join(target)).unwrap())
            .collect();
        let exist: BTreeSet<_> = pages()
            .into_iter()
            .filter(|page| !page.ends_with("README.md"))
            .map(|page| fs::canonicalize(page).unwrap())
            .collect();
        assert_eq!(listed, exist, "session-{guide}");
    }
}

/// rustdoc does not check relative links: those to the guide of the other crate.
#[test]
fn every_link_to_another_crate_leads_to_a_module() {
    let mut seen = 0;
    for guide in GUIDES {
        // A page is one folder deeper than the index.
        for (file, up) in [("links", "../../../"), ("links-of-index", "../../")] {
            let file = format!("session-{guide}/src/guide/rustdoc-{file}.txt");
            for (name, target) in definitions(&read(&file)) {
                let Some(target) = target.strip_prefix(up) else {
                    assert!(!target.starts_with('.'), "{file}: {name}");
                    continue; // an item, which rustdoc checks
                };
                let path: Vec<&str> = target.split('/').collect();
                let krate = path[0].replace('_', "-");
                match path[1..] {
                    ["index.html"] => {
                        let folder = Path::new(ROOT).join(krate);
                        assert!(folder.join("src/lib.rs").exists(), "{file}: {name}");
                    }
                    ["guide", page, "index.html"] => {
                        let modules = read(format!("{krate}/src/guide.rs"));
                        let module = format!("pub mod {page} {{}}");
                        assert!(modules.contains(&module), "{file}: {name}");
                    }
                    _ => panic!("{file}: {name}: {target}"),
                }
                seen += 1;
            }
        }
    }
    assert!(seen > 25, "they are found: {seen}");
}

/// On docs.rs the crates are on sites of their own. A link to another crate is absolute there, and
/// leads to the same page as the relative one.
#[test]
fn every_link_to_another_crate_is_absolute_on_docs_rs() {
    for guide in GUIDES {
        let folder = format!("session-{guide}/src/guide");
        let absolute = read(format!("{folder}/docs-rs-links.txt"));
        let absolute = definitions(&absolute);
        let mut relative = BTreeMap::new();
        let links = read(format!("{folder}/rustdoc-links.txt"));
        for (name, target) in definitions(&links) {
            if let Some(target) = target.strip_prefix("../../../") {
                let site = target.split('/').next().unwrap().replace('_', "-");
                relative.insert(name, format!("https://docs.rs/{site}/latest/{target}"));
            }
        }
        let pages = absolute
            .iter()
            .map(|(name, target)| (*name, (*target).to_owned()));
        assert_eq!(
            pages.collect::<BTreeMap<_, _>>(),
            relative,
            "session-{guide}"
        );
        let of_index = read(format!("{folder}/rustdoc-links-of-index.txt"));
        let of_index = definitions(&of_index);
        assert!(
            of_index.keys().all(|name| absolute.contains_key(name)),
            "session-{guide}"
        );
        // The first definition of a name counts, so they come before the relative ones.
        let modules = read(format!("session-{guide}/src/guide.rs"));
        let first = "[cfg_attr(docsrs, doc = include_str!(\"guide/docs-rs-links.txt\"))]\n#";
        let pages = modules.matches("guide/rustdoc-links.txt").count();
        assert_eq!(modules.matches(first).count(), pages, "session-{guide}");
    }
}

/// The links of the README go by path.
#[test]
fn every_link_of_the_readme_leads_to_a_file() {
    let mut seen = 0;
    for page in ["README.md", "CONTRIBUTING.md", "benches/README.md"] {
        let text = without_code(&read(page));
        let folder = Path::new(ROOT).join(page);
        for link in text.split("](").skip(1) {
            let target = link.split([')', '#']).next().unwrap();
            if !target.starts_with("https://") {
                let path = folder.with_file_name(target);
                assert!(path.exists(), "{page}: {target}");
                seen += 1;
            }
        }
    }
    assert!(seen > 15, "they are found: {seen}");
}

/// Returns where the names of links lead: the lines `[name]: target`.
fn definitions(text: &str) -> BTreeMap<&str, &str> {
    let lines = text.lines();
    lines
        .filter_map(|line| line.strip_prefix('[')?.split_once("]: "))
        .collect()
}

/// Returns the name of a heading in links; `None` if the line is none.
fn anchor(line: &str) -> Option<String> {
    let title = line.strip_prefix('#')?.trim_start_matches('#').trim();
    let kept = title.to_lowercase();
    let kept = kept.chars().filter_map(|c| match c {
        ' ' => Some('-'),
        c if c.is_alphanumeric() || c == '-' || c == '_' => Some(c),
        _ => None,
    });
    Some(kept.collect())
}

/// Leaves out the blocks of code.
fn without_code(page: &str) -> String {
    page.split("\n```").step_by(2).collect()
}
