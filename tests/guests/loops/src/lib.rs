//! Never comes back, from the call that its mapping names.

use guest_kit::{Batch, Behaviour, Problem, Rejection, mapping};

struct Loops;

impl Behaviour for Loops {
    fn configure() -> Result<(), Vec<Problem>> {
        if mapping() == "configure" { for_ever() } else { Ok(()) }
    }

    fn write(_batch: Batch) -> Result<Vec<Rejection>, String> {
        for_ever()
    }
}

fn for_ever() -> ! {
    let mut n = 0_u64;
    loop {
        n = std::hint::black_box(n.wrapping_add(1));
    }
}

guest_kit::export!(Loops);
