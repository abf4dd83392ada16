//! Rows become entries of Redis.
//!
//! Pure: what a row becomes depends on the mapping, the table's shape and the row. Every command can be repeated without harm, and after
//! a row's commands its entries are exactly what the mapping says of it, whatever was there before. A row that cannot be mapped exactly is
//! rejected.

mod duration;
mod entry;
mod map;

use mysync_writer_sdk::{Commands, Mapping, Plan, Problem, Row, Settings, TableEvent, TableSchema, Writer, warn};

use entry::Entry;
use map::Map;

/// The writer: its `[[map]]` tables, read.
#[derive(Debug)]
pub struct RedisWriter {
    maps: Vec<Map>,
}

impl Writer for RedisWriter {
    type Table = Vec<Entry>;

    fn configure(settings: &Settings) -> Result<Self, Vec<Problem>> {
        let mapping = Mapping::parse(&settings.mapping)?;
        let (mut maps, mut problems) = (Vec::new(), Vec::new());
        for section in mapping.sections()? {
            match Map::read(section) {
                Ok(map) => maps.push(map),
                Err(wrong) => problems.extend(wrong),
            }
        }
        if problems.is_empty() { Ok(Self { maps }) } else { Err(problems) }
    }

    fn table(&self, plan: &mut Plan<'_>) -> Result<Option<Vec<Entry>>, Vec<Problem>> {
        let name = format!("{}.{}", plan.schema().database, plan.schema().name);
        let (mut entries, mut problems) = (Vec::new(), Vec::new());
        for map in self.maps.iter().filter(|map| map.table.matches(&name)) {
            match Entry::bind(map, plan) {
                Ok(entry) => entries.push(entry),
                Err(wrong) => problems.extend(wrong),
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        Ok((!entries.is_empty()).then_some(entries))
    }

    #[inline]
    fn row(&self, entries: &Vec<Entry>, row: &Row<'_>, out: &mut Commands) -> Result<(), String> {
        entries.iter().try_for_each(|entry| entry.row(row, out))
    }

    fn event(&self, entries: &Vec<Entry>, schema: &TableSchema, event: &TableEvent) -> Result<(), String> {
        let table = format!("{}.{}", schema.database, schema.name);
        match event.kind.as_str() {
            "truncate" | "drop" if entries.iter().any(|entry| !entry.keeps_truncated()) => Err(format!(
                "{} of {table}: its entries in Redis cannot be found by that; remove them by hand and set `on_truncate = \"keep\"` to go on",
                event.kind
            )),
            kind => {
                warn(&format!("{kind} of {table}: its entries in Redis stay as they are"));
                Ok(())
            }
        }
    }
}
