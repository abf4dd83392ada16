//! Tables whose rows are known from SELECT, held against what the binlog brought of them.

use std::collections::BTreeMap;

use mysql_async::Row;
use mysync_binlog::decode::Change;
use mysync_change::image::{Image, Value};

use crate::compare::{self, Seen};
use crate::generate::Type;
use crate::server::Server;
use crate::stream::{self, Decoded};

/// A table `name (id bigint primary key, c0 …, c1 …)`.
pub struct Table {
    pub name: String,
    pub types: Vec<Type>,
    /// Rows after the inserts, and after the updates, by id.
    pub inserted: BTreeMap<i64, Vec<Seen>>,
    pub updated: BTreeMap<i64, Vec<Seen>>,
}

impl Table {
    pub fn new(name: String, types: Vec<Type>) -> Self {
        Self { name, types, inserted: BTreeMap::new(), updated: BTreeMap::new() }
    }

    pub fn create(&self) -> String {
        let columns: Vec<String> =
            self.types.iter().enumerate().map(|(i, t)| format!("c{i} {}", t.declaration())).collect();
        format!("create table {} (id bigint primary key, {}) row_format=dynamic", self.name, columns.join(", "))
    }

    /// The rows as SELECT shows them now.
    pub async fn rows(&self, server: &mut Server) -> BTreeMap<i64, Vec<Seen>> {
        let shown: Vec<String> = self.types.iter().enumerate().map(|(i, t)| t.shown(&format!("c{i}"))).collect();
        let rows = server.select(&format!("select id, {} from {}", shown.join(", "), self.name)).await;
        rows.into_iter().map(seen).collect()
    }
}

fn seen(row: Row) -> (i64, Vec<Seen>) {
    let mut values: Vec<Seen> = row.unwrap().iter().map(compare::selected).collect();
    let Seen::Bytes(id) = values.remove(0) else { panic!("an id is a number") };
    (std::str::from_utf8(&id).unwrap().parse().unwrap(), values)
}

/// Reads the server's stream and compares every image of every table. Each row was inserted, updated once and deleted; an update that
/// changes nothing is not in the binlog.
pub async fn verify(server: &Server, database: &str, tables: &[Table]) {
    let mut seen = Counts::default();
    stream::read(server.stream().await, database, |decoded| {
        let table = tables.iter().find(|table| table.name == decoded.plan.shape().name).unwrap();
        assert!(!decoded.key_changed);
        verify_row(table, &decoded, &mut seen);
    })
    .await;
    println!("{} images, {} values also compared with the oracle", seen.images, seen.by_oracle);
    let rows: usize = tables.iter().map(|table| table.inserted.len()).sum();
    let changed = |table: &Table| table.inserted.iter().filter(|(id, values)| table.updated[id] != **values).count();
    let changed: usize = tables.iter().map(changed).sum();
    assert!(seen.images >= 2 * rows + 2 * changed && seen.images <= 4 * rows, "{} images of {rows} rows", seen.images);
    assert!(changed > 0 && seen.by_oracle > 0);
}

#[derive(Default)]
struct Counts {
    images: usize,
    by_oracle: usize,
}

fn verify_row(table: &Table, decoded: &Decoded, seen: &mut Counts) {
    let shape = decoded.plan.shape();
    let mut id_before = None;
    for (image, after) in [(&decoded.before, false), (&decoded.after, true)] {
        let Some(bytes) = image else { continue };
        seen.images += 1;
        let values: Vec<Value<'_>> =
            Image::new(bytes, shape.columns.len()).unwrap().values(&shape.columns).map(|v| v.unwrap()).collect();
        // Under minimal images an after image lacks the key; then it is the before image's.
        let id = match values[0] {
            Value::Signed(id) => id,
            Value::Absent => id_before.unwrap(),
            other => panic!("an id is a number, not {other:?}"),
        };
        id_before = Some(id);
        let expected = match (decoded.change, after) {
            (Change::Insert, _) | (Change::Update, false) => &table.inserted,
            _ => &table.updated,
        };
        let theirs = if after { &decoded.oracle.1 } else { &decoded.oracle.0 };
        for (at, (value, column)) in values.iter().zip(&shape.columns).enumerate().skip(1) {
            let ours = compare::ours(*value);
            if ours == Seen::Absent {
                continue;
            }
            let told = || format!("{}.{} {} row {id}", table.name, column.name, table.types[at - 1].declaration());
            assert_eq!(ours, expected[&id][at - 1], "SELECT: {}", told());
            if let Some(their) = theirs.as_ref().and_then(|row| row.as_ref(at)).and_then(|v| compare::theirs(v, column))
            {
                seen.by_oracle += 1;
                assert_eq!(ours, their, "oracle: {}", told());
            }
        }
    }
}
