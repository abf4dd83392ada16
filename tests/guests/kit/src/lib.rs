//! What the guests of the tests are made of: the bare contract, with an answer for every question that a guest does not care about.

use std::sync::OnceLock;

wit_bindgen::generate!({
    path: "../../../wit",
    world: "redis-writer",
    pub_export_macro: true,
    export_macro_name: "export_bindings",
    default_bindings_module: "guest_kit",
});

pub use exports::mysync::writer::writer::{Batch, Guest, Problem, Rejection, Settings, TablePlan, TableSchema};
pub use mysync::writer::diagnostics::{Level, emit};
pub use mysync::writer::redis::{Commands, Packed, submit};

/// Makes a type that is a [`Behaviour`] what the component exports. Elsewhere nothing is exported: other linkers refuse the names.
#[macro_export]
macro_rules! export {
    ($guest:ident) => {
        #[cfg(target_arch = "wasm32")]
        $crate::export_bindings!($guest with_types_in $crate);
        #[cfg(not(target_arch = "wasm32"))]
        const _: fn() -> $guest = || $guest;
    };
}

/// A guest: by itself it asks for every column and makes nothing of them.
pub trait Behaviour {
    fn configure() -> Result<(), Vec<Problem>> {
        Ok(())
    }

    fn define(schema: TableSchema) -> Result<TablePlan, Vec<Problem>> {
        Ok(whole(&schema))
    }

    fn write(_batch: Batch) -> Result<Vec<Rejection>, String> {
        Ok(Vec::new())
    }
}

impl<T: Behaviour> Guest for T {
    fn configure(settings: Settings) -> Result<(), Vec<Problem>> {
        MAPPING.get_or_init(|| settings.mapping);
        T::configure()
    }

    fn define_table(schema: TableSchema) -> Result<TablePlan, Vec<Problem>> {
        T::define(schema)
    }

    fn write(batch: Batch) -> Result<Vec<Rejection>, String> {
        T::write(batch)
    }
}

static MAPPING: OnceLock<String> = OnceLock::new();

/// The mapping's text: most guests take it for the name of what they shall do.
pub fn mapping() -> &'static str {
    MAPPING.get().map_or("", String::as_str)
}

/// The plan for all columns of a table.
pub fn whole(schema: &TableSchema) -> TablePlan {
    let columns = (0..schema.columns.len() as u16).collect();
    TablePlan { ignore: false, columns, before: false, transaction_ids: false, order_by: Vec::new() }
}

pub fn rows(batch: &Batch) -> u32 {
    batch.tables.iter().map(|table| table.numbers.len() as u32).sum()
}

/// Packs commands that know their row.
pub fn packed(commands: &[(u32, &[&[u8]])]) -> Commands {
    let mut all = Commands { rows: vec![], arguments: vec![], values: Packed { ends: vec![], data: vec![] } };
    for (row, arguments) in commands {
        all.rows.push(*row);
        all.arguments.push(arguments.len() as u32);
        for argument in *arguments {
            all.values.data.extend_from_slice(argument);
            all.values.ends.push(all.values.data.len() as u32);
        }
    }
    all
}
