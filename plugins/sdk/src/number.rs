//! Numbers as text, appended to a buffer.

const PAIRS: [[u8; 2]; 100] = {
    let mut pairs = [[b'0'; 2]; 100];
    let mut at = 0;
    while at < 100 {
        pairs[at] = [b'0' + (at / 10) as u8, b'0' + (at % 10) as u8];
        at += 1;
    }
    pairs
};

/// A 64-bit number has up to 20 digits.
const DIGITS: usize = 20;

/// Appends an integer.
#[inline]
pub fn unsigned(mut value: u64, out: &mut Vec<u8>) {
    // Twice the room: a constant length is copied from wherever the digits start, and what follows them is cut off.
    let mut buffer = [0; 2 * DIGITS];
    let mut start = DIGITS;
    while value >= 100 {
        start -= 2;
        buffer[start..start + 2].copy_from_slice(&PAIRS[(value % 100) as usize]);
        value /= 100;
    }
    if value >= 10 {
        start -= 2;
        buffer[start..start + 2].copy_from_slice(&PAIRS[value as usize]);
    } else {
        start -= 1;
        buffer[start] = b'0' + value as u8;
    }
    let len = out.len() + DIGITS - start;
    out.extend_from_slice(&buffer[start..start + DIGITS]);
    out.truncate(len);
}

/// Appends an integer.
#[inline]
pub fn signed(value: i64, out: &mut Vec<u8>) {
    if value < 0 {
        out.push(b'-');
    }
    unsigned(value.unsigned_abs(), out);
}

/// Appends a double: the shortest text that reads back as the same number.
pub fn double(value: f64, out: &mut Vec<u8>) {
    shortest(zmij::Buffer::new().format(value), out);
}

/// Appends a float: the shortest text that reads back as the same `f32`.
pub fn float(value: f32, out: &mut Vec<u8>) {
    shortest(zmij::Buffer::new().format(value), out);
}

/// As MySQL writes it: whole numbers without a point, exponents without a plus.
fn shortest(text: &str, out: &mut Vec<u8>) {
    let text = text.strip_suffix(".0").unwrap_or(text);
    match text.split_once("e+") {
        Some((digits, exponent)) => {
            [digits, "e", exponent].iter().for_each(|part| out.extend_from_slice(part.as_bytes()))
        }
        None => out.extend_from_slice(text.as_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = b"x".to_vec();
        write(&mut out);
        String::from_utf8(out).unwrap()[1..].to_owned()
    }

    #[test]
    fn integers_of_every_length() {
        let mut value = 0u64;
        for digit in [1, 9, 0, 5, 4, 7, 3, 9, 9, 1, 8, 2, 6, 0, 9, 9, 1, 4, 2] {
            assert_eq!(text(|out| unsigned(value, out)), value.to_string());
            assert_eq!(text(|out| signed(-(value as i64), out)), (-(value as i64)).to_string());
            value = value * 10 + digit;
        }
        for value in [0, 9, 10, 99, 100, u64::MAX] {
            assert_eq!(text(|out| unsigned(value, out)), value.to_string());
        }
        assert_eq!(text(|out| signed(i64::MIN, out)), i64::MIN.to_string());
    }

    #[test]
    fn doubles_read_back_as_the_same_number() {
        let mut state = 88172645463325252u64;
        for round in 0..200_000 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let value = match round % 3 {
                0 => f64::from_bits(state),
                1 => (state % 10_000_000) as f64 / 1000.0,
                _ => (state as i64 % 1_000_000_000_000) as f64 / 1e6,
            };
            if value.is_finite() {
                let text = text(|out| double(value, out));
                assert_eq!(text.parse::<f64>().unwrap().to_bits(), value.to_bits(), "{text}");
            }
        }
    }

    #[test]
    fn floats_as_people_write_them() {
        let known = [(0.0, "0"), (-0.0, "-0"), (1.0, "1"), (0.125, "0.125"), (-12.5, "-12.5"), (1e-5, "0.00001")];
        for (value, expected) in known {
            assert_eq!(text(|out| double(value, out)), expected);
        }
        assert_eq!(text(|out| float(0.1, out)), "0.1");
        assert_eq!(text(|out| float(16_777_216.0, out)), "16777216");
        assert_eq!(text(|out| double(1e300, out)), "1e300");
        assert_eq!(text(|out| double(0.1 + 0.2, out)), "0.30000000000000004");
    }
}
