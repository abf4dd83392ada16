//! Every code that a stop, a retry or a refusal can have is in `docs/errors.md`, which names no other.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Builds the program, and has codes of nobody's.
const TOOLS: &str = "xtask";
/// Modules of tests alone; at the end of a file they begin so.
const TEST_FILES: [&str; 2] = ["fixtures.rs", "tests.rs"];
const TEST_MODULE: &str = "#[cfg(test)]\nmod tests {";
/// What takes a code, be it of one word only.
const TAKE_A_CODE: [&str; 7] = [
    "Failure::definite(",
    "Failure::transient(",
    "Fault::failed(",
    "Fault::unusable(",
    "finding(",
    "refusal(",
    "(code = ",
];
/// What a code calls for, as the page explains it.
const KINDS: [&str; 5] = ["stops", "waits", "refused", "warns", "tells"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() {
            sources(&path, found);
        } else if name.ends_with(".rs") && !TEST_FILES.contains(&name.as_str()) {
            found.push(path);
        }
    }
}

/// The text literals of a source, each with what stands before it in its statement.
fn literals(text: &str) -> Vec<(&str, &str)> {
    let (bytes, mut at, mut statement) = (text.as_bytes(), 0, 0);
    let mut found = Vec::new();
    while at < bytes.len() {
        match bytes[at] {
            b'/' if bytes[at..].starts_with(b"//") => {
                at = text[at..].find('\n').map_or(bytes.len(), |end| at + end);
            }
            // A character, which may be a quote; or a lifetime.
            b'\'' if bytes.get(at + 1) == Some(&b'\\') => at += 4,
            b'\'' if bytes.get(at + 2) == Some(&b'\'') => at += 3,
            b'"' => {
                let start = at + 1;
                at = start;
                while bytes.get(at).is_some_and(|byte| *byte != b'"') {
                    at += if bytes[at] == b'\\' { 2 } else { 1 };
                }
                found.push((text.get(start..at).unwrap_or_default(), &text[statement..start - 1]));
                at += 1;
                statement = at;
            }
            byte => {
                at += 1;
                if byte == b';' {
                    statement = at;
                }
            }
        }
    }
    found
}

fn is_upper(word: &str) -> bool {
    let letter = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
    word.bytes().all(letter) && word.len() > 3 && word.starts_with(|c: char| c.is_ascii_uppercase())
}

/// Whether a word of capitals is a code, and no name of MySQL's events or of a variable.
fn is_code(word: &str) -> bool {
    let event = word.ends_with("_EVENT") || word.contains("_EVENT_V");
    is_upper(word) && word.contains('_') && !event && !word.starts_with("MYSYNC_") && !word.starts_with("CARGO_")
}

/// Codes that the sources can give, each with a file that does.
fn codes() -> BTreeMap<String, PathBuf> {
    let host = root().join("host");
    let mut files = Vec::new();
    sources(&host.join("src"), &mut files);
    for entry in std::fs::read_dir(host.join("crates")).unwrap() {
        let crate_dir = entry.unwrap().path();
        if !crate_dir.ends_with(TOOLS) {
            sources(&crate_dir.join("src"), &mut files);
        }
    }
    let mut codes = BTreeMap::new();
    for file in files {
        let text = read(&file);
        let text = text.split(TEST_MODULE).next().unwrap_or_default();
        for (literal, before) in literals(text) {
            let taken = is_upper(literal) && TAKE_A_CODE.iter().any(|taker| before.contains(taker));
            if is_code(literal) || taken {
                codes.insert(literal.to_owned(), file.clone());
            }
            // In front of a reason, as `[CODE] reason`.
            let quoted = literal.split('[').skip(1).filter_map(|rest| rest.split_once(']'));
            for (code, _) in quoted.filter(|(code, _)| is_code(code)) {
                codes.insert(code.to_owned(), file.clone());
            }
        }
    }
    codes
}

#[test]
fn every_code_is_documented_and_no_other_is() {
    let codes = codes();
    assert!(codes.len() > 100, "too few codes were found: {codes:?}");
    let page = read(&root().join("docs/errors.md"));
    let mut documented = BTreeSet::new();
    for row in page.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        let [code, kinds, happened, way_on] = cells[..] else { panic!("not four cells: {row}") };
        let code = code.trim_matches('`');
        assert!(documented.insert(code.to_owned()), "{code} stands there twice");
        assert!(kinds.split(", ").all(|kind| KINDS.contains(&kind)), "{code}: {kinds} is no kind");
        assert!(!happened.is_empty() && !way_on.is_empty(), "{code}: nothing is said of it");
    }
    let missing: Vec<_> = codes.iter().filter(|(code, _)| !documented.contains(*code)).collect();
    assert!(missing.is_empty(), "not in docs/errors.md: {missing:#?}");
    let invented: Vec<_> = documented.iter().filter(|code| !codes.contains_key(*code)).collect();
    assert!(invented.is_empty(), "in docs/errors.md, and nothing gives them: {invented:#?}");
}

#[test]
fn codes_that_the_readme_names_exist() {
    let (codes, readme) = (codes(), read(&root().join("README.md")));
    let named = readme.split('`').filter(|word| is_code(word));
    let unknown: Vec<_> = named.filter(|word| !codes.contains_key(*word)).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}
