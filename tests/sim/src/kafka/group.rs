//! A group as its coordinator sees it: who is alive, and who may hold which partition.
//!
//! Cooperative: a partition changes hands only after its holder has said that it gave it up, or has not been heard of for too long.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

/// Who is silent for longer is no member any more. Shorter than in life, as everything here is.
pub const SESSION: Duration = Duration::from_millis(1000);
/// Who does not give up in this time what it is asked to is no member any more.
const REBALANCE: Duration = Duration::from_millis(2000);

pub type MemberId = u64;

/// Where a reader may find a place again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hint {
    pub offset: usize,
    pub seq: u64,
}

#[derive(Debug, Clone, Copy)]
struct Member {
    heard: Instant,
    /// The decision that it knows of.
    generation: u64,
}

#[derive(Debug, Clone, Copy)]
struct Held {
    by: MemberId,
    revoked: Option<Instant>,
}

#[derive(Debug, Clone)]
pub struct Group {
    members: BTreeMap<MemberId, Member>,
    /// How often it was decided anew who holds what.
    generation: u64,
    holders: Vec<Option<Held>>,
    last_member: MemberId,
    pub hints: Vec<Option<Hint>>,
    /// The ones that were committed before.
    pub former_hints: Vec<Option<Hint>>,
}

impl Group {
    pub fn new(partitions: usize) -> Self {
        Self {
            members: BTreeMap::new(),
            generation: 0,
            holders: vec![None; partitions],
            last_member: 0,
            hints: vec![None; partitions],
            former_hints: vec![None; partitions],
        }
    }

    /// A member is alive and holds these. Answers what it may hold; none: it is no member.
    pub fn beat(&mut self, member: Option<MemberId>, held: &[usize]) -> Option<(MemberId, Vec<usize>)> {
        self.expire();
        let member = match member {
            Some(member) if !self.members.contains_key(&member) => return None,
            Some(member) => member,
            None => {
                self.last_member += 1;
                self.last_member
            }
        };
        self.members.insert(member, Member { heard: Instant::now(), generation: self.generation });
        for (partition, holder) in self.holders.iter_mut().enumerate() {
            if holder.is_some_and(|h| h.by == member && h.revoked.is_some()) && !held.contains(&partition) {
                *holder = None;
            }
        }
        self.balance();
        self.members.insert(member, Member { heard: Instant::now(), generation: self.generation });
        let mine = |holder: &Option<Held>| holder.is_some_and(|h| h.by == member && h.revoked.is_none());
        Some((member, (0..self.holders.len()).filter(|p| mine(&self.holders[*p])).collect()))
    }

    pub fn leave(&mut self, member: MemberId) {
        self.members.remove(&member);
        self.expire();
        self.balance();
    }

    /// Whether a member knows what was decided last: commits are taken of no other. That it holds a partition is not asked.
    pub fn confirms(&mut self, member: MemberId) -> bool {
        self.expire();
        self.members.get(&member).is_some_and(|member| member.generation == self.generation)
    }

    pub fn commit(&mut self, partition: usize, hint: Hint) {
        self.former_hints[partition] = self.hints[partition].replace(hint);
    }

    fn expire(&mut self) {
        let overdue = |h: &Held| h.revoked.is_some_and(|since| since.elapsed() > REBALANCE);
        let late: Vec<MemberId> = self.holders.iter().flatten().filter(|h| overdue(h)).map(|h| h.by).collect();
        let before = self.members.len();
        self.members.retain(|number, member| member.heard.elapsed() <= SESSION && !late.contains(number));
        self.generation += u64::from(self.members.len() != before);
        for holder in &mut self.holders {
            *holder = holder.filter(|h| self.members.contains_key(&h.by));
        }
    }

    /// How many partitions a member is to keep.
    fn share(&self, member: MemberId) -> usize {
        self.holders.iter().flatten().filter(|h| h.by == member && h.revoked.is_none()).count()
    }

    fn balance(&mut self) {
        for partition in 0..self.holders.len() {
            let poorest = self.members.keys().copied().min_by_key(|member| self.share(*member));
            if self.holders[partition].is_none() && poorest.is_some() {
                self.holders[partition] = poorest.map(|by| Held { by, revoked: None });
                self.generation += 1;
            }
        }
        loop {
            let shares = || self.members.keys().map(|member| (self.share(*member), *member));
            let (Some((least, _)), Some((most, rich))) = (shares().min(), shares().max()) else { return };
            // What is on its way will go to the poorest.
            let on_the_way = self.holders.iter().flatten().filter(|h| h.revoked.is_some()).count();
            if most <= least + on_the_way + 1 {
                return;
            }
            let taken = self.holders.iter_mut().flatten().find(|h| h.by == rich && h.revoked.is_none());
            if let Some(held) = taken {
                held.revoked = Some(Instant::now());
                self.generation += 1;
            }
        }
    }
}
