//! What comes of taking records into a batch.

use crate::envelope::{EnvelopeError, Kind};
use crate::schema::Fingerprint;

/// What reading a block up to some point has brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// The block is used up; the batch has room.
    Block,
    /// The batch is full; the block goes on.
    Full,
}

/// What is known of the record before the next one: the chain must go on from there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChainBroken {
    pub expected: u64,
    pub found: u64,
    pub at: u64,
}

/// Why a block could not be taken into a batch.
#[derive(Debug)]
pub enum TakeError {
    Chain(ChainBroken),
    /// A record of a kind that this program does not deliver.
    Kind(Kind),
    /// The writer has not been shown this shape. Show it and take again: nothing of the record has been taken.
    Shape(Fingerprint),
    Record(EnvelopeError),
}

impl From<EnvelopeError> for TakeError {
    fn from(error: EnvelopeError) -> Self {
        TakeError::Record(error)
    }
}
