//! Names with `*` in them: which tables are captured, which keys a writer may touch.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A text in which `*` stands for any run of characters, also none. Nothing else is special; case matters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct Pattern {
    text: String,
    /// The parts between the stars: always at least one.
    parts: Vec<String>,
}

impl Pattern {
    pub fn new(text: &str) -> Self {
        Self { text: text.to_owned(), parts: text.split('*').map(str::to_owned).collect() }
    }

    pub fn as_str(&self) -> &str {
        &self.text
    }

    pub fn matches(&self, name: &[u8]) -> bool {
        let [first, middle @ ..] = self.parts.as_slice() else { return false };
        let Some((last, middle)) = middle.split_last() else { return first.as_bytes() == name };
        let Some(rest) = name.strip_prefix(first.as_bytes()) else { return false };
        let Some(mut rest) = rest.strip_suffix(last.as_bytes()) else { return false };
        for part in middle.iter().filter(|p| !p.is_empty()) {
            let Some(at) = rest.windows(part.len()).position(|w| w == part.as_bytes()) else { return false };
            rest = &rest[at + part.len()..];
        }
        true
    }
}

impl From<String> for Pattern {
    fn from(text: String) -> Self {
        Self::new(&text)
    }
}

impl From<Pattern> for String {
    fn from(pattern: Pattern) -> Self {
        pattern.text
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusal_exact_near_miss() {
        let matches = |pattern: &str, name: &str| Pattern::new(pattern).matches(name.as_bytes());
        assert!(!matches("user:*", "users:1") && !matches("", "a") && !matches("user:*", "xuser:1"));
        assert!(matches("user:*", "user:1") && matches("user:*", "user:") && matches("a", "a") && matches("*", ""));
        assert!(matches("a*b*c", "a-b-c") && matches("a*b*c", "abbc") && !matches("a*b*c", "acb"));
        assert!(!matches("ab*ba", "aba"), "prefix and suffix may not share characters");
        assert!(matches("shop.*", "shop.users") && !matches("shop.*", "shopper.users"));
    }
}
