//! Shapes as a writer has asked for them, and the way of a row image into its columns.

use std::collections::HashMap;
use std::sync::Arc;

use super::{ColumnValues, Images, Packed, Values};
use crate::envelope::EnvelopeError;
use crate::image::Image;
use crate::schema::{Fingerprint, Storage, TableShape};

/// What a writer needs of a table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// Its rows are not sent.
    pub ignore: bool,
    /// Places in the shape's columns, in the order of the images' columns.
    pub columns: Vec<u16>,
    /// Updates carry before images.
    pub before: bool,
    pub transaction_ids: bool,
    /// Non-key columns that names of store entries are made of.
    pub order_by: Vec<u16>,
}

/// A shape with a writer's plan for it, ready for use.
#[derive(Debug)]
pub struct PlannedShape {
    pub fingerprint: Fingerprint,
    pub shape: Arc<TableShape>,
    pub plan: Plan,
    /// For each column up to the last that is wanted: its storage, and its place among the images' columns.
    steps: Vec<(Storage, Option<u16>)>,
}

impl PlannedShape {
    pub fn new(fingerprint: Fingerprint, shape: Arc<TableShape>, plan: Plan) -> Self {
        let wanted = |at: usize| plan.columns.iter().position(|c| usize::from(*c) == at).map(|i| i as u16);
        let last = plan.columns.iter().max().map_or(0, |c| usize::from(*c) + 1);
        let steps = shape.columns.iter().take(last).enumerate().map(|(i, c)| (c.storage, wanted(i))).collect();
        Self { fingerprint, shape, plan, steps }
    }

    pub(super) fn new_images(&self) -> Images {
        let column = |at: &u16| {
            let values = match self.shape.columns[usize::from(*at)].storage {
                Storage::Signed => Values::Signed(Vec::new()),
                Storage::Unsigned => Values::Unsigned(Vec::new()),
                Storage::Float => Values::Float(Vec::new()),
                Storage::Double => Values::Double(Vec::new()),
                Storage::Text => Values::Text(Packed::default()),
                Storage::Bytes => Values::Bytes(Packed::default()),
            };
            ColumnValues { values, nulls: Vec::new(), absent: Vec::new() }
        };
        Images { rows: Vec::new(), columns: self.plan.columns.iter().map(column).collect() }
    }

    #[inline]
    pub(super) fn push(&self, images: &mut Images, row: u32, bytes: &[u8]) -> Result<(), EnvelopeError> {
        let damaged = |what: &'static str| EnvelopeError::Damaged { at: 0, what: what.to_owned() };
        let image = Image::new(bytes, self.shape.columns.len())
            .map_err(|error| EnvelopeError::Damaged { at: error.at, what: error.to_string() })?;
        let index = images.rows.len();
        images.rows.push(row);
        let mut rest = image.value_bytes();
        for (at, (storage, wanted)) in self.steps.iter().enumerate() {
            let null = image.is_null(at);
            if null || image.is_absent(at) {
                if let Some(column) = wanted {
                    images.columns[usize::from(*column)].push_nothing(index, null);
                }
                continue;
            }
            let value = match storage {
                Storage::Float => take(&mut rest, 4),
                Storage::Signed | Storage::Unsigned | Storage::Double => take(&mut rest, 8),
                Storage::Text | Storage::Bytes => take(&mut rest, 4)
                    .and_then(|len| Some(u32::from_le_bytes(len.try_into().ok()?)))
                    .and_then(|len| take(&mut rest, len as usize)),
            };
            let value = value.ok_or_else(|| damaged("a row image ends inside a value"))?;
            let Some(column) = wanted else { continue };
            match &mut images.columns[usize::from(*column)].values {
                Values::Signed(list) => list.push(i64::from_le_bytes(word(value))),
                Values::Unsigned(list) => list.push(u64::from_le_bytes(word(value))),
                Values::Double(list) => list.push(f64::from_le_bytes(word(value))),
                Values::Float(list) => list.push(f32::from_le_bytes(word(value))),
                Values::Text(packed) | Values::Bytes(packed) => packed.push(value),
            }
        }
        Ok(())
    }
}

#[inline]
fn take<'a>(rest: &mut &'a [u8], len: usize) -> Option<&'a [u8]> {
    let (value, tail) = rest.split_at_checked(len)?;
    *rest = tail;
    Some(value)
}

/// The caller has taken exactly `N` bytes.
#[inline]
fn word<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes.try_into().unwrap_or([0; N])
}

/// The shapes that a writer has been shown. A shape's place in the order of showing is its id.
#[derive(Debug, Default)]
pub struct Shapes {
    ids: HashMap<Fingerprint, u32>,
    shapes: Vec<Arc<PlannedShape>>,
}

impl Shapes {
    /// The id that the next shape will have.
    pub fn next_id(&self) -> u32 {
        self.shapes.len() as u32
    }

    pub fn add(&mut self, shape: PlannedShape) {
        self.ids.insert(shape.fingerprint, self.next_id());
        self.shapes.push(Arc::new(shape));
    }

    pub fn get(&self, id: u32) -> Option<&Arc<PlannedShape>> {
        self.shapes.get(id as usize)
    }

    pub(super) fn find(&self, fingerprint: Fingerprint) -> Option<(u32, &PlannedShape)> {
        let id = *self.ids.get(&fingerprint)?;
        Some((id, self.get(id)?))
    }
}
