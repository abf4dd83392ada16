//! The plans in use, by the number that TABLE_MAP events give their table.
//!
//! Each statement repeats its TABLE_MAP events. As long as the bytes are the same, that costs one comparison. A number that comes back with
//! other bytes (the server was restarted, the table was altered) is compiled anew.

use std::collections::HashMap;
use std::sync::Arc;

use super::{Plan, RowWidths};
use crate::decode::DecodeError;
use crate::table_map::{self, TableMap};

/// Plans kept between transactions. A server gives a table a new number whenever it opens it again, so old ones must go.
const MAX_TABLES: usize = 1024;

/// Which tables and columns are captured.
pub trait Selection {
    fn table(&self, database: &str, table: &str) -> bool;
    fn column(&self, database: &str, table: &str, column: &str) -> bool;
}

/// What is known of a table that rows name.
#[derive(Debug)]
pub enum Table {
    Captured(Arc<Plan>),
    /// Not captured: its rows are only counted.
    Other(RowWidths),
}

/// See the module.
#[derive(Debug, Default)]
pub struct Plans {
    tables: Vec<Known>,
    /// Places in `tables` by table number.
    by_id: HashMap<u64, usize>,
    /// Place of the table that was mapped last: in most streams also the next one.
    last: usize,
    transaction: u64,
}

#[derive(Debug)]
struct Known {
    table_id: u64,
    body: Box<[u8]>,
    table: Table,
    /// The transaction that mapped it last.
    transaction: u64,
}

impl Plans {
    /// A transaction begins: rows may only name tables that are mapped from here on.
    pub fn begin_transaction(&mut self) {
        self.transaction += 1;
        if self.tables.len() > MAX_TABLES {
            self.tables.clear();
            self.by_id.clear();
        }
    }

    /// Takes the body of a TABLE_MAP event.
    #[inline]
    pub fn map(&mut self, body: &[u8], selection: &impl Selection) -> Result<(), DecodeError> {
        let id = table_map::table_id(body);
        let known =
            id.and_then(|id| self.place(id)).filter(|at| self.tables.get(*at).is_some_and(|t| *t.body == *body));
        let at = match known {
            Some(at) => at,
            None => self.compile(body, selection)?,
        };
        self.last = at;
        if let Some(known) = self.tables.get_mut(at) {
            known.transaction = self.transaction;
        }
        Ok(())
    }

    /// The table that rows name by `id`.
    #[inline]
    pub fn get(&self, id: u64) -> Result<&Table, DecodeError> {
        let known = self.place(id).and_then(|at| self.tables.get(at));
        match known {
            Some(known) if known.transaction == self.transaction => Ok(&known.table),
            _ => Err(DecodeError::UnknownTable { table_id: id }),
        }
    }

    #[inline]
    fn place(&self, id: u64) -> Option<usize> {
        match self.tables.get(self.last) {
            Some(known) if known.table_id == id => Some(self.last),
            _ => self.by_id.get(&id).copied(),
        }
    }

    #[cold]
    fn compile(&mut self, body: &[u8], selection: &impl Selection) -> Result<usize, DecodeError> {
        let (database, table) = table_map::names(body)?;
        let table = if selection.table(database, table) {
            let map = TableMap::parse(body)?;
            Table::Captured(Arc::new(Plan::compile(&map, |column| selection.column(database, table, column))?))
        } else {
            Table::Other(RowWidths::of(&TableMap::parse(body)?))
        };
        let table_id = table_map::table_id(body).unwrap_or_default();
        let known = Known { table_id, body: body.into(), table, transaction: self.transaction };
        let at = self.by_id.get(&table_id).copied().unwrap_or(self.tables.len());
        match self.tables.get_mut(at) {
            Some(place) => *place = known,
            None => self.tables.push(known),
        }
        self.by_id.insert(table_id, at);
        Ok(at)
    }
}
