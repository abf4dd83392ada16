//! What a writer asks of a table, put together column by column.

use crate::bindings::mysync::writer::types::{TablePlan, TableSchema};
use crate::row::Place;

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

    /// Asks for the before images of updates too: for entries that have to go when a row's values change.
    pub fn with_before(&mut self) {
        self.plan.before = true;
    }

    /// Says that names of store entries are made of this column. If it is outside the primary key an update can change it: updates then
    /// come with their before images, by which the former entry can be found.
    pub fn names_entries(&mut self, place: Place) {
        let column = self.plan.columns[usize::from(place.0)];
        if self.schema.primary_key.contains(&column) {
            return;
        }
        self.plan.before = true;
        if !self.plan.order_by.contains(&column) {
            self.plan.order_by.push(column);
        }
    }
}
