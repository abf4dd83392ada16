//! Shapes of tables, as the binlog itself describes them.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// How values of a column are stored in row images, and which list carries them to a writer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Storage {
    /// 8 bytes: i64, little-endian.
    Signed,
    /// 8 bytes: u64, little-endian.
    Unsigned,
    /// 4 bytes: IEEE 754, little-endian.
    Float,
    /// 8 bytes: IEEE 754, little-endian.
    Double,
    /// u32 length, then UTF-8.
    Text,
    /// u32 length, then bytes.
    Bytes,
}

/// A column as the table declares it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Column {
    pub name: String,
    /// MySQL's type name in lower case, without arguments: `int`, `varchar`, `datetime`, …
    pub kind: String,
    pub storage: Storage,
    pub nullable: bool,
    /// What else is known of the type: `unsigned`, `length`, `scale`, `fraction`, `charset`, `labels`, …
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attributes: Vec<(String, String)>,
}

/// The shape of a table at one time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableShape {
    pub database: String,
    pub name: String,
    pub columns: Vec<Column>,
    /// Places in `columns`, in key order; empty: no primary key.
    pub primary_key: Vec<u16>,
}

impl TableShape {
    /// `database.name`.
    pub fn full_name(&self) -> String {
        format!("{}.{}", self.database, self.name)
    }

    /// Names the shape in records: the first 16 bytes of the SHA-256 of everything in it.
    pub fn fingerprint(&self) -> Fingerprint {
        let mut hash = Sha256::new();
        let mut part = |bytes: &[u8]| {
            hash.update((bytes.len() as u64).to_le_bytes());
            hash.update(bytes);
        };
        part(self.database.as_bytes());
        part(self.name.as_bytes());
        for column in &self.columns {
            part(column.name.as_bytes());
            part(column.kind.as_bytes());
            part(&[column.storage as u8, u8::from(column.nullable), column.attributes.len() as u8]);
            for (key, value) in &column.attributes {
                part(key.as_bytes());
                part(value.as_bytes());
            }
        }
        self.primary_key.iter().for_each(|at| part(&at.to_le_bytes()));
        let mut first = [0; 16];
        first.copy_from_slice(&hash.finalize()[..16]);
        Fingerprint(first)
    }
}

/// Which shape a record's rows have.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fingerprint(pub [u8; 16]);

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
