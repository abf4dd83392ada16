//! From what the binlog says of a column to its face in the writer contract and the step that decodes it.

use mysync_change::schema::{Column, Storage};

use crate::decode::charset::{self, Charset};
use crate::decode::decimal::Decimal;
use crate::decode::step::{Convert, LabelTexts, Width};
use crate::decode::temporal::fraction_width;
use crate::table_map::{BINARY, ColumnKind, Labels, MappedColumn};

/// Why a column cannot be decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Uncompilable {
    Collation(u64),
    /// A label is not text of the column's charset.
    Label,
    Decimal,
}

/// A column with its conversion.
#[derive(Debug)]
pub struct Compiled {
    pub column: Column,
    pub convert: Convert,
}

/// Bytes of a column's values in a row. It needs no collation, so an excluded column can always be gone past.
pub fn width(kind: &ColumnKind<'_>) -> Result<Width, Uncompilable> {
    use ColumnKind as K;
    Ok(match *kind {
        K::Integer { bytes, .. } | K::Enum { bytes, .. } | K::Set { bytes, .. } => Width::fixed(bytes.into()),
        K::Float { .. } => Width::fixed(4),
        K::Double { .. } | K::OldDatetime => Width::fixed(8),
        K::Decimal { precision, scale, .. } => {
            Width::fixed(Decimal::new(precision, scale).ok_or(Uncompilable::Decimal)?.width())
        }
        K::Year => Width::fixed(1),
        K::Bit { bits } => Width::fixed(usize::from(bits).div_ceil(8)),
        K::Date | K::OldTime => Width::fixed(3),
        K::OldTimestamp => Width::fixed(4),
        K::Time { decimals } => Width::fixed(3 + fraction_width(decimals)),
        K::Datetime { decimals } => Width::fixed(5 + fraction_width(decimals)),
        K::Timestamp { decimals } => Width::fixed(4 + fraction_width(decimals)),
        K::Char { bytes, .. } | K::Varchar { bytes, .. } => Width::prefixed(if bytes > 255 { 2 } else { 1 }),
        K::Blob { prefix, .. } | K::Json { prefix } | K::Geometry { prefix, .. } | K::Vector { prefix, .. } => {
            Width::prefixed(prefix)
        }
    })
}

/// What a collation stands for: charset name, longest character in bytes, and the way to UTF-8. `None`: binary.
fn text_charset(collation: u64) -> Result<Option<(&'static str, u32, Charset)>, Uncompilable> {
    if collation == BINARY {
        return Ok(None);
    }
    let known = charset::of_collation(collation)
        .and_then(|(name, longest)| Charset::named(name).map(|charset| (name, longest, charset)));
    known.map(Some).ok_or(Uncompilable::Collation(collation))
}

/// `key_prefix`: how much of the column is in the primary key; 0 for all of it.
pub fn compile(mapped: &MappedColumn<'_>, key_prefix: u64) -> Result<Compiled, Uncompilable> {
    let mut attributes = Attributes(Vec::new());
    let (kind, storage, convert) = face(&mapped.kind, &mut attributes)?;
    if key_prefix > 0 {
        attributes.put("key-prefix", key_prefix);
    }
    if !mapped.visible {
        attributes.put("invisible", "true");
    }
    let column = Column {
        name: mapped.name.to_owned(),
        kind: kind.to_owned(),
        storage,
        nullable: mapped.nullable,
        attributes: attributes.0,
    };
    Ok(Compiled { column, convert })
}

struct Attributes(Vec<(String, String)>);

impl Attributes {
    fn put(&mut self, name: &str, value: impl ToString) {
        self.0.push((name.to_owned(), value.to_string()));
    }

    fn unsigned(&mut self, unsigned: bool) {
        if unsigned {
            self.put("unsigned", "true");
        }
    }
}

fn face(kind: &ColumnKind<'_>, attributes: &mut Attributes) -> Result<(&'static str, Storage, Convert), Uncompilable> {
    use ColumnKind as K;
    let text = |kind, convert| (kind, Storage::Text, convert);
    Ok(match *kind {
        K::Integer { bytes, unsigned } => {
            attributes.unsigned(unsigned);
            let name = match bytes {
                1 => "tinyint",
                2 => "smallint",
                3 => "mediumint",
                4 => "int",
                _ => "bigint",
            };
            let storage = if unsigned { Storage::Unsigned } else { Storage::Signed };
            (name, storage, if unsigned { Convert::Unsigned } else { Convert::Signed })
        }
        K::Float { unsigned } => {
            attributes.unsigned(unsigned);
            ("float", Storage::Float, Convert::Copy)
        }
        K::Double { unsigned } => {
            attributes.unsigned(unsigned);
            ("double", Storage::Double, Convert::Copy)
        }
        K::Decimal { precision, scale, unsigned } => {
            attributes.put("precision", precision);
            attributes.put("scale", scale);
            attributes.unsigned(unsigned);
            text("decimal", Convert::Decimal(Decimal::new(precision, scale).ok_or(Uncompilable::Decimal)?))
        }
        K::Year => ("year", Storage::Signed, Convert::Year),
        K::Bit { bits } => {
            attributes.put("length", bits);
            ("bit", Storage::Unsigned, Convert::Bit)
        }
        K::Date => text("date", Convert::Date),
        K::Time { decimals } => {
            attributes.put("fraction", decimals);
            text("time", Convert::Time(decimals))
        }
        K::Datetime { decimals } => {
            attributes.put("fraction", decimals);
            text("datetime", Convert::Datetime(decimals))
        }
        K::Timestamp { decimals } => {
            attributes.put("fraction", decimals);
            text("timestamp", Convert::Timestamp(decimals))
        }
        K::OldTime => text("time", Convert::OldTime),
        K::OldDatetime => text("datetime", Convert::OldDatetime),
        K::OldTimestamp => text("timestamp", Convert::OldTimestamp),
        K::Char { bytes, collation } => {
            characters("char", "binary", Some(bytes), collation, Convert::Padded(bytes.into()), attributes)?
        }
        K::Varchar { bytes, collation } => {
            characters("varchar", "varbinary", Some(bytes), collation, Convert::Bytes, attributes)?
        }
        K::Blob { prefix, collation } => {
            let (text, binary) = match prefix {
                1 => ("tinytext", "tinyblob"),
                2 => ("text", "blob"),
                3 => ("mediumtext", "mediumblob"),
                _ => ("longtext", "longblob"),
            };
            characters(text, binary, None, collation, Convert::Bytes, attributes)?
        }
        K::Enum { labels, collation, .. } => text("enum", Convert::Enum(label_texts(labels, collation, attributes)?)),
        K::Set { labels, collation, .. } => text("set", Convert::Set(label_texts(labels, collation, attributes)?)),
        K::Json { .. } => text("json", Convert::Json),
        K::Geometry { kind, .. } => (kind, Storage::Bytes, Convert::Geometry),
        K::Vector { dimensions, .. } => {
            if let Some(dimensions) = dimensions {
                attributes.put("length", dimensions);
            }
            ("vector", Storage::Bytes, Convert::Bytes)
        }
    })
}

/// A type that is text or, with the binary collation, bytes. `bytes`: the longest value that the column holds, where it has a limit of its own.
fn characters(
    text: &'static str,
    binary: &'static str,
    bytes: Option<u16>,
    collation: u64,
    of_bytes: Convert,
    attributes: &mut Attributes,
) -> Result<(&'static str, Storage, Convert), Uncompilable> {
    let charset = text_charset(collation)?;
    if let Some(bytes) = bytes {
        attributes.put("length", u32::from(bytes) / charset.map_or(1, |(_, longest, _)| longest));
    }
    Ok(match charset {
        None => (binary, Storage::Bytes, of_bytes),
        Some((name, _, charset)) => {
            attributes.put("charset", name);
            (text, Storage::Text, Convert::Text(charset))
        }
    })
}

/// Labels as text, and as an attribute: a JSON array. Labels of the binary charset are kept if they are UTF-8.
fn label_texts(labels: Labels<'_>, collation: u64, attributes: &mut Attributes) -> Result<LabelTexts, Uncompilable> {
    let (name, charset) = text_charset(collation)?.map_or((charset::BINARY, Charset::Utf8), |(name, _, c)| (name, c));
    let written = if labels.is_utf8() { Charset::Utf8 } else { charset };
    let texts = LabelTexts::new(labels.iter(), written).map_err(|_| Uncompilable::Label)?;
    attributes.put("charset", name);
    attributes.put("labels", texts.to_json());
    Ok(texts)
}
