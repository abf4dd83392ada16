//! Keeps what runs in view: capture and every writer's partitions, each a task of its own, and starts a writer again when asked.
//!
//! A task that stops for good takes nobody with it; the board says why. Only when capture cannot even begin does the process end: somebody
//! waits for it at a terminal, or something that starts it again.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use mysync_pipeline::failure::Failure;
use mysync_pipeline::shutdown::{Ending, Shutdown};
use mysync_pipeline::status::{Board, State};
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinHandle};
use tracing::{error, warn};

use crate::admin::Command;

/// What was begun is finished within this time, or given up: it is begun again at the next start.
const DRAIN_TIME: Duration = Duration::from_secs(20);

pub type Task = Pin<Box<dyn Future<Output = Result<(), Failure>> + Send>>;

/// Makes the task of one partition of a writer; it ends when told.
pub type Launch = Arc<dyn Fn(u32, Ending) -> Task + Send + Sync>;

/// Everything that runs.
pub struct Supervisor {
    board: Arc<Board>,
    shutdown: Shutdown,
    partitions: u32,
    writers: BTreeMap<String, Writer>,
}

struct Writer {
    launch: Launch,
    /// Ends this writer alone.
    stop: Shutdown,
    tasks: Vec<JoinHandle<Result<(), Failure>>>,
}

impl Supervisor {
    pub fn new(board: Arc<Board>, shutdown: Shutdown, partitions: u32) -> Self {
        Self { board, shutdown, partitions, writers: BTreeMap::new() }
    }

    /// Starts a writer in every partition.
    pub fn start(&mut self, name: &str, launch: Launch) {
        let stop = Shutdown::default();
        let tasks = (0..self.partitions).map(|partition| self.spawn(name, partition, &launch, &stop)).collect();
        self.writers.insert(name.to_owned(), Writer { launch, stop, tasks });
    }

    fn spawn(&self, name: &str, partition: u32, launch: &Launch, stop: &Shutdown) -> JoinHandle<Result<(), Failure>> {
        let status = self.board.writer(name, partition);
        status.set_state(State::Starting);
        let task = launch(partition, stop.ending());
        tokio::spawn(async move {
            let ended = tokio::spawn(task).await.unwrap_or_else(|panic| Err(panicked(&panic)));
            if let Err(failure) = &ended {
                status.set_state(State::Stopped(failure.clone()));
            }
            ended
        })
    }

    /// Runs until the end begins and everything has ended.
    pub async fn run(mut self, capture: Task, mut commands: mpsc::Receiver<Command>) -> Result<(), Failure> {
        let mut capture = tokio::spawn(capture);
        let mut captured = false;
        let mut ending = self.shutdown.ending();
        loop {
            tokio::select! {
                () = ending.begun() => break,
                ended = &mut capture, if !captured => {
                    captured = true;
                    let failure = match ended {
                        Ok(Ok(())) => continue,
                        Ok(Err(failure)) => failure,
                        Err(panic) => panicked(&panic),
                    };
                    self.board.capture.set_state(State::Stopped(failure.clone()));
                    if self.board.capture.position().is_none() {
                        self.shutdown.begin();
                        self.end().await;
                        return Err(failure);
                    }
                }
                Some(command) = commands.recv() => self.command(command).await,
            }
        }
        if !captured && tokio::time::timeout(DRAIN_TIME, &mut capture).await.is_err() {
            warn!("capture does not end: it is given up");
            capture.abort();
        }
        self.end().await;
        Ok(())
    }

    async fn command(&mut self, command: Command) {
        let Command::Resume { writer: name, answer } = command;
        let Some(mut writer) = self.writers.remove(&name) else {
            let known: Vec<&str> = self.writers.keys().map(String::as_str).collect();
            let message = format!("no writer {name} runs here; there is {}", known.join(", "));
            let _ = answer.send(Err(Failure::definite("WRITER_UNKNOWN", message)));
            return;
        };
        // What still runs has to give up its place: it may stand where the writer no longer is.
        writer.stop.begin();
        drain(&name, &mut writer.tasks).await;
        self.start(&name, writer.launch);
        let _ = answer.send(Ok(()));
    }

    /// Ends every writer after the batch it is at.
    async fn end(&mut self) {
        self.writers.values().for_each(|writer| writer.stop.begin());
        for (name, writer) in &mut self.writers {
            drain(name, &mut writer.tasks).await;
        }
    }
}

async fn drain(name: &str, tasks: &mut Vec<JoinHandle<Result<(), Failure>>>) {
    for mut task in tasks.drain(..) {
        if tokio::time::timeout(DRAIN_TIME, &mut task).await.is_err() {
            warn!(writer = name, "a partition does not end: it is given up, and goes on where its store's fence says");
            task.abort();
        }
    }
}

fn panicked(panic: &JoinError) -> Failure {
    error!(%panic, "a task panicked");
    Failure::definite(
        "PANIC",
        format!("a defect of this program ended the task ({panic}): restart the process, and report it"),
    )
}
