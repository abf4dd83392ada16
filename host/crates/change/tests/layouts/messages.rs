//! What a log of messages sends.

use mysync_change::block::MESSAGE_BYTES;
use mysync_change::envelope::Kind;
use mysync_change::routing::Layout;
use mysync_change::rows::Operation;
use proptest::prelude::*;

use crate::records::{FIRST, Step, batches, block, key, read, steps, take, transaction, wide};

proptest! {
    #[test]
    fn messages_hold_every_record_and_know_which(transactions in steps()) {
        for layout in [Layout::Runs, Layout::Keyed] {
            let block = block(layout, &transactions);
            let part = &block.partitions()[0];
            let messages: Vec<_> = part.messages().collect();
            let bytes: Vec<u8> = messages.iter().flat_map(|message| message.bytes).copied().collect();
            prop_assert_eq!(&bytes, &part.bytes);
            for message in &messages {
                let (numbers, kind, envelopes) = read(message.bytes);
                prop_assert_eq!(Some(&message.first_seq), numbers.first());
                prop_assert_eq!(Some(&message.last_seq), numbers.last());
                prop_assert_eq!(message.key.is_some(), layout == Layout::Keyed);
                prop_assert!(layout == Layout::Runs || numbers.len() == 1 && envelopes == 1);
                prop_assert!(!message.is_tombstone || layout == Layout::Keyed && kind == Kind::Change);
            }
            let expected = transactions.concat().iter().flat_map(|step| match step {
                Step::Put(_, table, id, _) => vec![(Some(key(*table, *id)), false)],
                Step::Delete(table, id) => vec![(Some(key(*table, *id)), true)],
                Step::Move(table, old, new, _) => vec![(Some(key(*table, *old)), true), (Some(key(*table, *new)), false)],
                Step::Event(_) => vec![(None, false)],
            }).collect::<Vec<_>>();
            if layout == Layout::Keyed {
                prop_assert_eq!(messages.len(), expected.len());
                for (message, (key, removes)) in messages.iter().zip(expected) {
                    prop_assert!(key.is_none_or(|key| Some(&*key) == message.key));
                    prop_assert_eq!(message.is_tombstone, removes);
                }
                let mut keys: Vec<_> = messages.iter().filter(|m| read(m.bytes).1 == Kind::TableEvent).map(|m| m.key).collect();
                let events = keys.len();
                keys.sort_unstable();
                keys.dedup();
                prop_assert_eq!(keys.len(), events, "two events have one key");
            }
        }
    }
}

fn insert(bytes: usize) -> Step {
    Step::Put(Operation::Insert, 0, 1, "t".repeat(bytes))
}

/// How many records each message has.
fn shares(transactions: &[Vec<Step>]) -> Vec<usize> {
    let block = block(Layout::Runs, transactions);
    block.partitions()[0].messages().map(|message| read(message.bytes).0.len()).collect()
}

#[test]
fn small_envelopes_and_small_rows_share_messages() {
    for transactions in [vec![vec![insert(1000)]; 600], vec![vec![insert(1000); 600]]] {
        let block = block(Layout::Runs, &transactions);
        let sizes: Vec<usize> = block.partitions()[0].messages().map(|message| message.bytes.len()).collect();
        assert_eq!(sizes.len(), 3, "{sizes:?}");
        assert!(sizes.iter().all(|size| *size < MESSAGE_BYTES + 1100), "{sizes:?}");
    }
}

#[test]
fn a_large_row_is_not_refused_for_what_stands_before_it() {
    let large = || insert(2 * MESSAGE_BYTES);
    let few = |last: Vec<Step>| [vec![insert(10); 3], last].concat();
    for (transactions, expected) in [
        (vec![few(vec![large()])], vec![3, 1]),
        (vec![few(vec![large(), insert(10), insert(10)])], vec![3, 1, 2]),
        (vec![few(vec![]), vec![large()], vec![insert(10)]], vec![3, 1, 1]),
        // Its transaction's end is marked when its envelope is closed.
        (vec![few(vec![large(), Step::Event("drop")]), vec![insert(10)]], vec![3, 1, 2]),
        (vec![vec![large(), large()]], vec![1, 1]),
    ] {
        assert_eq!(shares(&transactions), expected);
        let [runs, keyed] = [Layout::Runs, Layout::Keyed]
            .map(|layout| batches(&block(layout, &transactions).partitions()[0].bytes, wide(), 0).unwrap());
        assert_eq!(runs, keyed);
    }
}

#[test]
fn what_is_discarded_leaves_no_message_behind() {
    for layout in [Layout::Runs, Layout::Keyed] {
        let mut block = block(layout, &[vec![Step::Event("drop"), Step::Delete(0, 1)]]);
        block.discard();
        assert_eq!(block.partitions()[0].messages().len(), 0);
        block.begin(transaction(1), 1);
        take(&mut block, &Step::Delete(1, 2), 0);
        block.end();
        block.seal();
        let message = block.partitions()[0].messages().next().unwrap();
        assert_eq!((message.first_seq, message.last_seq), (FIRST, FIRST));
        assert_eq!(message.key, (layout == Layout::Keyed).then_some(&*key(1, 2)));
    }
}
