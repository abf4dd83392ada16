//! The process or the machine ends at any moment: whole appends are there, or not, and the checkpoint is that of the last one.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::Stdio;

use mysync_change::fence::Place;
use mysync_log::{EmbeddedLog, LogSettings};
use mysync_pipeline::ports::{Found, LogReader, LogWriter};

use crate::support::{Leader, Random, checkpoint, child, open, read_all, seed, settings};

const CHILD: &str = "MYSYNC_LOG_TEST_APPENDS";
const KILLS: usize = 25;
/// Rows of transaction `n`, which is also what it writes into each: known without being told.
fn rows(transaction: u64) -> u64 {
    1 + transaction * 7 % 40
}

fn pad(transaction: u64) -> usize {
    (transaction * 131 % 3000) as usize
}

/// Small enough for the WAL to begin anew and for old blocks to go while the child runs.
fn small(dir: &Path) -> LogSettings {
    LogSettings { max_bytes: 8 << 20, writers: vec![], ..settings(dir) }
}

/// Not a test of its own: the process that is killed. Tells each transaction that was stored.
#[tokio::test]
async fn child_that_appends() {
    let Ok(dir) = std::env::var(CHILD) else { return };
    let log = EmbeddedLog::open(&small(Path::new(&dir))).unwrap();
    let mut leader = Leader::new(&log).await;
    let mut transaction = leader.checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.position.file.offset);
    let mut out = std::io::stdout();
    loop {
        leader.append(transaction, rows(transaction) as usize, pad(transaction)).await;
        writeln!(out, "stored {transaction}").unwrap();
        transaction += 1;
    }
}

#[tokio::test]
async fn kill_9_loses_nothing_that_was_stored() {
    let mut random = Random(seed());
    let dir = tempfile::tempdir().unwrap();
    let program = std::env::current_exe().unwrap();
    let (mut id, mut reached, mut trimmed) = (None, 0, false);
    for _ in 0..KILLS {
        let mut process = child(program.to_str().unwrap(), "crash::child_that_appends", CHILD, dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines().map(Result::unwrap);
        let mut stored = lines.filter_map(|line| line.rsplit_once("stored ")?.1.parse::<u64>().ok());
        let mut last = stored.by_ref().take(1 + random.below(400) as usize).last();
        process.kill().unwrap();
        // What it managed to say before it was dead.
        last = stored.last().or(last);
        process.wait().unwrap();

        let log = open(dir.path());
        assert_eq!(*id.get_or_insert(log.id()), log.id());
        let lead = log.writer().lead().await.unwrap();
        let count = lead.checkpoint.as_ref().unwrap().position.file.offset;
        assert_eq!(lead.checkpoint, Some(checkpoint(count)));
        assert!(count > last.unwrap() && count >= reached, "{count} transactions, and {last:?} was stored");
        reached = count;

        let mut reader = log.reader("w", 0).unwrap();
        let start = match reader.find(&Place::default()).await.unwrap() {
            Found::Trimmed { start } => start,
            _ => 0,
        };
        trimmed |= start > 0;
        let records = read_all(&mut reader, start).await;
        let first = records.first().unwrap().transaction;
        let expected = (first..count).flat_map(|transaction| (0..rows(transaction)).map(move |row| (transaction, row)));
        assert!(records.iter().map(|record| (record.transaction, record.row)).eq(expected));
        assert_eq!(records.last().unwrap().seq, lead.prevs[0]);
    }
    assert!(trimmed, "the log was never shortened: {reached} transactions are too few for this test");
}

#[tokio::test]
async fn a_wal_that_was_cut_or_zeroed_anywhere_leaves_whole_appends() {
    const PLACES: u64 = 100;
    let mut random = Random(seed());
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let id = log.id();
    let mut leader = Leader::new(&log).await;
    for transaction in 0..80 {
        leader.append(transaction, rows(transaction) as usize, pad(transaction)).await;
    }
    let file = std::fs::read(dir.path().join("log.sqlite")).unwrap();
    let wal = std::fs::read(dir.path().join("log.sqlite-wal")).unwrap();
    drop((log, leader));

    let mut kept = std::collections::BTreeSet::new();
    for at in 0..PLACES {
        let place = (wal.len() as u64 * at / PLACES + random.below(wal.len() as u64 / PLACES)) as usize;
        let mut cut = wal.clone();
        cut.truncate(place);
        let mut page = wal.clone();
        page[place..].iter_mut().take(4096).for_each(|byte| *byte = 0);
        let mut rest = wal.clone();
        rest[place..].iter_mut().for_each(|byte| *byte = 0);
        for (how, wal) in [("cut", cut), ("page zeroed", page), ("zeroed", rest)] {
            let dir = tempfile::tempdir().unwrap();
            std::fs::write(dir.path().join("log.sqlite"), &file).unwrap();
            std::fs::write(dir.path().join("log.sqlite-wal"), wal).unwrap();
            let log = open(dir.path());
            assert_eq!(log.id(), id, "{how} at {place}");
            let lead = log.writer().lead().await.unwrap();
            let count = lead.checkpoint.map_or(0, |checkpoint| checkpoint.position.file.offset);
            let mut reader = log.reader("w", 0).unwrap();
            let records = read_all(&mut reader, 0).await;
            let expected = (0..count).flat_map(|transaction| (0..rows(transaction)).map(move |row| (transaction, row)));
            assert!(
                records.iter().map(|record| (record.transaction, record.row)).eq(expected),
                "{how} at {place}: {} records and a checkpoint behind transaction {count}",
                records.len()
            );
            assert_eq!(reader.shapes().await.unwrap().len(), usize::from(count > 0), "{how} at {place}");
            kept.insert(count);
        }
    }
    assert!(kept.len() > 10 && kept.first() < kept.last(), "too few different ends: {kept:?}");
}

/// A log's directory as a power cut leaves it: with the WAL of an earlier moment.
fn without_tail(dir: &Path, wal: &[u8]) -> tempfile::TempDir {
    let left = tempfile::tempdir().unwrap();
    std::fs::copy(dir.join("log.sqlite"), left.path().join("log.sqlite")).unwrap();
    std::fs::write(left.path().join("log.sqlite-wal"), wal).unwrap();
    left
}

#[tokio::test]
async fn the_lost_tail_of_a_power_cut_is_found_again_under_new_numbers() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let mut leader = Leader::new(&log).await;
    let base = leader.append(0, 3, 10).await;
    let synced = std::fs::read(dir.path().join("log.sqlite-wal")).unwrap();
    let lost = leader.append(1, 3, 10).await;
    let dir = without_tail(dir.path(), &synced);
    drop((log, leader));

    let log = open(dir.path());
    let mut reader = log.reader("w", 0).unwrap();
    let place = crate::support::place(lost, 1, 2);
    assert_eq!(reader.find(&place).await, Ok(Found::Repeated { base }));
    let mut leader = Leader::new(&log).await;
    assert_eq!(leader.checkpoint, Some(checkpoint(1)), "the source is read again from here");
    let again = leader.append(1, 3, 10).await;
    assert!(again > lost, "numbers of the lost tail are not given again");
    assert_eq!(reader.find(&place).await, Ok(Found::Repeated { base }));
    let found = mysync_pipeline::feed::find_again(&mut reader, "w", &place, base).await.unwrap();
    assert_eq!(found, crate::support::place(again, 1, 2));
}

#[tokio::test]
async fn a_lost_tail_that_the_source_does_not_repeat_is_given_up_after_as_many_records() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    Leader::new(&log).await.append(0, 3, 10).await;
    // Everything that the next leader stores is lost.
    let mut leader = Leader::new(&log).await;
    let first = leader.block.next_seq();
    let synced = std::fs::read(dir.path().join("log.sqlite-wal")).unwrap();
    leader.append(1, 3, 10).await;
    let lost = leader.append(2, 3, 10).await;
    let dir = without_tail(dir.path(), &synced);
    drop((log, leader));

    let log = open(dir.path());
    let mut leader = Leader::new(&log).await;
    assert_eq!(leader.checkpoint, Some(checkpoint(1)));
    let mut reader = log.reader("w", 0).unwrap();
    let place = crate::support::place(lost, 2, 2);
    assert_eq!(reader.find(&place).await, Ok(Found::Repeated { base: first - 1 }), "former leaders have lost nothing");
    let mut search = Box::pin(mysync_pipeline::feed::find_again(&mut reader, "w", &place, first - 1));
    leader.append(11, 5, 10).await;
    tokio::select! {
        biased;
        outcome = &mut search => panic!("five records are fewer than were lost: {outcome:?}"),
        () = std::future::ready(()) => {}
    }
    leader.append(12, 1, 10).await;
    let outcome = tokio::time::timeout(std::time::Duration::from_secs(60), search).await.expect("it waits for ever");
    assert_eq!(outcome.unwrap_err().code, "PLACE_LOST");
}
