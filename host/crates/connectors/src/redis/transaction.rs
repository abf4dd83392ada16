//! The one flight that writes: MULTI, a batch's commands, SET of the fence, EXEC; and behind it WATCH and GET, which arm the next one.
//!
//! EXEC takes effect only if nobody has written the fence since it was armed. It does not stop at a command that fails, so every
//! reply is looked at.

use mysync_change::operations::RedisCommands;

use super::client::{Flight, PART};
use super::error::{RedisError, shown_key};
use super::resp::{Outgoing, Rendered, Reply};

/// What EXEC did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Everything is in effect, unless a command was refused.
    Applied,
    /// Somebody else has written the fence: nothing is in effect.
    Overtaken,
}

/// One batch on its way.
pub struct Transaction<'a> {
    commands: &'a RedisCommands,
    key: &'a [u8],
    fence: &'a [u8],
    rendered: Rendered,
    to_send: Part,
    expected: Expected,
    /// Commands whose replies have been read, since EXEC or since MULTI.
    answered: usize,
    outcome: Outcome,
    refused: Option<RedisError>,
    armed: Option<Vec<u8>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Multi,
    Commands,
    Nothing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expected {
    Multi,
    Queued,
    Exec,
    Results,
    Watch,
    Get,
}

impl<'a> Transaction<'a> {
    pub fn new(commands: &'a RedisCommands, key: &'a [u8], fence: &'a [u8]) -> Self {
        Self {
            commands,
            key,
            fence,
            rendered: Rendered::default(),
            to_send: Part::Multi,
            expected: Expected::Multi,
            answered: 0,
            outcome: Outcome::Overtaken,
            refused: None,
            armed: None,
        }
    }

    /// After the exchange: what happened, and the fence as the server has it.
    pub fn end(self) -> Result<(Outcome, Option<Vec<u8>>), RedisError> {
        match self.refused {
            Some(refused) => Err(refused),
            None => Ok((self.outcome, self.armed)),
        }
    }

    /// The commands and the SET of the fence.
    fn total(&self) -> usize {
        self.commands.len() + 1
    }

    /// Keeps the first refusal: those behind it may only be its consequence.
    fn refuse(&mut self, text: &[u8]) {
        if self.refused.is_some() {
            return;
        }
        let refused = RedisError::of_reply(text);
        self.refused = Some(match (refused, self.command(self.answered)) {
            (RedisError::Refused { text }, Some((row, name, key))) => RedisError::CommandRefused {
                row,
                command: String::from_utf8_lossy(name).into_owned(),
                key: shown_key(key),
                text,
            },
            (refused, _) => refused,
        });
    }

    /// A command's row, name and first key.
    fn command(&self, at: usize) -> Option<(u32, &'a [u8], &'a [u8])> {
        if !matches!(self.expected, Expected::Queued | Expected::Results) {
            return None;
        }
        let row = *self.commands.rows.get(at)?;
        let first = self.commands.arguments.get(..at)?.iter().map(|count| *count as usize).sum();
        let values = &self.commands.values;
        let value = |at: usize| {
            let from = if at == 0 { 0 } else { *values.ends.get(at - 1)? as usize };
            values.data.get(from..*values.ends.get(at)? as usize)
        };
        Some((row, value(first)?, value(first + 1).unwrap_or_default()))
    }

    /// One of the commands is answered.
    fn answer(&mut self, then: Expected) {
        self.answered += 1;
        if self.answered == self.total() {
            self.answered = 0;
            self.expected = then;
        }
    }
}

impl Flight for Transaction<'_> {
    fn send(&mut self, out: &mut Outgoing) -> Result<(), RedisError> {
        if self.to_send == Part::Multi {
            out.command(&[b"MULTI"]);
            self.to_send = Part::Commands;
        }
        if self.to_send == Part::Commands {
            self.rendered.more(self.commands, out, PART).map_err(|_| RedisError::Contradiction)?;
            if self.rendered.commands == self.commands.len() {
                out.command(&[b"SET", self.key, self.fence]);
                out.command(&[b"EXEC"]);
                out.command(&[b"WATCH", self.key]);
                out.command(&[b"GET", self.key]);
                self.to_send = Part::Nothing;
            }
        }
        Ok(())
    }

    #[inline]
    fn receive(&mut self, reply: Reply<'_>) -> Result<bool, RedisError> {
        const ASTRAY: RedisError = RedisError::Nonsense("a reply that does not belong to its command");
        match (self.expected, reply) {
            (Expected::Queued, Reply::Simple(b"QUEUED")) => self.answer(Expected::Exec),
            (Expected::Queued, Reply::Error(text)) => {
                self.refuse(text);
                self.answer(Expected::Exec);
            }
            (Expected::Results, Reply::Error(text)) => {
                self.refuse(text);
                self.answer(Expected::Watch);
            }
            (Expected::Results, Reply::Integer(_) | Reply::Simple(_)) => self.answer(Expected::Watch),
            (Expected::Multi, Reply::Simple(b"OK")) => self.expected = Expected::Queued,
            // Not knowing of a transaction, the server takes what follows one by one: leave.
            (Expected::Multi, Reply::Error(text)) => {
                self.refuse(text);
                return Ok(true);
            }
            (Expected::Exec, Reply::Array(Some(count))) if count == self.total() => {
                self.outcome = Outcome::Applied;
                self.expected = Expected::Results;
            }
            (Expected::Exec, Reply::Array(None) | Reply::Bulk(None)) => self.expected = Expected::Watch,
            (Expected::Exec, Reply::Error(text)) => {
                self.refuse(text);
                self.expected = Expected::Watch;
            }
            (Expected::Watch, Reply::Simple(b"OK")) => self.expected = Expected::Get,
            (Expected::Get, Reply::Bulk(text)) => {
                self.armed = text.map(<[u8]>::to_vec);
                return Ok(true);
            }
            (Expected::Watch, Reply::Error(text)) => {
                self.refuse(text);
                self.expected = Expected::Get;
            }
            (Expected::Get, Reply::Error(text)) => {
                self.refuse(text);
                return Ok(true);
            }
            _ => return Err(ASTRAY),
        }
        Ok(false)
    }

    fn complaint(&mut self) -> Option<RedisError> {
        self.refused.take()
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn batch(commands: usize) -> RedisCommands {
        let mut batch = RedisCommands::default();
        for row in 0..commands {
            batch.rows.push(row as u32);
            batch.arguments.push(2);
            [b"DEL", b"key"].iter().for_each(|argument| batch.values.push(*argument));
        }
        batch
    }

    fn reply() -> impl Strategy<Value = Reply<'static>> {
        prop_oneof![
            Just(Reply::Simple(b"OK")),
            Just(Reply::Simple(b"QUEUED")),
            Just(Reply::Error(b"ERR no")),
            Just(Reply::Integer(1)),
            Just(Reply::Bulk(None)),
            Just(Reply::Bulk(Some(b"fence"))),
            Just(Reply::Array(None)),
            (0..5usize).prop_map(|count| Reply::Array(Some(count))),
        ]
    }

    /// What a server answers when all is well.
    fn good(commands: usize) -> Vec<Reply<'static>> {
        let mut replies = vec![Reply::Simple(b"OK")];
        replies.extend(vec![Reply::Simple(b"QUEUED"); commands + 1]);
        replies.push(Reply::Array(Some(commands + 1)));
        replies.extend(vec![Reply::Integer(1); commands]);
        replies.extend([Reply::Simple(b"OK"), Reply::Simple(b"OK"), Reply::Bulk(Some(b"fence"))]);
        replies
    }

    proptest! {
        #[test]
        fn only_good_replies_to_everything_mean_applied(
            commands in 0..4usize,
            changes in vec((any::<proptest::sample::Index>(), reply()), 0..3),
        ) {
            let mut replies = good(commands);
            changes.into_iter().for_each(|(at, reply)| *at.get_mut(&mut replies) = reply);
            let batch = batch(commands);
            let mut transaction = Transaction::new(&batch, b"fence", b"text");
            let mut taken = 0;
            let ended = loop {
                let Some(reply) = replies.get(taken) else { break Ok(false) };
                taken += 1;
                match transaction.receive(*reply) {
                    Ok(false) => {}
                    ended => break ended,
                }
            };
            let error = replies.iter().any(|reply| matches!(reply, Reply::Error(_)));
            if let (Ok(true), Ok((Outcome::Applied, armed))) = (ended, transaction.end()) {
                prop_assert!(!error);
                prop_assert_eq!(taken, good(commands).len());
                prop_assert!(matches!(replies[commands + 2], Reply::Array(Some(count)) if count == commands + 1));
                prop_assert_eq!(armed, match replies[taken - 1] { Reply::Bulk(text) => text.map(<[u8]>::to_vec), _ => None });
            } else {
                prop_assert_ne!(replies, good(commands));
            }
        }
    }
}
