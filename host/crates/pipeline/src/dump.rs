//! What capture is asked to do about dumps, and what it tells of them.
//!
//! An order is answered once what it has changed is in the log. One that is not answered may not have been carried out.

use std::sync::Arc;

use mysync_change::fence::Place;
use mysync_change::pattern::Pattern;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

use crate::failure::Failure;

/// Orders that wait: they come from people and from writers that start.
pub const ORDERS_MAX: usize = 64;

/// Somebody wants something of capture, and is answered with numbers.
#[derive(Debug)]
pub struct Order {
    pub wish: Wish,
    pub answer: Answer,
}

pub type Answer = oneshot::Sender<Result<Vec<u64>, Failure>>;

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Wish {
    /// A dump for one writer, or for every writer; answered with its number.
    Start(Request),
    /// The dump that a writer begins with where it has never written, unless it was ordered before; answered with the last number of each
    /// partition when the writer began. `begun`: it has a place in the log already, in another partition.
    Begin { request: Request, begun: bool },
    /// A change of one dump, or of every one that is not done; answered with their numbers.
    Change { number: Option<u64>, change: Change },
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Request {
    /// None: every writer.
    pub writer: Option<Arc<str>>,
    pub tables: Vec<Pattern>,
    /// None: as fast as the writers take them.
    pub rows_per_second: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    Pause,
    Resume,
    Cancel,
}

/// Where orders are given.
#[derive(Debug, Clone)]
pub struct Orders(mpsc::Sender<Order>);

/// Where capture takes them.
pub type OrderBook = mpsc::Receiver<Order>;

pub fn orders() -> (Orders, OrderBook) {
    let (orders, book) = mpsc::channel(ORDERS_MAX);
    (Orders(orders), book)
}

impl Orders {
    pub async fn start(&self, request: Request) -> Result<u64, Failure> {
        Ok(self.give(Wish::Start(request)).await?.first().copied().unwrap_or(0))
    }

    pub async fn change(&self, number: Option<u64>, change: Change) -> Result<Vec<u64>, Failure> {
        self.give(Wish::Change { number, change }).await
    }

    async fn give(&self, wish: Wish) -> Result<Vec<u64>, Failure> {
        let (answer, answered) = oneshot::channel();
        let gone = || {
            let message = "capture does not take orders: it has stopped, or lost its source meanwhile";
            Failure::transient("DUMP_NOT_TAKEN", message)
        };
        self.0.send(Order { wish, answer }).await.map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }
}

/// Where a writer begins that has never written to its store.
#[derive(Debug, Clone)]
pub enum Beginning {
    /// With the first record of the log.
    Log,
    /// With a dump of its tables.
    Dump { orders: Orders, request: Request },
}

impl Beginning {
    /// The place in a partition of the log behind which the writer begins. A dump that it needs is in the log by then. `begun`: it has a place
    /// in the log already, in another partition.
    pub(crate) async fn place(&self, partition: u32, begun: bool) -> Result<Place, Failure> {
        let Beginning::Dump { orders, request } = self else { return Ok(Place::default()) };
        let from = orders.give(Wish::Begin { request: request.clone(), begun }).await?;
        Ok(Place { seq: from.get(partition as usize).copied().unwrap_or(0), ..Place::default() })
    }
}

/// What a dump does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stage {
    /// Another one is at work.
    Waiting,
    Running,
    Paused,
    /// Trying again after a transient failure.
    Retrying(Failure),
    /// Until it is resumed.
    Stopped(Failure),
    Done,
    Cancelled,
}

impl Stage {
    pub fn name(&self) -> &'static str {
        match self {
            Stage::Waiting => "waiting",
            Stage::Running => "running",
            Stage::Paused => "paused",
            Stage::Retrying(_) => "retrying",
            Stage::Stopped(_) => "stopped",
            Stage::Done => "done",
            Stage::Cancelled => "cancelled",
        }
    }

    pub fn failure(&self) -> Option<&Failure> {
        match self {
            Stage::Retrying(failure) | Stage::Stopped(failure) => Some(failure),
            _ => None,
        }
    }

    pub fn is_over(&self) -> bool {
        matches!(self, Stage::Done | Stage::Cancelled)
    }
}

/// How far a dump has come. Times are microseconds since 1970; 0: not yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DumpStatus {
    pub number: u64,
    /// None: every writer.
    pub writer: Option<Arc<str>>,
    pub stage: Stage,
    /// Since when it is of that stage: a dump that is tried again in vain has been so since the first time.
    pub since_us: u64,
    /// The table that is being read; empty: none yet.
    pub table: String,
    pub tables_done: u64,
    /// All of them, as soon as they are known.
    pub tables: Option<u64>,
    /// Rows in the log, those left out not counted.
    pub rows: u64,
    /// All rows, as the server estimates them.
    pub rows_estimated: Option<u64>,
    /// Rows that the stream had changed meanwhile: their newer change is in the log.
    pub rows_left_out: u64,
    pub chunks: u64,
    /// Chunks that were read again because the table was altered or too much was changed meanwhile.
    pub chunks_again: u64,
    pub rows_per_second_max: Option<u64>,
    /// Over the last seconds, while it runs.
    pub rows_per_second: Option<u64>,
    /// What keeps it from going on at the moment, in words.
    pub waits_for: Option<String>,
    pub asked_us: u64,
    pub ended_us: u64,
}

impl DumpStatus {
    /// How many seconds it will take at this rate.
    pub fn seconds_left(&self) -> Option<f64> {
        let left = self.rows_estimated?.saturating_sub(self.rows + self.rows_left_out);
        let rate = self.rows_per_second.filter(|rate| *rate > 0)?;
        Some(left as f64 / rate as f64)
    }
}
