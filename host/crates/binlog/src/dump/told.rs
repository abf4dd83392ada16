//! What is told of dumps: the book's entries with figures that nobody needs after a restart.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use mysync_change::dump::{Dump, DumpState};
use mysync_pipeline::dump::{DumpStatus, Stage};
use mysync_pipeline::failure::Failure;
use mysync_pipeline::status::{Board, now_us};
use tokio::time::Instant;

use super::book::Book;

/// Dumps that are over are told of until there are so many.
const OVER_MAX: usize = 64;
/// A rate is that of the last seconds.
const RATE_TIME: Duration = Duration::from_secs(5);

/// Figures by number of the dump.
#[derive(Debug, Default)]
pub struct Told {
    figures: BTreeMap<u64, Figures>,
    over: VecDeque<DumpStatus>,
}

/// One dump's.
#[derive(Debug, Default)]
pub struct Figures {
    /// Tables and rows in all.
    pub tables: Option<u64>,
    pub rows: Option<u64>,
    pub left_out: u64,
    pub again: u64,
    pub waits_for: Option<String>,
    /// The table that is being read.
    pub table: String,
    /// It is being tried again after this.
    pub retrying: Option<Failure>,
    stage: Option<(Stage, u64)>,
    samples: VecDeque<(Instant, u64)>,
}

impl Figures {
    /// So many rows are behind it now.
    fn rate(&mut self, rows: u64) -> Option<u64> {
        let now = Instant::now();
        self.samples.push_back((now, rows));
        while self.samples.front().is_some_and(|(at, _)| now - *at > RATE_TIME) && self.samples.len() > 2 {
            self.samples.pop_front();
        }
        let (since, before) = *self.samples.front()?;
        let seconds = (now - since).as_secs_f64();
        (seconds > 0.1).then(|| (rows.saturating_sub(before) as f64 / seconds) as u64)
    }
}

impl Told {
    pub fn of(&mut self, number: u64) -> &mut Figures {
        self.figures.entry(number).or_default()
    }

    /// Tells the board how things are. `current`: the dump at work.
    pub fn publish(&mut self, board: &Board, book: &Book, current: Option<u64>) {
        let mut shown: Vec<DumpStatus> = Vec::new();
        for dump in &book.dumps().list {
            // A new writer's dump stays in the book. Of those that were over before this start there is nothing to tell.
            if dump.is_open() || self.figures.contains_key(&dump.number) {
                shown.push(self.status(dump, book, current));
            }
        }
        for status in shown.extract_if(.., |status| status.stage.is_over()) {
            self.figures.remove(&status.number);
            self.over.push_back(status);
        }
        while self.over.len() > OVER_MAX {
            self.over.pop_front();
        }
        board.capture.set_dumps(self.over.iter().cloned().chain(shown).collect());
    }

    fn status(&mut self, dump: &Dump, book: &Book, current: Option<u64>) -> DumpStatus {
        let figures = self.of(dump.number);
        let stage = match (dump.state, book.stopped(dump.number), &figures.retrying) {
            (DumpState::Done, ..) => Stage::Done,
            (DumpState::Cancelled, ..) => Stage::Cancelled,
            (DumpState::Paused, ..) => Stage::Paused,
            (DumpState::Open, Some(failure), _) => Stage::Stopped(failure.clone()),
            (DumpState::Open, None, Some(failure)) => Stage::Retrying(failure.clone()),
            (DumpState::Open, None, None) if current == Some(dump.number) => Stage::Running,
            (DumpState::Open, None, None) => Stage::Waiting,
        };
        let since_us = match &figures.stage {
            Some((known, since_us)) if known.name() == stage.name() => *since_us,
            _ => now_us(),
        };
        figures.stage = Some((stage.clone(), since_us));
        let rate = figures.rate(dump.progress.rows + figures.left_out);
        DumpStatus {
            number: dump.number,
            writer: dump.writer.clone(),
            table: figures.table.clone(),
            tables_done: dump.progress.tables_done,
            tables: figures.tables,
            rows: dump.progress.rows,
            rows_estimated: figures.rows,
            rows_left_out: figures.left_out,
            chunks: dump.progress.chunks,
            chunks_again: figures.again,
            rows_per_second_max: dump.rows_per_second,
            rows_per_second: rate.filter(|_| stage == Stage::Running),
            waits_for: figures.waits_for.clone().filter(|_| matches!(stage, Stage::Running | Stage::Waiting)),
            asked_us: dump.asked_us,
            ended_us: if stage.is_over() { now_us() } else { 0 },
            since_us,
            stage,
        }
    }
}
