//! Columns and keys of a table, from information_schema into the very types that TABLE_MAP events are read into: both then get their shape by
//! the same code.

use crate::connection::{Connection, Rows, SourceError};
use crate::decode::charset;
use crate::table_map::{BINARY, ColumnKind, Labels, MappedColumn};

/// A column as information_schema describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Described {
    pub name: String,
    /// Without arguments, and with them.
    pub kind: String,
    pub declared: String,
    pub charset: Option<String>,
    pub collation: Option<String>,
    collation_number: u64,
    octets: u64,
    precision: u64,
    scale: u64,
    decimals: u8,
    nullable: bool,
    visible: bool,
    /// Of an ENUM or SET, each behind its length.
    labels: Vec<u8>,
}

/// The key that tells the table's rows apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    pub index: String,
    pub parts: Vec<KeyPart>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyPart {
    /// The column's place in the table.
    pub column: usize,
    /// How much of the column is in the key; 0: all of it.
    pub prefix: u64,
    pub descends: bool,
}

/// A text as a literal. Sessions of a dump are without NO_BACKSLASH_ESCAPES.
pub fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

pub fn name(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

/// A table's columns in their order. Empty: there is no such table.
pub async fn columns(connection: &mut Connection, database: &str, table: &str) -> Result<Vec<Described>, SourceError> {
    let rows = connection
        .query(&format!(
            "SELECT c.COLUMN_NAME AS name, c.DATA_TYPE AS kind, c.COLUMN_TYPE AS declared, c.CHARACTER_SET_NAME AS charset, \
             c.COLLATION_NAME AS collation, o.ID AS number, c.CHARACTER_OCTET_LENGTH AS octets, c.NUMERIC_PRECISION AS digits, \
             c.NUMERIC_SCALE AS scale, c.DATETIME_PRECISION AS decimals, c.IS_NULLABLE AS nullable, c.EXTRA AS extra \
             FROM information_schema.COLUMNS c LEFT JOIN information_schema.COLLATIONS o ON o.COLLATION_NAME = c.COLLATION_NAME \
             WHERE c.TABLE_SCHEMA = {} AND c.TABLE_NAME = {} ORDER BY c.ORDINAL_POSITION",
            quoted(database),
            quoted(table)
        ))
        .await?;
    let mut columns: Vec<Described> = (0..rows.len()).map(|row| described(&rows, row)).collect();
    for column in columns.iter_mut().filter(|column| column.may_have_other_labels()) {
        if let Some(labels) = whole_labels(connection, database, table, column).await? {
            column.labels = labels;
        }
    }
    Ok(columns)
}

fn described(rows: &Rows, row: usize) -> Described {
    let text = |column| rows.get(row, column).map(str::to_owned);
    let number = |column| rows.get(row, column).and_then(|number| number.parse::<u64>().ok());
    let declared = text("declared").unwrap_or_default();
    Described {
        name: text("name").unwrap_or_default(),
        kind: text("kind").unwrap_or_default().to_ascii_lowercase(),
        charset: text("charset"),
        collation: text("collation"),
        collation_number: number("number").unwrap_or(BINARY),
        octets: number("octets").unwrap_or(0),
        precision: number("digits").unwrap_or(0),
        scale: number("scale").unwrap_or(0),
        decimals: number("decimals").unwrap_or(0) as u8,
        nullable: rows.get(row, "nullable") == Some("YES"),
        visible: !rows.get(row, "extra").unwrap_or_default().contains("INVISIBLE"),
        labels: labels(&declared),
        declared,
    }
}

impl Described {
    /// As TABLE_MAP events describe it. `None`: its type is not known.
    pub fn mapped(&self) -> Option<MappedColumn<'_>> {
        let kind = self.mapped_kind()?;
        Some(MappedColumn { name: &self.name, kind, nullable: self.nullable, visible: self.visible })
    }

    fn mapped_kind(&self) -> Option<ColumnKind<'_>> {
        use ColumnKind as K;
        let unsigned = self.declared.contains(" unsigned");
        let integer = |bytes| K::Integer { bytes, unsigned };
        let collation = self.collation_number;
        let blob = |prefix| K::Blob { prefix, collation };
        let (bytes, decimals) = (self.octets as u16, self.decimals);
        let labels = Labels::in_utf8(&self.labels);
        let count = labels.iter().count();
        Some(match self.kind.as_str() {
            "tinyint" => integer(1),
            "smallint" => integer(2),
            "mediumint" => integer(3),
            "int" => integer(4),
            "bigint" => integer(8),
            "float" => K::Float { unsigned },
            "double" => K::Double { unsigned },
            "decimal" => K::Decimal { precision: self.precision as u8, scale: self.scale as u8, unsigned },
            "year" => K::Year,
            "bit" => K::Bit { bits: self.precision as u16 },
            "date" => K::Date,
            "time" => K::Time { decimals },
            "datetime" => K::Datetime { decimals },
            "timestamp" => K::Timestamp { decimals },
            "char" | "binary" => K::Char { bytes, collation },
            "varchar" | "varbinary" => K::Varchar { bytes, collation },
            "tinytext" | "tinyblob" => blob(1),
            "text" | "blob" => blob(2),
            "mediumtext" | "mediumblob" => blob(3),
            "longtext" | "longblob" => blob(4),
            "enum" => K::Enum { bytes: if count < 256 { 1 } else { 2 }, labels, collation },
            "set" => K::Set { bytes: count.div_ceil(8) as u8, labels, collation },
            "json" => K::Json { prefix: 4 },
            "vector" => K::Vector { prefix: 4, dimensions: self.argument() },
            kind => K::Geometry { prefix: 4, kind: geometry(kind)? },
        })
    }

    /// Whether a key's prefix leaves out nothing. One of a TINYBLOB can be as long as it.
    fn is_whole(&self, prefix: u64) -> bool {
        let longest = charset::of_collation(self.collation_number).map_or(1, |(_, longest)| u64::from(longest));
        prefix == 0 || matches!(&*self.kind, "tinyblob" | "tinytext") && prefix * longest == self.octets
    }

    /// Whether a question mark in its labels may stand for a character that declarations cannot have.
    fn may_have_other_labels(&self) -> bool {
        let wide = ["utf8mb4", "utf16", "utf16le", "utf32", "gb18030"];
        self.labels.contains(&b'?') && self.charset.as_deref().is_some_and(|charset| wide.contains(&charset))
    }

    /// The number in the type's parentheses.
    fn argument(&self) -> Option<u64> {
        self.declared.split_once('(')?.1.split_once(')')?.0.parse().ok()
    }
}

fn geometry(kind: &str) -> Option<&'static str> {
    let kinds = [
        "geometry",
        "point",
        "linestring",
        "polygon",
        "multipoint",
        "multilinestring",
        "multipolygon",
        "geomcollection",
    ];
    kinds.into_iter().find(|known| *known == kind)
}

/// The labels in a declaration such as `enum('a','it''s')`, each behind its length as the binlog has it.
///
/// A declaration is in the server's three-byte UTF-8: a character beyond that is a question mark in it.
fn labels(declared: &str) -> Vec<u8> {
    let mut labels = Vec::new();
    let Some(list) = declared.strip_prefix("enum(").or_else(|| declared.strip_prefix("set(")) else { return labels };
    let mut rest = list.chars().peekable();
    while rest.next() == Some('\'') {
        let mut label = String::new();
        while let Some(character) = rest.next() {
            match character {
                '\'' if rest.next_if_eq(&'\'').is_none() => break,
                '\\' => match rest.next() {
                    Some('0') => label.push('\0'),
                    Some('n') => label.push('\n'),
                    Some('r') => label.push('\r'),
                    other => label.extend(other),
                },
                character => label.push(character),
            }
        }
        put_label(&label, &mut labels);
        rest.next();
    }
    labels
}

fn put_label(label: &str, labels: &mut Vec<u8>) {
    // A label has at most 255 characters.
    let len = label.len() as u16;
    match u8::try_from(len) {
        Ok(len @ ..0xfb) => labels.push(len),
        _ => {
            labels.push(0xfc);
            labels.extend_from_slice(&len.to_le_bytes());
        }
    }
    labels.extend_from_slice(label.as_bytes());
}

/// The labels with all their characters, from a column of the very type into which the query puts each label's number. Older servers make a
/// text of it; then, and where the query is refused, there is no way: `None`.
async fn whole_labels(
    connection: &mut Connection,
    database: &str,
    table: &str,
    column: &Described,
) -> Result<Option<Vec<u8>>, SourceError> {
    let count = Labels::in_utf8(&column.labels).iter().count();
    let number = if column.kind == "enum" { "n + 1" } else { "1 << n" };
    // One more than there are: an empty text shows that the column has labels and nothing else.
    let query = format!(
        "WITH RECURSIVE l (v, n) AS (SELECT t.{}, 0 FROM (SELECT 1) d LEFT JOIN {}.{} t ON FALSE \
         UNION ALL SELECT {number}, n + 1 FROM l WHERE n <= {count}) \
         SELECT CONVERT(v USING utf8mb4) FROM l WHERE n > 0 ORDER BY n",
        name(&column.name),
        name(database),
        name(table)
    );
    let answer = match connection.query(&query).await {
        Ok(answer) => answer,
        Err(SourceError::Server { .. }) => return Ok(None),
        Err(error) => return Err(error),
    };
    let texts: Vec<&str> = answer.firsts().collect();
    let Some((&"", texts)) = texts.split_last().filter(|(_, texts)| texts.len() == count) else { return Ok(None) };
    let mut labels = Vec::new();
    texts.iter().for_each(|label| put_label(label, &mut labels));
    Ok(Some(labels))
}

/// The primary key; where there is none, the unique key that the server takes for one: the first in its own order whose columns are all in it
/// as a whole and never NULL.
pub async fn key(
    connection: &mut Connection,
    database: &str,
    table: &str,
    columns: &[Described],
) -> Result<Option<Key>, SourceError> {
    let rows = connection.query(&format!("SHOW INDEX FROM {}.{}", name(database), name(table))).await?;
    let unique = (0..rows.len()).filter(|row| rows.get(*row, "Non_unique") == Some("0"));
    let mut keys: Vec<Candidate> = Vec::new();
    for row in unique {
        let index = rows.get(row, "Key_name").unwrap_or_default();
        let place = rows.get(row, "Column_name").and_then(|name| columns.iter().position(|column| column.name == name));
        let prefix = rows.get(row, "Sub_part").and_then(|prefix| prefix.parse().ok()).unwrap_or(0);
        let primary = index == "PRIMARY";
        let never_null = rows.get(row, "Null").unwrap_or_default().is_empty();
        if keys.last().is_none_or(|last| last.key.index != index) {
            keys.push(Candidate { key: Key { index: index.to_owned(), parts: Vec::new() }, fits: true });
        }
        let Some(last) = keys.last_mut() else { continue };
        let column = place.and_then(|place| columns.get(place));
        last.fits &= column.is_some_and(|column| primary || never_null && column.is_whole(prefix));
        let descends = rows.get(row, "Collation") == Some("D");
        last.key.parts.extend(place.map(|column| KeyPart { column, prefix, descends }));
    }
    Ok(keys.into_iter().find(|candidate| candidate.fits).map(|candidate| candidate.key))
}

struct Candidate {
    key: Key,
    fits: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_with_quotes_commas_and_escapes_are_told_apart() {
        let declared = r#"enum('','a,b','it''s','\\"q\\"','n\n\0\r?',')')"#;
        let labels = labels(declared);
        let labels: Vec<&[u8]> = Labels::in_utf8(&labels).iter().collect();
        assert_eq!(labels, [&b""[..], b"a,b", b"it's", b"\\\"q\\\"", b"n\n\0\r?", b")"]);
    }
}
