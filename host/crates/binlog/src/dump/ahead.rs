//! Rows that a dump has put into the log and that its writers have not taken yet.

use std::collections::VecDeque;
use std::sync::atomic::Ordering::Relaxed;

use mysync_pipeline::status::Board;

/// Slices of rows, the oldest first: the last number in each partition behind them, and their bytes.
#[derive(Debug, Default)]
pub struct Ahead(VecDeque<(Vec<u64>, usize)>);

impl Ahead {
    pub fn push(&mut self, lasts: Vec<u64>, bytes: usize) {
        self.0.push_back((lasts, bytes));
    }

    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Who has to take rows first, if those that are not taken come to `most` bytes or more. `target`: the only writer who takes them; none:
    /// every writer does.
    pub fn held_by(&mut self, board: &Board, target: Option<&str>, most: usize) -> Option<String> {
        let mut writers = board.writers();
        writers.retain(|(name, ..)| target.is_none_or(|target| target == name));
        if let Some(target) = target.filter(|_| writers.is_empty()) {
            return Some(format!("writer {target}, which is not configured"));
        }
        let is_behind =
            |lasts: &[u64], partition: u32, seq| lasts.get(partition as usize).is_some_and(|last| *last > seq);
        while let Some((lasts, _)) = self.0.front() {
            let behind =
                writers.iter().find(|(_, partition, status)| is_behind(lasts, *partition, status.seq.load(Relaxed)));
            match behind {
                None => _ = self.0.pop_front(),
                Some((name, ..)) if self.bytes() >= most => {
                    return Some(format!("writer {name}, which has not taken the rows that are in the log"));
                }
                Some(_) => return None,
            }
        }
        None
    }

    fn bytes(&self) -> usize {
        self.0.iter().map(|(_, bytes)| bytes).sum()
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
        ahead.push(vec![4, 5], 100);
        ahead.push(vec![9, 8], 100);
        assert_eq!(ahead.held_by(&board, None, 201), None, "not much is ahead");
        assert!(ahead.held_by(&board, None, 200).unwrap().starts_with("writer slow"));
        writer("slow", 1, 5);
        assert_eq!(ahead.held_by(&board, None, 200), None, "it has taken half of it");
        assert!(ahead.held_by(&board, Some("gone"), 1).unwrap().contains("not configured"));
        assert_eq!(ahead.held_by(&board, Some("fast"), 1), None, "nobody waits for others");
        assert_eq!(ahead.bytes(), 0);
    }
}
