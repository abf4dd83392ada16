//! Hands over commands for the first half of a batch, then dies.

use guest_kit::{Batch, Behaviour, Rejection, packed, rows, submit};

struct Traps;

impl Behaviour for Traps {
    fn write(batch: Batch) -> Result<Vec<Rejection>, String> {
        for row in 0..rows(&batch).div_ceil(2) {
            submit(&packed(&[(row, &[b"SET", b"user:half", b"done"])]));
        }
        unreachable!()
    }
}

guest_kit::export!(Traps);
