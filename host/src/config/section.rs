//! A TOML table that is read key by key: every value knows its line, and no key is left over.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use mysync_change::pattern::Pattern;
use toml::de::{DeTable, DeValue};

use super::error::{ConfigError, Mistake};
use super::secret::{Variables, expand};
use super::url::{Url, encode, split_login};

/// Share of equal letters from which a key is taken for a misspelling of another.
const SIMILAR: f64 = 0.75;

/// The file that values come from.
#[derive(Clone, Copy)]
pub struct Origin<'a> {
    pub path: &'a Path,
    pub text: &'a str,
    /// None: texts are taken as they are. The files of teams must not reach for the operator's secrets.
    pub variables: Option<Variables<'a>>,
}

impl Origin<'_> {
    /// The folder that relative paths start from.
    pub fn base(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new(""))
    }

    pub fn error(&self, mistake: Mistake, at: usize, message: impl Into<String>) -> ConfigError {
        let before = self.text.as_bytes().get(..at).unwrap_or(self.text.as_bytes());
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        ConfigError { mistake, path: self.path.to_owned(), line: Some(line), message: message.into() }
    }

    /// A syntax error without the line it quotes, which may hold a password.
    pub fn syntax(&self, error: &toml::de::Error) -> ConfigError {
        let at = error.span().map_or(0, |span| span.start);
        self.error(Mistake::Syntax, at, format!("this is no TOML: {}", error.message()))
    }
}

/// A table and what has been asked of it.
pub struct Section<'a> {
    origin: Origin<'a>,
    /// As it stands in the file: `[source]`.
    name: String,
    at: usize,
    table: &'a DeTable<'a>,
    known: Vec<&'static str>,
}

impl<'a> Section<'a> {
    pub fn root(origin: Origin<'a>, table: &'a DeTable<'a>) -> Self {
        Self { origin, name: "the file".to_owned(), at: 0, table, known: Vec::new() }
    }

    pub fn get(&mut self, key: &'static str) -> Option<Value<'a>> {
        self.known.push(key);
        self.foreign(key)
    }

    pub fn required(&mut self, key: &'static str) -> Result<Value<'a>, ConfigError> {
        self.get(key).ok_or_else(|| {
            let similar = nearest(key, self.table.keys().map(|key| key.get_ref().as_ref()));
            let hint = similar.map_or_else(String::new, |similar| format!(" (is `{similar}` meant to be it?)"));
            self.error(Mistake::Missing, format!("{} needs `{key}`{hint}", self.name))
        })
    }

    /// A key that does not belong here and is refused by name: no message offers it.
    pub fn foreign(&self, key: &str) -> Option<Value<'a>> {
        let value = self.table.get(key)?;
        Some(Value { origin: self.origin, name: key.to_owned(), at: value.span().start, value: value.get_ref() })
    }

    /// All entries, for tables whose keys are names.
    pub fn entries(&self) -> impl Iterator<Item = (&'a str, Value<'a>)> {
        let origin = self.origin;
        self.table.iter().map(move |(key, value)| {
            let name: &str = key.get_ref().as_ref();
            (name, Value { origin, name: name.to_owned(), at: key.span().start, value: value.get_ref() })
        })
    }

    pub fn error(&self, mistake: Mistake, message: impl Into<String>) -> ConfigError {
        self.origin.error(mistake, self.at, message)
    }

    /// Refuses keys that nobody asked for.
    pub fn finish(self) -> Result<(), ConfigError> {
        let mut unknown = self.table.keys().filter(|key| !self.known.contains(&key.get_ref().as_ref()));
        let Some(key) = unknown.next() else { return Ok(()) };
        let (name, at) = (key.get_ref(), key.span().start);
        let hint = match nearest(name, self.known.iter().copied()) {
            Some(similar) => format!("did you mean `{similar}`?"),
            None => format!("known are {}", self.known.join(", ")),
        };
        Err(self.origin.error(Mistake::UnknownKey, at, format!("{} has no key `{name}`: {hint}", self.name)))
    }
}

fn nearest<'n>(name: &str, known: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    let scored = known.map(|other| (strsim::normalized_damerau_levenshtein(name, other), other));
    let contained = scored.map(|(score, other)| {
        let inside = name.len() > 2 && other.len() > 2 && (other.starts_with(name) || name.starts_with(other));
        (if inside { score.max(SIMILAR) } else { score }, other)
    });
    contained.filter(|(score, _)| *score >= SIMILAR - 0.15).max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, other)| other)
}

/// A value and its place.
pub struct Value<'a> {
    origin: Origin<'a>,
    name: String,
    at: usize,
    value: &'a DeValue<'a>,
}

impl<'a> Value<'a> {
    pub fn error(&self, mistake: Mistake, message: impl fmt::Display) -> ConfigError {
        self.origin.error(mistake, self.at, format!("`{}` {message}", self.name))
    }

    pub fn wrong(&self, message: impl fmt::Display) -> ConfigError {
        self.error(Mistake::Value, message)
    }

    fn is_no(&self, expected: &str) -> ConfigError {
        self.wrong(format!("is of type {} and must be {expected}", self.value.type_str()))
    }

    fn raw(&self) -> Result<&'a str, ConfigError> {
        match self.value {
            DeValue::String(text) => Ok(text.as_ref()),
            _ => Err(self.is_no("a text in quotes")),
        }
    }

    /// A text with its variables put in.
    pub fn text(&self) -> Result<String, ConfigError> {
        self.expanded(self.raw()?, |value| value)
    }

    /// The same, with something in it.
    pub fn filled(&self) -> Result<String, ConfigError> {
        match self.text()? {
            text if text.is_empty() => Err(self.wrong("is empty")),
            text => Ok(text),
        }
    }

    fn expanded(&self, text: &str, each: impl Fn(String) -> String) -> Result<String, ConfigError> {
        match self.origin.variables {
            None => Ok(text.to_owned()),
            Some(variables) => expand(text, self.origin.base(), variables, each)
                .map_err(|message| self.error(Mistake::Secret, message)),
        }
    }

    /// A URL. What variables put into its user or password is taken as it is, whatever characters it has.
    pub fn url(&self, schemes: &[&str]) -> Result<Url, ConfigError> {
        let (login, rest) = split_login(self.raw()?);
        let text = self.expanded(login, |value| encode(&value))? + &self.expanded(rest, |value| value)?;
        Url::parse(&text, schemes).map_err(|message| self.wrong(message))
    }

    /// A text that some other type reads. The error quotes the text as it stands in the file.
    pub fn parse<T>(&self, read: impl Fn(&str) -> Result<T, String>) -> Result<T, ConfigError> {
        let text = self.text()?;
        read(&text).map_err(|message| match self.raw() {
            Ok(raw) if raw != text => self.wrong(message.replace(&text, raw)),
            _ => self.wrong(message),
        })
    }

    pub fn path(&self) -> Result<std::path::PathBuf, ConfigError> {
        match self.text()? {
            text if text.is_empty() => Err(self.wrong("is empty and must be a path")),
            text => Ok(self.origin.base().join(text)),
        }
    }

    /// One of a few words.
    pub fn one_of<T: Copy>(&self, words: &[(&str, T)]) -> Result<T, ConfigError> {
        let text = self.text()?;
        words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value).ok_or_else(|| {
            let known: Vec<String> = words.iter().map(|(word, _)| format!("\"{word}\"")).collect();
            let similar = nearest(&text, words.iter().map(|(word, _)| *word));
            let hint = similar.map_or_else(String::new, |word| format!(": did you mean \"{word}\"?"));
            self.wrong(format!("must be one of {}{hint}", known.join(", ")))
        })
    }

    pub fn number<T: FromStr + PartialOrd + fmt::Display>(&self, least: T, most: T) -> Result<T, ConfigError> {
        let DeValue::Integer(number) = self.value else { return Err(self.is_no("a whole number")) };
        match number.as_str().replace('_', "").parse() {
            Ok(number) if number >= least && number <= most => Ok(number),
            _ => Err(self.wrong(format!("must be a number from {least} to {most}"))),
        }
    }

    pub fn flag(&self) -> Result<bool, ConfigError> {
        match self.value {
            DeValue::Boolean(flag) => Ok(*flag),
            _ => Err(self.is_no("true or false")),
        }
    }

    pub fn texts(&self) -> Result<Vec<String>, ConfigError> {
        self.items("a list of texts")?.iter().map(Value::text).collect()
    }

    /// Some of a few words.
    pub fn each_one_of<T: Copy>(&self, words: &[(&str, T)]) -> Result<Vec<T>, ConfigError> {
        self.items("a list of texts")?.iter().map(|item| item.one_of(words)).collect()
    }

    /// Names with `*` in them; at least one.
    pub fn patterns(&self) -> Result<Vec<Pattern>, ConfigError> {
        let texts = self.texts()?;
        if texts.is_empty() {
            return Err(self.wrong("is empty: name at least one, or \"*\" for all"));
        }
        Ok(texts.iter().map(|text| Pattern::new(text)).collect())
    }

    pub fn section(&self, name: &str) -> Result<Section<'a>, ConfigError> {
        match self.value {
            DeValue::Table(table) => {
                Ok(Section { origin: self.origin, name: name.to_owned(), at: self.at, table, known: Vec::new() })
            }
            _ => Err(self.is_no("a table")),
        }
    }

    pub fn sections(&self, name: &str) -> Result<Vec<Section<'a>>, ConfigError> {
        self.items("a list of tables")?.iter().map(|item| item.section(name)).collect()
    }

    fn items(&self, expected: &str) -> Result<Vec<Value<'a>>, ConfigError> {
        let DeValue::Array(items) = self.value else { return Err(self.is_no(expected)) };
        let of = |item: &'a toml::Spanned<DeValue<'a>>| Value {
            origin: self.origin,
            name: self.name.clone(),
            at: item.span().start,
            value: item.get_ref(),
        };
        Ok(items.iter().map(of).collect())
    }
}
