//! Text of any MySQL charset as UTF-8. Bytes that mean nothing in their charset are an error, never a replacement character.

mod multi_byte;
mod single_byte;

use multi_byte::MultiByte;

/// How text of a charset becomes UTF-8.
#[derive(Debug, Clone, Copy)]
pub enum Charset {
    /// utf8mb4, utf8mb3.
    Utf8,
    Ascii,
    /// ASCII below, a table above.
    SingleByte(&'static [char; 128]),
    /// ASCII below, one to three more bytes a character.
    MultiByte(&'static MultiByte),
    Utf16Be,
    Utf16Le,
    Utf32,
    Swe7,
}

/// Bytes that mean nothing in their charset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Undecodable;

/// The charset of binary types.
pub const BINARY: &str = "binary";

/// The name of a collation's charset, and how many bytes one of its characters takes at most.
pub fn of_collation(id: u64) -> Option<(&'static str, u32)> {
    Some(match id {
        1 | 84 => ("big5", 2),
        2 | 9 | 21 | 27 | 77 => ("latin2", 1),
        3 | 69 => ("dec8", 1),
        4 | 80 => ("cp850", 1),
        5 | 8 | 15 | 31 | 47..=49 | 94 => ("latin1", 1),
        6 | 72 => ("hp8", 1),
        7 | 74 => ("koi8r", 1),
        10 | 82 => ("swe7", 1),
        11 | 65 => ("ascii", 1),
        12 | 91 => ("ujis", 3),
        13 | 88 => ("sjis", 2),
        14 | 23 | 50..=52 => ("cp1251", 1),
        16 | 71 => ("hebrew", 1),
        18 | 89 => ("tis620", 1),
        19 | 85 => ("euckr", 2),
        20 | 41 | 42 | 79 => ("latin7", 1),
        22 | 75 => ("koi8u", 1),
        24 | 86 => ("gb2312", 2),
        25 | 70 => ("greek", 1),
        26 | 34 | 44 | 66 | 99 => ("cp1250", 1),
        28 | 87 => ("gbk", 2),
        29 | 58 | 59 => ("cp1257", 1),
        30 | 78 => ("latin5", 1),
        32 | 64 => ("armscii8", 1),
        33 | 76 | 83 | 192..=215 | 223 => ("utf8mb3", 3),
        35 | 90 | 128..=151 | 159 => ("ucs2", 2),
        36 | 68 => ("cp866", 1),
        37 | 73 => ("keybcs2", 1),
        38 | 43 => ("macce", 1),
        39 | 53 => ("macroman", 1),
        40 | 81 => ("cp852", 1),
        45 | 46 | 224..=247 | 255..=323 => ("utf8mb4", 4),
        54 | 55 | 101..=124 => ("utf16", 4),
        56 | 62 => ("utf16le", 4),
        57 | 67 => ("cp1256", 1),
        60 | 61 | 160..=183 => ("utf32", 4),
        63 => (BINARY, 1),
        92 | 93 => ("geostd8", 1),
        95 | 96 => ("cp932", 2),
        97 | 98 => ("eucjpms", 3),
        248..=250 => ("gb18030", 4),
        _ => return None,
    })
}

impl Charset {
    /// By MySQL's name.
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "utf8mb4" | "utf8mb3" => Self::Utf8,
            "ascii" => Self::Ascii,
            "swe7" => Self::Swe7,
            "ucs2" | "utf16" => Self::Utf16Be,
            "utf16le" => Self::Utf16Le,
            "utf32" => Self::Utf32,
            _ => match multi_byte::named(name) {
                Some(charset) => Self::MultiByte(charset),
                None => Self::SingleByte(single_byte::upper_half(name)?),
            },
        })
    }

    /// Whether bytes below 0x80 are ASCII wherever they stand alone.
    fn holds_ascii(self) -> bool {
        !matches!(self, Self::Utf16Be | Self::Utf16Le | Self::Utf32 | Self::Swe7)
    }

    /// Whether `raw` is seen at once to be UTF-8 as it stands: most text is plain ASCII.
    #[inline]
    pub fn is_copied(self, raw: &[u8]) -> bool {
        self.holds_ascii() && is_ascii(raw)
    }

    /// Appends `raw` to `out` as UTF-8: at most 3 bytes for each of `raw`. On an error `out` may have grown.
    pub fn append(self, raw: &[u8], out: &mut Vec<u8>) -> Result<(), Undecodable> {
        match self {
            Self::Ascii if raw.is_ascii() => {
                out.extend_from_slice(raw);
                Ok(())
            }
            Self::Utf8 => {
                simdutf8::basic::from_utf8(raw).map_err(|_| Undecodable)?;
                out.extend_from_slice(raw);
                Ok(())
            }
            Self::Ascii => Err(Undecodable),
            Self::SingleByte(upper) => raw.iter().try_for_each(|byte| push(upper_or_ascii(upper, *byte), out)),
            Self::Swe7 => raw.iter().try_for_each(|byte| push(swe7(*byte), out)),
            Self::MultiByte(charset) => charset.append(raw, out),
            Self::Utf16Be => utf16(raw, u16::from_be_bytes, out),
            Self::Utf16Le => utf16(raw, u16::from_le_bytes, out),
            Self::Utf32 => {
                let (characters, rest) = raw.as_chunks::<4>();
                if !rest.is_empty() {
                    return Err(Undecodable);
                }
                characters.iter().try_for_each(|raw| push(char::from_u32(u32::from_be_bytes(*raw)), out))
            }
        }
    }
}

/// As in the standard library, which looks at the last bytes of a text one by one: that took longer than everything else for a row.
#[inline]
fn is_ascii(raw: &[u8]) -> bool {
    const WIDE: usize = 32;
    let Some(last) = raw.last_chunk::<WIDE>() else { return is_short_ascii(raw) };
    let (chunks, _) = raw.as_chunks::<WIDE>();
    let words = |chunk: &[u8; WIDE]| {
        let (words, _) = chunk.as_chunks::<8>();
        [0, 1, 2, 3].map(|at| words.get(at).map_or(0, |word| u64::from_ne_bytes(*word)))
    };
    let or = |a: [u64; 4], b: [u64; 4]| [a[0] | b[0], a[1] | b[1], a[2] | b[2], a[3] | b[3]];
    let [a, b, c, d] = chunks.iter().fold(words(last), |all, chunk| or(all, words(chunk)));
    is_ascii_word(a | b | c | d)
}

fn is_short_ascii(raw: &[u8]) -> bool {
    let Some(last) = raw.last_chunk::<8>() else { return raw.is_ascii() };
    let (words, _) = raw.as_chunks::<8>();
    is_ascii_word(words.iter().fold(u64::from_ne_bytes(*last), |all, word| all | u64::from_ne_bytes(*word)))
}

fn is_ascii_word(word: u64) -> bool {
    word & 0x8080_8080_8080_8080 == 0
}

fn push(character: Option<char>, out: &mut Vec<u8>) -> Result<(), Undecodable> {
    let character = character.ok_or(Undecodable)?;
    out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
    Ok(())
}

fn upper_or_ascii(upper: &[char; 128], byte: u8) -> Option<char> {
    match byte.checked_sub(0x80) {
        None => Some(char::from(byte)),
        Some(at) => upper.get(usize::from(at)).copied().filter(|c| *c != char::REPLACEMENT_CHARACTER),
    }
}

/// ASCII with eleven places taken by Swedish letters.
fn swe7(byte: u8) -> Option<char> {
    Some(match byte {
        0x40 => 'É',
        0x5B => 'Ä',
        0x5C => 'Ö',
        0x5D => 'Å',
        0x5E => 'Ü',
        0x60 => 'é',
        0x7B => 'ä',
        0x7C => 'ö',
        0x7D => 'å',
        0x7E => 'ü',
        0..0x7F => char::from(byte),
        _ => return None,
    })
}

fn utf16(raw: &[u8], unit: fn([u8; 2]) -> u16, out: &mut Vec<u8>) -> Result<(), Undecodable> {
    let (units, rest) = raw.as_chunks::<2>();
    if !rest.is_empty() {
        return Err(Undecodable);
    }
    char::decode_utf16(units.iter().map(|raw| unit(*raw))).try_for_each(|character| push(character.ok(), out))
}

#[cfg(test)]
mod tests {
    use super::is_ascii;

    #[test]
    fn one_byte_beyond_ascii_is_seen_wherever_it_stands() {
        for len in 0..130 {
            let mut text = vec![0x7F; len];
            assert!(is_ascii(&text), "{len} bytes");
            for at in 0..len {
                text[at] = 0x80;
                assert!(!is_ascii(&text), "byte {at} of {len}");
                text[at] = 0x7F;
            }
        }
    }
}
