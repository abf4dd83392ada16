//! Hands over more than anybody asked for, in the way that its mapping names.

use guest_kit::{Batch, Behaviour, Commands, Packed, Rejection, mapping, packed, submit};

struct Floods;

const LARGE: usize = 100 << 20;

impl Behaviour for Floods {
    fn write(_batch: Batch) -> Result<Vec<Rejection>, String> {
        match mapping() {
            "a little at a time" => loop {
                submit(&packed(&[(0, &[b"SET", b"user:1", &[b'x'; 1000]])]));
            },
            "all at once" => submit(&packed(&[(0, &[b"SET", b"user:1", &vec![b'x'; LARGE]])])),
            "in empty arguments" => {
                let values = Packed { ends: vec![0; LARGE / 4], data: Vec::new() };
                submit(&Commands { rows: vec![0], arguments: vec![(LARGE / 4) as u32], values });
            }
            "in its answer" => return Err("x".repeat(LARGE)),
            other => return Err(format!("no such way: {other}")),
        }
        Ok(Vec::new())
    }
}

guest_kit::export!(Floods);
