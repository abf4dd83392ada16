//! The Redis protocol, version 2: commands out of packed lists, replies out of any bytes.
//!
//! Rendering copies each value once and allocates nothing per command. Parsing looks at one reply at a time and trusts no length it reads.

use mysync_change::operations::RedisCommands;

/// A server's one-line replies are short; error texts quote at most 128 bytes of a command.
const LINE_MAX: usize = 16 << 10;
/// The longest text that is ever asked for is a fence or a section of INFO: a few KiB.
const BULK_MAX: usize = 1 << 20;
/// More room than the longest line and text together need.
const UNREAD_MAX: usize = BULK_MAX + LINE_MAX;
/// One read takes the replies to some thousand commands.
const READ: usize = 64 << 10;

/// Lengths below this are looked up instead of being formatted.
const KNOWN: usize = 256;
/// The longest head of an argument: line ends, `$` and ten digits.
const HEAD_MAX: usize = 15;
/// Short values are copied by this many bytes, whatever their length: one instruction instead of a call.
const STEP: usize = 16;

/// Bytes to be sent, in room that is used again.
#[derive(Debug, Default)]
pub struct Outgoing {
    /// Always initialised to its whole length.
    bytes: Vec<u8>,
    filled: usize,
}

/// Lists in a batch of commands that contradict each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Contradiction;

impl Outgoing {
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.filled]
    }

    pub fn len(&self) -> usize {
        self.filled
    }

    pub fn is_empty(&self) -> bool {
        self.filled == 0
    }

    /// Empties it, and gives back room beyond `keep`.
    pub fn clear(&mut self, keep: usize) {
        self.filled = 0;
        if self.bytes.len() > keep {
            self.bytes.truncate(keep);
            self.bytes.shrink_to_fit();
        }
    }

    /// Appends one command of a few arguments.
    pub fn command(&mut self, arguments: &[&[u8]]) {
        let mut text = format!("*{}\r\n", arguments.len()).into_bytes();
        for argument in arguments {
            text.extend_from_slice(format!("${}\r\n", argument.len()).as_bytes());
            text.extend_from_slice(argument);
            text.extend_from_slice(b"\r\n");
        }
        self.reserve(text.len());
        self.bytes[self.filled..self.filled + text.len()].copy_from_slice(&text);
        self.filled += text.len();
    }

    fn reserve(&mut self, more: usize) {
        let needed = self.filled + more;
        if self.bytes.len() < needed {
            self.bytes.resize(needed.next_power_of_two(), 0);
        }
    }
}

/// Which commands of a batch have been rendered.
#[derive(Debug, Default)]
pub struct Rendered {
    pub commands: usize,
    arguments: usize,
    bytes: usize,
}

impl Rendered {
    /// Appends the next commands to `out`, whole, until it holds `enough` bytes or none is left.
    pub fn more(&mut self, commands: &RedisCommands, out: &mut Outgoing, enough: usize) -> Result<(), Contradiction> {
        while out.filled < enough {
            let Some(count) = commands.arguments.get(self.commands) else {
                return Ok(());
            };
            let next = self.arguments + *count as usize;
            let ends = commands.values.ends.get(self.arguments..next).ok_or(Contradiction)?;
            self.bytes = one(out, ends, self.bytes, &commands.values.data)?;
            self.arguments = next;
            self.commands += 1;
        }
        Ok(())
    }
}

/// Appends the command whose arguments end at `ends` and begin at `from`; answers where they end.
#[inline]
fn one(out: &mut Outgoing, ends: &[u32], mut from: usize, data: &[u8]) -> Result<usize, Contradiction> {
    let last = *ends.last().ok_or(Contradiction)? as usize;
    let payload = last.checked_sub(from).filter(|_| last <= data.len()).ok_or(Contradiction)?;
    let room = payload + (ends.len() + 2) * HEAD_MAX + 2 * STEP;
    out.reserve(room);
    let to = &mut out.bytes[out.filled..out.filled + room];

    // Each head begins with the line end of what is before it, so that it is one store of eight bytes.
    to[0] = b'*';
    let mut at = put_number(to, 1, ends.len());
    for end in ends {
        let end = *end as usize;
        let length = end.checked_sub(from).filter(|_| end <= last).ok_or(Contradiction)?;
        at = match HEADS.get(length) {
            Some((head, size)) => {
                to[at..at + 8].copy_from_slice(head);
                at + *size as usize
            }
            None => {
                to[at..at + 3].copy_from_slice(b"\r\n$");
                let end = put_number(to, at + 3, length);
                to[end..end + 2].copy_from_slice(b"\r\n");
                end + 2
            }
        };
        match data.get(from..from + STEP) {
            Some(step) if length <= STEP => to[at..at + STEP].copy_from_slice(step),
            _ => to[at..at + length].copy_from_slice(data.get(from..end).ok_or(Contradiction)?),
        }
        at += length;
        from = end;
    }
    to[at..at + 2].copy_from_slice(b"\r\n");
    out.filled += at + 2;
    Ok(last)
}

/// Writes a number in decimal; answers where it ends.
fn put_number(to: &mut [u8], at: usize, number: usize) -> usize {
    let mut digits = [0; 20];
    let mut first = digits.len();
    let mut rest = number;
    loop {
        first -= 1;
        digits[first] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    let end = at + digits.len() - first;
    to[at..end].copy_from_slice(&digits[first..]);
    end
}

/// `\r\n$LENGTH\r\n` and its size, for each short length.
static HEADS: [([u8; 8], u8); KNOWN] = heads();

const fn heads() -> [([u8; 8], u8); KNOWN] {
    let mut heads = [([b'\r', b'\n', b'$', 0, 0, 0, 0, 0], 0); KNOWN];
    let mut length = 0;
    while length < KNOWN {
        let digits = if length < 10 {
            1
        } else if length < 100 {
            2
        } else {
            3
        };
        let mut rest = length;
        let mut at = digits;
        while at > 0 {
            at -= 1;
            heads[length].0[3 + at] = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
        heads[length].0[3 + digits] = b'\r';
        heads[length].0[4 + digits] = b'\n';
        heads[length].1 = (5 + digits) as u8;
        length += 1;
    }
    heads
}

/// One reply; of an array its head only, the elements follow as replies of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reply<'a> {
    Simple(&'a [u8]),
    Error(&'a [u8]),
    Integer(i64),
    Bulk(Option<&'a [u8]>),
    Array(Option<usize>),
}

/// Bytes that no Redis server sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Nonsense(pub &'static str);

/// The first reply in `bytes` and the place behind it; none if it is not complete yet.
pub fn parse(bytes: &[u8]) -> Result<Option<(Reply<'_>, usize)>, Nonsense> {
    const QUEUED: &[u8] = b"+QUEUED\r\n";
    if bytes.starts_with(QUEUED) {
        return Ok(Some((Reply::Simple(b"QUEUED"), QUEUED.len())));
    }
    let Some(mark) = bytes.first() else {
        return Ok(None);
    };
    if !b"+-:$*".contains(mark) {
        return Err(Nonsense("a reply of no known kind"));
    }
    let Some(end) = bytes.iter().take(LINE_MAX).position(|byte| *byte == b'\n') else {
        return if bytes.len() < LINE_MAX { Ok(None) } else { Err(Nonsense("a line without an end")) };
    };
    let line = bytes[1..end].strip_suffix(b"\r").ok_or(Nonsense("a line that ends wrongly"))?;
    let next = end + 1;
    let reply = match mark {
        b'+' => Reply::Simple(line),
        b'-' => Reply::Error(line),
        b':' => Reply::Integer(number(line)?),
        b'*' => Reply::Array(length(line)?),
        _ => match length(line)? {
            None => Reply::Bulk(None),
            Some(length) if length > BULK_MAX => return Err(Nonsense("a text larger than any that was asked for")),
            Some(length) => {
                let Some(text) = bytes.get(next..next + length + 2) else {
                    return Ok(None);
                };
                let text = text.strip_suffix(b"\r\n").ok_or(Nonsense("a text that does not end where it should"))?;
                return Ok(Some((Reply::Bulk(Some(text)), next + length + 2)));
            }
        },
    };
    Ok(Some((reply, next)))
}

fn number(line: &[u8]) -> Result<i64, Nonsense> {
    std::str::from_utf8(line).ok().and_then(|text| text.parse().ok()).ok_or(Nonsense("a number that is none"))
}

/// A length, or -1 for nothing at all.
fn length(line: &[u8]) -> Result<Option<usize>, Nonsense> {
    match number(line)? {
        -1 => Ok(None),
        length => usize::try_from(length).map(Some).map_err(|_| Nonsense("a negative length")),
    }
}

/// Bytes received and not yet looked at, in bounded room that is used again.
#[derive(Debug, Default)]
pub struct Incoming {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

impl Incoming {
    /// Room for the next read; at least one byte.
    pub fn room(&mut self) -> &mut [u8] {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
        if self.end == self.bytes.len() {
            self.bytes.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
            // `parse` decides before so much is unread.
            let length = (self.end + READ).min(UNREAD_MAX + READ);
            self.bytes.resize(length.max(self.bytes.len()), 0);
        }
        &mut self.bytes[self.end..]
    }

    /// So many bytes have been read into the room.
    pub fn received(&mut self, bytes: usize) {
        self.end += bytes;
    }

    /// Takes the next reply; none if it is not complete yet.
    pub fn take(&mut self) -> Result<Option<Reply<'_>>, Nonsense> {
        Ok(parse(&self.bytes[self.start..self.end])?.map(|(reply, size)| {
            self.start += size;
            reply
        }))
    }

    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }
}

#[cfg(test)]
mod tests;
