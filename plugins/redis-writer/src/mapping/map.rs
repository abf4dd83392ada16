//! One `[[map]]` of the mapping, read and checked as far as that goes without a table's shape.

use mysync_writer_sdk::{Located, Pattern, Problem, Section, Template, json, nearest};

use super::duration;

/// Every key of a `[[map]]`.
const KEYS: [&str; 13] = [
    "table",
    "as",
    "key",
    "columns",
    "exclude",
    "rename",
    "value",
    "member",
    "score",
    "ttl",
    "null",
    "on_delete",
    "on_truncate",
];
const STRUCTURES: [&str; 5] = ["hash", "string", "set", "sorted-set", "list"];
const OMIT: &str = "omit";
const EMPTY: &str = "empty";
const JSON: &str = "json";

/// What becomes of the rows of some tables.
#[derive(Debug)]
pub struct Map {
    pub table: Pattern,
    pub key: Located<Template>,
    pub contents: Contents,
    pub ttl_ms: Option<u64>,
    /// The entries of deleted rows stay.
    pub keeps_deleted: bool,
    /// Tables that are truncated or dropped are no reason to stop.
    pub keeps_truncated: bool,
}

/// What an entry holds of its row.
#[derive(Debug)]
pub enum Contents {
    Hash(Choice),
    Json(Choice),
    Text { value: Located<Template>, null: Null },
    Set { member: Located<Template> },
    SortedSet { member: Located<Template>, score: Located<String> },
    List { member: Located<Template> },
}

/// Which columns an entry holds, and how they are called there.
#[derive(Debug)]
pub struct Choice {
    /// Where it is said, or the whole `[[map]]`.
    pub at: Located<()>,
    /// All columns of the table without it.
    pub columns: Option<Vec<Located<String>>>,
    pub exclude: Vec<Located<String>>,
    /// Column and field.
    pub rename: Vec<(Located<String>, Located<String>)>,
    pub null: Null,
}

/// What NULL becomes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Null {
    /// Nothing: it is left out.
    Omit,
    /// These bytes, as they shall stand in the entry.
    Write(Box<[u8]>),
}

impl Map {
    /// `tables`: those whose rows the host sends at all.
    pub fn read(mut section: Section<'_>, tables: Option<&[Pattern]>) -> Result<Self, Vec<Problem>> {
        let table = section.required_text("table");
        if let Some(table) = &table {
            let name = &table.value;
            if !name.contains(['.', '*']) {
                section.problem(table.problem(format!("`table` names the database too: write \"database.{name}\"")));
            } else if tables.is_some_and(|tables| !name.contains('*') && tables.iter().all(|t| !t.matches(name))) {
                section.problem(
                    table.problem(format!("\"{name}\" is not among the writer's `tables`: no row would come")),
                );
            }
        }
        let key = template(&mut section, "key");
        let contents = contents(&mut section);
        if let (Some(key), Some(Contents::Hash(_) | Contents::Json(_) | Contents::Text { .. })) = (&key, &contents) {
            wants_column(&mut section, "key", key);
        }
        let ttl_ms = section.text("ttl").and_then(|ttl| {
            let ms = duration::milliseconds(&ttl.value);
            if ms.is_none() {
                let message =
                    format!("`ttl = \"{}\"` is no duration: write \"90s\", \"15m\", \"1h\", \"7d\"", ttl.value);
                section.problem(ttl.problem(message));
            }
            ms
        });
        let keeps_deleted = one_of(&mut section, "on_delete", ["remove", "keep"]);
        let keeps_truncated = one_of(&mut section, "on_truncate", ["stop", "keep"]);
        let problems = section.finish();
        match (table, key, contents) {
            (Some(table), Some(key), Some(contents)) if problems.is_empty() => {
                let table = Pattern::new(table.value);
                Ok(Self { table, key, contents, ttl_ms, keeps_deleted, keeps_truncated })
            }
            _ => Err(problems),
        }
    }

    /// The structure, as `as` names it.
    pub fn structure(&self) -> &'static str {
        match self.contents {
            Contents::Hash(_) => "hash",
            Contents::Json(_) | Contents::Text { .. } => "string",
            Contents::Set { .. } => "set",
            Contents::SortedSet { .. } => "sorted-set",
            Contents::List { .. } => "list",
        }
    }

    /// Whether one row would need two structures under one key.
    pub fn clashes_with(&self, other: &Self) -> bool {
        self.key.value == other.key.value && self.structure() != other.structure()
    }
}

fn contents(section: &mut Section<'_>) -> Option<Contents> {
    let structure = section.required_text("as")?;
    let (contents, keys): (Option<Contents>, &[&str]) = match structure.value.as_str() {
        "hash" => {
            let null = null(section, str_bytes).unwrap_or(Null::Omit);
            (Some(Contents::Hash(choice(section, null))), &["columns", "exclude", "rename", "null"])
        }
        "string" => string(section),
        "set" => (template_with_column(section, "member").map(|member| Contents::Set { member }), &["member"]),
        "list" => (template_with_column(section, "member").map(|member| Contents::List { member }), &["member"]),
        "sorted-set" => {
            let member = template_with_column(section, "member");
            let score = section.required_text("score");
            let contents = member.zip(score).map(|(member, score)| Contents::SortedSet { member, score });
            (contents, &["member", "score"])
        }
        other => {
            let hint = match nearest(other, &STRUCTURES) {
                Some(near) => format!("did you mean \"{near}\"?"),
                None => format!("known are {}", STRUCTURES.join(", ")),
            };
            section.problem(structure.problem(format!("unknown structure \"{other}\": {hint}")));
            (None, &KEYS)
        }
    };
    section.know(&KEYS);
    for key in ["columns", "exclude", "rename", "value", "member", "score", "null"] {
        if !keys.contains(&key)
            && let Some(at) = section.key(key)
        {
            let what = match keys {
                ["value", "null"] => "a `value` that is a template".to_owned(),
                _ => format!("`as = \"{}\"`", structure.value),
            };
            section.problem(at.problem(format!("`{key}` does not go with {what}")));
        }
    }
    contents
}

fn string(section: &mut Section<'_>) -> (Option<Contents>, &'static [&'static str]) {
    let is_json = section.text("value").is_some_and(|value| value.value == JSON);
    if is_json {
        let as_json = |text: &str| {
            let mut bytes = Vec::new();
            json::string(text.as_bytes(), &mut bytes);
            bytes
        };
        let null = null(section, as_json).unwrap_or(Null::Write((*b"null").into()));
        (Some(Contents::Json(choice(section, null))), &["value", "null", "columns", "exclude", "rename"])
    } else {
        let null = null(section, str_bytes).unwrap_or(Null::Omit);
        (template(section, "value").map(|value| Contents::Text { value, null }), &["value", "null"])
    }
}

fn choice(section: &mut Section<'_>, null: Null) -> Choice {
    let at = section.key("columns").unwrap_or_else(|| section.here());
    let columns = section.list("columns");
    let exclude = section.list("exclude");
    if let (Some(_), Some(_), Some(at)) = (&columns, &exclude, section.key("exclude")) {
        section.problem(at.problem("`exclude` takes columns out of all: it does not go with `columns`"));
    }
    let rename = section.pairs("rename").unwrap_or_default();
    Choice { at, columns, exclude: exclude.unwrap_or_default(), rename, null }
}

fn null(section: &mut Section<'_>, literal: impl Fn(&str) -> Vec<u8>) -> Option<Null> {
    let text = section.text("null")?.value;
    Some(match text.as_str() {
        OMIT => Null::Omit,
        EMPTY => Null::Write(literal("").into()),
        text => Null::Write(literal(text).into()),
    })
}

fn str_bytes(text: &str) -> Vec<u8> {
    text.as_bytes().to_vec()
}

fn template(section: &mut Section<'_>, key: &'static str) -> Option<Located<Template>> {
    let text = section.required_text(key)?;
    match Template::parse(&text.value) {
        Ok(template) => Some(text.with(template)),
        Err(error) => {
            section.problem(text.problem(format!("`{key} = \"{}\"`: {}", text.value, error.message)));
            None
        }
    }
}

fn template_with_column(section: &mut Section<'_>, key: &'static str) -> Option<Located<Template>> {
    let template = template(section, key)?;
    wants_column(section, key, &template);
    Some(template)
}

fn wants_column(section: &mut Section<'_>, key: &str, template: &Located<Template>) {
    if template.value.columns().next().is_none() {
        section.problem(
            template.problem(format!("`{key}` is the same for every row: put a column in it, as in \"user:{{id}}\"")),
        );
    }
}

/// Whether the second of two words is there; the first is the default.
fn one_of(section: &mut Section<'_>, key: &'static str, words: [&str; 2]) -> bool {
    let Some(word) = section.text(key) else { return false };
    if !words.contains(&word.value.as_str()) {
        section.problem(word.problem(format!("`{key}` is \"{}\" or \"{}\"", words[0], words[1])));
    }
    word.value == words[1]
}
