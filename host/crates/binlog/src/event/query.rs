use super::{Bytes, Event, EventError};

/// A statement: the begin of a transaction, a DDL, or with a binlog format other than ROW a change itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Query<'a> {
    pub database: &'a [u8],
    pub statement: &'a [u8],
    /// What the statement ended with on its server; 0: well.
    pub error: u16,
}

impl<'a> Query<'a> {
    #[inline]
    pub fn parse(event: &Event<'a>) -> Result<Self, EventError> {
        Self::cut(event.body).ok_or_else(|| event.malformed("statement"))
    }

    #[inline]
    fn cut(body: &'a [u8]) -> Option<Self> {
        let mut body = Bytes(body);
        let [_thread @ .., _t0, _t1, _t2, _t3, database, e0, e1, v0, v1] = body.array::<13>()?;
        let variables = u16::from_le_bytes([v0, v1]);
        body.take(variables as usize)?;
        let name = body.take(database as usize)?;
        (body.u8()? == 0).then_some(Self { database: name, statement: body.0, error: u16::from_le_bytes([e0, e1]) })
    }

    /// Whether a transaction begins here.
    #[inline]
    pub fn is_begin(&self) -> bool {
        self.statement == b"BEGIN"
    }
}
