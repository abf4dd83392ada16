#![doc = include_str!("../README.md")]

pub mod bindings;
mod commands;
pub mod json;
mod mapping;
pub mod number;
mod pattern;
mod plan;
mod row;
mod session;
mod template;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;

pub use bindings::exports::mysync::writer::writer::{Problem, Rejection, Settings};
pub use bindings::mysync::writer::types::TableEvent;
pub use commands::{Argument, Command, Commands, Mark};
pub use mapping::{Located, Mapping, Section, nearest};
pub use pattern::Pattern;
pub use plan::Plan;
pub use row::{Image, Operation, Place, Row, TableSchema, Value};
pub use session::Session;
pub use template::{BoundTemplate, Name, Template, TemplateError, absent};

/// A writer of one's own. Its output depends on its mapping, the shapes of the tables and the row in hand, and on nothing else: it keeps
/// nothing from one call to the next, so nothing here can be changed by a row.
pub trait Writer: Sized {
    /// What it keeps for a table's shape, worked out once: places of columns, templates, names.
    type Table;

    /// Reads the mapping.
    fn configure(settings: &Settings) -> Result<Self, Vec<Problem>>;

    /// Looks at a table's shape and asks for what it needs of it; `None` if the table does not concern it.
    fn table(&self, plan: &mut Plan<'_>) -> Result<Option<Self::Table>, Vec<Problem>>;

    /// Turns a row into commands. An error rejects the row: its commands are dropped, those of other rows stand.
    fn row(&self, table: &Self::Table, row: &Row<'_>, out: &mut Commands) -> Result<(), String>;

    /// A table was truncated, dropped or renamed: rows came or went without a change of each. An error rejects the event, and by that stops
    /// delivery before it. Without an answer of one's own a table that is truncated or dropped is a reason to stop.
    fn event(&self, _table: &Self::Table, _schema: &TableSchema, event: &TableEvent) -> Result<(), String> {
        match event.kind.as_str() {
            "truncate" | "drop" => Err("the writer does not know what becomes of its entries".to_owned()),
            _ => Ok(()),
        }
    }
}

/// A message for the operator, in the host's log under the writer's name. Outside the sandbox it goes to standard error.
pub fn warn(message: &str) {
    #[cfg(target_arch = "wasm32")]
    bindings::mysync::writer::diagnostics::emit(bindings::mysync::writer::diagnostics::Level::Warn, message);
    #[cfg(not(target_arch = "wasm32"))]
    eprintln!("{message}");
}

/// What is wrong with a table, without a place in the mapping.
pub fn problem(message: impl Into<String>) -> Problem {
    Problem { message: message.into(), line: None, column: None }
}

/// Makes a type that is a [`Writer`] what the component exports.
#[macro_export]
macro_rules! export {
    ($writer:ty) => {
        const _: () = {
            use $crate::bindings::exports::mysync::writer::writer;

            struct Exported;

            thread_local! {
                static SESSION: ::core::cell::RefCell<::core::option::Option<$crate::Session<$writer>>> =
                    const { ::core::cell::RefCell::new(::core::option::Option::None) };
            }

            impl writer::Guest for Exported {
                fn configure(settings: writer::Settings) -> Result<(), Vec<writer::Problem>> {
                    SESSION.with(|session| $crate::guest::configure(session, &settings))
                }

                fn define_table(schema: writer::TableSchema) -> Result<writer::TablePlan, Vec<writer::Problem>> {
                    SESSION.with(|session| $crate::guest::define(session, schema))
                }

                fn write(batch: writer::Batch) -> Result<Vec<writer::Rejection>, String> {
                    SESSION.with(|session| $crate::guest::write(session, &batch))
                }
            }

            #[cfg(target_arch = "wasm32")]
    $crate::bindings::export_bindings!(Exported with_types_in $crate::bindings);
            // Elsewhere nothing is exported: other linkers refuse the names.
            #[cfg(not(target_arch = "wasm32"))]
            const _: fn() -> Exported = || Exported;
        };
    };
}

#[doc(hidden)]
pub mod guest {
    //! What [`export!`](crate::export) calls.

    use std::cell::RefCell;

    use crate::bindings::exports::mysync::writer::writer::{Batch, TablePlan};
    use crate::{Problem, Rejection, Session, Settings, TableSchema, Writer, problem};

    type Slot<W> = RefCell<Option<Session<W>>>;

    const NOT_CONFIGURED: &str = "the writer was not configured";

    pub fn configure<W: Writer>(slot: &Slot<W>, settings: &Settings) -> Result<(), Vec<Problem>> {
        *slot.borrow_mut() = Some(Session::configure(settings)?);
        Ok(())
    }

    pub fn define<W: Writer>(slot: &Slot<W>, schema: TableSchema) -> Result<TablePlan, Vec<Problem>> {
        match &mut *slot.borrow_mut() {
            Some(session) => session.define(schema),
            None => Err(vec![problem(NOT_CONFIGURED)]),
        }
    }

    pub fn write<W: Writer>(slot: &Slot<W>, batch: &Batch) -> Result<Vec<Rejection>, String> {
        let mut slot = slot.borrow_mut();
        let session = slot.as_mut().ok_or(NOT_CONFIGURED)?;
        let rejections = session.write(batch)?;
        let commands = &session.commands().packed;
        if !commands.rows.is_empty() {
            crate::bindings::mysync::writer::redis::submit(commands);
        }
        Ok(rejections)
    }
}
