//! Which positions claim no more than a SELECT behind them finds.

use std::collections::HashMap;

use mysync_binlog::connection::Connection;
use mysync_binlog::dump::watermark::{self, Watermark};
use mysync_change::position::{FilePosition, SourcePosition};
use mysync_test_support::{Home, Mysql, Random};

use crate::follower::Follower;
use crate::history::History;
use crate::load::{self, Load};
use crate::records::Record;
use crate::servers::{Commits, PATIENCE, can_wait, connect, installed};

/// Sessions that write at once, one load after the other.
const WRITERS: [u64; 4] = [8, 4, 2, 1];

/// What is taken for a position before the SELECT.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Source {
    /// Where the stream is, once the server has executed that.
    Executed,
    /// Where the stream is.
    Streamed,
    /// File and position of SHOW BINARY LOG STATUS.
    Status,
    /// A row that was written, where it is in the stream.
    Mark,
    /// File and position of log_status.
    LogStatus,
}

/// What claims too much, on some servers.
const CONTROLS: [Source; 4] = [Source::Streamed, Source::Status, Source::Mark, Source::LogStatus];
/// A control that claims too much is looked at until it is found out, not more often than this.
const LOOKS_MAX: usize = 4_000;
const LOOKS: usize = 50;

struct Window {
    source: Source,
    claim: Claim,
    found: HashMap<u64, u64>,
    /// What the server had executed behind the SELECT.
    executed: Option<SourcePosition>,
}

enum Claim {
    Position(SourcePosition),
    Mark(u64),
}

/// One server, what is read of it and asked of it.
struct Bench {
    mysql: Mysql,
    follower: Follower,
    session: Connection,
    commits: Commits,
    loads: u64,
    marks: u64,
    windows: Vec<Window>,
    transactions: u64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Count {
    windows: usize,
    stale: usize,
    /// Windows in which the SELECT found what the position taken behind it does not have.
    ahead: usize,
}

impl Bench {
    async fn new(home: &Home, commits: Commits) -> Self {
        let mysql = commits.start(home);
        let follower = Follower::start(&mysql).await;
        load::create(&mysql).await;
        let session = connect(&mysql).await;
        Self { mysql, follower, session, commits, loads: 0, marks: 0, windows: Vec::new(), transactions: 0 }
    }

    /// Looks through windows of these kinds in turn, while so many sessions write.
    async fn look(&mut self, writers: u64, sources: Vec<Source>, random: &mut Random) {
        let load = Load::start(&self.mysql, self.loads, writers, random).await;
        self.loads += 1;
        for source in sources {
            let window = look(source, &mut self.follower, &mut self.session, &mut self.marks).await;
            self.windows.push(window);
        }
        self.transactions += load.stop().await;
    }

    /// Reads the binlog to its end, and judges all windows by it.
    async fn judge(&mut self) -> HashMap<Source, Count> {
        self.marks += 1;
        self.session.query(&format!("INSERT INTO w.mark VALUES ({})", self.marks)).await.unwrap();
        let mark = self.marks.to_string();
        let is_mark = |record: &Record| record.shape.name == "mark" && record.value("id") == mark;
        self.follower.read_until(is_mark).await;
        let history = History::new(&self.follower.records);
        let mut counts: HashMap<Source, Count> = HashMap::new();
        for window in &self.windows {
            let position = match &window.claim {
                Claim::Position(position) => position.clone(),
                Claim::Mark(mark) => history.mark(*mark),
            };
            let ahead = window.executed.as_ref().is_some_and(|executed| history.judge(executed, &window.found).ahead);
            let count = counts.entry(window.source).or_default();
            count.windows += 1;
            count.stale += usize::from(history.judge(&position, &window.found).stale);
            count.ahead += usize::from(ahead);
        }
        counts
    }
}

async fn look(source: Source, follower: &mut Follower, session: &mut Connection, marks: &mut u64) -> Window {
    let streamed = follower.come_up().await;
    let with_gtids = streamed.gtids.is_some();
    let claim = match source {
        Source::Executed => {
            assert!(watermark::wait_until_executed(session, &streamed, PATIENCE).await.unwrap(), "{streamed}");
            Claim::Position(streamed)
        }
        Source::Streamed => Claim::Position(streamed),
        Source::Status => {
            let status = match session.query("SHOW BINARY LOG STATUS").await {
                Ok(status) => status,
                Err(_) => session.query("SHOW MASTER STATUS").await.unwrap(),
            };
            let (file, offset) = (status.get(0, "File").unwrap(), status.get(0, "Position").unwrap());
            let file = FilePosition { file: file.into(), offset: offset.parse().unwrap() };
            Claim::Position(SourcePosition { gtids: None, file })
        }
        Source::Mark => {
            *marks += 1;
            session.query(&format!("INSERT INTO w.mark VALUES ({marks})")).await.unwrap();
            Claim::Mark(*marks)
        }
        Source::LogStatus => Claim::Position(executed(session, false).await),
    };
    let found = session.query("SELECT id, version FROM w.hot").await.unwrap();
    let found = found.pairs().map(|(id, version)| (id.parse().unwrap(), version.parse().unwrap())).collect();
    let executed = match source {
        Source::Executed => Some(executed(session, with_gtids).await),
        _ => None,
    };
    Window { source, claim, found, executed }
}

async fn executed(session: &mut Connection, with_gtids: bool) -> SourcePosition {
    match watermark::executed(session, with_gtids).await.unwrap() {
        Watermark::Gtids(gtids) => SourcePosition { gtids: Some(gtids), file: "binlog.000001:4".parse().unwrap() },
        Watermark::File(file) => SourcePosition { gtids: None, file },
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_select_finds_what_the_stream_claims_and_no_other_watermark_is_as_good() {
    let homes = installed("watermarks");
    let servers = homes.iter().flat_map(|home| Commits::ALL.map(|commits| (home, commits)));
    let each = crate::windows(720).div_ceil(servers.clone().count().max(1) * WRITERS.len());
    let mut random = Random::from_env();
    let mut all = 0;
    for (home, commits) in servers {
        let mut bench = Bench::new(home, commits).await;
        let can_wait = can_wait(&bench.mysql, commits).await;
        for writers in WRITERS {
            let mut sources = Vec::new();
            for control in CONTROLS.into_iter().cycle().take(each) {
                sources.extend(can_wait.then_some(Source::Executed));
                sources.push(control);
            }
            bench.look(writers, sources, &mut random).await;
        }
        let mut counts = bench.judge().await;
        let mut unsound = vec![Source::Streamed, Source::Status];
        unsound.extend((!bench.commits.ordered).then_some(Source::Mark));
        unsound.extend((!can_wait).then_some(Source::LogStatus));
        for source in unsound {
            while counts[&source].stale == 0 {
                assert!(counts[&source].windows < LOOKS_MAX, "{source:?} claims no more than a SELECT finds");
                bench.look(WRITERS[0], vec![source; LOOKS], &mut random).await;
                counts = bench.judge().await;
            }
        }
        tell(home, &bench, &counts);
        let executed = counts.get(&Source::Executed).copied().unwrap_or_default();
        assert_eq!(executed.stale, 0);
        if bench.commits.ordered {
            assert_eq!(counts[&Source::Mark].stale, 0);
        }
        if !bench.commits.gtids {
            assert_eq!(executed.ahead, 0);
        }
        all += executed.windows;
    }
    println!("{all} windows, 0 stale");
}

fn tell(home: &Home, bench: &Bench, counts: &HashMap<Source, Count>) {
    let sources = [Source::Executed].into_iter().chain(CONTROLS);
    let told = sources.filter_map(|source| {
        let count = counts.get(&source)?;
        Some(format!("{source:?} {} of {}", count.stale, count.windows))
    });
    let told: Vec<String> = told.collect();
    let ahead = counts.get(&Source::Executed).map_or(0, |count| count.ahead);
    let (home, commits, transactions) = (home.name(), bench.commits, bench.transactions);
    println!("{home}, {commits}: stale: {}; {ahead} ahead; {transactions} transactions", told.join(", "));
}
