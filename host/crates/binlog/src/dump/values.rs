//! Rows of the binary protocol into images, as [`crate::decode`] makes them of rows in the binlog: a value is the same whichever way it comes.

use mysync_change::image::bitmap_len;

use super::DumpError;
use crate::connection::SentColumn;
use crate::decode::KeySpans;
use crate::decode::charset::{self, Charset};
use crate::decode::number::little_endian;
use crate::decode::step::{BadValue, Convert, sized};
use crate::decode::temporal::{put_clock, put_date, put_digits};
use crate::event::Bytes;
use crate::plan::{Plan, Step};
use crate::table_map::{ColumnKind, column_type as t};

/// A column that is selected.
#[derive(Debug)]
pub struct Selected {
    kind: u8,
    /// Of text: the protocol names it, so that a column that was altered meanwhile is not taken for the old one.
    collation: Option<u64>,
    wire: Wire,
    way: Way,
}

/// How a value's bytes are told from the next one's.
#[derive(Debug, Clone, Copy)]
pub enum Wire {
    Fixed(u8),
    /// Behind a length.
    Sized,
    /// Dates and times: behind a length of one byte.
    Short,
}

impl Wire {
    #[inline]
    pub fn take<'a>(self, row: &mut Bytes<'a>) -> Option<&'a [u8]> {
        let len = match self {
            Self::Fixed(bytes) => usize::from(bytes),
            Self::Sized => usize::try_from(row.lenenc()?).ok()?,
            Self::Short => usize::from(row.u8()?),
        };
        row.take(len)
    }
}

/// How a value's bytes become a value of an image.
#[derive(Debug)]
enum Way {
    /// They are what the binlog has.
    AsStored,
    Year,
    Decimal,
    Date,
    Time(u8),
    Datetime(u8),
    Timestamp(u8),
    Text(Convert),
}

/// The key's values of the row that was read last, as they were sent: the next chunk begins behind them.
#[derive(Debug, Default)]
pub struct LastKey {
    bytes: Vec<u8>,
    /// By place in the key.
    spans: Vec<(usize, usize)>,
}

impl LastKey {
    pub fn parts(&self) -> impl Iterator<Item = &[u8]> {
        self.spans.iter().map(|(start, end)| self.bytes.get(*start..*end).unwrap_or_default())
    }

    fn reset(&mut self, columns: usize) {
        self.bytes.clear();
        self.spans.clear();
        self.spans.resize(columns, (0, 0));
    }

    fn set(&mut self, key: u16, raw: &[u8]) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(raw);
        if let Some(span) = self.spans.get_mut(usize::from(key)) {
            *span = (start, self.bytes.len());
        }
    }
}

impl Selected {
    /// `step`: what reads the column in the binlog.
    pub fn new(kind: &ColumnKind<'_>, step: &Convert) -> Self {
        use ColumnKind as K;
        let (number, wire) = match *kind {
            K::Integer { bytes: 1, .. } => (t::TINY, Wire::Fixed(1)),
            K::Integer { bytes: 2, .. } => (t::SHORT, Wire::Fixed(2)),
            K::Integer { bytes: 3, .. } => (t::INT24, Wire::Fixed(4)),
            K::Integer { bytes: 4, .. } => (t::LONG, Wire::Fixed(4)),
            K::Integer { .. } => (t::LONGLONG, Wire::Fixed(8)),
            K::Float { .. } => (t::FLOAT, Wire::Fixed(4)),
            K::Double { .. } => (t::DOUBLE, Wire::Fixed(8)),
            K::Decimal { .. } => (t::NEWDECIMAL, Wire::Sized),
            K::Year => (t::YEAR, Wire::Fixed(2)),
            K::Bit { .. } => (t::BIT, Wire::Sized),
            K::Date => (t::DATE, Wire::Short),
            K::Time { .. } | K::OldTime => (t::TIME, Wire::Short),
            K::Datetime { .. } | K::OldDatetime => (t::DATETIME, Wire::Short),
            K::Timestamp { .. } | K::OldTimestamp => (t::TIMESTAMP, Wire::Short),
            K::Char { .. } | K::Enum { .. } | K::Set { .. } => (t::STRING, Wire::Sized),
            K::Varchar { .. } => (t::VAR_STRING, Wire::Sized),
            K::Blob { .. } => (t::BLOB, Wire::Sized),
            K::Json { .. } => (t::JSON, Wire::Sized),
            K::Geometry { .. } => (t::GEOMETRY, Wire::Sized),
            K::Vector { .. } => (t::VECTOR, Wire::Sized),
        };
        let collation = match *kind {
            K::Char { collation, .. }
            | K::Varchar { collation, .. }
            | K::Blob { collation, .. }
            | K::Enum { collation, .. }
            | K::Set { collation, .. } => Some(collation),
            _ => None,
        };
        let way = match step {
            Convert::Year => Way::Year,
            Convert::Decimal(_) => Way::Decimal,
            Convert::Date => Way::Date,
            Convert::Time(decimals) => Way::Time(*decimals),
            Convert::Datetime(decimals) => Way::Datetime(*decimals),
            Convert::Timestamp(decimals) => Way::Timestamp(*decimals),
            // It comes as MySQL prints it, which is how we print what the binlog has.
            Convert::Json => Way::Text(Convert::Text(Charset::Utf8)),
            // As text: a label that information_schema cannot show is right all the same.
            Convert::Enum(_) | Convert::Set(_) => Way::Text(Convert::Text(charset_of(collation))),
            _ => Way::AsStored,
        };
        Self { kind: number, collation, wire, way }
    }

    pub fn is(&self, sent: SentColumn) -> bool {
        self.kind == sent.kind && self.collation.is_none_or(|collation| collation == u64::from(sent.collation))
    }

    #[inline]
    fn append(&self, convert: &Convert, raw: &[u8], out: &mut Vec<u8>) -> Result<(), BadValue> {
        match &self.way {
            Way::AsStored => return convert.append(raw, out),
            Way::Text(convert) => return convert.append(raw, out),
            Way::Year => out.extend_from_slice(&little_endian(raw).to_le_bytes()),
            Way::Decimal => sized(out, |out| {
                decimal(raw, out);
                Ok(())
            })?,
            way => sized(out, |out| {
                let done = match *way {
                    Way::Time(decimals) => time(raw, decimals, out),
                    Way::Datetime(decimals) => datetime(raw, decimals, out),
                    Way::Timestamp(decimals) => datetime(raw, decimals, out).map(|()| out.push(b'Z')),
                    _ => date(&mut Bytes(raw), out),
                };
                done.ok_or(BadValue::What("the bytes are no date or time"))
            })?,
        }
        Ok(())
    }
}

/// Labels of the binary charset are taken for UTF-8, as in the binlog.
fn charset_of(collation: Option<u64>) -> Charset {
    let name = collation.and_then(charset::of_collation).map(|(name, _)| name);
    name.and_then(Charset::named).unwrap_or(Charset::Utf8)
}

/// How a row is read.
#[derive(Debug)]
pub struct RowReader {
    plan: Plan,
    /// By place in the shape.
    columns: Vec<Selected>,
    /// Places in the key of those that are selected once more, behind all of them, as numbers of 8 bytes: it is by these that they are in order.
    numbers: Vec<u16>,
}

impl RowReader {
    pub fn new(plan: Plan, columns: Vec<Selected>, numbers: Vec<u16>) -> Self {
        Self { plan, columns, numbers }
    }

    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Whether an answer has the columns that were asked for.
    pub fn fits(&self, sent: &[SentColumn]) -> bool {
        sent.len() == self.selected()
            && self.columns.iter().zip(sent).all(|(column, sent)| column.is(*sent))
            && sent.iter().skip(self.columns.len()).all(|sent| sent.kind == t::LONGLONG)
    }

    /// Something is always selected, if only a number that stands for a row of which nothing is wanted.
    fn selected(&self) -> usize {
        (self.columns.len() + self.numbers.len()).max(1)
    }

    /// Appends the image of a row to `out`, and notes where its key stands, there and in the row.
    pub fn append(
        &self,
        row: &[u8],
        out: &mut Vec<u8>,
        spans: &mut KeySpans,
        last: &mut LastKey,
    ) -> Result<(), DumpError> {
        /// The protocol's bitmap has two bits that are not used.
        const NULLS_FROM: usize = 2;
        let mut row = Bytes(row);
        let nulls = row.take((self.selected() + NULLS_FROM).div_ceil(8)).ok_or_else(|| self.short())?;
        let is_null = |at: usize| {
            let at = at + NULLS_FROM;
            nulls.get(at / 8).is_some_and(|byte| byte >> (at % 8) & 1 == 1)
        };
        let shape = self.plan.shape();
        let start = out.len();
        out.push(0);
        out.resize(start + 1 + bitmap_len(self.columns.len()), 0);
        spans.reset(shape.primary_key.len());
        last.reset(shape.primary_key.len());
        let wanted = self.plan.steps().iter().filter_map(|step| Some((step, step.convert.as_ref()?)));
        for (at, (column, (step, convert))) in self.columns.iter().zip(wanted).enumerate() {
            if is_null(at) {
                if let Some(byte) = out.get_mut(start + 1 + at / 8) {
                    *byte |= 1 << (at % 8);
                }
                continue;
            }
            let raw = column.wire.take(&mut row).ok_or_else(|| self.short())?;
            let from = out.len();
            column.append(convert, raw, out).map_err(|bad| self.explain(step, bad))?;
            if let Some(key) = step.key {
                spans.set(key, from, out.len());
                last.set(key, raw);
            }
        }
        for key in &self.numbers {
            last.set(*key, row.take(8).ok_or_else(|| self.short())?);
        }
        if shape.primary_key.is_empty() {
            spans.whole(start, out.len());
        }
        Ok(())
    }

    #[cold]
    fn short(&self) -> DumpError {
        let what = "a row ends in the middle".to_owned();
        DumpError::Value { table: self.plan.shape().full_name(), column: "?".to_owned(), what }
    }

    #[cold]
    fn explain(&self, step: &Step, bad: BadValue) -> DumpError {
        let shape = self.plan.shape();
        let column = shape.columns.get(usize::from(step.place));
        let what = match bad {
            BadValue::What(what) => what.to_owned(),
            BadValue::Text => {
                let charset = column.and_then(|column| column.attributes.iter().find(|(key, _)| key == "charset"));
                format!("the bytes are not {}", charset.map_or("UTF-8", |(_, charset)| charset))
            }
        };
        let column = column.map(|column| column.name.clone()).unwrap_or_default();
        DumpError::Value { table: shape.full_name(), column, what }
    }
}

/// MySQL's digits. ZEROFILL has put zeros in front of them.
fn decimal(raw: &[u8], out: &mut Vec<u8>) {
    let digits = match raw.strip_prefix(b"-") {
        Some(digits) => {
            out.push(b'-');
            digits
        }
        None => raw,
    };
    let integers = digits.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let zeros = digits.iter().take_while(|byte| **byte == b'0').count().min(integers.saturating_sub(1));
    out.extend_from_slice(digits.get(zeros..).unwrap_or_default());
}

/// `YYYY-MM-DD`. Nothing is sent of a date that is all zeros.
fn date(raw: &mut Bytes<'_>, out: &mut Vec<u8>) -> Option<()> {
    let (year, month, day) = if raw.is_empty() { (0, 0, 0) } else { (raw.u16()?, raw.u8()?, raw.u8()?) };
    put_date(year.into(), month.into(), day.into(), out);
    Some(())
}

/// `YYYY-MM-DDTHH:MM:SS[.f]`. What is zero at the end is not sent.
fn datetime(raw: &[u8], decimals: u8, out: &mut Vec<u8>) -> Option<()> {
    let mut raw = Bytes(raw);
    date(&mut raw, out)?;
    out.push(b'T');
    let [hour, minute, second] = if raw.is_empty() { [0; 3] } else { raw.array()? };
    put_clock(hour.into(), minute.into(), second.into(), out);
    put_fraction(raw, decimals, out)
}

/// `[-]HH:MM:SS[.f]`. Hours beyond a day are sent as days.
fn time(raw: &[u8], decimals: u8, out: &mut Vec<u8>) -> Option<()> {
    let mut raw = Bytes(raw);
    let (negative, days) = if raw.is_empty() { (0, 0) } else { (raw.u8()?, raw.u32()?) };
    let [hour, minute, second] = if raw.is_empty() { [0; 3] } else { raw.array()? };
    if negative != 0 {
        out.push(b'-');
    }
    put_clock(u64::from(days) * 24 + u64::from(hour), minute.into(), second.into(), out);
    put_fraction(raw, decimals, out)
}

fn put_fraction(mut raw: Bytes<'_>, decimals: u8, out: &mut Vec<u8>) -> Option<()> {
    let micros = if raw.is_empty() { 0 } else { raw.u32()? };
    if decimals > 0 {
        out.push(b'.');
        put_digits(u64::from(micros) / 10_u64.pow(6_u32.saturating_sub(decimals.into())), decimals, out);
    }
    raw.is_empty().then_some(())
}
