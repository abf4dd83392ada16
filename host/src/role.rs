//! Which of the two loops a process runs.

use crate::config::{LogKind, LogSettings};
use crate::fault::Fault;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Both.
    Run,
    /// From MySQL to the log, and no further.
    Capture,
    /// From the log to the stores.
    Deliver,
}

impl Role {
    /// The command that it is.
    pub fn name(self) -> &'static str {
        match self {
            Role::Run => "run",
            Role::Capture => "capture",
            Role::Deliver => "deliver",
        }
    }

    /// Refuses a half of what only one process can do.
    pub fn check(self, log: &LogSettings) -> Result<(), Fault> {
        match (self, &log.kind) {
            (Role::Run, _) | (_, LogKind::Kafka(_)) => Ok(()),
            (half, LogKind::Embedded(_)) => Err(Fault::unusable(
                "LOG_KIND",
                format!(
                    "'mysync {}' alone needs log.kind = \"kafka\": with the embedded log one process does both, which is 'mysync run'",
                    half.name()
                ),
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::EmbeddedSettings;

    #[test]
    fn one_process_does_both_with_the_embedded_log() {
        let kind = LogKind::Embedded(EmbeddedSettings::default());
        let log = LogSettings { dir: "data".into(), partitions: 1, kind };
        assert_eq!(Role::Run.check(&log), Ok(()));
        for (role, command) in [(Role::Capture, "mysync capture"), (Role::Deliver, "mysync deliver")] {
            let fault = role.check(&log).unwrap_err();
            assert_eq!((fault.code, fault.exit), ("LOG_KIND", 2));
            assert!(fault.message.contains(command) && fault.message.contains("one process does both"), "{fault}");
        }
    }
}
