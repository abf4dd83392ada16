//! Commands for Redis, packed end to end as they cross to the host. Nothing is allocated for a command: the buffers serve batch after batch.

use crate::bindings::mysync::writer::redis;
use crate::bindings::mysync::writer::types::Packed;
use crate::number;
use crate::row::Value;

/// The commands of a batch. The SDK says which row they belong to.
#[derive(Debug)]
pub struct Commands {
    pub(crate) packed: redis::Commands,
    row: u32,
}

/// Something that can be an argument of a command.
pub trait Argument {
    fn write(&self, out: &mut Vec<u8>);
}

/// A command that is being written. It is complete when this is dropped.
#[derive(Debug)]
pub struct Command<'a> {
    packed: &'a mut Packed,
    arguments: &'a mut u32,
}

/// A place among the commands, to go back to.
#[derive(Debug, Clone, Copy)]
pub struct Mark {
    commands: usize,
    values: usize,
    bytes: usize,
}

impl Commands {
    pub(crate) fn new() -> Self {
        let values = Packed { ends: Vec::new(), data: Vec::new() };
        Self { packed: redis::Commands { rows: Vec::new(), arguments: Vec::new(), values }, row: 0 }
    }

    pub(crate) fn clear(&mut self) {
        self.undo(Mark { commands: 0, values: 0, bytes: 0 });
    }

    /// What follows is for this row.
    pub(crate) fn start_row(&mut self, row: u32) {
        self.row = row;
    }

    /// Where the commands have come to.
    #[inline]
    pub fn mark(&self) -> Mark {
        let values = &self.packed.values;
        Mark { commands: self.packed.rows.len(), values: values.ends.len(), bytes: values.data.len() }
    }

    /// Takes back every command since the mark.
    pub fn undo(&mut self, mark: Mark) {
        self.packed.rows.truncate(mark.commands);
        self.packed.arguments.truncate(mark.commands);
        self.packed.values.ends.truncate(mark.values);
        self.packed.values.data.truncate(mark.bytes);
    }

    /// Begins a command. Which ones the host lets through is said in `wit/redis.wit`.
    #[inline]
    pub fn command(&mut self, name: &str) -> Command<'_> {
        let redis::Commands { rows, arguments, values } = &mut self.packed;
        rows.push(self.row);
        let at = arguments.len();
        arguments.push(0);
        let mut command = Command { packed: values, arguments: &mut arguments[at] };
        command.push(name);
        command
    }

    pub fn set(&mut self, key: impl Argument, value: impl Argument) {
        self.command("SET").push(key).push(value);
    }

    pub fn del(&mut self, key: impl Argument) {
        self.command("DEL").push(key);
    }

    /// HSET: fields and values are to be pushed, in turn, at least one pair.
    pub fn hset(&mut self, key: impl Argument) -> Command<'_> {
        self.with_key("HSET", key)
    }

    /// HDEL: fields are to be pushed, at least one.
    pub fn hdel(&mut self, key: impl Argument) -> Command<'_> {
        self.with_key("HDEL", key)
    }

    pub fn sadd(&mut self, key: impl Argument, member: impl Argument) {
        self.command("SADD").push(key).push(member);
    }

    pub fn srem(&mut self, key: impl Argument, member: impl Argument) {
        self.command("SREM").push(key).push(member);
    }

    pub fn zadd(&mut self, key: impl Argument, score: impl Argument, member: impl Argument) {
        self.command("ZADD").push(key).push(score).push(member);
    }

    pub fn zrem(&mut self, key: impl Argument, member: impl Argument) {
        self.command("ZREM").push(key).push(member);
    }

    /// LREM: takes the member out of a list, wherever it stands.
    pub fn lrem(&mut self, key: impl Argument, member: impl Argument) {
        self.command("LREM").push(key).push("0").push(member);
    }

    /// LREM and RPUSH: makes the member the last of a list, and leaves no other like it in there.
    pub fn to_end(&mut self, key: impl Argument, member: impl Argument) {
        self.lrem(&key, &member);
        self.command("RPUSH").push(key).push(member);
    }

    /// PEXPIREAT: milliseconds since 1970.
    pub fn expire_at(&mut self, key: impl Argument, unix_ms: u64) {
        self.command("PEXPIREAT").push(key).push(unix_ms);
    }

    pub fn persist(&mut self, key: impl Argument) {
        self.command("PERSIST").push(key);
    }

    #[inline]
    fn with_key(&mut self, name: &str, key: impl Argument) -> Command<'_> {
        let mut command = self.command(name);
        command.push(key);
        command
    }
}

impl Command<'_> {
    /// Adds an argument.
    #[inline]
    pub fn push(&mut self, argument: impl Argument) -> &mut Self {
        self.push_with(|out| argument.write(out))
    }

    /// Adds an argument that `write` appends to the bytes it is given.
    #[inline]
    pub fn push_with(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> &mut Self {
        write(&mut self.packed.data);
        self.packed.ends.push(self.packed.data.len() as u32);
        *self.arguments += 1;
        self
    }
}

/// As Redis users expect it: digits, text as it is, bytes as they are. NULL and absent values are empty: ask first where that matters.
impl Argument for Value<'_> {
    #[inline]
    fn write(&self, out: &mut Vec<u8>) {
        match *self {
            Value::Absent | Value::Null => {}
            Value::Signed(value) => number::signed(value, out),
            Value::Unsigned(value) => number::unsigned(value, out),
            Value::Float(value) => number::float(value, out),
            Value::Double(value) => number::double(value, out),
            Value::Text(bytes) | Value::Bytes(bytes) => out.extend_from_slice(bytes),
        }
    }
}

impl Argument for u64 {
    fn write(&self, out: &mut Vec<u8>) {
        number::unsigned(*self, out);
    }
}

impl Argument for i64 {
    fn write(&self, out: &mut Vec<u8>) {
        number::signed(*self, out);
    }
}

impl Argument for str {
    #[inline]
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.as_bytes());
    }
}

impl Argument for String {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.as_bytes());
    }
}

impl Argument for [u8] {
    #[inline]
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self);
    }
}

/// One behind the other: `("user:", id)`.
impl<A: Argument, B: Argument> Argument for (A, B) {
    #[inline]
    fn write(&self, out: &mut Vec<u8>) {
        self.0.write(out);
        self.1.write(out);
    }
}

impl<T: Argument + ?Sized> Argument for &T {
    #[inline]
    fn write(&self, out: &mut Vec<u8>) {
        (**self).write(out);
    }
}
