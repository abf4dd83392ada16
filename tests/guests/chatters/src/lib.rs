//! Talks without end, also in control characters, and then does its work.

use guest_kit::{Batch, Behaviour, Level, Rejection, emit, packed, submit};

struct Chatters;

/// Far more than anybody reads.
const MESSAGES: usize = 10_000;

impl Behaviour for Chatters {
    fn write(_batch: Batch) -> Result<Vec<Rejection>, String> {
        let long = "\u{1b}[2J\r\nwriter stopped ".repeat(1000);
        for _ in 0..MESSAGES {
            emit(Level::Error, &long);
        }
        submit(&packed(&[(0, &[b"SET", b"user:1", b"said"])]));
        Ok(Vec::new())
    }
}

guest_kit::export!(Chatters);
