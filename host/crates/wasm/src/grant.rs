//! What a writer may do to a store, and the check of each command against it.
//!
//! A row with a command outside the grant is rejected: none of its commands go on, those of the other rows stand.

use mysync_change::fence::KEY_PREFIX;
use mysync_change::operations::{Keys, RedisCommand, RedisCommands};
use mysync_change::pattern::Pattern;
use mysync_pipeline::ports::{Mapped, Rejection};

use crate::diagnostics::printable;

/// How much of a key or a name is shown in a rejection, in bytes.
const SHOWN_BYTES: usize = 120;

/// Keys that a writer may touch: what its folder allows and, if it says what it wants, no more than that. Never a fence.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Grant {
    ceiling: Vec<Pattern>,
    wants: Option<Vec<Pattern>>,
}

impl Grant {
    pub fn new(ceiling: Vec<Pattern>, wants: Option<Vec<Pattern>>) -> Self {
        Self { ceiling, wants }
    }

    #[inline]
    pub fn allows(&self, key: &[u8]) -> bool {
        let among = |patterns: &[Pattern]| patterns.iter().any(|pattern| pattern.matches(key));
        among(&self.ceiling) && self.wants.as_deref().is_none_or(among) && !key.starts_with(KEY_PREFIX.as_bytes())
    }

    /// Leaves out what is not granted and what belongs to rejected rows. `commands` fit each other, `rejections` name each row once.
    pub(crate) fn check(&self, commands: RedisCommands, mut rejections: Vec<Rejection>) -> Mapped {
        let refusals = self.refusals(&commands);
        if rejections.is_empty() && refusals.is_empty() {
            return Mapped { commands, rejections };
        }
        // The writer's own reason comes first and is the one that is kept.
        rejections.extend(refusals);
        rejections.sort_by_key(|rejection| rejection.row);
        rejections.dedup_by_key(|rejection| rejection.row);
        Mapped { commands: without(&commands, &rejections), rejections }
    }

    /// The rows with a command outside the grant.
    fn refusals(&self, commands: &RedisCommands) -> Vec<Rejection> {
        let mut refusals: Vec<Rejection> = Vec::new();
        let mut refuse = |row: u32, reason: String| {
            if refusals.last().is_none_or(|last| last.row != row) {
                refusals.push(Rejection { row, reason });
            }
        };
        let mut last: Option<(&[u8], &RedisCommand)> = None;
        // The command before, if it is an LREM.
        let mut removed: Option<Command<'_>> = None;
        for command in Commands::of(commands) {
            let name = command.name();
            let found = match last {
                // Most commands of a batch are alike.
                Some((same, known)) if same == name => Some(known),
                _ => RedisCommand::find(name),
            };
            let Some(known) = found else {
                refuse(command.row, command_refused(name, "it is not among the commands that writers may send"));
                continue;
            };
            last = Some((name, known));
            let arguments = command.ends.len() as u32 - 1;
            if !known.takes(arguments) {
                refuse(command.row, command_refused(name, &format!("it does not take {arguments} arguments")));
                continue;
            }
            let keys = match known.keys {
                Keys::First => 1,
                Keys::All => arguments as usize,
            };
            if let Some(key) = (1..=keys).map(|at| command.argument(at)).find(|key| !self.allows(key)) {
                refuse(
                    command.row,
                    format!("[GRANT_KEY_REFUSED] {} of key {}: the grant does not cover it", shown(name), shown(key)),
                );
            }
            // Where a score is wanted an option could stand: INCR adds again with each repetition.
            if known.name == "ZADD"
                && let Some(score) =
                    (2..=arguments as usize).step_by(2).map(|at| command.argument(at)).find(|s| !is_score(s))
            {
                refuse(command.row, command_refused(name, &format!("{} is no score", shown(score))));
            }
            // Appending can be repeated only where the member was taken out before; taking it out can be repeated by itself.
            let (removes, appends) = (known.name == "LREM", known.name == "RPUSH");
            if appends && !removed.is_some_and(|removed| command.follows(&removed)) {
                refuse(command.row, command_refused(name, "no LREM of that key and member comes right before it"));
            }
            if removes && command.argument(2) != b"0" {
                refuse(command.row, command_refused(name, "its count must be 0"));
            }
            removed = removes.then_some(command);
        }
        refusals
    }
}

fn is_score(argument: &[u8]) -> bool {
    std::str::from_utf8(argument).is_ok_and(|text| text.parse::<f64>().is_ok())
}

fn command_refused(name: &[u8], reason: &str) -> String {
    format!("[GRANT_COMMAND_REFUSED] {}: {reason}", shown(name))
}

fn shown(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(2 * SHOWN_BYTES)]);
    format!("`{}`", printable(&text, SHOWN_BYTES))
}

/// The commands of the rows that are not rejected; `rejections` are in order.
fn without(commands: &RedisCommands, rejections: &[Rejection]) -> RedisCommands {
    let mut kept = RedisCommands::default();
    for command in Commands::of(commands) {
        if rejections.binary_search_by_key(&command.row, |rejection| rejection.row).is_ok() {
            continue;
        }
        kept.rows.push(command.row);
        kept.arguments.push(command.ends.len() as u32);
        (0..command.ends.len()).for_each(|at| kept.values.push(command.argument(at)));
    }
    kept
}

/// One command of a packed list.
struct Command<'a> {
    row: u32,
    /// Where its first value starts.
    start: usize,
    ends: &'a [u32],
    data: &'a [u8],
}

impl<'a> Command<'a> {
    #[inline]
    fn argument(&self, at: usize) -> &'a [u8] {
        let start = if at == 0 { self.start } else { self.ends[at - 1] as usize };
        &self.data[start..self.ends[at] as usize]
    }

    #[inline]
    fn name(&self) -> &'a [u8] {
        self.argument(0)
    }

    /// Whether this RPUSH puts back what `removed`, an LREM, takes out.
    fn follows(&self, removed: &Command<'_>) -> bool {
        self.row == removed.row && self.argument(1) == removed.argument(1) && self.argument(2) == removed.argument(3)
    }
}

/// Walks a packed list whose lists fit each other.
struct Commands<'a> {
    each: std::iter::Zip<std::slice::Iter<'a, u32>, std::slice::Iter<'a, u32>>,
    start: usize,
    ends: &'a [u32],
    data: &'a [u8],
}

impl<'a> Commands<'a> {
    fn of(commands: &'a RedisCommands) -> Self {
        let RedisCommands { rows, arguments, values } = commands;
        Self { each: rows.iter().zip(arguments), start: 0, ends: &values.ends, data: &values.data }
    }
}

impl<'a> Iterator for Commands<'a> {
    type Item = Command<'a>;

    #[inline]
    fn next(&mut self) -> Option<Command<'a>> {
        let (row, count) = self.each.next()?;
        let (ends, rest) = self.ends.split_at(*count as usize);
        let command = Command { row: *row, start: self.start, ends, data: self.data };
        self.start = ends.last().map_or(self.start, |end| *end as usize);
        self.ends = rest;
        Some(command)
    }
}
