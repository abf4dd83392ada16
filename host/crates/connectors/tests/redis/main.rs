//! The Redis connector against real servers, and against servers that talk nonsense.
//!
//! `redis-server` is taken from PATH, or `MYSYNC_REDIS_SERVER` names it.
#![allow(clippy::unwrap_used, clippy::panic)]

mod access;
mod faults;
mod fences;
mod proxy;
mod round_trips;
mod server;
mod strangers;

use mysync_change::fence::{Fence, Place};
use mysync_change::operations::RedisCommands;
use mysync_pipeline::failure::{Failure, Kind};

/// Commands, each of a row of its own; words are separated by blanks.
fn commands(list: &[&str]) -> RedisCommands {
    let mut commands = RedisCommands::default();
    for (row, command) in list.iter().enumerate() {
        let words: Vec<_> = command.split(' ').collect();
        commands.rows.push(row as u32);
        commands.arguments.push(words.len() as u32);
        words.iter().for_each(|word| commands.values.push(word.as_bytes()));
    }
    commands
}

fn nothing() -> RedisCommands {
    RedisCommands::default()
}

fn place(seq: u64) -> Place {
    Place { seq, transaction: format!("uuid:{seq}"), ..Place::default() }
}

/// The fence of a batch `(applied, began]`.
fn fence(owner: &str, applied: u64, began: u64) -> Fence {
    Fence {
        began: place(began),
        ..Fence::new("log-1".to_owned(), owner.to_owned(), "digest".to_owned(), place(applied))
    }
}

#[track_caller]
fn assert_failure(result: Result<impl Sized, Failure>, kind: Kind, code: &str) -> String {
    let Err(failure) = result else { panic!("went well instead of {code}") };
    assert_eq!((failure.kind, failure.code), (kind, code), "{failure}");
    failure.message
}
