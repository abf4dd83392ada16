//! What each row was like at a position, as the binlog tells it.

use std::collections::HashMap;

use mysync_change::position::{FilePosition, Gtid, SourcePosition};

use crate::records::Record;

/// A version of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    There(u64),
    /// Since it had this version.
    Gone(u64),
}

struct Change {
    gtid: Option<Gtid>,
    begin: FilePosition,
    state: State,
}

/// The changes of each key of `w.hot`, in the order of the binlog.
pub struct History {
    keys: HashMap<u64, Vec<Change>>,
    marks: HashMap<u64, FilePosition>,
}

/// What a SELECT found against what it should have found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Something is missing that the position claims.
    pub stale: bool,
    /// A row is there in a version that the position does not have.
    pub ahead: bool,
}

impl History {
    pub fn new(records: &[Record]) -> Self {
        let mut history = Self { keys: HashMap::new(), marks: HashMap::new() };
        for record in records {
            let begin = FilePosition { file: record.transaction.file.clone(), offset: record.transaction.offset };
            let (row, gone) = record.row();
            let number = |at: usize| row[at].parse().unwrap();
            if record.shape.name == "mark" {
                history.marks.insert(number(0), begin);
                continue;
            }
            let state = if gone { State::Gone(number(1)) } else { State::There(number(1)) };
            let change = Change { gtid: record.transaction.gtid.clone(), begin, state };
            history.keys.entry(number(0)).or_default().push(change);
        }
        history
    }

    /// Where the transaction of a mark ends, as far as it matters here: behind its begin.
    pub fn mark(&self, mark: u64) -> SourcePosition {
        let mut file = self.marks[&mark].clone();
        file.offset += 1;
        SourcePosition { gtids: None, file }
    }

    /// Compares rows that a SELECT found, each with its version, with those at a position.
    pub fn judge(&self, position: &SourcePosition, found: &HashMap<u64, u64>) -> Verdict {
        let mut verdict = Verdict::default();
        for (key, changes) in &self.keys {
            let last = last_in(changes, position);
            let claimed = last.map(|last| changes[last].state);
            let deleted_later = || {
                changes[last.map_or(0, |last| last + 1)..].iter().any(|change| matches!(change.state, State::Gone(_)))
            };
            let (stale, ahead) = match (claimed, found.get(key)) {
                (None, found) => (false, found.is_some()),
                (Some(State::There(_)), None) => (!deleted_later(), false),
                (Some(State::Gone(_)), None) => (false, false),
                (Some(State::There(version)), Some(found)) => (*found < version, *found > version),
                (Some(State::Gone(version)), Some(found)) => (*found <= version, *found > version),
            };
            verdict.stale |= stale;
            verdict.ahead |= ahead;
        }
        verdict
    }
}

/// The last change that a position has.
fn last_in(changes: &[Change], position: &SourcePosition) -> Option<usize> {
    let Some(gtids) = &position.gtids else {
        return changes.partition_point(|change| change.begin < position.file).checked_sub(1);
    };
    // Numbers are given in the order of the binlog. A set can have holes.
    let end = gtids.iter().flat_map(|(_, intervals)| intervals).map(|(_, end)| *end).max().unwrap_or(0);
    let number = |change: &Change| change.gtid.as_ref().unwrap().number;
    let mut before = changes.partition_point(|change| number(change) < end);
    while let Some(last) = before.checked_sub(1) {
        let gtid = changes[last].gtid.as_ref().unwrap();
        if gtids.contains(&gtid.source, gtid.number) {
            return Some(last);
        }
        before = last;
    }
    None
}
