//! What is looked at without running anything.

use std::process::{Command, ExitCode};
use std::time::Instant;

use anyhow::Result;

use crate::places::{cargo, on_path};
use crate::plugins;
use crate::step::{say, show};

/// `cargo x lint`.
pub fn run() -> Result<ExitCode> {
    let failed = failures()?;
    Ok(if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Looks at everything, whatever is found on the way, and answers what failed.
pub fn failures() -> Result<Vec<&'static str>> {
    plugins::ensure_target()?;
    let mut sandboxed = plugins::sandbox_cargo("clippy")?;
    sandboxed.args(["--", "-D", "warnings"]);
    let mut documentation =
        cargo(&["doc", "--quiet", "--workspace", "--no-deps", "--document-private-items", "--locked"]);
    documentation.env("RUSTDOCFLAGS", "-D warnings");
    let mut steps: Vec<(&str, Command)> = vec![
        ("format", cargo(&["fmt", "--all", "--check"])),
        (
            "clippy",
            cargo(&[
                "clippy",
                "--quiet",
                "--workspace",
                "--all-targets",
                "--locked",
                "--keep-going",
                "--",
                "-D",
                "warnings",
            ]),
        ),
        ("clippy for the sandbox", sandboxed),
        ("documentation", documentation),
    ];
    match on_path("cargo-deny") {
        Some(_) => steps.push(("dependencies", cargo(&["deny", "--locked", "check"]))),
        None => say("dependencies: not looked at: cargo-deny is not installed"),
    }
    let mut failed = Vec::new();
    for (name, mut command) in steps {
        let began = Instant::now();
        match show(&mut command) {
            Ok(()) => say(format!("{name}: good, {:.1} s", began.elapsed().as_secs_f64())),
            Err(error) => {
                say(format!("{name}: {error:#}"));
                failed.push(name);
            }
        }
    }
    Ok(failed)
}
