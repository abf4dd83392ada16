//! What is deleted, what is kept for whom, and what happens when nothing can be deleted.

use std::time::Duration;

use mysync_change::fence::Place;
use mysync_change::position::Checkpoint;
use mysync_log::{EmbeddedLog, LogSettings};
use mysync_pipeline::failure::Kind;
use mysync_pipeline::ports::{Found, LogReader, LogWriter};

use crate::support::{Leader, Random, checkpoint, one_dump, open, place, read_all, seed, settings, until};

const BEGINNING: Place = Place { seq: 0, transaction: String::new(), row: 0, second: false };

fn named(writers: &[&str]) -> Vec<String> {
    writers.iter().map(|name| (*name).to_owned()).collect()
}

/// Everything that all writers have passed is old at once.
fn forgetful(dir: &std::path::Path, writers: &[&str]) -> LogSettings {
    LogSettings { retention: Duration::ZERO, writers: named(writers), ..settings(dir) }
}

async fn start(log: &EmbeddedLog) -> u64 {
    match log.reader("looks", 0).unwrap().find(&BEGINNING).await.unwrap() {
        Found::Trimmed { start } => start,
        _ => 0,
    }
}

#[tokio::test]
async fn retention_never_passes_a_slow_writer() {
    let mut random = Random(seed());
    let dir = tempfile::tempdir().unwrap();
    let log = EmbeddedLog::open(&forgetful(dir.path(), &["fast", "slow"])).unwrap();
    let mut leader = Leader::new(&log).await;
    let (mut fast, mut slow) = (log.reader("fast", 0).unwrap(), log.reader("slow", 0).unwrap());
    let mut lasts = Vec::new();
    let mut passed = 0;
    for transaction in 0..300 {
        lasts.push(leader.append(transaction, 2, 10).await);
        fast.advance(*lasts.last().unwrap()).await.unwrap();
        if transaction % 100 == 99 {
            passed += 1 + random.below(60) as usize;
            let (seq, name) = (lasts[passed], place(lasts[passed], passed as u64, 1));
            slow.advance(seq).await.unwrap();
            until("what both have passed is deleted", async || start(&log).await == seq).await;
            assert_eq!(slow.find(&name).await, Ok(Found::Next), "the slow one goes on");
            let ahead = read_all(&mut slow, seq).await;
            assert_eq!(ahead.len(), 2 * (lasts.len() - 1 - passed), "nothing behind its place is missing");
        }
    }
    slow.advance(*lasts.last().unwrap()).await.unwrap();
    until("only the newest block is left", async || start(&log).await == lasts[lasts.len() - 2]).await;
    assert_eq!(slow.find(&place(lasts[3], 3, 1)).await, Ok(Found::Trimmed { start: lasts[lasts.len() - 2] }));
    drop((leader, fast, slow, log));
    let log = open(dir.path());
    assert_eq!(
        log.writer().lead().await.unwrap().prevs,
        [*lasts.last().unwrap()],
        "the newest block says where the log ends"
    );
}

#[tokio::test]
async fn young_records_stay_though_everybody_has_passed_them() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let mut leader = Leader::new(&log).await;
    let mut reader = log.reader("w", 0).unwrap();
    for transaction in 0..50 {
        let last = leader.append(transaction, 2, 10).await;
        reader.advance(last).await.unwrap();
    }
    drop((leader, reader, log));
    let log = open(dir.path());
    assert_eq!(read_all(&mut log.reader("w", 0).unwrap(), 0).await.len(), 100);
    assert!(log.figures().oldest_us.is_none_or(|oldest| oldest > 0));
}

#[tokio::test]
async fn a_writer_that_is_not_configured_any_more_holds_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let log = EmbeddedLog::open(&forgetful(dir.path(), &["stays", "leaves"])).unwrap();
    let mut leader = Leader::new(&log).await;
    log.reader("leaves", 0).unwrap().advance(0).await.unwrap();
    let mut last = 0;
    for transaction in 0..10 {
        last = leader.append(transaction, 1, 10).await;
    }
    log.reader("stays", 0).unwrap().advance(last).await.unwrap();
    drop((leader, log));

    let log = EmbeddedLog::open(&forgetful(dir.path(), &["stays"])).unwrap();
    log.reader("stays", 0).unwrap().advance(last).await.unwrap();
    until("its records are deleted", async || start(&log).await == last - 1).await;
    drop(log);
    let log = EmbeddedLog::open(&forgetful(dir.path(), &["stays", "new"])).unwrap();
    let found = log.reader("new", 0).unwrap().find(&BEGINNING).await;
    assert_eq!(found, Ok(Found::Trimmed { start: last - 1 }), "a new writer is told that the beginning is gone");
}

#[tokio::test]
async fn a_writer_rewound_while_nothing_ran_finds_its_records() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let mut leader = Leader::new(&log).await;
    let mut lasts = Vec::new();
    for transaction in 0..10 {
        lasts.push(leader.append(transaction, 1, 10).await);
    }
    log.reader("w", 0).unwrap().advance(lasts[9]).await.unwrap();
    drop((leader, log));

    // Its fence was moved back; the log's own note of it was not.
    let log = EmbeddedLog::open(&forgetful(dir.path(), &["w"])).unwrap();
    let mut reader = log.reader("w", 0).unwrap();
    assert_eq!(reader.find(&place(lasts[2], 2, 0)).await, Ok(Found::Next));
    reader.advance(lasts[2]).await.unwrap();
    until("what it has passed again is deleted", async || start(&log).await == lasts[2]).await;
    assert_eq!(read_all(&mut reader, lasts[2]).await.len(), 7);
}

#[tokio::test]
async fn a_writer_whose_store_is_away_since_the_start_keeps_its_records_however_long_that_takes() {
    let dir = tempfile::tempdir().unwrap();
    let old = LogSettings { partitions: 2, ..forgetful(dir.path(), &["w"]) };
    let log = EmbeddedLog::open(&LogSettings { retention: Duration::from_secs(3600), ..old.clone() }).unwrap();
    let mut leader = Leader::new(&log).await;
    for transaction in 0..10 {
        leader.take(transaction, &[0, 1], 10);
        leader.store(transaction).await.unwrap();
    }
    let last = leader.block.next_seq() - 1;
    for partition in 0..2 {
        log.reader("w", partition).unwrap().advance(last).await.unwrap();
    }
    drop((leader, log));

    // What it once said of itself is no longer true of a writer that was rewound meanwhile. One partition's store is heard of again.
    let log = EmbeddedLog::open(&old).unwrap();
    let mut heard = log.reader("w", 1).unwrap();
    heard.advance(last).await.unwrap();
    let trimmed = async || matches!(heard.find(&BEGINNING).await, Ok(Found::Trimmed { .. }));
    until("the other partition is shortened", trimmed).await;
    assert_eq!(read_all(&mut log.reader("w", 0).unwrap(), 0).await.len(), 10);
}

#[tokio::test]
async fn a_full_log_names_the_writer_that_has_not_been_heard_of_since_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let small = LogSettings { max_bytes: 4 << 20, writers: named(&["w"]), ..settings(dir.path()) };
    let log = EmbeddedLog::open(&small).unwrap();
    let last = Leader::new(&log).await.append(0, 1, 10).await;
    log.reader("w", 0).unwrap().advance(last).await.unwrap();
    drop(log);

    let log = EmbeddedLog::open(&small).unwrap();
    let mut leader = Leader::new(&log).await;
    let mut transaction = 1;
    let failure = loop {
        assert!(transaction < 1000, "50 MB went into a log of 4 MiB: nobody holds it");
        leader.take(transaction, &[0; 10], 5000);
        match leader.store(transaction).await {
            Ok(()) => transaction += 1,
            Err(failure) => break failure,
        }
    };
    assert_eq!(failure.code, "LOG_FULL");
    assert!(failure.message.contains("writer w has not written to its store since the start"), "{}", failure.message);
    let last = leader.block.next_seq() - 1;
    log.reader("w", 0).unwrap().advance(last).await.unwrap();
    until("capture goes on", async || !log.figures().paused).await;
}

#[tokio::test]
async fn a_full_log_waits_for_the_writer_that_is_behind_and_names_it() {
    let dir = tempfile::tempdir().unwrap();
    let small = LogSettings { max_bytes: 4 << 20, writers: named(&["fast", "slow"]), ..settings(dir.path()) };
    let log = EmbeddedLog::open(&small).unwrap();
    let mut leader = Leader::new(&log).await;
    let (mut fast, mut slow) = (log.reader("fast", 0).unwrap(), log.reader("slow", 0).unwrap());
    let mut lasts = vec![];
    let failure = loop {
        let transaction = lasts.len() as u64;
        leader.take(transaction, &[0; 10], 5000);
        match leader.store(transaction).await {
            Ok(()) => lasts.push(leader.block.next_seq() - 1),
            Err(failure) => break failure,
        }
        fast.advance(*lasts.last().unwrap()).await.unwrap();
        slow.advance(lasts[lasts.len() / 8]).await.unwrap();
    };
    assert_eq!((failure.code, failure.kind), ("LOG_FULL", Kind::Transient));
    assert!(failure.message.contains("writer slow has come to seq"), "{}", failure.message);
    let figures = log.figures();
    assert!(figures.paused && figures.bytes >= figures.max_bytes && figures.bytes < figures.max_bytes + (1 << 20));
    assert_eq!(log.writer().lead().await.unwrap_err().code, "LOG_FULL", "who tries again is told the same");
    let behind = lasts[(lasts.len() - 1) / 8];
    assert_eq!(read_all(&mut slow, behind).await.last().unwrap().seq, *lasts.last().unwrap());

    // It passes most of it: there is room without a restart, and only what it has passed is gone.
    let passed = lasts.len() / 2;
    slow.advance(lasts[passed]).await.unwrap();
    until("capture goes on", async || !log.figures().paused).await;
    let mut leader = Leader::new(&log).await;
    let transaction = lasts.len() as u64;
    lasts.push(leader.append(transaction, 10, 5000).await);
    let begins = start(&log).await;
    assert!(begins > 0 && begins <= lasts[passed], "it begins behind {begins}");
    assert_eq!(read_all(&mut slow, lasts[passed]).await.len(), 10 * (lasts.len() - 1 - passed));
}

#[tokio::test]
async fn a_full_log_that_nobody_holds_is_shortened_and_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let small = LogSettings { max_bytes: 4 << 20, writers: vec![], ..settings(dir.path()) };
    let log = EmbeddedLog::open(&small).unwrap();
    let mut leader = Leader::new(&log).await;
    for transaction in 0..400 {
        leader.append(transaction, 10, 5000).await;
    }
    // Far more than the whole log, as one block: it is let in, and the next one too.
    for transaction in 400..403 {
        leader.append(transaction, 100, 60_000).await;
    }
    until("the log has its size again", async || log.figures().bytes < 15 << 20).await;
    assert!(std::fs::metadata(dir.path().join("log.sqlite")).unwrap().len() < 25 << 20, "pages are used again");
    assert!(!log.figures().paused);
}

#[tokio::test]
async fn the_wal_stays_small_however_much_is_appended() {
    let dir = tempfile::tempdir().unwrap();
    let small = LogSettings { max_bytes: 16 << 20, writers: vec![], ..settings(dir.path()) };
    let log = EmbeddedLog::open(&small).unwrap();
    let mut leader = Leader::new(&log).await;
    let mut most = 0;
    for transaction in 0..1500 {
        leader.append(transaction, 10, 8000).await;
        most = most.max(std::fs::metadata(dir.path().join("log.sqlite-wal")).unwrap().len());
    }
    assert!(most < 16 << 20, "120 MB went through a WAL of {most} bytes, which begins anew from 4 MiB on");
}

#[tokio::test]
async fn a_new_writer_that_cannot_begin_its_dump_does_not_fill_the_log_and_what_it_begins_behind_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let (writers, loaded) = (named(&["old", "new"]), named(&["new"]));
    let small = LogSettings { max_bytes: 4 << 20, writers, loaded, ..settings(dir.path()) };
    let log = EmbeddedLog::open(&small).unwrap();
    let mut leader = Leader::new(&log).await;
    let mut old = log.reader("old", 0).unwrap();
    for transaction in 0..200 {
        let last = leader.append(transaction, 10, 5000).await;
        old.advance(last).await.unwrap();
    }
    assert!(start(&log).await > 0, "10 MB went through a log of 4 MiB");
    // It orders its dump: from here on it counts, though its store has not heard of it.
    let from = leader.block.next_seq() - 1;
    let dumps = one_dump("new", from);
    let covered = Checkpoint { dumps, ..checkpoint(201) };
    leader.writer.append(&leader.block, &covered).await.unwrap();
    let failure = loop {
        leader.take(300, &[0; 10], 5000);
        leader.block.seal();
        if let Err(failure) = leader.writer.append(&leader.block, &covered).await {
            break failure;
        }
        leader.block.stored();
        old.advance(leader.block.next_seq() - 1).await.unwrap();
    };
    assert_eq!(failure.code, "LOG_FULL");
    assert!(start(&log).await <= from, "what comes behind its beginning is kept");
}
