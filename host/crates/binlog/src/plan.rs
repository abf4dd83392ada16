//! Plans: how to read the rows of one table, compiled once from its TABLE_MAP event.

mod cache;
mod compile;

use mysync_change::schema::{Fingerprint, TableShape};

use crate::decode::DecodeError;
use crate::decode::step::{Convert, Width};
use crate::table_map::{MappedColumn, TableMap};
use compile::Uncompilable;

pub use cache::{Plans, Selection, Table};

/// One column of a row on the wire.
#[derive(Debug)]
pub(crate) struct Step {
    pub width: Width,
    /// `None`: the column is excluded, its values are gone past.
    pub convert: Option<Convert>,
    /// The column's place in the shape, without excluded columns before it.
    pub place: u16,
    /// The column's place in the primary key.
    pub key: Option<u16>,
}

/// How to read the rows of one table.
#[derive(Debug)]
pub struct Plan {
    shape: TableShape,
    fingerprint: Fingerprint,
    steps: Vec<Step>,
}

impl Plan {
    /// Compiles a TABLE_MAP event. `wanted` says of each column, by its name, whether images shall hold it.
    pub fn compile(map: &TableMap<'_>, wanted: impl Fn(&str) -> bool) -> Result<Self, DecodeError> {
        Self::of(map.database, map.table, &map.columns()?, &map.primary_key()?, wanted)
    }

    /// The same of columns that are described elsewhere. `key`: the key's columns as [`TableMap::primary_key`] gives them.
    pub(crate) fn of(
        database: &str,
        table: &str,
        mapped: &[MappedColumn<'_>],
        key: &[(usize, u64)],
        wanted: impl Fn(&str) -> bool,
    ) -> Result<Self, DecodeError> {
        let full_name = || format!("{database}.{table}");
        let mut shape = TableShape {
            database: database.to_owned(),
            name: table.to_owned(),
            columns: Vec::with_capacity(mapped.len()),
            primary_key: vec![0; key.len()],
        };
        let mut steps = Vec::with_capacity(mapped.len());
        for (at, column) in mapped.iter().enumerate() {
            let explain = |why| explain(full_name(), column.name, why);
            let width = compile::width(&column.kind).map_err(explain)?;
            let place = shape.columns.len() as u16;
            let in_key = key.iter().position(|(place, _)| *place == at);
            if !wanted(column.name) {
                if in_key.is_some() {
                    return Err(DecodeError::KeyExcluded { table: full_name(), column: column.name.to_owned() });
                }
                steps.push(Step { width, convert: None, place, key: None });
                continue;
            }
            let prefix = in_key.and_then(|i| key.get(i)).map_or(0, |(_, prefix)| *prefix);
            let compiled = compile::compile(column, prefix).map_err(explain)?;
            if let Some(part) = in_key.and_then(|i| shape.primary_key.get_mut(i)) {
                *part = place;
            }
            shape.columns.push(compiled.column);
            steps.push(Step { width, convert: Some(compiled.convert), place, key: in_key.map(|i| i as u16) });
        }
        let fingerprint = shape.fingerprint();
        Ok(Self { shape, fingerprint, steps })
    }

    pub fn shape(&self) -> &TableShape {
        &self.shape
    }

    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    pub(crate) fn steps(&self) -> &[Step] {
        &self.steps
    }
}

/// How long the values of a table are that is not captured, so that its rows can be counted.
#[derive(Debug)]
pub struct RowWidths {
    /// `None`: the table has a column of a type that is not known.
    steps: Option<Vec<Width>>,
}

impl RowWidths {
    pub(crate) fn of(map: &TableMap<'_>) -> Self {
        let kinds = map.kinds().ok();
        Self { steps: kinds.and_then(|kinds| kinds.iter().map(|kind| compile::width(kind).ok()).collect()) }
    }

    pub(crate) fn steps(&self) -> Option<&[Width]> {
        self.steps.as_deref()
    }
}

fn explain(table: String, column: &str, why: Uncompilable) -> DecodeError {
    let column = column.to_owned();
    match why {
        Uncompilable::Collation(collation) => DecodeError::UnknownCollation { table, column, collation },
        Uncompilable::Label => DecodeError::BadValue { table, column, what: "a label is not text of its charset" },
        Uncompilable::Decimal => DecodeError::BadValue { table, column, what: "there is no such DECIMAL type" },
    }
}
