//! The two kinds of wrong.

use std::fmt;

/// What a failure calls for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The world is not as it should be at the moment: try again, for as long as it takes.
    Transient,
    /// The rows, the mapping or the state are wrong: the same attempt fails again, so stop and tell.
    Definite,
}

/// Something went wrong at a port. Adapters make it from their own typed errors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    pub kind: Kind,
    /// Stable name, documented with cause and cure.
    pub code: &'static str,
    /// What happened, to what, and what to do.
    pub message: String,
}

impl Failure {
    pub fn transient(code: &'static str, message: impl Into<String>) -> Self {
        Self { kind: Kind::Transient, code, message: message.into() }
    }

    pub fn definite(code: &'static str, message: impl Into<String>) -> Self {
        Self { kind: Kind::Definite, code, message: message.into() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}] {}", self.code, self.message)
    }
}

impl std::error::Error for Failure {}
