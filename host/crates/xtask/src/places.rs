//! Where things are.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::step;

/// The repository.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(3).unwrap_or(Path::new("/")).to_owned()
}

/// What builds leave.
pub fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| repository().join("target"), |dir| repository().join(dir))
}

/// What is fetched, and what servers keep. It can be deleted at any time at which nothing runs.
pub fn cache() -> Result<PathBuf> {
    if let Some(dir) = std::env::var_os("MYSYNC_CACHE").filter(|dir| !dir.is_empty()) {
        return Ok(std::path::absolute(dir)?);
    }
    let home = std::env::var_os("HOME").context("neither MYSYNC_CACHE nor HOME says where to keep servers")?;
    Ok(Path::new(&home).join(".cache/mysync"))
}

/// The cargo that runs this program, in the repository.
pub fn cargo(arguments: &[&str]) -> Command {
    let mut command = step::command(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(repository()).args(arguments);
    command
}

/// A program of this name that PATH finds.
pub fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(name)).find(|file| file.is_file())
}
