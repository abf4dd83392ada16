//! Any mapping and any changes: at the end Redis holds what the mapping says of what SELECT shows.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use mysql_async::Row as Selected;
use mysql_async::prelude::Queryable;
use mysync_test_support::Random;

use crate::entries::{Entries, Entry, wait_for};
use crate::{started, writer};

const TRANSACTIONS: u64 = 150;
const MAPS: u64 = 12;

/// `turn` grows with every change: it says in which order a list has its members.
const SCHEMA: &str = "CREATE TABLE shop.people (id INT, part VARCHAR(5), name VARCHAR(20), age INT, score DECIMAL(8,2), \
                      weight DOUBLE, turn BIGINT NOT NULL, PRIMARY KEY (part, id)) DEFAULT CHARSET = utf8mb4";
const COLUMNS: [&str; 7] = ["id", "part", "name", "age", "score", "weight", "turn"];
const TEXTS: [&str; 2] = ["part", "name"];
const SCORES: [&str; 4] = ["age", "score", "weight", "turn"];

/// A row, every value as SELECT shows it.
type Row = BTreeMap<&'static str, Option<String>>;

/// One `[[map]]`, made at random.
struct Map {
    key: String,
    kept: Kept,
    null: Option<&'static str>,
}

enum Kept {
    /// Columns, each with its name in the entry.
    Hash(Vec<(&'static str, String)>),
    Json(Vec<(&'static str, String)>),
    Text(String),
    Set(String),
    SortedSet(String, &'static str),
    List(String),
}

impl Map {
    fn random(number: u64, kinds: u64, random: &mut Random) -> Self {
        let null = *random.pick(&[None, None, Some("omit"), Some("empty"), Some("-")]);
        let kind = random.below(kinds);
        // Names that no two rows share.
        let alone = if kind < 3 { ":{id}:{part}" } else { "" };
        let more = random.pick(&["", "", ":{name}", ":{age}", ":{weight}:{{}}"]);
        let key = format!("user:{number}{alone}{more}");
        let member = format!("{{part}}-{{id}}{}", random.pick(&["", "-{name}", "-{weight}"]));
        let kept = match kind {
            0 => Kept::Hash(fields(random)),
            1 => Kept::Json(fields(random)),
            2 => Kept::Text(random.pick(&["{name}", "{age} of {name}", "{{{weight}}}", "{score}"]).to_string()),
            3 => Kept::Set(member),
            4 => Kept::SortedSet(member, random.pick::<&str>(&SCORES)),
            _ => Kept::List(member),
        };
        Self { key, kept, null }
    }

    fn toml(&self) -> String {
        let columns = |fields: &[(&str, String)]| {
            let columns: Vec<&str> = fields.iter().map(|(column, _)| *column).collect();
            let renamed = fields.iter().filter(|(column, name)| column != name);
            let renamed: Vec<String> = renamed.map(|(column, name)| format!("{column} = {name:?}")).collect();
            format!("columns = {columns:?}\nrename = {{ {} }}", renamed.join(", "))
        };
        let (structure, more, takes_null) = match &self.kept {
            Kept::Hash(fields) => ("hash", columns(fields), true),
            Kept::Json(fields) => ("string", format!("value = \"json\"\n{}", columns(fields)), true),
            Kept::Text(value) => ("string", format!("value = {value:?}"), true),
            Kept::Set(member) => ("set", format!("member = {member:?}"), false),
            Kept::SortedSet(member, score) => ("sorted-set", format!("member = {member:?}\nscore = {score:?}"), false),
            Kept::List(member) => ("list", format!("member = {member:?}"), false),
        };
        let null = self.null.filter(|_| takes_null).map(|null| format!("\nnull = {null:?}")).unwrap_or_default();
        format!("as = {structure:?}\nkey = {:?}\n{more}{null}", self.key)
    }

    /// Puts into `entries` what a row becomes. Rows come in the order of their last changes.
    fn add(&self, row: &Row, entries: &mut Entries) -> Result<()> {
        let null = |default| match self.null.unwrap_or(default) {
            "omit" => None,
            "empty" => Some(""),
            text => Some(text),
        };
        let Some(key) = filled(&self.key, row) else { return Ok(()) };
        match &self.kept {
            Kept::Hash(fields) => {
                let value = |column: &str| row[column].clone().or(null("omit").map(str::to_owned));
                let fields = fields.iter().filter_map(|(column, name)| Some((name.clone(), value(column)?)));
                let fields: BTreeMap<String, String> = fields.collect();
                if !fields.is_empty() {
                    entries.insert(key, Entry::Hash(fields));
                }
            }
            Kept::Json(fields) => {
                let quoted = |text: &str| serde_json::Value::from(text).to_string();
                let value = |column: &str| match (&row[column], self.null) {
                    (Some(value), _) if TEXTS.contains(&column) => Some(quoted(value)),
                    (Some(value), _) => Some(value.clone()),
                    (None, None) => Some("null".to_owned()),
                    (None, Some(_)) => null("omit").map(quoted),
                };
                let fields =
                    fields.iter().filter_map(|(column, name)| Some(format!("{}:{}", quoted(name), value(column)?)));
                entries.insert(key, Entry::Text(format!("{{{}}}", fields.collect::<Vec<_>>().join(","))));
            }
            Kept::Text(value) => {
                let text = filled(value, row).or(null("omit").map(str::to_owned));
                entries.extend(text.map(|text| (key, Entry::Text(text))));
            }
            Kept::Set(member) => {
                let Some(member) = filled(member, row) else { return Ok(()) };
                if let Entry::Set(members) = entries.entry(key).or_insert_with(|| Entry::Set([].into())) {
                    members.insert(member);
                }
            }
            Kept::SortedSet(member, score) => {
                let (Some(member), Some(score)) = (filled(member, row), &row[score]) else { return Ok(()) };
                if let Entry::SortedSet(members) = entries.entry(key).or_insert_with(|| Entry::SortedSet([].into())) {
                    members.insert(member, score.parse()?);
                }
            }
            Kept::List(member) => {
                let Some(member) = filled(member, row) else { return Ok(()) };
                if let Entry::List(members) = entries.entry(key).or_insert_with(|| Entry::List(Vec::new())) {
                    members.push(member);
                }
            }
        }
        Ok(())
    }
}

/// Some columns in some order, some of them under other names.
fn fields(random: &mut Random) -> Vec<(&'static str, String)> {
    let mut columns = COLUMNS.to_vec();
    let mut fields = Vec::new();
    for _ in 0..=random.below(COLUMNS.len() as u64) {
        if columns.is_empty() {
            break;
        }
        let column = columns.remove(random.below(columns.len() as u64) as usize);
        let name = if random.chance(30) { format!("the \"{column}\"") } else { column.to_owned() };
        fields.push((column, name));
    }
    fields
}

/// A template with a row's values; none if one of them is NULL.
fn filled(template: &str, row: &Row) -> Option<String> {
    let (mut text, mut rest) = (String::new(), template);
    while let Some(character) = rest.chars().next() {
        let doubled = ["{{", "}}"].iter().any(|brace| rest.starts_with(brace));
        let column = rest.strip_prefix('{').filter(|_| !doubled).and_then(|rest| rest.split_once('}'));
        match column {
            Some((column, behind)) => {
                text += row[column].as_ref()?;
                rest = behind;
            }
            None => {
                text.push(character);
                rest = &rest[if doubled { 2 } else { character.len_utf8() }..];
            }
        }
    }
    Some(text)
}

/// Changes at random. Each statement that writes a row gives it a turn behind all others.
struct Changes {
    random: Random,
    turn: u64,
}

impl Changes {
    fn transaction(&mut self) -> String {
        let mut statements = vec!["BEGIN".to_owned()];
        for _ in 0..=self.random.below(4) {
            self.turn += 1000;
            self.change(&mut statements);
        }
        statements.push(if self.random.chance(10) { "ROLLBACK" } else { "COMMIT" }.to_owned());
        statements.join("; ")
    }

    fn change(&mut self, statements: &mut Vec<String>) {
        let turn = self.turn;
        let (row, other, set) = (self.key(), self.key(), self.values());
        let matching = |(id, part): (u64, &str)| format!("id = {id} AND part = '{part}'");
        let taking = |(id, part): (u64, &str)| format!("id = {id}, part = '{part}'");
        let put = format!("REPLACE INTO shop.people SET {}, {}, turn = {turn}", taking(row), set.join(", "));
        let one = self.random.pick(&set).clone();
        let delete = format!("DELETE FROM shop.people WHERE {}", matching(row));
        let moved = |from, to, turn| {
            format!("UPDATE IGNORE shop.people SET {}, turn = {turn} WHERE {}", taking(to), matching(from))
        };
        match self.random.below(10) {
            0..=2 => statements.push(put),
            3 | 4 => statements.push(format!("UPDATE shop.people SET {one}, turn = {turn} WHERE {}", matching(row))),
            5 => statements.push(delete),
            6 => statements.extend([delete, put]),
            7 => statements.push(moved(row, other, turn)),
            8 => {
                let aside = (99, "x");
                let steps = [(row, aside), (other, row), (aside, other)].into_iter().zip(turn..);
                statements.extend(steps.map(|((from, to), turn)| moved(from, to, turn)));
            }
            _ => statements
                .push(format!("UPDATE shop.people SET {one}, turn = {turn} + 2 * id + (part = 'y') ORDER BY id, part")),
        }
    }

    /// Of few rows, some of which differ in no more than case.
    fn key(&mut self) -> (u64, &'static str) {
        (self.random.below(5), *self.random.pick(&["x", "X", "y"]))
    }

    /// An assignment for each column.
    fn values(&mut self) -> [String; 4] {
        let mut pick = |from: &[&str]| (*self.random.pick(from)).to_owned();
        [
            format!("name = {}", pick(&["NULL", "''", "'Ann'", "'ann'", "'Zoë \"{id}\"'", "'a:b'"])),
            format!("age = {}", pick(&["NULL", "0", "-5", "42"])),
            format!("score = {}", pick(&["NULL", "1.5", "-0.01", "99999"])),
            format!("weight = {}", pick(&["NULL", "0", "-0e0", "0.1", "1e300", "-12.5"])),
        ]
    }
}

async fn check(test: &str, log: &'static str, kinds: u64) -> Result<()> {
    let mut random = Random::from_env();
    let maps: Vec<Map> = (0..MAPS).map(|number| Map::random(number, kinds, &mut random)).collect();
    let texts: Vec<String> = maps.iter().map(Map::toml).collect();
    let text = writer("shop.people", &texts.iter().map(String::as_str).collect::<Vec<_>>());
    let Some((world, mut mysync)) = started(test, SCHEMA, &text, log).await? else { return Ok(()) };
    let mut changes = Changes { random, turn: 0 };
    let mut conn = world.mysql.conn().await?;
    for number in 0..TRANSACTIONS {
        let transaction = changes.transaction();
        conn.query_drop(&transaction).await.context(transaction)?;
        if number == TRANSACTIONS / 2 {
            mysync.kill();
            mysync = world.mysync().await?;
        }
    }
    let shown: Vec<String> = COLUMNS.iter().map(|column| format!("CAST({column} AS CHAR)")).collect();
    let query = format!("SELECT {} FROM shop.people ORDER BY turn", shown.join(", "));
    let rows: Vec<Selected> = conn.query(query).await?;
    conn.disconnect().await?;
    let mut entries = Entries::new();
    for row in &rows {
        let values =
            COLUMNS.iter().enumerate().map(|(at, column)| Ok((*column, row.get_opt(at).context("no value")??)));
        let row = values.collect::<Result<Row>>()?;
        maps.iter().try_for_each(|map| map.add(&row, &mut entries))?;
    }
    println!("{} rows, {} entries", rows.len(), entries.len());
    wait_for(&world, entries).await.context(text)?;
    ensure!(mysync.terminate().await?.success());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn random_changes_become_what_a_random_mapping_says_of_the_rows_that_are_left() -> Result<()> {
    check("random_changes_become_what_a_random_mapping_says_of_the_rows_that_are_left", "", 6).await
}

/// But for lists, whose order is kept within a partition.
#[tokio::test(flavor = "multi_thread")]
async fn random_changes_in_several_partitions_become_what_a_random_mapping_says() -> Result<()> {
    check("random_changes_in_several_partitions_become_what_a_random_mapping_says", "partitions = 3", 5).await
}
