//! What CI runs: everything, even after something failed, and one line at the end.

use std::process::ExitCode;
use std::time::Instant;

use anyhow::Result;

use crate::lint;
use crate::step::say;
use crate::test::{self, Selection};

/// `cargo x ci`.
pub fn run() -> Result<ExitCode> {
    let began = Instant::now();
    let lints = lint::failures();
    let looked = began.elapsed();
    let mut results = test::results(&Selection::default());
    match lints {
        Ok(failed) => failed.iter().for_each(|lint| results.fail(format!("lint: {lint}"))),
        Err(error) => results.fail(format!("lint: {error:#}")),
    }
    say(format!("lint {:.0} s, tests {:.0} s", looked.as_secs_f64(), (began.elapsed() - looked).as_secs_f64()));
    Ok(results.tell())
}
