//! Trying a writer outside the sandbox: tables and changes as a test writes them down, and the commands that come of them.
//!
//! A [`Trial`] gives a writer what the host would give it: the columns that its plan names, one list for each, and before images only where
//! they were asked for.

use std::collections::HashMap;

use crate::bindings::mysync::writer::types::{
    Batch, Column, ColumnType, Images, Operation, Packed, TableEvent, TablePlan, TableRows, TableSchema, Transactions,
    Values,
};
use crate::{Problem, Session, Settings, Writer};

/// A value as a test writes it.
#[derive(Debug, Clone, PartialEq)]
pub enum Cell {
    Null,
    Absent,
    Signed(i64),
    Unsigned(u64),
    Double(f64),
    Text(String),
    Bytes(Vec<u8>),
}

macro_rules! cell_from {
    ($($from:ty => $make:expr),* $(,)?) => {
        $(impl From<$from> for Cell {
            fn from(value: $from) -> Self {
                $make(value)
            }
        })*
    };
}

cell_from! {
    i32 => |value| Cell::Signed(i64::from(value)),
    i64 => Cell::Signed,
    u64 => Cell::Unsigned,
    f64 => Cell::Double,
    String => Cell::Text,
    &str => |value: &str| Cell::Text(value.to_owned()),
    &[u8] => |value: &[u8]| Cell::Bytes(value.to_vec()),
}

/// A row's values: `row![1, "Ann", Cell::Null]`.
#[macro_export]
macro_rules! row {
    ($($value:expr),* $(,)?) => {
        vec![$($crate::testing::Cell::from($value)),*]
    };
}

/// Begins a table's shape, named `database.table`.
pub fn table(name: &str) -> Table {
    let (database, name) = name.split_once('.').unwrap_or(("", name));
    let (database, name) = (database.to_owned(), name.to_owned());
    Table(TableSchema { id: 0, database, name, columns: Vec::new(), primary_key: Vec::new() })
}

/// A table's shape.
#[derive(Debug, Clone)]
pub struct Table(TableSchema);

impl Table {
    /// Adds a column; `kind` is MySQL's type without its arguments: `int`, `bigint unsigned`, `varchar`.
    pub fn column(mut self, name: &str, kind: &str) -> Self {
        let (kind, unsigned) = kind.strip_suffix(" unsigned").map_or((kind, false), |kind| (kind, true));
        let attributes = if unsigned { vec![("unsigned".to_owned(), String::new())] } else { Vec::new() };
        let (name, kind) = (name.to_owned(), kind.to_owned());
        self.0.columns.push(ColumnType { name, kind, nullable: true, attributes });
        self
    }

    /// Says what the primary key is.
    pub fn key(mut self, columns: &[&str]) -> Self {
        let place = |name: &&str| self.0.columns.iter().position(|column| column.name == **name).map(|at| at as u16);
        self.0.primary_key = columns.iter().filter_map(place).collect();
        self
    }

    fn name(&self) -> String {
        format!("{}.{}", self.0.database, self.0.name)
    }
}

/// What happens in a batch. Its images hold every column of the table, in order.
#[derive(Debug, Clone)]
pub struct Change {
    table: String,
    what: What,
    committed_us: u64,
}

#[derive(Debug, Clone)]
enum What {
    Row { operation: Operation, before: Option<Vec<Cell>>, after: Option<Vec<Cell>> },
    Event(String),
}

impl Change {
    fn row(table: &str, operation: Operation, before: Option<Vec<Cell>>, after: Option<Vec<Cell>>) -> Self {
        Self { table: table.to_owned(), what: What::Row { operation, before, after }, committed_us: 0 }
    }

    /// When its transaction was committed, in microseconds since 1970.
    pub fn at(mut self, committed_us: u64) -> Self {
        self.committed_us = committed_us;
        self
    }
}

pub fn insert(table: &str, after: Vec<Cell>) -> Change {
    Change::row(table, Operation::Insert, None, Some(after))
}

pub fn read(table: &str, after: Vec<Cell>) -> Change {
    Change::row(table, Operation::Read, None, Some(after))
}

pub fn update(table: &str, before: Vec<Cell>, after: Vec<Cell>) -> Change {
    Change::row(table, Operation::Update, Some(before), Some(after))
}

pub fn delete(table: &str, before: Vec<Cell>) -> Change {
    Change::row(table, Operation::Delete, Some(before), None)
}

/// A changed key: both halves, one after the other.
pub fn change_key(table: &str, before: Vec<Cell>, after: Vec<Cell>) -> [Change; 2] {
    [Operation::MoveOut, Operation::MoveIn]
        .map(|half| Change::row(table, half, Some(before.clone()), Some(after.clone())))
}

/// `truncate`, `drop` or `rename`.
pub fn event(table: &str, kind: &str) -> Change {
    Change { table: table.to_owned(), what: What::Event(kind.to_owned()), committed_us: 0 }
}

/// A writer on trial.
pub struct Trial<W: Writer> {
    session: Session<W>,
    tables: HashMap<String, (TableSchema, TablePlan)>,
    next_id: u32,
}

/// What a writer made of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// Each command's row and arguments, its name first.
    pub commands: Vec<(u32, Vec<Vec<u8>>)>,
    /// Rejected rows and why.
    pub rejections: Vec<(u32, String)>,
}

impl Written {
    /// The commands, each as its arguments with blanks between them.
    pub fn lines(&self) -> Vec<String> {
        let line = |(_, arguments): &(u32, Vec<Vec<u8>>)| {
            arguments.iter().map(|argument| String::from_utf8_lossy(argument)).collect::<Vec<_>>().join(" ")
        };
        self.commands.iter().map(line).collect()
    }
}

impl<W: Writer> Trial<W> {
    /// Configures the writer.
    pub fn new(mapping: &str) -> Result<Self, Vec<Problem>> {
        let settings = Settings { mapping: mapping.to_owned(), values: Vec::new() };
        Ok(Self { session: Session::configure(&settings)?, tables: HashMap::new(), next_id: 0 })
    }

    /// Shows the writer a table's shape. Another one of the same name takes its place.
    pub fn define(&mut self, table: &Table) -> Result<TablePlan, Vec<Problem>> {
        let schema = TableSchema { id: self.next_id, ..table.0.clone() };
        let plan = self.session.define(schema.clone())?;
        self.next_id += 1;
        self.tables.insert(table.name(), (schema, plan.clone()));
        Ok(plan)
    }

    /// Gives the writer a batch of changes, each with a transaction of its own.
    ///
    /// # Panics
    /// If a change names a table that was not defined, or its values do not fit the table: mistakes of the test.
    pub fn write(&mut self, changes: impl IntoIterator<Item = Change>) -> Written {
        let batch = self.batch(changes);
        #[allow(clippy::expect_used, reason = "only tests come here")]
        let rejections = self.session.write(&batch).expect("the writer takes the batch");
        let packed = &self.session.commands().packed;
        let (mut commands, mut at) = (Vec::new(), 0);
        for (row, count) in packed.rows.iter().zip(&packed.arguments) {
            let argument = |at: usize| {
                let start = if at == 0 { 0 } else { packed.values.ends[at - 1] };
                packed.values.data[start as usize..packed.values.ends[at] as usize].to_vec()
            };
            let count = *count as usize;
            commands.push((*row, (at..at + count).map(argument).collect()));
            at += count;
        }
        Written { commands, rejections: rejections.into_iter().map(|r| (r.row, r.reason)).collect() }
    }

    /// The batch as the host would send it. Rows of tables that the writer ignores are left out.
    pub fn batch(&self, changes: impl IntoIterator<Item = Change>) -> Batch {
        let ids = Packed { ends: Vec::new(), data: Vec::new() };
        let (starts, committed) = (Vec::new(), Vec::new());
        let transactions = Transactions { starts, committed, ids, first_continues: false, last_continues: false };
        let mut batch = Batch { tables: Vec::new(), events: Vec::new(), transactions };
        let mut number = 0;
        for change in changes {
            #[allow(clippy::panic, reason = "only tests come here")]
            let Some((schema, plan)) = self.tables.get(&change.table) else {
                panic!("{} was not defined", change.table)
            };
            if plan.ignore {
                continue;
            }
            batch.transactions.starts.push(number);
            batch.transactions.committed.push(change.committed_us);
            match change.what {
                What::Event(kind) => batch.events.push(TableEvent { number, schema: schema.id, kind }),
                What::Row { operation, before, after } => {
                    let at = batch.tables.iter().position(|rows| rows.schema == schema.id).unwrap_or_else(|| {
                        batch.tables.push(no_rows(schema, plan));
                        batch.tables.len() - 1
                    });
                    let rows = &mut batch.tables[at];
                    let index = rows.numbers.len() as u32;
                    rows.numbers.push(number);
                    rows.sequences.push(u64::from(number) + 1);
                    rows.operations.push(operation);
                    if let Some(before) = before.filter(|_| operation != Operation::Update || plan.before) {
                        push(&mut rows.before, index, plan, &before);
                    }
                    if let Some(after) = after {
                        push(&mut rows.after, index, plan, &after);
                    }
                }
            }
            number += 1;
        }
        batch
    }
}

fn no_rows(schema: &TableSchema, plan: &TablePlan) -> TableRows {
    let images = || Images {
        rows: Vec::new(),
        columns: plan.columns.iter().map(|at| no_values(&schema.columns[usize::from(*at)])).collect(),
    };
    let (before, after) = (images(), images());
    TableRows { schema: schema.id, numbers: Vec::new(), sequences: Vec::new(), operations: Vec::new(), before, after }
}

fn no_values(column: &ColumnType) -> Column {
    let packed = || Packed { ends: Vec::new(), data: Vec::new() };
    let unsigned = column.attributes.iter().any(|(name, _)| name == "unsigned");
    let values = match column.kind.as_str() {
        "tinyint" | "smallint" | "mediumint" | "int" | "bigint" if unsigned => Values::Unsigned(Vec::new()),
        "bit" => Values::Unsigned(Vec::new()),
        "tinyint" | "smallint" | "mediumint" | "int" | "bigint" | "year" => Values::Signed(Vec::new()),
        "float" => Values::Float(Vec::new()),
        "double" => Values::Double(Vec::new()),
        kind if kind.ends_with("binary") || kind.ends_with("blob") => Values::Bytes(packed()),
        "geometry" | "point" | "linestring" | "polygon" | "vector" => Values::Bytes(packed()),
        _ => Values::Text(packed()),
    };
    Column { values, nulls: Vec::new(), absent: Vec::new() }
}

fn push(images: &mut Images, row: u32, plan: &TablePlan, cells: &[Cell]) {
    let index = images.rows.len();
    images.rows.push(row);
    for (column, at) in images.columns.iter_mut().zip(&plan.columns) {
        let cell = &cells[usize::from(*at)];
        for (bitmap, set) in [(&mut column.nulls, Cell::Null), (&mut column.absent, Cell::Absent)] {
            if *cell == set || !bitmap.is_empty() {
                bitmap.resize(index / 8 + 1, 0);
                bitmap[index / 8] |= u8::from(*cell == set) << (index % 8);
            }
        }
        let nothing = matches!(cell, Cell::Null | Cell::Absent);
        match (&mut column.values, cell) {
            (Values::Signed(list), Cell::Signed(value)) => list.push(*value),
            (Values::Unsigned(list), Cell::Unsigned(value)) => list.push(*value),
            (Values::Unsigned(list), Cell::Signed(value)) => list.push(*value as u64),
            (Values::Float(list), Cell::Double(value)) => list.push(*value as f32),
            (Values::Double(list), Cell::Double(value)) => list.push(*value),
            (Values::Text(packed), Cell::Text(text)) => push_packed(packed, text.as_bytes()),
            (Values::Bytes(packed), Cell::Bytes(bytes)) => push_packed(packed, bytes),
            (Values::Bytes(packed), Cell::Text(text)) => push_packed(packed, text.as_bytes()),
            (Values::Signed(list), _) if nothing => list.push(0),
            (Values::Unsigned(list), _) if nothing => list.push(0),
            (Values::Float(list), _) if nothing => list.push(0.0),
            (Values::Double(list), _) if nothing => list.push(0.0),
            (Values::Text(packed) | Values::Bytes(packed), _) if nothing => push_packed(packed, b""),
            #[allow(clippy::panic, reason = "only tests come here")]
            _ => panic!("{cell:?} does not fit column {at}"),
        }
    }
}

fn push_packed(packed: &mut Packed, value: &[u8]) {
    packed.data.extend_from_slice(value);
    packed.ends.push(packed.data.len() as u32);
}
