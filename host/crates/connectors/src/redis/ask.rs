//! A flight of a few commands whose answers are small and wanted whole.

use super::client::Flight;
use super::error::RedisError;
use super::resp::{Outgoing, Reply};

/// More than any answer that is asked for has: HELLO on a server with many modules.
const WORDS_MAX: usize = 10_000;
/// And more than all of them are long.
const BYTES_MAX: usize = 4 << 20;

/// An answer's texts and numbers in order, arrays laid flat; or what the server refuses it with.
pub type Answer = Result<Vec<Option<Vec<u8>>>, Vec<u8>>;

/// The commands and, once exchanged, the answers.
#[derive(Default)]
pub struct Ask {
    out: Outgoing,
    commands: usize,
    answers: Vec<Answer>,
    current: Vec<Option<Vec<u8>>>,
    /// Replies that still belong to the current answer.
    open: usize,
    words: usize,
    bytes: usize,
}

impl Ask {
    pub fn command(mut self, arguments: &[&[u8]]) -> Self {
        self.out.command(arguments);
        self.commands += 1;
        self
    }

    /// The answers, one for each command.
    pub fn answers(self) -> Vec<Answer> {
        self.answers
    }

    fn take(&mut self, word: Option<&[u8]>) {
        self.bytes += word.map_or(0, <[u8]>::len);
        self.current.push(word.map(<[u8]>::to_vec));
    }
}

impl Flight for Ask {
    fn send(&mut self, out: &mut Outgoing) -> Result<(), RedisError> {
        std::mem::swap(out, &mut self.out);
        self.out.clear(0);
        Ok(())
    }

    fn receive(&mut self, reply: Reply<'_>) -> Result<bool, RedisError> {
        let within = self.open > 0;
        self.open = self.open.saturating_sub(1);
        self.words += 1;
        if self.words > WORDS_MAX || self.bytes > BYTES_MAX {
            return Err(RedisError::Nonsense("an answer larger than any that was asked for"));
        }
        match reply {
            Reply::Error(text) if within => self.take(Some(text)),
            Reply::Error(text) => {
                self.answers.push(Err(text.to_vec()));
                return Ok(self.answers.len() == self.commands);
            }
            Reply::Simple(text) => self.take(Some(text)),
            Reply::Integer(number) => self.take(Some(number.to_string().as_bytes())),
            Reply::Bulk(text) => self.take(text),
            Reply::Array(None) => self.take(None),
            Reply::Array(Some(count)) => self.open = self.open.saturating_add(count),
        }
        if self.open == 0 {
            self.answers.push(Ok(std::mem::take(&mut self.current)));
        }
        Ok(self.answers.len() == self.commands)
    }

    fn complaint(&mut self) -> Option<RedisError> {
        let refused = self.answers.iter().rev().find_map(|answer| answer.as_ref().err())?;
        RedisError::of_server(refused)
    }
}
