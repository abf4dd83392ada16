//! Names of tables with `*` in them.

/// A text in which `*` stands for any run of characters, also none. Nothing else is special; case matters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern(String);

impl Pattern {
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    pub fn matches(&self, name: &str) -> bool {
        let Some((first, rest)) = self.0.split_once('*') else { return self.0 == name };
        let Some(mut name) = name.strip_prefix(first) else { return false };
        let (middle, last) = rest.rsplit_once('*').unwrap_or(("", rest));
        for part in middle.split('*') {
            let Some(at) = name.find(part) else { return false };
            name = &name[at + part.len()..];
        }
        name.ends_with(last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stand_for_any_run_of_characters() {
        let matches = |pattern: &str, name: &str| Pattern::new(pattern).matches(name);
        assert!(matches("shop.users", "shop.users") && matches("shop.*", "shop.users") && matches("*", "shop.users"));
        assert!(matches("*.users", "shop.users") && matches("s*.u*s", "shop.users") && matches("a*b*c", "abbc"));
        assert!(!matches("shop.users", "shop.user") && !matches("shop.*", "shopper.users") && !matches("a*b*c", "acb"));
        assert!(!matches("ab*ba", "aba"), "the ends do not share characters");
    }
}
