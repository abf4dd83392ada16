//! What things may be called, and which grant covers which.

use mysync_change::pattern::Pattern;

use super::error::ConfigError;
use super::section::Value;

/// Room for a team and a purpose; names end in keys of stores and in labels.
const NAME_BYTES_MAX: usize = 64;

/// A name that needs no quoting in keys, paths, labels and commands.
pub fn checked_name(name: &str) -> Result<String, String> {
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    match name {
        "" => Err("is empty and must be a name".to_owned()),
        _ if name.len() > NAME_BYTES_MAX => Err(format!("is longer than {NAME_BYTES_MAX} characters")),
        _ if !name.chars().all(good) || name.starts_with(['-', '.']) => {
            Err("has characters that a name cannot have: use letters, digits, '-', '_' and '.'".to_owned())
        }
        _ => Ok(name.to_owned()),
    }
}

/// Patterns over `database.table`.
pub fn checked_tables(value: &Value<'_>) -> Result<Vec<Pattern>, ConfigError> {
    let patterns = value.patterns()?;
    match patterns.iter().find(|pattern| !pattern.as_str().contains(['.', '*'])) {
        Some(pattern) => Err(value.wrong(format!("has \"{pattern}\", which names no table: write \"database.table\""))),
        None => Ok(patterns),
    }
}

/// Whether every name that `narrow` matches is matched by one of `wide`.
///
/// Exact for one pattern: a star in `narrow` can only be matched by a star, because no other part of a pattern holds one.
pub fn is_within(narrow: &Pattern, wide: &[Pattern]) -> bool {
    wide.iter().any(|pattern| pattern.matches(narrow.as_str().as_bytes()))
}

/// Whether some name is matched by both.
pub fn overlap(a: &Pattern, b: &Pattern) -> bool {
    let (a, b) = (a.as_str().as_bytes(), b.as_str().as_bytes());
    // meets[j]: what is left of `a` and what is left of `b` from j on can be the same text.
    let mut meets = vec![false; b.len() + 1];
    for i in (0..=a.len()).rev() {
        let below = meets.clone();
        for j in (0..=b.len()).rev() {
            meets[j] = match (a.get(i), b.get(j)) {
                (None, None) => true,
                (Some(b'*'), None) => below[j],
                (Some(b'*'), Some(_)) => below[j] || meets[j + 1],
                (None, Some(b'*')) => meets[j + 1],
                (Some(_), Some(b'*')) => meets[j + 1] || below[j],
                (Some(x), Some(y)) => x == y && below[j + 1],
                (None, Some(_)) | (Some(_), None) => false,
            };
        }
    }
    meets[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> Pattern {
        Pattern::new(text)
    }

    #[test]
    fn a_grant_covers_what_it_matches_and_nothing_else() {
        let wide = [pattern("user:*"), pattern("city:*:users")];
        for inside in ["user:*", "user:1", "user:a*b", "city:x:users", "city:*:users", "city:*:x:users"] {
            assert!(is_within(&pattern(inside), &wide), "{inside}");
        }
        for outside in ["*", "use*", "users:*", "city:*", "", "city:*:user*"] {
            assert!(!is_within(&pattern(outside), &wide), "{outside}");
        }
    }

    #[test]
    fn overlap_is_a_name_that_both_match() {
        for (a, b) in [("user:*", "user:1"), ("a*", "*b"), ("*", ""), ("a*c", "ab*"), ("x", "x"), ("a**b", "ab")] {
            assert!(overlap(&pattern(a), &pattern(b)) && overlap(&pattern(b), &pattern(a)), "{a} {b}");
        }
        for (a, b) in [("user:*", "users:*"), ("a*b", "a*c"), ("", "a"), ("x*", "y*"), ("ab", "a")] {
            assert!(!overlap(&pattern(a), &pattern(b)) && !overlap(&pattern(b), &pattern(a)), "{a} {b}");
        }
    }

    #[test]
    fn names_need_no_quoting() {
        for name in ["shop", "users-cache", "a.b_c", "1"] {
            assert!(checked_name(name).is_ok(), "{name}");
        }
        for name in ["", "a b", "-x", ".x", "a/b", "a:b", "ä", "{x}", &"x".repeat(65)] {
            assert!(checked_name(name).is_err(), "{name}");
        }
    }
}
