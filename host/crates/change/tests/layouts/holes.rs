//! Records that are gone, and who may pass over them.

use mysync_change::batch::{Batch, BatchBuilder, BlockReader, Extent, TakeError};
use mysync_change::block::BlockBuilder;
use mysync_change::envelope::{LogId, chunk_id};
use mysync_change::routing::Layout;
use mysync_change::rows::Operation;

use crate::records::{PREV, Step, at, batches, block, new_block, planned, put, take, transaction, wide};

/// A block with one row in each of three transactions.
fn three() -> BlockBuilder {
    let row = |id| vec![Step::Put(Operation::Insert, 0, id, "x".into())];
    block(Layout::Keyed, &[row(1), row(2), row(3)])
}

/// The bytes of some of a block's messages.
fn some_of(block: &BlockBuilder, places: &[usize]) -> Vec<u8> {
    let messages: Vec<_> = block.partitions()[0].messages().collect();
    places.iter().flat_map(|place| messages[*place].bytes).copied().collect()
}

fn last_seq(taken: &[(Batch, Extent)]) -> u64 {
    taken.last().map_or(PREV, |(_, extent)| extent.last.seq)
}

#[test]
fn a_hole_stops_who_goes_on_and_not_who_rebuilds() {
    let bytes = some_of(&three(), &[0, 2]);
    // What is missing is the record 101.
    for (holes_up_to, taken) in [(0, false), (100, false), (101, true), (500, true)] {
        match batches(&bytes, wide(), holes_up_to) {
            Ok(batches) => assert!(taken && last_seq(&batches) == 102, "{holes_up_to}"),
            Err(TakeError::Chain(broken)) => {
                assert!(!taken, "{holes_up_to}");
                assert_eq!((broken.expected, broken.found, broken.at), (100, 101, 102));
            }
            Err(error) => panic!("{error:?}"),
        }
    }
}

#[test]
fn a_log_that_was_cut_and_grew_again_is_no_hole() {
    // The store has come to 101, and the log goes on behind 40.
    let (shapes, mut reader, mut builder) = (planned(), BlockReader::default(), BatchBuilder::new("w", wide()));
    let mut regrown = BlockBuilder::new(LogId([7; 16]), 200, &[PREV]).in_layout(Layout::Keyed);
    regrown.begin(transaction(9), 1);
    take(&mut regrown, &Step::Delete(0, 1), 0);
    regrown.end();
    regrown.seal();
    reader.refill().extend_from_slice(&regrown.partitions()[0].bytes);
    builder.pass_holes(u64::MAX);
    builder.start(&at(101));
    let taken = builder.take(&mut reader, None, &shapes);
    assert!(matches!(taken, Err(TakeError::Chain(broken)) if (broken.expected, broken.found) == (101, PREV)));
}

#[test]
fn an_event_behind_a_hole_is_taken_too() {
    let put = |id| Step::Put(Operation::Insert, 0, id, "x".into());
    let block = block(Layout::Keyed, &[vec![put(1)], vec![put(2)], vec![Step::Event("truncate")]]);
    let bytes = some_of(&block, &[0, 2]);
    assert!(matches!(batches(&bytes, wide(), 100), Err(TakeError::Chain(_))));
    let taken = batches(&bytes, wide(), 102).unwrap();
    assert_eq!((taken.len(), taken[1].0.events.len(), last_seq(&taken)), (2, 1, 102));
}

#[test]
fn a_transaction_whose_end_is_gone_does_not_hold_up_a_rebuild() {
    let put = |id| Step::Put(Operation::Insert, 0, id, "x".into());
    let block = block(Layout::Keyed, &[vec![put(1), put(2)]]);
    let bytes = some_of(&block, &[0]);
    assert!(!batches(&bytes, wide(), 0).unwrap()[0].1.whole, "its end is on its way");
    assert!(batches(&bytes, wide(), 101).unwrap()[0].1.whole, "its end may be gone");
}

#[test]
fn a_repair_for_one_writer_takes_no_row_from_the_others() {
    for (layout, rows) in [(Layout::Runs, 0), (Layout::Keyed, 1)] {
        let mut block = new_block(layout);
        block.begin_chunk(chunk_id(1, 1), 1, Some("another".into()));
        put(&mut block, Operation::Read, (0, 1), 0, None, Some((1, "x")));
        block.end();
        block.seal();
        let taken = batches(&block.partitions()[0].bytes, wide(), 0).unwrap();
        assert_eq!(taken[0].1.rows, rows, "{layout:?}");
    }
}
