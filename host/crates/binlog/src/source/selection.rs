use mysync_change::pattern::Pattern;

use crate::plan::Selection;

/// Tables by `database.table`, columns by `database.table.column`.
#[derive(Debug, Clone, Default)]
pub struct Selected {
    pub tables: Vec<Pattern>,
    pub exclude: Vec<Pattern>,
    pub exclude_columns: Vec<Pattern>,
}

fn any(patterns: &[Pattern], name: &str) -> bool {
    patterns.iter().any(|pattern| pattern.matches(name.as_bytes()))
}

impl Selected {
    /// Whether tables of a database can be captured at all.
    pub fn may_capture_of(&self, database: &str) -> bool {
        let databases = self.tables.iter().filter_map(|pattern| pattern.as_str().split_once('.'));
        databases.into_iter().any(|(pattern, _)| Pattern::new(pattern).matches(database.as_bytes()))
    }
}

impl Selection for Selected {
    fn table(&self, database: &str, table: &str) -> bool {
        let name = format!("{database}.{table}");
        any(&self.tables, &name) && !any(&self.exclude, &name)
    }

    fn column(&self, database: &str, table: &str, column: &str) -> bool {
        !any(&self.exclude_columns, &format!("{database}.{table}.{column}"))
    }
}
