//! Every fuzz target on its corpus, and on what a second of mutation makes of it.
//!
//! `FUZZ_SECONDS=60` goes on for so long in each, `FUZZ_SEED=7` makes other inputs; coverage leads
//! to more of them in `tests/fuzz`.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use session_tests::fuzz::{Mutator, TARGETS, Target, words};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz")
}

/// Makes each target a test of its own.
macro_rules! targets {
    ($($name:ident)*) => {
        $(#[test]
        fn $name() {
            run(stringify!($name));
        })*

        #[test]
        fn every_target_is_a_test_and_a_fuzzer() {
            let names = [$(stringify!($name)),*];
            let targets = TARGETS.iter().map(|target| target.name);
    assert_eq!(names.to_vec(), targets.collect::<Vec<_>>());
            let manifest = fs::read_to_string(folder().join("Cargo.toml")).unwrap();
            for name in names {
                let program = fs::read_to_string(folder().join(format!("fuzz_targets/{name}.rs")));
                assert!(program.unwrap().contains(&format!("session_tests::fuzz::{name}(data)")));
                assert!(manifest.contains(&format!("path = \"fuzz_targets/{name}.rs\"")));
            }
        }
    };
}

targets!(
    header quoting json record fernet nacl plain keys settings memory stored request memcached redis
);

fn run(name: &str) {
    let target = TARGETS.iter().find(|target| target.name == name).unwrap();
    let corpus = corpus(name);
    for (path, input) in &corpus {
        check(target, input, &path.display().to_string());
    }
    let seed = number("FUZZ_SEED").unwrap_or(1);
    let time = number("FUZZ_SECONDS").map(Duration::from_secs);
    let inputs = corpus.into_iter().map(|(_, input)| input).collect();
    let dictionary = fs::read_to_string(folder().join("words.dict")).unwrap();
    let mut mutator = Mutator::new(inputs, words(&dictionary), seed);
    let begun = Instant::now();
    let mut count: u32 = 0;
    while time.map_or(count < target.cases, |time| begun.elapsed() < time) {
        let input = mutator.next_input();
        check(
            target,
            &input,
            &format!("input {count} of FUZZ_SEED={seed}"),
        );
        count += 1;
    }
    println!("{name}: {count} inputs in {:.1?}", begun.elapsed());
}

/// Runs the target; what makes it panic, or takes memory out of proportion, is kept in a file.
fn check(target: &Target, input: &[u8], what: &str) {
    let mut ended = Ok(());
    let memory = allocation_counter::measure(|| {
        ended = catch_unwind(AssertUnwindSafe(|| (target.run)(input)));
    });
    let most = 4_000_000 + 100 * u64::try_from(input.len()).unwrap();
    let why = match ended {
        Err(_) => "made it panic".to_owned(),
        Ok(()) if memory.bytes_max > most => format!("made it take {} bytes", memory.bytes_max),
        Ok(()) => return,
    };
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("fuzz-{}", target.name));
    fs::write(&file, input).unwrap();
    panic!("{}: {what} {why}; it is in {}", target.name, file.display());
}

fn corpus(name: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let files = fs::read_dir(folder().join("corpus").join(name)).unwrap();
    let mut paths: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
    paths.sort();
    let read = |path: PathBuf| {
        let input = fs::read(&path).unwrap();
        (path, input)
    };
    paths.into_iter().map(read).collect()
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().expect("a number"))
}
