//! Capture's source, with dumps: what a log would get, record by record.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use mysync_binlog::source::{Mysql as Source, MysqlSettings, Selected, StartAt};
use mysync_change::block::BlockBuilder;
use mysync_change::envelope::LogId;
use mysync_change::pattern::Pattern;
use mysync_change::routing::Layout;
use mysync_pipeline::dump::{DumpStatus, Orders, Request, Stage, orders};
use mysync_pipeline::ports::Source as _;
use mysync_pipeline::status::Board;
use mysync_test_support::{Mysql, PATIENCE};
use tokio::time::{sleep, timeout};

use crate::picture::Picture;
use crate::records::Blocks;
use crate::servers::settings;

/// How long a slow writer takes.
const SLOW: Duration = Duration::from_millis(30);

pub struct Product {
    source: Source,
    block: BlockBuilder,
    blocks: Blocks,
    board: Arc<Board>,
    pub orders: Orders,
    /// The last number in each partition.
    lasts: Arc<[AtomicU64]>,
    /// What stores would have.
    pub picture: Picture,
    /// Rows that were written as changes of the stream, and by dumps.
    pub streamed: u64,
    pub dumped: u64,
}

impl Product {
    /// Begins where the binlog ends now. Chunks are small, so that there are many of them. A log of several partitions is one of keys.
    pub async fn start(mysql: &Mysql, partitions: usize, chunk_rows_max: u64) -> Self {
        let (orders, book) = orders();
        let board = Arc::new(Board::default());
        let settings = MysqlSettings {
            connection: settings(mysql),
            selected: Selected { tables: vec![Pattern::new("w.*")], ..Selected::default() },
            start: StartAt::Now,
            chunk_rows_max,
            writers_elsewhere: false,
        };
        let mut source = Source::new(settings, book, board.clone());
        source.open(None).await.unwrap();
        let layout = if partitions == 1 { Layout::Runs } else { Layout::Keyed };
        let block = BlockBuilder::new(LogId([7; 16]), 1, &vec![0; partitions]).in_layout(layout);
        let (blocks, picture) = (Blocks::default(), Picture::default());
        let lasts = (0..partitions).map(|_| AtomicU64::new(0)).collect();
        Self { source, block, blocks, board, orders, lasts, picture, streamed: 0, dumped: 0 }
    }

    /// Has a writer that is slow to take what is in the log: rows of dumps wait for it in the middle of a chunk.
    pub fn with_a_slow_writer(self) -> Self {
        let lasts = self.lasts.clone();
        let partitions = (0u32..).zip(self.block.partitions());
        let writers: Vec<_> = partitions.map(|(partition, _)| self.board.start("slow", partition)).collect();
        tokio::spawn(async move {
            loop {
                sleep(SLOW).await;
                for (writer, last) in writers.iter().zip(&*lasts) {
                    writer.seq.store(last.load(Relaxed), Relaxed);
                }
            }
        });
        self
    }

    /// Dumps tables, and answers how far that came: it is done, or has stopped.
    pub async fn dump(&mut self, tables: &str) -> DumpStatus {
        let orders = self.orders.clone();
        let request = Request { writer: None, tables: vec![Pattern::new(tables)], rows_per_second: None };
        let number = self.while_it(async move { orders.start(request).await.unwrap() }).await;
        loop {
            let status = self.board.capture.dumps().into_iter().find(|status| status.number == number).unwrap();
            match status.stage {
                Stage::Done | Stage::Stopped(_) => return status,
                _ => self.fill().await,
            }
        }
    }

    /// Goes on until something is so.
    pub async fn until(&mut self, is_so: impl Fn(&Picture) -> bool) {
        while !is_so(&self.picture) {
            self.fill().await;
        }
    }

    /// Goes on until something has been done.
    pub async fn while_it<T>(&mut self, it: impl Future<Output = T>) -> T {
        let mut it = pin!(it);
        // Each fill is brought to its end: whether it may be given up half-way is not for a test to rely on.
        loop {
            if let Ok(done) = timeout(Duration::ZERO, &mut it).await {
                return done;
            }
            self.fill().await;
        }
    }

    async fn fill(&mut self) {
        let filled = timeout(PATIENCE, self.source.fill(&mut self.block)).await;
        filled.unwrap_or_else(|_| panic!("the source is stuck")).unwrap();
        for (last, stored) in self.lasts.iter().zip(self.block.lasts()) {
            last.store(stored, Relaxed);
        }
        for entry in self.blocks.take(&mut self.block) {
            let is_dumped = self.picture.apply(&entry);
            self.dumped += u64::from(is_dumped);
            self.streamed += u64::from(!is_dumped);
        }
    }
}
