//! Wants all memory there is.

use guest_kit::{Batch, Behaviour, Rejection};

struct Grows;

impl Behaviour for Grows {
    fn write(_batch: Batch) -> Result<Vec<Rejection>, String> {
        let mut hoard: Vec<Vec<u8>> = Vec::new();
        loop {
            hoard.push(vec![1; 1 << 20]);
            std::hint::black_box(&mut hoard);
        }
    }
}

guest_kit::export!(Grows);
