use tokio::time::timeout;

use super::handshake::server_error;
use super::{Connection, SourceError};
use crate::event::Bytes;

/// Rows that an answer may have. Lists of binlog files are the longest asked for.
const ROWS_MAX: usize = 100_000;

/// An answer in text. Without columns: the statement returns no rows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rows {
    columns: Vec<String>,
    rows: Vec<Vec<Option<String>>>,
}

impl Rows {
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// A value by the name of its column, in any case; `None`: no such row or column, or NULL.
    pub fn get(&self, row: usize, column: &str) -> Option<&str> {
        let column = self.columns.iter().position(|name| name.eq_ignore_ascii_case(column))?;
        self.rows.get(row)?.get(column)?.as_deref()
    }

    /// The first column of the first row.
    pub fn first(&self) -> Option<&str> {
        self.rows.first()?.first()?.as_deref()
    }

    /// Each row's first two columns, where neither is NULL.
    pub fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.rows.iter().filter_map(|row| match row.as_slice() {
            [Some(a), Some(b), ..] => Some((a.as_str(), b.as_str())),
            _ => None,
        })
    }

    /// Each row's first column, where it is not NULL.
    pub fn firsts(&self) -> impl Iterator<Item = &str> {
        self.rows.iter().filter_map(|row| row.first()?.as_deref())
    }
}

impl Connection {
    /// Runs one statement, for as long as connecting may take.
    pub async fn query(&mut self, statement: &str) -> Result<Rows, SourceError> {
        let limit = self.settings.connect_timeout;
        self.begin_answer()?;
        match timeout(limit, self.ask(statement)).await {
            Ok(answer) => {
                if matches!(answer, Ok(_) | Err(SourceError::Server { .. })) {
                    self.end_answer();
                }
                answer
            }
            Err(_) => Err(SourceError::QueryTimeout { statement: statement.chars().take(100).collect(), limit }),
        }
    }

    async fn ask(&mut self, statement: &str) -> Result<Rows, SourceError> {
        const QUERY: u8 = 0x03;
        const MALFORMED: SourceError = SourceError::Protocol("its answer to a query is malformed");
        self.command(QUERY, statement.as_bytes()).await?;
        let head = self.read().await?;
        let columns = match head.first() {
            Some(0x00) => return Ok(Rows::default()),
            Some(0xff) => return Err(server_error(&head)),
            _ => Bytes(&head).lenenc().ok_or(MALFORMED)?,
        };
        let mut answer = Rows::default();
        for _ in 0..columns {
            answer.columns.push(column_name(&self.read().await?).ok_or(MALFORMED)?);
        }
        if !is_end(&self.read().await?) {
            return Err(MALFORMED);
        }
        loop {
            let packet = self.read().await?;
            if is_end(&packet) {
                return Ok(answer);
            }
            if packet.first() == Some(&0xff) {
                return Err(server_error(&packet));
            }
            if answer.rows.len() == ROWS_MAX {
                return Err(SourceError::Protocol("its answer to a query has too many rows"));
            }
            answer.rows.push(row(&packet, answer.columns.len()).ok_or(MALFORMED)?);
        }
    }
}

pub(super) fn is_end(packet: &[u8]) -> bool {
    packet.first() == Some(&0xfe) && packet.len() < 9
}

fn text(packet: &mut Bytes<'_>) -> Option<String> {
    let bytes = usize::try_from(packet.lenenc()?).ok()?;
    Some(String::from_utf8_lossy(packet.take(bytes)?).into_owned())
}

/// Catalog, schema, table and the table's own name come before the column's.
fn column_name(packet: &[u8]) -> Option<String> {
    let mut packet = Bytes(packet);
    for _ in 0..4 {
        text(&mut packet)?;
    }
    text(&mut packet)
}

fn row(packet: &[u8], columns: usize) -> Option<Vec<Option<String>>> {
    const NULL: u8 = 0xfb;
    let mut packet = Bytes(packet);
    let mut row = Vec::with_capacity(columns);
    for _ in 0..columns {
        row.push(if packet.0.first() == Some(&NULL) {
            packet.u8();
            None
        } else {
            Some(text(&mut packet)?)
        });
    }
    Some(row)
}
