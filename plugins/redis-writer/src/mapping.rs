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
        let tables = mapping.tables();
        for section in mapping.sections()? {
            match Map::read(section, tables.as_deref()) {
                Ok(map) => maps.push(map),
                Err(wrong) => problems.extend(wrong),
            }
        }
        if problems.is_empty() { Ok(Self { maps }) } else { Err(problems) }
    }

    fn table(&self, plan: &mut Plan<'_>) -> Result<Option<Vec<Entry>>, Vec<Problem>> {
        let name = format!("{}.{}", plan.schema().database, plan.schema().name);
        let maps: Vec<&Map> = self.maps.iter().filter(|map| map.table.matches(&name)).collect();
        let (mut entries, mut problems) = (Vec::new(), Vec::new());
        for (at, map) in maps.iter().enumerate() {
            if let Some(other) = maps[..at].iter().find(|other| map.clashes_with(other)) {
                let message = format!("this is also the key of a {} (line {})", other.structure(), other.key.line);
                problems.push(map.key.problem(message + ": one key of Redis holds one structure"));
            }
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
        match event.kind.as_str() {
            "truncate" | "drop" if entries.iter().any(|entry| !entry.keeps_truncated()) => Err(
                "its entries in Redis cannot be found by that; `on_truncate = \"keep\"` in the mapping goes on and leaves them as they are"
                    .to_owned(),
            ),
            kind => {
                warn(&format!("{kind} of {}.{}: its entries in Redis stay as they are", schema.database, schema.name));
                Ok(())
            }
        }
    }
}
