//! The way of events into blocks, as the source goes it.

use std::hint::black_box;

use mysync_binlog::event::{Checksum, Framing};
use mysync_binlog::source::{EventReader, Selected, Step};
use mysync_change::block::BlockBuilder;
use mysync_change::envelope::LogId;
use mysync_change::pattern::Pattern;
use mysync_change::position::{Checkpoint, FilePosition, GtidSet, SourcePosition};
use mysync_change::routing::Layout;

use super::workload::{FILE, Workload};

/// What is decoded for.
#[derive(Debug, Clone, Copy)]
pub struct Log {
    pub partitions: usize,
    pub layout: Layout,
}

impl Log {
    pub const EMBEDDED: Self = Self { partitions: 1, layout: Layout::Runs };
    pub const OF_KEYS: Self = Self { partitions: 4, layout: Layout::Keyed };

    pub fn new_block(self) -> BlockBuilder {
        BlockBuilder::new(LogId([7; 16]), 1, &vec![0; self.partitions]).in_layout(self.layout)
    }
}

/// A stream, from its beginning.
pub struct Decoding {
    framing: Framing,
    reader: EventReader,
}

impl Decoding {
    pub fn new() -> Self {
        let selected = Selected { tables: vec![Pattern::new("bench.*")], ..Selected::default() };
        let file = FilePosition { file: FILE.into(), offset: 4 };
        let position = SourcePosition { gtids: Some(GtidSet::default()), file };
        let from = Checkpoint::new(position, String::new());
        Self {
            framing: Framing::new(Checksum::Crc32),
            reader: EventReader::new(selected, 1 << 30, &from, true).unwrap(),
        }
    }

    /// Takes the stream's next events. Answers how many rows were stored.
    pub fn take(&mut self, workload: &Workload, block: &mut BlockBuilder) -> u64 {
        let mut rows = 0;
        for bytes in workload.events() {
            let event = self.framing.event(bytes).unwrap();
            let mut step = self.reader.take(&event, block).unwrap();
            while step == Step::Full {
                rows += store(block);
                step = self.reader.go_on(block).unwrap();
            }
            if block.is_full() && !self.reader.is_inside() {
                rows += store(block);
            }
        }
        rows + store(block)
    }
}

fn store(block: &mut BlockBuilder) -> u64 {
    let rows = block.rows();
    block.seal();
    black_box(block.partitions());
    block.stored();
    rows
}
