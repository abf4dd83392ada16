//! Rows that dumps have put into the log and that their writers have not taken yet.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::Ordering::Relaxed;

use mysync_pipeline::status::Board;

/// By number of the dump, slices of rows, the oldest first: the last number in each partition behind them, and their bytes.
#[derive(Debug, Default)]
pub struct Ahead {
    slices: BTreeMap<u64, VecDeque<(Vec<u64>, usize)>>,
    /// A writer that is not on the board works in another process, and is not waited for.
    elsewhere: bool,
}

impl Ahead {
    pub fn new(elsewhere: bool) -> Self {
        Self { slices: BTreeMap::new(), elsewhere }
    }

    pub fn push(&mut self, dump: u64, lasts: Vec<u64>, bytes: usize) {
        self.slices.entry(dump).or_default().push_back((lasts, bytes));
    }

    pub fn forget(&mut self, dump: u64) {
        self.slices.remove(&dump);
    }

    pub fn clear(&mut self) {
        self.slices.clear();
    }

    /// Who has to take rows of a dump first, if those that are not taken come to `most` bytes or more. `target`: the only writer who takes them;
    /// none: every writer does.
    pub fn held_by(&mut self, board: &Board, dump: u64, target: Option<&str>, most: usize) -> Option<String> {
        let mut writers = board.writers();
        writers.retain(|(name, ..)| target.is_none_or(|target| target == name));
        if let Some(target) = target.filter(|_| writers.is_empty() && !self.elsewhere) {
            return Some(format!("writer {target}, which is not configured"));
        }
        let slices = self.slices.get_mut(&dump)?;
        let is_behind =
            |lasts: &[u64], partition: u32, seq| lasts.get(partition as usize).is_some_and(|last| *last > seq);
        while let Some((lasts, _)) = slices.front() {
            let behind =
                writers.iter().find(|(_, partition, status)| is_behind(lasts, *partition, status.seq.load(Relaxed)));
            let bytes = || slices.iter().map(|(_, bytes)| bytes).sum::<usize>();
            match behind {
                None => _ = slices.pop_front(),
                Some((name, ..)) if bytes() >= most => {
                    return Some(format!("writer {name}, which has not taken the rows that are in the log"));
                }
                Some(_) => return None,
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slowest_of_those_who_take_the_rows_is_waited_for() {
        let (board, mut ahead) = (Board::default(), Ahead::default());
        let writer = |name, partition, seq| board.writer(name, partition).seq.store(seq, Relaxed);
        writer("fast", 0, 9);
        writer("fast", 1, 9);
        writer("slow", 0, 9);
        writer("slow", 1, 3);
        for (dump, lasts) in [(1, [4, 5]), (2, [4, 5]), (1, [9, 8])] {
            ahead.push(dump, lasts.to_vec(), 100);
        }
        let mut held = |dump, target, most| ahead.held_by(&board, dump, target, most);
        assert_eq!((held(1, None, 201), held(2, None, 101)), (None, None), "not much is ahead");
        assert!(held(1, None, 200).unwrap().starts_with("writer slow"));
        assert!(held(2, None, 100).unwrap().starts_with("writer slow"));
        writer("slow", 1, 5);
        assert_eq!(
            (held(1, None, 200), held(2, None, 1)),
            (None, None),
            "it has taken half of one and all of the other"
        );
        assert!(held(1, Some("gone"), 1).unwrap().contains("not configured"));
        assert_eq!(held(1, Some("fast"), 1), None, "nobody waits for others");
        assert_eq!(held(3, None, 1), None);
    }
}
