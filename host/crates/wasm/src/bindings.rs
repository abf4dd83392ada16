//! The contract's types and functions, generated from `wit/`, and the way from the model's types to them: lists move, values are not copied.

use mysync_change::batch::{self, ColumnValues};
use mysync_change::operations::RedisCommands;
use mysync_change::rows;
use mysync_change::schema::TableShape;

#[allow(unsafe_code, reason = "the generated calls skip a type check that was made when the component was loaded")]
mod generated {
    wasmtime::component::bindgen!({
        path: "../../../wit",
        world: "redis-writer",
        imports: { default: trappable },
        exports: { default: async },
    });
}

pub(crate) use generated::exports::mysync::writer::writer::{
    Batch, Problem, Rejection, Settings, TablePlan, TableSchema,
};
pub(crate) use generated::mysync::writer::{diagnostics, redis, types};
pub(crate) use generated::{RedisWriter, RedisWriterPre};
use types::{Column, ColumnType, Images, Operation, Packed, TableEvent, TableRows, Transactions, Values};

/// `schemas` answers the ids of a database's table, or with `*` of all its tables: of those that the writer takes.
pub(crate) fn batch(batch: batch::Batch, schemas: impl Fn(&str, &str) -> Vec<u32>) -> Batch {
    let event = |batch::NumberedEvent { number, event }: batch::NumberedEvent| {
        let ids = schemas(&event.database, &event.table).into_iter();
        ids.map(move |schema| TableEvent { number, schema, kind: event.what.clone() })
    };
    Batch {
        tables: batch.tables.into_iter().map(TableRows::from).collect(),
        events: batch.events.into_iter().flat_map(event).collect(),
        transactions: Transactions {
            starts: batch.transactions.starts,
            committed: batch.transactions.committed_us,
            ids: batch.transactions.ids.into(),
            first_continues: batch.transactions.first_continues,
            last_continues: batch.transactions.last_continues,
        },
    }
}

pub(crate) fn schema(id: u32, shape: &TableShape) -> TableSchema {
    let column = |column: &mysync_change::schema::Column| ColumnType {
        name: column.name.clone(),
        kind: column.kind.clone(),
        nullable: column.nullable,
        attributes: column.attributes.clone(),
    };
    TableSchema {
        id,
        database: shape.database.clone(),
        name: shape.name.clone(),
        columns: shape.columns.iter().map(column).collect(),
        primary_key: shape.primary_key.clone(),
    }
}

impl From<redis::Commands> for RedisCommands {
    fn from(commands: redis::Commands) -> Self {
        let values = batch::Packed { ends: commands.values.ends, data: commands.values.data };
        Self { rows: commands.rows, arguments: commands.arguments, values }
    }
}

impl From<TablePlan> for batch::Plan {
    fn from(plan: TablePlan) -> Self {
        Self {
            ignore: plan.ignore,
            columns: plan.columns,
            before: plan.before,
            transaction_ids: plan.transaction_ids,
            order_by: plan.order_by,
        }
    }
}

impl From<batch::TableRows> for TableRows {
    fn from(table: batch::TableRows) -> Self {
        Self {
            schema: table.schema,
            numbers: table.numbers,
            sequences: table.sequences,
            operations: table.operations.into_iter().map(Operation::from).collect(),
            before: table.before.into(),
            after: table.after.into(),
        }
    }
}

impl From<rows::Operation> for Operation {
    fn from(operation: rows::Operation) -> Self {
        match operation {
            rows::Operation::Insert => Operation::Insert,
            rows::Operation::Update => Operation::Update,
            rows::Operation::Delete => Operation::Delete,
            rows::Operation::Read => Operation::Read,
            rows::Operation::MoveOut => Operation::MoveOut,
            rows::Operation::MoveIn => Operation::MoveIn,
        }
    }
}

impl From<batch::Images> for Images {
    fn from(images: batch::Images) -> Self {
        // Each list costs a call of the guest's allocator, also an empty one.
        let columns = if images.rows.is_empty() { Vec::new() } else { images.columns };
        Self { rows: images.rows, columns: columns.into_iter().map(Column::from).collect() }
    }
}

impl From<ColumnValues> for Column {
    fn from(column: ColumnValues) -> Self {
        let values = match column.values {
            batch::Values::Signed(list) => Values::Signed(list),
            batch::Values::Unsigned(list) => Values::Unsigned(list),
            batch::Values::Float(list) => Values::Float(list),
            batch::Values::Double(list) => Values::Double(list),
            batch::Values::Text(packed) => Values::Text(packed.into()),
            batch::Values::Bytes(packed) => Values::Bytes(packed.into()),
        };
        Self { values, nulls: column.nulls, absent: column.absent }
    }
}

impl From<batch::Packed> for Packed {
    fn from(packed: batch::Packed) -> Self {
        Self { ends: packed.ends, data: packed.data }
    }
}
