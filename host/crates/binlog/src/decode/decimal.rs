//! DECIMAL: nine digits in four bytes, to plain digits with all decimals.

use super::number::big_endian;

/// Bytes that 0 to 9 digits take.
const BYTES: [usize; 10] = [0, 1, 1, 2, 2, 3, 3, 4, 4, 4];
const GROUP: usize = 9;

/// DECIMAL(precision, scale).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decimal {
    integers: u8,
    scale: u8,
}

impl Decimal {
    /// `None`: MySQL has no such type.
    pub fn new(precision: u8, scale: u8) -> Option<Self> {
        let fits = (1..=65).contains(&precision) && scale <= 30 && scale <= precision;
        fits.then(|| Self { integers: precision - scale, scale })
    }

    /// Inside JSON it stands as MySQL computed it, in up to 81 digits; leading zeros can make more than a column holds.
    pub fn computed(precision: u8, scale: u8) -> Option<Self> {
        (precision <= 81 && scale <= precision).then(|| Self { integers: precision - scale, scale })
    }

    /// Bytes of a value.
    pub fn width(self) -> usize {
        let bytes = |digits: u8| usize::from(digits) / GROUP * 4 + BYTES[usize::from(digits) % GROUP];
        bytes(self.integers) + bytes(self.scale)
    }

    /// Appends a value's digits, 83 bytes at most. `None`: no DECIMAL.
    pub fn append(self, raw: &[u8], out: &mut Vec<u8>) -> Option<()> {
        let mut copy = [0; 40];
        let bytes = copy.get_mut(..raw.len())?;
        bytes.copy_from_slice(raw);
        let first = bytes.first_mut()?;
        let negative = *first & 0x80 == 0;
        *first ^= 0x80;
        if negative {
            bytes.iter_mut().for_each(|byte| *byte = !*byte);
            out.push(b'-');
        }
        let mut rest: &[u8] = bytes;
        let start = out.len();
        let (integers, scale) = (usize::from(self.integers), usize::from(self.scale));
        group(&mut rest, integers % GROUP, out)?;
        for _ in 0..integers / GROUP {
            group(&mut rest, GROUP, out)?;
        }
        let digits = out.get(start..)?;
        let zeros = digits.iter().take_while(|digit| **digit == b'0').count();
        out.drain(start..start + zeros);
        if out.len() == start {
            out.push(b'0');
        }
        if scale > 0 {
            out.push(b'.');
            for _ in 0..scale / GROUP {
                group(&mut rest, GROUP, out)?;
            }
            group(&mut rest, scale % GROUP, out)?;
        }
        rest.is_empty().then_some(())
    }
}

/// Takes one group of digits from `rest`.
fn group(rest: &mut &[u8], digits: usize, out: &mut Vec<u8>) -> Option<()> {
    let (raw, tail) = rest.split_at_checked(*BYTES.get(digits)?)?;
    *rest = tail;
    let mut number = big_endian(raw);
    let mut text = [b'0'; GROUP];
    for digit in text.get_mut(..digits)?.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
    out.extend_from_slice(text.get(..digits)?);
    (number == 0).then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(precision: u8, scale: u8, raw: &[u8]) -> Option<String> {
        let decimal = Decimal::new(precision, scale).unwrap();
        assert_eq!(decimal.width(), raw.len());
        let mut out = Vec::new();
        decimal.append(raw, &mut out).map(|()| String::from_utf8(out).unwrap())
    }

    #[test]
    fn plain_digits_with_all_decimals() {
        // The manual's example: 1234567890.1234 as DECIMAL(14,4).
        assert_eq!(text(14, 4, &[0x81, 0x0D, 0xFB, 0x38, 0xD2, 0x04, 0xD2]).unwrap(), "1234567890.1234");
        assert_eq!(text(14, 4, &[0x7E, 0xF2, 0x04, 0xC7, 0x2D, 0xFB, 0x2D]).unwrap(), "-1234567890.1234");
        assert_eq!(text(2, 2, &[0x85]).unwrap(), "0.05");
        assert_eq!(text(1, 0, &[0x80]).unwrap(), "0");
        assert_eq!(text(2, 2, &[0xFF]), None, "127 is no two digits");
    }

    #[test]
    fn json_holds_more_digits_than_a_column() {
        // As MySQL 9.7 wrote the largest DECIMAL(65,30): 36 digits, the first of them 0, and 30 decimals.
        let nines = [0x3B, 0x9A, 0xC9, 0xFF];
        let raw = [&[0x85, 0xF5, 0xE0, 0xFF], &nines.repeat(6)[..], &[0x03, 0xE7]].concat();
        let mut out = Vec::new();
        Decimal::computed(66, 30).unwrap().append(&raw, &mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), format!("{}.{}", "9".repeat(35), "9".repeat(30)));
        assert!(Decimal::new(66, 30).is_none());
    }
}
