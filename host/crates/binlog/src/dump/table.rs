//! Tables as a dump reads them.

use std::fmt;

use mysync_change::pattern::Pattern;
use mysync_change::schema::{Fingerprint, TableShape};

use super::DumpError;
use super::columns::{self, Described, Key, name, quoted};
use super::paging::Paging;
use super::values::{RowReader, Selected as SelectedColumn};
use crate::connection::Connection;
use crate::plan::{Plan, Selection};
use crate::source::Selected;
use crate::table_map::ColumnKind;

/// The server's own databases, which hold nothing of an application's: accounts, say.
const SYSTEM: [&str; 4] = ["mysql", "information_schema", "performance_schema", "sys"];

/// A table's name. Both parts may hold dots.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TableName {
    pub database: String,
    pub table: String,
}

impl TableName {
    pub fn lowered(&self) -> Self {
        Self { database: self.database.to_lowercase(), table: self.table.to_lowercase() }
    }
}

/// `database.table`.
impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.database, self.table)
    }
}

/// A table as a dump reads it.
#[derive(Debug)]
pub struct DumpTable {
    rows: RowReader,
    /// `SELECT … FROM …`, without what is behind it.
    select: String,
    paging: Option<Paging>,
    /// See [`DumpTable::key`].
    key: String,
    definition: Definition,
}

/// What information_schema says of a table.
#[derive(Debug, PartialEq, Eq)]
struct Definition {
    columns: Vec<Described>,
    key: Option<Key>,
}

impl Definition {
    async fn read(connection: &mut Connection, database: &str, table: &str) -> Result<Option<Self>, DumpError> {
        let columns = columns::columns(connection, database, table).await?;
        if columns.is_empty() {
            return Ok(None);
        }
        match columns::key(connection, database, table, &columns).await {
            Ok(key) => Ok(Some(Self { columns, key })),
            Err(error) => match DumpError::of(error, database, table, connection).await {
                DumpError::Altered { .. } => Ok(None),
                error => Err(error),
            },
        }
    }

    /// One text for the key: whatever the order of its rows goes by.
    fn key_text(&self) -> String {
        let parts = self.key.iter().flat_map(|key| &key.parts);
        let texts = parts.filter_map(|part| {
            let column = self.columns.get(part.column)?;
            let collation = column.collation.as_deref().unwrap_or("binary");
            let order = if part.descends { " desc" } else { "" };
            Some(format!("{} {} {collation}{order}", name(&column.name), column.declared))
        });
        texts.collect::<Vec<_>>().join(", ")
    }
}

impl DumpTable {
    /// `None`: there is no such table (any more).
    pub async fn read(
        connection: &mut Connection,
        database: &str,
        table: &str,
        selected: &Selected,
    ) -> Result<Option<Self>, DumpError> {
        match Definition::read(connection, database, table).await? {
            Some(definition) => Self::of(definition, database, table, selected).map(Some),
            None => Ok(None),
        }
    }

    fn of(definition: Definition, database: &str, table: &str, selected: &Selected) -> Result<Self, DumpError> {
        let unknown = |column: &Described| DumpError::Type {
            table: format!("{database}.{table}"),
            column: column.name.clone(),
            kind: column.kind.clone(),
        };
        let mapped = definition.columns.iter().map(|column| column.mapped().ok_or_else(|| unknown(column)));
        let mapped = mapped.collect::<Result<Vec<_>, _>>()?;
        let parts: &[_] = definition.key.as_ref().map_or(&[], |key| &key.parts);
        let places: Vec<(usize, u64)> = parts.iter().map(|part| (part.column, part.prefix)).collect();
        let wanted = |column: &str| selected.column(database, table, column);
        let plan = Plan::of(database, table, &mapped, &places, wanted).map_err(DumpError::Table)?;
        let paging = definition.key.as_ref().and_then(|key| Paging::new(key, &definition.columns));
        let (mut list, mut columns) = (Vec::new(), Vec::new());
        for (column, step) in mapped.iter().zip(plan.steps()) {
            if let Some(convert) = &step.convert {
                list.push(name(column.name));
                columns.push(SelectedColumn::new(&column.kind, convert));
            }
        }
        let mut numbers = Vec::new();
        for (at, part) in parts.iter().enumerate().filter(|_| paging.is_some()) {
            let column = mapped.get(part.column);
            if let Some(column) = column.filter(|c| matches!(c.kind, ColumnKind::Enum { .. } | ColumnKind::Set { .. }))
            {
                list.push(format!("CAST({} AS UNSIGNED)", name(column.name)));
                numbers.push(at as u16);
            }
        }
        if list.is_empty() {
            list.push("1".to_owned());
        }
        let select = format!("SELECT {} FROM {}.{}", list.join(", "), name(database), name(table));
        let key = definition.key_text();
        Ok(Self { rows: RowReader::new(plan, columns, numbers), select, paging, key, definition })
    }

    pub fn shape(&self) -> &TableShape {
        self.rows.plan().shape()
    }

    pub fn fingerprint(&self) -> Fingerprint {
        self.rows.plan().fingerprint()
    }

    /// Whether it can be read in parts. If not: all of it is one chunk.
    pub fn has_parts(&self) -> bool {
        self.paging.is_some()
    }

    /// The key's columns with their types and collations: tables of equal texts are in the same order, so a place in one is one in the other.
    pub fn key(&self) -> &str {
        &self.key
    }

    pub(super) fn rows(&self) -> &RowReader {
        &self.rows
    }

    pub(super) fn paging(&self) -> Option<&Paging> {
        self.paging.as_ref()
    }

    /// The statement that reads `rows` rows behind `after`.
    pub(super) fn statement(&self, after: Option<&[String]>, rows: u64) -> String {
        let clauses = self.paging.as_ref().map(|paging| paging.clauses(after)).unwrap_or_default();
        format!("{}{clauses} LIMIT {rows}", self.select)
    }

    /// Whether its definition is the same as when it was read.
    pub(super) async fn is_current(&self, connection: &mut Connection) -> Result<bool, DumpError> {
        let TableShape { database, name, .. } = self.shape();
        Ok(Definition::read(connection, database, name).await?.is_some_and(|now| now == self.definition))
    }
}

/// The tables that are captured and match one of `tables`, in order of their full names' bytes, each with the server's estimate of its rows.
/// Tables that the account has no privilege on are not among them: the server does not show them.
pub async fn tables(
    connection: &mut Connection,
    selected: &Selected,
    tables: &[Pattern],
) -> Result<Vec<(TableName, u64)>, DumpError> {
    let databases = connection.query("SELECT SCHEMA_NAME FROM information_schema.SCHEMATA").await?;
    let mut found = Vec::new();
    for database in databases.firsts().filter(|name| !SYSTEM.contains(name) && selected.may_capture_of(name)) {
        let names = connection
            .query(&format!(
                "SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA = {} AND TABLE_TYPE = 'BASE TABLE'",
                quoted(database)
            ))
            .await?;
        for table in names.firsts().filter(|table| selected.table(database, table)) {
            let name = TableName { database: database.to_owned(), table: table.to_owned() };
            let full = name.to_string();
            if tables.iter().any(|pattern| pattern.matches(full.as_bytes())) {
                found.push((full, name));
            }
        }
    }
    found.sort_by(|(one, _), (other, _)| one.cmp(other));
    let mut with_rows = Vec::with_capacity(found.len());
    for (_, name) in found {
        let rows = estimate(connection, &name).await?;
        with_rows.push((name, rows));
    }
    Ok(with_rows)
}

async fn estimate(connection: &mut Connection, name: &TableName) -> Result<u64, DumpError> {
    let (database, table) = (quoted(&name.database), quoted(&name.table));
    let query = format!(
        "SELECT TABLE_ROWS FROM information_schema.TABLES WHERE TABLE_SCHEMA = {database} AND TABLE_NAME = {table}"
    );
    let rows = connection.query(&query).await?;
    Ok(rows.first().and_then(|rows| rows.parse().ok()).unwrap_or(0))
}

/// Sets up a session that reads tables: each statement sees what is committed when it begins, text comes in its columns' own charsets, times
/// in UTC, and no value of the server's configuration ends a statement that takes long, or the session while the stream is waited for.
pub async fn prepare(connection: &mut Connection) -> Result<(), DumpError> {
    connection
        .query(
            "SET SESSION time_zone = '+00:00', SESSION sql_mode = '', SESSION character_set_results = NULL, SESSION autocommit = 1, \
             SESSION transaction_isolation = 'READ-COMMITTED', SESSION max_execution_time = 0, SESSION sql_select_limit = 18446744073709551615, SESSION sql_safe_updates = 0, SESSION lock_wait_timeout = 60, \
             SESSION information_schema_stats_expiry = 0, SESSION net_read_timeout = 600, SESSION net_write_timeout = 600, \
             SESSION wait_timeout = 86400",
        )
        .await?;
    Ok(())
}
