/// Bytes from outside, taken from the front. `None`: there are not that many.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bytes<'a>(pub &'a [u8]);

impl<'a> Bytes<'a> {
    #[inline]
    pub fn take(&mut self, bytes: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(bytes)?;
        self.0 = rest;
        Some(taken)
    }

    #[inline]
    pub fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    #[inline]
    pub fn u8(&mut self) -> Option<u8> {
        self.array().map(|[byte]| byte)
    }

    #[inline]
    pub fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    #[inline]
    pub fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    #[inline]
    pub fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// A little-endian number of 7 bytes.
    #[inline]
    pub fn u56(&mut self) -> Option<u64> {
        let [a, b, c, d, e, f, g] = self.array()?;
        Some(u64::from_le_bytes([a, b, c, d, e, f, g, 0]))
    }

    /// A length-encoded integer of the client protocol.
    pub fn lenenc(&mut self) -> Option<u64> {
        match self.u8()? {
            small @ 0..=0xfa => Some(u64::from(small)),
            0xfc => self.u16().map(u64::from),
            0xfd => self.array().map(|[a, b, c]| u64::from(u32::from_le_bytes([a, b, c, 0]))),
            0xfe => self.u64(),
            _ => None,
        }
    }

    /// A variable-length integer of MySQL's serialization library: the first byte's trailing ones count the bytes that follow.
    pub fn varlen(&mut self) -> Option<u64> {
        let more = self.0.first()?.trailing_ones() as usize;
        if more == 8 {
            self.u8();
            return self.u64();
        }
        let mut raw = [0; 8];
        raw[..=more].copy_from_slice(self.take(more + 1)?);
        Some(u64::from_le_bytes(raw) >> (more + 1))
    }

    /// A signed one: the sign is the lowest bit.
    pub fn varlen_signed(&mut self) -> Option<i64> {
        self.varlen().map(|raw| (raw >> 1) as i64 ^ -((raw & 1) as i64))
    }

    /// Up to a zero byte, which is taken too.
    pub fn until_zero(&mut self) -> Option<&'a [u8]> {
        let end = self.0.iter().position(|b| *b == 0)?;
        let taken = self.take(end);
        self.u8();
        taken
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
