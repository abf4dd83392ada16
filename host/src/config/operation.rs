//! `[dump]`, `[admin]`, `[telemetry]`: how the process itself runs.

use std::net::SocketAddr;

use super::error::ConfigError;
use super::section::Section;
use crate::fault::Fault;

/// More than any server reads: a higher one is a slip of the keyboard.
pub const ROWS_PER_SECOND_MAX: u64 = 1_000_000_000;
const LISTEN: &str = "127.0.0.1:7070";

/// First loads of tables.
#[derive(Debug, Clone, Default)]
pub struct DumpSettings {
    /// What a dump reads at most, unless its own order says otherwise; none: as fast as the writers take it.
    pub rows_per_second: Option<u64>,
}

/// Health, metrics and commands over HTTP. There is no login, so an address other than loopback has been allowed by name.
#[derive(Debug, Clone)]
pub struct AdminSettings {
    /// None: switched off.
    pub listen: Option<SocketAddr>,
    /// Whether the address may be another than loopback.
    pub allow_remote: bool,
}

impl AdminSettings {
    /// Listens here instead, by the same rule.
    pub fn listen_on(&mut self, address: SocketAddr) -> Result<(), Fault> {
        self.listen = Some(address);
        self.check_reach().map_err(|message| Fault::unusable("CONFIG_VALUE", format!("--admin {message}")))
    }

    /// Nobody else may reach it by mistake.
    fn check_reach(&self) -> Result<(), String> {
        match self.listen {
            Some(address) if !address.ip().is_loopback() && !self.allow_remote => Err(
                "can be reached from other machines, and anybody who reaches it may resume writers and order dumps: listen on 127.0.0.1, or set \
                 allow_remote = true"
                    .to_owned(),
            ),
            _ => Ok(()),
        }
    }
}

#[derive(Debug, Clone)]
pub struct TelemetrySettings {
    pub log: LogFormat,
    /// `error`, `warn`, `info`, `debug`, `trace`, or directives such as `info,mysync_log=debug`.
    pub level: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    #[default]
    Human,
    Json,
}

impl Default for TelemetrySettings {
    fn default() -> Self {
        Self { log: LogFormat::Human, level: "info".to_owned() }
    }
}

pub fn read_dump(section: Option<Section<'_>>) -> Result<DumpSettings, ConfigError> {
    let mut dump = DumpSettings::default();
    let Some(mut section) = section else { return Ok(dump) };
    dump.rows_per_second =
        section.get("rows_per_second").map(|value| value.number(1, ROWS_PER_SECOND_MAX)).transpose()?;
    section.finish()?;
    Ok(dump)
}

pub fn read_admin(section: Option<Section<'_>>) -> Result<AdminSettings, ConfigError> {
    let mut admin = AdminSettings { listen: LISTEN.parse().ok(), allow_remote: false };
    let Some(mut section) = section else { return Ok(admin) };
    let listen = section.get("listen");
    admin.allow_remote = section.get("allow_remote").map_or(Ok(false), |value| value.flag())?;
    if let Some(value) = listen {
        admin.listen = value.parse(|text| match text {
            "none" => Ok(None),
            _ => text.parse().map(Some).map_err(|_| {
                format!(
                    "is \"{text}\", which is no address: write one such as \"{LISTEN}\", or \"none\" to switch it off"
                )
            }),
        })?;
        admin.check_reach().map_err(|message| value.wrong(message))?;
    }
    section.finish()?;
    Ok(admin)
}

pub fn read_telemetry(section: Option<Section<'_>>) -> Result<TelemetrySettings, ConfigError> {
    let mut telemetry = TelemetrySettings::default();
    let Some(mut section) = section else { return Ok(telemetry) };
    if let Some(value) = section.get("log") {
        telemetry.log = value.one_of(&[("human", LogFormat::Human), ("json", LogFormat::Json)])?;
    }
    if let Some(value) = section.get("level") {
        telemetry.level = value.parse(crate::telemetry::checked_level)?;
    }
    section.finish()?;
    Ok(telemetry)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_of_the_command_line_is_held_to_the_same_rule() {
        let address = |text: &str| text.parse().unwrap();
        let mut admin = AdminSettings { listen: None, allow_remote: false };
        admin.listen_on(address("[::1]:7071")).unwrap();
        assert_eq!(admin.listen, Some(address("[::1]:7071")));
        let fault = admin.listen_on(address("0.0.0.0:7071")).unwrap_err();
        assert_eq!((fault.code, fault.exit), ("CONFIG_VALUE", 2));
        assert!(fault.message.starts_with("--admin can be reached"), "{fault}");
        admin.allow_remote = true;
        admin.listen_on(address("0.0.0.0:7071")).unwrap();
    }
}
