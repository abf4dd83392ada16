//! What is stored is what is read.

use mysync_change::batch::BlockReader;
use mysync_change::fence::Place;
use mysync_change::position::Checkpoint;
use mysync_log::{look, partitions, read_only};
use mysync_pipeline::ports::{Found, LogReader, LogWriter};

use crate::support::{Leader, Record, checkpoint, fingerprint, one_dump, open, place, read_all, settings, shape};

#[tokio::test]
async fn what_is_stored_is_read_in_order_and_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let mut stored = Vec::new();
    for start in [0, 100] {
        let log = open(dir.path());
        let mut leader = Leader::new(&log).await;
        assert_eq!(leader.checkpoint, (start > 0).then(|| checkpoint(10)), "the last one stored");
        for transaction in start..start + 10 {
            let last = leader.append(transaction, 3, 10).await;
            stored.extend((0..3).map(|row| Record { seq: last - 2 + row, transaction, row }));
        }
        let mut reader = log.reader("w", 0).unwrap();
        assert_eq!(read_all(&mut reader, 0).await, stored);
        let middle = stored[4].seq;
        let mut block = BlockReader::default();
        assert!(reader.read(middle, &mut block).await.unwrap(), "from inside a block");
        assert!(!reader.read(stored.last().unwrap().seq, &mut block).await.unwrap());
        assert!(!reader.read(u64::MAX, &mut block).await.unwrap());
    }
}

#[tokio::test]
async fn a_reader_hears_of_an_append_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let mut reader = log.reader("w", 0).unwrap();
    let mut leader = Leader::new(&log).await;
    let waiting = tokio::spawn(async move {
        reader.wait(0).await;
        let mut block = BlockReader::default();
        reader.read(0, &mut block).await.unwrap()
    });
    leader.append(1, 1, 10).await;
    assert!(waiting.await.unwrap());
}

#[tokio::test]
async fn every_partition_has_its_own_records() {
    let dir = tempfile::tempdir().unwrap();
    let log =
        mysync_log::EmbeddedLog::open(&mysync_log::LogSettings { partitions: 3, ..settings(dir.path()) }).unwrap();
    let mut leader = Leader::new(&log).await;
    let start = leader.block.next_seq();
    for transaction in 0..9 {
        leader.take(transaction, &[0, 2, 0], 10);
        leader.store(transaction).await.unwrap();
    }
    let of = async |partition| read_all(&mut log.reader("w", partition).unwrap(), 0).await;
    assert_eq!((of(0).await.len(), of(1).await.len(), of(2).await.len()), (18, 0, 9));
    let between = of(0).await[0].seq + 1;
    let mut reader = log.reader("w", 0).unwrap();
    assert_eq!(
        reader.find(&place(between, 0, 1)).await,
        Ok(Found::Repeated { base: start - 1 }),
        "a number between two of this partition is another's"
    );
    assert_eq!(partitions(dir.path()).unwrap(), 3);
    assert_eq!(log.reader("w", 3).unwrap_err().code(), "LOG_PARTITION_UNKNOWN");
}

#[tokio::test]
async fn only_the_very_record_is_a_place() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let mut reader = log.reader("w", 0).unwrap();
    assert_eq!(reader.find(&Place::default()).await, Ok(Found::Next), "the beginning of an empty log");
    assert_eq!(reader.find(&place(7, 1, 0)).await, Ok(Found::Repeated { base: 0 }), "an empty log has no places");

    let mut leader = Leader::new(&log).await;
    let first = leader.append(1, 3, 10).await;
    let second = leader.append(2, 3, 10).await;
    assert_eq!(reader.find(&Place::default()).await, Ok(Found::Next));
    for (row, seq) in (0..).zip(second - 2..=second) {
        assert_eq!(reader.find(&place(seq, 2, row)).await, Ok(Found::Next));
    }
    assert_eq!(
        reader.find(&Place { seq: second, ..Place::default() }).await,
        Ok(Found::Next),
        "a place without a name"
    );
    assert_eq!(reader.find(&place(second, 3, 2)).await, Ok(Found::Repeated { base: first }), "another's number");
    assert_eq!(reader.find(&place(second, 2, 1)).await, Ok(Found::Repeated { base: first }), "another row's number");
    assert_eq!(reader.find(&place(second + 9, 2, 2)).await, Ok(Found::Repeated { base: second }), "beyond the end");
    assert_eq!(reader.find(&place(first - 9, 1, 0)).await, Ok(Found::Repeated { base: 0 }), "before the first leader");
}

#[tokio::test]
async fn shapes_are_there_before_their_rows_and_the_newest_comes_last() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let mut leader = Leader::new(&log).await;
    let mut reader = log.reader("w", 0).unwrap();
    assert_eq!(reader.shape(fingerprint("users")).await.unwrap_err().code, "LOG_SHAPE_MISSING");
    for name in ["old", "new", "old"] {
        leader.block.shape(fingerprint(name), shape(name));
        leader.store(1).await.unwrap();
    }
    let shapes = reader.shapes().await.unwrap();
    assert_eq!(shapes, [(fingerprint("new"), shape("new")), (fingerprint("old"), shape("old"))]);
    assert_eq!(reader.shape(fingerprint("old")).await.unwrap(), shape("old"));
}

#[tokio::test]
async fn a_checkpoint_moves_without_rows() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let mut leader = Leader::new(&log).await;
    leader.store(41).await.unwrap();
    assert_eq!(Leader::new(&log).await.checkpoint, Some(checkpoint(42)));
}

#[tokio::test]
async fn a_leader_never_gives_a_number_again() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let mut numbers = Vec::new();
    for _ in 0..5 {
        numbers.push(log.writer().lead().await.unwrap().next_seq);
    }
    let last = Leader::new(&log).await.append(1, 10, 10).await;
    numbers.push(last);
    numbers.push(log.writer().lead().await.unwrap().next_seq);
    let gaps: Vec<u64> = numbers.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(gaps.iter().all(|gap| *gap >= 1 << 29), "an unsynced tail fits between two leaders: {gaps:?}");
}

#[tokio::test]
async fn a_block_of_a_former_leader_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let mut old = Leader::new(&log).await;
    let mut new = Leader::new(&log).await;
    new.append(1, 1, 10).await;
    old.take(2, &[0], 10);
    assert_eq!(old.store(2).await.unwrap_err().code, "LOG_ORDER");
    assert_eq!(read_all(&mut log.reader("w", 0).unwrap(), 0).await.len(), 1);
}

#[tokio::test]
async fn another_process_reads_while_the_leader_writes() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(read_only(dir.path(), "w", 0).unwrap_err().code(), "LOG_ABSENT");
    assert_eq!(partitions(&dir.path().join("none")).unwrap_err().code(), "LOG_ABSENT");
    assert!(std::fs::read_dir(dir.path()).unwrap().next().is_none(), "nothing was made");

    let log = open(dir.path());
    let mut leader = Leader::new(&log).await;
    let mut outside = read_only(dir.path(), "w", 0).unwrap();
    assert_eq!(outside.log_id(), log.id());
    assert_eq!(look(dir.path()).unwrap().checkpoint, None);
    let last = leader.append(1, 1, 10).await;
    let seen = look(dir.path()).unwrap();
    assert_eq!((seen.id, seen.partitions), (log.id(), 1));
    assert!(seen.checkpoint.is_some() && seen.checkpoint == leader.checkpoint);
    outside.wait(0).await;
    assert_eq!(read_all(&mut outside, 0).await.len(), 1);
    assert_eq!(outside.find(&place(last, 1, 0)).await, Ok(Found::Next));
    assert_eq!(outside.has_advanced().await, Ok(false));
    log.reader("w", 0).unwrap().advance(last).await.unwrap();
    assert_eq!(outside.has_advanced().await, Ok(true));
    assert_eq!(outside.advance(last).await.unwrap_err().code, "LOG_OUTSIDE");
    drop((log, leader));
    assert_eq!(read_all(&mut outside, 0).await.len(), 1);
    assert_eq!(read_all(&mut read_only(dir.path(), "w", 0).unwrap(), 0).await.len(), 1, "nobody writes");
}

#[tokio::test]
async fn dumps_are_stored_with_the_checkpoint_they_belong_to() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let mut leader = Leader::new(&log).await;
    leader.append(1, 1, 1).await;
    let dumps = one_dump("w", 7);
    let with = Checkpoint { dumps, ..checkpoint(2) };
    leader.writer.append(&leader.block, &with).await.unwrap();
    drop((leader, log));
    let log = open(dir.path());
    let lead = log.writer().lead().await.unwrap();
    assert_eq!(lead.checkpoint.unwrap(), with);
}
