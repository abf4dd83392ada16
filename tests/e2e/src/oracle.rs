//! Whether a log on Kafka holds every row change of the binlog, exactly once and in order: the binlog read by another decoder than ours, the
//! topic as any reader of committed messages sees it.

mod binlog;
mod topic;

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use mysync_change::rows::Operation;
use mysync_test_support::{Kafka, Mysql};

use crate::OnKafka;
pub use topic::Log;

/// A change to one row, from one side or the other. Values are texts; the key is the first column, as in all tables of the shop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// `database.table/key`.
    pub row: String,
    pub operation: Operation,
    /// Its GTID.
    pub transaction: String,
    /// Place in its transaction, rows of all tables counted; both halves of a changed key have the same.
    pub number: u64,
    pub before: Option<String>,
    pub after: Option<String>,
}

/// What was compared.
#[derive(Debug, Clone, Copy)]
pub struct Compared {
    pub changes: usize,
    pub transactions: usize,
}

impl std::fmt::Display for Compared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { changes, transactions } = self;
        write!(f, "the log holds {changes} row changes of {transactions} transactions, each once and in order")
    }
}

/// Compares all of the shop's changes in the binlog, of which none is older than the log, with the log. It has caught up: whoever calls has
/// seen the last change behind it.
pub async fn compare(mysql: &Mysql, kafka: &Kafka, log: &OnKafka) -> Result<Compared> {
    let source = binlog::read(mysql, "shop").await?;
    let log = topic::read(kafka, log).await?;
    compare_all(&source, &log)
}

/// The same of these tables alone, `database.table` each.
pub async fn compare_tables(mysql: &Mysql, kafka: &Kafka, log: &OnKafka, tables: &[&str]) -> Result<Compared> {
    let is_one = |change: &Change| tables.iter().any(|table| change.row.split('/').next() == Some(table));
    let (mut source, mut log) = (binlog::read(mysql, "shop").await?, topic::read(kafka, log).await?);
    source.retain(is_one);
    log.partitions.iter_mut().for_each(|changes| changes.retain(is_one));
    compare_all(&source, &log)
}

fn compare_all(source: &[Change], log: &Log) -> Result<Compared> {
    let mut places: BTreeMap<&str, usize> = BTreeMap::new();
    for change in source {
        let next = places.len();
        places.entry(&change.transaction).or_insert(next);
    }
    for (partition, changes) in log.partitions.iter().enumerate() {
        let mut last = (0, 0);
        for change in changes {
            let place = places.get(&*change.transaction);
            let place = place.with_context(|| format!("the binlog has no such transaction: {change:?}"))?;
            let now = (*place, change.number);
            ensure!(now >= last, "partition {partition} steps back to transaction {now:?} from {last:?}: {change:?}");
            last = now;
        }
    }
    let (theirs, ours) = (by_row(source.iter()), by_row(log.partitions.iter().flatten()));
    for row in theirs.keys().chain(ours.keys()) {
        let none = Vec::new();
        let (theirs, ours) = (theirs.get(row).unwrap_or(&none), ours.get(row).unwrap_or(&none));
        let same = theirs.iter().zip(ours).take_while(|(one, other)| one == other).count();
        ensure!(
            same == theirs.len() && same == ours.len(),
            "row {row}: {} changes in the binlog, {} in the log, which differ from number {same} on: {:?} and {:?}",
            theirs.len(),
            ours.len(),
            theirs.get(same),
            ours.get(same)
        );
    }
    Ok(Compared { changes: source.len(), transactions: places.len() })
}

fn by_row<'a>(changes: impl Iterator<Item = &'a Change>) -> BTreeMap<&'a str, Vec<&'a Change>> {
    let mut rows: BTreeMap<&str, Vec<&Change>> = BTreeMap::new();
    changes.for_each(|change| rows.entry(&change.row).or_default().push(change));
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(row: &str, transaction: &str, number: u64) -> Change {
        let (row, transaction) = (row.to_owned(), transaction.to_owned());
        Change { row, operation: Operation::Insert, transaction, number, before: None, after: Some(String::new()) }
    }

    fn compared(log: &[&Change]) -> Result<Compared> {
        let source = [change("a", "x:1", 0), change("b", "x:1", 1), change("a", "x:2", 0)];
        compare_all(&source, &Log { partitions: vec![log.iter().map(|change| (*change).clone()).collect()] })
    }

    #[test]
    fn whatever_is_lost_doubled_moved_or_changed_is_told() {
        let [one, two, three] = [change("a", "x:1", 0), change("b", "x:1", 1), change("a", "x:2", 0)];
        assert!(compared(&[&one, &two, &three]).is_ok_and(|compared| compared.changes == 3));
        let other = Change { after: Some("other".to_owned()), ..two.clone() };
        let foreign = change("a", "x:3", 0);
        let wrong: [&[&Change]; 6] = [
            &[&one, &two],
            &[&two, &three],
            &[&one, &two, &two, &three],
            &[&three, &one, &two],
            &[&one, &other, &three],
            &[&one, &two, &three, &foreign],
        ];
        for log in wrong {
            assert!(compared(log).is_err(), "{log:?}");
        }
    }
}
