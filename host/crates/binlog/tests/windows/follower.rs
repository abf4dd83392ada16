//! The stream as the program reads it.

use std::time::Duration;

use mysync_binlog::connection::{ConnectionSettings, EventStream, StreamFrom};
use mysync_binlog::server;
use mysync_binlog::source::{EventReader, Selected, Step};
use mysync_change::block::BlockBuilder;
use mysync_change::envelope::LogId;
use mysync_change::pattern::Pattern;
use mysync_change::position::{Checkpoint, SourcePosition};
use mysync_test_support::Mysql;
use tokio::time::timeout;

use crate::records::{Blocks, Entry, Record};
use crate::servers::connect;

pub struct Follower {
    stream: EventStream,
    reader: EventReader,
    block: BlockBuilder,
    blocks: Blocks,
    pub records: Vec<Record>,
}

impl Follower {
    /// From here on, everything of the database `w`.
    pub async fn start(mysql: &Mysql) -> Self {
        let mut session = connect(mysql).await;
        let position = server::position(&mut session).await.unwrap();
        let has_gtids = position.gtids.is_some();
        let from = Checkpoint::new(position, server::uuid(&mut session).await.unwrap());
        let selected = Selected { tables: vec![Pattern::new("w.*")], ..Selected::default() };
        let reader = EventReader::new(selected, ConnectionSettings::EVENT_BYTES_MAX, &from, has_gtids).unwrap();
        let begin = match &from.position.gtids {
            Some(gtids) => StreamFrom::Gtids(gtids),
            None => StreamFrom::File(&from.position.file),
        };
        let stream = session.stream(begin).await.unwrap();
        let block = BlockBuilder::new(LogId([7; 16]), 1, &[0]);
        Self { stream, reader, block, blocks: Blocks::default(), records: Vec::new() }
    }

    /// Reads all that is at hand, and then the next that comes: the position is as far ahead of the server as it gets.
    pub async fn come_up(&mut self) -> SourcePosition {
        while let Ok(filled) = timeout(Duration::ZERO, self.stream.fill()).await {
            filled.unwrap();
            self.drain();
        }
        self.stream.fill().await.unwrap();
        self.drain();
        self.reader.checkpoint().position
    }

    /// Reads until a record is such a one.
    pub async fn read_until(&mut self, is_it: impl Fn(&Record) -> bool) {
        while !self.records.iter().rev().take(1000).any(&is_it) {
            self.stream.fill().await.unwrap();
            self.drain();
        }
    }

    fn drain(&mut self) {
        while let Some(event) = self.stream.next_event().unwrap() {
            let mut step = self.reader.take(&event, &mut self.block).unwrap();
            while step == Step::Full {
                self.records.extend(self.blocks.take(&mut self.block).into_iter().filter_map(Entry::row));
                step = self.reader.go_on(&mut self.block).unwrap();
            }
        }
        if !self.reader.is_inside() {
            self.records.extend(self.blocks.take(&mut self.block).into_iter().filter_map(Entry::row));
        }
    }
}
