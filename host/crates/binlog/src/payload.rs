//! Transactions that the server wrote compressed: one event that holds all others.
//!
//! The events come out one at a time. Memory holds the compressed bytes, the decompressor's window and one event; lengths in the payload
//! are never believed before the bytes are there. A payload that ends early, or whose bytes are not as many as it says, is an error: a
//! transaction is never cut short in silence.

use zstd::stream::raw::{Decoder, InBuffer, Operation, OutBuffer};
use zstd::zstd_safe::DParameter;

use crate::event::{At, Bytes, Event, EventError, HEADER_BYTES};

/// Window that a payload may ask for, as a power of two: 128 MiB, what zstd's highest level uses and its decoder allows at most by default.
const WINDOW_LOG_MAX: u32 = 27;
/// Bytes decompressed at a time: zstd's own block size.
const STEP_BYTES: usize = 128 << 10;
/// Buffers larger than this are given back once their payload has been read.
const KEPT_BYTES: usize = 4 << 20;

/// Reads payload events. One reader is opened again and again.
pub struct PayloadReader {
    decoder: Decoder<'static>,
    event_bytes_max: usize,
    compressed: Vec<u8>,
    /// How much of `compressed` has been taken.
    taken: usize,
    /// Bytes of the last event given out and of the events behind it, from `begin` to `end`. All of it is initialised.
    plain: Vec<u8>,
    begin: usize,
    end: usize,
    is_zstd: bool,
    /// Whether `taken` is at the end of a zstd frame.
    frame_ended: bool,
    /// What the payload says that its events are long, and how many bytes came out.
    named_bytes: Option<u64>,
    bytes: u64,
    at: Option<At>,
}

impl PayloadReader {
    /// `event_bytes_max`: an event inside a payload may be this large.
    pub fn new(event_bytes_max: usize) -> Result<Self, EventError> {
        let made = Decoder::new().and_then(|mut decoder| {
            decoder.set_parameter(DParameter::WindowLogMax(WINDOW_LOG_MAX))?;
            Ok(decoder)
        });
        let decoder = made.map_err(|e| EventError::Decompressor(e.to_string()))?;
        Ok(Self {
            decoder,
            event_bytes_max,
            compressed: Vec::new(),
            taken: 0,
            plain: Vec::new(),
            begin: 0,
            end: 0,
            is_zstd: false,
            frame_ended: true,
            named_bytes: None,
            bytes: 0,
            at: None,
        })
    }

    /// Begins a TRANSACTION_PAYLOAD event. Its bytes are copied, so the stream it came from may go on.
    pub fn open(&mut self, event: &Event<'_>) -> Result<(), EventError> {
        let payload = Payload::parse(event.body).ok_or_else(|| event.malformed("payload"))?;
        self.is_zstd = match payload.compression {
            Compression::Zstd => true,
            Compression::None => false,
            Compression::Other => {
                return Err(EventError::Unsupported { at: event.header.at(), why: "its compression is not zstd" });
            }
        };
        if self.is_zstd {
            self.decoder.reinit().map_err(|e| EventError::Decompressor(e.to_string()))?;
        }
        self.compressed.clear();
        self.compressed.extend_from_slice(payload.bytes);
        (self.taken, self.begin, self.end, self.bytes) = (0, 0, 0, 0);
        self.frame_ended = true;
        self.named_bytes = payload.plain_bytes;
        self.at = Some(event.header.at());
        Ok(())
    }

    /// The next event of the payload; `None`: that was all.
    pub fn next_event(&mut self) -> Result<Option<Event<'_>>, EventError> {
        let Some(at) = self.at else { return Ok(None) };
        let Some(size) = self.size_of_next(at)? else {
            self.close(at)?;
            return Ok(None);
        };
        let begin = self.begin;
        self.begin += size;
        Event::cut(&self.plain[begin..self.begin]).map(Some)
    }

    /// Decompresses until a whole event is at hand.
    fn size_of_next(&mut self, at: At) -> Result<Option<usize>, EventError> {
        loop {
            let plain = &self.plain[self.begin..self.end];
            let size =
                plain.get(9..13).and_then(|bytes| bytes.first_chunk()).map(|bytes| u32::from_le_bytes(*bytes) as usize);
            match size {
                Some(size) if size < HEADER_BYTES => return Err(EventError::Truncated { bytes: size }),
                Some(size) if size > self.event_bytes_max => {
                    return Err(EventError::TooLarge { bytes: size as u64, limit: self.event_bytes_max });
                }
                Some(size) if size <= plain.len() => return Ok(Some(size)),
                _ => {}
            }
            if !self.more(at)? {
                return if self.begin == self.end {
                    Ok(None)
                } else {
                    Err(EventError::Decompress { at, what: "it ends inside an event".into() })
                };
            }
        }
    }

    /// Decompresses one step more; false: there is no more.
    fn more(&mut self, at: At) -> Result<bool, EventError> {
        if self.begin > 0 {
            self.plain.copy_within(self.begin..self.end, 0);
            self.end -= self.begin;
            self.begin = 0;
        }
        if self.plain.len() < self.end + STEP_BYTES {
            self.plain.resize((self.end + STEP_BYTES).max(self.plain.len() * 2), 0);
        }
        let input = &self.compressed[self.taken..];
        if input.is_empty() && self.frame_ended {
            return Ok(false);
        }
        let out = &mut self.plain[self.end..];
        let (read, written) = if self.is_zstd {
            let (mut from, mut to) = (InBuffer::around(input), OutBuffer::around(out));
            let wanted = self.decoder.run(&mut from, &mut to);
            let (read, written) = (from.pos(), to.pos());
            let wanted = wanted.map_err(|e| EventError::Decompress { at, what: e.to_string() })?;
            if read > 0 || written > 0 {
                self.frame_ended = wanted == 0;
            } else if !self.frame_ended {
                return Err(EventError::Decompress { at, what: "it ends inside its compressed bytes".into() });
            }
            (read, written)
        } else {
            let bytes = input.len().min(out.len());
            out[..bytes].copy_from_slice(&input[..bytes]);
            (bytes, bytes)
        };
        self.taken += read;
        self.end += written;
        self.bytes += written as u64;
        Ok(read > 0 || written > 0)
    }

    fn close(&mut self, at: At) -> Result<(), EventError> {
        self.at = None;
        for buffer in [&mut self.compressed, &mut self.plain] {
            if buffer.capacity() > KEPT_BYTES {
                *buffer = Vec::new();
            }
        }
        (self.taken, self.begin, self.end) = (0, 0, 0);
        self.compressed.clear();
        match self.named_bytes {
            Some(named) if named != self.bytes => {
                Err(EventError::Decompress { at, what: format!("it names {named} bytes but holds {}", self.bytes) })
            }
            _ => Ok(()),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Compression {
    Zstd,
    None,
    Other,
}

/// The fields of a payload event: type and length, then the value; then the payload itself.
struct Payload<'a> {
    compression: Compression,
    plain_bytes: Option<u64>,
    bytes: &'a [u8],
}

impl<'a> Payload<'a> {
    fn parse(body: &'a [u8]) -> Option<Self> {
        const END: u64 = 0;
        const BYTES: u64 = 1;
        const COMPRESSION: u64 = 2;
        const PLAIN_BYTES: u64 = 3;
        let mut body = Bytes(body);
        let (mut named, mut compression, mut plain_bytes) = (None, Compression::Other, None);
        loop {
            let field = body.lenenc()?;
            if field == END {
                break;
            }
            let length = usize::try_from(body.lenenc()?).ok()?;
            let mut value = Bytes(body.take(length)?);
            match field {
                BYTES => named = Some(value.lenenc()?),
                COMPRESSION => {
                    compression = match value.lenenc()? {
                        0 => Compression::Zstd,
                        255 => Compression::None,
                        _ => Compression::Other,
                    }
                }
                PLAIN_BYTES => plain_bytes = Some(value.lenenc()?),
                _ => {}
            }
        }
        (named? == body.0.len() as u64).then_some(Self { compression, plain_bytes, bytes: body.0 })
    }
}
