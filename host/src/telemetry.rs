//! Log lines and metrics.

mod exposition;
pub mod names;

use std::io::IsTerminal;
use std::time::Duration;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use mysync_pipeline::status::LATENCY_BOUNDS_US;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

pub use exposition::render;

use crate::config::{LogFormat, TelemetrySettings};
use crate::fault::Fault;

/// Overrides the configured level.
pub const LEVEL_VARIABLE: &str = "MYSYNC_LOG";
/// How often what histograms gathered is taken together; without it they would grow until somebody asks for metrics.
const UPKEEP: Duration = Duration::from_secs(5);

/// Sends log lines to standard error.
pub fn start_logging(settings: &TelemetrySettings) -> Result<(), Fault> {
    let level = match std::env::var(LEVEL_VARIABLE) {
        Ok(level) => checked_level(&level).map_err(|message| {
            Fault::unusable("TELEMETRY_LEVEL", format!("the variable {LEVEL_VARIABLE} {message}"))
        })?,
        Err(_) => settings.level.clone(),
    };
    let filter = EnvFilter::try_new(&level).map_err(|error| Fault::unusable("TELEMETRY_LEVEL", error.to_string()))?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = match settings.log {
        LogFormat::Human => lines.with_ansi(std::io::stderr().is_terminal()).with_target(false).try_init(),
        LogFormat::Json => lines.json().flatten_event(true).with_current_span(false).with_span_list(false).try_init(),
    };
    started.map_err(|error| cannot_start("log lines", &error))
}

/// Gathers figures of all crates from now on.
pub fn start_metrics() -> Result<PrometheusHandle, Fault> {
    let bounds = LATENCY_BOUNDS_US.map(seconds);
    let builder = PrometheusBuilder::new().set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &bounds);
    let handle =
        builder.and_then(PrometheusBuilder::install_recorder).map_err(|error| cannot_start("metrics", &error))?;
    mysync_connectors::metrics::describe();
    mysync_log::metrics::describe();
    mysync_log::kafka::describe();
    Ok(handle)
}

fn cannot_start(what: &str, error: &dyn std::fmt::Display) -> Fault {
    Fault::failed("TELEMETRY_START", format!("{what} cannot be started: {error}: a defect of this program, report it"))
}

/// Keeps histograms small, for as long as the process runs.
pub async fn keep_up(metrics: PrometheusHandle) {
    let mut ticks = tokio::time::interval(UPKEEP);
    loop {
        ticks.tick().await;
        metrics.run_upkeep();
    }
}

/// A level, or directives such as `info,mysync_log=debug`. Words that are no level would otherwise count as names of modules.
pub fn checked_level(text: &str) -> Result<String, String> {
    for directive in text.split(',').map(str::trim) {
        let level = directive.rsplit_once('=').map_or(directive, |(_, level)| level);
        let word = !level.is_empty() && level.bytes().all(|byte| byte.is_ascii_alphabetic());
        if !word || level.parse::<LevelFilter>().is_err() {
            return Err(format!("has \"{level}\", which is no level: use error, warn, info, debug or trace"));
        }
    }
    EnvFilter::try_new(text).map(|_| text.to_owned()).map_err(|error| format!("cannot be used: {error}"))
}

/// Microseconds as seconds.
fn seconds(micros: u64) -> f64 {
    micros as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_level_is_refused() {
        for text in ["info", "info,mysync_log=debug", "off", "WARN"] {
            assert!(checked_level(text).is_ok(), "{text}");
        }
        for text in ["", "inof", "info,", "mysync_log=loud", "3"] {
            assert!(checked_level(text).is_err(), "{text}");
        }
    }
}
