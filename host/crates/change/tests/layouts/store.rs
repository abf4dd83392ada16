//! What a store comes to, from a log as it was written and from one that was compacted.

use std::collections::BTreeMap;

use mysync_change::batch::{Batch, Extent, Images, Limits, Values};
use mysync_change::block::Message;
use mysync_change::routing::Layout;
use mysync_change::rows::Operation;
use proptest::prelude::*;

use crate::records::{batches, block, steps, wide};

/// What a store that is written from batches holds in the end: rows by table and key, without those that an event took.
fn store(batches: &[(Batch, Extent)]) -> BTreeMap<(u32, i64), String> {
    let mut rows: Vec<(u64, u32, i64, Option<String>)> = Vec::new();
    for (batch, extent) in batches {
        for table in &batch.tables {
            let texts = |images: &Images| {
                let (Values::Signed(ids), Values::Text(names)) = (&images.columns[0].values, &images.columns[1].values)
                else {
                    panic!("columns in the plan's order")
                };
                let name = |i: usize| {
                    let from = i.checked_sub(1).map_or(0, |i| names.ends[i] as usize);
                    String::from_utf8(names.data[from..names.ends[i] as usize].to_vec()).unwrap()
                };
                let row = |(i, row): (usize, &u32)| (*row, (ids[i], name(i)));
                images.rows.iter().enumerate().map(row).collect::<BTreeMap<_, _>>()
            };
            let (before, after) = (texts(&table.before), texts(&table.after));
            for (row, (seq, operation)) in (0..).zip(table.sequences.iter().zip(&table.operations)) {
                let removes = matches!(operation, Operation::Delete | Operation::MoveOut);
                let (id, name) = if removes { &before[&row] } else { &after[&row] };
                rows.push((*seq, table.schema, *id, (!removes).then(|| name.clone())));
            }
        }
        if !batch.events.is_empty() {
            // Of the first table, all of it.
            rows.extend((0..5).map(|id| (extent.last.seq, 0, id, None)));
        }
    }
    rows.sort_by_key(|(seq, ..)| *seq);
    let mut store = BTreeMap::new();
    for (_, table, id, name) in rows {
        match name {
            Some(name) => _ = store.insert((table, id), name),
            None => _ = store.remove(&(table, id)),
        }
    }
    store
}

/// The messages that compaction leaves of a sealed block; tombstones behind the first `known` ones.
fn compacted(messages: &[Message<'_>], up_to: usize, tombstones_from: usize) -> Vec<u8> {
    let newest = |i: usize| messages[i + 1..up_to].iter().all(|later| later.key != messages[i].key);
    let stays = |i: usize| i >= up_to || newest(i) && (!messages[i].is_tombstone || i >= tombstones_from);
    let left = messages.iter().enumerate().filter(|(i, _)| stays(*i));
    left.flat_map(|(_, message)| message.bytes).copied().collect()
}

proptest! {
    #[test]
    fn both_layouts_give_the_same_batches(transactions in steps(), rows in 1u32..9, more in 0u32..9) {
        let limits = Limits { rows, bytes: usize::MAX, rows_max: rows + more, bytes_max: usize::MAX };
        let [runs, keyed] = [Layout::Runs, Layout::Keyed]
            .map(|layout| batches(&block(layout, &transactions).partitions()[0].bytes, limits, 0).unwrap());
        prop_assert_eq!(runs, keyed);
    }

    #[test]
    fn a_compacted_log_rebuilds_the_store(
        transactions in steps(), cut in any::<prop::sample::Index>(), tombstones in any::<prop::sample::Index>(), rows in 1u32..9,
    ) {
        let block = block(Layout::Keyed, &transactions);
        let part = &block.partitions()[0];
        let messages: Vec<_> = part.messages().collect();
        let limits = Limits { rows, ..wide() };
        let whole = batches(&part.bytes, limits, 0).unwrap();
        // Compaction has come to some message, and has forgotten tombstones up to an earlier one.
        let up_to = cut.index(messages.len() + 1);
        let left = compacted(&messages, up_to, tombstones.index(up_to + 1));
        let bound = messages[..up_to].last().map_or(0, |message| message.last_seq);
        let rebuilt = batches(&left, limits, bound).unwrap();
        prop_assert_eq!(store(&rebuilt), store(&whole));
        let is_split = |(_, extent): &(Batch, Extent)| !extent.whole && extent.last.seq <= bound;
        prop_assert!(!rebuilt.iter().any(is_split), "a batch waits for the end of a transaction that is gone");
    }
}
