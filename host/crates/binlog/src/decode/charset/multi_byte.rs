//! Charsets of several bytes as MySQL maps them. Their namesakes elsewhere are the tables of browsers, which differ: in the dashes and signs
//! that Unix and Windows never agreed about, in characters that only Windows has, and in what was left to users to define.
//!
//! The differences were found by asking a MySQL server for every code; `tests/types/charsets.rs` asks again.

use encoding_rs::{DecoderResult, Encoding};

use super::{Undecodable, push};

/// Codes, first and last, and the character of the first: those behind it follow in order. `None`: MySQL has no character for them.
type Run = (u32, u32, Option<char>);

/// A charset that is ASCII below, and one to three more bytes a character above.
#[derive(Debug)]
pub struct MultiByte {
    encoding: &'static Encoding,
    /// How many bytes a character has that begins with these.
    width: fn(&[u8]) -> usize,
    /// Where MySQL differs, each list in order.
    differences: &'static [&'static [Run]],
}

/// By MySQL's name.
pub fn named(name: &str) -> Option<&'static MultiByte> {
    macro_rules! charset {
        ($encoding:ident, $width:ident $(, $list:ident)*) => {{
            static CHARSET: MultiByte =
                MultiByte { encoding: encoding_rs::$encoding, width: $width, differences: &[$(&$list),*] };
            &CHARSET
        }};
    }
    Some(match name {
        "big5" => charset!(BIG5, two, BIG5),
        "cp932" => charset!(SHIFT_JIS, shift_jis),
        "eucjpms" => charset!(EUC_JP, euc_jp, EUCJPMS, EUC_USER_DEFINED),
        "euckr" => charset!(EUC_KR, two),
        "gb18030" => charset!(GB18030, gb18030, GB18030),
        "gb2312" => charset!(GBK, two, GB2312),
        "gbk" => charset!(GBK, two, GBK),
        "sjis" => charset!(SHIFT_JIS, shift_jis, SJIS),
        "ujis" => charset!(EUC_JP, euc_jp, UJIS, EUC_USER_DEFINED),
        _ => return None,
    })
}

fn two(raw: &[u8]) -> usize {
    if matches!(raw, [0x80..=0xFF, ..]) { 2 } else { 1 }
}

fn shift_jis(raw: &[u8]) -> usize {
    if matches!(raw, [0x81..=0x9F | 0xE0..=0xFC, ..]) { 2 } else { 1 }
}

fn euc_jp(raw: &[u8]) -> usize {
    if matches!(raw, [0x8F, ..]) { 3 } else { two(raw) }
}

fn gb18030(raw: &[u8]) -> usize {
    if matches!(raw, [0x80..=0xFF, b'0'..=b'9', ..]) { 4 } else { two(raw) }
}

impl MultiByte {
    pub fn append(&self, raw: &[u8], out: &mut Vec<u8>) -> Result<(), Undecodable> {
        let (mut alike, mut rest) = (raw, raw);
        // A character that ends too early is the encoding's to refuse.
        while let Some((code, behind)) = rest.split_at_checked((self.width)(rest)).filter(|_| !rest.is_empty()) {
            if let Some(character) = self.differs(code) {
                let until = alike.len() - rest.len();
                self.append_alike(alike.get(..until).ok_or(Undecodable)?, out)?;
                push(character, out)?;
                alike = behind;
            }
            rest = behind;
        }
        self.append_alike(alike, out)
    }

    /// MySQL's own character of a code, or that it has none. Outer `None`: the encoding's.
    fn differs(&self, code: &[u8]) -> Option<Option<char>> {
        if code.len() < 2 {
            return None;
        }
        let code = code.iter().fold(0, |code, byte| code << 8 | u32::from(*byte));
        self.differences.iter().find_map(|runs| {
            let (first, _, begin) = runs.get(runs.partition_point(|(_, last, _)| *last < code))?;
            let nth = code.checked_sub(*first)?;
            Some(begin.and_then(|begin| char::from_u32(u32::from(begin) + nth)))
        })
    }

    fn append_alike(&self, raw: &[u8], out: &mut Vec<u8>) -> Result<(), Undecodable> {
        let mut decoder = self.encoding.new_decoder_without_bom_handling();
        let room = decoder.max_utf8_buffer_length_without_replacement(raw.len()).ok_or(Undecodable)?;
        let start = out.len();
        out.resize(start + room, 0);
        let (result, _, written) =
            decoder.decode_to_utf8_without_replacement(raw, out.get_mut(start..).unwrap_or_default(), true);
        out.truncate(start + written);
        if result == DecoderResult::InputEmpty { Ok(()) } else { Err(Undecodable) }
    }
}

#[rustfmt::skip]
static SJIS: [Run; 8] = [
    (0x815F, 0x815F, Some('\u{5c}')), (0x8160, 0x8160, Some('\u{301c}')), (0x8161, 0x8161, Some('\u{2016}')),
    (0x817C, 0x817C, Some('\u{2212}')), (0x8191, 0x8192, Some('\u{a2}')), (0x81CA, 0x81CA, Some('\u{ac}')),
    (0x8740, 0x879C, None), (0xED40, 0xFC4B, None),
];

#[rustfmt::skip]
static BIG5: [Run; 34] = [
    (0xA145, 0xA145, Some('\u{2022}')), (0xA14E, 0xA14E, Some('\u{ff64}')), (0xA15A, 0xA15A, None),
    (0xA1C2, 0xA1C2, Some('\u{203e}')), (0xA1C3, 0xA1C3, None), (0xA1C5, 0xA1C5, None),
    (0xA1E3, 0xA1E3, Some('\u{223c}')), (0xA1F2, 0xA1F2, Some('\u{2641}')), (0xA1F3, 0xA1F3, Some('\u{2609}')),
    (0xA1FE, 0xA240, None), (0xA241, 0xA241, Some('\u{ff0f}')), (0xA242, 0xA242, Some('\u{ff3c}')),
    (0xA244, 0xA244, Some('\u{a5}')), (0xA246, 0xA247, Some('\u{a2}')), (0xA2CC, 0xA2CC, None),
    (0xA2CE, 0xA2CE, None), (0xA3C0, 0xA3E1, None), (0xC6A1, 0xC6A1, Some('\u{30fe}')),
    (0xC6A2, 0xC6A3, Some('\u{309d}')), (0xC6A4, 0xC6A4, Some('\u{3005}')), (0xC6A5, 0xC6F7, Some('\u{3041}')),
    (0xC6F8, 0xC6FE, Some('\u{30a1}')), (0xC740, 0xC77E, Some('\u{30a8}')), (0xC7A1, 0xC7B0, Some('\u{30e7}')),
    (0xC7B1, 0xC7B2, Some('\u{414}')), (0xC7B3, 0xC7B3, Some('\u{401}')), (0xC7B4, 0xC7BA, Some('\u{416}')),
    (0xC7BB, 0xC7CD, Some('\u{423}')), (0xC7CE, 0xC7CE, Some('\u{451}')), (0xC7CF, 0xC7E8, Some('\u{436}')),
    (0xC7E9, 0xC7F2, Some('\u{2460}')), (0xC7F3, 0xC7FC, Some('\u{2474}')), (0xC7FD, 0xC8FE, None),
    (0xF9DD, 0xF9FE, None),
];

#[rustfmt::skip]
static GBK: [Run; 41] = [
    (0xA140, 0xA1A0, None), (0xA240, 0xA2A0, None), (0xA2AB, 0xA2B0, None),
    (0xA2E3, 0xA2E4, None), (0xA2EF, 0xA2F0, None), (0xA2FD, 0xA3A0, None),
    (0xA440, 0xA4A0, None), (0xA4F4, 0xA5A0, None), (0xA5F7, 0xA6A0, None),
    (0xA6B9, 0xA6C0, None), (0xA6D9, 0xA6DF, None), (0xA6EC, 0xA6ED, None),
    (0xA6F3, 0xA6F3, None), (0xA6F6, 0xA7A0, None), (0xA7C2, 0xA7D0, None),
    (0xA7F2, 0xA7FE, None), (0xA896, 0xA8A0, None), (0xA8BC, 0xA8BC, None),
    (0xA8BF, 0xA8BF, None), (0xA8C1, 0xA8C4, None), (0xA8EA, 0xA8FE, None),
    (0xA958, 0xA958, None), (0xA95B, 0xA95B, None), (0xA95D, 0xA95F, None),
    (0xA989, 0xA995, None), (0xA997, 0xA9A3, None), (0xA9F0, 0xA9FE, None),
    (0xAAA1, 0xAAFE, None), (0xABA1, 0xABFE, None), (0xACA1, 0xACFE, None),
    (0xADA1, 0xADFE, None), (0xAEA1, 0xAEFE, None), (0xAFA1, 0xAFFE, None),
    (0xD7FA, 0xD7FE, None), (0xF8A1, 0xF8FE, None), (0xF9A1, 0xF9FE, None),
    (0xFAA1, 0xFAFE, None), (0xFBA1, 0xFBFE, None), (0xFCA1, 0xFCFE, None),
    (0xFDA1, 0xFDFE, None), (0xFE50, 0xFEFE, None),
];

#[rustfmt::skip]
static GB2312: [Run; 16] = [
    (0xA1A4, 0xA1A4, Some('\u{30fb}')), (0xA1AA, 0xA1AA, Some('\u{2015}')), (0xA2A1, 0xA2B0, None),
    (0xA2E3, 0xA2E4, None), (0xA2EF, 0xA2F0, None), (0xA2FD, 0xA2FE, None),
    (0xA4F4, 0xA4FE, None), (0xA5F7, 0xA5FE, None), (0xA6B9, 0xA6C0, None),
    (0xA6D9, 0xA6FE, None), (0xA7C2, 0xA7D0, None), (0xA7F2, 0xA7FE, None),
    (0xA8BB, 0xA8C4, None), (0xA8EA, 0xA9A3, None), (0xA9F0, 0xAFFE, None),
    (0xD7FA, 0xD7FE, None),
];

#[rustfmt::skip]
static GB18030: [Run; 11] = [
    (0xA3A0, 0xA3A0, Some('\u{e5e5}')), (0xA6D9, 0xA6DF, Some('\u{e78d}')), (0xA6EC, 0xA6ED, Some('\u{e794}')),
    (0xA6F3, 0xA6F3, Some('\u{e796}')), (0xFE59, 0xFE59, Some('\u{e81e}')), (0xFE61, 0xFE61, Some('\u{e826}')),
    (0xFE66, 0xFE67, Some('\u{e82b}')), (0xFE6D, 0xFE6D, Some('\u{e832}')), (0xFE7E, 0xFE7E, Some('\u{e843}')),
    (0xFE90, 0xFE90, Some('\u{e854}')), (0xFEA0, 0xFEA0, Some('\u{e864}')),
];

#[rustfmt::skip]
static UJIS: [Run; 8] = [
    (0xA1C0, 0xA1C0, Some('\u{5c}')), (0xA1C1, 0xA1C1, Some('\u{301c}')), (0xA1C2, 0xA1C2, Some('\u{2016}')),
    (0xA1DD, 0xA1DD, Some('\u{2212}')), (0xA1F1, 0xA1F2, Some('\u{a2}')), (0xA2CC, 0xA2CC, Some('\u{ac}')),
    (0xADA1, 0xADFC, None), (0x8FA2B7, 0x8FA2B7, Some('\u{7e}')),
];

#[rustfmt::skip]
static EUCJPMS: [Run; 77] = [
    (0x8FA2C3, 0x8FA2C3, Some('\u{ffe4}')), (0x8FF3F3, 0x8FF3FC, Some('\u{2170}')), (0x8FF3FD, 0x8FF3FE, Some('\u{2160}')),
    (0x8FF4A1, 0x8FF4A8, Some('\u{2162}')), (0x8FF4A9, 0x8FF4A9, Some('\u{ff07}')), (0x8FF4AA, 0x8FF4AA, Some('\u{ff02}')),
    (0x8FF4AB, 0x8FF4AB, Some('\u{3231}')), (0x8FF4AC, 0x8FF4AC, Some('\u{2116}')), (0x8FF4AD, 0x8FF4AD, Some('\u{2121}')),
    (0x8FF4AE, 0x8FF4AE, Some('\u{70bb}')), (0x8FF4AF, 0x8FF4AF, Some('\u{4efc}')), (0x8FF4B0, 0x8FF4B0, Some('\u{50f4}')),
    (0x8FF4B1, 0x8FF4B1, Some('\u{51ec}')), (0x8FF4B2, 0x8FF4B2, Some('\u{5307}')), (0x8FF4B3, 0x8FF4B3, Some('\u{5324}')),
    (0x8FF4B4, 0x8FF4B4, Some('\u{fa0e}')), (0x8FF4B5, 0x8FF4B5, Some('\u{548a}')), (0x8FF4B6, 0x8FF4B6, Some('\u{5759}')),
    (0x8FF4B7, 0x8FF4B8, Some('\u{fa0f}')), (0x8FF4B9, 0x8FF4B9, Some('\u{589e}')), (0x8FF4BA, 0x8FF4BA, Some('\u{5bec}')),
    (0x8FF4BB, 0x8FF4BB, Some('\u{5cf5}')), (0x8FF4BC, 0x8FF4BC, Some('\u{5d53}')), (0x8FF4BD, 0x8FF4BD, Some('\u{fa11}')),
    (0x8FF4BE, 0x8FF4BE, Some('\u{5fb7}')), (0x8FF4BF, 0x8FF4BF, Some('\u{6085}')), (0x8FF4C0, 0x8FF4C0, Some('\u{6120}')),
    (0x8FF4C1, 0x8FF4C1, Some('\u{654e}')), (0x8FF4C2, 0x8FF4C2, Some('\u{663b}')), (0x8FF4C3, 0x8FF4C3, Some('\u{6665}')),
    (0x8FF4C4, 0x8FF4C4, Some('\u{fa12}')), (0x8FF4C5, 0x8FF4C5, Some('\u{f929}')), (0x8FF4C6, 0x8FF4C6, Some('\u{6801}')),
    (0x8FF4C7, 0x8FF4C8, Some('\u{fa13}')), (0x8FF4C9, 0x8FF4C9, Some('\u{6a6b}')), (0x8FF4CA, 0x8FF4CA, Some('\u{6ae2}')),
    (0x8FF4CB, 0x8FF4CB, Some('\u{6df8}')), (0x8FF4CC, 0x8FF4CC, Some('\u{6df2}')), (0x8FF4CD, 0x8FF4CD, Some('\u{7028}')),
    (0x8FF4CE, 0x8FF4CF, Some('\u{fa15}')), (0x8FF4D0, 0x8FF4D0, Some('\u{7501}')), (0x8FF4D1, 0x8FF4D1, Some('\u{7682}')),
    (0x8FF4D2, 0x8FF4D2, Some('\u{769e}')), (0x8FF4D3, 0x8FF4D3, Some('\u{fa17}')), (0x8FF4D4, 0x8FF4D4, Some('\u{7930}')),
    (0x8FF4D5, 0x8FF4D8, Some('\u{fa18}')), (0x8FF4D9, 0x8FF4D9, Some('\u{7ae7}')), (0x8FF4DA, 0x8FF4DB, Some('\u{fa1c}')),
    (0x8FF4DC, 0x8FF4DC, Some('\u{7da0}')), (0x8FF4DD, 0x8FF4DD, Some('\u{7dd6}')), (0x8FF4DE, 0x8FF4DE, Some('\u{fa1e}')),
    (0x8FF4DF, 0x8FF4DF, Some('\u{8362}')), (0x8FF4E0, 0x8FF4E0, Some('\u{fa1f}')), (0x8FF4E1, 0x8FF4E1, Some('\u{85b0}')),
    (0x8FF4E2, 0x8FF4E3, Some('\u{fa20}')), (0x8FF4E4, 0x8FF4E4, Some('\u{8807}')), (0x8FF4E5, 0x8FF4E5, Some('\u{fa22}')),
    (0x8FF4E6, 0x8FF4E6, Some('\u{8b7f}')), (0x8FF4E7, 0x8FF4E7, Some('\u{8cf4}')), (0x8FF4E8, 0x8FF4E8, Some('\u{8d76}')),
    (0x8FF4E9, 0x8FF4EB, Some('\u{fa23}')), (0x8FF4EC, 0x8FF4EC, Some('\u{90de}')), (0x8FF4ED, 0x8FF4ED, Some('\u{fa26}')),
    (0x8FF4EE, 0x8FF4EE, Some('\u{9115}')), (0x8FF4EF, 0x8FF4F0, Some('\u{fa27}')), (0x8FF4F1, 0x8FF4F1, Some('\u{9592}')),
    (0x8FF4F2, 0x8FF4F2, Some('\u{f9dc}')), (0x8FF4F3, 0x8FF4F3, Some('\u{fa29}')), (0x8FF4F4, 0x8FF4F4, Some('\u{973b}')),
    (0x8FF4F5, 0x8FF4F5, Some('\u{974d}')), (0x8FF4F6, 0x8FF4F6, Some('\u{9751}')), (0x8FF4F7, 0x8FF4F9, Some('\u{fa2a}')),
    (0x8FF4FA, 0x8FF4FA, Some('\u{999e}')), (0x8FF4FB, 0x8FF4FB, Some('\u{9ad9}')), (0x8FF4FC, 0x8FF4FC, Some('\u{9b72}')),
    (0x8FF4FD, 0x8FF4FD, Some('\u{fa2d}')), (0x8FF4FE, 0x8FF4FE, Some('\u{9ed1}')),
];

#[rustfmt::skip]
static EUC_USER_DEFINED: [Run; 20] = [
    (0xF5A1, 0xF5FE, Some('\u{e000}')), (0xF6A1, 0xF6FE, Some('\u{e05e}')), (0xF7A1, 0xF7FE, Some('\u{e0bc}')),
    (0xF8A1, 0xF8FE, Some('\u{e11a}')), (0xF9A1, 0xF9FE, Some('\u{e178}')), (0xFAA1, 0xFAFE, Some('\u{e1d6}')),
    (0xFBA1, 0xFBFE, Some('\u{e234}')), (0xFCA1, 0xFCFE, Some('\u{e292}')), (0xFDA1, 0xFDFE, Some('\u{e2f0}')),
    (0xFEA1, 0xFEFE, Some('\u{e34e}')), (0x8FF5A1, 0x8FF5FE, Some('\u{e3ac}')), (0x8FF6A1, 0x8FF6FE, Some('\u{e40a}')),
    (0x8FF7A1, 0x8FF7FE, Some('\u{e468}')), (0x8FF8A1, 0x8FF8FE, Some('\u{e4c6}')), (0x8FF9A1, 0x8FF9FE, Some('\u{e524}')),
    (0x8FFAA1, 0x8FFAFE, Some('\u{e582}')), (0x8FFBA1, 0x8FFBFE, Some('\u{e5e0}')), (0x8FFCA1, 0x8FFCFE, Some('\u{e63e}')),
    (0x8FFDA1, 0x8FFDFE, Some('\u{e69c}')), (0x8FFEA1, 0x8FFEFE, Some('\u{e6fa}')),
];
