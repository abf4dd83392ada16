use super::SourceError;
use crate::event::EventError;

/// Bytes of a packet's header: three of length, one sequence number.
pub(super) const PACKET_HEADER_BYTES: usize = 4;
/// A packet this long goes on in the next one.
const PACKET_BYTES_MAX: usize = 0xff_ffff;
/// Bytes read at a time: one system call brings hundreds of small transactions.
const READ_BYTES: usize = 512 << 10;
/// A buffer that had to grow beyond this for a large packet is cut back to it.
const KEPT_BYTES: usize = 8 << 20;

/// Bytes as they came from the server, and the packets in them. One packet is handed out at a time, whole and without a copy; packets of
/// 16 MiB and more are pushed together in place.
///
/// The buffer grows with the bytes that have arrived, never by a length that was only named, and shrinks once a large packet is done.
pub(super) struct PacketBuffer {
    /// All of it is initialised; `begin..end` has come and was not handed out.
    bytes: Vec<u8>,
    begin: usize,
    end: usize,
    /// Of a packet in several parts: payload bytes already pushed together behind `begin`, and where the next part's header is.
    joined: Option<Joined>,
    sequence: u8,
    packet_bytes_max: usize,
}

#[derive(Clone, Copy)]
struct Joined {
    payload: usize,
    next: usize,
}

impl PacketBuffer {
    pub fn new(packet_bytes_max: usize) -> Self {
        Self { bytes: vec![0; READ_BYTES], begin: 0, end: 0, joined: None, sequence: 0, packet_bytes_max }
    }

    /// A new command starts counting packets anew.
    pub fn restart_sequence(&mut self) {
        self.sequence = 0;
    }

    pub fn set_packet_bytes_max(&mut self, bytes: usize) {
        self.packet_bytes_max = bytes;
    }

    pub fn next_sequence(&mut self) -> u8 {
        let sequence = self.sequence;
        self.sequence = sequence.wrapping_add(1);
        sequence
    }

    /// Whether everything that has come was handed out.
    pub fn is_empty(&self) -> bool {
        self.begin == self.end
    }

    /// Room for more bytes. Say how many came with [`Self::came`].
    pub fn room(&mut self) -> &mut [u8] {
        if self.end == self.bytes.len() || self.begin > self.bytes.len() / 2 {
            self.bytes.copy_within(self.begin..self.end, 0);
            if let Some(joined) = &mut self.joined {
                joined.next -= self.begin;
            }
            self.end -= self.begin;
            self.begin = 0;
            if self.bytes.len() > KEPT_BYTES && self.end < KEPT_BYTES / 2 {
                self.bytes.truncate(KEPT_BYTES);
                self.bytes.shrink_to_fit();
            }
        }
        if self.end == self.bytes.len() {
            self.bytes.resize(self.bytes.len() * 2, 0);
        }
        &mut self.bytes[self.end..]
    }

    pub fn came(&mut self, bytes: usize) {
        self.end += bytes;
    }

    /// The next whole packet without its header; `None`: more bytes are needed.
    #[inline]
    pub fn next_packet(&mut self) -> Result<Option<&[u8]>, SourceError> {
        if self.joined.is_some() {
            return self.next_long_packet();
        }
        let Some(header) = self.bytes[self.begin..self.end].first_chunk() else { return Ok(None) };
        let length = self.length(*header, self.sequence)?;
        if length == PACKET_BYTES_MAX {
            self.joined = Some(Joined { payload: 0, next: self.begin });
            return self.next_long_packet();
        }
        if length > self.packet_bytes_max {
            return Err(self.too_large(length));
        }
        let payload = self.begin + PACKET_HEADER_BYTES;
        if self.end - payload < length {
            return Ok(None);
        }
        self.begin = payload + length;
        self.sequence = self.sequence.wrapping_add(1);
        Ok(Some(&self.bytes[payload..self.begin]))
    }

    /// Pushes each part of a long packet up to the one before it as soon as the part is there.
    fn next_long_packet(&mut self) -> Result<Option<&[u8]>, SourceError> {
        while let Some(joined) = self.joined {
            let Some(header) = self.bytes[joined.next..self.end].first_chunk() else { return Ok(None) };
            let length = self.length(*header, self.sequence)?;
            let total = joined.payload + length;
            if total > self.packet_bytes_max {
                return Err(self.too_large(total));
            }
            let part = joined.next + PACKET_HEADER_BYTES;
            if self.end - part < length {
                return Ok(None);
            }
            let payload = self.begin + PACKET_HEADER_BYTES;
            self.bytes.copy_within(part..part + length, payload + joined.payload);
            self.sequence = self.sequence.wrapping_add(1);
            if length == PACKET_BYTES_MAX {
                self.joined = Some(Joined { payload: total, next: part + length });
                continue;
            }
            self.joined = None;
            self.begin = part + length;
            return Ok(Some(&self.bytes[payload..payload + total]));
        }
        Ok(None)
    }

    fn too_large(&self, bytes: usize) -> SourceError {
        EventError::TooLarge { bytes: bytes as u64, limit: self.packet_bytes_max }.into()
    }

    fn length(&self, [a, b, c, sequence]: [u8; PACKET_HEADER_BYTES], expected: u8) -> Result<usize, SourceError> {
        if sequence != expected {
            return Err(SourceError::Protocol("a packet is out of sequence"));
        }
        Ok(u32::from_le_bytes([a, b, c, 0]) as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feed(buffer: &mut PacketBuffer, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let room = buffer.room();
            let came = room.len().min(bytes.len());
            room[..came].copy_from_slice(&bytes[..came]);
            buffer.came(came);
            bytes = &bytes[came..];
        }
    }

    #[test]
    fn a_named_length_is_not_memory_and_a_large_packet_gives_its_memory_back() {
        let mut buffer = PacketBuffer::new(1 << 30);
        feed(&mut buffer, &[0xfe, 0xff, 0xff, 0]);
        assert!(buffer.next_packet().unwrap().is_none());
        assert_eq!(buffer.room().len() + 4, READ_BYTES);
        feed(&mut buffer, &vec![1; 0xff_fffe]);
        assert_eq!(buffer.next_packet().unwrap().unwrap().len(), 0xff_fffe);
        assert!(buffer.bytes.len() > KEPT_BYTES);
        feed(&mut buffer, &[1, 0, 0, 1, 9]);
        assert_eq!(buffer.next_packet().unwrap(), Some(&[9][..]));
        buffer.room();
        assert!(buffer.bytes.len() <= KEPT_BYTES, "{}", buffer.bytes.len());
    }

    #[test]
    fn parts_beyond_the_limit_are_refused_before_they_come() {
        let mut buffer = PacketBuffer::new(17 << 20);
        feed(&mut buffer, &[0xff, 0xff, 0xff, 0]);
        feed(&mut buffer, &vec![1; 0xff_ffff]);
        assert!(buffer.next_packet().unwrap().is_none());
        feed(&mut buffer, &[0xff, 0xff, 0xff, 1]);
        assert_eq!(buffer.next_packet().unwrap_err().code(), "BINLOG_EVENT_TOO_LARGE");
    }
}
