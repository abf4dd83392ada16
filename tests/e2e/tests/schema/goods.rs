//! A table that is altered, its mappings, and what they make of its rows: worked out as the rows are written, from what SELECT says then.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail, ensure};
use mysql_async::{Row, Value};
use mysync_e2e_tests::World;
use mysync_e2e_tests::compare::{Entries, Entry, actual, differences};
use mysync_test_support::{Mysql, until};

pub const TABLE: &str = "CREATE TABLE shop.goods (id INT PRIMARY KEY, name VARCHAR(20) NOT NULL, price DECIMAL(10,2), \
                         stock INT NOT NULL DEFAULT 0) DEFAULT CHARSET = utf8mb4";

/// All columns twice, those that are never altered away, and a set whose members move. A dump would show what ALTER alone does to rows.
pub const WRITER: &str = r#"
component = "redis-writer.wasm"
connector = "cache"
dump = "never"
tables = ["shop.goods"]

[[map]]
table = "shop.goods"
as = "hash"
key = "goods:{id}"

[[map]]
table = "shop.goods"
as = "string"
key = "goods:json:{id}"
value = "json"

[[map]]
table = "shop.goods"
as = "hash"
key = "goods:few:{id}"
columns = ["stock", "name"]

[[map]]
table = "shop.goods"
as = "set"
key = "goods:named:{name}"
member = "{id}"
"#;

/// What a row holds, by column, in words and as JSON.
pub type Columns = Vec<(String, Option<String>, serde_json::Value)>;

/// What the entries are to be.
#[derive(Default)]
pub struct Shelf {
    entries: Entries,
    names: BTreeMap<i64, String>,
}

impl Shelf {
    /// Commits statements, and writes on what they have made of these rows.
    pub async fn commit(&mut self, mysql: &Mysql, statements: &str, ids: &[i64]) -> Result<()> {
        mysql.exec(statements).await?;
        for id in ids {
            let rows = select(mysql, &format!("SELECT * FROM shop.goods WHERE id = {id}")).await?;
            self.remove_name(*id);
            match rows.first() {
                Some(row) => self.put(*id, row)?,
                None => {
                    for kind in ["goods", "goods:json", "goods:few"] {
                        self.entries.remove(&format!("{kind}:{id}"));
                    }
                }
            }
        }
        Ok(())
    }

    fn put(&mut self, id: i64, row: &Columns) -> Result<()> {
        // Fields of columns that the table has no more stay: a row that is written says nothing of them.
        let all = row.iter().map(|(name, value, _)| (name.as_str(), value));
        put_fields(&mut self.entries, format!("goods:{id}"), all.clone())?;
        put_fields(
            &mut self.entries,
            format!("goods:few:{id}"),
            all.filter(|(name, _)| ["stock", "name"].contains(name)),
        )?;
        let document = row.iter().map(|(name, _, value)| (name.clone(), value.clone())).collect();
        self.entries.insert(format!("goods:json:{id}"), Entry::Json(serde_json::Value::Object(document)));
        let name = row.iter().find(|(name, ..)| name == "name").and_then(|(_, name, _)| name.clone());
        let name = name.context("a row without a name")?;
        let named = self.entries.entry(format!("goods:named:{name}")).or_insert_with(|| Entry::Set(BTreeSet::new()));
        if let Entry::Set(named) = named {
            named.insert(id.to_string());
        }
        self.names.insert(id, name);
        Ok(())
    }

    fn remove_name(&mut self, id: i64) {
        let Some(name) = self.names.remove(&id) else { return };
        let key = format!("goods:named:{name}");
        if let Some(Entry::Set(named)) = self.entries.get_mut(&key) {
            named.remove(&id.to_string());
            if named.is_empty() {
                self.entries.remove(&key);
            }
        }
    }

    /// Waits until Redis holds just that.
    pub async fn wait(&self, world: &World) -> Result<()> {
        wait_entries(world, &self.entries).await
    }
}

/// A hash keeps what it is not told of; NULL is a field less.
fn put_fields<'a>(
    entries: &mut Entries,
    key: String,
    columns: impl Iterator<Item = (&'a str, &'a Option<String>)>,
) -> Result<()> {
    let Entry::Hash(fields) = entries.entry(key).or_insert_with(|| Entry::Hash(BTreeMap::new())) else {
        bail!("it is no hash");
    };
    for (name, value) in columns {
        match value {
            Some(value) => fields.insert(name.to_owned(), value.clone()),
            None => fields.remove(name),
        };
    }
    Ok(())
}

/// Rows as SELECT shows them.
pub async fn select(mysql: &Mysql, query: &str) -> Result<Vec<Columns>> {
    mysql.query::<Row>(query).await?.iter().map(columns).collect()
}

fn columns(row: &Row) -> Result<Columns> {
    let column = |(at, column): (usize, &mysql_async::Column)| {
        let text = match row.as_ref(at).context("a column is gone")? {
            Value::NULL => None,
            Value::Bytes(bytes) => Some(String::from_utf8(bytes.clone())?),
            other => bail!("SELECT answers {other:?}"),
        };
        let json = match &text {
            None => serde_json::Value::Null,
            Some(number) if column.column_type().is_numeric_type() => serde_json::from_str(number)?,
            Some(text) => text.as_str().into(),
        };
        Ok((column.name_str().into_owned(), text, json))
    };
    row.columns_ref().iter().enumerate().map(column).collect()
}

/// Waits until Redis holds just these entries, beside orders.
pub async fn wait_entries(world: &World, expected: &Entries) -> Result<()> {
    until("Redis holds what the rows were", async || {
        let mut actual = actual(&mut world.redis.conn()?)?;
        actual.retain(|key, _| !key.starts_with("order:"));
        let found = differences(expected, &actual);
        ensure!(found.is_empty(), "{}", found.join("\n"));
        Ok(())
    })
    .await
}

/// The hash that these fields make.
pub fn hash(fields: &[(&str, &str)]) -> Entry {
    Entry::Hash(fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
}
