//! The `[[map]]` tables of a writer's TOML file. Every value knows its line, so that whatever is wrong is said where it is wrong.
//!
//! The keys above the tables (`component`, `connector`, `tables`, `wants`…) are the host's, which reads and checks them itself.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::{Pattern, Problem};

/// A value, and where it stands in the mapping's text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Located<T> {
    pub value: T,
    /// Counted from 1.
    pub line: u32,
    /// Counted from 1, in characters.
    pub column: u32,
}

impl<T> Located<T> {
    pub fn problem(&self, message: impl Into<String>) -> Problem {
        Problem { message: message.into(), line: Some(self.line), column: Some(self.column) }
    }

    pub fn with<U>(&self, value: U) -> Located<U> {
        Located { value, line: self.line, column: self.column }
    }
}

/// A mapping's text, read.
#[derive(Debug)]
pub struct Mapping<'a> {
    text: &'a str,
    root: DeTable<'a>,
}

/// One `[[map]]` table. Whatever is wrong with what is asked of it is kept until [`Section::finish`].
#[derive(Debug)]
pub struct Section<'a> {
    text: &'a str,
    start: usize,
    table: &'a DeTable<'a>,
    asked: Vec<&'static str>,
    problems: Vec<Problem>,
}

impl<'a> Mapping<'a> {
    pub fn parse(text: &'a str) -> Result<Self, Vec<Problem>> {
        match DeTable::parse(text) {
            Ok(root) => Ok(Self { text, root: root.into_inner() }),
            Err(error) => {
                let at = error.span().map_or(0, |span| span.start);
                Err(vec![locate(text, at, ()).problem(error.message())])
            }
        }
    }

    /// The `[[map]]` tables in order; at least one.
    pub fn sections(&'a self) -> Result<Vec<Section<'a>>, Vec<Problem>> {
        let wrong = |at, message: &str| Err(vec![locate(self.text, at, ()).problem(message)]);
        let Some(maps) = self.root.get("map") else {
            return wrong(0, "no `[[map]]`: a mapping says what becomes of at least one table");
        };
        let DeValue::Array(tables) = maps.get_ref() else {
            return wrong(maps.span().start, "`map` is a list of tables: write `[[map]]`");
        };
        let mut sections = Vec::new();
        for item in tables.iter() {
            let DeValue::Table(table) = item.get_ref() else {
                return wrong(item.span().start, "`map` is a list of tables: write `[[map]]`");
            };
            let start = item.span().start;
            sections.push(Section { text: self.text, start, table, asked: Vec::new(), problems: Vec::new() });
        }
        Ok(sections)
    }
}

impl Mapping<'_> {
    /// The tables whose rows the host sends at all: its own key `tables`, which it checks. `None` if the text does not hold it.
    pub fn tables(&self) -> Option<Vec<Pattern>> {
        let DeValue::Array(names) = self.root.get("tables")?.get_ref() else { return None };
        let name = |name: &Spanned<DeValue<'_>>| match name.get_ref() {
            DeValue::String(text) => Some(Pattern::new(text.to_string())),
            _ => None,
        };
        names.iter().map(name).collect()
    }
}

impl<'a> Section<'a> {
    /// The table itself, for what is wrong with it as a whole.
    pub fn here(&self) -> Located<()> {
        locate(self.text, self.start, ())
    }

    /// A text, or `None` if the key is not there.
    pub fn text(&mut self, key: &'static str) -> Option<Located<String>> {
        let value = self.value(key)?;
        self.as_text(value, &format!("`{key}` is a text: write it in quotes"))
    }

    /// A text that must be there; without it this answers `None` and has noted the problem.
    pub fn required_text(&mut self, key: &'static str) -> Option<Located<String>> {
        if !self.table.contains_key(key) {
            let problem = self.here().problem(format!("`{key}` is missing"));
            self.problems.push(problem);
        }
        self.text(key)
    }

    /// A list of texts, or `None` if the key is not there.
    pub fn list(&mut self, key: &'static str) -> Option<Vec<Located<String>>> {
        let wrong = format!("`{key}` is a list of texts: write [\"one\", \"two\"]");
        let value = self.value(key)?;
        let DeValue::Array(items) = value.get_ref() else {
            self.note(value.span().start, wrong);
            return None;
        };
        Some(items.iter().filter_map(|item| self.as_text(item, &wrong)).collect())
    }

    /// A table of texts by name in the order of their names, or `None` if the key is not there.
    pub fn pairs(&mut self, key: &'static str) -> Option<Vec<(Located<String>, Located<String>)>> {
        let wrong = format!("`{key}` is a table of texts: write {{ one = \"other\" }}");
        let value = self.value(key)?;
        let DeValue::Table(table) = value.get_ref() else {
            self.note(value.span().start, wrong);
            return None;
        };
        let mut pairs = Vec::new();
        for (name, value) in table.iter() {
            let name = locate(self.text, name.span().start, name.get_ref().to_string());
            if let Some(value) = self.as_text(value, &wrong) {
                pairs.push((name, value));
            }
        }
        Some(pairs)
    }

    /// Whether the key is there.
    pub fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// Where a key stands, if it is there.
    pub fn key(&self, key: &str) -> Option<Located<()>> {
        self.table.get_key_value(key).map(|(key, _)| locate(self.text, key.span().start, ()))
    }

    /// Names keys that exist, so that they do not count as unknown when nobody asks for them.
    pub fn know(&mut self, keys: &[&'static str]) {
        self.asked.extend(keys.iter().filter(|key| !self.asked.contains(key)).collect::<Vec<_>>());
    }

    /// Notes a problem.
    pub fn problem(&mut self, problem: Problem) {
        self.problems.push(problem);
    }

    /// What was wrong, with the keys that nobody has asked for.
    pub fn finish(mut self) -> Vec<Problem> {
        for (key, _) in self.table.iter().filter(|(key, _)| !self.asked.contains(&key.get_ref().as_ref())) {
            let at = locate(self.text, key.span().start, ());
            let message = match nearest(key.get_ref(), &self.asked) {
                Some(near) => format!("unknown key `{}`: did you mean `{near}`?", key.get_ref()),
                None => format!("unknown key `{}`: known are {}", key.get_ref(), self.asked.join(", ")),
            };
            self.problems.push(at.problem(message));
        }
        self.problems.sort_by_key(|problem| (problem.line, problem.column));
        self.problems
    }

    fn value(&mut self, key: &'static str) -> Option<&'a Spanned<DeValue<'a>>> {
        if !self.asked.contains(&key) {
            self.asked.push(key);
        }
        self.table.get(key)
    }

    fn as_text(&mut self, value: &Spanned<DeValue<'_>>, wrong: &str) -> Option<Located<String>> {
        match value.get_ref() {
            DeValue::String(text) => Some(locate(self.text, value.span().start, text.to_string())),
            _ => {
                self.note(value.span().start, wrong.to_owned());
                None
            }
        }
    }

    fn note(&mut self, at: usize, message: String) {
        let problem = locate(self.text, at, ()).problem(message);
        self.problems.push(problem);
    }
}

fn locate<T>(text: &str, at: usize, value: T) -> Located<T> {
    let before = text.get(..at).unwrap_or(text);
    let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
    let start = before.rfind('\n').map_or(0, |newline| newline + 1);
    Located { value, line: line as u32, column: before[start..].chars().count() as u32 + 1 }
}

/// The known word that looks most like this one, if any looks like it at all.
pub fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    let allowed = 1 + word.chars().count() / 4;
    let distances = known.iter().map(|known| (distance(word, known), *known));
    distances.min().filter(|(distance, _)| *distance <= allowed).map(|(_, known)| known)
}

/// How many characters have to be added, taken out or replaced to come from one word to the other.
fn distance(one: &str, other: &str) -> usize {
    let mut row: Vec<usize> = (0..=other.chars().count()).collect();
    for (i, a) in one.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in other.chars().enumerate() {
            let replaced = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[row.len() - 1]
}
