//! Rows events: walking their rows, and writing each image in the log's encoding.

use mysync_change::image::{HAS_ABSENT, bitmap_len};

use super::error::DecodeError;
use super::step::{BadValue, Width};
use crate::event::{Bytes, EventKind};
use crate::plan::{Plan, RowWidths, Step};

/// What a rows event did to its rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Rows with an after image.
    Insert,
    /// Rows with a before and an after image.
    Update,
    /// Rows with a before image.
    Delete,
}

/// A rows event whose rows have not been looked at: they need their table's plan.
#[derive(Debug, Clone, Copy)]
pub struct RowsEvent<'a> {
    pub change: Change,
    /// Names the TABLE_MAP event that describes the rows.
    pub table_id: u64,
    flags: u16,
    columns: usize,
    /// Columns that images hold: of the first image of a row, and of the second one of an update.
    first: &'a [u8],
    second: &'a [u8],
    rows: &'a [u8],
}

/// In `flags`: the statement ends, and with it what its TABLE_MAP events said.
const END_OF_STATEMENT: u16 = 1;
/// The number of no table: such an event has no rows and only ends a statement.
const NO_TABLE: u64 = 0x00FF_FFFF;

impl<'a> RowsEvent<'a> {
    /// Reads the front of a rows event's body (no header, no checksum).
    pub fn parse(kind: EventKind, body: &'a [u8]) -> Result<Self, DecodeError> {
        use EventKind as K;
        let (change, extra) = match kind {
            K::WriteRowsV1 => (Change::Insert, false),
            K::UpdateRowsV1 => (Change::Update, false),
            K::DeleteRowsV1 => (Change::Delete, false),
            K::WriteRows => (Change::Insert, true),
            K::UpdateRows => (Change::Update, true),
            K::DeleteRows => (Change::Delete, true),
            K::PartialUpdateRows => return Err(DecodeError::PartialJson),
            _ => return Err(DecodeError::UnknownRows { kind }),
        };
        Self::read(change, extra, body).ok_or(DecodeError::RowsDamaged { what: "it ends before its first row" })
    }

    fn read(change: Change, extra: bool, body: &'a [u8]) -> Option<Self> {
        let mut body = Bytes(body);
        let [a, b, c, d, e, f] = body.array()?;
        let table_id = u64::from_le_bytes([a, b, c, d, e, f, 0, 0]);
        let flags = body.u16()?;
        if extra {
            // The length counts its own two bytes.
            let len = usize::from(body.u16()?).checked_sub(2)?;
            body.take(len)?;
        }
        let columns = usize::try_from(body.lenenc()?).ok()?;
        let first = body.take(columns.div_ceil(8))?;
        let second = if change == Change::Update { body.take(columns.div_ceil(8))? } else { first };
        Some(Self { change, table_id, flags, columns, first, second, rows: body.0 })
    }

    /// Whether the event belongs to no table and has no rows: it only ends a statement.
    pub fn is_empty(&self) -> bool {
        self.table_id == NO_TABLE && self.rows.is_empty()
    }

    pub fn ends_statement(&self) -> bool {
        self.flags & END_OF_STATEMENT != 0
    }

    /// Bytes that the rows take.
    pub fn row_bytes(&self) -> usize {
        self.rows.len()
    }

    /// The rows, as `plan` reads them.
    pub fn rows<'p>(&self, plan: &'p Plan) -> Result<Rows<'p, 'a>, DecodeError> {
        let mapped = plan.steps().len();
        if self.columns != mapped {
            return Err(DecodeError::ColumnCount { table: plan.shape().full_name(), wire: self.columns, mapped });
        }
        let first = Present::new(self.first, mapped);
        // A row of no bytes could not be told from no row.
        if self.rows.is_empty() || first.columns == 0 {
            return Err(DecodeError::RowsDamaged { what: "it has no rows" });
        }
        let second = Present::new(self.second, mapped);
        Ok(Rows { plan, change: self.change, first, second, wire: Bytes(self.rows) })
    }
}

impl RowsEvent<'_> {
    /// How many rows there are, of a table that is not captured. Rows that cannot be told apart count as one.
    pub fn count(&self, widths: &RowWidths) -> u64 {
        let Some(steps) = widths.steps().filter(|steps| steps.len() == self.columns) else { return 1 };
        let images = if self.change == Change::Update {
            [Some(self.first), Some(self.second)]
        } else {
            [Some(self.first), None]
        };
        let images = images.map(|bitmap| bitmap.map(|bitmap| Present::new(bitmap, steps.len())));
        let (mut wire, mut rows) = (Bytes(self.rows), 0);
        while !wire.is_empty() {
            let left = wire.0.len();
            let row =
                images.iter().flatten().try_for_each(|present| skip_values(steps.iter().copied(), present, &mut wire));
            let taken = left - wire.0.len();
            if row.is_none() || taken == 0 {
                return 1;
            }
            rows += 1;
        }
        rows
    }
}

/// Which columns the images of an event hold.
#[derive(Debug, Clone, Copy)]
struct Present<'a> {
    bitmap: &'a [u8],
    /// How many.
    columns: usize,
    all: bool,
}

impl<'a> Present<'a> {
    fn new(bitmap: &'a [u8], mapped: usize) -> Self {
        let columns = (0..mapped).filter(|at| bit(bitmap, *at)).count();
        Self { bitmap, columns, all: columns == mapped }
    }
}

#[inline]
fn bit(bitmap: &[u8], at: usize) -> bool {
    bitmap.get(at / 8).is_some_and(|byte| byte >> (at % 8) & 1 == 1)
}

#[inline]
fn set_bit(bitmap: &mut [u8], at: usize) {
    if let Some(byte) = bitmap.get_mut(at / 8) {
        *byte |= 1 << (at % 8);
    }
}

/// The rows of one event, in order.
///
/// For each row the caller asks for the images that its change has, before first; or skips it.
#[derive(Debug)]
pub struct Rows<'p, 'a> {
    plan: &'p Plan,
    change: Change,
    first: Present<'a>,
    second: Present<'a>,
    wire: Bytes<'a>,
}

/// What went wrong inside an image.
enum Fault {
    Short,
    Value { step: usize, bad: BadValue },
}

impl Rows<'_, '_> {
    /// Whether all rows have been taken.
    pub fn is_empty(&self) -> bool {
        self.wire.is_empty()
    }

    /// Appends the before image of an update or delete to `out`, and notes in `keys` where its key stands.
    ///
    /// After an error `out` holds part of an image, and the event cannot be gone on with.
    #[inline]
    pub fn before(&mut self, out: &mut Vec<u8>, keys: &mut KeySpans) -> Result<(), DecodeError> {
        append_image(self.plan, &self.first, &mut self.wire, out, keys).map_err(|fault| explain(self.plan, fault))
    }

    /// The same with the after image of an insert or update.
    #[inline]
    pub fn after(&mut self, out: &mut Vec<u8>, keys: &mut KeySpans) -> Result<(), DecodeError> {
        append_image(self.plan, &self.second, &mut self.wire, out, keys).map_err(|fault| explain(self.plan, fault))
    }

    /// Goes past a row with all its images.
    pub fn skip(&mut self) -> Result<(), DecodeError> {
        let images = if self.change == Change::Update {
            [Some(self.first), Some(self.second)]
        } else {
            [Some(self.first), None]
        };
        let all = images.iter().flatten().try_for_each(|present| skip_image(self.plan, present, &mut self.wire));
        all.ok_or_else(|| explain(self.plan, Fault::Short))
    }
}

#[cold]
fn explain(plan: &Plan, fault: Fault) -> DecodeError {
    let table = plan.shape().full_name();
    let Fault::Value { step, bad } = fault else { return DecodeError::RowShort { table } };
    let place = plan.steps().get(step).map_or(usize::MAX, |step| usize::from(step.place));
    let column = plan.shape().columns.get(place);
    let name = column.map(|column| column.name.clone()).unwrap_or_default();
    match bad {
        BadValue::What(what) => DecodeError::BadValue { table, column: name, what },
        BadValue::Text => {
            let charset = column.and_then(|column| column.attributes.iter().find(|(key, _)| key == "charset"));
            let charset = charset.map(|(_, charset)| charset.clone()).unwrap_or_default();
            DecodeError::BadText { table, column: name, charset }
        }
    }
}

fn append_image(
    plan: &Plan,
    present: &Present<'_>,
    wire: &mut Bytes<'_>,
    out: &mut Vec<u8>,
    keys: &mut KeySpans,
) -> Result<(), Fault> {
    let nulls = wire.take(bitmap_len(present.columns)).ok_or(Fault::Short)?;
    let start = out.len();
    let bitmap = bitmap_len(plan.shape().columns.len());
    out.push(if present.all { 0 } else { HAS_ABSENT });
    out.resize(start + 1 + if present.all { bitmap } else { 2 * bitmap }, 0);
    keys.reset(plan.shape().primary_key.len());
    let mut at_wire = 0;
    for (at, step) in plan.steps().iter().enumerate() {
        if !present.all && !bit(present.bitmap, at) {
            mark(out, start + 1 + bitmap, step);
            continue;
        }
        let null = bit(nulls, at_wire);
        at_wire += 1;
        if null {
            mark(out, start + 1, step);
            continue;
        }
        let raw = step.width.take(wire).ok_or(Fault::Short)?;
        let Some(convert) = &step.convert else { continue };
        let from = out.len();
        convert.append(raw, out).map_err(|bad| Fault::Value { step: at, bad })?;
        if let Some(key) = step.key {
            keys.set(key, from, out.len());
        }
    }
    if plan.shape().primary_key.is_empty() {
        keys.whole(start, out.len());
    }
    Ok(())
}

fn skip_image(plan: &Plan, present: &Present<'_>, wire: &mut Bytes<'_>) -> Option<()> {
    skip_values(plan.steps().iter().map(|step| step.width), present, wire)
}

fn skip_values(widths: impl Iterator<Item = Width>, present: &Present<'_>, wire: &mut Bytes<'_>) -> Option<()> {
    let nulls = wire.take(bitmap_len(present.columns))?;
    let widths = widths.enumerate().filter(|(at, _)| present.all || bit(present.bitmap, *at));
    for (at_wire, (_, width)) in widths.enumerate() {
        if !bit(nulls, at_wire) {
            width.take(wire)?;
        }
    }
    Some(())
}

/// Sets a column's bit in the bitmap at `bitmap`, unless the column is excluded.
#[inline]
fn mark(out: &mut [u8], bitmap: usize, step: &Step) {
    if step.convert.is_some() {
        set_bit(out.get_mut(bitmap..).unwrap_or_default(), step.place.into());
    }
}

/// Where the values of an image's key stand in the buffer that it was appended to.
///
/// The bytes there are the key: equal keys have equal bytes. A table without a primary key has its whole image for a key.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct KeySpans {
    /// Start and end by place in the key; an empty one is a column that the image does not hold.
    spans: Vec<(usize, usize)>,
}

impl KeySpans {
    #[inline]
    pub(crate) fn reset(&mut self, columns: usize) {
        self.spans.clear();
        self.spans.resize(columns, (0, 0));
    }

    #[inline]
    pub(crate) fn set(&mut self, key: u16, start: usize, end: usize) {
        if let Some(span) = self.spans.get_mut(usize::from(key)) {
            *span = (start, end);
        }
    }

    pub(crate) fn whole(&mut self, start: usize, end: usize) {
        self.spans.push((start, end));
    }

    /// The key's bytes in `out`, column after column in key order.
    #[inline]
    pub fn parts<'k>(&'k self, out: &'k [u8]) -> impl Iterator<Item = &'k [u8]> {
        self.spans.iter().map(|(start, end)| out.get(*start..*end).unwrap_or_default())
    }

    /// Whether an update gave its row another key: `self` before, `after` after it. Columns that the after image does not hold are as before.
    #[inline]
    pub fn changed(&self, after: &KeySpans, out: &[u8]) -> bool {
        self.parts(out).zip(after.parts(out)).any(|(before, after)| !after.is_empty() && before != after)
    }
}
