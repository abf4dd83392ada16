//! Rows of an event into records of a block.
//!
//! Where a table has one partition a row is decoded straight into the bytes that the log keeps. With several its key decides where it goes, and
//! a log of keys has it under its key: it is decoded aside first. A change of the key is two records, one under each key, and both have both
//! images.

use mysync_change::block::BlockBuilder;
use mysync_change::envelope::EnvelopeError;
use mysync_change::image::HAS_ABSENT;
use mysync_change::key;
use mysync_change::routing::{self, Layout};
use mysync_change::rows::Operation;
use mysync_change::schema::{Fingerprint, TableShape};
use mysync_change::topics::Span;

use crate::decode::{Change, DecodeError, KeySpans, Rows, RowsEvent};
use crate::dump::Windows;
use crate::plan::Plan;

/// What is needed for one row after the other.
#[derive(Debug, Default)]
pub(super) struct RowWriter {
    router: Router,
    /// Images that are not where the log keeps them.
    aside: Vec<u8>,
    before: KeySpans,
    after: KeySpans,
}

/// Says where rows of a table go.
#[derive(Debug, Default)]
struct Router {
    span: Span,
    key: Vec<u8>,
}

/// Where a row goes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Route<'k> {
    pub partition: usize,
    /// Empty if nobody asks for it.
    pub key: &'k [u8],
}

impl Router {
    /// Whether rows need their keys.
    fn asks(&self, layout: Layout) -> bool {
        self.span.count > 1 || layout == Layout::Keyed
    }

    #[inline]
    fn route<'v>(&mut self, layout: Layout, shape: &TableShape, values: impl Iterator<Item = &'v [u8]>) -> Route<'_> {
        self.key.clear();
        if !self.asks(layout) {
            return Route { partition: self.span.first, key: &self.key };
        }
        key::write(&shape.database, &shape.name, values, &mut self.key);
        Route { partition: self.span.first + routing::partition(&self.key, self.span.count), key: &self.key }
    }
}

/// Why a row could not be written.
pub(super) enum RowError {
    Decode(DecodeError),
    Record(EnvelopeError),
}

impl From<DecodeError> for RowError {
    fn from(error: DecodeError) -> Self {
        Self::Decode(error)
    }
}

impl From<EnvelopeError> for RowError {
    fn from(error: EnvelopeError) -> Self {
        Self::Record(error)
    }
}

impl RowWriter {
    /// Writes the event's rows behind the first `skip` ones; `number` is the first row's place in its transaction. `noted`: who wants to know
    /// their keys. Answers how many rows the event has.
    pub fn write(
        &mut self,
        event: &RowsEvent<'_>,
        plan: &Plan,
        number: u64,
        skip: u64,
        block: &mut BlockBuilder,
        mut noted: Option<&mut Windows>,
    ) -> Result<u64, RowError> {
        let mut rows = event.rows(plan)?;
        self.begin(plan.shape(), plan.fingerprint(), block);
        let mut count = 0;
        while !rows.is_empty() {
            if count < skip {
                rows.skip()?;
            } else if self.router.asks(block.layout()) {
                self.write_by_key(&mut rows, event.change, plan, number + count, block, noted.as_deref_mut())?;
            } else {
                self.write_in_place(&mut rows, event.change, plan, number + count, block, noted.as_deref_mut())?;
            }
            count += 1;
        }
        Ok(count)
    }

    /// Rows of this table follow.
    pub fn begin(&mut self, shape: &TableShape, fingerprint: Fingerprint, block: &mut BlockBuilder) {
        self.router.span = block.span(fingerprint, shape);
    }

    /// Where the row of these values goes.
    pub fn route<'v>(
        &mut self,
        layout: Layout,
        shape: &TableShape,
        values: impl Iterator<Item = &'v [u8]>,
    ) -> Route<'_> {
        self.router.route(layout, shape, values)
    }

    #[inline]
    fn write_in_place(
        &mut self,
        rows: &mut Rows<'_, '_>,
        change: Change,
        plan: &Plan,
        number: u64,
        block: &mut BlockBuilder,
        noted: Option<&mut Windows>,
    ) -> Result<(), RowError> {
        let Self { before, after, aside, router } = self;
        let partition = router.span.first;
        match change {
            Change::Insert => {
                let mut row = block.row(partition, plan.fingerprint(), Operation::Insert, number)?;
                rows.after(row.images(), after)?;
                note(noted, after, row.images());
                row.finish(true);
            }
            Change::Delete => {
                let mut row = block.row(partition, plan.fingerprint(), Operation::Delete, number)?;
                rows.before(row.images(), before)?;
                note(noted, before, row.images());
                row.end_before();
                row.finish(false);
            }
            Change::Update => {
                let mut row = block.row(partition, plan.fingerprint(), Operation::Update, number)?;
                let start = row.images().len();
                rows.before(row.images(), before)?;
                row.end_before();
                let middle = row.images().len();
                rows.after(row.images(), after)?;
                note_both(noted, before, after, row.images());
                if !before.changed(after, row.images()) {
                    row.finish(true);
                    return Ok(());
                }
                aside.clear();
                aside.extend_from_slice(row.images().get(start..).unwrap_or_default());
                row.operation(Operation::MoveOut);
                row.finish(true);
                let route = Route { partition, key: &[] };
                put(block, route, plan.fingerprint(), Operation::MoveIn, number, aside.split_at(middle - start), true)?;
            }
        }
        Ok(())
    }

    fn write_by_key(
        &mut self,
        rows: &mut Rows<'_, '_>,
        change: Change,
        plan: &Plan,
        number: u64,
        block: &mut BlockBuilder,
        noted: Option<&mut Windows>,
    ) -> Result<(), RowError> {
        let Self { router, before, after, aside } = self;
        let (layout, shape, fingerprint) = (block.layout(), plan.shape(), plan.fingerprint());
        aside.clear();
        match change {
            Change::Insert => {
                rows.after(aside, after)?;
                note(noted, after, aside);
                let route = router.route(layout, shape, after.parts(aside));
                put(block, route, fingerprint, Operation::Insert, number, (&[], aside), true)?;
            }
            Change::Delete => {
                rows.before(aside, before)?;
                note(noted, before, aside);
                let route = router.route(layout, shape, before.parts(aside));
                put(block, route, fingerprint, Operation::Delete, number, (aside, &[]), false)?;
            }
            Change::Update => {
                rows.before(aside, before)?;
                let middle = aside.len();
                rows.after(aside, after)?;
                note_both(noted, before, after, aside);
                let images = aside.split_at(middle);
                // It takes the place of the rows before it under its key, and must hold all that they held.
                if layout == Layout::Keyed && images.1.first().is_some_and(|flags| flags & HAS_ABSENT != 0) {
                    return Err(DecodeError::RowPartial { table: shape.full_name() }.into());
                }
                let old = router.route(layout, shape, before.parts(aside));
                if !before.changed(after, aside) {
                    put(block, old, fingerprint, Operation::Update, number, images, true)?;
                    return Ok(());
                }
                put(block, old, fingerprint, Operation::MoveOut, number, images, true)?;
                // A part of the key that the after image does not hold is as it was.
                let parts = before.parts(aside).zip(after.parts(aside));
                let parts = parts.map(|(before, after)| if after.is_empty() { before } else { after });
                let new = router.route(layout, shape, parts);
                put(block, new, fingerprint, Operation::MoveIn, number, images, true)?;
            }
        }
        Ok(())
    }
}

/// Tells who wants to know of a key.
#[inline]
fn note(noted: Option<&mut Windows>, key: &KeySpans, images: &[u8]) {
    if let Some(windows) = noted {
        windows.note(key.parts(images));
    }
}

#[inline]
fn note_both(noted: Option<&mut Windows>, before: &KeySpans, after: &KeySpans, images: &[u8]) {
    if let Some(windows) = noted {
        windows.note(before.parts(images));
        if before.changed(after, images) {
            // A part that the after image does not hold is as it was.
            let parts = before.parts(images).zip(after.parts(images));
            windows.note(parts.map(|(before, after)| if after.is_empty() { before } else { after }));
        }
    }
}

/// Writes a row whose images stand elsewhere. An empty before image means that there is none.
fn put(
    block: &mut BlockBuilder,
    route: Route<'_>,
    shape: Fingerprint,
    operation: Operation,
    number: u64,
    (before, after): (&[u8], &[u8]),
    has_after: bool,
) -> Result<(), EnvelopeError> {
    let mut row = block.keyed_row(route.partition, route.key, shape, operation, number)?;
    row.images().extend_from_slice(before);
    if !before.is_empty() {
        row.end_before();
    }
    row.images().extend_from_slice(after);
    row.finish(has_after);
    Ok(())
}
