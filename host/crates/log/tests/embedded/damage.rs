//! A file that cannot be believed: an error with a code that says what to do, never a panic, never silence.

use std::path::Path;

use mysync_change::batch::BlockReader;
use mysync_change::fence::Place;
use mysync_log::EmbeddedLog;
use mysync_pipeline::failure::{Failure, Kind};
use mysync_pipeline::ports::{Found, LogReader, LogWriter};
use rusqlite::Connection;

use crate::support::{Leader, Random, Record, open, records, seed, settings, until};

const TRANSACTIONS: u64 = 60;

/// A log that was closed well: all of it in its file.
async fn make(dir: &Path) -> Vec<Record> {
    let log = open(dir);
    let mut leader = Leader::new(&log).await;
    let mut stored = Vec::new();
    for transaction in 0..TRANSACTIONS {
        let last = leader.append(transaction, 2, 900).await;
        stored.extend((0..2).map(|row| Record { seq: last - 1 + row, transaction, row }));
    }
    stored
}

/// Everything a process does at its start, up to the first error.
async fn go_through(dir: &Path) -> Result<Vec<Record>, Failure> {
    let log = EmbeddedLog::open(&settings(dir))?;
    log.writer().lead().await?;
    let mut reader = log.reader("w", 0)?;
    let found = reader.find(&Place::default()).await?;
    assert_eq!(found, Found::Next);
    for (fingerprint, _) in reader.shapes().await? {
        reader.shape(fingerprint).await?;
    }
    let (mut all, mut block) = (Vec::<Record>::new(), BlockReader::default());
    while reader.read(all.last().map_or(0, |record| record.seq), &mut block).await? {
        all.extend(records(&block, all.last().map_or(0, |record| record.seq)));
    }
    Ok(all)
}

#[tokio::test]
async fn a_damaged_file_stops_with_a_code_and_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    make(dir.path()).await;
    let path = dir.path().join("log.sqlite");
    let whole = std::fs::read(&path).unwrap();

    std::fs::write(&path, b"this is no database, and long enough to be seen as none: ".repeat(100)).unwrap();
    let error = EmbeddedLog::open(&settings(dir.path())).unwrap_err();
    assert_eq!((error.code(), error.kind()), ("LOG_DAMAGED", Kind::Definite));
    assert!(error.to_string().contains("mysync writer rebase"), "{error}");
    std::fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    // It still holds every page, and would make up for the lost half.
    std::fs::remove_file(dir.path().join("log.sqlite-wal")).unwrap();
    let failure = go_through(dir.path()).await.unwrap_err();
    assert_eq!((failure.code, failure.kind), ("LOG_DAMAGED", Kind::Definite), "half a file");
}

#[tokio::test]
async fn whatever_bytes_are_overwritten_nothing_false_is_read() {
    const TRIES: usize = 300;
    let mut random = Random(seed());
    let dir = tempfile::tempdir().unwrap();
    let stored = make(dir.path()).await;
    let whole = std::fs::read(dir.path().join("log.sqlite")).unwrap();
    let mut refused = std::collections::BTreeMap::new();
    for _ in 0..TRIES {
        let mut bytes = whole.clone();
        let at = random.below(bytes.len() as u64) as usize;
        let len = [1, 16, 512, 8192][random.below(4) as usize];
        let zeros = random.below(2) == 0;
        bytes[at..].iter_mut().take(len).for_each(|byte| *byte = if zeros { 0 } else { random.below(256) as u8 });
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("log.sqlite"), bytes).unwrap();
        match go_through(dir.path()).await {
            Ok(read) => assert_eq!(read, stored, "{len} bytes at {at}"),
            Err(failure) => *refused.entry(failure.code).or_insert(0) += 1,
        }
    }
    println!("refused: {refused:?}");
    assert!(refused.contains_key("LOG_DAMAGED") && refused.contains_key("LOG_BLOCK_DAMAGED"), "{refused:?}");
}

#[tokio::test]
async fn a_block_whose_bytes_changed_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let stored = make(dir.path()).await;
    let file = Connection::open(dir.path().join("log.sqlite")).unwrap();
    let changed =
        "UPDATE block_0 SET records = CAST(replace(CAST(records AS TEXT), 'xx', 'xy') AS BLOB) WHERE last_seq = ?1";
    assert_eq!(file.execute(changed, [stored[21].seq as i64]).unwrap(), 1);
    drop(file);
    let failure = go_through(dir.path()).await.unwrap_err();
    assert_eq!((failure.code, failure.kind), ("LOG_BLOCK_DAMAGED", Kind::Definite));
    assert!(failure.message.contains(&stored[21].seq.to_string()), "{}", failure.message);

    // Who passes it over has had everything before it, however many blocks are read at a time.
    let log = open(dir.path());
    let (mut reader, mut block) = (log.reader("w", 0).unwrap(), BlockReader::default());
    let mut before = Vec::<Record>::new();
    while reader.read(before.last().map_or(0, |record| record.seq), &mut block).await.is_ok_and(|more| more) {
        before.extend(records(&block, before.last().map_or(0, |record| record.seq)));
    }
    assert_eq!(before, stored[..20]);
    // By its end, which the message names; no other place in it is known.
    let place = |seq| Place { seq, ..Place::default() };
    assert_eq!(reader.find(&place(stored[21].seq)).await.unwrap(), Found::Next);
    assert_eq!(reader.find(&place(stored[20].seq)).await.unwrap_err().code, "LOG_BLOCK_DAMAGED");
    assert!(reader.read(stored[21].seq, &mut block).await.unwrap());
    assert_eq!(records(&block, stored[21].seq)[0], stored[22]);
}

#[tokio::test]
async fn records_without_their_checkpoint_are_damage() {
    let dir = tempfile::tempdir().unwrap();
    make(dir.path()).await;
    let file = Connection::open(dir.path().join("log.sqlite")).unwrap();
    file.execute("DELETE FROM block_0 WHERE last_seq = (SELECT max(last_seq) FROM block_0)", []).unwrap();
    drop(file);
    let failure = go_through(dir.path()).await.unwrap_err();
    assert_eq!((failure.code, failure.kind), ("LOG_DAMAGED", Kind::Definite));
}

#[tokio::test]
async fn a_checkpoint_of_a_later_release_is_not_guessed_at() {
    let dir = tempfile::tempdir().unwrap();
    make(dir.path()).await;
    let file = Connection::open(dir.path().join("log.sqlite")).unwrap();
    file.execute("UPDATE checkpoint SET version = 2", []).unwrap();
    drop(file);
    assert_eq!(go_through(dir.path()).await.unwrap_err().code, "LOG_CHECKPOINT");
}

#[tokio::test]
async fn a_directory_that_was_wiped_while_in_use_stops_capture() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let mut leader = Leader::new(&log).await;
    std::fs::remove_file(dir.path().join("log.sqlite")).unwrap();
    until("the loss is noticed", async || {
        leader.take(1, &[0], 10);
        leader.store(1).await.is_err_and(|failure| (failure.code, failure.kind) == ("LOG_GONE", Kind::Definite))
    })
    .await;
}
