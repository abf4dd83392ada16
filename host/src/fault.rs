//! How a command ends when it does not end well.

use std::fmt;
use std::process::ExitCode;

use mysync_pipeline::failure::Failure;

use crate::config::ConfigError;

/// Something is wrong with what runs or with what was found.
pub const EXIT_FAILED: u8 = 1;
/// The command line or the configuration cannot be used, or the running process cannot be reached.
pub const EXIT_UNUSABLE: u8 = 2;

/// The end of a command, for a person: what happened, to what, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    pub code: &'static str,
    pub message: String,
    pub exit: u8,
}

impl Fault {
    pub fn failed(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), exit: EXIT_FAILED }
    }

    pub fn unusable(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), exit: EXIT_UNUSABLE }
    }

    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.exit)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "mysync: [{}] {}", self.code, self.message)
    }
}

impl std::error::Error for Fault {}

impl From<Failure> for Fault {
    fn from(failure: Failure) -> Self {
        Self::failed(failure.code, failure.message)
    }
}

/// The first mistake gives the code; each has its line, with its own.
impl From<Vec<ConfigError>> for Fault {
    fn from(mistakes: Vec<ConfigError>) -> Self {
        let code = mistakes.first().map_or("CONFIG_VALUE", ConfigError::code);
        let line = |(at, mistake): (usize, &ConfigError)| match at {
            0 => mistake.to_string(),
            _ => Self::unusable(mistake.code(), mistake.to_string()).to_string(),
        };
        Self::unusable(code, mistakes.iter().enumerate().map(line).collect::<Vec<_>>().join("\n"))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Mistake;

    #[test]
    fn each_mistake_has_a_line_and_a_code_of_its_own() {
        let mistake = |mistake, text| ConfigError::of_file(mistake, Path::new("a.toml"), text);
        let fault = Fault::from(vec![mistake(Mistake::Syntax, "is no TOML"), mistake(Mistake::Value, "is too large")]);
        let said = "mysync: [CONFIG_SYNTAX] a.toml: is no TOML\nmysync: [CONFIG_VALUE] a.toml: is too large";
        assert_eq!((fault.to_string().as_str(), fault.exit), (said, EXIT_UNUSABLE));
    }
}
