//! One value, seen by three: our image, SELECT, and the oracle. All are brought into one form.

use mysql_async::Value as Sql;
use mysql_common::binlog::value::BinlogValue;
use mysync_change::image::Value;
use mysync_change::schema::Column;

/// A value in the common form.
#[derive(Debug, Clone, PartialEq)]
pub enum Seen {
    Null,
    Absent,
    Bytes(Vec<u8>),
    Float(u32),
    Double(u64),
}

fn text(text: impl ToString) -> Seen {
    Seen::Bytes(text.to_string().into_bytes())
}

pub fn ours(value: Value<'_>) -> Seen {
    match value {
        Value::Null => Seen::Null,
        Value::Absent => Seen::Absent,
        Value::Signed(v) => text(v),
        Value::Unsigned(v) => text(v),
        Value::Float(v) => Seen::Float(v.to_bits()),
        Value::Double(v) => Seen::Double(v.to_bits()),
        Value::Text(v) => text(v),
        Value::Bytes(v) => Seen::Bytes(v.to_vec()),
    }
}

pub fn selected(value: &Sql) -> Seen {
    match value {
        Sql::NULL => Seen::Null,
        Sql::Int(v) => text(v),
        Sql::UInt(v) => text(v),
        Sql::Float(v) => Seen::Float(v.to_bits()),
        Sql::Double(v) => Seen::Double(v.to_bits()),
        Sql::Bytes(v) => Seen::Bytes(v.clone()),
        other => panic!("SELECT shows {other:?}"),
    }
}

/// The oracle's value of a column. `None`: it leaves the bytes as they are in the binlog, so there is nothing to compare with.
pub fn theirs(value: &BinlogValue<'_>, column: &Column) -> Option<Seen> {
    let attribute = |name: &str| column.attributes.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
    let value = match value {
        BinlogValue::Value(value) => value,
        BinlogValue::Jsonb(_) | BinlogValue::JsonDiff(_) => return None,
    };
    Some(match (column.kind.as_str(), value) {
        (_, Sql::NULL) => Seen::Null,
        ("enum" | "set", _) => return None,
        ("year", Sql::Bytes(year)) if year == b"1900" => text(0),
        ("bit", Sql::Bytes(bytes)) => text(bytes.iter().fold(0_u64, |bits, byte| bits << 8 | u64::from(*byte))),
        ("char" | "varchar" | "tinytext" | "text" | "mediumtext" | "longtext", Sql::Bytes(bytes)) => {
            matches!(attribute("charset"), Some("utf8mb4" | "utf8mb3" | "ascii")).then(|| Seen::Bytes(bytes.clone()))?
        }
        ("binary", Sql::Bytes(bytes)) => {
            let mut padded = bytes.clone();
            padded.resize(attribute("length")?.parse().ok()?, 0);
            Seen::Bytes(padded)
        }
        ("timestamp", Sql::Bytes(_)) => return None,
        // It leaves the sign where the third byte has it.
        ("mediumint", Sql::Int(v)) if attribute("unsigned").is_none() => text(v << 40 >> 40),
        (
            "geometry" | "point" | "linestring" | "polygon" | "multipoint" | "multilinestring" | "multipolygon"
            | "geomcollection",
            Sql::Bytes(bytes),
        ) => Seen::Bytes(bytes[4..].to_vec()),
        (_, Sql::Bytes(bytes)) => Seen::Bytes(bytes.clone()),
        (_, Sql::Int(v)) => text(v),
        (_, Sql::UInt(v)) => text(v),
        (_, Sql::Float(v)) => Seen::Float(v.to_bits()),
        (_, Sql::Double(v)) => Seen::Double(v.to_bits()),
        ("date", Sql::Date(y, m, d, ..)) => text(format!("{y:04}-{m:02}-{d:02}")),
        ("datetime", Sql::Date(y, m, d, h, min, s, us)) => {
            let fraction = fraction(*us, attribute("fraction")?);
            text(format!("{y:04}-{m:02}-{d:02}T{h:02}:{min:02}:{s:02}{fraction}"))
        }
        ("time", Sql::Time(negative, days, h, m, s, us)) => {
            let (sign, hours) = (if *negative { "-" } else { "" }, days * 24 + u32::from(*h));
            let fraction = fraction(*us, attribute("fraction")?);
            text(format!("{sign}{hours:02}:{m:02}:{s:02}{fraction}"))
        }
        (kind, value) => panic!("the oracle shows {value:?} for {kind}"),
    })
}

fn fraction(micros: u32, decimals: &str) -> String {
    match decimals.parse().unwrap() {
        0 => String::new(),
        decimals => format!(".{:06}", micros)[..=decimals].to_owned(),
    }
}

/// The oracle panics on some negative TIMEs with one or two decimals.
pub fn frightens_the_oracle(column: &Column) -> bool {
    let decimals = column.attributes.iter().find(|(key, _)| key == "fraction").map(|(_, decimals)| &**decimals);
    column.kind == "time" && matches!(decimals, Some("1" | "2"))
}
