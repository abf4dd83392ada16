//! What test programs say about themselves, added up.

use std::collections::BTreeSet;
use std::fmt;
use std::process::ExitCode;

/// Lines of a failed program that are shown; all are in its file.
const LINES_SHOWN: usize = 200;

/// Counts, with a name for everything that did not pass.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Results {
    passed: usize,
    failures: Vec<String>,
    skips: BTreeSet<String>,
    ignored: usize,
}

impl Results {
    /// Of one program: the lines of the harness, and our own `skipped: NAME: why` of tests that passed without testing.
    pub fn read(label: &str, output: &str) -> Self {
        let mut results = Self::default();
        for line in output.lines() {
            // With one thread, the harness has begun the line with the test's name.
            let line = line.rsplit_once(" ... ").map_or(line, |(_, rest)| rest);
            if let Some(skip) = line.strip_prefix("skipped: ") {
                results.skips.insert(format!("{label}: {skip}"));
            }
            if let Some(counts) = line.strip_prefix("test result: ") {
                results.passed += count(counts, "passed");
                results.ignored += count(counts, "ignored");
            }
        }
        // After a failure the harness lists the names once more.
        for list in output.split("\nfailures:\n").skip(1) {
            let names = list.lines().take_while(|line| line.starts_with("    "));
            results.failures.extend(names.map(|name| format!("{label}: {}", name.trim())));
        }
        results.passed = results.passed.saturating_sub(results.skips.len());
        results
    }

    pub fn fail(&mut self, what: String) {
        self.failures.push(what);
    }

    pub fn failed(&self) -> usize {
        self.failures.len()
    }

    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    pub fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failures.extend(other.failures);
        self.skips.extend(other.skips);
        self.ignored += other.ignored;
    }

    /// Names what did not pass; the last line is the count.
    pub fn tell(&self) -> ExitCode {
        self.skips.iter().for_each(|skip| println!("skipped: {skip}"));
        self.failures.iter().for_each(|failure| println!("failed: {failure}"));
        println!("{self}");
        if self.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

impl fmt::Display for Results {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed, {} skipped", self.passed, self.failures.len(), self.skips.len() + self.ignored)
    }
}

/// `ok. 7 passed; 0 failed; …`
fn count(counts: &str, of: &str) -> usize {
    let words: Vec<&str> = counts.split([' ', ';', '.']).filter(|word| !word.is_empty()).collect();
    words.windows(2).find(|pair| pair[1] == of).and_then(|pair| pair[0].parse().ok()).unwrap_or(0)
}

/// What is said about failures, or the end if it says nothing about them.
pub fn failures_in(output: &str) -> String {
    let from = output.find("\nfailures:\n").unwrap_or(0);
    let lines: Vec<&str> = output[from..].trim().lines().collect();
    if from == 0 || lines.len() <= LINES_SHOWN {
        return lines[lines.len().saturating_sub(LINES_SHOWN)..].join("\n");
    }
    format!("{}\n… {} lines more", lines[..LINES_SHOWN].join("\n"), lines.len() - LINES_SHOWN)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "
running 4 tests
test resumes ... ok
test kills ... FAILED
test tags ... skipped: tags: 8.0 has none
ok
test slow ... ignored

failures:

---- kills stdout ----
seed 4

thread 'kills' panicked at tests/x.rs:1:1:
waited in vain

failures:
    kills

test result: FAILED. 2 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s
";

    #[test]
    fn a_failure_and_a_skip_have_their_names_and_are_no_passes() {
        let results = Results::read("tests/e2e spine", OUTPUT);
        assert_eq!(results.to_string(), "1 passed, 1 failed, 2 skipped");
        assert_eq!(results.failures, ["tests/e2e spine: kills"]);
        assert!(results.skips.contains("tests/e2e spine: tags: 8.0 has none"), "{results:?}");
    }

    #[test]
    fn programs_add_up() {
        let mut all = Results::read("a", OUTPUT);
        all.add(Results::read("b", OUTPUT));
        all.fail("c: ended with signal 9".to_owned());
        assert_eq!(all.to_string(), "2 passed, 3 failed, 4 skipped");
        assert!(Results::read("c", "running 0 tests\n\ntest result: ok. 0 passed; 0 failed; 0 ignored;").is_empty());
    }

    #[test]
    fn what_is_shown_begins_where_the_failures_begin() {
        assert!(failures_in(OUTPUT).starts_with("failures:\n\n---- kills stdout ----\nseed 4"));
        let crash: String = (0..1000).map(|line| format!("line {line}\n")).collect();
        assert!(failures_in(&crash).ends_with("line 999") && failures_in(&crash).starts_with("line 800"));
    }
}
