//! One chunk of a table.

use super::chunk::Chunk;
use super::error::DumpError;
use super::table::DumpTable;
use super::values::LastKey;
use crate::connection::{Answer, Came, Connection, SourceError};
use crate::decode::KeySpans;
use crate::event::EventError;

/// How much is read at once.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub rows: u64,
    /// What the rows may take in memory. Beyond it the statement is given up, and the connection is of no more use.
    pub bytes: usize,
}

/// Rows that were read.
#[derive(Debug)]
pub struct Found {
    pub chunk: Chunk,
    /// The last row's key, as literals; `None`: there is no row, or the table cannot be read in parts.
    pub last: Option<Vec<String>>,
    /// Fewer than the limit: the table ends here.
    pub rows: u64,
}

/// Reads rows of a table, the first ones or those behind the key `after`. They are what was committed when the statement began. The
/// connection is one that [`super::table::prepare`] has set up.
///
/// [`DumpError::Altered`] says that the table is not what it was when `table` was read. A table that was altered without that being seen here
/// is told by reading it again.
pub async fn select(
    connection: &mut Connection,
    table: &DumpTable,
    after: Option<&[String]>,
    limits: &Limits,
) -> Result<Found, DumpError> {
    let altered = || DumpError::Altered { table: table.shape().full_name() };
    if after.is_some_and(|after| table.paging().is_none_or(|paging| paging.columns() != after.len())) {
        return Err(altered());
    }
    let statement = table.statement(after, limits.rows);
    let mut answer = match connection.execute(&statement, limits.bytes).await {
        Ok(answer) => answer,
        Err(error) => return Err(explain(connection, table, error, limits).await),
    };
    if !table.rows().fits(answer.columns()) {
        answer.drain().await?;
        return Err(altered());
    }
    let mut last = LastKey::default();
    match rows(&mut answer, table, limits, &mut last).await {
        Ok(chunk) => {
            answer.close().await?;
            let paging = table.paging().filter(|_| !chunk.is_empty());
            let literals = paging.map(|paging| paging.literals(last.parts()));
            let last = match literals {
                // Without it nothing would be read behind this chunk.
                Some(None) => return Err(unwritable(table)),
                literals => literals.flatten(),
            };
            Ok(Found { rows: chunk.len() as u64, last, chunk })
        }
        Err(Stopped::Connection(error)) => {
            drop(answer);
            Err(explain(connection, table, error, limits).await)
        }
        // The value may be one of a type that the column has not had for long.
        Err(Stopped::Row(error @ DumpError::Value { .. })) => {
            answer.drain().await?;
            Err(if table.is_current(connection).await? { error } else { altered() })
        }
        Err(Stopped::Row(error)) => Err(error),
    }
}

enum Stopped {
    Connection(SourceError),
    Row(DumpError),
}

async fn rows(
    answer: &mut Answer<'_>,
    table: &DumpTable,
    limits: &Limits,
    last: &mut LastKey,
) -> Result<Chunk, Stopped> {
    let (mut chunk, mut spans) = (Chunk::default(), KeySpans::default());
    loop {
        match answer.next().map_err(Stopped::Connection)? {
            Came::Row(row) => {
                let write = |image: &mut Vec<u8>, spans: &mut KeySpans| table.rows().append(row, image, spans, last);
                chunk.push(write, &mut spans).map_err(Stopped::Row)?;
                if chunk.bytes() > limits.bytes {
                    return Err(Stopped::Row(too_large(table, limits)));
                }
            }
            Came::Nothing => answer.fill().await.map_err(Stopped::Connection)?,
            Came::End => return Ok(chunk),
        }
    }
}

fn unwritable(table: &DumpTable) -> DumpError {
    let what = "no literal can be made of the last row's key".to_owned();
    DumpError::Value { table: table.shape().full_name(), column: table.key().to_owned(), what }
}

fn too_large(table: &DumpTable, limits: &Limits) -> DumpError {
    DumpError::ChunkTooLarge { table: table.shape().full_name(), bytes: limits.bytes }
}

async fn explain(connection: &mut Connection, table: &DumpTable, error: SourceError, limits: &Limits) -> DumpError {
    match error {
        SourceError::Event(EventError::TooLarge { .. }) => too_large(table, limits),
        error => DumpError::of(error, &table.shape().database, &table.shape().name, connection).await,
    }
}
