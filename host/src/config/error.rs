//! What can be wrong with a configuration, and where.

use std::fmt;
use std::path::{Path, PathBuf};

use mysync_pipeline::failure::Failure;

/// What kind of mistake it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mistake {
    /// A file or folder that cannot be read.
    Unreadable,
    /// Text that is not TOML.
    Syntax,
    /// A key that means nothing here.
    UnknownKey,
    /// A key that must be there.
    Missing,
    /// A value that cannot be used.
    Value,
    /// A variable or file that should hold a secret.
    Secret,
    /// A writer that asks for more than its folder may give.
    Ceiling,
}

/// One mistake in one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    pub mistake: Mistake,
    pub path: PathBuf,
    /// From 1; none: the file as a whole.
    pub line: Option<usize>,
    /// What is wrong and what to do. Never quotes a value that may hold a secret.
    pub message: String,
}

impl ConfigError {
    pub fn of_file(mistake: Mistake, path: &Path, message: impl Into<String>) -> Self {
        Self { mistake, path: path.to_owned(), line: None, message: message.into() }
    }

    /// Stable name, documented with cause and cure.
    pub fn code(&self) -> &'static str {
        match self.mistake {
            Mistake::Unreadable => "CONFIG_UNREADABLE",
            Mistake::Syntax => "CONFIG_SYNTAX",
            Mistake::UnknownKey => "CONFIG_UNKNOWN_KEY",
            Mistake::Missing => "CONFIG_MISSING_KEY",
            Mistake::Value => "CONFIG_VALUE",
            Mistake::Secret => "CONFIG_SECRET",
            Mistake::Ceiling => "CONFIG_CEILING",
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line}: {}", self.path.display(), self.message),
            None => write!(f, "{}: {}", self.path.display(), self.message),
        }
    }
}

impl std::error::Error for ConfigError {}

/// What runs meets a mistake where it reads a writer's file again.
impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::definite(error.code(), error.to_string())
    }
}
