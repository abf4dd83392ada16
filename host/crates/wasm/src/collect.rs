//! Commands of one batch, kept until `write` has returned well.

use mysync_change::operations::RedisCommands;

use crate::bindings::{redis, types};
use crate::error::Stop;

/// Takes commands whose lists fit each other, and nothing else: everything behind it relies on that.
#[derive(Debug, Default)]
pub(crate) struct Collected {
    commands: RedisCommands,
    /// Rows and events of the batch; none outside `write`.
    rows: u32,
    bytes_left: usize,
}

impl Collected {
    /// Starts a batch of `rows` rows, whose commands may take `bytes` bytes.
    pub fn start(&mut self, rows: u32, bytes: usize) {
        *self = Self { commands: RedisCommands::default(), rows, bytes_left: bytes };
    }

    /// The batch's commands. None are taken from here on.
    pub fn finish(&mut self) -> RedisCommands {
        std::mem::take(self).commands
    }

    fn add(&mut self, mut new: RedisCommands) -> Result<(), Stop> {
        let words = new.rows.len() + new.arguments.len() + new.values.ends.len();
        let bytes = words * size_of::<u32>() + new.values.data.len();
        self.bytes_left = self.bytes_left.checked_sub(bytes).ok_or(Stop::Output)?;
        self.check(&new).map_err(|reason| Stop::Nonsense(format!("submitted commands: {reason}")))?;

        let all = &mut self.commands;
        if all.is_empty() {
            *all = new;
            return Ok(());
        }
        // Fits 32 bits: the output limit is checked against that when the writer is made.
        let base = all.values.data.len() as u32;
        all.rows.append(&mut new.rows);
        all.arguments.append(&mut new.arguments);
        all.values.ends.extend(new.values.ends.iter().map(|end| base + end));
        all.values.data.append(&mut new.values.data);
        Ok(())
    }

    fn check(&self, new: &RedisCommands) -> Result<(), String> {
        let RedisCommands { rows, arguments, values } = new;
        if rows.len() != arguments.len() {
            return Err(format!("{} rows for {} commands", rows.len(), arguments.len()));
        }
        if arguments.contains(&0) {
            return Err("a command without a name".to_owned());
        }
        let sum: u64 = arguments.iter().map(|n| u64::from(*n)).sum();
        if sum != values.ends.len() as u64 {
            return Err(format!("{sum} arguments, but {} values", values.ends.len()));
        }
        if !values.ends.is_sorted() {
            return Err("an end lies before the one before it".to_owned());
        }
        let end = values.ends.last().map_or(0, |end| *end as usize);
        if end != values.data.len() {
            return Err(format!("the last value ends at {end} of {} bytes", values.data.len()));
        }
        let before = self.commands.rows.last();
        if !rows.is_sorted() || before.is_some_and(|before| rows.first().is_some_and(|first| first < before)) {
            return Err("a row comes before one with a lower number".to_owned());
        }
        match rows.last() {
            Some(row) if *row >= self.rows => Err(format!("row {row} of a batch of {}", self.rows)),
            _ => Ok(()),
        }
    }
}

impl redis::Host for Collected {
    fn submit(&mut self, commands: redis::Commands) -> wasmtime::Result<()> {
        Ok(self.add(commands.into())?)
    }
}

impl types::Host for Collected {}
