//! Random tables and values of every type, as SQL.

use crate::json::json;
use mysync_test_support::Random;

/// A generated column: its declaration, how SELECT shall show its values, and its values.
#[derive(Clone)]
pub enum Type {
    Int { name: &'static str, bits: u32, unsigned: bool },
    Float(bool),
    Double(bool),
    Decimal { precision: u64, scale: u64, unsigned: bool },
    Year,
    Bit(u64),
    Date,
    Time(u64),
    Datetime(u64),
    Timestamp(u64),
    Text { declared: String, charset: &'static str, longest: u64 },
    Bytes { declared: String, longest: u64 },
    Enum { charset: &'static str, labels: Vec<String> },
    Set { charset: &'static str, labels: Vec<String> },
    Json,
    Geometry(&'static str),
    Vector(u64),
}

/// Characters that each charset has.
pub const CHARSETS: [(&str, &str); 40] = [
    ("utf8mb4", "aZ é中𝄞ß\u{7f}'\"\\"),
    ("utf8mb3", "aé中\t\n0"),
    ("ascii", "abcXYZ~\u{1}"),
    ("latin1", "éß€ÿ\u{81}\u{9d}þaž"),
    ("latin2", "łŁaőŘ"),
    ("latin5", "şığa"),
    ("latin7", "šžąa"),
    ("cp1250", "łža€"),
    ("cp1251", "ЖяЁa€"),
    ("cp1256", "پچaش"),
    ("cp1257", "šąa€"),
    ("cp850", "éñ░a"),
    ("cp852", "łőa"),
    ("cp866", "Жя░a"),
    ("koi8r", "ЖяЁa"),
    ("koi8u", "Їґa"),
    ("greek", "αΩa"),
    ("hebrew", "אתa"),
    ("tis620", "กขa"),
    ("macroman", "é∂a"),
    ("macce", "łőa"),
    ("dec8", "éßa"),
    ("hp8", "éßa"),
    ("swe7", "ÅÄÖåäöéa"),
    ("keybcs2", "čřa"),
    ("armscii8", "Ձա"),
    ("geostd8", "აბa"),
    ("gbk", "中文你好aé€"),
    ("gb2312", "中文你好a"),
    ("gb18030", "中文你好a𝄞é€ß"),
    ("big5", "中文繁體a"),
    ("sjis", "日本語ｱa"),
    ("cp932", "日本語ｱa①"),
    ("ujis", "日本語ｱa"),
    ("eucjpms", "日本語ｱa①"),
    ("euckr", "한국어a"),
    ("ucs2", "aé中"),
    ("utf16", "aé中𝄞"),
    ("utf16le", "aé中𝄞"),
    ("utf32", "aé中𝄞"),
];

const GEOMETRIES: [&str; 6] = ["geometry", "point", "linestring", "polygon", "multipoint", "geometrycollection"];

fn characters(charset: &str) -> Vec<char> {
    CHARSETS.iter().find(|(name, _)| *name == charset).unwrap().1.chars().collect()
}

impl Type {
    pub fn random(random: &mut Random, vectors: bool) -> Self {
        let unsigned = random.chance(50);
        let decimals = random.below(7);
        let charset = if random.chance(40) { "utf8mb4" } else { random.pick(&CHARSETS).0 };
        match random.below(24) {
            0..=4 => {
                let (name, bits) =
                    *random.pick(&[("tinyint", 8), ("smallint", 16), ("mediumint", 24), ("int", 32), ("bigint", 64)]);
                Self::Int { name, bits, unsigned }
            }
            5 => Self::Float(unsigned),
            6 => Self::Double(unsigned),
            7 | 8 => {
                let any = random.below(65) + 1;
                let precision = *random.pick(&[1, 5, 9, 10, 18, 19, 20, 38, 65, any]);
                let scale = random.below(precision.min(30) + 1);
                Self::Decimal { precision, scale, unsigned }
            }
            9 => Self::Year,
            10 => Self::Bit(random.below(64) + 1),
            11 => Self::Date,
            12 => Self::Time(decimals),
            13 => Self::Datetime(decimals),
            14 => Self::Timestamp(decimals),
            15 | 16 => {
                let (kind, longest) =
                    *random.pick(&[("char", 1), ("char", 60), ("char", 255), ("varchar", 20), ("varchar", 300)]);
                Self::Text { declared: format!("{kind}({longest})"), charset, longest }
            }
            17 => {
                let (declared, longest) =
                    *random.pick(&[("tinytext", 60), ("text", 3000), ("mediumtext", 70_000), ("longtext", 100)]);
                Self::Text { declared: declared.to_owned(), charset, longest }
            }
            18 => {
                let (kind, longest) =
                    *random.pick(&[("binary", 1), ("binary", 255), ("varbinary", 10), ("varbinary", 400)]);
                Self::Bytes { declared: format!("{kind}({longest})"), longest }
            }
            19 => {
                let (declared, longest) =
                    *random.pick(&[("tinyblob", 255), ("blob", 3000), ("mediumblob", 70_000), ("longblob", 100)]);
                Self::Bytes { declared: declared.to_owned(), longest }
            }
            20 => {
                let count = if random.chance(10) { 300 } else { random.below(5) + 1 };
                Self::Enum { charset, labels: labels(random, charset, count) }
            }
            21 => {
                let count = *random.pick(&[1, 3, 8, 9, 17, 33, 64]);
                Self::Set { charset, labels: labels(random, charset, count) }
            }
            22 if vectors && random.chance(40) => Self::Vector(random.below(20) + 1),
            22 => Self::Geometry(GEOMETRIES[random.below(GEOMETRIES.len() as u64) as usize]),
            _ => Self::Json,
        }
    }

    pub fn declaration(&self) -> String {
        let sign = |unsigned: bool| if unsigned { " unsigned" } else { "" };
        let list = |labels: &[String]| labels.iter().map(|l| quote(l)).collect::<Vec<_>>().join(",");
        match self {
            Self::Int { name, unsigned, .. } => format!("{name}{}", sign(*unsigned)),
            Self::Float(unsigned) => format!("float{}", sign(*unsigned)),
            Self::Double(unsigned) => format!("double{}", sign(*unsigned)),
            Self::Decimal { precision, scale, unsigned } => format!("decimal({precision},{scale}){}", sign(*unsigned)),
            Self::Year => "year".to_owned(),
            Self::Bit(bits) => format!("bit({bits})"),
            Self::Date => "date".to_owned(),
            Self::Time(decimals) => format!("time({decimals})"),
            Self::Datetime(decimals) => format!("datetime({decimals})"),
            Self::Timestamp(decimals) => format!("timestamp({decimals}) null"),
            Self::Text { declared, charset, .. } => format!("{declared} character set {charset}"),
            Self::Bytes { declared, .. } => declared.clone(),
            Self::Enum { charset, labels } => format!("enum({}) character set {charset}", list(labels)),
            Self::Set { charset, labels } => format!("set({}) character set {charset}", list(labels)),
            Self::Json => "json".to_owned(),
            Self::Geometry(kind) => (*kind).to_owned(),
            Self::Vector(dimensions) => format!("vector({dimensions})"),
        }
    }

    /// What SELECT shall show of column `name`: numbers as they are, everything else as bytes.
    pub fn shown(&self, name: &str) -> String {
        match self {
            Self::Int { .. } | Self::Float(_) | Self::Double(_) | Self::Year | Self::Bytes { .. } => name.to_owned(),
            Self::Bit(_) => format!("{name}+0"),
            Self::Decimal { .. } | Self::Date | Self::Time(_) | Self::Json => format!("cast({name} as char)"),
            Self::Datetime(_) => format!("replace(cast({name} as char), ' ', 'T')"),
            Self::Timestamp(_) => format!("concat(replace(cast({name} as char), ' ', 'T'), 'Z')"),
            Self::Text { .. } | Self::Enum { .. } | Self::Set { .. } => {
                format!("cast(convert({name} using utf8mb4) as binary)")
            }
            Self::Geometry(_) => format!("unhex(substring(hex({name}), 9))"),
            Self::Vector(_) => format!("unhex(hex({name}))"),
        }
    }

    /// A value as SQL, for a session without strict mode.
    pub fn value(&self, random: &mut Random) -> String {
        if random.chance(12) {
            return "null".to_owned();
        }
        match self {
            Self::Int { bits, unsigned, .. } => {
                let raw = random.number() >> (64 - bits) >> random.below(u64::from(*bits));
                let extreme = random.below(6);
                match (unsigned, extreme) {
                    (_, 0) => "0".to_owned(),
                    (true, 1) => (u64::MAX >> (64 - bits)).to_string(),
                    (true, _) => raw.to_string(),
                    (false, 1) => (i64::MIN >> (64 - bits)).to_string(),
                    (false, 2) => (i64::MAX >> (64 - bits)).to_string(),
                    (false, _) => ((raw << (64 - bits)) as i64 >> (64 - bits)).to_string(),
                }
            }
            Self::Float(_) => match random.below(4) {
                0 => random
                    .pick(&["0", "-0e0", "3.402823466e38", "-3.402823466e38", "1.175494351e-38", "1e-45"])
                    .to_string(),
                _ => format!("{:e}", f32::from_bits(random.number() as u32 & 0xBF7F_FFFF)),
            },
            Self::Double(_) => double(random),
            Self::Decimal { precision, scale, .. } => {
                let digits = if random.chance(25) { *precision } else { random.below(*precision) + 1 };
                let nines = random.chance(20);
                let mut text: String =
                    (0..digits).map(|_| if nines { '9' } else { (b'0' + random.below(10) as u8) as char }).collect();
                if *scale > 0 {
                    while text.len() <= *scale as usize {
                        text.insert(0, '0');
                    }
                    text.insert(text.len() - *scale as usize, '.');
                }
                format!("{}{text}", if random.chance(40) { "-" } else { "" })
            }
            Self::Year => random.pick(&["0", "1901", "2155", "1970", "2026"]).to_string(),
            Self::Bit(bits) => (random.number() >> (64 - bits) >> random.below(*bits)).to_string(),
            Self::Date => quote(&date(random)),
            Self::Time(_) => quote(&time(random)),
            Self::Datetime(_) => quote(&format!("{} {}", date(random), clock(random, 24))),
            Self::Timestamp(_) => match random.below(5) {
                0 => quote("0000-00-00 00:00:00"),
                1 => quote("1970-01-01 00:00:01"),
                2 => quote("2038-01-19 03:14:07"),
                _ => format!("from_unixtime({}.{:06})", 1 + random.below(0x7FFF_FFF0), random.below(1_000_000)),
            },
            Self::Text { charset, longest, .. } => {
                format!("_utf8mb4 x'{}'", hex(text(random, charset, *longest).as_bytes()))
            }
            Self::Bytes { longest, .. } => {
                let len = length(random, *longest);
                let bytes: Vec<u8> = (0..len)
                    .map(|_| if random.chance(30) { *random.pick(&[0, 0x20]) } else { random.number() as u8 })
                    .collect();
                if len == 0 { "''".to_owned() } else { format!("x'{}'", hex(&bytes)) }
            }
            Self::Enum { labels, .. } => random.below(labels.len() as u64 + 1).to_string(),
            Self::Set { labels, .. } => (random.number() >> (64 - labels.len())).to_string(),
            Self::Json => json(random),
            Self::Geometry(kind) => {
                let srid = random.pick(&[0, 4326]);
                let wkt = match *kind {
                    "geometry" | "point" => format!("POINT({} {})", random.below(80), random.below(80)),
                    "linestring" => "LINESTRING(0 0,1 2,3.5 4)".to_owned(),
                    "polygon" => "POLYGON((0 0,10 0,10 10,0 10,0 0))".to_owned(),
                    "multipoint" => "MULTIPOINT((1 1),(2 2))".to_owned(),
                    _ => "GEOMETRYCOLLECTION(POINT(1 2),LINESTRING(0 0,1 1))".to_owned(),
                };
                format!("ST_GeomFromText('{wkt}', {srid})")
            }
            Self::Vector(dimensions) => {
                let elements: Vec<String> = (0..*dimensions).map(|_| format!("{}.5", random.below(1000))).collect();
                format!("string_to_vector('[{}]')", elements.join(","))
            }
        }
    }
}

pub fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn length(random: &mut Random, longest: u64) -> u64 {
    match random.below(6) {
        0 => 0,
        1 => longest,
        _ => random.below(longest.min(80) + 1),
    }
}

pub fn text(random: &mut Random, charset: &str, longest: u64) -> String {
    let characters = characters(charset);
    let ascii = random.chance(30) && charset != "swe7";
    let len = length(random, longest);
    (0..len).map(|_| if ascii { (b'a' + random.below(26) as u8) as char } else { *random.pick(&characters) }).collect()
}

/// Distinct labels under any collation. A SET's labels hold no comma.
fn labels(random: &mut Random, charset: &str, count: u64) -> Vec<String> {
    let letters: Vec<char> = characters(charset).into_iter().filter(|c| c.is_alphabetic() && !c.is_ascii()).collect();
    let letter = |random: &mut Random| if letters.is_empty() { 'x' } else { *random.pick(&letters) };
    (0..count).map(|i| format!("l{i}{}", letter(random))).collect()
}

pub fn date(random: &mut Random) -> String {
    match random.below(5) {
        0 => random.pick(&["0000-00-00", "9999-12-31", "1000-01-01", "0001-01-01", "2024-02-29"]).to_string(),
        1 => random.pick(&["2020-00-00", "2020-02-00", "1999-00-00"]).to_string(),
        _ => format!("{:04}-{:02}-{:02}", random.below(9999), random.below(12) + 1, random.below(28) + 1),
    }
}

pub fn clock(random: &mut Random, hours: u64) -> String {
    let micros = if random.chance(20) { 0 } else { random.below(999_000) };
    format!("{:02}:{:02}:{:02}.{micros:06}", random.below(hours), random.below(60), random.below(59))
}

pub fn time(random: &mut Random) -> String {
    match random.below(6) {
        0 => random
            .pick(&[
                "00:00:00",
                "-00:00:00.000001",
                "-00:00:00.9",
                "838:59:59",
                "-838:59:59",
                "-01:00:00",
                "-00:00:01.5",
            ])
            .to_string(),
        _ => format!("{}{}", if random.chance(50) { "-" } else { "" }, clock(random, 838)),
    }
}

pub fn double(random: &mut Random) -> String {
    let value = match random.below(5) {
        0 => *random.pick(&[
            0.0,
            -0.0,
            1e15,
            1e16,
            1e-5,
            1e-15,
            1e-16,
            f64::MAX,
            f64::MIN_POSITIVE,
            5e-324,
            123456789012345.0,
        ]),
        1 => random.below(1 << 50) as f64 / 1024.0,
        2 => random.below(1 << 60) as f64,
        _ => f64::from_bits(random.number() & 0xBFEF_FFFF_FFFF_FFFF),
    };
    format!("{value:e}")
}
