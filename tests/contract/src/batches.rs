//! A table of users, and batches of its rows.

use mysync_change::batch::{Batch, ColumnValues, Images, Packed, Plan, TableRows, Transactions, Values};
use mysync_change::rows::Operation;
use mysync_change::schema::{Column, Storage, TableShape};

/// The columns of `shop.users`: name, MySQL's type, how it travels.
const COLUMNS: [(&str, &str, Storage); 10] = [
    ("id", "bigint", Storage::Signed),
    ("name", "varchar", Storage::Text),
    ("email", "varchar", Storage::Text),
    ("age", "int", Storage::Signed),
    ("balance", "decimal", Storage::Text),
    ("city", "varchar", Storage::Text),
    ("created", "timestamp", Storage::Text),
    ("score", "double", Storage::Double),
    ("visits", "bigint", Storage::Unsigned),
    ("note", "varchar", Storage::Text),
];

/// A table of ten columns with the key `id`: integers, text, decimal, timestamp, float.
pub fn users() -> TableShape {
    let column = |(name, kind, storage): (&str, &str, Storage)| Column {
        name: name.to_owned(),
        kind: kind.to_owned(),
        storage,
        nullable: name != "id",
        attributes: Vec::new(),
    };
    TableShape {
        database: "shop".to_owned(),
        name: "users".to_owned(),
        columns: COLUMNS.map(column).to_vec(),
        primary_key: vec![0],
    }
}

/// A plan for all columns of `users`.
pub fn whole() -> Plan {
    Plan { columns: (0..COLUMNS.len() as u16).collect(), ..Plan::default() }
}

/// Inserted users with ids from 1, in one transaction, as `plan` asks for them; every fourth has no note.
pub fn inserts(plan: &Plan, schema: u32, rows: u32) -> Batch {
    let after =
        Images { rows: (0..rows).collect(), columns: plan.columns.iter().map(|at| values(*at, rows)).collect() };
    let table = TableRows {
        schema,
        numbers: (0..rows).collect(),
        sequences: (1..=u64::from(rows)).collect(),
        operations: vec![Operation::Insert; rows as usize],
        before: Images::default(),
        after,
    };
    let transactions =
        Transactions { starts: vec![0], committed_us: vec![1_790_000_000_000_000], ..Transactions::default() };
    Batch { tables: vec![table], events: Vec::new(), transactions }
}

fn values(at: u16, rows: u32) -> ColumnValues {
    let ids = || 1..=i64::from(rows);
    let text = |value: &dyn Fn(i64) -> String| {
        let mut packed = Packed::default();
        ids().for_each(|id| packed.push(value(id).as_bytes()));
        Values::Text(packed)
    };
    let mut nulls = Vec::new();
    let values = match COLUMNS[usize::from(at)].0 {
        "id" => Values::Signed(ids().collect()),
        "name" => text(&|id| format!("User Number {id}")),
        "email" => text(&|id| format!("user{id}@example.com")),
        "age" => Values::Signed(ids().map(|id| 18 + id % 70).collect()),
        "balance" => text(&|id| format!("{}.{:02}", id * 37, id % 100)),
        "city" => text(&|id| ["Lisbon", "Oslo", "Quito", "Hanoi"][id as usize % 4].to_owned()),
        "created" => text(&|id| format!("2026-11-24T08:{:02}:{:02}Z", id / 60 % 60, id % 60)),
        "score" => Values::Double(ids().map(|id| id as f64 / 8.0).collect()),
        "visits" => Values::Unsigned(ids().map(|id| id as u64 * 1_000_003).collect()),
        _ => {
            nulls = vec![0; rows.div_ceil(8) as usize];
            (0..rows as usize).filter(|row| row % 4 == 3).for_each(|row| nulls[row / 8] |= 1 << (row % 8));
            let note = |id: i64| if id % 4 == 0 { String::new() } else { format!("note {id}") };
            text(&note)
        }
    };
    ColumnValues { values, nulls, absent: Vec::new() }
}
