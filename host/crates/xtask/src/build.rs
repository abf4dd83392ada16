//! Builds, and what came of them.
//!
//! Everything is built for the whole workspace at once: then a dependency has the same features for tests and demo, and is built once.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::places::cargo;

/// A built program.
#[derive(Debug)]
pub struct Program {
    pub name: String,
    /// The folder of its package.
    pub package: PathBuf,
    pub file: PathBuf,
    /// It consists of tests.
    pub tests: bool,
}

/// Runs cargo, which shows what it does, and answers the programs it built.
pub fn programs(arguments: &[&str]) -> Result<Vec<Program>> {
    let mut command = cargo(arguments);
    let output =
        command.args(["--locked", "--message-format=json-render-diagnostics"]).stderr(Stdio::inherit()).output();
    let output = output.context("cannot run cargo")?;
    if !output.status.success() {
        bail!("cargo {} failed", arguments.join(" "));
    }
    let text = String::from_utf8(output.stdout)?;
    text.lines().filter(|line| line.starts_with('{')).filter_map(|line| program(line).transpose()).collect()
}

fn program(line: &str) -> Result<Option<Program>> {
    let message: Value = serde_json::from_str(line)?;
    let (Some(file), Some(name), Some(manifest)) =
        (message["executable"].as_str(), message["target"]["name"].as_str(), message["manifest_path"].as_str())
    else {
        return Ok(None);
    };
    let package = Path::new(manifest).parent().context("a manifest is in a folder")?.to_owned();
    let tests = message["profile"]["test"].as_bool().unwrap_or_default();
    Ok(Some(Program { name: name.to_owned(), package, file: file.into(), tests }))
}

/// The program of this name that is no test.
pub fn find<'a>(programs: &'a [Program], name: &str) -> Result<&'a Path> {
    let program = programs.iter().find(|program| program.name == name && !program.tests);
    Ok(&program.with_context(|| format!("the build made no program {name}"))?.file)
}
