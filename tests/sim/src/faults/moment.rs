//! The moments of a history, and how often each came.

/// A moment at which something may go wrong, or did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum Moment {
    // Faults of a process.
    /// A block is decoded, nothing of it sent.
    DecodedNotSent,
    /// All of it is acknowledged, the commit not sent.
    SentNotCommitted,
    /// The commit never leaves.
    CommitNotSent,
    /// The commit arrives when nobody waits for it any more.
    CommitLate,
    /// The commit is taken, its answer lost.
    CommitUnanswered,
    /// A batch is in effect, its answer lost.
    AppliedNotAnswered,
    /// A batch is answered, the group's offset not committed.
    AnsweredNotNoted,
    /// A partition is being given up.
    Revoking,
    /// A leader is about to fence the former one, or has and reads where that one came to.
    TakingOver,
    /// A task has read its store's fence and not yet made it its own.
    Claiming,
    // What becomes of the world.
    StoreEmptied,
    FenceEvicted,
    /// It goes back to what it held some time ago.
    StoreRestored,
    LogReplaced,
    OffsetLost,
    OffsetOld,
    RecordsDeleted,
    /// Compaction left holes.
    RecordsCompacted,
    // What comes of it.
    /// A leader that gets nothing through has left the lead to others.
    SteppedDown,
    /// A former leader was refused.
    LeaderFenced,
    /// A former leader's open transaction was ended for it.
    TransactionAborted,
    /// A former leader's transaction went through that had been taken.
    TransactionCompleted,
    /// An open transaction was ended because nobody went on with it.
    TransactionTimedOut,
    /// A request arrived a second time.
    SentTwice,
    /// Who thought that the group gave it the partition was told otherwise.
    FalseHolder,
    /// A task did not end in time, and its partition was given away.
    RevokedUnended,
    /// A member learns that the group has gone on without it.
    MemberLost,
    /// A batch was refused because of its fence.
    BatchRefused,
    /// A task whose fence was taken retook it, because the partition was its own.
    FenceRetaken,
    /// A writer went on behind deleted records.
    ResumedBehindStart,
    /// A store was made anew from what compaction had left.
    Rebuilt,
    /// A writer came back after more was removed than it knew of.
    AwayTooLong,
}

impl Moment {
    pub const COUNT: usize = Self::AwayTooLong as usize + 1;

    pub const FAULTS: [Self; 18] = [
        Self::DecodedNotSent,
        Self::SentNotCommitted,
        Self::CommitNotSent,
        Self::CommitLate,
        Self::CommitUnanswered,
        Self::AppliedNotAnswered,
        Self::AnsweredNotNoted,
        Self::Revoking,
        Self::TakingOver,
        Self::Claiming,
        Self::StoreEmptied,
        Self::FenceEvicted,
        Self::StoreRestored,
        Self::LogReplaced,
        Self::OffsetLost,
        Self::OffsetOld,
        Self::RecordsDeleted,
        Self::RecordsCompacted,
    ];

    pub const OUTCOMES: [Self; 14] = [
        Self::SteppedDown,
        Self::LeaderFenced,
        Self::TransactionAborted,
        Self::TransactionCompleted,
        Self::TransactionTimedOut,
        Self::SentTwice,
        Self::FalseHolder,
        Self::RevokedUnended,
        Self::MemberLost,
        Self::BatchRefused,
        Self::FenceRetaken,
        Self::ResumedBehindStart,
        Self::Rebuilt,
        Self::AwayTooLong,
    ];
}

/// How often each moment came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tally([u64; Moment::COUNT]);

impl Default for Tally {
    fn default() -> Self {
        Self([0; Moment::COUNT])
    }
}

impl Tally {
    pub fn of(&self, moment: Moment) -> u64 {
        self.0[moment as usize]
    }

    pub fn count(&mut self, moment: Moment) {
        self.0[moment as usize] += 1;
    }

    pub fn add(&mut self, other: &Self) {
        self.0.iter_mut().zip(other.0).for_each(|(mine, theirs)| *mine += theirs);
    }
}
