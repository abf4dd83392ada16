//! Everything that can be wrong with a component, its mapping, or what it answers.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use mysync_pipeline::failure::Failure;

/// What a writer finds wrong with its mapping or a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    pub message: String,
    /// Place in the mapping's text, from 1.
    pub line: Option<u32>,
    pub column: Option<u32>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.line, self.column) {
            (Some(line), Some(column)) => write!(f, "line {line}, column {column}: {}", self.message),
            (Some(line), None) => write!(f, "line {line}: {}", self.message),
            _ => f.write_str(&self.message),
        }
    }
}

fn listed(problems: &[Problem]) -> String {
    problems.iter().map(Problem::to_string).collect::<Vec<_>>().join("; ")
}

#[derive(Debug, Clone, thiserror::Error)]
pub enum WasmError {
    #[error("the WebAssembly engine does not work on this machine: {reason}")]
    Engine { reason: String },

    #[error("cannot read component {path}: {reason}: check the path in `component` and the file's permissions")]
    Unreadable { path: PathBuf, reason: String },
    #[error(
        "component {path} is too large: {what} is over {max}: build it with optimisation and without debug information"
    )]
    TooLarge { path: PathBuf, what: String, max: usize },
    #[error(
        "{path} is no component that this program can run: {reason}: build it for wasm32-unknown-unknown with the writer SDK"
    )]
    Invalid { path: PathBuf, reason: String },
    #[error(
        "component {path} imports `{import}`, and a writer gets nothing but mysync:writer/redis and mysync:writer/diagnostics: \
         build it for wasm32-unknown-unknown, without what needs this import"
    )]
    ImportRefused { path: PathBuf, import: String },
    #[error(
        "component {path} does not fit mysync:writer@0.1: {reason}: build it with the SDK of this release, or use the release it was built for"
    )]
    World { path: PathBuf, reason: String },

    #[error("writer `{writer}` cannot be started: {reason}: go back to the component's former version")]
    Start { writer: String, reason: String },
    #[error(
        "writer `{writer}` cannot be started yet: all {max} instances of this process are in use: stop other writers, or lower their partitions"
    )]
    Instances { writer: String, max: u32 },
    #[error("the mapping of writer `{writer}` is refused: {}: correct it and save the file", listed(problems))]
    Mapping { writer: String, problems: Vec<Problem> },
    #[error(
        "the mapping of writer `{writer}` does not fit table {table}: {}: correct the mapping, then 'mysync writer resume {writer}' goes on. \
         Rows from before a table was altered need the mapping as it was then",
        listed(problems)
    )]
    Table { writer: String, table: String, problems: Vec<Problem> },
    #[error(
        "writer `{writer}` names store entries of {table} by {columns}, so rows of different keys meet in one and their order matters, which \
         the log's {partitions} partitions do not keep: use one partition, or put the whole primary key into the names"
    )]
    NeedsOnePartition { writer: String, table: String, columns: String, partitions: u32 },
    #[error(
        "writer `{writer}` answers nonsense to {call}: {reason}: this is a mistake in the component: go back to its former version"
    )]
    Nonsense { writer: String, call: &'static str, reason: String },

    #[error(
        "writer `{writer}` trapped in {call}: {reason}: its own messages above may say why; nothing of this batch was applied"
    )]
    Trap { writer: String, call: &'static str, reason: String },
    #[error(
        "writer `{writer}` was stopped in {call} after {deadline:?} of running: make it faster, or raise `deadline`; nothing of this batch was applied"
    )]
    Deadline { writer: String, call: &'static str, deadline: Duration },
    #[error(
        "writer `{writer}` wanted more than {max} bytes of memory in {call}: raise `memory`, or lower the batch size; nothing of this batch was applied"
    )]
    Memory { writer: String, call: &'static str, max: usize },
    #[error(
        "writer `{writer}` handed over more than {max} bytes in one {call}: raise `output`, or lower the batch size; nothing of this batch was applied"
    )]
    Output { writer: String, call: &'static str, max: usize },
    #[error(
        "writer `{writer}` refused the whole batch; nothing of it was applied: correct the mapping or the component. Its reason: {reason}"
    )]
    Refused { writer: String, reason: String },
    #[error("this instance of writer `{writer}` was given up after an error or an abandoned call: start a new one")]
    GivenUp { writer: String },
}

impl WasmError {
    /// Stable name, documented with cause and cure.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Engine { .. } => "WASM_ENGINE",
            Self::Unreadable { .. } => "COMPONENT_UNREADABLE",
            Self::TooLarge { .. } => "COMPONENT_TOO_LARGE",
            Self::Invalid { .. } => "COMPONENT_INVALID",
            Self::ImportRefused { .. } => "WASM_IMPORT_REFUSED",
            Self::World { .. } => "WASM_WORLD_MISMATCH",
            Self::Start { .. } => "WASM_START",
            Self::Instances { .. } => "WASM_INSTANCES",
            Self::Mapping { .. } => "MAPPING_INVALID",
            Self::Table { .. } => "MAPPING_TABLE_MISMATCH",
            Self::NeedsOnePartition { .. } => "MAPPING_NEEDS_ONE_PARTITION",
            Self::Nonsense { .. } => "WASM_ANSWER_INVALID",
            Self::Trap { .. } => "WASM_TRAP",
            Self::Deadline { .. } => "WASM_DEADLINE",
            Self::Memory { .. } => "WASM_MEMORY",
            Self::Output { .. } => "WASM_OUTPUT_LIMIT",
            Self::Refused { .. } => "WRITER_REFUSED_BATCH",
            Self::GivenUp { .. } => "WASM_GIVEN_UP",
        }
    }
}

impl From<WasmError> for Failure {
    fn from(error: WasmError) -> Self {
        match error {
            // Others may stop and make room.
            WasmError::Instances { .. } => Failure::transient(error.code(), error.to_string()),
            _ => Failure::definite(error.code(), error.to_string()),
        }
    }
}

/// Why the host ended a call; travels through the engine as the cause of a trap.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum Stop {
    #[error("out of time")]
    Deadline,
    #[error("out of memory")]
    Memory,
    #[error("too much output")]
    Output,
    #[error("{0}")]
    Nonsense(String),
}

impl Stop {
    /// The error of `writer` that ended `call` with `error`.
    pub(crate) fn explain(
        error: &wasmtime::Error,
        writer: &str,
        call: &'static str,
        limits: &crate::Limits,
    ) -> WasmError {
        let writer = writer.to_owned();
        match error.downcast_ref::<Stop>() {
            Some(Stop::Deadline) => WasmError::Deadline { writer, call, deadline: limits.deadline },
            Some(Stop::Memory) => WasmError::Memory { writer, call, max: limits.memory_bytes },
            Some(Stop::Output) => WasmError::Output { writer, call, max: limits.output_bytes },
            Some(Stop::Nonsense(reason)) => WasmError::Nonsense { writer, call, reason: reason.clone() },
            // The engine's own type for this is private to it; a hostile guest in the contract tests holds the wording.
            None if error.root_cause().to_string().contains("fuel allocated for hostcalls") => {
                WasmError::Output { writer, call, max: limits.output_bytes }
            }
            None => WasmError::Trap { writer, call, reason: error.root_cause().to_string() },
        }
    }
}
