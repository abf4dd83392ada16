//! The binlog's row changes, read and decoded by the MySQL client library.

use std::future::poll_fn;
use std::pin::Pin;

use anyhow::{Context, Result, bail, ensure};
use futures_core::Stream;
use mysql_async::binlog::events::{EventData, RowsEventData};
use mysql_async::binlog::row::BinlogRow;
use mysql_async::binlog::value::BinlogValue;
use mysql_async::{BinlogStreamRequest, Value};
use mysync_change::position::GtidSource;
use mysync_change::rows::Operation;
use mysync_test_support::Mysql;

use super::Change;

/// Unlike those of all servers and of the program.
const SERVER_ID: u32 = 4_000_000_000;

/// All changes to rows of a database that the server still has.
pub async fn read(mysql: &Mysql, database: &str) -> Result<Vec<Change>> {
    let files: Vec<(String, u64, String)> = mysql.query("SHOW BINARY LOGS").await?;
    let first = &files.first().context("the server has no binlog")?.0;
    let request = BinlogStreamRequest::new(SERVER_ID).with_non_blocking().with_filename(first.as_bytes()).with_pos(4);
    let mut stream = mysql.conn().await?.get_binlog_stream(request).await?;
    let (mut changes, mut transaction, mut number) = (Vec::new(), String::new(), 0);
    while let Some(event) = poll_fn(|cx| Pin::new(&mut stream).poll_next(cx)).await {
        match event?.read_data()? {
            Some(EventData::GtidEvent(event)) => {
                ensure!(!event.is_tagged(), "GTIDs with tags are beyond this reader");
                let source = GtidSource { uuid: event.sid(), tag: "".into() };
                (transaction, number) = (format!("{source}:{}", event.gno()), 0);
            }
            Some(EventData::RowsEvent(event)) => {
                let table = stream.get_tme(event.table_id()).context("rows of a table that was not named")?;
                let is_wanted = table.database_name() == database;
                let name = format!("{}.{}", table.database_name(), table.table_name());
                for row in event.rows(table) {
                    let (before, after) = row?;
                    if is_wanted {
                        changes.extend(take(&event, &name, &transaction, number, (before, after))?);
                    }
                    number += 1;
                }
            }
            _ => {}
        }
    }
    stream.close().await?;
    Ok(changes)
}

/// A changed key is two changes.
fn take(
    event: &RowsEventData<'_>,
    table: &str,
    transaction: &str,
    number: u64,
    (before, after): (Option<BinlogRow>, Option<BinlogRow>),
) -> Result<Vec<Change>> {
    let [before, after] = [before, after].map(|row| row.map(|row| texts(&row)).transpose());
    let (before, after) = (before?, after?);
    let key = |row: &Option<Vec<String>>| row.as_ref().and_then(|row| row.first()).cloned();
    let (old, new) = (key(&before), key(&after));
    let change = |operation, key: Option<String>| -> Result<Change> {
        Ok(Change {
            row: format!("{table}/{}", key.context("a row without columns")?),
            operation,
            transaction: transaction.to_owned(),
            number,
            before: before.as_ref().map(|row| row.join(", ")),
            after: after.as_ref().map(|row| row.join(", ")),
        })
    };
    Ok(match event {
        RowsEventData::WriteRowsEvent(_) => vec![change(Operation::Insert, new)?],
        RowsEventData::DeleteRowsEvent(_) => vec![change(Operation::Delete, old)?],
        RowsEventData::UpdateRowsEvent(_) if old == new => vec![change(Operation::Update, new)?],
        RowsEventData::UpdateRowsEvent(_) => {
            vec![change(Operation::MoveOut, old)?, change(Operation::MoveIn, new)?]
        }
        other => bail!("rows of an unexpected kind: {other:?}"),
    })
}

fn texts(row: &BinlogRow) -> Result<Vec<String>> {
    (0..row.len()).map(|column| text(row.as_ref(column).context("a column is not in the binlog")?)).collect()
}

fn text(value: &BinlogValue<'_>) -> Result<String> {
    Ok(match value {
        BinlogValue::Value(Value::NULL) => "NULL".to_owned(),
        BinlogValue::Value(Value::Int(number)) => number.to_string(),
        BinlogValue::Value(Value::UInt(number)) => number.to_string(),
        BinlogValue::Value(Value::Bytes(bytes)) => format!("'{}'", String::from_utf8_lossy(bytes)),
        other => bail!("the shop has no column for {other:?}"),
    })
}
