//! What an instance is made of: the writer, the tables it knows, and the commands of the batch in hand.

use std::collections::BTreeMap;

use crate::bindings::mysync::writer::types::{Batch, TablePlan, TableSchema, Transactions};
use crate::commands::Commands;
use crate::plan::Plan;
use crate::row::{Known, Rows};
use crate::{Problem, Rejection, Settings, TableEvent, Writer};

/// A configured writer. It answers the host's calls; natively a test makes them.
#[derive(Debug)]
pub struct Session<W: Writer> {
    writer: W,
    tables: BTreeMap<u32, Table<W::Table>>,
    commands: Commands,
}

#[derive(Debug)]
struct Table<T> {
    known: Known,
    /// `None`: the writer ignores it.
    own: Option<T>,
}

impl<W: Writer> Session<W> {
    pub fn configure(settings: &Settings) -> Result<Self, Vec<Problem>> {
        Ok(Self { writer: W::configure(settings)?, tables: BTreeMap::new(), commands: Commands::new() })
    }

    pub fn define(&mut self, schema: TableSchema) -> Result<TablePlan, Vec<Problem>> {
        let mut plan = Plan::new(&schema);
        let own = self.writer.table(&mut plan)?;
        let mut plan = plan.plan;
        plan.ignore = own.is_none();
        let known = Known { columns: plan.columns.clone(), schema };
        self.tables.insert(known.schema.id, Table { known, own });
        Ok(plan)
    }

    /// Maps a batch. Its commands are in [`Session::commands`] until the next one.
    pub fn write(&mut self, batch: &Batch) -> Result<Vec<Rejection>, String> {
        self.commands.clear();
        let mut rejections = Vec::new();
        let mut tables = Vec::with_capacity(batch.tables.len());
        for rows in &batch.tables {
            let table = self.tables.get(&rows.schema);
            let Some(Table { known, own: Some(own) }) = table else {
                return Err(format!("a batch has rows of table {}, which this writer does not take", rows.schema));
            };
            tables.push((own, Rows::new(known, rows)));
        }
        let mut committed = Committed::new(&batch.transactions);
        let mut events = batch.events.iter().peekable();
        loop {
            // The table whose turn it is, and the number up to which it is: most of the time there is one table.
            let (mut turn, mut until) = (None, u32::MAX);
            let mut lowest = u32::MAX;
            for (at, (_, rows)) in tables.iter().enumerate() {
                let Some(number) = rows.number() else { continue };
                if turn.is_none() || number < lowest {
                    (turn, until, lowest) = (Some(at), until.min(lowest), number);
                } else {
                    until = until.min(number);
                }
            }
            if let Some(event) = events.next_if(|event| turn.is_none() || event.number < lowest) {
                if let Some(Table { known, own: Some(own) }) = self.tables.get(&event.schema)
                    && let Err(reason) = self.writer.event(own, &known.schema, event)
                    // Something that happens to a whole database is told of each table, and rejected once.
                    && rejections.last().is_none_or(|last: &Rejection| last.row != event.number)
                {
                    rejections.push(Rejection { row: event.number, reason });
                }
                continue;
            }
            let Some(turn) = turn else { break };
            until = until.min(events.peek().map_or(u32::MAX, |event: &&TableEvent| event.number));
            let (own, rows) = &mut tables[turn];
            while let Some(number) = rows.number().filter(|number| *number < until || *number == lowest) {
                let row = rows.take(committed.at(number));
                self.commands.start_row(number);
                let mark = self.commands.mark();
                if let Err(reason) = self.writer.row(own, &row, &mut self.commands) {
                    self.commands.undo(mark);
                    rejections.push(Rejection { row: number, reason });
                }
            }
        }
        Ok(rejections)
    }

    pub fn commands(&self) -> &Commands {
        &self.commands
    }
}

/// Commit times, asked for in order.
struct Committed<'a> {
    transactions: &'a Transactions,
    at: usize,
}

impl<'a> Committed<'a> {
    fn new(transactions: &'a Transactions) -> Self {
        Self { transactions, at: 0 }
    }

    #[inline]
    fn at(&mut self, number: u32) -> u64 {
        let Transactions { starts, committed, .. } = self.transactions;
        while starts.get(self.at + 1).is_some_and(|start| *start <= number) {
            self.at += 1;
        }
        committed.get(self.at).copied().unwrap_or(0)
    }
}
