//! Wants to know the time.

#![allow(unsafe_code, reason = "the generated glue")]
#![cfg_attr(not(target_arch = "wasm32"), allow(dead_code, reason = "nothing is exported elsewhere"))]

wit_bindgen::generate!({
    inline: r"
        package wasi:clocks@0.2.6;

        interface wall-clock {
            now: func() -> u64;
        }

        world curious {
            import wall-clock;
            include mysync:writer/redis-writer@0.1.0;
        }
    ",
    path: "../../../wit",
    world: "wasi:clocks/curious",
    generate_all,
});

use exports::mysync::writer::writer::{Batch, Guest, Problem, Rejection, Settings, TablePlan, TableSchema};

struct Curious;

impl Guest for Curious {
    fn configure(_settings: Settings) -> Result<(), Vec<Problem>> {
        Ok(())
    }

    fn define_table(_schema: TableSchema) -> Result<TablePlan, Vec<Problem>> {
        Err(Vec::new())
    }

    fn write(_batch: Batch) -> Result<Vec<Rejection>, String> {
        Err(format!("it is {}", wasi::clocks::wall_clock::now()))
    }
}

#[cfg(target_arch = "wasm32")]
export!(Curious);
