//! Rows into the tables of a batch.

use super::BatchBuilder;
use crate::batch::TableRows;
use crate::batch::shapes::{PlannedShape, Shapes};
use crate::batch::taken::TakeError;
use crate::envelope::EnvelopeError;
use crate::rows::{Operation, Row};
use crate::schema::Fingerprint;

#[derive(Debug, Clone, Copy)]
pub(super) struct EnteredShape {
    fingerprint: Fingerprint,
    /// Its place in the writer's list of shapes.
    place: u32,
    /// Its place in `batch.tables`; none: its rows are not sent.
    table: Option<usize>,
}

impl BatchBuilder {
    /// Where rows of a shape go, and the shape; none: the writer does not take them.
    pub(super) fn table<'s>(
        &mut self,
        fingerprint: Fingerprint,
        shapes: &'s Shapes,
    ) -> Result<Option<(usize, &'s PlannedShape)>, TakeError> {
        let entered = match self.entered.filter(|entered| entered.fingerprint == fingerprint) {
            Some(entered) => entered,
            None => self.enter_shape(fingerprint, shapes)?,
        };
        let shape = shapes.get(entered.place).ok_or(TakeError::Shape(fingerprint))?;
        Ok(entered.table.map(|table| (table, &**shape)))
    }

    fn enter_shape(&mut self, fingerprint: Fingerprint, shapes: &Shapes) -> Result<EnteredShape, TakeError> {
        let (place, shape) = shapes.find(fingerprint).ok_or(TakeError::Shape(fingerprint))?;
        let table = if shape.plan.ignore { None } else { Some(self.table_of(place, shape)) };
        let entered = EnteredShape { fingerprint, place, table };
        self.entered = Some(entered);
        Ok(entered)
    }

    fn table_of(&mut self, place: u32, shape: &PlannedShape) -> usize {
        self.wants_ids |= shape.plan.transaction_ids;
        if let Some((_, table)) = self.tables.iter().find(|(known, _)| *known == place) {
            return *table;
        }
        let table = self.batch.tables.len();
        self.batch.tables.push(TableRows {
            schema: place,
            numbers: Vec::new(),
            sequences: Vec::new(),
            operations: Vec::new(),
            before: shape.new_images(),
            after: shape.new_images(),
        });
        self.tables.push((place, table));
        table
    }

    #[inline]
    pub(super) fn push(&mut self, table: usize, shape: &PlannedShape, row: &Row<'_>) -> Result<(), EnvelopeError> {
        if !self.noted {
            self.note_transaction();
        }
        let rows = &mut self.batch.tables[table];
        let index = rows.numbers.len() as u32;
        rows.numbers.push(self.extent.rows);
        rows.sequences.push(row.seq);
        rows.operations.push(row.operation);
        if let Some(image) = row.before.filter(|_| row.operation != Operation::Update || shape.plan.before) {
            shape.push(&mut rows.before, index, image)?;
        }
        if let Some(image) = row.after {
            shape.push(&mut rows.after, index, image)?;
        }
        self.extent.rows += 1;
        Ok(())
    }

    /// The first row of a transaction that the writer gets.
    fn note_transaction(&mut self) {
        let transactions = &mut self.batch.transactions;
        transactions.starts.push(self.extent.rows);
        transactions.committed_us.push(self.committed_us);
        if self.wants_ids {
            match &self.transaction {
                Some(last) => transactions.ids.push_display(&last.id()),
                None => transactions.ids.push(self.extent.last.transaction.as_bytes()),
            }
        }
        self.noted = true;
    }
}
