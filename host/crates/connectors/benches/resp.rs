//! `bench-resp`: packed commands to bytes ready to be sent, one core.

use std::hint::black_box;
use std::time::Instant;

use mysync_change::operations::RedisCommands;
use mysync_connectors::redis::resp::{Outgoing, Rendered};

const ROWS: u32 = 1000;
const ROUNDS: usize = 2000;

/// A row of a shop's customers, ten columns.
fn commands() -> RedisCommands {
    let mut commands = RedisCommands::default();
    for row in 0..ROWS {
        let id = (1_000_000 + row).to_string();
        let key = format!("user:{id}");
        let values: [&str; 20] = [
            "id",
            &id,
            "name",
            "Ada Lovelace",
            "email",
            "ada@example.com",
            "city",
            "London",
            "country",
            "GB",
            "balance",
            "1234.50",
            "created",
            "2026-01-02 03:04:05",
            "updated",
            "2026-05-06 07:08:09.123456",
            "status",
            "active",
            "visits",
            "4711",
        ];
        commands.rows.push(row);
        commands.arguments.push(22);
        [&["HSET", key.as_str()], values.as_slice()]
            .concat()
            .iter()
            .for_each(|value| commands.values.push(value.as_bytes()));
    }
    commands
}

fn main() {
    let commands = commands();
    let mut out = Outgoing::default();
    let mut best = f64::MAX;
    let mut bytes = 0;
    for _ in 0..ROUNDS {
        let mut rendered = Rendered::default();
        let started = Instant::now();
        bytes = 0;
        while rendered.commands < commands.len() {
            if rendered.more(black_box(&commands), &mut out, 128 << 10).is_err() {
                return;
            }
            bytes += black_box(out.bytes()).len();
            out.clear(256 << 10);
        }
        best = best.min(started.elapsed().as_nanos() as f64 / f64::from(ROWS));
    }
    let per_row = bytes / ROWS as usize;
    println!(r#"{{"bench":"resp","workload":"hset-10-fields","figure":"ns_per_row","value":{best:.1},"unit":"ns"}}"#);
    println!(
        r#"{{"bench":"resp","workload":"hset-10-fields","figure":"bytes_per_row","value":{per_row},"unit":"bytes"}}"#
    );
}
