//! What writers ask connectors to do.

use crate::batch::Packed;

/// Commands for Redis, packed end to end.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RedisCommands {
    /// Number of the row that caused each command; never falls.
    pub rows: Vec<u32>,
    /// How many arguments each command has, its name included.
    pub arguments: Vec<u32>,
    pub values: Packed,
}

impl RedisCommands {
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }
}

/// Where the keys stand among a command's arguments (its name not counted).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keys {
    First,
    All,
}

/// A Redis command that a writer may send: applying it again leaves the same state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RedisCommand {
    pub name: &'static str,
    pub keys: Keys,
    arguments: Arguments,
}

/// How many arguments a command takes, its name not counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Arguments {
    Exactly(u32),
    AtLeast(u32),
    /// A key, then pairs.
    KeyAndPairs,
}

/// Every command that writers may send. LREM and RPUSH only as described in the contract, which the host checks.
const COMMANDS: [RedisCommand; 13] = [
    command("SET", Keys::First, Arguments::Exactly(2)),
    command("DEL", Keys::All, Arguments::AtLeast(1)),
    command("UNLINK", Keys::All, Arguments::AtLeast(1)),
    command("HSET", Keys::First, Arguments::KeyAndPairs),
    command("HDEL", Keys::First, Arguments::AtLeast(2)),
    command("SADD", Keys::First, Arguments::AtLeast(2)),
    command("SREM", Keys::First, Arguments::AtLeast(2)),
    command("ZADD", Keys::First, Arguments::KeyAndPairs),
    command("ZREM", Keys::First, Arguments::AtLeast(2)),
    command("LREM", Keys::First, Arguments::Exactly(3)),
    command("RPUSH", Keys::First, Arguments::Exactly(2)),
    command("PEXPIREAT", Keys::First, Arguments::Exactly(2)),
    command("PERSIST", Keys::First, Arguments::Exactly(1)),
];

const fn command(name: &'static str, keys: Keys, arguments: Arguments) -> RedisCommand {
    RedisCommand { name, keys, arguments }
}

impl RedisCommand {
    /// Looks a command up by its name as the guest wrote it; any case.
    pub fn find(name: &[u8]) -> Option<&'static RedisCommand> {
        COMMANDS.iter().find(|command| name.eq_ignore_ascii_case(command.name.as_bytes()))
    }

    /// Whether it takes this many arguments, its name not counted.
    pub fn takes(&self, arguments: u32) -> bool {
        match self.arguments {
            Arguments::Exactly(n) => arguments == n,
            Arguments::AtLeast(n) => arguments >= n,
            Arguments::KeyAndPairs => arguments >= 3 && arguments % 2 == 1,
        }
    }
}
