//! What a writer asks of a table, put together column by column.

use crate::bindings::mysync::writer::types::{TablePlan, TableSchema};
use crate::row::Place;
use crate::{Problem, problem};

/// A plan for the rows of one shape. It starts out asking for nothing.
#[derive(Debug)]
pub struct Plan<'a> {
    schema: &'a TableSchema,
    pub(crate) plan: TablePlan,
}

impl<'a> Plan<'a> {
    pub(crate) fn new(schema: &'a TableSchema) -> Self {
        let plan = TablePlan {
            ignore: false,
            columns: Vec::new(),
            before: false,
            transaction_ids: false,
            order_by: Vec::new(),
        };
        Self { schema, plan }
    }

    pub fn schema(&self) -> &'a TableSchema {
        self.schema
    }

    /// Asks for a column, and says where its values will be; `None` if the table has no column of that name.
    pub fn column(&mut self, name: &str) -> Option<Place> {
        let column = self.schema.columns.iter().position(|column| column.name == name)? as u16;
        let columns = &mut self.plan.columns;
        let at = columns.iter().position(|known| *known == column).unwrap_or_else(|| {
            columns.push(column);
            columns.len() - 1
        });
        Some(Place(at as u16))
    }

    /// Asks for a column without which nothing can be done.
    pub fn required(&mut self, name: &str) -> Result<Place, Vec<Problem>> {
        let TableSchema { database, name: table, .. } = self.schema;
        self.column(name).ok_or_else(|| vec![problem(format!("{database}.{table} has no column `{name}`"))])
    }

    /// Asks for the before images of updates too: for entries that have to go when a row's values change.
    pub fn with_before(&mut self) {
        self.plan.before = true;
    }

    /// Says of which columns the name of a store entry is made, all of them. If an update can change one, updates come with their before
    /// images, by which the former entry can be found. If the primary key is not wholly among them, rows of different keys can meet in the
    /// entry, and the host sees to it that their order is kept.
    pub fn names_entry(&mut self, places: &[Place]) {
        let key = &self.schema.primary_key;
        let columns: Vec<u16> = places.iter().map(|place| self.plan.columns[usize::from(place.0)]).collect();
        self.plan.before |= columns.iter().any(|column| !key.contains(column));
        if !key.is_empty() && key.iter().all(|column| columns.contains(column)) {
            return;
        }
        for column in columns {
            if !self.plan.order_by.contains(&column) {
                self.plan.order_by.push(column);
            }
        }
    }
}
