//! ARCHITECTURE.md names a test behind each guarantee: it exists.
#![allow(clippy::unwrap_used)]

use std::path::Path;

/// Where tests are.
const FOLDERS: [&str; 3] = ["host", "plugins", "tests"];

#[test]
fn every_guarantee_names_a_test_that_exists() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let page = std::fs::read_to_string(top.join("ARCHITECTURE.md")).unwrap();
    let table = page.split("\n## ").find(|section| section.starts_with("Guarantees")).unwrap();
    let mut sources = String::new();
    FOLDERS.iter().for_each(|folder| gather(&top.join(folder), &mut sources));
    let (mut guarantees, mut missing) = (0, Vec::new());
    for line in table.lines().filter(|line| line.starts_with('|')).skip(2) {
        let names: Vec<&str> = line.split('`').skip(1).step_by(2).filter(|name| name.contains('_')).collect();
        assert!(!names.is_empty(), "no test stands behind: {line}");
        missing.extend(names.iter().filter(|name| !sources.contains(&format!("fn {name}("))).copied());
        guarantees += 1;
    }
    assert!(guarantees > 0 && missing.is_empty(), "there are no such tests: {missing:?}");
}

fn gather(folder: &Path, sources: &mut String) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            gather(&path, sources);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            sources.push_str(&std::fs::read_to_string(&path).unwrap());
        }
    }
}
