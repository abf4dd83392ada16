//! When the source committed what the log was given: what lag is counted from.

use std::collections::VecDeque;

use mysync_change::block::BlockBuilder;

/// Enough for a day of blocks, each as exact as [`EXACT`] says.
const SPANS_MAX: usize = 1024;
/// What is old is known to within this part of its age.
const EXACT: u64 = 20;

/// How a place in a partition compares with what the log was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It is the end of the log.
    Level,
    /// What follows it was committed then, in microseconds since 1970.
    BehindSince(u64),
    /// What follows it was there before this process led, or too long ago.
    Unknown,
}

/// One timeline for each partition.
#[derive(Debug, Default)]
pub struct Timelines(Vec<Timeline>);

#[derive(Debug, Default)]
struct Timeline {
    /// What follows is known.
    from: u64,
    spans: VecDeque<Span>,
}

/// Some blocks in a row.
#[derive(Debug, Clone, Copy)]
struct Span {
    last_seq: u64,
    /// When the first of their transactions was committed, and the last.
    oldest_us: u64,
    youngest_us: u64,
}

impl Timelines {
    /// The log has come to these numbers by itself.
    pub fn lead(&mut self, prevs: &[u64]) {
        if self.0.len() != prevs.len() || self.0.iter().zip(prevs).any(|(timeline, prev)| timeline.last_seq() != *prev)
        {
            self.0 = prevs.iter().map(|prev| Timeline { from: *prev, spans: VecDeque::new() }).collect();
        }
    }

    /// The log has got a block.
    pub fn append(&mut self, block: &BlockBuilder) {
        self.grow(block.partitions().len());
        for (timeline, part) in self.0.iter_mut().zip(block.partitions()).filter(|(_, part)| !part.is_empty()) {
            let (oldest_us, youngest_us) = (part.oldest_us, part.committed_us);
            timeline.append(Span { last_seq: part.last_seq, oldest_us, youngest_us });
        }
    }

    /// Another process has led the log to these numbers; of each partition that got something, when the first of its transactions was
    /// committed, and the last.
    pub fn follow(&mut self, lasts: &[u64], committed_us: &[Option<(u64, u64)>]) {
        if self.0.is_empty() || self.0.len() > lasts.len() {
            return self.lead(lasts);
        }
        self.grow(lasts.len());
        for ((timeline, last_seq), committed) in self.0.iter_mut().zip(lasts).zip(committed_us) {
            match *committed {
                _ if *last_seq <= timeline.last_seq() => {}
                Some((oldest_us, youngest_us)) => {
                    timeline.append(Span { last_seq: *last_seq, oldest_us, youngest_us });
                }
                // What told of it was compacted away.
                None => *timeline = Timeline { from: *last_seq, spans: VecDeque::new() },
            }
        }
    }

    /// A log that has more partitions than before begins with nothing in them.
    fn grow(&mut self, partitions: usize) {
        self.0.resize_with(partitions.max(self.0.len()), Timeline::default);
    }

    pub fn standing(&self, partition: u32, seq: u64) -> Standing {
        self.0.get(partition as usize).map_or(Standing::Unknown, |timeline| timeline.standing(seq))
    }
}

impl Timeline {
    fn last_seq(&self) -> u64 {
        self.spans.back().map_or(self.from, |span| span.last_seq)
    }

    fn standing(&self, seq: u64) -> Standing {
        if seq >= self.last_seq() {
            return Standing::Level;
        }
        let next = self.spans.partition_point(|span| span.last_seq <= seq);
        match self.spans.get(next) {
            Some(span) if seq >= self.from => Standing::BehindSince(span.oldest_us),
            _ => Standing::Unknown,
        }
    }

    fn append(&mut self, span: Span) {
        self.spans.push_back(span);
        if self.spans.len() > SPANS_MAX {
            self.thin(span.youngest_us);
            let over = self.spans.len().saturating_sub(SPANS_MAX);
            self.from = self.spans.drain(..over).next_back().map_or(self.from, |span| span.last_seq);
        }
    }

    /// Joins spans that are so near to one another that it makes no difference by now.
    fn thin(&mut self, now_us: u64) {
        let mut thinned: VecDeque<Span> = VecDeque::with_capacity(SPANS_MAX);
        for span in self.spans.drain(..) {
            let age = now_us.saturating_sub(span.youngest_us);
            match thinned.back_mut() {
                Some(former) if span.youngest_us.saturating_sub(former.oldest_us) <= age / EXACT => {
                    (former.last_seq, former.youngest_us) = (span.last_seq, span.youngest_us);
                }
                _ => thinned.push_back(span),
            }
        }
        self.spans = thinned;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000;

    fn timeline() -> Timeline {
        Timeline { from: 10, spans: VecDeque::new() }
    }

    fn span(last_seq: u64, us: u64) -> Span {
        Span { last_seq, oldest_us: us, youngest_us: us }
    }

    #[test]
    fn a_change_is_as_old_as_its_commit_however_long_nothing_happened_before() {
        let mut timeline = timeline();
        assert_eq!((timeline.standing(9), timeline.standing(10)), (Standing::Unknown, Standing::Level));
        timeline.append(span(15, SECOND));
        timeline.append(span(16, 3600 * SECOND));
        assert_eq!(timeline.standing(10), Standing::BehindSince(SECOND));
        assert_eq!(timeline.standing(14), Standing::BehindSince(SECOND));
        assert_eq!(timeline.standing(15), Standing::BehindSince(3600 * SECOND));
        assert_eq!((timeline.standing(16), timeline.standing(3)), (Standing::Level, Standing::Unknown));
    }

    #[test]
    fn a_day_of_blocks_takes_little_and_is_known_well() {
        let mut timeline = timeline();
        // A pause in the middle of it must not count for what comes behind it.
        let committed = |seq: u64| if seq < 500_000 { seq * 20_000 } else { seq * 20_000 + 7200 * SECOND };
        let end = 3_000_000;
        (11..=end).for_each(|seq| timeline.append(span(seq, committed(seq))));
        assert!(timeline.spans.len() <= SPANS_MAX && timeline.from == 10, "{} spans", timeline.spans.len());
        for seq in (10..end).step_by(997).chain([499_999, 500_000, end - 1]) {
            let (since, age) = (committed(seq + 1), committed(end) - committed(seq + 1));
            let Standing::BehindSince(told) = timeline.standing(seq) else { panic!("{seq} is not known") };
            assert!(told <= since && since - told <= age / EXACT, "{seq}: {told} for {since}, {age} old");
        }
    }

    #[test]
    fn a_leader_that_finds_the_log_as_it_left_it_still_knows() {
        let mut timelines = Timelines::default();
        assert_eq!(timelines.standing(0, 0), Standing::Unknown);
        timelines.lead(&[10, 0]);
        timelines.0[0].append(span(11, SECOND));
        timelines.lead(&[11, 0]);
        assert_eq!(timelines.standing(0, 10), Standing::BehindSince(SECOND));
        assert_eq!(timelines.standing(1, 0), Standing::Level);
        timelines.lead(&[12, 0]);
        assert_eq!(timelines.standing(0, 11), Standing::Unknown);
    }
}
