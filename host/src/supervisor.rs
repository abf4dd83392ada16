//! Keeps what runs in view: capture and every writer's partitions, each a task of its own, and starts a writer again when asked.
//!
//! A task that stops for good takes nobody with it; the board says why. Only when capture cannot even begin does the process end: somebody
//! waits for it at a terminal, or something that starts it again.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use mysync_pipeline::assignment::{Change, Changes};
use mysync_pipeline::failure::Failure;
use mysync_pipeline::shutdown::{Ending, Shutdown};
use mysync_pipeline::status::{Board, DeliverStatus, State};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{AbortHandle, JoinError, JoinHandle};
use tokio::time::Instant;
use tracing::{error, info, warn};

use crate::admin::{COMMANDS_MAX, Command};

/// What was begun is finished within this time, or given up: it is begun again at the next start.
const DRAIN_TIME: Duration = Duration::from_secs(20);
/// What was given up ends at its next step, within this time unless it hangs in the middle of one.
const GIVE_UP_TIME: Duration = Duration::from_secs(5);

pub type Task = Pin<Box<dyn Future<Output = Result<(), Failure>> + Send>>;

/// Makes the task of one partition of a writer, which tells of itself in the status; it ends when told.
pub type Launch = Arc<dyn Fn(u32, Arc<DeliverStatus>, Ending) -> Task + Send + Sync>;

type Answer = oneshot::Sender<Result<(), Failure>>;

/// Everything that runs.
pub struct Supervisor {
    board: Arc<Board>,
    shutdown: Shutdown,
    drain_time: Duration,
    writers: BTreeMap<String, Kept>,
}

/// A writer, kept by a task of its own: one that is slow to end holds up nobody else.
struct Kept {
    resumes: mpsc::Sender<Answer>,
    keeper: JoinHandle<()>,
}

impl Supervisor {
    pub fn new(board: Arc<Board>, shutdown: Shutdown) -> Self {
        Self { board, shutdown, drain_time: DRAIN_TIME, writers: BTreeMap::new() }
    }

    /// Starts a writer in every partition that it is given.
    pub fn start(&mut self, name: &str, launch: Launch, assigned: Changes) {
        self.board.expect(name);
        let (name, drain_time, board) = (name.to_owned(), self.drain_time, self.board.clone());
        let writer = Writer { name: name.clone(), drain_time, launch, board, started: Started::default() };
        let (resumes, asked) = mpsc::channel(COMMANDS_MAX);
        let keeper = tokio::spawn(writer.keep(assigned, asked, self.shutdown.ending()));
        self.writers.insert(name, Kept { resumes, keeper });
    }

    /// Runs until the end begins and everything has ended. Without capture another process does that.
    pub async fn run(mut self, capture: Option<Task>, mut commands: mpsc::Receiver<Command>) -> Result<(), Failure> {
        let mut captured = capture.is_none();
        let mut capture = tokio::spawn(capture.unwrap_or_else(|| Box::pin(async { Ok(()) })));
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
                        self.ended().await;
                        return Err(failure);
                    }
                }
                Some(command) = commands.recv() => self.command(command),
            }
        }
        if !captured && tokio::time::timeout(self.drain_time, &mut capture).await.is_err() {
            warn!("capture does not end: it is given up");
            capture.abort();
            let _ = tokio::time::timeout(GIVE_UP_TIME, capture).await;
        }
        self.ended().await;
        Ok(())
    }

    fn command(&self, command: Command) {
        let Command::Resume { writer: name, answer } = command;
        let Some(writer) = self.writers.get(&name) else {
            let known: Vec<&str> = self.writers.keys().map(String::as_str).collect();
            let message = format!("no writer {name} runs here; there is {}", known.join(", "));
            let _ = answer.send(Err(Failure::definite("WRITER_UNKNOWN", message)));
            return;
        };
        if let Err(TrySendError::Full(answer)) = writer.resumes.try_send(answer) {
            let message = format!("writer {name} is told to start again too often: wait until it has");
            let _ = answer.send(Err(Failure::definite("ADMIN_BUSY", message)));
        }
    }

    /// Every writer was told by the same signal, and ends after the batch it is at.
    async fn ended(&mut self) {
        for writer in self.writers.values_mut() {
            let _ = (&mut writer.keeper).await;
        }
    }
}

struct Writer {
    name: String,
    drain_time: Duration,
    launch: Launch,
    board: Arc<Board>,
    started: Started,
}

impl Writer {
    fn start(&mut self, partition: u32) {
        let stop = Shutdown::default();
        let status = self.board.start(&self.name, partition);
        let work = tokio::spawn((self.launch)(partition, status.clone(), stop.ending()));
        let abort = work.abort_handle();
        let task = tokio::spawn(watch(work, status.clone()));
        self.started.partitions.insert(partition, Partition { stop, status, task, work: abort });
    }

    /// Starts partitions as they are given, ends them as they are taken, and starts the writer again whenever somebody asks, until the end
    /// begins. Who asked is told what became of it.
    async fn keep(mut self, mut assigned: Changes, mut resumes: mpsc::Receiver<Answer>, mut ending: Ending) {
        let mut waiting: Vec<Answer> = Vec::new();
        loop {
            tokio::select! {
                biased;
                () = ending.begun() => break,
                Some(change) = assigned.recv() => match change {
                    Change::Given(partitions) => {
                        partitions.into_iter().for_each(|partition| self.start(partition));
                        self.board.assigned(&self.name);
                    }
                    Change::Taken(partitions, working) => {
                        info!(writer = self.name, ?partitions, "others work at these partitions from now on");
                        let mut taken = self.started.take(&partitions);
                        taken.end(&self.name, self.drain_time).await;
                        partitions.iter().for_each(|partition| self.board.end(&self.name, *partition));
                        drop(working);
                    }
                    Change::Refused(failure) => {
                        error!(writer = self.name, code = failure.code, "the writer has no part: {}", failure.message);
                        // Which partitions it would have had, nobody knows: it is told of the first. What runs tells of itself.
                        if self.started.partitions.is_empty() {
                            self.board.start(&self.name, 0).set_state(State::Stopped(failure));
                        }
                        self.board.assigned(&self.name);
                    }
                },
                Some(answer) = resumes.recv() => {
                    waiting.push(answer);
                    info!(writer = self.name, "the writer starts again");
                    // What still runs has to give up its place: it may stand where the writer no longer is.
                    self.started.end(&self.name, self.drain_time).await;
                    if ending.has_begun() {
                        return;
                    }
                    while let Ok(answer) = resumes.try_recv() {
                        waiting.push(answer);
                    }
                    waiting.retain(|answer| !answer.is_closed());
                    let partitions: Vec<u32> = self.started.partitions.keys().copied().collect();
                    partitions.into_iter().for_each(|partition| self.start(partition));
                }
                outcome = self.started.outcome(), if !waiting.is_empty() => {
                    for answer in waiting.drain(..) {
                        let _ = answer.send(outcome.clone());
                    }
                }
            }
        }
        self.started.end(&self.name, self.drain_time).await;
    }
}

/// Partitions of a writer that were started, by number.
#[derive(Default)]
struct Started {
    partitions: BTreeMap<u32, Partition>,
}

struct Partition {
    /// Ends it alone.
    stop: Shutdown,
    status: Arc<DeliverStatus>,
    /// Ends with `work`, once the status says why.
    task: JoinHandle<()>,
    work: AbortHandle,
}

impl Started {
    /// Those of these partitions that were started.
    fn take(&mut self, partitions: &[u32]) -> Self {
        Self { partitions: partitions.iter().filter_map(|number| self.partitions.remove_entry(number)).collect() }
    }

    /// Whether it goes on, as soon as no partition is starting any more.
    async fn outcome(&self) -> Result<(), Failure> {
        for partition in self.partitions.values() {
            partition.status.settled().await;
        }
        self.partitions.values().try_for_each(|partition| match partition.status.state() {
            State::Stopped(failure) => Err(failure),
            _ => Ok(()),
        })
    }

    /// Ends it after the batch it is at, or in the middle of it.
    async fn end(&mut self, name: &str, drain_time: Duration) {
        self.partitions.values().for_each(|partition| partition.stop.begin());
        if self.has_ended(drain_time).await {
            return;
        }
        warn!(writer = name, "the writer does not end: it is given up, and goes on where its store's fence says");
        self.partitions.values().for_each(|partition| partition.work.abort());
        if !self.has_ended(GIVE_UP_TIME).await {
            warn!(writer = name, "what was given up hangs; nothing that it does counts any more");
        }
    }

    async fn has_ended(&mut self, time: Duration) -> bool {
        let deadline = Instant::now() + time;
        for partition in self.partitions.values_mut().filter(|partition| !partition.task.is_finished()) {
            if tokio::time::timeout_at(deadline, &mut partition.task).await.is_err() {
                return false;
            }
        }
        true
    }
}

/// Says why a task ended, unless it was given up.
async fn watch(work: JoinHandle<Result<(), Failure>>, status: Arc<DeliverStatus>) {
    let ended = match work.await {
        Err(gone) if gone.is_cancelled() => return,
        Err(panic) => Err(panicked(&panic)),
        Ok(ended) => ended,
    };
    if let Err(failure) = ended {
        status.set_state(State::Stopped(failure));
    }
}

fn panicked(panic: &JoinError) -> Failure {
    error!(%panic, "a task panicked");
    Failure::definite(
        "PANIC",
        format!("a defect of this program ended the task ({panic}): restart the process, and report it"),
    )
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

    use mysync_pipeline::assignment;

    use super::*;

    const SOON: Duration = Duration::from_secs(10);

    struct Running {
        board: Arc<Board>,
        shutdown: Shutdown,
        commands: mpsc::Sender<Command>,
        ended: JoinHandle<Result<(), Failure>>,
    }

    /// Writers under a supervisor of little patience; capture goes on until the end.
    fn run(partitions: u32, drain_time: Duration, writers: Vec<(&str, Launch)>) -> Running {
        let (board, shutdown) = (Arc::new(Board::default()), Shutdown::default());
        let mut supervisor = Supervisor { drain_time, ..Supervisor::new(board.clone(), shutdown.clone()) };
        writers.into_iter().for_each(|(name, launch)| supervisor.start(name, launch, assignment::all(partitions)));
        let (commands, asked) = mpsc::channel(COMMANDS_MAX);
        let mut ending = shutdown.ending();
        let capture: Task = Box::pin(async move {
            ending.begun().await;
            Ok(())
        });
        Running { board, shutdown, commands, ended: tokio::spawn(supervisor.run(Some(capture), asked)) }
    }

    impl Running {
        async fn resume(&self, writer: &str) -> oneshot::Receiver<Result<(), Failure>> {
            let (answer, answered) = oneshot::channel();
            self.commands.send(Command::Resume { writer: writer.to_owned(), answer }).await.unwrap();
            answered
        }

        async fn end(self) {
            self.shutdown.begin();
            tokio::time::timeout(SOON, self.ended).await.unwrap().unwrap().unwrap();
        }
    }

    /// A writer that does its work well, and ends when told.
    fn good() -> Launch {
        Arc::new(|_, status, mut ending| {
            Box::pin(async move {
                status.set_state(State::Running);
                ending.begun().await;
                status.set_state(State::Ended);
                Ok(())
            })
        })
    }

    fn taken() -> Failure {
        Failure::definite("FENCE_TAKEN", "another process writes")
    }

    /// What the first start does, and what every later one does.
    fn first_and_later(first: Launch, later: Launch) -> Launch {
        let starts = AtomicU32::new(0);
        Arc::new(move |partition, status, ending| {
            let launch = if starts.fetch_add(1, SeqCst) == 0 { &first } else { &later };
            launch(partition, status, ending)
        })
    }

    /// Says that it ended, whether by itself or not.
    struct Gone(Option<oneshot::Sender<()>>);

    impl Drop for Gone {
        fn drop(&mut self) {
            let _ = self.0.take().unwrap().send(());
        }
    }

    #[tokio::test]
    async fn what_was_given_up_is_over_before_its_successor_starts() {
        let (gone, mut over) = oneshot::channel();
        let gone = Mutex::new(Some(Gone(Some(gone))));
        let deaf: Launch = Arc::new(move |_, status, _| {
            let gone = gone.lock().unwrap().take();
            Box::pin(async move {
                let _gone = gone;
                status.set_state(State::Running);
                pending().await
            })
        });
        let running = run(1, Duration::from_millis(50), vec![("users", first_and_later(deaf, good()))]);
        let answered = running.resume("users").await.await.unwrap();
        assert_eq!((answered, over.try_recv()), (Ok(()), Ok(())));
        running.end().await;
    }

    #[tokio::test]
    async fn what_was_given_up_changes_nothing_of_its_successor() {
        let old = Arc::new(Mutex::new(None));
        let kept = old.clone();
        let deaf: Launch = Arc::new(move |_, status, _| {
            status.set_state(State::Running);
            status.rows.store(7, SeqCst);
            *kept.lock().unwrap() = Some(status);
            Box::pin(pending())
        });
        let running = run(1, Duration::from_millis(50), vec![("users", first_and_later(deaf, good()))]);
        running.resume("users").await.await.unwrap().unwrap();
        old.lock().unwrap().take().unwrap().set_state(State::Stopped(taken()));
        let status = running.board.writer("users", 0);
        assert_eq!((status.state(), status.rows.load(SeqCst)), (State::Running, 7), "its figures go on");
        running.end().await;
    }

    #[tokio::test]
    async fn the_end_reaches_every_writer_at_once_while_another_is_slow_to_end() {
        let slow: Launch = Arc::new(|_, status, _| {
            status.set_state(State::Running);
            Box::pin(pending())
        });
        let running = run(2, Duration::from_secs(2), vec![("slow", slow), ("users", good())]);
        let answered = running.resume("slow").await;
        while running.commands.capacity() < COMMANDS_MAX {
            tokio::task::yield_now().await;
        }
        let users = running.board.writer("users", 1);
        running.shutdown.begin();
        let told = async {
            while users.state() != State::Ended {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(1), told).await.unwrap();
        running.end().await;
        assert!(answered.await.is_err(), "nobody started it again");
    }

    #[tokio::test]
    async fn a_resume_is_answered_once_every_partition_has_started() {
        let (go, wait) = tokio::sync::watch::channel(false);
        let slow: Launch = Arc::new(move |partition, status, mut ending| {
            let mut wait = wait.clone();
            Box::pin(async move {
                if partition == 1 {
                    wait.wait_for(|go| *go).await.unwrap();
                }
                status.set_state(State::Retrying(Failure::transient("REDIS_UNREACHABLE", "refused")));
                ending.begun().await;
                Ok(())
            })
        });
        let running = run(2, SOON, vec![("slow", slow), ("users", good())]);
        let mut answered = running.resume("slow").await;
        // Meanwhile the others are served.
        running.resume("users").await.await.unwrap().unwrap();
        let unknown = running.resume("nobody").await.await.unwrap().unwrap_err();
        assert_eq!(unknown.code, "WRITER_UNKNOWN");
        assert!(answered.try_recv().is_err(), "one partition has not started");
        go.send(true).unwrap();
        assert_eq!(answered.await.unwrap(), Ok(()));
        running.end().await;
    }

    #[tokio::test]
    async fn a_resume_of_what_stops_again_says_why() {
        let stops: Launch = Arc::new(|partition, status, mut ending| {
            Box::pin(async move {
                tokio::task::yield_now().await;
                if partition == 1 {
                    return Err(taken());
                }
                status.set_state(State::Running);
                ending.begun().await;
                Ok(())
            })
        });
        let panics: Launch = Arc::new(|_, _, _| Box::pin(async { panic!("as a test") }));
        let running = run(2, SOON, vec![("stops", stops), ("panics", panics)]);
        for (writer, code) in [("stops", "FENCE_TAKEN"), ("panics", "PANIC")] {
            let failure = running.resume(writer).await.await.unwrap().unwrap_err();
            assert_eq!(failure.code, code);
        }
        running.end().await;
    }
}
