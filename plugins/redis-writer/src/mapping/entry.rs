//! A `[[map]]` bound to a table's shape: what its rows become, with every name looked up and every text made beforehand.

use mysync_writer_sdk::{
    BoundTemplate, Commands, Image, Located, Name, Operation, Place, Plan, Problem, Row, Template, Value, absent, json,
    nearest,
};

use super::map::{Choice, Contents, Map, Null};

/// Kinds of columns whose values are numbers.
const NUMERIC: [&str; 10] =
    ["tinyint", "smallint", "mediumint", "int", "bigint", "year", "bit", "float", "double", "decimal"];
/// Kinds of columns that travel as text and stand in JSON as they are.
const JSON_ALREADY: [&str; 2] = ["decimal", "json"];

/// What one map makes of the rows of one shape.
#[derive(Debug)]
pub struct Entry {
    key: BoundTemplate,
    kept: Kept,
    /// The columns that the entry's name is made of, its member's included.
    named_by: Vec<Place>,
    ttl_ms: Option<u64>,
    keeps_deleted: bool,
    keeps_truncated: bool,
}

/// What is kept under the key.
#[derive(Debug)]
enum Kept {
    Hash { fields: Vec<Field>, null: Null },
    Json { fields: Vec<Field>, null: Null },
    Text { value: BoundTemplate, null: Null },
    Set { member: BoundTemplate },
    SortedSet { member: BoundTemplate, score: Place },
    List { member: BoundTemplate },
}

#[derive(Debug)]
struct Field {
    place: Place,
    /// As it stands in the entry; for JSON with quotes and colon.
    name: Box<[u8]>,
    /// JSON: the text goes in as it is.
    verbatim: bool,
}

impl Entry {
    pub fn bind(map: &Map, plan: &mut Plan<'_>) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        let key = bind(&map.key, plan, &mut problems);
        let kept = match &map.contents {
            Contents::Hash(choice) => choose(choice, plan, &mut problems, |name| name.as_bytes().to_vec())
                .map(|fields| Kept::Hash { fields, null: choice.null.clone() }),
            Contents::Json(choice) => choose(choice, plan, &mut problems, |name| {
                let mut bytes = Vec::new();
                json::string(name.as_bytes(), &mut bytes);
                bytes.push(b':');
                bytes
            })
            .map(|fields| Kept::Json { fields, null: choice.null.clone() }),
            Contents::Text { value, null } => {
                bind(value, plan, &mut problems).map(|value| Kept::Text { value, null: null.clone() })
            }
            Contents::Set { member } => bind(member, plan, &mut problems).map(|member| Kept::Set { member }),
            Contents::List { member } => bind(member, plan, &mut problems).map(|member| Kept::List { member }),
            Contents::SortedSet { member, score } => {
                let member = bind(member, plan, &mut problems);
                let score = number(score, plan, &mut problems);
                member.zip(score).map(|(member, score)| Kept::SortedSet { member, score })
            }
        };
        let (Some(key), Some(kept)) = (key, kept) else { return Err(problems) };
        if !problems.is_empty() {
            return Err(problems);
        }
        let mut named_by: Vec<Place> = key.places().chain(kept.member().into_iter().flat_map(|m| m.places())).collect();
        named_by.sort();
        named_by.dedup();
        plan.names_entry(&named_by);
        let Map { ttl_ms, keeps_deleted, keeps_truncated, .. } = *map;
        Ok(Self { key, kept, named_by, ttl_ms, keeps_deleted, keeps_truncated })
    }

    pub fn keeps_truncated(&self) -> bool {
        self.keeps_truncated
    }

    #[inline]
    pub fn row(&self, row: &Row<'_>, out: &mut Commands) -> Result<(), String> {
        let (before, after) = (row.before(), row.after());
        let image = |image: Option<_>, which: &str| image.ok_or_else(|| format!("the row has no {which} image"));
        match row.operation() {
            Operation::Insert | Operation::Read | Operation::MoveIn => {
                self.write(image(after, "after")?, row, true, out)
            }
            Operation::Update => {
                let after = image(after, "after")?;
                let moved = before.is_some_and(|before| self.moves(before, after));
                if let Some(before) = before.filter(|_| moved) {
                    self.remove(before, out)?;
                }
                self.write(after, row, moved, out)
            }
            Operation::Delete if self.keeps_deleted => Ok(()),
            Operation::Delete => self.remove(image(before, "before")?, out),
            Operation::MoveOut => {
                let before = image(before, "before")?;
                // Where only columns have changed that the name has not, the other half writes the same entry.
                if after.is_some_and(|after| !self.moves(before, after)) {
                    return Ok(());
                }
                self.remove(before, out)
            }
        }
    }

    fn moves(&self, before: Image<'_>, after: Image<'_>) -> bool {
        self.named_by.iter().any(|place| before.get(*place) != after.get(*place))
    }

    /// Makes the entry what it is to be for this image. `whole`: what was there is not known to be this row's, so every value is needed.
    #[inline]
    fn write(&self, image: Image<'_>, row: &Row<'_>, whole: bool, out: &mut Commands) -> Result<(), String> {
        let Some(key) = self.key.name(image)? else { return Ok(()) };
        let written = match &self.kept {
            Kept::Hash { fields, null } => write_hash(key, fields, null, image, whole, out)?,
            Kept::Json { fields, null } => write_json(key, fields, null, image, out)?,
            Kept::Text { value, null } => match (value.name(image)?, null) {
                (Some(value), _) => {
                    out.set(key, value);
                    true
                }
                (None, Null::Write(bytes)) => {
                    out.set(key, &**bytes);
                    true
                }
                (None, Null::Omit) => {
                    out.del(key);
                    false
                }
            },
            Kept::Set { member } => {
                let Some(member) = member.name(image)? else { return Ok(()) };
                out.sadd(key, member);
                true
            }
            Kept::SortedSet { member, score } => {
                let Some(member) = member.name(image)? else { return Ok(()) };
                match image.get(*score) {
                    Value::Absent => return Err(absent(image.name_of(*score))),
                    Value::Null => {
                        out.zrem(key, member);
                        false
                    }
                    score => {
                        out.zadd(key, score, member);
                        true
                    }
                }
            }
            Kept::List { member } => {
                let Some(member) = member.name(image)? else { return Ok(()) };
                out.to_end(key, member);
                true
            }
        };
        if let Some(ttl_ms) = self.ttl_ms.filter(|_| written) {
            out.expire_at(key, row.committed_us() / 1000 + ttl_ms);
        }
        Ok(())
    }

    /// Takes away what the image stands for.
    fn remove(&self, image: Image<'_>, out: &mut Commands) -> Result<(), String> {
        let Some(key) = self.key.name(image)? else { return Ok(()) };
        let Some(member) = self.kept.member() else {
            out.del(key);
            return Ok(());
        };
        let Some(member) = member.name(image)? else { return Ok(()) };
        match &self.kept {
            Kept::SortedSet { .. } => out.zrem(key, member),
            Kept::List { .. } => out.lrem(key, member),
            _ => out.srem(key, member),
        }
        Ok(())
    }
}

impl Kept {
    /// The template of a row's own part of an entry that rows share.
    fn member(&self) -> Option<&BoundTemplate> {
        match self {
            Kept::Set { member } | Kept::SortedSet { member, .. } | Kept::List { member } => Some(member),
            Kept::Hash { .. } | Kept::Json { .. } | Kept::Text { .. } => None,
        }
    }
}

/// Writes the fields that have a value and removes those that are NULL. Answers whether the entry has fields now.
#[inline]
fn write_hash(
    key: Name<'_>,
    fields: &[Field],
    null: &Null,
    image: Image<'_>,
    whole: bool,
    out: &mut Commands,
) -> Result<bool, String> {
    let start = out.mark();
    let (mut written, mut missing) = (0, 0);
    let mut command = out.hset(key);
    for Field { place, name, .. } in fields {
        match (image.get(*place), null) {
            (Value::Absent, _) if whole => return Err(absent(image.name_of(*place))),
            (Value::Absent, _) => {}
            (Value::Null, Null::Omit) => missing += 1,
            (Value::Null, Null::Write(bytes)) => {
                command.push(&**name).push(&**bytes);
                written += 1;
            }
            (value, _) => {
                command.push(&**name).push(value);
                written += 1;
            }
        }
    }
    if written == 0 {
        out.undo(start);
    }
    if missing > 0 {
        let mut command = out.hdel(key);
        for Field { name, .. } in fields.iter().filter(|field| image.get(field.place).is_null()) {
            command.push(&**name);
        }
    }
    Ok(written > 0)
}

fn write_json(
    key: Name<'_>,
    fields: &[Field],
    null: &Null,
    image: Image<'_>,
    out: &mut Commands,
) -> Result<bool, String> {
    if let Some(field) = fields.iter().find(|field| image.get(field.place).is_absent()) {
        return Err(absent(image.name_of(field.place)));
    }
    out.command("SET").push(key).push_with(|out| {
        out.push(b'{');
        let mut first = true;
        for Field { place, name, verbatim } in fields {
            let value = image.get(*place);
            if value.is_null() && *null == Null::Omit {
                continue;
            }
            if !first {
                out.push(b',');
            }
            first = false;
            out.extend_from_slice(name);
            match (value, null) {
                (Value::Null, Null::Write(bytes)) => out.extend_from_slice(bytes),
                (Value::Text(text), _) if *verbatim => out.extend_from_slice(text),
                (value, _) => json::value(value, out),
            }
        }
        out.push(b'}');
    });
    Ok(true)
}

fn bind(template: &Located<Template>, plan: &mut Plan<'_>, problems: &mut Vec<Problem>) -> Option<BoundTemplate> {
    match template.value.bind(plan) {
        Ok(bound) => Some(bound),
        Err(column) => {
            problems.push(unknown(&template.with(column), plan));
            None
        }
    }
}

fn number(column: &Located<String>, plan: &mut Plan<'_>, problems: &mut Vec<Problem>) -> Option<Place> {
    let Some(place) = plan.column(&column.value) else {
        problems.push(unknown(column, plan));
        return None;
    };
    let kind = kind(plan, &column.value);
    if !NUMERIC.contains(&kind) {
        problems.push(column.problem(format!("`score` is a number, and `{}` is {kind}", column.value)));
        return None;
    }
    Some(place)
}

/// The columns that an entry holds, in order, as the entry calls them.
fn choose(
    choice: &Choice,
    plan: &mut Plan<'_>,
    problems: &mut Vec<Problem>,
    write: impl Fn(&str) -> Vec<u8>,
) -> Option<Vec<Field>> {
    let here = problems.len();
    let schema = plan.schema();
    let exists = |name: &str| schema.columns.iter().any(|column| column.name == name);
    let named =
        choice.columns.iter().flatten().chain(&choice.exclude).chain(choice.rename.iter().map(|(from, _)| from));
    problems.extend(named.filter(|column| !exists(&column.value)).map(|column| unknown(column, plan)));
    if problems.len() > here {
        return None;
    }
    let columns: Vec<Located<String>> = match &choice.columns {
        Some(columns) => columns.clone(),
        None => {
            let all = schema.columns.iter().map(|column| choice.at.with(column.name.clone()));
            all.filter(|column| choice.exclude.iter().all(|exclude| exclude.value != column.value)).collect()
        }
    };
    if columns.is_empty() {
        problems.push(choice.at.problem("no column is left for the entry"));
    }
    for (from, _) in choice.rename.iter().filter(|(from, _)| columns.iter().all(|column| column.value != from.value)) {
        problems
            .push(from.problem(format!("`{}` is renamed, but it is not among the columns of the entry", from.value)));
    }
    let mut names: Vec<String> = Vec::new();
    let mut fields = Vec::new();
    for column in columns {
        let renamed = choice.rename.iter().find(|(from, _)| from.value == column.value).map(|(_, to)| to);
        let name = renamed.unwrap_or(&column);
        if names.contains(&name.value) {
            // Without `columns` only the new name of the two stands in the text.
            let at = choice.rename.iter().map(|(_, to)| to).find(|to| to.value == name.value).unwrap_or(name);
            problems.push(at.problem(format!("the entry has a field `{}` already", name.value)));
        }
        names.push(name.value.clone());
        let verbatim = JSON_ALREADY.contains(&kind(plan, &column.value));
        let place = plan.column(&column.value)?;
        fields.push(Field { place, name: write(&name.value).into(), verbatim });
    }
    (problems.len() == here).then_some(fields)
}

fn kind<'a>(plan: &Plan<'a>, column: &str) -> &'a str {
    plan.schema().columns.iter().find(|known| known.name == column).map_or("", |column| &column.kind)
}

fn unknown(column: &Located<String>, plan: &Plan<'_>) -> Problem {
    let schema = plan.schema();
    let names: Vec<&str> = schema.columns.iter().map(|column| column.name.as_str()).collect();
    let hint = nearest(&column.value, &names).map(|near| format!(": did you mean `{near}`?")).unwrap_or_default();
    column.problem(format!("{}.{} has no column `{}`{hint}", schema.database, schema.name, column.value))
}
