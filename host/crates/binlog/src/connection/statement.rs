use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::time::timeout;

use super::handshake::server_error;
use super::query::is_end;
use super::{Connection, SourceError};
use crate::event::Bytes;

/// A server that goes past many deleted rows, or waits for its disk, says nothing for a while.
const SILENCE_MAX: Duration = Duration::from_secs(60);
const MALFORMED: SourceError = SourceError::Protocol("its answer to a statement is malformed");

/// A column of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SentColumn {
    /// Its type's number, as in TABLE_MAP events.
    pub kind: u8,
    pub collation: u16,
}

/// The rows of a statement in the binary protocol, as they come. None is copied, and nothing is allocated for one.
///
/// Who does not take all of them, or [`Answer::drain`]s the rest, leaves a connection that is of no more use.
pub(crate) struct Answer<'c> {
    connection: &'c mut Connection,
    statement: u32,
    columns: Vec<SentColumn>,
}

/// What has come of an answer.
pub(crate) enum Came<'a> {
    /// NULL bits and values of a row.
    Row(&'a [u8]),
    /// Nothing whole: call [`Answer::fill`].
    Nothing,
    End,
}

impl Connection {
    /// Runs a statement that returns rows, none of which may be longer than `row_bytes_max`.
    pub(crate) async fn execute(&mut self, statement: &str, row_bytes_max: usize) -> Result<Answer<'_>, SourceError> {
        const EXECUTE: u8 = 0x17;
        const ONCE_WITHOUT_CURSOR: [u8; 5] = [0, 1, 0, 0, 0];
        self.begin_answer()?;
        let statement = match self.prepare_statement(statement).await {
            Ok(statement) => statement,
            Err(error) => return Err(self.refused(error)),
        };
        self.command(EXECUTE, &[&statement.to_le_bytes()[..], &ONCE_WITHOUT_CURSOR].concat()).await?;
        let head = self.read_in_time().await?;
        if head.first() == Some(&0xff) {
            let error = self.refused(server_error(&head));
            self.close_statement(statement).await?;
            return Err(error);
        }
        let count = Bytes(&head).lenenc().filter(|count| *count <= u16::MAX.into()).ok_or(MALFORMED)?;
        let mut columns = Vec::with_capacity(count as usize);
        for _ in 0..count {
            columns.push(sent_column(&self.read_in_time().await?).ok_or(MALFORMED)?);
        }
        if !is_end(&self.read_in_time().await?) {
            return Err(MALFORMED);
        }
        self.packets.set_packet_bytes_max(row_bytes_max);
        Ok(Answer { connection: self, statement, columns })
    }

    /// Has the server compile a statement, and answers its number. It has no parameters, so only its columns are described.
    async fn prepare_statement(&mut self, statement: &str) -> Result<u32, SourceError> {
        const PREPARE: u8 = 0x16;
        self.command(PREPARE, statement.as_bytes()).await?;
        let head = self.read_in_time().await?;
        if head.first() == Some(&0xff) {
            return Err(server_error(&head));
        }
        let mut head = Bytes(&head);
        let mut numbers = || Some((head.u8().filter(|ok| *ok == 0)?, head.u32()?, head.u16()?, head.u16()?));
        let Some((_, number, columns @ 1.., 0)) = numbers() else { return Err(MALFORMED) };
        for _ in 0..columns {
            self.read_in_time().await?;
        }
        if is_end(&self.read_in_time().await?) { Ok(number) } else { Err(MALFORMED) }
    }

    /// The server answers nothing to this.
    async fn close_statement(&mut self, number: u32) -> Result<(), SourceError> {
        const CLOSE: u8 = 0x19;
        self.command(CLOSE, &number.to_le_bytes()).await
    }

    /// An error of the server's is a whole answer: the connection can be gone on with.
    fn refused(&mut self, error: SourceError) -> SourceError {
        if matches!(error, SourceError::Server { .. }) {
            self.end_answer();
        }
        error
    }

    async fn read_in_time(&mut self) -> Result<Vec<u8>, SourceError> {
        timeout(SILENCE_MAX, self.read()).await.unwrap_or(Err(silent()))
    }
}

fn silent() -> SourceError {
    SourceError::QueryTimeout { statement: "SELECT of rows".to_owned(), limit: SILENCE_MAX }
}

impl Answer<'_> {
    pub fn columns(&self) -> &[SentColumn] {
        &self.columns
    }

    /// The next row that has come whole.
    #[inline]
    pub fn next(&mut self) -> Result<Came<'_>, SourceError> {
        let Some(packet) = self.connection.packets.next_packet()? else { return Ok(Came::Nothing) };
        match packet.split_first() {
            Some((0x00, row)) => Ok(Came::Row(row)),
            Some((0xfe, _)) if is_end(packet) => Ok(Came::End),
            Some((0xff, _)) => {
                self.connection.answer_is_open = false;
                Err(server_error(packet))
            }
            _ => Err(MALFORMED),
        }
    }

    /// Waits until more bytes have come.
    pub async fn fill(&mut self) -> Result<(), SourceError> {
        let connection = &mut *self.connection;
        let read = connection.transport.read(connection.packets.room());
        match timeout(SILENCE_MAX, read).await {
            Err(_) => Err(silent()),
            Ok(Err(error)) => Err(error.into()),
            Ok(Ok(0)) => Err(SourceError::Closed),
            Ok(Ok(bytes)) => {
                connection.packets.came(bytes);
                Ok(())
            }
        }
    }

    /// Goes past all rows that are left, and gives the connection back.
    pub async fn drain(mut self) -> Result<(), SourceError> {
        loop {
            match self.next()? {
                Came::Row(_) => {}
                Came::Nothing => self.fill().await?,
                Came::End => return self.close().await,
            }
        }
    }

    /// For after the last row.
    pub async fn close(self) -> Result<(), SourceError> {
        self.connection.end_answer();
        self.connection.close_statement(self.statement).await
    }
}

/// Catalog, database, names of table and column come first, each in two forms.
fn sent_column(packet: &[u8]) -> Option<SentColumn> {
    let mut packet = Bytes(packet);
    for _ in 0..6 {
        let len = usize::try_from(packet.lenenc()?).ok()?;
        packet.take(len)?;
    }
    let _rest = packet.lenenc()?;
    let collation = packet.u16()?;
    let _length = packet.u32()?;
    Some(SentColumn { kind: packet.u8()?, collation })
}
